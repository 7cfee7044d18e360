"""Files for other programs: whole and right, or not there."""

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from camixersr.backends import parity
from camixersr.cli import main
from camixersr.errors import ParityError, UsageError, ValueRangeError
from camixersr.export.files import export
from camixersr.models.calibration import Calibration, Threshold
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


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("pool", [0, 32])
@pytest.mark.parametrize("calibrated", [True, False])
def test_an_image_in_and_an_image_out(tmp_path: Path, calibrated: bool, pool: int, scale: int) -> None:
    """Of any size, smaller than a window too: what torch makes, clamped, at the ratio asked for."""
    network = random_network(channels=8, blocks=(1, 1), scale=scale, pool=pool)
    model = Model("tiny", network, THRESHOLDS if calibrated else None)
    for ratio in (0.0, 0.3, 0.5, 1.0):
        target = tmp_path / f"{ratio}.onnx"
        assert export(model, target, to="onnx", photos=[PHOTO], attention_ratio=ratio).psnr_db > 100.0
        facts = facts_of(target)
        assert facts["attention_ratio"] == str(ratio)
        assert not {"thresholds", "pool", "pooled"} & set(facts)
        session = onnxruntime.InferenceSession(target, providers=["CPUExecutionProvider"])
        assert [each.name for each in session.get_inputs()] == ["low"]
        assert [each.name for each in session.get_outputs()] == ["high"]
        for height, width in ((37, 90), (5, 40), (1, 1), (64, 32)):
            low = torch.rand(1, 3, height, width) * 1.2 - 0.1
            (high,) = session.run(None, {"low": low.numpy()})
            expected, _ = model.network.route(low, model.policy(ratio))
            assert torch.allclose(torch.from_numpy(high), expected.clamp(0, 1), atol=3e-6)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("tile", [0, 32])
@pytest.mark.parametrize(("to", "suffix"), [("onnx", ".onnx"), ("openvino", ".xml")])
def test_simple_files_of_every_kind(
    model: Model, tmp_path: Path, to: str, suffix: str, tile: int, precision: str
) -> None:
    """Thresholds of never and always (1e30) do not fit half precision, and are not stored in it."""
    for ratio in (0.0, 0.5, 1.0):
        target = tmp_path / f"{ratio}{suffix}"
        given = {"to": to, "tile": tile, "precision": precision, "attention_ratio": ratio}
        seen = export(model, target, photos=[PHOTO], **given)  # type: ignore[arg-type]
        assert seen.psnr_db > (100.0 if precision == "fp32" else 50.0)


@pytest.mark.parametrize("ratio", [None, 0.5])
def test_it_tells_how_far_it_is(model: Model, tmp_path: Path, ratio: float | None) -> None:
    told: list[tuple[str, int, int]] = []
    export(
        model,
        tmp_path / "net.onnx",
        to="onnx",
        photos=[PHOTO, PHOTO],
        attention_ratio=ratio,
        progress=lambda *step: told.append(step),
    )
    total = 2 + 2 * (3 if ratio is None else 1)
    assert [done for _, done, _ in told] == list(range(total + 1))
    assert {each for _, _, each in told} == {total}
    assert [what.split()[0] for what, _, _ in told[:3]] == ["building", "loading", "comparing"]


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
    with pytest.raises(ValueRangeError, match=r"\[0, 1\]"):
        export(model, tmp_path / "net.onnx", to="onnx", photos=[PHOTO], attention_ratio=1.5)


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
    assert run("--overwrite", "--attention-ratio", "0.3") == 2
    assert "add --simple" in capsys.readouterr().err
    assert run("-o", "simple.onnx", "--simple", "--attention-ratio", "0.3", "--json") == 0
    assert json.loads(capsys.readouterr().out)["attention_ratio"] == 0.3
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
