"""How far does a cut reach into a tile? Measures the halo that a model needs.

A picture is computed whole, and again with everything beyond a line cut away. What differs, by distance
from the line, is the cut's doing. The halo is the first multiple of 16 pixels from which on nothing
differs by half a grey level of 8 bits, at any ratio, in any picture: beyond it a tile's pixels are the
whole picture's. The line is laid through the picture at several places, down and across: a margin
behind cells where the network pools over such; where it pools over the image, it is handed the same pool.

    python tools/halo.py PICTURE... [--model s-x4] [--attention-ratio 0 0.5 1] [--json FILE]
"""

import argparse
import json
from pathlib import Path

import torch

from camixersr.catalogue import find
from camixersr.image.decode import read
from camixersr.inference.tiles import GRID, MARGIN
from camixersr.nn.pool import Pooled, pool_image
from camixersr.tensors import from_array

REACH = 128  # low pixels looked at beside a cut
STEPS = range(0, REACH, GRID)
SIDE = 256  # of the part of a picture that is used


class Recorded:
    """A pool that notes each block's own mean, and then hands it in."""

    def __init__(self) -> None:
        self.means: dict[int, Pooled] = {}

    def __call__(self, features: torch.Tensor, block: int) -> Pooled:
        """See `camixersr.nn.predictor.Pool`."""
        return self.means.setdefault(block, pool_image(features, block))


@torch.inference_mode()
def profile(network, low: torch.Tensor, policy) -> torch.Tensor:
    """Largest difference, in grey levels of 8 bits, at each distance from a cut: REACH numbers."""
    s = network.config.scale
    worst = torch.zeros(REACH)
    for image in (low, low.transpose(1, 2)):
        cell = network.config.pool
        pool = None if cell else Recorded()
        whole, _ = network.route(image[None], policy, pool=pool)
        step, margin = (cell, MARGIN) if cell else (2 * GRID, 0)
        for cut in range(-(-REACH // step) * step + margin, image.shape[2] - GRID, step):
            part, _ = network.route(image[None, :, :, :cut], policy, pool=pool)
            error = 255.0 * (part[0] - whole[0, :, :, : s * cut]).abs().amax(dim=(0, 1))
            worst = torch.maximum(worst, error.reshape(cut, s).amax(dim=1).flip(0)[:REACH])
    return worst


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pictures", nargs="+", type=Path)
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--attention-ratio", nargs="+", type=float, default=[0.0, 0.5, 1.0])
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    model = find(options.model)
    table: dict[str, list[float]] = {}
    for ratio in options.attention_ratio:
        worst = torch.zeros(REACH)
        for path in options.pictures:
            low = from_array(read(path).pixels)
            top, left = (max(0, (length - SIDE) // 2) for length in low.shape[1:])
            low = low[:, top : top + SIDE, left : left + SIDE]
            worst = torch.maximum(worst, profile(model.network, low, model.policy(ratio)))
        # the largest from each multiple of the grid on
        table[f"{ratio:g}"] = [round(float(worst[at:].max()), 4) for at in STEPS]
        row = zip(STEPS, table[f"{ratio:g}"], strict=True)
        print(f"ratio {ratio:g}: " + ", ".join(f"{at} px {value:.3f}" for at, value in row), flush=True)
    needed = [
        next((at for at, value in zip(STEPS, row, strict=True) if value < 0.5), None)
        for row in table.values()
    ]
    halo = None if None in needed else max(each for each in needed if each is not None)
    print(f"halo: {halo} low pixels" if halo is not None else f"no halo up to {REACH} px is enough")
    if options.json:
        facts = {"model": model.name, "sha256": model.sha256, "largest_from": table, "halo": halo}
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
