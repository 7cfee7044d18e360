"""Is the seam of an enlarged panorama worse than what lies there? Its columns, three times.

    python benchmarks/panorama_seam.py "$DATA"/pano/test --model s-360-x4 [--json FILE]

What a panorama shows in the 16 columns around its edge may be easier or harder than the rest, so those
columns are scored where no seam is, too: the low panorama (reduced around the sphere) is turned by half
a turn, which puts them in the middle, and enlarged as a flat picture. With the wrap the seam should
score as the middle does; flat it falls behind.
"""

import argparse
import json
from pathlib import Path
from statistics import fmean

import numpy as np

import camixersr
from camixersr.data import CLOSED, open_set
from camixersr.metrics import seam, ws_psnr


def main() -> None:
    """Print a row a panorama, and the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path, help="whole panoramas, their widths multiples of 128 pixels")
    parser.add_argument("--model", default="s-360-x4")
    parser.add_argument("--attention-ratio", type=float, default=0.5)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    upscaler = camixersr.load(options.model)
    kinds = ("wrap", "flat", "middle")
    rows: list[dict[str, str | float]] = []
    print(f"{'panorama':32} {'wrap dB':>8} {'flat dB':>8} {'middle dB':>10}")
    for pair in open_set(options.folder, CLOSED).pairs:
        low, high = pair.read(upscaler.scale)
        half = low.shape[1] // 2

        def enlarged(image: np.ndarray, projection: str) -> np.ndarray:
            return upscaler.upscale(image, projection=projection, attention_ratio=options.attention_ratio)

        turned = np.roll(enlarged(np.roll(low, half, axis=1), "flat"), -half * upscaler.scale, axis=1)
        images = (enlarged(low, "erp"), enlarged(low, "flat"), turned)
        scores = {kind: ws_psnr(seam(image), seam(high)) for kind, image in zip(kinds, images, strict=True)}
        rows.append({"panorama": pair.name, **scores})
        print(f"{pair.name[:32]:32} " + " ".join(f"{scores[kind]:8.3f}" for kind in kinds), flush=True)
    means = {kind: fmean(float(row[kind]) for row in rows) for kind in kinds}
    print(f"{'mean':32} " + " ".join(f"{means[kind]:8.3f}" for kind in kinds))
    if options.json:
        facts = {"model": options.model, "attention_ratio": options.attention_ratio}
        options.json.write_text(json.dumps({**facts, "mean": means, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
