"""`camixersr train`: run a recipe."""

import os
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from camixersr.errors import MissingExtraError
from camixersr.extras import install_line

__all__ = ["train"]


def train(
    recipe: Path,
    /,
    *,
    resume: Annotated[bool, Parameter(negative=())] = False,
    dry_run: Annotated[bool, Parameter(negative=())] = False,
    photos: Path | None = None,
    validation: Path | None = None,
) -> None:
    """Train a model by a recipe (TOML). See docs/training.md.

    Ctrl-C finishes the current step and writes a checkpoint. --resume goes on from there.

    Parameters
    ----------
    recipe
        The recipe file.
    resume
        Continue from the last checkpoint in the recipe's output folder.
    dry_run
        Print the plan with sizes, time and memory, measured on two steps. Train and write nothing.
    photos
        Train on the photographs in this folder instead of the recipe's.
    validation
        Score on this folder instead of the recipe's. It has high/ and low/, or high pictures only.
    """
    from camixersr.train.class_recipe import ClassRecipe, load_any
    from camixersr.train.recipe import with_folders

    run = with_folders(load_any(recipe), photos=photos, validation=validation)
    try:
        from camixersr.train.classify import classify, describe_class_run
        from camixersr.train.fit import fit
        from camixersr.train.plan import describe_run
    except ImportError as error:
        raise MissingExtraError(
            f"training needs the extra `train` ({error}); {install_line('train')}"
        ) from error
    if isinstance(run, ClassRecipe):
        print(describe_class_run(run) if dry_run else classify(run, resume=resume))
        return
    if dry_run:
        print(describe_run(run))
        return
    file = fit(run, resume=resume)
    if os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")) == "0":  # of many processes, one tells
        print(file)
