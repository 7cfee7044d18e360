"""Losses of fused training steps that begin alike and see the same patches: in fp32 and in bfloat16.

    python benchmarks/losses.py PHOTOS [--before FOLDER] [--steps 500] [--batch 4] [--patch 48]

All train an embedded model on the photographs of a folder, at rates of a later leg. Two compute in fp32:
this program, and with `--before` that of another checkout. The third takes bfloat16 for the products of
attention. Single steps differ more and more, as weights drift apart, in fp32, too. So what is compared are
means over a tenth of the steps, and the two in fp32 say how far rounding alone leads.
"""

import argparse
import json
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np
import torch
from training import step_of

from camixersr.catalogue import find
from camixersr.models import CAMixerSR
from camixersr.models.detail import window_detail
from camixersr.train.fused import FusedStep, Patch
from camixersr.train.objective import percentile
from camixersr.train.photos import PatchStream, list_photos, load_photos
from camixersr.train.policies import RecentScores
from camixersr.train.rates import make_optimizer
from camixersr.train.recipe import Recipe


def main() -> None:
    """Train both and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--before", type=Path, metavar="FOLDER", help="a checkout of another commit")
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--patch", type=int, default=48)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    torch.set_flush_denormal(True)
    start = find(options.model).network
    assert isinstance(start, CAMixerSR)
    scale = start.config.scale
    files, _ = list_photos(options.photos, limit=100, holdout=10)
    smallest = PatchStream.side_of(scale=scale, patch=options.patch)
    folder = Path(tempfile.mkdtemp())
    photos = load_photos(files, folder, smallest=smallest)
    stream = PatchStream(photos, scale=scale, patch=options.patch, seed=0)
    recipe = Recipe(photos=str(options.photos), output=str(folder), learning_rate=7e-4, matrix_rate=4e-3)
    quantiles = torch.linspace(-12.0, -3.0, 256)
    kinds: dict[str, tuple[Any, ...]] = {}
    entered: list[tuple[str, Callable[..., FusedStep], bool]] = [
        ("fp32", FusedStep, False),
        ("bf16", FusedStep, True),
    ]
    if options.before:
        entered.append(("fp32 before", step_of(options.before), False))
    for name, make, half in entered:
        network = deepcopy(start).requires_grad_(True).train()
        fused = make(network, options.patch, Path(tempfile.mkdtemp()), half=half)
        kinds[name] = (network, fused, make_optimizer(network, recipe), RecentScores(network.block_count))
    losses: dict[str, list[float]] = {name: [] for name in kinds}
    shares = np.random.default_rng(0)
    for number in range(options.steps):
        patches = torch.stack(
            [stream.patch(number * options.batch + patch) for patch in range(options.batch)]
        )
        low, high = stream.pairs(patches)
        share = float(shares.uniform(0.15, 1.0))
        target = percentile(window_detail(low, start.config.window), quantiles)
        for name, (network, fused, optimizer, recent) in kinds.items():

            def loss(number: int, made: Patch, _: Patch | None) -> torch.Tensor:
                return (made.high - high[number]).abs().mean() / len(high)  # noqa: B023  it is called at once

            found = fused(low, loss, least=recent.least(share), target=target, guide=0.02, gates=0.01)
            recent.add(found.logits)
            found.total.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            losses[name].append(float(found.pixels))
    tenth = max(1, options.steps // 10)
    means = {name: np.array(values).reshape(-1, tenth).mean(1) for name, values in losses.items()}
    known = entered[-1][0]
    apart = {name: float(np.abs(values - means[known]).max()) for name, values in means.items()}
    facts = {
        "steps": options.steps,
        "batch": options.batch,
        "patch": options.patch,
        "rates": {"vectors": recipe.learning_rate, "matrices": recipe.matrix_rate},
        "means": {name: [round(float(value), 6) for value in values] for name, values in means.items()},
        "compared_with": known,
        "largest_difference": {name: round(value, 7) for name, value in apart.items()},
        "of_the_loss": {
            name: round(value / float(means[known].mean()), 6) for name, value in apart.items()
        },
    }
    print(json.dumps(facts, indent=1))
    if options.json:
        options.json.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
