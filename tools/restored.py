"""Draw docs/images/restored.jpg and denoised.jpg: details of the sample, damaged, restored, and as it was.

python tools/restored.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

import camixersr
from camixersr.image.degradation import add_noise, compress

ROOT = Path(__file__).parent.parent
SIDE = 112  # pixels of a detail
LARGER = 3
CORNERS = ((96, 176), (152, 392))  # row and column


def main() -> None:
    """Restore the sample from a JPEG of quality 20 and from noise of sigma 25, and write the pictures."""
    original = np.asarray(Image.open(ROOT / "samples" / "summer-palace.jpg").convert("RGB"))
    noisy = add_noise(original, 25, np.random.default_rng(0))
    for name, damaged, model in (
        ("restored", compress(original, 20), "s-jpeg"),
        ("denoised", noisy, "s-noise"),
    ):
        restored = camixersr.restore(damaged, model=model)
        rows = [
            np.concatenate([each[row : row + SIDE, column : column + SIDE] for each in pictures], axis=1)
            for row, column in CORNERS
            for pictures in [(damaged, restored, original)]
        ]
        page = np.concatenate(rows).repeat(LARGER, axis=0).repeat(LARGER, axis=1)
        Image.fromarray(page).save(ROOT / "docs" / "images" / f"{name}.jpg", quality=92)


if __name__ == "__main__":
    main()
