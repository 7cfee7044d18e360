"""Train every embedded model again: a chain of recipes from the linear start, without circles.

    DATA=~/sr-data python tools/weights.py [--dry-run]        # or make weights

About twenty hours on two CPU cores with AVX-512. A leg that is finished is not done again, and one that
was stopped goes on. The results lie in runs/weights. docs/training.md says how near they come to the
embedded files.
"""

import argparse
import shutil
from pathlib import Path

from camixersr.train.recipe import Recipe, load_recipe

RECIPES = Path(__file__).resolve().parent.parent / "recipes"

CHAIN = {
    "s-x4": (1.37, ""),
    "s-x4-continue": (0.16, ""),
    "s-x4-hot": (0.36, ""),
    "s-x4-anneal": (0.98, ""),
    "s-360-x4": (0.73, ""),
    "s-360-x4-attention": (0.52, ""),
    "s-360-x4-again": (0.53, ""),
    "s-360-x4-attention-again": (0.29, ""),
    "s-x4-photographs": (0.02, ""),
    "s-360-x2": (0.11, "s-360-x2"),
    "s-x4-hints": (0.5, ""),
    "s-x4-hints-2": (0.5, ""),
    "s-x4-hints-3": (1.8, ""),
    "s-x4-hints-4": (1.0, ""),
    "s-x4-hints-5": (0.5, ""),
    "s-x4-hints-6": (0.6, ""),
    "s-x4-hints-7": (0.9, ""),
    "s-x4-hints-8": (1.27, ""),
    "s-x4-hints-9": (1.39, ""),
    "s-x4-hints-10": (0.40, ""),
    "s-x4-hints-12": (1.39, ""),
    "s-x4-hints-13": (0.51, "s-x4"),
    "s-360-x4-taught": (0.16, "s-360-x4"),
    "s-x2": (0.02, ""),
    "s-x2-again": (0.19, ""),
    "s-x2-longer": (1.87, "s-x2"),
    "s-x3": (0.10, ""),
    "s-x3-again": (1.59, "s-x3"),
    "s-jpeg-again": (0.33, "s-jpeg"),
    "s-noise": (0.37, "s-noise"),
}
"""Legs in their order: hours that each took, and the embedded model that it ends in, if any."""


def made_by(recipe: Recipe) -> Path:
    """The file of weights that a recipe makes."""
    return Path(recipe.output) / f"{recipe.model.replace('-x1', f'-{recipe.task}')}.safetensors"


def legs() -> dict[str, Recipe]:
    """The chain's recipes, by name; each starts from none or from what an earlier one makes."""
    found: dict[str, Recipe] = {}
    for name in CHAIN:
        recipe = load_recipe(RECIPES / f"{name}.toml")
        assert not recipe.start or Path(recipe.start) in map(made_by, found.values()), name
        found[name] = recipe
    return found


def run(recipes: dict[str, Recipe]) -> list[Path]:
    """Train what is not trained yet, and gather the models that are embedded."""
    from camixersr.train.fit import fit

    gathered: list[Path] = []
    for name, recipe in recipes.items():
        file = made_by(recipe)
        if not file.exists():
            print(f"{name}: {recipe.steps} steps, about {CHAIN[name][0]:.2f} hours", flush=True)
            fit(recipe, resume=True)
        if embedded := CHAIN[name][1]:
            target = Path("runs") / "weights" / f"{embedded}.safetensors"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, target)
            gathered.append(target)
    return gathered


def main() -> None:
    """List the legs, or run them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--dry-run", action="store_true", help="list the legs, and train nothing")
    if parser.parse_args().dry_run:
        for name, recipe in legs().items():
            start = recipe.start or "the linear start"
            print(f"{name}: {recipe.steps} steps, {CHAIN[name][0]:.2f} h, from {start}")
        print(f"{sum(hours for hours, _ in CHAIN.values()):.1f} hours in all")
        return
    for file in run(legs()):
        print(file)


if __name__ == "__main__":
    main()
