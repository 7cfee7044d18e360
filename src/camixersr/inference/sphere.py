"""A panorama as a source of tiles: read beyond an edge, it goes on where the sphere does.

This is all the wrap-around there is, but for cells (`camixersr.inference.cells`). Tiles are computed
with a halo as long as the network sees (decision 0004), and a panorama's halos are read from the other
side of the seam and from across the poles: padding, convolutions, warps and windows inside the network
then have what a closed sphere would give them, without knowing of it (decision 0006).
"""

from dataclasses import dataclass

import numpy as np

from camixersr.backends.protocol import Planes
from camixersr.image.panorama import Panorama, pieces
from camixersr.inference.sources import Source

__all__ = ["Spherical"]


@dataclass(frozen=True)
class Spherical:
    """A `Source` whose rows and columns may lie outside the picture, where its panorama goes on.

    Args:
        inner: the picture.
        panorama: what it shows.
        latitude: add the cosine of the latitude as a fourth channel, for networks that want it.
    """

    inner: Source
    panorama: Panorama
    latitude: bool = False

    @property
    def height(self) -> int:
        """Low pixels."""
        return self.inner.height

    @property
    def width(self) -> int:
        """Low pixels."""
        return self.inner.width

    def read(self, rows: slice, columns: slice) -> Planes:
        """1 x 3 (or 4) x h x w float32, RGB in [0, 1] (and cosines)."""
        bands: list[Planes] = []
        for piece in pieces(rows.start, rows.stop, self.height):
            mirrored = piece.turns % 2 == 1
            inside = piece.inside
            if mirrored:  # over the pole: the same rows from the other end, half a turn away
                inside = slice(self.height - inside.stop, self.height - inside.start)
            turn = self.width // 2 if mirrored else 0
            parts = [
                self.inner.read(inside, part.inside)
                for part in pieces(columns.start + turn, columns.stop + turn, self.width)
            ]
            band = np.concatenate(parts, axis=-1)
            bands.append(band[..., ::-1, :] if mirrored else band)
        low = np.concatenate(bands, axis=-2)
        if not self.latitude:
            return low
        cosines = self.panorama.cosines(rows)[:, None]
        return np.concatenate((low, np.broadcast_to(cosines, (1, 1, *low.shape[-2:]))), axis=1)
