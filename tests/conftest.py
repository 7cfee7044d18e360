"""What tests share: where the data lies, small networks, pictures made on the spot."""

import base64
import io
import os
import re
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import settings
from numpy.typing import NDArray
from PIL import Image

from camixersr.cli import main
from camixersr.inference.computer import Computer
from camixersr.models import CAMixerSR, CAMixerSRConfig

ROOT = Path(__file__).resolve().parent.parent
# the same examples everywhere, and no time limit of their own: machines differ
settings.register_profile("camixersr", deadline=None, derandomize=True)
settings.load_profile("camixersr")

SHARED = Path(os.environ.get("CAMIXERSR_SHARED", ROOT.parent / "shared"))


@pytest.fixture(autouse=True, scope="session")
def _interrupts() -> None:
    """A shell's background ignores SIGINT, and `nohup` ignores SIGHUP; here both must be heard."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


@pytest.fixture(autouse=True, scope="session")
def _no_defaults_of_ones_own() -> None:
    """What the user of this machine has configured decides nothing here."""
    os.environ["CAMIXERSR_CONFIG"] = "off"


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def _threads() -> Iterator[None]:
    """A test that changes the thread count does not change it for the others."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def shared(relative: str) -> Path:
    """A file or folder of the data beside the checkout; the test is skipped, aloud, without it."""
    path = SHARED / relative
    if not path.exists():
        pytest.skip(f"needs {relative} of the data folder ({SHARED}), which is not there")
    return path


def random_network(
    channels: int = 20, scale: int = 2, blocks: tuple[int, ...] = (2, 1), *, seed: int = 1, **widths: int
) -> CAMixerSR:
    """A small network whose scores spread over (0, 1), as random ones do not by themselves."""
    torch.manual_seed(seed)
    network = CAMixerSR(CAMixerSRConfig(channels, scale, blocks, **widths)).eval()
    network.requires_grad_(False)
    for name, parameter in network.named_parameters():
        if "predictor.mask" in name or "offsets" in name:
            parameter.mul_(6.0)
        elif network.config.pool and "predictor.channel" in name:
            parameter.mul_(30.0)  # what is pooled shows
    return network


def noise_picture(height: int, width: int, channels: int = 3, *, seed: int = 0) -> NDArray[np.uint8]:
    """A picture with a plain and a busy part."""
    rng = np.random.default_rng(seed)
    picture = np.full((height, width, channels), 120.0)
    picture += np.linspace(0, 40, width)[None, :, None]
    picture[:, width // 2 :] += rng.normal(0, 40, (height, width - width // 2, channels))
    return picture.clip(0, 255).astype(np.uint8)


class TensorComputer(Computer):
    """A computer that gives a tensor for a tensor, as tests compare them."""

    def run(self, low: Any, **how: Any) -> Any:
        if not isinstance(low, torch.Tensor):
            return super().run(low, **how)
        result = super().run(low.cpu().numpy(), **how)
        return replace(result, high=torch.from_numpy(result.high))


def run(*arguments: object) -> int:
    """Run the command line in this process; the exit code."""
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    assert isinstance(ended.value.code, int)
    return ended.value.code


NARROW: tuple[dict[str, int], ...] = (
    {"keys": 6},
    {"values": 12},
    {"hidden": 10},
    {"keys": 7, "values": 13, "hidden": 9},
)
"""Widths of a pruned `random_network`."""


@pytest.fixture
def network() -> CAMixerSR:
    return random_network()


def pictures_of_page(page: Path) -> list[np.ndarray]:
    """The pictures that an HTML page has in itself, as floating point 0 to 255."""
    found = re.findall(r'src="data:image/(?:jpeg|png|webp);base64,([^"]+)"', page.read_text())
    return [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))).astype(float) for each in found]
