import importlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import camixersr
from camixersr.errors import CamixerError, UsageError
from tests.conftest import ROOT, noise_picture


def test_all_is_what_is_public() -> None:
    for name in camixersr.__all__:
        assert getattr(camixersr, name) is not None
    with pytest.raises(AttributeError, match="nothing"):
        camixersr.nothing  # noqa: B018


def python_reference() -> str:
    text = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    return text[text.index("## Python") : text.index("## Policies")]


def test_everything_public_is_in_the_reference() -> None:
    text = python_reference()
    for name in camixersr.__all__:
        assert name == "__version__" or f"`camixersr.{name}" in text, name
    for name in vars(camixersr.Upscaler):
        assert name.startswith("_") or name in INSIDE or f"`Upscaler.{name}(" in text, name


INSIDE = ("computer", "model", "scale", "turn")
"""Of `Upscaler`, and told by its docstrings alone."""


def test_the_reference_names_no_deep_path_and_nothing_that_is_not_there() -> None:
    pytest.importorskip("onnx", reason="needs the extra export, whose functions are named")
    for name in re.findall(r"`camixersr\.([\w.]+)", python_reference()):
        parts = name.split(".")
        assert len(parts) <= 2, name
        place = camixersr
        if hasattr(camixersr, parts[0]):
            place = getattr(camixersr, parts[0])
        else:
            place = importlib.import_module(f"camixersr.{parts[0]}")
        for part in parts[1:]:
            place = getattr(place, part)


def test_names_that_went_away_still_work_and_name_the_new_ones() -> None:
    upscaler = camixersr.load("s-x4", device="cpu", tile=64)
    with pytest.warns(DeprecationWarning, match=r"use Upscaler\.computer\.tile"):
        assert upscaler.tile == 64
    with pytest.raises(AttributeError, match="nothing"):
        _ = upscaler.nothing


def test_the_smallest_model_that_suffices_is_taken() -> None:
    image = noise_picture(20, 24)
    for scale, model in ((1.5, "s-x2"), (2, "s-x2"), (2.5, "s-x3"), (None, "s-x4")):
        expected = camixersr.load(model, device="cpu").upscale(image, scale=scale)
        assert np.array_equal(camixersr.upscale(image, scale=scale, device="cpu"), expected)
    batch = torch.from_numpy(image.transpose(2, 0, 1).copy())[None]
    assert camixersr.upscale(batch, scale=2, device="cpu").shape == (1, 3, 40, 48)


def test_a_panorama_is_known_by_its_metadata(tmp_path: Path) -> None:
    xmp = b'<x:xmpmeta><rdf:Description GPano:ProjectionType="equirectangular"/></x:xmpmeta>'
    Image.fromarray(noise_picture(24, 48)).save(tmp_path / "p.png")
    expected = camixersr.load("s-360-x4", device="cpu").upscale(noise_picture(24, 48), projection="erp")
    with Image.open(tmp_path / "p.png") as image:
        image.load()
    image.info["xmp"] = xmp
    assert np.array_equal(np.asarray(camixersr.upscale(image, device="cpu")), expected)
    flat = camixersr.upscale(image, device="cpu", projection="flat")
    assert np.array_equal(np.asarray(flat), camixersr.upscale(noise_picture(24, 48), device="cpu"))


def test_files_are_pictures(tmp_path: Path) -> None:
    Image.fromarray(noise_picture(20, 24)).save(tmp_path / "a.png")
    for function in (camixersr.upscale, camixersr.restore):
        made = function(tmp_path / "a.png", device="cpu")
        assert isinstance(made, camixersr.Picture)
        assert np.array_equal(made.pixels, function(noise_picture(20, 24), device="cpu"))


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
    with pytest.raises(UsageError, match=r"expected at most x4.*got x7"):
        camixersr.upscale(noise_picture(4, 4), scale=7)
    with pytest.raises(UsageError, match="more than the x2 model makes"):
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
