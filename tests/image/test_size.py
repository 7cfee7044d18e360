import pytest
from hypothesis import given
from hypothesis import strategies as st

from camixersr.errors import UsageError, ValueRangeError
from camixersr.image.size import Size, best_scale


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (Size(), (400, 600)),
        (Size(scale=1.5), (150, 225)),
        (Size(width=300), (200, 300)),
        (Size(height=50), (50, 75)),
        (Size(width=111, height=77), (77, 111)),
        (Size(fit=(300, 300)), (200, 300)),
        (Size(fit=(3000, 300)), (300, 450)),
        (Size(megapixels=0.06), (200, 300)),
    ],
)
def test_every_way_to_ask(size: Size, expected: tuple[int, int]) -> None:
    assert size.of(100, 150, default=4, reach=4) == expected


@given(st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000), st.integers(1, 5000))
def test_a_frame_is_never_exceeded_and_touched(height: int, width: int, frame_w: int, frame_h: int) -> None:
    high, wide = Size(fit=(frame_w, frame_h)).of(height, width, default=4, reach=4)
    assert 1 <= high <= frame_h
    assert 1 <= wide <= frame_w
    assert high == frame_h or wide == frame_w


@given(st.integers(1, 500), st.integers(1, 500), st.integers(1, 5000), st.integers(1, 5000))
def test_at_most_is_within_the_models_reach_and_what_was_asked(
    height: int, width: int, frame_w: int, frame_h: int
) -> None:
    asked = Size(fit=(frame_w, frame_h)).of(height, width, default=4, reach=4)
    size = Size(fit=(frame_w, frame_h), at_most=True).of(height, width, default=4, reach=4)
    assert size == (min(asked[0], 4 * height), min(asked[1], 4 * width))


def test_a_factor_is_asked_of_the_model_and_other_sizes_of_the_picture() -> None:
    with pytest.raises(UsageError, match="--scale 5 is more than the x4 model makes"):
        Size(scale=5).of(10, 10, default=4, reach=4)
    assert Size(scale=5, at_most=True).of(10, 10, default=4, reach=4) == (40, 40)
    assert Size(width=50).of(10, 10, default=4, reach=4) == (50, 50)


@pytest.mark.parametrize(
    "wrong",
    [
        {"scale": 2, "width": 3}, {"fit": (1, 1), "megapixels": 1}, {"scale": 0.5}, {"scale": float("nan")},
        {"scale": float("inf")}, {"width": 0}, {"height": -4}, {"fit": (0, 5)}, {"megapixels": -1},
    ],
)  # fmt: skip
def test_nonsense_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError):
        Size(**wrong)


def test_frames_are_read() -> None:
    assert Size.frame("3840x2160") == (3840, 2160)
    for wrong in ("3840", "x", "3840x", "a x b", "-1x5", "3840*2160"):
        with pytest.raises(UsageError, match="WIDTHxHEIGHT"):
            Size.frame(wrong)
    with pytest.raises(ValueRangeError):
        Size(fit=(2**40, 1))


def test_the_smallest_model_that_reaches_is_chosen() -> None:
    assert best_scale((10, 10), (20, 20), (2, 3, 4)) == 2
    assert best_scale((10, 10), (15, 21), (4, 3, 2)) == 3
    assert best_scale((10, 10), (40, 40), (2, 3, 4)) == 4
    assert best_scale((10, 10), (41, 10), (2, 3, 4)) is None
    assert best_scale((10, 10), (5, 5), (4,)) == 4
