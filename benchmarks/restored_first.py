"""Of a JPEG: is it better enlarged as it is, or restored first? By quality, luma PSNR against the original.

The middle of each picture is reduced by the scale, compressed (4:2:0), and enlarged three ways. It decides
at which quality `camixersr upscale --restore auto` restores, and without it suggests to.

    python benchmarks/restored_first.py PICTURE... [--quality 40 60 75 80 85 95] [--side 320] [--scale 4]
"""

import argparse
from pathlib import Path

import numpy as np

import camixersr
from camixersr.image.decode import read
from camixersr.image.degradation import compress
from camixersr.image.resize import resize
from camixersr.metrics.fidelity import luma, psnr, ssim


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("pictures", type=Path, nargs="+")
    parser.add_argument("--quality", type=int, nargs="+", default=[40, 60, 75, 80, 85, 95])
    parser.add_argument("--side", type=int, default=320, help="of the middle, high pixels")
    parser.add_argument("--scale", type=int, default=4, choices=[2, 3, 4])
    parser.add_argument("--restorer", default="s-jpeg", help="another model's file")
    given = parser.parse_args()
    upscaler = camixersr.load(f"s-x{given.scale}", device="cpu")
    restorer = camixersr.load(given.restorer, device="cpu")
    print("| quality | bicubic | upscale | restore, then upscale | better restored | least gain, dB |")
    print("|---|---|---|---|---|---|")
    for quality in given.quality:
        rows: list[list[tuple[float, float]]] = []
        for path in given.pictures:
            image = read(path).pixels
            top, left = ((length - given.side) // 2 for length in image.shape[:2])
            high = np.ascontiguousarray(image[top : top + given.side, left : left + given.side])
            height, width = high.shape[:2]
            low = compress(resize(high, height=height // given.scale, width=width // given.scale), quality)
            ways = (
                resize(low, height=height, width=width),
                upscaler.upscale(low),
                upscaler.upscale(restorer.upscale(low)),
            )
            truth = luma(high.astype(np.uint8))
            made = [luma(way.astype(np.uint8)) for way in ways]
            rows.append(
                [
                    (psnr(way, truth, border=given.scale), ssim(way, truth, border=given.scale))
                    for way in made
                ]
            )
        means = np.mean(rows, axis=0)
        gains = [restored[0] - plain[0] for _, plain, restored in rows]
        cells = " | ".join(f"{decibels:.2f} / {similar:.4f}" for decibels, similar in means)
        better = sum(gain > 0.0 for gain in gains)
        print(f"| {quality} | {cells} | {better} of {len(rows)} | {min(gains):+.2f} |", flush=True)


if __name__ == "__main__":
    main()
