"""Of a JPEG: is it better enlarged as it is, or restored first? By quality, luma PSNR against the original.

The middle of each picture is reduced by the scale, compressed (4:2:0), and enlarged three ways. It decides
at which quality `camixersr upscale` suggests `camixersr restore`.

    python benchmarks/restored_first.py PICTURE... [--quality 40 60 75 80 85 95] [--side 320]
"""

import argparse
from pathlib import Path

import numpy as np

import camixersr
from camixersr.image.decode import read
from camixersr.image.degradation import compress
from camixersr.image.resize import resize
from camixersr.metrics.fidelity import luma, psnr


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--quality", type=int, nargs="+", default=[40, 60, 75, 80, 85, 95])
    parser.add_argument("--side", type=int, default=320, help="of the middle, high pixels")
    given = parser.parse_args()
    upscaler, restorer = (camixersr.load(name, device="cpu") for name in ("s-x2", "s-jpeg"))
    print("| quality | bicubic | upscale | restore, then upscale | pictures better restored |")
    print("|---|---|---|---|---|")
    for quality in given.quality:
        rows: list[tuple[float, float, float]] = []
        for path in given.pictures:
            image = read(path).pixels
            top, left = ((length - given.side) // 2 for length in image.shape[:2])
            high = np.ascontiguousarray(image[top : top + given.side, left : left + given.side])
            height, width = high.shape[:2]
            low = compress(resize(high, height=height // 2, width=width // 2), quality)
            ways = (
                resize(low, height=height, width=width),
                upscaler.upscale(low),
                upscaler.upscale(restorer.upscale(low)),
            )
            scores = [
                psnr(luma(way.astype(np.uint8)), luma(high.astype(np.uint8)), border=2) for way in ways
            ]
            rows.append((scores[0], scores[1], scores[2]))
        means = " | ".join(f"{mean:.2f}" for mean in np.mean(rows, axis=0))
        better = sum(row[2] > row[1] for row in rows)
        print(f"| {quality} | {means} | {better} of {len(rows)} |", flush=True)


if __name__ == "__main__":
    main()
