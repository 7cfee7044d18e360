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


class Whole:
    """A picture in one piece, which tiles are to agree with.

    Args:
        name: of the model.
        low: the picture.
        ratio: gamma.
        panorama: what it shows of a sphere.
    """

    def __init__(
        self, name: str, low: torch.Tensor, ratio: float, panorama: Panorama | None = None
    ) -> None:
        self.model, self.low = find(name), low
        self.how = {"attention_ratio": ratio, "panorama": panorama}
        self.result = TensorComputer(self.model, device="cpu", tile=0).run(low, **self.how)

    def agrees(
        self, tile: int | Literal["auto"], batch: int | Literal["auto"] = "auto"
    ) -> tuple[float, int]:
        """What the bar says, with a tile that is made a multiple of the model's cells; dB, most of 255."""
        cell = self.model.config.pool or 16
        tile = tile if tile == "auto" else -(-tile // cell) * cell
        tiled = TensorComputer(self.model, device="cpu", tile=tile, batch=batch).run(self.low, **self.how)
        assert tiled.tiles > 1
        pictures = ((each.high.clamp(0, 1) * 255.0 + 0.5).byte().numpy() for each in (self.result, tiled))
        one, many = (each.transpose(1, 2, 0) for each in pictures)
        most, decibels = int(np.abs(one.astype(int) - many).max()), psnr(one, many)
        assert most <= 1
        assert decibels >= 70.0
        # thresholds are local: nothing but rounding and the far ends of cells decides otherwise
        assert np.mean(self.result.shares != tiled.shares) <= 0.02
        return decibels, most


@pytest.mark.parametrize(("number", "ratio"), [(1, 0.5), (20, 0.5), (13, 0.0), (13, 1.0)])
def test_a_detail_of_a_photo(number: int, ratio: float) -> None:
    """A wall and a stream: textures all over, where tiles once differed by 9 of 255; a white sky, by 2."""
    Whole("s-x4", photo(number, slice(100, 292), slice(200, 450)), ratio).agrees(128)


@pytest.mark.parametrize("name", sorted(set(embedded()) - {"s-x4"}))
def test_every_embedded_model(name: str) -> None:
    """Those for panoramas around the sphere."""
    if "360" in name:
        low, whole = photo(13, slice(100, 228), slice(200, 456)), Panorama.whole(128, 256)
        Whole(name, low, 0.5, whole).agrees(128)
    else:
        Whole(name, photo(13, slice(100, 228), slice(200, 420)), 0.5).agrees(128)


@pytest.mark.slow
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("ratio", RATIOS)
@pytest.mark.parametrize("number", range(1, 25))
def test_every_photo(number: int, ratio: float) -> None:
    """Where tiles come in batches, as on accelerators, "auto" cuts these photos; else it does not.

    Batches are computed by torch, and the whole by the default backend: of four photos, as it takes long.
    With -s the figures are shown, a line for each photo, ratio and tile.
    """
    whole = Whole("s-x4", photo(number), ratio)
    for tile, batch in ((128, "auto"), (320, "auto"), *((("auto", 2),) if number % 6 == 1 else ())):
        decibels, most = whole.agrees(tile, batch)
        print(f"photo {number}, ratio {ratio:g}, tile {tile}: {decibels:.2f} dB, {most} of 255", flush=True)
