import json
from pathlib import Path

import pytest
from PIL import Image

from camixersr.backends import compiled
from camixersr.cli.benchmark import _parse
from camixersr.errors import UsageError
from camixersr.speed import race
from camixersr.weights import Model, save
from tests.cli.test_cli import run
from tests.conftest import noise_picture, random_network


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "tiny.safetensors"
    save(path, Model("tiny", random_network(channels=8, scale=2, blocks=(1,))))
    return path


def test_speed_is_a_table_and_json(model: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(race, "SIDE", {"cpu": 64})
    monkeypatch.setattr(compiled, "why_not", lambda device: "no compiler today")  # it takes half a minute
    (tmp_path / "out").mkdir()
    code = run(
        "benchmark", "--model", model, "--size", "40x32", "64x48", "--attention-ratio", 0, 1,
        "--rounds", 1, "--device", "cpu", "--json", tmp_path / "out",
    )  # fmt: skip
    assert code == 0
    out = capsys.readouterr().out
    for word in (
        "reference",
        "torch",
        "GFLOP/s",
        "no compiler today",
        "40 x 32",
        "64 x 48",
        "peak: a large matrix product",
    ):
        assert word in out
    (path,) = (tmp_path / "out").iterdir()
    assert path.name.startswith("speed-")
    facts = json.loads(path.read_text())
    assert facts["suite"] == "speed"
    assert facts["command"].startswith("camixersr")
    assert facts["machine"]["cpu"]
    assert {row["backend"] for row in facts["rows"]} >= {"torch", "reference"}
    assert {tuple(row["low_size"]) for row in facts["rows"]} == {(40, 32), (64, 48)}
    assert all(row["seconds"] > 0 for row in facts["rows"])


def test_memory_is_that_of_whole_processes(model: Path, tmp_path: Path, capsys) -> None:
    photo, target = tmp_path / "a.png", tmp_path / "facts.json"
    Image.fromarray(noise_picture(50, 70)).save(photo)
    code = run(
        "benchmark", "--suite", "memory", "--model", model, "--size", "64x48", "1100x1000",
        "--device", "cpu", "--photo", photo, "--json", target,
    )  # fmt: skip
    assert code == 0
    assert "predicted MB" in capsys.readouterr().out
    small, large = json.loads(target.read_text())["rows"]
    assert (small["low_size"], small["tile"], small["predicted_memory_bytes"]) == ([64, 48], None, None)
    assert (large["low_size"], large["high_size"]) == ([1100, 1000], [2200, 2000])
    assert large["tile"] > 0
    assert large["predicted_memory_bytes"] > 0
    for row in (small, large):
        assert row["peak_memory_bytes"] > 40e6  # numpy and libvips alone are more
        assert row["seconds"] > 0


def test_a_failing_run_is_one_error(tmp_path: Path, capsys, monkeypatch) -> None:
    from camixersr.speed.memory import watch

    monkeypatch.setattr("camixersr.speed.memory.time.sleep", lambda _: None)
    with pytest.raises(Exception, match="a run of `camixersr upscale` failed: ls: "):
        watch(["ls", str(tmp_path / "nothing")])


@pytest.mark.parametrize("text", ["", "540", "x", "0x10", "10x", "axb", "-1x5"])
def test_sizes_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--size must be"):
        _parse(text)


@pytest.mark.parametrize(
    "options",
    [["--attention-ratio", "2"], ["--rounds", "0"], ["--tile", "x"], ["--suite", "what"], ["--size", "9"]],
)
def test_impossible_options_are_usage_errors(options: list[str], capsys) -> None:
    assert run("benchmark", *options) == 2
    assert capsys.readouterr().err.startswith("camixersr: ")
