import json
import threading
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from PIL import Image

from camixersr import Options, upscale_files
from camixersr.backends import BACKENDS, cache, choose, fastest, parity
from camixersr.catalogue import embedded, find
from camixersr.cli import main
from camixersr.errors import CancelledError, UsageError, ValueRangeError
from camixersr.native.core import FORCE
from camixersr.runs.models import CELL
from camixersr.weights import Model
from tests.conftest import TensorComputer, noise_picture, random_network


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMIXERSR_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv(FORCE, "off")  # the native core may be there, or not


@pytest.fixture
def model() -> Model:
    return Model("tiny", random_network(channels=8, blocks=(1,)), sha256="1")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for measurements: the later a backend comes in the list, the faster."""
    place = {"torch": 3.0, "onnxruntime": 2.0, "openvino": 1.0}
    monkeypatch.setattr(fastest, "_time", lambda runs, low, pool, seconds: 1e-6 * place[runs.name])
    monkeypatch.setattr(parity, "sample_photo", lambda: torch.rand(3, 128, 160))


@pytest.mark.usefixtures("quick")
def test_the_fastest_is_chosen_once(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert fastest.known(model, "cpu") is None
    chosen = fastest.choose(model, device="cpu", say=said.append)
    assert chosen.backend == "openvino"
    assert chosen.microseconds == {"torch": 3.0, "onnxruntime": 2.0, "openvino": 1.0}
    assert len(said) == 2
    assert "at most 15 seconds" in said[0]
    assert "openvino is used from now on" in said[1]
    monkeypatch.setattr(fastest, "_time", lambda *_, **__: pytest.fail("measured again"))
    assert fastest.choose(model, device="cpu", say=said.append) == chosen == fastest.known(model, "cpu")
    assert fastest.choices() == [chosen]
    assert len(said) == 2
    made = TensorComputer(model, backend="fastest", device="cpu")
    assert made.backend.name == "openvino"


@pytest.mark.usefixtures("quick")
def test_what_computes_something_else_is_left_out(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(parity.GATES, "fp32", 1000.0)
    chosen = fastest.choose(model, device="cpu")
    assert chosen.backend == "torch"
    assert "1000 wanted" in chosen.left_out["openvino"]


@pytest.mark.usefixtures("quick")
def test_nobody_waits_for_a_backend_that_takes_too_long(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Here it would never come back; the choice is among what was measured by then."""
    come_back, real = threading.Event(), choose.make
    seen: list[tuple[float, float]] = []

    def stuck(model: Model, backend: str, **given: Any) -> Any:
        if backend == "openvino":
            come_back.wait()
        return real(model, backend, **given)

    monkeypatch.setattr(fastest, "make", stuck)
    monkeypatch.setattr(fastest, "LONGEST", 1.0)
    chosen = fastest.choose(model, device="cpu", progress=lambda done, total: seen.append((done, total)))
    come_back.set()
    assert chosen.backend in ("torch", "onnxruntime")
    assert chosen.left_out["openvino"] == "not measured within 1 seconds"
    assert fastest.known(model, "cpu") == chosen
    assert seen == sorted(seen)
    assert {total for _, total in seen} == {1.0}


def test_what_progress_raises_ends_the_measurement(model: Model) -> None:
    def stop(done: float, total: float) -> None:
        raise CancelledError("stopped")

    with pytest.raises(CancelledError):
        fastest.choose(model, device="cpu", progress=stop)
    assert fastest.known(model, "cpu") is None


def test_the_real_measurement(model: Model) -> None:
    """Of a tiny network: all that are here are measured, and the fastest is chosen."""
    chosen = fastest.choose(model, device="cpu")
    assert {"torch", "onnxruntime", "openvino"} == set(chosen.microseconds)
    assert chosen.backend == min(chosen.microseconds, key=lambda name: chosen.microseconds[name])


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(("options", "gpano", "name"), [
    (Options(), False, "s-x4"),
    (Options(scale=2), False, "s-x2"),
    (Options(width=80), False, "s-x2"),
    (Options(), True, "s-360-x4"),
], ids=["default", "scale", "width", "panorama"])  # fmt: skip
def test_only_the_model_in_use_is_loaded_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: Options, gpano: bool, name: str
) -> None:
    measured: list[str] = []

    def chosen(model: Model, **_: Any) -> Any:
        measured.append(model.name)
        return SimpleNamespace(backend="torch")

    monkeypatch.setattr(fastest, "choose", chosen)
    Image.fromarray(noise_picture(24, 48)).save(tmp_path / "a.png")
    options = replace(options, backend="fastest", projection="erp" if gpano else "auto")
    run = upscale_files(tmp_path / "a.png", tmp_path / "b.png", options=options)
    assert measured == list(run.models._loaded) == []
    (result,) = run
    assert result.error is None
    assert measured == [key[0] for key in run.models._loaded] == [name]


def test_what_cannot_be_had_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    Image.fromarray(noise_picture(24, 48)).save(tmp_path / "a.png")
    for options, error, text in (
        (Options(backend="onnxruntime", precision="bf16"), UsageError, "computes in fp32"),
        (Options(tile=96), ValueRangeError, "64"),
        (Options(device="tpu"), UsageError, "unknown device"),
    ):
        with pytest.raises(error, match=text):
            upscale_files([tmp_path / "a.png"], options=options)


def test_embedded_models_pool_over_the_cells_that_are_checked() -> None:
    assert {find(name).config.pool for name in embedded()} == {CELL}


@pytest.mark.usefixtures("quick")
def test_threads_are_another_choice(model: Model) -> None:
    torch.set_num_threads(2)
    fastest.choose(model, device="cpu")
    torch.set_num_threads(1)
    assert fastest.known(model, "cpu") is None


def test_the_cache_survives_damage(model: Model) -> None:
    def enlarge() -> torch.Tensor:
        made = TensorComputer(model, backend="openvino", device="cpu")
        return made.run(torch.full((3, 20, 30), 0.5)).high

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
    assert all(name in said for name in BACKENDS)
    assert "nothing yet" in said
    assert str(tmp_path / "cache") in said
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    facts = json.loads(capsys.readouterr().out)
    assert [each["name"] for each in facts["backends"]] == list(BACKENDS)
    assert facts["choices"] == []
