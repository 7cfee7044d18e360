"""Enlarge the sample photo with the embedded model, and draw what it did.

Writes `demo/summer-palace_x4.png`, `demo/route-map.png` and `demo/before-after.png`: the photo, its
route map, and details enlarged by bicubic interpolation and by the model, side by side.
"""

import os
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from camixersr.cli import main as camixersr
from camixersr.image.decode import read
from camixersr.image.encode import write
from camixersr.image.picture import Picture
from camixersr.image.resize import resize
from camixersr.native.core import why_not

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = Path("samples", "summer-palace.jpg")
OUTPUT = Path("demo")
DETAILS = ((170, 225), (95, 130))  # left and top in low pixels
SIZE = (160, 90)  # width and height of a detail, low pixels
GAP = 8


def compose(low: NDArray[np.uint8], high: NDArray[np.uint8], routes: Image.Image) -> Image.Image:
    """The photo and its route map above, details of bicubic and ours below."""
    scale = high.shape[0] // low.shape[0]
    bicubic = resize(low, height=high.shape[0], width=high.shape[1])
    width, height = SIZE[0] * scale, SIZE[1] * scale
    font = ImageFont.load_default(20)

    photo = Image.fromarray(low)
    for left, top in DETAILS:
        box = (left, top, left + SIZE[0], top + SIZE[1])
        ImageDraw.Draw(photo).rectangle(box, outline="yellow", width=2)
    top_row = photo.height * width // photo.width
    below = routes.height * width // routes.width
    canvas = Image.new(
        "RGB", (2 * width + GAP, max(top_row, below) + len(DETAILS) * (height + GAP)), "white"
    )
    canvas.paste(photo.resize((width, top_row), Image.Resampling.LANCZOS), (0, 0))
    caption = (
        f"{photo.width} x {photo.height} -> {high.shape[1]} x {high.shape[0]}; yellow: the details below"
    )
    ImageDraw.Draw(canvas).text((10, top_row + 12), caption, font=font, fill="black")
    canvas.paste(routes.resize((width, below), Image.Resampling.LANCZOS), (width + GAP, 0))
    y = max(top_row, below) + GAP
    for left, top in DETAILS:
        region = np.s_[top * scale : (top + SIZE[1]) * scale, left * scale : (left + SIZE[0]) * scale]
        for x, name, picture in (
            (0, f"bicubic x{scale}", bicubic),
            (width + GAP, f"camixersr x{scale}", high),
        ):
            canvas.paste(Image.fromarray(picture[region]), (x, y))
            draw = ImageDraw.Draw(canvas)
            draw.text(
                (x + 10, y + height - 34),
                name,
                font=font,
                fill="white",
                stroke_width=2,
                stroke_fill="black",
            )
        y += height + GAP
    return canvas


def main() -> None:
    """Run the command a user would run, then draw."""
    os.chdir(ROOT)
    OUTPUT.mkdir(exist_ok=True)
    result, routes = OUTPUT / "summer-palace_x4.png", OUTPUT / "route-map.png"
    arguments = ["upscale", SAMPLE, "-o", result, "--route-map", routes, "--overwrite"]
    print("$ camixersr " + " ".join(str(argument) for argument in arguments))
    try:
        camixersr([str(argument) for argument in arguments])
    except SystemExit as ended:
        if ended.code:
            raise
    canvas = compose(read(SAMPLE).pixels, read(result).pixels, Image.open(routes))
    write(OUTPUT / "before-after.png", Picture(np.asarray(canvas)))
    if reason := why_not():
        print(f"torch computed this: {reason}")
    else:
        print("the native core computed this")
    for path in (result, OUTPUT / "before-after.png", routes):
        print(f"look at {path}")


if __name__ == "__main__":
    main()
