"""People with pictures need no torch: what they do loads none, and works where it is not installed."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from camixersr.native import core as native
from tests.conftest import noise_picture

pytestmark = pytest.mark.skipif(bool(native.why_not()), reason="needs the native core, which is not here")

HIDDEN = """
import sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("torch", "lightning"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
import camixersr.backends.devices as devices
devices.TORCH = ""
import camixersr.backends.choose as choose
choose.TORCH = ""
import camixersr.backends.fastest as fastest
fastest.TORCH = ""
"""


def run(*arguments: object, before: str = "", after: str = "") -> subprocess.CompletedProcess[str]:
    """The command line in a process of its own."""
    program = f"""{before}
import sys
from camixersr.cli import main
try:
    main({[str(each) for each in arguments]!r})
finally:
    print("torch" if "torch" in sys.modules else "free", file=sys.stderr)
{after}"""
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=240)


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a.png"
    Image.fromarray(noise_picture(40, 70)).save(path)
    return path


@pytest.mark.parametrize(
    "options",
    [
        ("upscale", "--route-map", "map.png", "--json", "facts.json"),
        ("upscale", "--scale", 3, "--tile", 64, "--precision", "fp32", "--restore", "on"),
        ("upscale", "--fit", "200x100", "--max-share", 0.25, "--compare", "page.html"),
        ("restore",),
    ],
)
def test_enlarging_loads_no_torch(picture: Path, tmp_path: Path, options: tuple[object, ...]) -> None:
    command, *rest = options
    rest = [tmp_path / each if "." in str(each) and not str(each)[0].isdigit() else each for each in rest]
    done = run(command, picture, "-o", tmp_path / "b.png", *rest, before=HIDDEN)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "free"
    with Image.open(tmp_path / "b.png") as result:
        assert result.width >= 70


def test_results_are_the_same_with_torch_and_without(picture: Path, tmp_path: Path) -> None:
    for name, before in (("with", "import torch"), ("without", HIDDEN)):
        assert run("upscale", picture, "-o", tmp_path / f"{name}.png", before=before).returncode == 0
    with_torch, without = ((tmp_path / f"{name}.png").read_bytes() for name in ("with", "without"))
    assert with_torch == without


@pytest.mark.parametrize(
    "command", [("models", "list"), ("models", "show", "s-x4"), ("doctor",), ("--help",)]
)
def test_looking_around_loads_no_torch(command: tuple[str, ...]) -> None:
    done = run(*command, before=HIDDEN)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "free"


def test_a_panorama_is_looked_at_without_torch(tmp_path: Path) -> None:
    Image.fromarray(noise_picture(64, 128)).save(tmp_path / "p.png")
    done = run("viewports", tmp_path / "p.png", "-o", tmp_path / "views", before=HIDDEN)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1] == "free"


@pytest.mark.parametrize(
    "options",
    [("upscale", "--backend", "torch"), ("upscale", "--precision", "fp16")],
)
def test_what_needs_torch_says_what_to_install(
    picture: Path, tmp_path: Path, options: tuple[str, ...]
) -> None:
    command, *rest = options
    done = run(command, picture, "-o", tmp_path / "b.png", *rest, before=HIDDEN)
    assert done.returncode == 2
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("camixersr:")]
    assert "needs torch" in said
    assert "research" in said
    assert not (tmp_path / "b.png").exists()


@pytest.mark.parametrize("command", [("upscale", "--backend", "fastest"), ("doctor", "--measure")])
def test_nothing_is_measured_where_torch_is_missing(
    picture: Path, tmp_path: Path, command: tuple[str, ...]
) -> None:
    """What is missing is said at once, and not after the line that measuring begins."""
    inputs = (picture, "-o", tmp_path / "b.png") if command[0] == "upscale" else ()
    done = run(*command, *inputs, before=HIDDEN)
    assert done.returncode == 2
    assert "measuring" not in done.stdout + done.stderr
    (said,) = [line for line in done.stderr.splitlines() if line.startswith("camixersr:")]
    assert "backend fastest needs torch" in said
    assert "research" in said


def test_policies_choose_the_same_of_arrays_as_of_tensors() -> None:
    import torch

    from camixersr.backends.orders import choose
    from camixersr.inference.policies import Allowed, LogOddsThreshold
    from camixersr.models.calibration import Threshold
    from camixersr.nn.routing import ExpectedCount, TopShare

    logits = np.random.default_rng(0).normal(size=(2, 37)).astype(np.float32)
    logits[:, 5:9] = logits[:, :4]  # equals: the earlier wins
    allowed = np.arange(37)[None] % 3 > 0
    for policy in (
        *(TopShare(share) for share in (0.0, 0.3, 0.5, 1.0)),
        Threshold((0.2, 0.6)),
        LogOddsThreshold((0.1, -0.3), (0.37, 0.0)),
        Allowed(TopShare(0.4), allowed),
        Allowed(ExpectedCount(0.4), allowed),
        ExpectedCount(0.7),
    ):
        for block in range(2):
            expected = policy.choose(torch.from_numpy(logits), block).float().numpy()
            assert np.array_equal(choose(policy, logits, block), expected), policy


def test_facts_name_the_backend(picture: Path, tmp_path: Path) -> None:
    facts = tmp_path / "facts.json"
    assert run("upscale", picture, "-o", tmp_path / "b.png", "--json", facts).returncode == 0
    assert json.loads(facts.read_text())["backend"] == "native"
