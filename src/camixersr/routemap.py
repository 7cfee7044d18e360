"""Pictures of where attention went: the share of blocks that attended each window, and its class."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["class_shares", "heat", "render", "render_blocks", "render_classes"]

# Anchors of the colour scale, from 0 to 1: dark blue, violet, red, orange, pale yellow. Its
# lightness rises steadily, so that it also reads in greyscale.
_ANCHORS = np.array(
    [(12, 10, 60), (92, 18, 110), (187, 55, 84), (249, 142, 9), (252, 255, 190)], dtype=np.float64
)
# Green, amber and red for least, middle and most attention: darker and darker, to be read in greyscale too.
_CLASSES = np.array([(150, 226, 150), (226, 150, 30), (150, 20, 60)], dtype=np.float64)
_CLASS_NAMES = ("least", "middle", "most")
_FOOT = 56  # pixels below the image, for the legend


def heat(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """Colours of shares.

    Args:
        share: any shape, in [0, 1].

    Returns:
        That shape x 3, RGB in [0, 255].
    """
    place = np.clip(share, 0.0, 1.0) * (len(_ANCHORS) - 1)
    lower = np.minimum(place.astype(np.int64), len(_ANCHORS) - 2)
    part = (place - lower)[..., None]
    return _ANCHORS[lower] * (1.0 - part) + _ANCHORS[lower + 1] * part


def render(
    image: NDArray[np.uint8],
    shares: NDArray[np.float64],
    *,
    side: int,
    attention_share: float,
    classes: NDArray[np.int64] | None = None,
) -> Image.Image:
    """Lay the heat map over the image, with a legend below; and below that the map of classes.

    Args:
        image: H x W x 3 uint8, the low or the high image; dimmed to its lightness.
        shares: rows x columns in [0, 1].
        side: pixels of `image` that a window is wide; 16 for the low image, 16 s for the high one.
        attention_share: the overall share, for the legend.
        classes: of a ClassSR, rows x columns, see `render_classes`; None of any other model.

    Returns:
        An RGB picture, at least 480 pixels wide; small images are enlarged for it.
    """
    canvas = _laid_over(image, heat(shares), side)
    height = canvas.height - _FOOT
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(15)
    bar = np.broadcast_to(heat(np.linspace(0.0, 1.0, 160)), (14, 160, 3)).round().astype(np.uint8)
    canvas.paste(Image.fromarray(bar), (46, height + 9))
    draw.text((16, height + 7), "0 %", font=font, fill="white")
    draw.text((214, height + 7), "100 % of the blocks attended", font=font, fill="white")
    draw.text(
        (16, height + 30),
        f"convolution (dark) to attention (bright); overall {100 * attention_share:.0f} % attended",
        font=font,
        fill="white",
    )
    return canvas if classes is None else _stack(canvas, render_classes(image, classes, side=side))


def _laid_over(image: NDArray[np.uint8], colours: NDArray[np.float64], side: int) -> Image.Image:
    """Colours of windows over the dimmed image, lines between them, and room for a legend below."""
    zoom = max(1, -(-480 // image.shape[1]))
    image = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    side *= zoom
    height, width = image.shape[:2]
    grey = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    colours = colours.repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    mixed = 0.3 * grey[:, :, None] + 0.7 * colours
    lines = np.zeros((height, width), dtype=bool)
    lines[::side] = True
    lines[:, ::side] = True
    mixed[lines] *= 0.8
    canvas = Image.new("RGB", (width, height + _FOOT), (24, 24, 28))
    canvas.paste(Image.fromarray(mixed.round().astype(np.uint8)), (0, 0))
    return canvas


def class_shares(classes: NDArray[np.int64]) -> list[float]:
    """The share of windows in each class of a ClassSR, the one of least attention first."""
    return [float((classes == number).mean()) for number in range(len(_CLASSES))]


def render_classes(image: NDArray[np.uint8], classes: NDArray[np.int64], *, side: int) -> Image.Image:
    """Lay the classes of windows over the image, with a legend below.

    Args:
        image: H x W x 3 uint8, as for `render`.
        classes: rows x columns, 0 (least attention) to 2 (most).
        side: pixels of `image` that a window is wide.

    Returns:
        An RGB picture of the size that `render` gives.
    """
    canvas = _laid_over(image, _CLASSES[classes], side)
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(15)
    top = canvas.height - _FOOT
    for number, share in enumerate(class_shares(classes)):
        x = 16 + 155 * number
        colour = tuple(int(part) for part in _CLASSES[number])
        draw.rectangle((x, top + 9, x + 14, top + 23), fill=colour)
        draw.text((x + 22, top + 7), f"{_CLASS_NAMES[number]} {100 * share:.0f} %", font=font, fill="white")
    draw.text(
        (16, top + 30),
        "attention by the class of each patch of 32 x 32",
        font=font,
        fill="white",
    )
    return canvas


def _stack(above: Image.Image, below: Image.Image) -> Image.Image:
    """Two pictures of one width."""
    canvas = Image.new("RGB", (above.width, above.height + below.height))
    canvas.paste(above, (0, 0))
    canvas.paste(below, (0, above.height))
    return canvas


def render_blocks(scores: NDArray[np.float64]) -> Image.Image:
    """Draw every block's scores as a small map, first to last, row by row, five to a row.

    Args:
        scores: blocks x rows x columns in [0, 1].

    Returns:
        An RGB picture, each map labelled with its block's number and the range of its scores.
    """
    blocks, rows, columns = scores.shape
    side = max(4, 240 // columns)
    width, height, label = max(columns * side, 120), rows * side, 22
    across = min(5, blocks)
    down = -(-blocks // across)
    canvas = Image.new("RGB", (across * (width + 8) + 8, down * (height + label + 8) + 8), (24, 24, 28))
    draw = ImageDraw.Draw(canvas)
    font = ImageFont.load_default(13)
    for number, each in enumerate(scores):
        x = 8 + number % across * (width + 8)
        y = 8 + number // across * (height + label + 8)
        text = f"{number}: {each.min():.2f} - {each.max():.2f}"
        draw.text((x, y), text, font=font, fill="white")
        tiles = heat(each).repeat(side, axis=0).repeat(side, axis=1)
        canvas.paste(Image.fromarray(tiles.round().astype(np.uint8)), (x, y + label))
    return canvas
