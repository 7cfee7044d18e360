"""Property: whatever lossless file we write, another reader finds exactly what we were given.

And whatever another writer made, we read exactly that. Sizes, depths, channels and values at random.
"""

import tempfile
from pathlib import Path

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from camixersr.image.decode import read
from camixersr.image.encode import write
from camixersr.image.formats import WriteOptions
from camixersr.image.picture import Picture
from tests.image.files import open_independently

LOSSLESS = {
    ".png": (np.uint8, np.uint16),
    ".tif": (np.uint8, np.uint16, np.float32),
    ".webp": (np.uint8,),
}


@st.composite
def pictures(draw: st.DrawFn) -> tuple[str, NDArray, WriteOptions]:
    """A suffix, pixels H x W x 1 to 4, and how to encode."""
    suffix = draw(st.sampled_from(sorted(LOSSLESS)))
    dtype = draw(st.sampled_from(LOSSLESS[suffix]))
    channels = draw(st.integers(1, 4)) if suffix != ".webp" else draw(st.integers(3, 4))
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    if dtype == np.float32:
        pixels = rng.uniform(-2.0, 9.0, (height, width, channels)).astype(np.float32)
        if channels in (2, 4):
            pixels[..., -1] = rng.uniform(0.0, 1.0, (height, width))
        # tifffile reads predicted floats only with another package
        options = WriteOptions(compression="none")
    else:
        pixels = rng.integers(0, np.iinfo(dtype).max + 1, (height, width, channels)).astype(dtype)
        if channels in (2, 4):  # WebP forgets colours that nobody can see
            pixels[..., -1] = np.maximum(pixels[..., -1], 1)
        options = WriteOptions(lossless=True) if suffix == ".webp" else WriteOptions()
    return suffix, pixels, options


def split(pixels: NDArray) -> Picture:
    alpha = pixels.shape[2] in (2, 4)
    colour = np.ascontiguousarray(pixels[..., :-1]) if alpha else pixels
    return Picture(colour, np.ascontiguousarray(pixels[..., -1]) if alpha else None)


@given(pictures())
@settings(max_examples=120)
def test_lossless_files_hold_what_they_were_given(each: tuple[str, NDArray, WriteOptions]) -> None:
    suffix, pixels, options = each
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"a{suffix}"
        assert write(path, split(pixels), options) == []
        seen = open_independently(path)
        assert seen.dtype == pixels.dtype
        assert np.array_equal(seen.reshape(pixels.shape), pixels)
        back = read(path)
        alpha = pixels.shape[2] in (2, 4)
        assert np.array_equal(back.pixels, pixels[..., :-1] if alpha else pixels)
        assert (back.alpha is not None) == alpha
        if back.alpha is not None:
            assert np.array_equal(back.alpha, pixels[..., -1])


@given(
    st.sampled_from([np.uint8, np.uint16, np.float32]),
    st.integers(1, 40),
    st.integers(1, 40),
    st.sampled_from([1, 3]),
    st.booleans(),
)
@settings(max_examples=60)
def test_tiffs_of_another_writer_are_read_exactly(
    dtype: type, height: int, width: int, channels: int, big_endian: bool
) -> None:
    rng = np.random.default_rng(height * 41 + width)
    pixels = (rng.uniform(0.0, 1.0, (height, width, channels)) * 255).astype(dtype)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.tif"
        stored = pixels[..., 0] if channels == 1 else pixels
        kind = "minisblack" if channels == 1 else "rgb"
        tifffile.imwrite(path, stored, photometric=kind, byteorder=">" if big_endian else "<")
        assert np.array_equal(read(path).pixels, pixels)
