import subprocess
import sys

import numpy as np
import pytest

import camixersr
from camixersr.errors import CamixerError, ImageError, UsageError
from tests.conftest import noise_picture


def test_all_is_what_is_public() -> None:
    for name in camixersr.__all__:
        assert getattr(camixersr, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        camixersr.nothing  # noqa: B018


def test_importing_is_cheap() -> None:
    heavy = "{'torch', 'numpy', 'pyvips', 'lightning'}"
    code = f"import sys, camixersr, camixersr.cli; print({heavy} & set(sys.modules) or 'none')"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "none"


def test_upscale_and_load_agree() -> None:
    image = noise_picture(20, 24)
    one = camixersr.upscale(image, scale=4, attention_ratio=0.5, device="cpu")
    two = camixersr.load("s-x4", device="cpu").upscale(image, attention_ratio=0.5)
    assert one.shape == (80, 96, 3)
    assert np.array_equal(one, two)


def test_a_scale_that_the_model_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="x7"):
        camixersr.upscale(noise_picture(4, 4), scale=7)
    with pytest.raises(ImageError, match="more than the x2 model makes"):
        camixersr.upscale(noise_picture(4, 4), scale=2.5, model="s-x2")


def test_every_error_is_a_camixer_error_and_a_builtin_and_has_an_exit_code() -> None:
    from camixersr import errors

    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, CamixerError)
        assert kind.exit_code in (1, 2, 3)
        assert name in (errors.__doc__ or "")
        if kind is not CamixerError:
            assert issubclass(kind, ValueError | OSError | RuntimeError | ImportError | MemoryError)
