"""The fused training step against torch, which it must agree with to the last digits that count."""

import copy
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file as load_tensors
from torch import Tensor

from camixersr.errors import DeviceError, UsageError, ValueRangeError
from camixersr.models import PRESETS, CAMixerSR, CAMixerSRConfig
from camixersr.nn.camixer import CAMixer
from camixersr.nn.predictor import Predictor
from camixersr.nn.routing import TopShare
from camixersr.train import fused
from camixersr.train.fused import FusedStep, Patch, names
from camixersr.train.objective import PixelLoss, detach_scores, detail_loss, gate_loss, pixel_loss
from camixersr.train.photos import MixedStream, load_photos
from camixersr.train.policies import AtLeast
from camixersr.train.restart import restart_attention
from tests.conftest import random_network
from tests.train.test_train import needs_fused, recipe, run, scene


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where programs are compiled to; skips, aloud, where they cannot be."""
    folder = tmp_path_factory.mktemp("fused")
    needs_fused(folder)
    return folder


def batch(network: CAMixerSR, patch: int, seed: int = 3) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Two patches, what they should become, what each row counts, and what scores should be."""
    draw = torch.Generator().manual_seed(seed)
    scale = network.config.scale
    low = torch.rand(2, 3, patch, patch, generator=draw)
    cosine = torch.linspace(0.2, 0.9, patch)[:, None].expand(2, 1, patch, patch)
    seen = torch.cat((low, cosine), dim=1) if network.config.latitude else low
    with torch.no_grad():  # never near: where an error changes sign, its gradient jumps
        high = network.route(seen, TopShare(0.0))[0]
    high = high + torch.where(torch.rand(high.shape, generator=draw) > 0.5, 0.3, -0.3)
    weight = torch.rand(2, scale * patch, generator=draw)
    return seen, high, weight, torch.rand(2, (patch // 16) ** 2, generator=draw)


def half(network: CAMixerSR, seen: Tensor, share: float) -> Tensor:
    """Log-odds that a share of all windows reach, block by block: between two windows, never at one."""
    _, routing = network.route(seen, TopShare(share))
    least = []
    for block in routing.blocks:
        ordered = block.logits.detach().flatten().sort(descending=True).values
        count = int(share * len(ordered))
        edge = {0: math.inf, len(ordered): -math.inf}
        least.append(edge.get(count, float(ordered[count - 1 : count + 1].mean())))
    return torch.tensor(least)


def step_by_torch(
    exact: CAMixerSR,
    low: Tensor,
    high: Tensor,
    rows: Tensor,
    least: Tensor,
    target: Tensor,
    kind: PixelLoss,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The same step without the program: losses of pixels, scores and gates, and the features' sum."""
    odds: list[Tensor] = []
    features: list[Tensor] = []
    hooks = [
        module.spatial.register_forward_hook(lambda _, given, out: odds.append(out.mean(dim=(1, 2, 3))))
        for module in exact.modules()
        if isinstance(module, Predictor)
    ]
    hooks += [
        group.register_forward_hook(lambda _, given, out: features.append(out[0])) for group in exact.body
    ]
    result, routing = exact.route(low.double(), AtLeast(least.double()))
    for hook in hooks:
        hook.remove()
    pixels = pixel_loss(kind, result, high.double(), rows.double())
    guide = 0.02 * detail_loss(routing, target.double())
    return pixels, guide, 3.0 * gate_loss(torch.stack(odds, dim=1)), torch.stack(features, dim=1).sum()


@pytest.mark.parametrize("instructions", ["the best", "AVX2"])
@pytest.mark.parametrize(
    ("channels", "scale", "blocks", "patch", "latitude", "kind"),
    [
        (12, 2, (1, 1), 16, False, "l1"),
        (20, 3, (1, 2), 32, True, "charbonnier"),
        pytest.param(36, 4, (2,), 48, True, "l1", marks=pytest.mark.slow),
        (36, 4, (1,), 64, False, "l1+fft"),
    ],
)
def test_losses_and_gradients_are_torchs(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    instructions: str,
    channels: int,
    scale: int,
    blocks: tuple[int, ...],
    patch: int,
    latitude: bool,
    kind: PixelLoss,
) -> None:
    if instructions == "AVX2":
        if "avx512f" not in fused._processor():
            pytest.skip("AVX2 is the best here")
        monkeypatch.setattr(fused, "FLAGS", (*fused.FLAGS, "-mno-avx512f"))
    network = random_network(channels, scale, blocks, latitude=latitude).train().requires_grad_(True)
    with torch.no_grad():
        for predictor in network.modules():
            if isinstance(predictor, Predictor):
                assert predictor.spatial.bias is not None
                predictor.spatial.bias -= 2.0  # gates that have begun to close
    seen, high, weight, target = batch(network, patch)
    exact = copy.deepcopy(network).double()
    detach_scores(exact)
    step = FusedStep(network, patch, cache)
    windows = target.numel()
    along = 1e-3

    def loss(number: int, made: Patch, told: Patch | None) -> Tensor:
        rows = weight[number : number + 1]
        pixels = pixel_loss(kind, made.high[None], high[number : number + 1], rows) / len(seen)
        return pixels + along * made.features.sum()

    for count in {0, windows // 2, windows}:
        least = half(exact, seen.double(), count / windows)
        network.zero_grad()
        losses = step(seen, loss, least=least, target=target, guide=0.02, gates=3.0)
        losses.total.backward()
        exact.zero_grad()
        pixels, guide, gates, features = step_by_torch(exact, seen, high, weight, least, target, kind)
        pixels = pixels + along * features.sum()
        (pixels + guide + gates).backward()
        assert losses.pixels.item() == pytest.approx(pixels.item(), rel=1e-5, abs=1e-6)
        assert losses.guide.item() == pytest.approx(guide.item(), rel=1e-5)
        assert gates.item() > 0.0
        assert losses.gates.item() == pytest.approx(gates.item(), rel=1e-4)
        largest = max(float(w.grad.norm()) for w in exact.parameters() if w.grad is not None)
        for (name, weights), true in zip(network.named_parameters(), exact.parameters(), strict=True):
            assert weights.grad is not None
            expected = torch.zeros_like(true) if true.grad is None else true.grad
            error = float((weights.grad - expected).norm())
            # the bias of keys has no gradient at all: softmax does not see what all keys share
            assert error < 3e-4 * float(expected.norm()) + 1e-8 * largest, name
    step.close()


@pytest.mark.parametrize("tiles", [False, True], ids=["vectors", "tiles"])
@pytest.mark.parametrize(("channels", "blocks", "patch"), [(13, (1,), 16), (36, (2,), 48), (60, (1,), 16)])
def test_in_half_precision_gradients_keep_their_direction(
    cache: Path,
    monkeypatch: pytest.MonkeyPatch,
    channels: int,
    blocks: tuple[int, ...],
    patch: int,
    tiles: bool,
) -> None:
    if tiles and not fused._has_tiles():
        pytest.skip("needs AMX-BF16")
    monkeypatch.setattr(fused, "_has_tiles", lambda: tiles)
    network = random_network(channels, 2, blocks).train().requires_grad_(True)
    seen, high, weight, target = batch(network, patch)

    def loss(number: int, made: Patch, told: Patch | None) -> Tensor:
        one = slice(number, number + 1)
        return pixel_loss("l1", made.high[None], high[one], weight[one])

    least = torch.full((sum(blocks),), -math.inf)
    gradients: list[dict[str, Tensor]] = []
    values: list[float] = []
    for half in (False, True):
        try:
            step = FusedStep(network, patch, cache, half=half)
        except DeviceError as error:
            pytest.skip(f"needs AVX512-BF16: {error}")
        network.zero_grad()
        losses = step(seen, loss, least=least, target=target, guide=0.02, gates=1.0)
        losses.total.backward()
        step.close()
        values.append(losses.pixels.item())
        gradients.append({n: w.grad.clone() for n, w in network.named_parameters() if w.grad is not None})
    assert values[1] == pytest.approx(values[0], rel=2e-3)
    largest = max(float(gradient.norm()) for gradient in gradients[0].values())
    for name, gradient in gradients[0].items():
        error = float((gradients[1][name] - gradient).norm())
        assert error < 0.02 * float(gradient.norm()) + 1e-3 * largest, name


def test_a_teacher_is_asked_of_every_patch_with_all_attended(cache: Path) -> None:
    network = random_network(12, 2, (1, 1)).train().requires_grad_(True)
    master = random_network(12, 2, (1, 1), seed=7)
    seen, _, _, target = batch(network, 32)
    heard: dict[int, Patch] = {}
    beside = torch.nn.Parameter(torch.ones(2))

    def loss(number: int, made: Patch, told: Patch | None) -> Tensor:
        assert told is not None
        heard[number] = told
        return (made.high - told.high).abs().mean() + beside[number] * 0.5

    step, teacher = FusedStep(network, 32, cache), FusedStep(master, 32, cache)
    none = torch.full((2,), math.inf)
    given = {"target": target, "guide": 0.0, "gates": 0.0}
    losses = step(seen, loss, least=none, beside=[beside], teacher=teacher, **given)
    losses.total.backward()
    with torch.no_grad():
        expected, plain = master(seen, TopShare(1.0)), network(seen, TopShare(0.0))
    for number, told in heard.items():
        assert (told.high - expected[number]).abs().max() < 1e-4
    assert losses.pixels.item() == pytest.approx(
        sum(float((plain[n] - expected[n]).abs().mean()) + 0.5 for n in range(2)), rel=1e-4
    )
    assert beside.grad is not None
    assert beside.grad.tolist() == [0.5, 0.5]
    step.close()


def test_the_number_of_threads_changes_no_byte(cache: Path) -> None:
    network = random_network(12, 2, (1, 1)).train().requires_grad_(True)
    seen, high, weight, target = (part.repeat_interleave(2, dim=0) for part in batch(network, 16))

    def loss(number: int, made: Patch, told: Patch | None) -> Tensor:
        return pixel_loss("l1+fft", made.high[None], high[number : number + 1], weight[number : number + 1])

    gradients = []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        network.zero_grad()
        step = FusedStep(network, 16, cache)
        least = torch.full((2,), -math.inf)
        step(seen, loss, least=least, target=target, guide=0.02, gates=1.0).total.backward()
        assert torch.get_num_threads() == threads
        step.close()
        gradients.append([w.grad.clone() for w in network.parameters() if w.grad is not None])
    for other in gradients[1:]:
        assert all(torch.equal(a, b) for a, b in zip(gradients[0], other, strict=True))


def test_every_weight_has_its_place_once() -> None:
    for latitude in (False, True):
        network = CAMixerSR(CAMixerSRConfig(20, 3, (1, 2), latitude=latitude))
        order = names(network)
        assert order.count("") == (not latitude)
        assert sorted(filter(None, order)) == sorted(name for name, _ in network.named_parameters())


def test_a_run_learns_what_it_learns_with_torch(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PRESETS, "tiny", CAMixerSRConfig(channels=12, scale=2, blocks=(1, 1)))
    photos = pictures(tmp_path / "photos", 128)
    plan = replace(
        recipe(tmp_path, tmp_path, model="tiny", optimizer="adamw", ema=0.0, patch=32, plain=0.2),
        photos=str(photos),
        validation="",
        attention_first=0.0,
        steps=12,
        validate_every=12,
    )
    torched, quick = (
        load_tensors(run(replace(plan, kernels=kernels, output=str(tmp_path / kernels))))
        for kernels in ("torch", "fused")
    )
    from camixersr.train.start import start_network

    # Adam makes whole steps of gradients that are nothing but rounding: all weights together, then
    before = start_network(plan)[0].state_dict()
    body = [name for name in torched if name.startswith("body")]
    assert _distance(quick, torched, body) < 0.05 * _distance(before, torched, body)


def _distance(a: dict[str, Tensor], b: dict[str, Tensor], names: list[str]) -> float:
    return float(torch.stack([(a[name] - b[name]).norm() for name in names]).norm())


def pictures(folder: Path, size: int, wide: int = 1) -> Path:
    from PIL import Image

    folder.mkdir(parents=True)
    for number in range(4):
        parts = [scene(size, 10 * number + part) for part in range(wide)]
        Image.fromarray(np.concatenate(parts, axis=1)).save(folder / f"{number}.png")
    return folder


def test_panoramas_and_photographs_are_mixed_as_asked(tmp_path: Path) -> None:
    panoramas = load_photos(sorted(pictures(tmp_path / "p", 96, 2).iterdir()), tmp_path, smallest=1)
    flat = load_photos(sorted(pictures(tmp_path / "f", 100).iterdir()), tmp_path, smallest=1)
    stream, again = (MixedStream(panoramas, flat, share=0.75, scale=4, patch=16, seed=5) for _ in range(2))
    on_equator = 0
    for number in range(200):
        patch = stream.patch(number)
        assert patch.shape == (4, stream.side, stream.side)
        on_equator += bool((patch[3] == 255).all())
        if number % 20 == 0:
            assert torch.equal(patch, again.patch(number))
    assert 130 < on_equator < 170
    low, high = stream.pairs(torch.stack([stream.patch(number) for number in range(4)]))
    assert low.shape == (4, 4, 16, 16)
    assert high.shape == (4, 4, 64, 64)


def test_a_panoramic_run_with_photographs_beside(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from camixersr.train.plan import describe_run as describe

    tiny = CAMixerSRConfig(channels=12, scale=2, blocks=(1, 1), latitude=True)
    monkeypatch.setitem(PRESETS, "tiny-360", tiny)
    plan = replace(
        recipe(tmp_path, tmp_path, model="tiny-360", kernels="fused", projection="erp"),
        photos=str(pictures(tmp_path / "p", 64, 2)),
        flat_photos=str(pictures(tmp_path / "f", 100)),
        flat_share=0.5,
        validation="",
        decay="linear",
        hold=0.5,
    )
    there = sorted(tmp_path.rglob("*"))
    told = describe(plan)
    assert "beside them  3 flat photographs (0 Mpx), in 50% of the patches" in told
    assert "on cpu, fused" in told
    assert sorted(tmp_path.rglob("*")) == there
    weights = load_tensors(run(plan))
    assert weights["latitude.weight"].abs().max() > 0


def test_attention_begins_where_convolution_is() -> None:
    network = random_network(20, 2, (2, 1))
    with torch.no_grad():  # as training without attention leaves it
        for mixer in network.modules():
            if isinstance(mixer, CAMixer):
                mixer.predictor.spatial.bias -= 3.5
                mixer.project_v.weight *= 12.0
    low = torch.rand(2, 3, 48, 48, generator=torch.Generator().manual_seed(1))

    def results() -> list[Tensor]:
        return [network(low, TopShare(share)) for share in (0.0, 1.0)]

    plain, attended = results()
    restart_attention(network, low)
    plain_after, attended_after = results()
    apart = (attended - plain).square().mean()
    assert (plain_after - plain).square().mean() < 0.02 * apart
    assert (attended_after - plain_after).square().mean() < 0.2 * apart
    for mixer in network.modules():
        if isinstance(mixer, CAMixer):
            assert not mixer.predictor.offsets[-1].weight.any()


@pytest.mark.parametrize("decay", ["cosine", "linear"])
def test_rates_hold_and_fall(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, decay: str) -> None:
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.module import Training

    monkeypatch.setitem(PRESETS, "tiny", CAMixerSRConfig(channels=12, scale=2, blocks=(1,)))
    photos = load_photos(sorted(pictures(tmp_path / "f", 100).iterdir()), tmp_path, smallest=1)
    plan = recipe(tmp_path, tmp_path, model="tiny", warmup=2, steps=102, decay=decay, hold=0.4, final=0.2)
    training = Training(CAMixerSR(PRESETS["tiny"]), plan, photos, [])
    factor = training.configure_optimizers()["lr_scheduler"]["scheduler"].lr_lambdas[0]
    assert [factor(step) for step in (0, 1, 2, 41, 42)] == [0.5, 1.0, 1.0, 1.0, 1.0]
    assert factor(102) == pytest.approx(0.2)
    assert factor(72) == pytest.approx(0.6)  # half way down, either way
    assert factor(57) == pytest.approx(0.8 if decay == "linear" else 0.2 + 0.4 * (1 + 0.5**0.5))


def test_what_it_is_not_made_for_is_refused_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match=r'use kernels = "torch"'):
        FusedStep(random_network(20, 2, (1,), keys=8), 16, tmp_path)
    with pytest.raises(UsageError, match="patches of 24"):
        FusedStep(random_network(20, 2, (1,)), 24, tmp_path)
    network = random_network(16, 2, (1,))
    monkeypatch.setattr(fused, "_processor", lambda: "")
    with pytest.raises(DeviceError, match="AVX2 and FMA or AVX-512"):
        FusedStep(network, 16, tmp_path)
    monkeypatch.setattr(fused, "_processor", lambda: "avx512f")
    monkeypatch.setenv("CXX", "false")
    with pytest.raises(DeviceError, match="cannot compile"):
        FusedStep(network, 16, tmp_path)
    monkeypatch.delenv("CXX")
    monkeypatch.setattr(fused.shutil, "which", lambda name: None)
    with pytest.raises(DeviceError, match=r"C\+\+ compiler"):
        FusedStep(network, 16, tmp_path)
    assert not list(tmp_path.iterdir())  # nothing half made


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kernels": "fused", "routing": "gain"}, "routing"),
        ({"kernels": "fused", "compile": True}, "compile"),
        ({"flat_photos": "x"}, "go together"),
        ({"flat_photos": "x", "flat_share": 0.5}, "beside panoramas"),
        ({"plain": 0.5, "routing": "paper"}, "plain is for"),
        ({"hold": 1.5}, "hold must lie"),
    ],
)
def test_recipes_that_do_not_fit(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(ValueRangeError, match=message):
        recipe(tmp_path, tmp_path, **changes)
