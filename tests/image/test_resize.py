import numpy as np
import pytest
from PIL import Image

from camixersr.errors import ShapeError, ValueRangeError
from camixersr.image.resize import contributions, resize, resize_matrix
from tests.conftest import noise_picture, shared


def loop_bicubic(line: list[float], target: int) -> list[float]:
    """One line, resized straight from the definition."""

    def kernel(x: float) -> float:
        x = abs(x)
        if x <= 1:
            return 1.5 * x**3 - 2.5 * x**2 + 1
        return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0

    factor = target / len(line)
    squeeze = min(1.0, factor)
    result: list[float] = []
    for place in range(target):
        centre = (place + 0.5) / factor - 0.5
        total = weight = 0.0
        reach = int(2 / squeeze) + 2
        for source in range(int(np.floor(centre)) - reach, int(np.floor(centre)) + reach + 1):
            w = kernel(squeeze * (centre - source))
            period = source % (2 * len(line))
            mirrored = period if period < len(line) else 2 * len(line) - 1 - period
            total += w * line[mirrored]
            weight += w
        result.append(total / weight)
    return result


@pytest.mark.parametrize(("length", "target"), [(12, 3), (13, 5), (3, 12), (7, 7), (1, 4), (4, 1), (9, 31)])
def test_one_line_equals_the_definition(length: int, target: int) -> None:
    line = np.random.default_rng(0).random(length)
    expected = loop_bicubic(line.tolist(), target)
    assert resize_matrix(length, target) @ line == pytest.approx(expected, abs=1e-12)
    image = np.tile(line, (3, 1))
    assert resize(image, height=3, width=target)[1] == pytest.approx(expected, abs=1e-12)
    assert resize(image.T, height=target, width=3)[:, 1] == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(("length", "target"), [(640, 160), (100, 33), (10, 40)])
def test_weights_sum_to_one_and_indices_are_inside(length: int, target: int) -> None:
    index, weights = contributions(length, target)
    assert np.allclose(weights.sum(axis=1), 1.0)
    assert index.min() >= 0
    assert index.max() < length


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32, np.float64])
def test_the_same_size_is_the_same_picture(dtype: type) -> None:
    image = (np.random.default_rng(0).random((9, 14, 3)) * 200).astype(dtype)
    result = resize(image, height=9, width=14)
    assert result.dtype == dtype
    assert np.array_equal(result, image)


def test_a_constant_stays_constant_and_integers_are_clipped() -> None:
    flat = np.full((20, 30), 255, dtype=np.uint8)
    assert (resize(flat, height=7, width=41) == 255).all()
    edge = np.repeat(np.array([[0, 0, 255, 255]], dtype=np.uint8), 4, axis=0)
    grown = resize(edge, height=16, width=16)  # cubic overshoot would leave 0..255
    assert grown.min() == 0
    assert grown.max() == 255


def test_enlarging_agrees_with_pillow_inside() -> None:
    """Pillow's BICUBIC is the same kernel; it differs only within two pixels of the border."""
    image = noise_picture(24, 32)
    expected = np.asarray(Image.fromarray(image).resize((128, 96), Image.Resampling.BICUBIC))
    result = resize(image, height=96, width=128)
    inner = np.s_[12:-12, 12:-12]
    difference = np.abs(result[inner].astype(int) - expected[inner])
    assert difference.max() <= 1


@pytest.mark.parametrize(
    ("folder", "limit"), [("Set5/x2", 0.02), ("Set5/x3", 0.03), ("Set5/x4", 0.05), ("Set14/x4", 0.05)]
)
def test_reduction_is_matlabs(folder: str, limit: float) -> None:
    """The stored low images were made by a MATLAB of their day: nearly every pixel is equal."""
    errors: list[float] = []
    for path in sorted(shared(f"data/bench/{folder}/high").glob("*.png")):
        high = np.asarray(Image.open(path))
        low = np.asarray(Image.open(path.parent.parent / "low" / path.name))
        result = resize(high, height=low.shape[0], width=low.shape[1])
        errors.append(float(np.abs(result.astype(int) - low).mean()))
    assert np.mean(errors) < limit


def test_bad_input_is_refused() -> None:
    with pytest.raises(ShapeError, match="H x W"):
        resize(np.zeros(4), height=2, width=2)
    with pytest.raises(ValueRangeError, match="at least 1"):
        resize(np.zeros((4, 4)), height=0, width=2)
