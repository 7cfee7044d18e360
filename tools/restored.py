"""Draw docs/images/restored.jpg: details of the sample as a JPEG of quality 20, restored, and as it was.

python tools/restored.py
"""

from pathlib import Path

import numpy as np
from PIL import Image

import camixersr
from camixersr.image.degradation import compress

ROOT = Path(__file__).parent.parent
SIDE = 112  # pixels of a detail
LARGER = 3
CORNERS = ((96, 176), (152, 392))  # row and column


def main() -> None:
    """Restore the sample and write the picture."""
    original = np.asarray(Image.open(ROOT / "samples" / "summer-palace.jpg").convert("RGB"))
    compressed = compress(original, 20)
    restored = camixersr.restore(compressed)
    rows = [
        np.concatenate([each[row : row + SIDE, column : column + SIDE] for each in pictures], axis=1)
        for row, column in CORNERS
        for pictures in [(compressed, restored, original)]
    ]
    page = np.concatenate(rows).repeat(LARGER, axis=0).repeat(LARGER, axis=1)
    Image.fromarray(page).save(ROOT / "docs" / "images" / "restored.jpg", quality=92)


if __name__ == "__main__":
    main()
