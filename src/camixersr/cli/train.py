"""`camixersr train`: run a recipe."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from camixersr.errors import MissingExtraError

__all__ = ["train"]


def train(recipe: Path, /, *, resume: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Train a model by a recipe (TOML); see docs/training.md.

    Parameters
    ----------
    recipe
        The recipe file.
    resume
        Continue from the last checkpoint in the recipe's output folder.
    """
    from camixersr.train.recipe import load_recipe

    plan = load_recipe(recipe)
    try:
        from camixersr.train.fit import fit
    except ImportError as error:
        raise MissingExtraError(
            f"training needs the extra `train` ({error}); pip install 'camixersr[train]'"
        ) from error
    print(fit(plan, resume=resume))
