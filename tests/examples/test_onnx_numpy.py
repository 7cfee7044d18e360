"""The example that runs an exported file with numpy."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr import load
from camixersr.catalogue import find
from camixersr.metrics import psnr
from tests.conftest import ROOT, noise_picture, shared

pytest.importorskip("onnxruntime", reason="needs the extra `onnx`: onnxruntime is not installed")
EXAMPLE = ROOT / "examples" / "onnx_numpy.py"


@pytest.fixture(scope="module")
def example():
    spec = importlib.util.spec_from_file_location("onnx_numpy", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def written(model: str, folder: Path, *, simple: bool = False) -> Path:
    from camixersr.export.files import export

    target = folder / "model.onnx"
    photos = [torch.rand(3, 32, 32)]
    export(find(model), target, to="onnx", photos=photos, attention_ratio=0.5 if simple else None)
    return target


def near(example, model: str, file: Path, ratios: tuple[float, ...]) -> None:
    for picture in (noise_picture(37, 50), noise_picture(3, 20)):
        for ratio in ratios:
            theirs = example.enlarge(str(file), picture, ratio)
            ours = load(model).upscale(picture, attention_ratio=ratio)
            assert abs(theirs.astype(int) - ours).max() <= 1
            assert psnr(theirs, ours) > 60


def test_a_full_export(example, tmp_path: Path) -> None:
    near(example, "s-x4", written("s-x4", tmp_path), (0.0, 0.5, 1.0))


def test_a_simple_export(example, tmp_path: Path) -> None:
    near(example, "s-x2", written("s-x2", tmp_path, simple=True), (0.5,))


@pytest.mark.slow
def test_the_authors_model(example, tmp_path: Path) -> None:
    path = str(shared("official/CAMixerSR_S.pth"))
    near(example, path, written(path, tmp_path), (0.5,))


def test_the_command_needs_neither_torch_nor_camixersr(tmp_path: Path) -> None:
    file = written("s-x2", tmp_path)
    Image.fromarray(noise_picture(24, 30)).save(tmp_path / "low.png")
    given = [str(file), str(tmp_path / "low.png"), str(tmp_path / "high.png")]
    code = f"""import runpy, sys
sys.modules['torch'] = sys.modules['camixersr'] = None
sys.argv[1:] = {given}
runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"""
    subprocess.run([sys.executable, "-c", code], check=True)
    with Image.open(tmp_path / "high.png") as high:
        assert high.size == (60, 48)
        assert np.asarray(high).std() > 10
