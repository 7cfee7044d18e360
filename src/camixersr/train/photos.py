"""Photographs as an endless, reproducible stream of patches.

Each photograph is decoded once into one memory-mapped file; patch number i of a run is a pure
function of the seed and i, so that a run resumed at step n continues with exactly the patches it
would have seen.
"""

import hashlib
import json
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import IterableDataset

from camixersr.data import SUFFIXES, read_rgb
from camixersr.errors import ImageError, InputError, OutputError
from camixersr.image.degradation import Degradation, add_noise, compress
from camixersr.image.files import replacing
from camixersr.image.fisheye import reduce_through_fisheyes
from camixersr.image.resize import resize, resize_matrix
from camixersr.metrics.spherical import latitude_weights
from camixersr.tensors import channels_first

__all__ = [
    "MARGIN",
    "Batches",
    "DegradedStream",
    "FisheyeStream",
    "MixedStream",
    "PanoramaStream",
    "PatchStream",
    "Photos",
    "list_photos",
    "load_photos",
    "reduce",
]

MARGIN = 2
"""Low pixels of context that a patch is cut with at each side: its reduction is then the photograph's."""


def list_photos(folder: str | Path, *, limit: int, holdout: int) -> tuple[list[Path], list[Path]]:
    """Find the photographs of a recipe.

    Args:
        folder: searched recursively.
        limit: take only so many, spread over the folder; 0 for all.
        holdout: every so-many-th is kept from training.

    Returns:
        Those to train on, and those held out.

    Raises:
        InputError: there is no such folder.
    """
    if not Path(folder).is_dir():
        raise InputError(f"{folder}: expected a folder of photographs; set DATA, or `photos` in the recipe")
    files = sorted(file for file in Path(folder).rglob("*") if file.suffix.lower() in SUFFIXES)
    if 0 < limit < len(files):
        files = [files[number * len(files) // limit] for number in range(limit)]
    return [file for number, file in enumerate(files) if number % holdout], files[::holdout]


@dataclass(frozen=True)
class Photos:
    """Decoded photographs, in one array.

    Attributes:
        pixels: all of them, H x W x 3 uint8 RGB each, one after another, flat.
        offsets: where each begins in `pixels`.
        sizes: height and width of each, in pixels.
        skipped: files left out, with the reason.
    """

    pixels: NDArray[np.uint8]
    offsets: tuple[int, ...]
    sizes: tuple[tuple[int, int], ...]
    skipped: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.sizes)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Photos":
        """Itself: nothing in it changes, and a copy of a mapped file would be held in memory."""
        return self

    def photo(self, number: int) -> NDArray[np.uint8]:
        """Photograph `number`, H x W x 3 uint8, read-only."""
        height, width = self.sizes[number]
        start = self.offsets[number]
        return self.pixels[start : start + height * width * 3].reshape(height, width, 3)


def load_photos(files: Sequence[Path], cache: Path, *, smallest: int) -> Photos:
    """Decode photographs into a memory-mapped file, or map the one an earlier run made.

    Args:
        files: pictures to decode, in order.
        cache: folder for the file; made if it is missing.
        smallest: photographs with a shorter side than this many pixels are left out.

    Returns:
        The photographs; what could not be used is in `skipped`, and warned of.

    Raises:
        InputError: none of the files can be used.
        OutputError: the cache cannot be written.
    """
    facts = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    key = hashlib.sha256(json.dumps([facts, smallest]).encode()).hexdigest()[:16]
    data, index = cache / f"photos-{key}.u8", cache / f"photos-{key}.json"
    if not (data.exists() and index.exists()):
        try:
            cache.mkdir(parents=True, exist_ok=True)
            _decode(files, data, index, smallest)
        except OSError as error:
            raise OutputError(f"{cache}: cannot write the cache of photographs: {error}") from error
    record = json.loads(index.read_text())
    for reason in record["skipped"]:
        warnings.warn(f"left out of training: {reason}", stacklevel=2)
    if not record["sizes"]:
        raise InputError(
            f"no usable photograph among {len(files)} files; expected pictures of at least "
            f"{smallest} x {smallest} pixels ({', '.join(sorted(SUFFIXES))})"
        )
    return Photos(
        pixels=np.memmap(data, dtype=np.uint8, mode="r"),
        offsets=tuple(record["offsets"]),
        sizes=tuple((height, width) for height, width in record["sizes"]),
        skipped=tuple(record["skipped"]),
    )


def _decode(files: Sequence[Path], data: Path, index: Path, smallest: int) -> None:
    offsets: list[int] = []
    sizes: list[tuple[int, int]] = []
    skipped: list[str] = []
    position = 0
    with replacing(data) as partial, partial.open("wb") as stream:
        for file in files:
            try:
                pixels = read_rgb(file, faithful=True)
            except ImageError as error:
                skipped.append(str(error))
                continue
            if min(pixels.shape[:2]) < smallest:
                skipped.append(f"{file.name} ({pixels.shape[1]} x {pixels.shape[0]} is too small)")
                continue
            stream.write(pixels.tobytes())
            offsets.append(position)
            sizes.append((pixels.shape[0], pixels.shape[1]))
            position += pixels.size
    with replacing(index) as partial:
        partial.write_text(json.dumps({"offsets": offsets, "sizes": sizes, "skipped": skipped}))


class PatchStream:
    """Patches without end, each with `MARGIN` low pixels of context on every side.

    Args:
        photos: where the patches are cut from; a photograph's chance grows with its area.
        scale: high pixels a low pixel, a side.
        patch: side of the low patch, in low pixels, without the margin.
        seed: of the whole stream.
        shrink: a photograph is reduced by a random factor from 1 to this before the cut, less
            where it is too small for that.
    """

    def __init__(self, photos: Photos, *, scale: int, patch: int, seed: int, shrink: float = 1.0) -> None:
        self.photos = photos
        self.scale = scale
        self.side = self.side_of(scale=scale, patch=patch)
        self.seed = seed
        self.shrink = shrink
        area = np.array([height * width for height, width in photos.sizes], dtype=np.float64)
        self.cumulative = np.cumsum(area / area.sum())

    @classmethod
    def side_of(cls, *, scale: int, patch: int) -> int:
        """Side of a patch with its margin, in high pixels; no photograph may be smaller."""
        return (patch + 2 * MARGIN) * scale

    def patch(self, number: int) -> Tensor:
        """Patch `number`: 3 x S x S uint8, S = `side`, flipped and turned at random."""
        rng = np.random.default_rng((self.seed, number))
        photo = self.photos.photo(self._which(rng))
        cut = self.side
        if self.shrink > 1.0:
            cut = min(round(cut * rng.uniform(1.0, self.shrink)), *photo.shape[:2])
        row = rng.integers(photo.shape[0] - cut + 1)
        column = rng.integers(photo.shape[1] - cut + 1)
        high = photo[row : row + cut, column : column + cut]
        if cut > self.side:
            high = resize(high, height=self.side, width=self.side)
        high = np.rot90(high, int(rng.integers(4)))
        if rng.random() < 0.5:
            high = high[:, ::-1]
        return channels_first(high)

    def _which(self, rng: np.random.Generator) -> int:
        """The photograph of a patch, whose first draw this is."""
        return min(int(np.searchsorted(self.cumulative, rng.random())), len(self.photos) - 1)

    def pairs(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """What the network is given and what it should make of it: `reduce`."""
        return reduce(patches, self.scale)


class PanoramaStream(PatchStream):
    """Patches of equirectangular panoramas, with the latitude of each pixel as a fourth channel.

    A patch begins at any longitude (columns wrap around: every yaw is as likely) and is mirrored, but
    not turned: rows remain circles of latitude.
    """

    def patch(self, number: int) -> Tensor:
        """Patch `number`: 4 x S x S uint8, S = `side`: RGB, and 255 times the cosine of the latitude."""
        rng = np.random.default_rng((self.seed, number))
        photo = self.photos.photo(self._which(rng))
        row = int(rng.integers(photo.shape[0] - self.side + 1))
        column = int(rng.integers(photo.shape[1]))
        return self._mirror(self._cut(photo, row, column, self.side), rng)

    def _cut(self, panorama: NDArray[np.uint8], row: int, column: int, side: int) -> NDArray[np.uint8]:
        """Side x side x 4: colours and cosine of the latitude."""
        cosine = np.floor(255.0 * latitude_weights(len(panorama)) + 0.5).astype(np.uint8)
        columns = (column + np.arange(side)) % panorama.shape[1]
        cut = panorama[row : row + side].take(columns, axis=1)
        latitude = np.broadcast_to(cosine[row : row + side, None, None], (side, side, 1))
        return np.concatenate((cut, latitude), axis=2)

    def _mirror(self, patch: NDArray[np.uint8], rng: np.random.Generator) -> Tensor:
        if rng.random() < 0.5:
            patch = patch[:, ::-1]
        if rng.random() < 0.5:
            patch = patch[::-1]
        return channels_first(patch)


class MixedStream(PanoramaStream):
    """The same, with patches of ordinary photographs in between, as pictures of the equator.

    Args:
        photos: panoramas.
        flat: ordinary photographs.
        share: of the patches that are cut from these, in [0, 1].
        scale: as for `PatchStream`, and so on.
        patch: likewise.
        seed: likewise.
    """

    def __init__(
        self, photos: Photos, flat: Photos, *, share: float, scale: int, patch: int, seed: int
    ) -> None:
        super().__init__(photos, scale=scale, patch=patch, seed=seed)
        self.flat = PatchStream(flat, scale=scale, patch=patch, seed=seed)
        self.share = share

    def patch(self, number: int) -> Tensor:
        """Patch `number`, as of `PanoramaStream`."""
        if np.random.default_rng((self.seed, number, 2)).random() >= self.share:
            return super().patch(number)
        colours = self.flat.patch(number)
        return torch.cat((colours, colours.new_full((1, self.side, self.side), 255)))


class FisheyeStream(PanoramaStream):
    """The same, but low panoramas are made through two fisheye pictures, which only a whole one can be.

    Each is made when it is first wanted, and kept.
    """

    def __init__(self, photos: Photos, *, scale: int, patch: int, seed: int, shrink: float = 1.0) -> None:
        super().__init__(photos, scale=scale, patch=patch, seed=seed, shrink=shrink)
        self.inner = patch
        self._low: dict[int, NDArray[np.uint8]] = {}

    def patch(self, number: int) -> Tensor:
        """Patch `number`: 8 x sP x sP uint8: high RGB and cosine, then low ones, s times each way."""
        rng = np.random.default_rng((self.seed, number))
        which = self._which(rng)
        high = self.photos.photo(which)
        if which not in self._low:
            self._low[which] = reduce_through_fisheyes(high, self.scale)
        low, s, P = self._low[which], self.scale, self.inner
        row, column = int(rng.integers(low.shape[0] - P + 1)), int(rng.integers(low.shape[1]))
        small = self._cut(low, row, column, P).repeat(s, axis=0).repeat(s, axis=1)
        large = self._cut(high, s * row, s * column, s * P)
        return self._mirror(np.concatenate((large, small), axis=2), rng)

    def pairs(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Low, B x 4 x P x P, and high, B x 4 x sP x sP; float32 in [0, 1]."""
        high, low = (patches.float() / 255.0).chunk(2, dim=1)
        return low[..., :: self.scale, :: self.scale], high


class DegradedStream(PatchStream):
    """Patches at scale 1 with their degraded copies, as RGB over RGB.

    A patch is degraded with `BLOCK` pixels around it, which are then cut off, so that the blocks of
    a JPEG begin where the network's windows do, as they do at the top left of a file. One patch in
    eight is compressed off that grid, as a picture that was cropped after it was compressed; one in
    eight with colour at full resolution.

    Args:
        photos: where the patches are cut from.
        patch: side of the patch, in pixels.
        seed: of the whole stream.
        degradation: what is done to a patch; its amount is drawn anew for each.
        shrink: as for `PatchStream`.
    """

    BLOCK = 16
    SELDOM = 1 / 8

    def __init__(
        self, photos: Photos, *, patch: int, seed: int, degradation: Degradation, shrink: float = 1.0
    ) -> None:
        super().__init__(photos, scale=1, patch=patch, seed=seed, shrink=shrink)
        self.degradation = degradation
        self.inner = patch

    @classmethod
    def side_of(cls, *, scale: int, patch: int) -> int:
        """Side of a patch with what is around it."""
        return scale * (patch + 2 * cls.BLOCK)

    def patch(self, number: int) -> Tensor:
        """Patch `number`: 6 x P x P uint8, degraded RGB and then the original."""
        rng = np.random.default_rng((self.seed, number, 1))  # another than what cuts the patch
        high = super().patch(number).permute(1, 2, 0).numpy()
        amount = self.degradation.at(rng.random())
        down, right = 0, 0
        if self.degradation.kind == "jpeg":
            if rng.random() < self.SELDOM:
                down, right = (int(start) for start in rng.integers(self.BLOCK, size=2))
            cut = high[down:, right:]
            low = compress(cut, round(amount), full_chroma=bool(rng.random() < self.SELDOM))
        else:
            low = add_noise(high, amount, rng)
        top, left = self.BLOCK - down, self.BLOCK - right
        low = low[top : top + self.inner, left : left + self.inner]
        high = high[self.BLOCK : -self.BLOCK, self.BLOCK : -self.BLOCK]
        return channels_first(np.concatenate((low, high), axis=2))

    def pairs(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """B x 6 x P x P uint8 -> low and high, B x 3 x P x P, float32 in [0, 1]."""
        low, high = (patches.float() / 255.0).chunk(2, dim=1)
        return low, high


class Batches(IterableDataset[Tensor]):
    """The batches of a run, one a step; of several processes, each gets its own part of every batch.

    Args:
        stream: where the patches come from.
        size: patches a step, over all processes.
        start: the first step.
        process: number of this process, from 0.
        processes: how many there are; `size` is a multiple of it.
    """

    def __init__(
        self, stream: PatchStream, *, size: int, start: int = 0, process: int = 0, processes: int = 1
    ) -> None:
        super().__init__()
        self.stream = stream
        self.size = size
        self.start = start
        self.part = size // processes
        self.offset = process * self.part

    def __iter__(self) -> Iterator[Tensor]:
        for step in count(self.start):
            first = step * self.size + self.offset
            yield torch.stack([self.stream.patch(first + number) for number in range(self.part)])


def reduce(high: Tensor, scale: int) -> tuple[Tensor, Tensor]:
    """Make training pairs: reduce patches as MATLAB would, and cut the margin off.

    Args:
        high: B x C x S x S, uint8, with `MARGIN` low pixels of context on every side.
        scale: high pixels a low pixel, a side.

    Returns:
        low, B x C x P x P, and high, B x C x sP x sP; float32 in [0, 1], on 8-bit steps.
    """
    side = high.shape[-1]
    matrix = torch.from_numpy(resize_matrix(side, side // scale)[MARGIN:-MARGIN]).to(
        device=high.device, dtype=torch.float32
    )
    image = high.float()
    low = (matrix @ image + 0.5).floor().clamp(0, 255)
    low = (low @ matrix.T + 0.5).floor().clamp(0, 255)
    edge = MARGIN * scale
    return low / 255.0, image[..., edge:-edge, edge:-edge] / 255.0
