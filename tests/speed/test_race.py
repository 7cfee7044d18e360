import json
import math
import multiprocessing
from typing import Literal

import pytest
import torch

from camixersr.backends.choose import available
from camixersr.errors import ValueRangeError
from camixersr.nn import TopShare
from camixersr.operations import count
from camixersr.speed import contenders as contenders_module
from camixersr.speed import race as module
from camixersr.speed.contenders import REFERENCE, WHOLE, Contender, Entrant, Ran, apart, entries
from camixersr.speed.machine import describe, slug
from camixersr.speed.race import noise, peaks, race, worthwhile
from camixersr.weights import Model
from tests.conftest import TensorComputer, random_network

CPU = torch.device("cpu")


@pytest.fixture(autouse=True)
def _small_matrices(monkeypatch) -> None:
    monkeypatch.setattr(module, "peaks", lambda _: {"fp32": 100.0, "bf16": 400.0})


def model() -> Model:
    return Model("tiny", random_network(channels=8, blocks=(1,)))


def contenders(reduced: list[str], tile: int | Literal["auto"] = "auto") -> list[Contender]:
    """All entries, started here and not in processes of their own."""
    found = entries(model(), "cpu", reduced, tile=tile)[0]
    return [Contender(each.backend, each.precision, each.start(model())) for each in found]


def raced(entered: list[Contender], **options):
    options = {"attention_ratios": [0.0, 0.5], "rounds": 2, **options}
    return race(entered, noise(40, 50), scale=2, device=CPU, **options)


def test_everybody_computes_the_same_picture_and_the_reference_is_one() -> None:
    entered = contenders(["bf16"])
    assert [(each.backend, each.precision) for each in entered][:2] == [
        ("torch", "fp32"),
        (REFERENCE, "fp32"),
    ]
    told: list[tuple[int, int]] = []
    rows, best, dropped = raced(entered, progress=lambda done, total: told.append((done, total)))
    assert best == {"fp32": 100.0, "bf16": 400.0}
    assert dropped == []
    assert len(rows) == 2 * len(entered)
    runs = 6 * (len(entered) - 1) + 2  # whole maps of the reference once at each ratio
    assert told == [(number, runs) for number in range(1, runs + 1)]
    for row in rows:
        assert (row.low_size, row.high_size, row.tiles) == ((50, 40), (100, 80), 1)
        assert row.fastest <= row.seconds <= row.slowest
        assert row.attention_share == pytest.approx(row.attention_ratio)
        attended = round(12 * row.attention_ratio)
        macs = count(model().config, windows=12, attended=attended).total
        assert row.gflops * row.seconds * 1e9 == pytest.approx(2 * macs)
        assert row.share_of_peak == pytest.approx(
            row.gflops / (100.0 if row.precision == "fp32" else 400.0)
        )
        assert row.microseconds_per_low_pixel == pytest.approx(row.seconds / 2000 * 1e6)
        assert row.output_megapixels_per_second == pytest.approx(8000 / row.seconds / 1e6)
        if row.backend == REFERENCE:
            assert row.times_reference == 1.0
        assert (row.parity_db is None) == ((row.backend, row.precision) == ("torch", "fp32"))
        assert row.parity_db is None or row.parity_db > (100.0 if row.precision == "fp32" else 30.0)


def test_the_reference_has_the_networks_bytes_to_rounding() -> None:
    reference = contenders([])[1]
    low = noise(40, 50)
    expected, routing = model().network.route(low[None], TopShare(0.5))
    ran = reference.compute(low, 0.5)
    assert (ran.high - expected[0]).abs().max() < 1e-4
    assert ran.macs == count(model().config, windows=12, attended=int(routing.attended.sum())).total


def test_every_backend_that_is_there_takes_part_once_in_each_of_its_precisions() -> None:
    found, missing = entries(model(), "cpu", ["bf16"])
    labels = [(each.backend, each.precision) for each in found]
    assert len(set(labels)) == len(labels)
    for backend in available("cpu"):
        wanted = {(backend.name, each) for each in backend.precisions if each in ("fp32", "bf16")}
        assert not wanted if backend.missing else wanted <= set(labels)
        assert (backend.missing in missing) == bool(backend.missing)
    assert {precision for _, precision in labels} == {"fp32", "bf16"}
    plain = [(each.backend, each.precision) for each in entries(model(), "cpu", [])[0]]
    assert {precision for _, precision in plain} == {"fp32"}


def test_tiled_pictures_have_no_parity_with_the_reference() -> None:
    rows, _, _ = race(
        contenders([], tile=64)[:2],
        noise(80, 130),
        scale=2,
        device=CPU,
        attention_ratios=[0.0],
        rounds=1,
    )
    assert [row.tiles for row in rows] == [6, 2]
    assert rows[1].parity_db is None


def test_the_reference_is_raced_in_pieces_that_fit_the_caches_and_whole() -> None:
    """A piece of the result is what the network makes of that piece of the picture."""
    _, pieces, whole = contenders([])[:3]
    assert (pieces.backend, whole.backend) == (REFERENCE, WHOLE)
    low = noise(150, 130)
    ran = pieces.compute(low, 0.5)
    assert (ran.tiles, tuple(ran.high.shape)) == (4, (3, 300, 260))
    attended = 0
    for top, left in ((0, 0), (0, 128), (128, 0), (128, 128)):
        part = low[None, :, top : top + 128, left : left + 128]
        expected, routing = model().network.route(part, TopShare(0.5))
        there = ran.high[None, :, 2 * top : 2 * top + 256, 2 * left : 2 * left + 256]
        assert (there - expected).abs().max() < 1e-4
        attended += int(routing.attended.sum())
    assert ran.macs == count(model().config, windows=90, attended=attended).total
    assert (whole.compute(low, 0.5).high - model().network(low[None])[0]).abs().max() < 1e-4


def test_large_pictures_are_not_raced_on_whole_maps(monkeypatch) -> None:
    monkeypatch.setattr(contenders_module, "LARGE", 100)
    told: list[list[str]] = []
    rows, _, _ = raced(
        contenders([])[:3],
        rounds=3,
        found=lambda rows: told.append([row.backend for row in rows]),
    )
    assert told == [["torch", REFERENCE]] * 2
    assert [row.rounds for row in rows] == [3, 3] * 2


def test_medians_spread_and_turns() -> None:
    """Of made-up contenders: the first round does not count, and nobody runs twice in a row."""
    calls: list[str] = []

    def pretender(name: str, seconds: list[float]) -> Contender:
        left = iter(seconds)

        def compute(low: torch.Tensor, ratio: float) -> Ran:
            calls.append(name)
            return Ran(low, next(left), 10**9, ratio, 1, "fp32", 1)

        return Contender(name, "fp32", compute)

    entered = [pretender("torch", [99.0, 1.0, 4.0, 2.0]), pretender(REFERENCE, [0.0, 6.0, 5.0, 9.0])]
    rows, _, _ = raced(entered, attention_ratios=[0.5], rounds=3)
    assert calls == ["torch", REFERENCE] * 4
    first, reference = rows
    assert (first.first, first.fastest, first.seconds, first.slowest) == (99.0, 1.0, 2.0, 4.0)
    assert (reference.seconds, first.times_reference) == (6.0, 3.0)
    assert reference.parity_db == math.inf
    assert first.gflops == pytest.approx(1.0)


def test_who_runs_out_of_memory_drops_out(monkeypatch) -> None:
    monkeypatch.setattr(contenders_module, "available_memory", lambda _: 1000)
    rows, _, dropped = raced(contenders([])[:2])  # not the whole reference
    assert {row.backend for row in rows} == {"torch"}
    assert all(row.times_reference is None for row in rows)
    assert len(dropped) == 1
    assert "reference fp32: needs about" in dropped[0]


def test_precisions_that_are_emulated_are_left_out() -> None:
    assert worthwhile({"fp32": 100.0, "bf16": 390.0}) == ["bf16"]
    assert worthwhile({"fp32": 100.0, "bf16": 20.0, "fp16": 0.0}) == []


def test_the_noise_is_the_same_every_time_and_has_detail_everywhere() -> None:
    picture = noise(64, 96)
    assert torch.equal(picture, noise(64, 96))
    assert picture.unfold(1, 16, 16).unfold(2, 16, 16).std(dim=(0, 3, 4)).min() > 0.01


def test_a_machine_is_described_in_json() -> None:
    facts = describe()
    assert json.loads(json.dumps(facts)) == facts
    assert facts["machine"]["threads"] == torch.get_num_threads()
    assert facts["versions"]["torch"] == torch.__version__
    assert slug(facts).replace("-", "").isalnum()
    assert facts["date"].endswith("+00:00")


def test_the_peak_is_measured(monkeypatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(module, "SIDE", {"cpu": 64})
    assert set(peaks(CPU)) == {"fp32", "bf16"}
    assert peaks(CPU)["fp32"] > 0.0


def test_what_is_raced_is_what_upscale_runs() -> None:
    up = TensorComputer(model(), backend="torch", device="cpu")
    low = noise(40, 50)
    assert torch.equal(contenders([])[0].compute(low, 0.5).high, up.run(low).high)


def test_everybody_races_in_a_process_of_its_own() -> None:
    """The same results as here; errors come over, and whoever has ended is missed."""
    found = [Entrant("torch", "fp32", "cpu"), Entrant(REFERENCE, "fp32", "cpu", 128)]
    low = noise(40, 50)
    with apart(model(), found) as started:
        assert len(multiprocessing.active_children()) == len(found)
        for entry, contender in zip(found, started, strict=True):
            expected = entry.start(model())(low, 0.5)
            ran = contender.compute(low, 0.5)
            assert (ran.high - expected.high).abs().max() < 1e-5
            assert (ran.macs, ran.attention_share, ran.tiles) == (
                expected.macs, expected.attention_share, expected.tiles,
            )  # fmt: skip
        with pytest.raises(ValueRangeError):
            started[0].compute(low, 2.0)
        assert started[0].compute(low, 0.5).seconds > 0.0
    assert not multiprocessing.active_children()
