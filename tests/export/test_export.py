"""Files for other programs: whole and right, or not there."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from camixersr.cli import main
from camixersr.errors import ParityError, UsageError, ValueRangeError
from camixersr.export import parity
from camixersr.export.files import export
from camixersr.nn import Calibration, Threshold
from camixersr.weights import Model, save
from tests.conftest import NARROW, random_network

THRESHOLDS = Calibration((0.5,), ((0.5, 0.4),))
PHOTO = torch.rand(3, 40, 56, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def model() -> Model:
    return Model("tiny", random_network(channels=8, blocks=(1, 1)), THRESHOLDS, sha256="a1")


def facts_of(path: Path) -> dict[str, str]:
    return {each.key: each.value for each in onnx.load(path).metadata_props}


@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_files_are_checked_and_whole(
    model: Model, tmp_path: Path, to: str, suffix: str, precision: str, tile: int
) -> None:
    target = tmp_path / f"net{suffix}"
    seen = export(model, target, to=to, photos=[PHOTO], tile=tile, precision=precision)  # type: ignore[arg-type]
    assert seen.passed
    assert seen.psnr_db > (100.0 if precision == "fp32" else 50.0)
    expected = {target.name} | ({"net.bin"} if to == "openvino" else set())
    assert {path.name for path in tmp_path.iterdir()} == expected


@pytest.mark.parametrize("widths", NARROW, ids=str)
@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_pruned_networks(tmp_path: Path, to: str, suffix: str, widths: dict[str, int]) -> None:
    pruned = Model("tiny", random_network(blocks=(1,), **widths), Calibration((0.5,), ((0.5,),)))
    seen = export(pruned, tmp_path / f"net{suffix}", to=to, photos=[PHOTO])  # type: ignore[arg-type]
    assert seen.psnr_db > 100.0


def test_another_program_needs_only_the_file(model: Model, tmp_path: Path) -> None:
    """Thresholds from the metadata give what torch gives."""
    target = tmp_path / "net.onnx"
    export(model, target, to="onnx", photos=[PHOTO])
    facts = facts_of(target)
    assert (facts["model"], facts["sha256"], facts["scale"]) == ("tiny", "a1", "2")
    blocks, windows = int(facts["blocks"]), 6
    session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
    low = torch.rand(1, 3, 32, 48)
    (high,) = session.run(
        ["high"],
        {
            "low": low.numpy(),
            "thresholds": np.array(json.loads(facts["thresholds"])["0.5"], np.float32),
            "slopes": np.array(json.loads(facts["slopes"])["0.5"], np.float32),
            "count": np.array([0]),
            "allowed": np.ones((blocks, windows), np.float32),
            "pooled": np.zeros(json.loads(facts["pooled"]), np.float32),
            "whole": np.ones(1, np.float32),
        },
    )
    expected = model.network(low, Threshold((0.5, 0.4)))
    assert torch.allclose(torch.from_numpy(high), expected, atol=2e-6)


@pytest.mark.parametrize(("to", "name"), [("onnx", "net.onnx"), ("openvino", "net.xml")])
def test_a_failed_gate_leaves_nothing(
    model: Model, tmp_path: Path, to: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.GATES, "fp32", 1000.0)
    with pytest.raises(ParityError, match="not written"):
        export(model, tmp_path / name, to=to, photos=[PHOTO])  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_nan_is_no_parity() -> None:
    assert not parity.Parity(float("nan"), float("nan"), 50.0).passed


def test_wrong_options(model: Model, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"ending in \.onnx"):
        export(model, tmp_path / "net.bin", to="onnx", photos=[PHOTO])
    with pytest.raises(ValueRangeError, match="multiple of 16"):
        export(model, tmp_path / "net.onnx", to="onnx", photos=[PHOTO], tile=40)
    with pytest.raises(UsageError, match="use one of fp32, fp16"):
        export(model, tmp_path / "net.onnx", to="onnx", photos=[PHOTO], precision="int8")


def test_command(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save("tiny.safetensors", model)

    def run(*arguments: str) -> int:
        with pytest.raises(SystemExit) as ended:
            main(["export", "tiny.safetensors", "--to", "onnx", *arguments])
        return int(ended.value.code or 0)

    assert run("--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["file"] == "tiny.onnx"
    assert facts["psnr_db"] >= facts["gate_db"] == 90.0
    assert run() == 3
    assert "--overwrite" in capsys.readouterr().err
    assert run("--overwrite", "--tile", "32", "--dynamic") == 2
    monkeypatch.setitem(parity.GATES, "fp32", 1000.0)
    before = Path("tiny.onnx").read_bytes()
    assert run("--overwrite") == 1
    assert "not written" in capsys.readouterr().err
    assert Path("tiny.onnx").read_bytes() == before


@pytest.mark.parametrize("name", ["../x", "/tmp/elsewhere/x", "a/b"])
def test_a_models_name_is_no_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    save(tmp_path / "m.safetensors", Model(name, random_network(channels=8, blocks=(1, 1))))
    with pytest.raises(SystemExit) as ended:
        main(["export", str(tmp_path / "m.safetensors"), "--to", "onnx"])
    assert ended.value.code == 0
    assert len(list(here.iterdir())) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"here", "m.safetensors"}
