"""Tiled against whole: does cutting a picture into tiles show?

For each picture and attention ratio the result in tiles is compared, at 8 bits, with

- `paper`: the picture computed in one piece, channel attention pooling over all of it;
- `same pool`: the picture computed in one piece with the pool that the tiles used (what is left is
  the halo's doing alone);

and, beside it, the practice of the paper's code (tiles of 64, overlap 4, flat average) with `paper`.
`seam` is the mean error within 8 high pixels of a tile border over the mean error elsewhere: against
the picture in one piece, and, where a true high picture is given (--truth: the pictures are first
reduced by the scale), against that. `no_tiles` is the control: the two pictures in one piece compared
with each other, so that its `seam` is what the content at those places does without any border there.

    python benchmarks/seams.py PICTURE... [--crop 1500x1000+0+0] [--attention-ratio 0 0.5 1] [--json FILE]
"""

import argparse
import json
import platform
import sys
from pathlib import Path

import numpy as np
import torch

import camixersr
from camixersr.backends.protocol import AUTO_TILE
from camixersr.catalogue import find
from camixersr.evaluation import paper_tiles
from camixersr.image.decode import read
from camixersr.image.resize import resize
from camixersr.inference.computer import Computer
from camixersr.inference.cost import Bill
from camixersr.inference.sources import InMemory
from camixersr.tensors import from_array

BAND = 8  # high pixels


def bytes_of(high: torch.Tensor) -> np.ndarray:
    return (high.clamp(0, 1) * 255 + 0.5).floor().numpy()


def near_borders(plan, scale: int) -> np.ndarray:
    """High pixels within BAND of a border between tiles, H x W bool."""
    masks = []
    for spans, length in (
        ({tile.rows for tile in plan.tiles}, plan.height),
        ({tile.columns for tile in plan.tiles}, plan.width),
    ):
        mask = np.zeros(length * scale, bool)
        for span in spans:
            if span.own_start:
                border = span.own_start * scale
                mask[border - BAND : border + BAND] = True
        masks.append(mask)
    return masks[0][:, None] | masks[1]


def compare(one: torch.Tensor, two: torch.Tensor, near: np.ndarray) -> dict:
    a, b = bytes_of(one), bytes_of(two)
    error = np.abs(a - b)
    mse = float((error.astype(np.float64) ** 2).mean())
    real = (one - two).abs().mean(dim=0).numpy()
    return {
        "psnr": round(float(10 * np.log10(255**2 / max(mse, 1e-10))), 2),
        "max": int(error.max()),
        "above_1": int((error > 1).sum()),
        "seam": round(float(real[near].mean() / max(real[~near].mean(), 1e-12)), 3),
    }


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--crop", help="WIDTHxHEIGHT+LEFT+TOP")
    parser.add_argument("--tile", type=int, default=AUTO_TILE)
    parser.add_argument("--attention-ratio", nargs="+", type=float, default=[0.0, 0.5, 1.0])
    parser.add_argument("--truth", action="store_true")
    parser.add_argument("--no-paper-tiles", action="store_true")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    upscaler = Computer(find(options.model), device="cpu", tile=options.tile)
    s = upscaler.scale
    rows = []
    for path in options.pictures:
        pixels = read(path).pixels
        if options.crop:
            size, left, top = options.crop.split("+")
            width, height = map(int, size.split("x"))
            pixels = pixels[int(top) : int(top) + height, int(left) : int(left) + width]
        truth = None
        if options.truth:
            height, width = (length // s for length in pixels.shape[:2])
            pixels = pixels[: s * height, : s * width]
            truth = from_array(pixels)
            pixels = resize(pixels, height=height, width=width)
        low = from_array(pixels)
        for ratio in options.attention_ratio:
            planes = low.numpy()
            source = InMemory(planes)
            bill = Bill(upscaler.model.config, upscaler.device, source.height, source.width)
            plan = upscaler.plan(source, bill, attention_ratio=ratio)
            near = near_borders(plan, s)
            tiled = torch.from_numpy(upscaler.run(planes, attention_ratio=ratio).high)
            policy = upscaler.model.policy(ratio)
            paper = torch.from_numpy(upscaler.route(planes[None], policy)[0].high[0])
            same = torch.from_numpy(upscaler.route(planes[None], plan.policy, plan.pool)[0].high[0])
            row = {
                "picture": path.name,
                "low": [source.width, source.height],
                "attention_ratio": ratio,
                "tiles": len(plan.tiles),
                "paper": compare(tiled, paper, near),
                "same_pool": compare(tiled, same, near),
                "no_tiles": compare(same, paper, near),
            }
            if truth is not None:
                row["truth"] = compare(tiled, truth, near)
            if not options.no_paper_tiles:
                row["tiles_64_4"] = compare(
                    torch.from_numpy(paper_tiles(upscaler, planes, ratio)[0]), paper, near
                )
                del row["tiles_64_4"]["seam"]  # its borders are elsewhere
            rows.append(row)
            print(json.dumps(row), flush=True)
    if options.json:
        about = {
            "version": camixersr.__version__,
            "torch": torch.__version__,
            "machine": platform.machine(),
            "threads": torch.get_num_threads(),
            "model": upscaler.model.name,
            "sha256": upscaler.model.sha256,
            "tile": options.tile,
            "command": " ".join(["python", "benchmarks/seams.py", *sys.argv[1:]]),
        }
        options.json.write_text(json.dumps({"about": about, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
