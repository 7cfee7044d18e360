"""Training on panoramas: what is cut, what it counts, where it starts."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.errors import InputError, ValueRangeError
from camixersr.image.fisheye import reduce_through_fisheyes
from camixersr.image.resize import resize
from camixersr.metrics import latitude_weights
from camixersr.models import (
    OMNI_PRESETS,
    PRESETS,
    CAMixerSR,
    CAMixerSRConfig,
    OmniCAMixerSR,
    OmniCAMixerSRConfig,
)
from camixersr.train.calibrate import RATIOS
from camixersr.train.initialise import initialise_linear, transfer
from camixersr.train.photos import MARGIN, FisheyeStream, PanoramaStream, load_photos, reduce
from camixersr.train.recipe import Recipe
from tests.conftest import random_network
from tests.train.test_train import run, scene

TINY = CAMixerSRConfig(channels=12, scale=4, blocks=(1,), latitude=True)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("panoramas")
    for number in range(4):
        Image.fromarray(np.concatenate((scene(96, number), scene(96, number + 9)), axis=1)).save(
            root / f"{number}.png"
        )
    return root


def test_patches_wrap_around_and_know_their_latitude(folder: Path, tmp_path: Path) -> None:
    photos = load_photos([folder / "0.png"], tmp_path, smallest=1)
    photo = photos.photo(0)
    stream = PanoramaStream(photos, scale=4, patch=16, seed=3)
    weights = np.floor(255 * latitude_weights(96) + 0.5)
    closed = np.concatenate((photo, photo), axis=1)
    wrapped = 0
    for number in range(40):
        patch = stream.patch(number).numpy().transpose(1, 2, 0)
        side = stream.side
        assert patch.shape == (side, side, 4)
        places = [
            (top, left, down, right)
            for down in (1, -1) for right in (1, -1)
            for top in range(96 - side + 1)
            if np.array_equal(weights[top : top + side], patch[::down, 0, 3])
            for left in range(192)
            if np.array_equal(closed[top, left : left + side], patch[::down, ::right, :3][0])
        ]  # fmt: skip
        assert places
        top, left, down, right = places[0]
        expected = closed[top : top + side, left : left + side]
        assert np.array_equal(expected, patch[::down, ::right, :3])
        wrapped += left + side > 192
    assert 2 < wrapped < 38
    low, high = reduce(stream.patch(0)[None], 4)
    assert low.shape == (1, 4, 16, 16)
    edge = 4 * MARGIN
    exact = resize(stream.patch(0)[3].numpy(), height=20, width=20)[MARGIN:-MARGIN, MARGIN:-MARGIN]
    assert np.abs(255 * low[0, 3].numpy() - exact).max() <= 1
    assert torch.equal(high[0], stream.patch(0)[:, edge:-edge, edge:-edge].float() / 255)


def test_patches_seen_through_fisheyes_are_parts_of_the_whole_so_reduced(
    folder: Path, tmp_path: Path
) -> None:
    photos = load_photos([folder / "0.png"], tmp_path, smallest=1)
    high = np.concatenate((photos.photo(0), photos.photo(0)), axis=1)  # closed
    small = reduce_through_fisheyes(photos.photo(0), 4)
    small = np.concatenate((small, small), axis=1)
    cosine = [np.floor(255 * latitude_weights(rows) + 0.5) for rows in (96, 24)]
    stream = FisheyeStream(photos, scale=4, patch=16, seed=5)
    again = FisheyeStream(photos, scale=4, patch=16, seed=5)
    wrapped = 0
    for number in reversed(range(30)):
        batch = stream.patch(number)[None]
        assert torch.equal(batch[0], again.patch(number))
        below, above = stream.pairs(batch)
        assert below.shape == (1, 4, 16, 16)
        assert above.shape == (1, 4, 64, 64)
        low, wanted = ((255 * each[0]).round().numpy().transpose(1, 2, 0) for each in (below, above))
        places = [
            (top, left, down, right)
            for down in (1, -1) for right in (1, -1)
            for top in range(9) for left in range(48)
            if np.array_equal(small[top : top + 16, left : left + 16], low[::down, ::right, :3])
        ]  # fmt: skip
        assert places
        top, left, down, right = places[0]
        rows = slice(4 * top, 4 * top + 64)
        assert np.array_equal(high[rows, 4 * left : 4 * left + 64], wanted[::down, ::right, :3])
        assert np.array_equal(cosine[0][rows], wanted[::down, 0, 3])
        assert np.array_equal(cosine[1][top : top + 16], low[::down, 0, 3])
        wrapped += left + 16 > 48
    assert 2 < wrapped < 28


def test_a_network_told_the_latitude_starts_as_the_flat_one() -> None:
    flat, told = random_network(channels=12, scale=4, blocks=(1,)), CAMixerSR(TINY).eval()
    transfer(flat, told)
    low = torch.rand(1, 3, 16, 32)
    cosine = torch.linspace(0, 1, 16)[None, None, :, None].expand(1, 1, 16, 32)
    with torch.no_grad():
        assert torch.equal(told(torch.cat((low, cosine), dim=1)), flat(low))
        told.latitude.weight.fill_(0.5)
        assert torch.equal(told(torch.cat((low, torch.ones_like(cosine)), dim=1)), flat(low))
        assert not torch.equal(told(torch.cat((low, cosine), dim=1)), flat(low))
    back = CAMixerSR(replace(TINY, latitude=False)).eval()
    transfer(told, back)
    with torch.no_grad():
        assert torch.equal(back(low), flat(low))
    with pytest.raises(InputError):
        transfer(flat, OmniCAMixerSR(OmniCAMixerSRConfig(channels=12, scale=4, blocks=(1,))))


def test_the_omnidirectional_network_starts_as_a_linear_upsampler(folder: Path, tmp_path: Path) -> None:
    photos = load_photos(sorted(folder.glob("*.png")), tmp_path, smallest=1)
    stream = PanoramaStream(photos, scale=4, patch=16, seed=1)
    low, high = reduce(torch.stack([stream.patch(number) for number in range(24)]), 4)
    torch.manual_seed(0)
    network = OmniCAMixerSR(OmniCAMixerSRConfig(channels=30, scale=4, blocks=(2,))).eval()
    initialise_linear(network, low, high)
    with torch.no_grad():
        result = network(low)
    nearest = low[:, :3].repeat_interleave(4, dim=2).repeat_interleave(4, dim=3)
    assert (result - high[:, :3]).square().mean() < 0.8 * (nearest - high[:, :3]).square().mean()


@pytest.mark.parametrize("kind", ["told", "flat", "omni", "fisheye"])
def test_a_run_on_panoramas(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from camixersr.weights import load_file

    tiny = {"told": TINY, "fisheye": TINY, "flat": CAMixerSRConfig(channels=12, scale=4, blocks=(1,))}
    if kind == "omni":
        monkeypatch.setitem(OMNI_PRESETS, "tiny", OmniCAMixerSRConfig(channels=12, scale=4, blocks=(2,)))
    else:
        monkeypatch.setitem(PRESETS, "tiny", tiny[kind])
    plan = Recipe(
        photos=str(folder), output=str(tmp_path), model="tiny", projection="erp", steps=4, batch=2,
        patch=16, warmup=2, validate_every=2, holdout=2,
        reduction="fisheye" if kind == "fisheye" else "bicubic",
    )  # fmt: skip
    pytest.importorskip("lightning", reason="needs the extra `train`: lightning is not installed")
    from camixersr.train.plan import describe_run as described

    assert "held out" in described(plan)
    model = load_file(run(plan, name="tiny-360-x4"))
    assert set(model.scores) == {f"held out/{ratio:g}" for ratio in (0, *RATIOS, 1)}
    assert model.scores["held out/0.5"] > 10.0
    assert type(model.network) is (OmniCAMixerSR if kind == "omni" else CAMixerSR)
    if kind == "told":
        assert bool(model.network.latitude.weight.abs().sum() > 0)


def test_shrinking_is_for_flat_photographs() -> None:
    with pytest.raises(ValueRangeError, match="shrink"):
        Recipe(photos="a", output="b", projection="erp", shrink=2.0)
    with pytest.raises(ValueRangeError, match="for panoramas"):
        Recipe(photos="a", output="b", reduction="fisheye")
