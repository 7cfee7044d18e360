"""The native core against `camixersr.nn` in double precision, by every path that this machine has."""

import copy
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from camixersr.catalogue import find
from camixersr.errors import DeviceError
from camixersr.metrics import psnr
from camixersr.models import CAMixerSR
from camixersr.models.calibration import Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.native.build import build
from camixersr.native.core import FORCE, PATHS, Answer, Core, Pool, Thresholds, fits, path_for, why_not
from camixersr.nn.routing import TopShare
from tests.conftest import ROOT, random_network

EVERY = [(path, precision) for precision, paths in PATHS.items() for path in paths]
NEAR = {"fp32": 1e-5, "bf16": 0.01}
"""How far a picture may be from the one in double precision, of a range of about 1."""

Array = NDArray[np.float32]


@pytest.fixture(params=EVERY, ids=[path for path, _ in EVERY])
def precision(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """The precision of a path that this test is held to."""
    path, precision = request.param
    monkeypatch.setenv(FORCE, path)
    if path_for(precision) is None:
        pytest.skip(why_not() or f"this processor has no {path}")
    return precision


@pytest.fixture
def fp32() -> str:
    if path_for("fp32") is None:
        pytest.skip(why_not())
    return "fp32"


def core_of(network: CAMixerSR, precision: str) -> Core:
    assert fits(network.config)
    weights = {name: value.numpy() for name, value in network.state_dict().items()}
    return Core(network.config, weights, precision=precision)


def top(share: float):
    policy = TopShare(share)
    return lambda logits, block: policy.choose(torch.from_numpy(logits)[None], block)[0].numpy()


def picture(height: int, width: int, planes: int = 3, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random((planes, height, width), np.float32)


def in_double(network: CAMixerSR, low: Array, answer: Answer, pool=None) -> tuple[Array, Array]:
    """The network's picture and log-odds, with the windows that the core attended."""
    masks = FixedWindows(tuple(torch.from_numpy(mask)[None].double() for mask in answer.mask))
    high, routing = (
        copy.deepcopy(network).double().route(torch.from_numpy(low)[None].double(), masks, pool=pool)
    )
    return high[0].numpy(), torch.cat([block.logits for block in routing.blocks]).numpy()


NETWORKS = {
    "s": {"channels": 36, "scale": 4, "blocks": (1, 2)},
    "b with latitude": {"channels": 60, "scale": 3, "blocks": (2,), "latitude": True},
    "m over cells": {"channels": 48, "scale": 2, "blocks": (1, 1), "pool": 64},
    "pruned": {"channels": 21, "scale": 1, "blocks": (2, 1), "keys": 13, "values": 27, "hidden": 9},
}


@pytest.mark.parametrize("widths", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize(
    ("size", "ratio"), [((37, 75), 0.5), ((7, 300), 0.25), ((70, 17), 0.0), ((1, 1), 1.0)]
)
def test_it_is_the_network(precision: str, widths: dict, size: tuple[int, int], ratio: float) -> None:
    network = random_network(**widths)
    if network.config.latitude:
        torch.nn.init.normal_(network.latitude.weight, std=0.3)
    low = picture(*size, planes=4 if network.config.latitude else 3)
    answer = core_of(network, precision)(low, top(ratio), threads=2)
    expected, logits = in_double(network, low, answer)
    assert np.abs(answer.high - expected).max() < NEAR[precision]
    assert np.abs(answer.logits - logits).max() < NEAR[precision] * max(1.0, np.abs(logits).max())
    assert answer.mask.sum(axis=1).tolist() == [int(ratio * logits.shape[1] + 0.5)] * len(logits)


def test_blocks_write_over_rows_that_are_done_with(precision: str) -> None:
    """So tall that results go round in the map that holds what they are made from, once and again."""
    network = random_network(channels=12, scale=2, blocks=(1, 6, 1))
    low = picture(400, 170)
    answer = core_of(network, precision)(low, top(0.3), threads=3)
    expected, _ = in_double(network, low, answer)
    assert np.abs(answer.high - expected).max() < NEAR[precision]


@pytest.mark.parametrize("path", PATHS["fp32"])
@pytest.mark.parametrize("away", [1.0, 30.0, 3000.0])
def test_norms_of_numbers_far_from_zero(path: str, away: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Squares of numbers that differ by a thousandth of their size say little of how far they are apart."""
    monkeypatch.setenv(FORCE, path)
    if path_for("fp32") is None:
        pytest.skip(why_not() or f"this processor has no {path}")
    network = random_network(channels=16, scale=2, blocks=(2,))
    torch.nn.init.constant_(network.head.bias, away)
    torch.nn.init.zeros_(network.get_parameter("body.0.blocks.0.mixer.project_out.weight"))
    low = picture(40, 50)
    answer = core_of(network, "fp32")(low, top(0.5))
    expected, _ = in_double(network, low, answer)
    masks = FixedWindows(tuple(torch.from_numpy(mask)[None] for mask in answer.mask))
    by_torch = network.route(torch.from_numpy(low)[None], masks)[0][0].numpy()
    assert np.abs(answer.high - expected).max() < 1e-5 + 3 * np.abs(by_torch - expected).max()


def test_embedded_weights_give_their_picture(precision: str) -> None:
    network = find("s-x4").network
    assert isinstance(network, CAMixerSR)
    with Image.open(ROOT / "samples/summer-palace.jpg") as photo:
        small = photo.convert("RGB").resize((48, 40))
    low = (np.asarray(small, np.float32) / 255).transpose(2, 0, 1)
    answer = core_of(network, precision)(low, top(0.5))
    expected, _ = in_double(network, low, answer)
    assert psnr(answer.high, expected, data_range=1.0) > {"fp32": 110.0, "bf16": 60.0}[precision]


def test_threads_change_nothing(precision: str) -> None:
    core, low = core_of(random_network(channels=24), precision), picture(90, 290)
    alone = core(low, top(0.5))
    for threads in (2, 3, 4):
        for one, other in zip(alone, core(low, top(0.5), threads=threads), strict=True):
            assert one.tobytes() == other.tobytes()


def test_a_tile_has_the_pictures_bytes(precision: str) -> None:
    """Cells, windows and a halo: what a tile owns is what the whole picture has there."""
    core, low = core_of(random_network(blocks=(1,), pool=64), precision), picture(192, 320)
    middle = float(np.median(core(low, top(0.0)).logits))
    some = Thresholds([middle], [0.01])
    whole = core(low, some).high
    tile = core(low[:, 16:192, 48:320], some, pool=Pool.even(64, 176, 272, before=(16, 48))).high
    assert tile[:, 160:256, 224:512].tobytes() == whole[:, 192:288, 320:608].tobytes()


def test_thresholds_are_those_of_the_policy(fp32: str) -> None:
    core, low = core_of(random_network(), fp32), picture(64, 96)
    odds = np.median(core(low, top(0.5)).logits, axis=1)
    policy = Threshold(tuple(float(1 / (1 + np.exp(-each))) for each in odds), band=0.5)
    asked = core(low, lambda logits, block: policy.choose(torch.from_numpy(logits)[None], block)[0].numpy())
    least = [float(np.log(score / (1 - score))) for score in policy.thresholds]
    told = core(low, Thresholds(least, [policy.band] * 3))
    assert ((told.mask > 0) & (told.mask < 1)).any()  # some windows blend both branches
    assert np.abs(told.mask - asked.mask).max() < 1e-5
    assert np.abs(told.high - asked.high).max() < 1e-5
    expected, _ = in_double(random_network(), low, told)
    assert np.abs(told.high - expected).max() < 1e-5


def test_means_can_be_given(fp32: str) -> None:
    core, low = core_of(random_network(), fp32), picture(64, 64)
    own = core(low, top(0.5))
    given = core(low, top(0.5), pool=Pool(given=own.means))
    assert np.abs(given.high - own.high).max() < 1e-5
    other = core(low, top(0.5), pool=Pool(given=own.means + 1.0))
    assert np.abs(other.high - own.high).max() > 1e-3


def test_what_a_policy_raises_ends_the_computation(fp32: str) -> None:
    core, asked = core_of(random_network(), fp32), []

    def route(logits: Array, block: int) -> Array:
        asked.append(block)
        if block == 1:
            raise KeyboardInterrupt
        return np.ones_like(logits)

    with pytest.raises(KeyboardInterrupt):
        core(picture(32, 32), route, threads=2)
    assert asked == [0, 1]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="signals by a timer are for Unix")
def test_a_signal_is_never_lost_in_the_core(fp32: str) -> None:
    """Where it falls into the core's call of Python, ctypes would swallow what its handler raises."""

    class StoppedError(Exception):
        pass

    def stop(number: int, frame: object) -> None:
        raise StoppedError

    core = core_of(random_network(channels=8, scale=2, blocks=(1,) * 8), fp32)
    low, half = picture(64, 64), top(0.5)
    before = signal.signal(signal.SIGALRM, stop)
    try:
        for number in range(60):
            with pytest.raises(StoppedError):  # noqa: PT012  whatever the core is at when the time comes
                signal.setitimer(signal.ITIMER_REAL, 0.001 + 0.0003 * number)
                while True:
                    core(low, half, threads=1)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)


def test_paths_differ_by_less_than_a_step_of_8_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    network, found = find("s-x4").network, []
    assert isinstance(network, CAMixerSR)
    with Image.open(ROOT / "samples/summer-palace.jpg") as photo:
        low = (np.asarray(photo.convert("RGB").resize((64, 48)), np.float32) / 255).transpose(2, 0, 1)
    for path, precision in EVERY:
        monkeypatch.setenv(FORCE, path)
        if path_for(precision) is not None:
            high = core_of(network, precision)(low, top(0.5)).high
            found.append((high.clip(0, 1) * 255).round().astype(int))
    if not found:
        pytest.skip(why_not())
    assert max(int(np.abs(each - found[0]).max()) for each in found) <= 1


def test_a_path_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(FORCE, "off")
    with pytest.raises(DeviceError, match=f"'off'.*{FORCE}"):
        core_of(random_network(), "fp32")


CHECK = """
import sys, numpy as np
from camixersr.native import core
core.LIBRARY, core.HERE = "checked.so", __import__("pathlib").Path(sys.argv[1])
rng = np.random.default_rng(0)
given = np.load(sys.argv[2])
from types import SimpleNamespace
config = SimpleNamespace(channels=21, scale=3, blocks=(2, 1), latitude=False, window=16, keys=13, values=27,
                         hidden=9, pool=64)
for precision in ("fp32", "bf16"):
    if core.path_for(precision) is None:
        continue
    network = core.Core(config, dict(given), precision=precision)
    for size in ((1, 1), (5, 40), (33, 300), *rng.integers(1, 150, (6, 2)).tolist()):
        low = rng.random((3, *size), np.float32)
        some = lambda logits, block: rng.random(len(logits)) * (rng.random(len(logits)) < 0.5)
        answer = network(low, some, threads=3)
        assert np.isfinite(answer.high).all()
print("clean")
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("path", ["", "avx2"])
def test_sanitizers_find_nothing(tmp_path: Path, path: str) -> None:
    build(
        tmp_path / "checked.so", more=("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1")
    )
    network = random_network(channels=21, scale=3, blocks=(2, 1), keys=13, values=27, hidden=9, pool=64)
    np.savez(
        tmp_path / "weights.npz", **{name: value.numpy() for name, value in network.state_dict().items()}
    )
    runtime = subprocess.run(
        ["g++", "-print-file-name=libasan.so"], capture_output=True, text=True, check=True
    ).stdout.strip()
    done = subprocess.run(
        [sys.executable, "-c", CHECK, str(tmp_path), str(tmp_path / "weights.npz")],
        env=os.environ | {"LD_PRELOAD": runtime, "ASAN_OPTIONS": "detect_leaks=0", FORCE: path},
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "clean", done.stderr[-3000:]
