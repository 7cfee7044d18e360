"""A picture of where attention went: the share of blocks that attended each window, over the image."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

__all__ = ["heat", "render", "render_blocks"]

# Anchors of the colour scale, from 0 to 1: dark blue, violet, red, orange, pale yellow. Its
# lightness rises steadily, so that it also reads in greyscale.
_ANCHORS = np.array(
    [(12, 10, 60), (92, 18, 110), (187, 55, 84), (249, 142, 9), (252, 255, 190)], dtype=np.float64
)
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
    image: NDArray[np.uint8], shares: NDArray[np.float64], *, side: int, attention_share: float
) -> Image.Image:
    """Lay the heat map over the image, with a legend below.

    Args:
        image: H x W x 3 uint8, the low or the high image; dimmed to its lightness.
        shares: rows x columns in [0, 1].
        side: pixels of `image` that a window is wide; 16 for the low image, 16 s for the high one.
        attention_share: the overall share, for the legend.

    Returns:
        An RGB picture, at least 480 pixels wide; small images are enlarged for it.
    """
    zoom = max(1, -(-480 // image.shape[1]))
    image = image.repeat(zoom, axis=0).repeat(zoom, axis=1)
    side *= zoom
    height, width = image.shape[:2]
    grey = image.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    colours = heat(shares).repeat(side, axis=0).repeat(side, axis=1)[:height, :width]
    mixed = 0.3 * grey[:, :, None] + 0.7 * colours
    lines = np.zeros((height, width), dtype=bool)
    lines[::side] = True
    lines[:, ::side] = True
    mixed[lines] *= 0.8
    canvas = Image.new("RGB", (width, height + _FOOT), (24, 24, 28))
    canvas.paste(Image.fromarray(mixed.round().astype(np.uint8)), (0, 0))

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
