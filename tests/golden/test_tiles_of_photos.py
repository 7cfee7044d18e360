"""The embedded models in tiles and in one piece: 70 dB or more, and by at most 1 of 255."""

from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from camixersr.catalogue import embedded, find
from camixersr.image.panorama import Panorama
from camixersr.metrics import psnr
from tests.conftest import TensorComputer, shared

RATIOS = (0.0, 0.5, 1.0)


def photo(number: int, rows: slice = slice(None), columns: slice = slice(None)) -> torch.Tensor:
    pixels = np.asarray(Image.open(shared(f"data/photo/{number}.png")).convert("RGB"))
    return torch.from_numpy(pixels[rows, columns].copy()).permute(2, 0, 1).float() / 255.0


def agree(
    name: str,
    low: torch.Tensor,
    ratio: float,
    tile: int | Literal["auto"],
    *,
    panorama: Panorama | None = None,
    batch: int | Literal["auto"] = "auto",
) -> None:
    """What the bar says; `tile` is made a multiple of the model's cells."""
    model = find(name)
    cell = model.config.pool or 16
    tile = tile if tile == "auto" else -(-tile // cell) * cell
    how = {"attention_ratio": ratio, "panorama": panorama}
    whole = TensorComputer(model, device="cpu", tile=0).run(low, **how)
    tiled = TensorComputer(model, device="cpu", tile=tile, batch=batch).run(low, **how)
    assert tiled.tiles > 1
    one, many = ((each.high.clamp(0, 1) * 255.0 + 0.5).byte().numpy() for each in (whole, tiled))
    assert np.abs(one.astype(int) - many).max() <= 1
    assert psnr(one.transpose(1, 2, 0), many.transpose(1, 2, 0)) >= 70.0
    # thresholds are local: nothing but rounding and the far ends of cells decides otherwise
    assert np.mean(whole.shares != tiled.shares) <= 0.02


@pytest.mark.parametrize(("number", "ratio"), [(1, 0.5), (20, 0.5), (13, 0.0), (13, 1.0)])
def test_a_detail_of_a_photo(number: int, ratio: float) -> None:
    """A wall and a stream: textures all over, where tiles once differed by 9 of 255; a white sky, by 2."""
    agree("s-x4", photo(number, slice(100, 292), slice(200, 450)), ratio, 128)


@pytest.mark.parametrize("name", sorted(set(embedded()) - {"s-x4"}))
def test_every_embedded_model(name: str) -> None:
    """Those for panoramas around the sphere."""
    if "360" in name:
        low, whole = photo(13, slice(100, 228), slice(200, 456)), Panorama.whole(128, 256)
        agree(name, low, 0.5, 128, panorama=whole)
    else:
        agree(name, photo(13, slice(100, 228), slice(200, 420)), 0.5, 128)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize(("tile", "batch"), [(128, "auto"), (320, "auto"), ("auto", 2)])
@pytest.mark.parametrize("number", range(1, 25))
def test_every_photo(
    number: int, tile: int | Literal["auto"], batch: int | Literal["auto"], ratio: float
) -> None:
    """Where tiles come in batches, as on accelerators, "auto" cuts these photos; else it does not."""
    agree("s-x4", photo(number), ratio, tile, batch=batch)
