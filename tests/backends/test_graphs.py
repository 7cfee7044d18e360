"""Every runtime against the torch network, on a tiny one: every kind of policy and pool, odd sizes."""

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.backends import choose
from camixersr.backends import openvino as openvino_engine
from camixersr.backends.orders import FAR, orders
from camixersr.backends.pools import Recording, Replayed
from camixersr.backends.protocol import Backend, Planes, Routed
from camixersr.errors import MissingExtraError, UsageError
from camixersr.inference.policies import Allowed, LogOddsThreshold
from camixersr.inference.tiles import cut, group
from camixersr.models.calibration import Calibration, Threshold
from camixersr.models.fixed import FixedWindows
from camixersr.models.pools import PoolCells
from camixersr.nn import ExpectedCount, TopShare
from camixersr.nn.pool import pool_image
from camixersr.nn.routing import Policy
from camixersr.speed.memory import watch_upscale
from camixersr.weights import Model, save
from tests.conftest import TensorComputer, noise_picture, random_network

THRESHOLDS = Calibration((0.3, 0.6), ((0.6, 0.5, 0.7), (0.4, 0.3, 0.5)))
RUNTIMES = ["onnxruntime", "openvino"]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAMIXERSR_CACHE", str(tmp_path / "cache"))


@cache
def model() -> Model:
    return Model("tiny", random_network(channels=12, blocks=(2, 1)), THRESHOLDS, sha256="0")


@cache
def backend(name: str, precision: str = "fp32") -> Backend:
    return choose.make(model(), name, device="cpu", precision=precision)


def low(height: int, width: int) -> torch.Tensor:
    return torch.from_numpy(noise_picture(height, width)).permute(2, 0, 1)[None].float() / 255.0


def fixed(windows: int) -> FixedWindows:
    rng = torch.Generator().manual_seed(3)
    return FixedWindows(tuple(torch.rand(1, windows, generator=rng) > 0.5 for _ in range(3)))


POLICIES: list[Policy] = [
    TopShare(0.0),
    TopShare(0.3),
    TopShare(1.0),
    Threshold((0.5, 0.4, 0.6)),
    Threshold((0.5, 0.4, 0.6), band=0.0),
    Threshold((0.0, 1.0, 0.6)),
    LogOddsThreshold((-0.2, float("inf"), float("-inf")), (0.1, 0.2, 0.3)),
    fixed(12),
    Allowed(Threshold((0.3, 0.3, 0.3)), np.arange(12)[None] % 3 > 0),
]


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("policy", POLICIES, ids=lambda policy: type(policy).__name__)
def test_policies_agree_with_the_network(name: str, policy: Policy) -> None:
    picture = low(41, 60)
    expected, routing = model().network.route(picture, policy)
    answer = backend(name).route(picture.numpy(), policy, pool_image)
    assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)
    assert np.array_equal(answer.attended, routing.attended)
    for given, own in zip(answer.logits, routing.blocks, strict=True):
        assert np.allclose(given, own.logits, atol=1e-5)


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("size", [(1, 1), (5, 33), (16, 16), (17, 64)])
def test_any_size(name: str, size: tuple[int, int]) -> None:
    expected, _ = model().network.route(low(*size), TopShare(1.0))
    answer = backend(name).route(low(*size).numpy(), TopShare(1.0), pool_image)
    assert answer.high.shape == expected.shape
    assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)


@pytest.mark.parametrize("name", RUNTIMES)
def test_pools_are_handed_in_and_recorded(name: str) -> None:
    picture, own = low(40, 52), Recording(pool_image, {})
    model().network.route(picture, TopShare(0.5), pool=own)
    other = Replayed(tuple(mean.astype(np.float32) * 1.7 - 0.1 for mean in own.means.values()))
    expected, _ = model().network.route(picture, TopShare(0.5), pool=other)
    recording = Recording(other, {})
    answer = backend(name).route(picture.numpy(), TopShare(0.5), recording)
    assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)
    noted = Recording(other, {})
    model().network.route(picture, TopShare(0.5), pool=noted)
    for block, mean in noted.means.items():
        assert np.allclose(recording.means[block], mean, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("size", [(41, 60), (64, 96), (5, 33), (100, 70)], ids=str)
def test_cells(name: str, precision: str, size: tuple[int, int]) -> None:
    """What they pool over is in the graph; a pool of another kind is the network's job."""
    if precision == "bf16":
        if name == "onnxruntime":
            pytest.skip("computes in fp32 alone")
        needs_bf16()
    celled = Model("celled", random_network(channels=12, blocks=(2, 1), pool=32), THRESHOLDS)
    made = choose.make(celled, name, device="cpu", precision=precision)
    expected, routing = celled.network.route(low(*size), TopShare(0.5))
    answer = made.route(low(*size).numpy(), FixedWindows.replay(routing), celled.network.pool)
    assert torch.allclose(
        torch.from_numpy(answer.high), expected, atol=2e-6 if precision == "fp32" else 2e-2
    )
    other, _ = celled.network.route(low(*size), TopShare(0.5), pool=pool_image)
    plain = made.route(low(*size).numpy(), TopShare(0.5), pool_image)
    assert torch.allclose(torch.from_numpy(plain.high), other, atol=2e-6 if precision == "fp32" else 2e-2)
    inside = PoolCells(32, (16, 28))  # of a tile that begins in a cell
    expected, routing = celled.network.route(low(*size), TopShare(0.5), pool=inside)
    answer = made.route(low(*size).numpy(), FixedWindows.replay(routing), inside)
    assert torch.allclose(
        torch.from_numpy(answer.high), expected, atol=2e-6 if precision == "fp32" else 2e-2
    )


@pytest.mark.parametrize("name", RUNTIMES)
def test_unknown_policies_are_the_networks_job(name: str) -> None:
    assert orders(ExpectedCount(0.5), 3, 4) is None
    found = backend(name).route(low(32, 32).numpy(), ExpectedCount(0.5), pool_image)
    expected = model().network(low(32, 32), ExpectedCount(0.5))
    assert torch.allclose(torch.from_numpy(found.high), expected, atol=1e-5)


@pytest.mark.parametrize("name", RUNTIMES)
@pytest.mark.parametrize("tile", [0, 64])
def test_a_picture_whole_and_in_tiles(name: str, tile: int) -> None:
    plain, fast = (
        TensorComputer(model(), backend=each, device="cpu", tile=tile) for each in ("torch", name)
    )
    picture = low(130, 90)[0]
    told: list[tuple[int, int]] = []
    expected = plain.run(picture, attention_ratio=0.4, max_share=0.5)
    result = fast.run(
        picture, attention_ratio=0.4, max_share=0.5, progress=lambda done, total: told.append((done, total))
    )
    assert torch.allclose(result.high, expected.high, atol=5e-5)
    assert np.array_equal(result.shares, expected.shares)
    assert (result.tiles, result.macs) == (expected.tiles, expected.macs)
    assert told[-1][0] == told[-1][1]
    assert torch.equal(fast.run(picture, attention_ratio=0.4, max_share=0.5).high, result.high)


@pytest.mark.parametrize(
    ("name", "precision"), [("openvino", "fp32"), ("openvino", "bf16"), ("onnxruntime", "fp32")]
)
def test_the_memory_predicted_is_not_exceeded(tmp_path: Path, name: str, precision: str) -> None:
    """Of a whole process: tiles follow from what is granted, and their graphs from the tiles."""
    if precision == "bf16":
        needs_bf16()
    source, weights = tmp_path / "a.png", tmp_path / "tiny.safetensors"
    Image.fromarray(noise_picture(620, 900)).save(source)
    save(weights, Model("tiny", random_network(channels=24, scale=4, blocks=(1,))))
    how = ["--model", weights, "--backend", name, "--precision", precision, "--device", "cpu"]
    row = watch_upscale(source, tmp_path / "b.png", [*map(str, how), "--memory", "800MB"])
    assert row.tile
    assert row.predicted_memory_bytes is not None
    assert row.peak_memory_bytes is not None
    assert row.predicted_memory_bytes <= 800e6
    assert row.peak_memory_bytes <= 1.05 * 800e6


def test_openvino_gives_large_pieces_a_graph_of_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openvino_engine, "OWN_SIZE", 32 * 48)
    made = openvino_engine.OpenVino(model(), "fp32", backend("torch"))
    for size in ((32, 48), (20, 16), (33, 48), (32, 40)):
        answer = made.route(low(*size).numpy(), TopShare(0.5), pool_image)
        expected, _ = model().network.route(low(*size), TopShare(0.5))
        assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)
    assert set(made._compiled) == {(32, 48), (0, 0), (48, 48)}


def needs_bf16() -> None:
    if not openvino_engine.has_bf16():
        pytest.skip("this processor does not compute in bf16")


def test_bf16_is_close() -> None:
    needs_bf16()
    expected, routing = model().network.route(low(64, 48), TopShare(0.5))
    answer = backend("openvino", "bf16").route(
        low(64, 48).numpy(), FixedWindows.replay(routing), pool_image
    )
    assert 0.0 < float((torch.from_numpy(answer.high) - expected).square().mean()) < 1e-5


def test_bf16_is_never_nan() -> None:
    """A network whose features overflow: what comes out wrong is computed again in fp32."""
    needs_bf16()
    network = random_network(channels=12, blocks=(2, 1))
    network.body_tail.weight.mul_(1e4)
    network.head.weight.mul_(1e18)
    odd = Model("odd", network)
    upscaler = TensorComputer(odd, backend="openvino", device="cpu", precision="bf16")
    result = upscaler.run(low(32, 32)[0], attention_ratio=0.5)
    expected = TensorComputer(odd, device="cpu").run(low(32, 32)[0], attention_ratio=0.5)
    assert torch.isfinite(result.high).all()
    assert result.precision == "fp32"
    assert torch.equal(result.high, expected.high)


def test_compile_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    from camixersr.backends import compiled

    monkeypatch.setattr(compiled, "COMPILE", {"backend": "eager"})  # inductor takes a minute
    made = compiled.Compiled(model(), "cpu", "fp32", backend("torch"))
    expected, _ = model().network.route(low(40, 40), TopShare(0.5))
    answer = made.route(low(40, 40).numpy(), TopShare(0.5), pool_image)
    assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)
    recording = Recording(pool_image, {})  # what it does cannot be compiled
    made.route(low(40, 40).numpy(), TopShare(0.5), recording)
    assert set(recording.means) == {0, 1, 2}


def test_compile_pools_over_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    from camixersr.backends import compiled

    monkeypatch.setattr(compiled, "COMPILE", {"backend": "eager", "dynamic": True})
    celled = Model("celled", random_network(channels=12, blocks=(2, 1), pool=32))
    made = compiled.Compiled(celled, "cpu", "fp32", backend("torch"))
    for size in ((40, 40), (64, 70), (100, 40)):
        expected, _ = celled.network.route(low(*size), TopShare(0.5))
        answer = made.route(low(*size).numpy(), TopShare(0.5), celled.network.pool)
        assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)


@pytest.mark.parametrize("ratio", [0.0, 0.4, 1.0])
def test_compile_takes_tiles_in_batches(monkeypatch: pytest.MonkeyPatch, ratio: float) -> None:
    """As the plain network does, with every tile's own allowed windows; and alone what is not sane."""
    from camixersr.backends import compiled

    monkeypatch.setattr(compiled, "COMPILE", {"backend": "eager"})
    picture, seen = torch.rand(3, 150, 330, generator=torch.Generator().manual_seed(0)), list[int]()
    expected = TensorComputer(model(), device="cpu", tile=64).run(
        picture, attention_ratio=ratio, max_share=0.6
    )
    upscaler = TensorComputer(model(), backend="compile", device="cpu", tile=64, batch=4)
    route = upscaler.backend.route

    def counted(low: Planes, *rest: Any) -> Routed:
        seen.append(len(low))
        return route(low, *rest)

    monkeypatch.setattr(upscaler.backend, "route", counted)
    result = upscaler.run(picture, attention_ratio=ratio, max_share=0.6)
    assert torch.allclose(result.high, expected.high, atol=5e-5)
    assert np.array_equal(result.shares, expected.shares)
    assert max(seen) == max(map(len, group(cut(150, 330, 64), 4))) > 1
    assert torch.equal(upscaler.run(picture, attention_ratio=ratio, max_share=0.6).high, result.high)


@pytest.mark.parametrize("name", RUNTIMES)
def test_several_processes_make_engines_of_their_own(name: str) -> None:
    picture = low(130, 200)[0]
    one, two = (
        TensorComputer(model(), backend=name, device=device, tile=64) for device in ("cpu", "cpu,cpu")
    )
    assert torch.equal(two.run(picture).high, one.run(picture).high)
    two.workers.close()


def test_all_blocks_share_what_was_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.testing import CompileCounter

    from camixersr.backends import compiled

    counter = CompileCounter()
    monkeypatch.setattr(compiled, "COMPILE", {"backend": counter, "dynamic": True})
    network = random_network(channels=8, scale=2, blocks=(6, 6))
    made = compiled.Compiled(Model("twelve", network), "cpu", "fp32", backend("torch"))
    pool = Replayed(tuple(np.full(3, block / 12.0, np.float32) for block in range(12)))
    answer = made.route(low(40, 40).numpy(), TopShare(0.5), pool)
    expected, _ = network.route(low(40, 40), TopShare(0.5), pool=pool)
    assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)
    assert 0 < counter.frame_count < 12


@pytest.mark.slow
def test_compile_agrees_with_inductor() -> None:
    expected, _ = model().network.route(low(40, 40), TopShare(0.5))
    answer = backend("compile").route(low(40, 40).numpy(), TopShare(0.5), pool_image)
    assert torch.allclose(torch.from_numpy(answer.high), expected, atol=2e-6)


def test_orders_have_no_infinity() -> None:
    given = orders(Threshold((0.0, 1.0, 0.5), band=0.0), 3, 4)
    assert given is not None
    assert given.thresholds.tolist() == pytest.approx([-FAR, FAR, 0.0])
    assert np.isfinite(given.slopes).all()


def test_unknown_names_list_the_known() -> None:
    with pytest.raises(UsageError, match="unknown backend 'tensorrt'; use auto, fastest or one of torch, "):
        TensorComputer(model(), backend="tensorrt", device="cpu")
    with pytest.raises(UsageError, match="onnxruntime computes in fp32 on this machine, not in bf16"):
        TensorComputer(model(), backend="onnxruntime", device="cpu", precision="bf16")
    with pytest.raises(UsageError, match="unknown precision"):
        choose.make(model(), "onnxruntime", device="cpu", precision="int8")


@pytest.mark.parametrize("name", RUNTIMES)
def test_a_missing_package_names_the_command(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choose, "_version", lambda distribution: "")
    extra = {"onnxruntime": "onnx", "openvino": "openvino"}[name]
    with pytest.raises(MissingExtraError, match=rf"install '.*\[{extra}\]'"):
        TensorComputer(model(), backend=name, device="cpu")


def test_compile_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    from camixersr.backends import compiled

    monkeypatch.setattr(compiled.shutil, "which", lambda name: None)
    with pytest.raises(UsageError, match=r"needs a C\+\+ compiler"):
        TensorComputer(model(), backend="compile", device="cpu")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "precision", "least"),
    [("onnxruntime", "fp32", 90), ("openvino", "fp32", 90), ("openvino", "bf16", 60)],
)
def test_the_embedded_model(name: str, precision: str, least: float) -> None:
    from camixersr.backends.parity import compare, sample_photo
    from camixersr.catalogue import find

    if precision == "bf16":
        needs_bf16()
    real = find("s-x4")
    made = choose.make(real, name, device="cpu", precision=precision)
    assert compare(made, real, [sample_photo()]).psnr_db >= least
