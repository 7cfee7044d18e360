"""Which way of training gets further in the same time: variants of one short leg of S x4.

    python benchmarks/trials.py PHOTOS --teacher FILE [--seconds 400] [--seeds 0 1] [-o FOLDER]

Every variant trains for the same seconds. How many steps these are, a short run of each tells first. All
see the same patches with one seed. Judged are middles of photographs that none was trained on, at every
attention ratio, beside the variant "linear start". What is finished in the folder is not done again.
A run's rates fall linearly to nothing, whatever its steps.
"""

import argparse
import json
import logging
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from camixersr.catalogue import find
from camixersr.train.compare import Variant, compare
from camixersr.train.fit import fit
from camixersr.train.photos import list_photos
from camixersr.train.recipe import Recipe
from camixersr.weights import save

MIDDLE = 320
"""Side of what is judged of a held-out photograph, in high pixels."""

WARM, TIMED = 5, 25
"""Steps of the two short runs; their difference is timed, so that starting is not."""

Changes = dict[str, Any]


def variants(recipe: Recipe, today: str) -> dict[str, Recipe]:
    """What is compared: each changes the first one.

    Args:
        recipe: beside a teacher, from the linear start.
        today: a file of weights to start from instead, at the rates of a later leg.
    """
    later: Changes = {"start": today, "learning_rate": 1.2e-3, "matrix_rate": 0.008}
    alone: Changes = {"teacher": "", "hint_weight": 0.0}
    changes: dict[str, Changes] = {
        "linear start": {},
        "no teacher": alone,
        "FFT": {"loss": "l1+fft"},
        "Muon 0.01": {"matrix_rate": 0.01},
        "Muon 0.04": {"matrix_rate": 0.04},
        "today's weights": later,
        "today's, no teacher": later | alone,
    }
    return {name: replace(recipe, **change) for name, change in changes.items()}


def seconds_of(recipe: Recipe, steps: int, folder: Path, cache: Path) -> float:
    """Of a run of so many steps on few photographs."""
    output = folder / str(steps)
    fit(replace(recipe, steps=steps, validate_every=steps, limit=30, output=str(output)), cache=cache)
    last = torch.load(output / "checkpoints" / "last.ckpt", map_location="cpu", weights_only=False)
    return float(last["seconds"])


def rates(recipes: dict[str, Recipe], output: Path) -> dict[str, float]:
    """Seconds a step of each variant, measured once."""
    record = output / "rates.json"
    known: dict[str, float] = json.loads(record.read_text()) if record.exists() else {}
    for name, recipe in recipes.items():
        if name not in known:
            with tempfile.TemporaryDirectory() as folder:
                short, long = (
                    seconds_of(recipe, steps, Path(folder), output / "cache") for steps in (WARM, TIMED)
                )
            known[name] = (long - short) / (TIMED - WARM)
            record.write_text(json.dumps(known, indent=1) + "\n")
    return known


def hold_out(photos: Path, recipe: Recipe, folder: Path) -> None:
    """Put the middles of the photographs that a recipe holds out into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, file in enumerate(list_photos(photos, limit=recipe.limit, holdout=recipe.holdout)[1]):
        with Image.open(file) as photo:
            left, top = ((side - MIDDLE) // 2 for side in photo.size)
            if min(left, top) >= 0:
                middle = photo.convert("RGB").crop((left, top, left + MIDDLE, top + MIDDLE))
                middle.save(folder / f"{number:03}.png")


def main() -> None:
    """Train what is not trained yet, and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("--teacher", required=True, help="model or checkpoint of S x4")
    parser.add_argument("--seconds", type=float, default=400.0, help="of training, each run")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--limit", type=int, default=400, help="photographs; every 25th is held out")
    parser.add_argument("--only", nargs="+", metavar="VARIANT", default=[])
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/trials"))
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")

    output: Path = options.output
    output.mkdir(parents=True, exist_ok=True)
    today, judged = output / "today.safetensors", output / "held-out"
    if not today.exists():
        save(today, find("s-x4"))
    recipe = Recipe(
        photos=str(options.photos),
        validation=str(judged),
        limit=options.limit,
        model="s-x4",
        teacher=options.teacher,
        hint_weight=0.05,
        batch=8,
        patch=64,
        learning_rate=2e-3,
        matrix_rate=0.02,
        warmup=20,
        decay="linear",
        ema=0.98,
        attention_first=0.0,
        plain=0.1,
        full=0.2,
        shares=(0.15, 1.0),
        precision="bf16",
        kernels="fused",
        output=str(output),
    )
    hold_out(options.photos, recipe, judged)
    recipes = variants(recipe, str(today))
    if options.only:
        recipes = {name: each for name, each in recipes.items() if name in options.only}
    each = rates(recipes, output)
    entries = [
        Variant(
            name, replace(made, steps=(steps := round(options.seconds / each[name])), validate_every=steps)
        )
        for name, made in recipes.items()
    ]
    files = compare(entries, output, seeds=options.seeds)
    for entry in entries:
        print(f"{entry.name}: {entry.recipe.steps} steps, {each[entry.name]:.2f} s each")
    print(files[0].read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
