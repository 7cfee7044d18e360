"""Draw docs/images/restored.jpg: details of the sample photo as a poor JPEG, restored, and as they were.

python tools/restored.py
"""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from camixersr.cli import main as camixersr
from camixersr.image.codec import read

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "samples" / "summer-palace.jpg"
TARGET = ROOT / "docs" / "images" / "restored.jpg"
QUALITY = 20
DETAILS = ((168, 24), (100, 150))  # left and top
SIZE = (112, 84)  # width and height of a detail
TIMES = 3
GAP = 8


def main() -> None:
    """Compress as anybody would, run the command a user would run, then draw."""
    original = read(SAMPLE).pixels
    with tempfile.TemporaryDirectory() as folder:
        poor, result = Path(folder, "poor.jpg"), Path(folder, "restored.png")
        Image.fromarray(original).save(poor, quality=QUALITY)
        try:
            camixersr(["restore", str(poor), "-o", str(result), "--device", "cpu"])
        except SystemExit as ended:
            if ended.code:
                raise
        columns = {
            f"JPEG, quality {QUALITY}, {poor.stat().st_size / 1000:.0f} kB": read(poor).pixels,
            "restored by s-jpeg": read(result).pixels,
            "before compression": original,
        }
    width, height = (TIMES * side for side in SIZE)
    canvas = Image.new("RGB", (3 * width + 2 * GAP, len(DETAILS) * (height + GAP) - GAP), "white")
    font = ImageFont.load_default(18)
    for column, (name, pixels) in enumerate(columns.items()):
        for row, (left, top) in enumerate(DETAILS):
            part = Image.fromarray(
                np.ascontiguousarray(pixels[top : top + SIZE[1], left : left + SIZE[0]])
            ).resize((width, height), Image.Resampling.NEAREST)
            ImageDraw.Draw(part).text(
                (8, height - 28), name, font=font, fill="white", stroke_width=2, stroke_fill="black"
            )
            canvas.paste(part, (column * (width + GAP), row * (height + GAP)))
    canvas.save(TARGET, quality=92, subsampling=0)
    print(f"look at {TARGET}")


if __name__ == "__main__":
    main()
