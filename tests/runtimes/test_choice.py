import json
from pathlib import Path

import pytest
import torch

from camixersr import runtimes
from camixersr.cli import main
from camixersr.export import parity
from camixersr.inference.upscaler import Upscaler
from camixersr.runtimes import cache, choice
from camixersr.runtimes import openvino as openvino_engine
from camixersr.weights import Model
from tests.conftest import random_network


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMIXERSR_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def upscaler() -> Upscaler:
    return Upscaler(Model("tiny", random_network(channels=8, blocks=(1,)), sha256="1"), device="cpu")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for measurements: the later a backend comes in the list, the faster."""
    place = {None: 3.0, "onnxruntime": 2.0, "openvino": 1.0}
    monkeypatch.setattr(
        choice, "_time", lambda upscaler, runs, low: 1e-6 * place[None if runs is None else runs.name]
    )
    monkeypatch.setattr(parity, "sample_photo", lambda: torch.rand(3, 32, 32))


@pytest.mark.usefixtures("quick")
def test_the_fastest_is_chosen_once(upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert choice.known(upscaler) is None
    chosen = choice.choose(upscaler, say=said.append)
    assert chosen.backend == "openvino"
    assert chosen.microseconds == {"torch": 3.0, "onnxruntime": 2.0, "openvino": 1.0}
    assert len(said) == 1
    monkeypatch.setattr(choice, "_time", lambda *_: pytest.fail("measured again"))
    assert choice.choose(upscaler, say=said.append) == chosen == choice.known(upscaler)
    assert choice.choices() == [chosen]
    assert len(said) == 1
    made = runtimes.upscaler(upscaler.model, backend="auto", device="cpu")
    assert made.backend == "openvino"


@pytest.mark.usefixtures("quick")
def test_what_computes_something_else_is_left_out(
    upscaler: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parity.GATES, "fp32", 1000.0)
    chosen = choice.choose(upscaler)
    assert chosen.backend == "torch"
    assert "1000 wanted" in chosen.left_out["openvino"]


@pytest.mark.usefixtures("quick")
def test_threads_are_another_choice(upscaler: Upscaler) -> None:
    torch.set_num_threads(2)
    choice.choose(upscaler)
    torch.set_num_threads(1)
    assert choice.known(upscaler) is None


def test_the_cache_survives_damage(upscaler: Upscaler) -> None:
    def enlarge() -> torch.Tensor:
        made = openvino_engine.OpenVino(upscaler.model, "fp32")
        return Upscaler(upscaler.model, device="cpu", engine=made).run(torch.full((3, 20, 30), 0.5)).high

    first = enlarge()
    (kept,) = cache.folder().iterdir()
    content = kept.read_bytes()
    assert torch.equal(enlarge(), first)  # read, not compiled
    for damaged in (content[:1000], content[:-1] + bytes([content[-1] ^ 1]), b""):
        kept.write_bytes(damaged)
        assert cache.kept(kept.name) is None
        assert torch.equal(enlarge(), first)
        assert cache.kept(kept.name) is not None


def test_a_cache_that_cannot_be_written_is_done_without(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAMIXERSR_CACHE", str(tmp_path / "file"))
    cache.keep("name", b"content")
    assert cache.kept("name") is None


def test_doctor(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["doctor"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in runtimes.BACKENDS)
    assert "nothing yet" in said
    assert str(tmp_path / "cache") in said
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in facts["backends"]] == list(runtimes.BACKENDS)
    assert facts["choices"] == []
