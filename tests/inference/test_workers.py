"""Tiles in batches and on several devices, for which the CPU stands in."""

import multiprocessing
import os
import pickle
import signal
import tempfile
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from camixersr.backends.devices import devices_of
from camixersr.backends.folded import Folded
from camixersr.backends.protocol import Limits
from camixersr.enlarge.disk import enlarge_file
from camixersr.enlarge.options import Options
from camixersr.errors import DeviceError, ImageError, MemoryLimitError, UsageError, ValueRangeError
from camixersr.image.raw import Layout
from camixersr.inference.cost import Bill
from camixersr.inference.memory import Memory
from camixersr.inference.plan import Plan
from camixersr.inference.shared import Shared
from camixersr.inference.sources import HighInMemory, InMemory
from camixersr.inference.tiles import cut, group
from camixersr.messages import GoingOn, Idle
from camixersr.models.calibration import Calibration, Threshold
from camixersr.nn.routing import Policy
from camixersr.processes import Ask, Processes, Work
from camixersr.weights import Model
from tests.conftest import TensorComputer, noise_picture, random_network
from tests.enlarge.test_disk import picture, run, stop_after

THRESHOLDS = (0.87, 0.975)  # these attend about half of the windows of `low`


def upscaler(**options) -> TensorComputer:
    network = random_network(channels=12, blocks=(1, 1))
    options = {"backend": "torch", "device": "cpu", "tile": 64, **options}
    return TensorComputer(Model("test", network, Calibration((0.5,), (THRESHOLDS,))), **options)


def low(height: int = 150, width: int = 330) -> torch.Tensor:
    return torch.from_numpy(noise_picture(height, width)).permute(2, 0, 1).float() / 255.0


def test_batches_hold_each_tile_once_and_tiles_of_one_size() -> None:
    tiles = cut(500, 700, 64)
    for most in (1, 2, 5, 16, 1000):
        batches = group(tiles, most)
        assert sorted(chain(*batches)) == list(range(len(tiles)))
        for batch in batches:
            assert 1 <= len(batch) <= most
            assert len({(tiles[n].rows.length, tiles[n].columns.length) for n in batch}) == 1
    assert group(tiles, 1) == [(number,) for number in range(len(tiles))]


@pytest.mark.parametrize("ratio", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("max_share", [0.3, 1.0])
def test_a_batch_is_its_tiles(ratio: float, max_share: float) -> None:
    """Thresholds, shares and every tile's own allowed windows, in one computation."""
    one = upscaler().run(low(), attention_ratio=ratio, max_share=max_share)
    for batch in (2, 7):
        many = upscaler(batch=batch).run(low(), attention_ratio=ratio, max_share=max_share)
        assert (many.high - one.high).abs().max() < 1e-5
        assert np.array_equal(many.shares, one.shares)
        assert (many.tiles, many.macs, many.attention_share) == (one.tiles, one.macs, one.attention_share)
    assert 0 < one.attention_share <= max_share or ratio == 0.0


def computed(up: TensorComputer, plan: Plan, batches: list[tuple[int, ...]]) -> torch.Tensor:
    bill = Bill(up.model.config, up.device, plan.height, plan.width)
    with Shared.of(low().numpy()) as picture, Shared((3, 2 * plan.height, 2 * plan.width)) as high:
        high.array[...] = np.nan
        canvas = HighInMemory(high, 2)
        done = list(up.compute_tiles(plan, batches, InMemory(picture), canvas, bill))
    assert sorted(each.number for batch in done for each in batch) == sorted(chain(*batches))
    return torch.from_numpy(high.array)


def planned(up: TensorComputer) -> Plan:
    bill = Bill(up.model.config, up.device, 150, 330)
    return up.plan(InMemory(low().numpy()), bill, attention_ratio=0.5)


@pytest.fixture(scope="module")
def two() -> TensorComputer:
    """On two devices; starting processes takes seconds, so that tests share them."""
    return upscaler(device="cpu,cpu")


@pytest.mark.parametrize("devices", [1, 2])
@pytest.mark.parametrize("batch", [1, 4])
def test_order_and_devices_change_no_bit(two: TensorComputer, devices: int, batch: int) -> None:
    run = upscaler(batch=batch).run(low()).high
    several = two if devices == 2 else upscaler()
    plan = planned(several)
    batches = several.batches(plan, batch=batch)
    assert len(several.devices) == devices
    # without AVX-512 the last bits of what torch computes in a batch are not those of the run's own batches
    expected = run if batch == 1 else computed(upscaler(), plan, batches)
    assert torch.allclose(expected, run, rtol=0.0, atol=1e-5)
    for order in (batches, batches[::-1], batches[1::2] + batches[::2]):
        assert torch.equal(computed(several, plan, order), expected)


@dataclass(frozen=True)
class Slow:
    """A source that says which process reads it, and takes its time."""

    picture: InMemory
    folder: Path

    height, width, panorama = 150, 330, None

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        (self.folder / str(os.getpid())).touch()
        deadline = time.monotonic() + 60
        while len(list(self.folder.iterdir())) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        return self.picture.read(rows, columns)


def test_every_device_is_a_process_and_none_waits_for_another(tmp_path: Path) -> None:
    """None of three can read its first tile before all three begin to."""
    up = upscaler(device="cpu,cpu,cpu")
    plan = planned(up)
    bill = Bill(up.model.config, up.device, plan.height, plan.width)
    with Shared.of(low().numpy()) as picture, Shared((3, 2 * plan.height, 2 * plan.width)) as high:
        source, canvas = Slow(InMemory(picture), tmp_path), HighInMemory(high, 2)
        done = list(up.compute_tiles(plan, up.batches(plan), source, canvas, bill))
    assert len(done) == len(up.batches(plan))
    assert torch.equal(torch.from_numpy(high.array), upscaler().run(low()).high)
    processes = {int(each.name) for each in tmp_path.iterdir()}
    assert len(processes) == 3
    assert os.getpid() not in processes
    assert {each.pid for each in multiprocessing.active_children()} >= processes
    del up  # they end with it
    assert not {each.pid for each in multiprocessing.active_children()} & processes


@dataclass(frozen=True)
class Broken:
    """A source that fails at one tile, in one way or another."""

    picture: InMemory
    how: str

    height, width, panorama = 150, 330, None

    def read(self, rows: slice, columns: slice) -> np.ndarray:
        if columns.start == 80:
            if self.how == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.how == "unheard of":
                raise Unheard(1, 2)
            raise ImageError("the tile at 80 is damaged")
        return self.picture.read(rows, columns)


class Unheard(Exception):  # noqa: N818
    """Cannot be pickled: its arguments are not those of its constructor."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(f"{one} and {other}")


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        ("fails", ImageError, "the tile at 80 is damaged"),
        ("unheard of", RuntimeError, "Unheard: 1 and 2"),
        ("dies", DeviceError, r"that computes on cpu has ended, by signal 9 \(out of memory, as a rule\)"),
    ],
)
def test_what_goes_wrong_in_a_process_ends_the_run_and_not_the_next(
    two: TensorComputer, how: str, error: type[Exception], said: str
) -> None:
    up = two
    plan = planned(up)
    bill = Bill(up.model.config, up.device, plan.height, plan.width)
    with Shared.of(low().numpy()) as picture, Shared((3, 2 * plan.height, 2 * plan.width)) as high:
        broken, canvas = Broken(InMemory(picture), how), HighInMemory(high, 2)
        with pytest.raises(error, match=said):
            list(up.compute_tiles(plan, up.batches(plan), broken, canvas, bill))
    assert torch.equal(up.run(low()).high, upscaler().run(low()).high)


def test_an_error_on_one_device_ends_the_run(monkeypatch) -> None:
    up = upscaler()
    plan = planned(up)

    def broken(*_, **__):
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    monkeypatch.setattr(Folded, "route", broken)
    with pytest.raises(RuntimeError, match="mat1"):
        computed(up, plan, up.batches(plan))


def test_an_interrupted_run_stops_all_devices(two: TensorComputer) -> None:
    up = two
    calls: list[int] = []

    def progress(done: int, total: int) -> None:
        calls.append(done)
        if len(calls) > 20:  # 20 are the survey
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        up.run(low(), progress=progress)
    assert len(calls) == 21
    assert len(up.workers.start().idle) == 2  # stopped at their next block, and ready
    assert torch.equal(up.run(low()).high, upscaler().run(low()).high)


def test_memory_that_processes_share_is_no_file_that_stays(tmp_path: Path, monkeypatch) -> None:
    for kind in ("memory", "file"):
        if kind == "file":  # as on systems without the other
            monkeypatch.delattr(os, "memfd_create")
            monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        with Shared((3, 5)) as shared:
            copy = pickle.loads(pickle.dumps(shared))
            copy.array[1] = 7.0
            assert (len(list(tmp_path.iterdir())) == 1) == (kind == "file")
        assert shared.array.sum() == 35.0
        assert not list(tmp_path.iterdir())


def test_a_batch_too_large_for_the_memory_is_computed_in_smaller_ones_and_then_in_smaller_tiles(
    monkeypatch,
) -> None:
    expected = upscaler().run(low())
    for largest, smaller_tiles in ((2 * 160 * 160, False), (13_000, True)):
        up = upscaler(batch=8)
        route, seen = up.backend.route, set[int]()

        def short_of_memory(image, *rest, route=route, seen=seen, largest=largest):
            if image.size // 3 > largest:
                raise MemoryError
            seen.add(len(image))
            return route(image, *rest)

        monkeypatch.setattr(up.backend, "route", short_of_memory)
        result = up.run(low())
        assert (result.high - expected.high).abs().max() < 1e-4
        assert (result.tiles > expected.tiles) == smaller_tiles
        assert max(seen) == (1 if smaller_tiles else 3)


def test_too_little_memory_for_anything_is_one_error(monkeypatch) -> None:
    up = upscaler(batch=4)
    plan = planned(up)

    def never(*_, **__):
        raise MemoryError

    monkeypatch.setattr(up.backend, "route", never)
    with pytest.raises(MemoryLimitError, match="out of memory even for"):
        computed(up, plan, up.batches(plan))


def test_only_the_image_of_a_batch_that_fails_is_recomputed() -> None:
    fine = upscaler(batch=4, precision="bf16").run(low())
    assert fine.precision == "bf16"
    exact = upscaler().run(low()).high
    up = upscaler(batch=4, precision="bf16")
    route, recomputed = up.backend.route, []

    def sometimes(image, *rest):
        routed = route(image, *rest)
        if len(image) > 1 and not recomputed:
            recomputed.append(image.shape)
            routed.high[1] = np.nan
        return routed

    up.backend.route = sometimes  # type: ignore[method-assign]
    mended = up.run(low())
    assert recomputed
    assert mended.precision == "bf16"
    different = (mended.high != fine.high).any(dim=0)
    assert 0 < different.sum() <= (2 * 64) ** 2  # within what one tile owns
    assert (mended.high - exact)[:, different].abs().max() < 1e-4


@pytest.mark.parametrize(("devices", "batch"), [(1, 4), (2, 1), (2, 3)])
def test_a_streamed_picture_is_the_same_and_resumes(
    tmp_path: Path, two: TensorComputer, monkeypatch, devices: int, batch: int
) -> None:
    source, up = picture(tmp_path), two if devices == 2 else upscaler()
    monkeypatch.setattr(up, "batch", batch)
    whole = run(up, source, tmp_path / "o.png")
    expected = upscaler(batch=batch).run(torch.from_numpy(_pixels(source)))
    assert whole.cost.tiles == expected.tiles == 12
    assert np.array_equal(whole.cost.shares, expected.shares)
    assert whole.cost.macs == expected.macs
    target = tmp_path / "p.png"
    with pytest.raises(KeyboardInterrupt):
        run(up, source, target, stop_after(18), resume=True)
    resumed = run(up, source, target, resume=True)
    assert 0 < resumed.resumed < 12
    assert target.read_bytes() == (tmp_path / "o.png").read_bytes()
    assert np.array_equal(resumed.cost.shares, whole.cost.shares)
    with pytest.raises(KeyboardInterrupt):
        run(up, source, tmp_path / "q.png", stop_after(18))
    assert sorted(each.name for each in tmp_path.iterdir()) == ["a.png", "o.png", "p.png"]


def _pixels(path: Path) -> np.ndarray:
    from camixersr.image.decode import read

    return read(path).pixels.transpose(2, 0, 1).astype(np.float32) / 255.0


def test_memory_granted_is_for_one_tile_at_a_time(tmp_path: Path) -> None:
    up = upscaler(batch=4, tile="auto")
    layout = Layout(150, 210, 3, "uint8")
    assert up.memory.predict(layout, 64, batch=4) > up.memory.predict(layout, 64)
    streamed = enlarge_file(
        up, picture(tmp_path), tmp_path / "o.png", Options(memory=up.memory.predict(layout, 0) + 10_000_000)
    )
    assert streamed.predicted_memory_bytes <= up.memory.predict(layout, 0) + 10_000_000


def test_on_the_cpu_tiles_are_computed_one_at_a_time() -> None:
    tiles = cut(1000, 1000, 320)
    assert upscaler().batch_of(tiles) == 1
    assert upscaler(batch=5).batch_of(tiles) == 5
    with pytest.raises(ValueRangeError, match="batch must be at least 1"):
        upscaler(batch=0)


def test_the_smallest_gpus_whole_memory_chooses_the_batch(monkeypatch) -> None:
    """By numbers alone: there is no such device here."""
    memory = {"cuda:0": 0, "cuda:1": 0}
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda device: SimpleNamespace(total_memory=memory[str(device)] * 2**30),
    )
    both = Memory(Limits(), tuple(memory), channels=36, scale=4, cell=0)
    tiles, sizes = cut(2000, 2000, 320), list[int]()
    for gigabytes in (1, 8, 24, 141):
        memory |= {"cuda:0": gigabytes + 100, "cuda:1": gigabytes}
        sizes.append(both.batch(tiles))
    assert sizes == sorted(sizes)
    assert (sizes[0], sizes[-1]) == (1, 16)
    assert 1 < sizes[1] < 16


def test_devices_have_names() -> None:
    assert devices_of("cpu") == ("cpu",)
    assert len(devices_of("cpu,cpu")) == 2
    assert devices_of("all")[0].split(":")[0] == devices_of("auto")[0]
    for name in ("gpu", "cpu:1", "cuda:x", "cpu,", ""):
        with pytest.raises(UsageError, match="unknown device"):
            devices_of(name)
    with pytest.raises(DeviceError, match=r"no cuda:99 device on this machine; there is .*cpu"):
        devices_of("cuda:99")


def test_a_policy_of_a_batch_is_the_policies_of_its_tiles() -> None:
    tiles = tuple(cut(128, 128, 64))
    allowed = np.random.default_rng(0).random((8, 8)) < 0.5
    policy: Policy = Threshold((0.5,))
    plan = Plan(128, 128, tiles, policy, lambda features, block: features, 16, allowed)
    logits = torch.randn(len(tiles), 49)
    policies = plan.policy_of_batch(tiles)
    assert isinstance(policies, tuple)
    for number, tile in enumerate(tiles):
        alone = plan.policy_of(tile).choose(logits[number : number + 1], 0)
        own = policies[number].choose(logits[number : number + 1], 0)
        assert torch.equal(own, alone)


def _asking() -> Work:
    """Work without end."""

    def work(ask: Ask, task: None) -> None:
        while True:
            ask(GoingOn())

    return work


@pytest.mark.parametrize("cut_off", ["question", "answer"])
def test_a_signal_between_a_question_and_its_answer_leaves_nobody_waiting(
    monkeypatch, cut_off: str
) -> None:
    """It may come anywhere, and then nobody knows which process waits for what: all of them end."""
    before = set(multiprocessing.active_children())
    processes = Processes(_asking, [(), ()], ["cpu", "cpu"])
    number, message = processes.hear()
    assert message == Idle()
    processes.answer(number)
    number, message = processes.hear()
    while message != GoingOn():
        number, message = processes.hear()

    def signalled(*_: object) -> None:
        raise SystemExit(143)

    if cut_off == "question":
        processes.answer(number)
        monkeypatch.setattr("camixersr.messages.pickle.loads", signalled)
    else:
        monkeypatch.setattr("camixersr.messages.pickle.dumps", signalled)
    with pytest.raises(SystemExit):
        processes.answer(number) if cut_off == "answer" else processes.hear()
    monkeypatch.undo()
    assert len(set(multiprocessing.active_children()) - before) == 2
    processes.rest()
    assert len(processes) == 0
    assert set(multiprocessing.active_children()) <= before
