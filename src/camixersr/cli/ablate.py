"""`camixersr ablate`: what each part of the method is worth."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from camixersr.errors import MissingExtraError
from camixersr.extras import install_line

__all__ = ["ablate"]


def ablate(
    recipe: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["-o", "--output"])] = None,
    variants: Annotated[list[str] | None, Parameter(negative=(), consume_multiple=True)] = None,
    data: Annotated[list[Path] | None, Parameter(negative=(), consume_multiple=True)] = None,
    seeds: Annotated[list[int] | None, Parameter(negative=(), consume_multiple=True)] = None,
    steps: int = 0,
) -> None:
    """Train a recipe (TOML) and variants of it alike, to see what each change does. See docs/ablation.md.

    This writes a table and a plot. If you stop it, the same command goes on and repeats no finished run.

    Parameters
    ----------
    recipe
        The recipe file. Its patch must be a multiple of every variant's window.
    output
        Folder for the runs and the findings. Default: the recipe's output folder.
    variants
        One or several of no-offsets, no-spatial, no-channel, no-condition, no-routing-loss, window-8,
        window-16, window-32, ratio-0, ratio-0.25, ratio-0.5, ratio-1. Default: every variant that
        differs from the recipe.
    data
        More benchmark sets to score on, beside the recipe's validation set.
    seeds
        Train everything once with each seed. Two or more tell noise from effect. Default: 0.
    steps
        Steps to train, instead of the recipe's number. 0: the recipe's.
    """
    from camixersr.train.recipe import load_recipe

    run = load_recipe(recipe)
    if steps:
        run = replace(run, steps=steps)
    try:
        from camixersr.train.ablate import ablate
    except ImportError as error:
        raise MissingExtraError(
            f"training needs the extra `train` ({error}); {install_line('train')}"
        ) from error
    files = ablate(
        run, output or Path(run.output), variants=variants or (), data=data or (), seeds=seeds or (0,)
    )
    print(files[0].read_text(encoding="utf-8"), end="")
    print("\n".join(str(file) for file in files))
