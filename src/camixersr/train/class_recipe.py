"""The recipe of a ClassSR as a value, beside that of a network (`camixersr.train.recipe`)."""

from dataclasses import dataclass
from pathlib import Path

from camixersr.errors import InputError, ValueRangeError
from camixersr.models.classes import CLASSES, PATCH, check_ratios
from camixersr.train.recipe import Recipe, build, read, require_numbers

__all__ = ["ClassRecipe", "load_any"]


@dataclass(frozen=True, kw_only=True)
class ClassRecipe:
    """A ClassSR on top of a trained network, or of three; see `camixersr.train.classify`.

    Attributes:
        photos: folder of training photographs (searched recursively).
        output: folder for the final weights.
        start: name or file of the model whose attention ratios the classes choose from; or
        branches: names or files of three models, one a class, the smallest first; they are not trained.
        name: of the result, and of its file.
        validation: folder with `high/` and `low/` pictures; empty for the photographs held out.
        data: what the photographs are, for the model's provenance.
        licences: theirs, likewise.
        ratios: attention ratio of each class, ascending.
        pieces: of photographs, for the classifier alone, the network frozen; computed once.
        patch: side of such a piece, in low pixels; a multiple of 32, the side of a classified patch.
        steps: of the classifier alone.
        batch: pieces in each of these steps.
        joint_steps: steps after that, of both, on new pieces.
        joint_batch: pieces in each of these.
        learning_rate: of AdamW for the classifier at its highest; it falls to zero as a cosine.
        joint_rate: of AdamW for network and classifier in the joint steps, likewise.
        pixel_weight: of L1 between the blended result and the photograph, in units of what the
            classes differ by (the deviation, over patches, of their L1).
        class_weight: of the loss that makes the classifier sure; it grows from 0 to this.
        average_weight: of the loss that makes classes equally many.
        seed: of everything random.
        limit: use only so many of the photographs, spread over the folder; 0 for all.
        holdout: every so-many-th photograph is kept from training.
    """

    photos: str
    output: str
    name: str
    start: str = ""
    branches: tuple[str, ...] = ()
    validation: str = ""
    data: str = ""
    licences: str = ""
    ratios: tuple[float, ...] = (0.0, 0.5, 1.0)
    pieces: int = 600
    patch: int = 64
    steps: int = 400
    batch: int = 24
    joint_steps: int = 40
    joint_batch: int = 4
    learning_rate: float = 1e-3
    joint_rate: float = 1e-5
    pixel_weight: float = 20.0
    class_weight: float = 5.0
    average_weight: float = 20.0
    seed: int = 0
    limit: int = 0
    holdout: int = 25

    def __post_init__(self) -> None:
        require_numbers(
            self,
            at_least_1="pieces steps batch joint_batch",
            positive="learning_rate joint_rate",
            not_negative="joint_steps pixel_weight class_weight average_weight limit",
            at_least_2="holdout",
        )
        if self.patch < PATCH or self.patch % PATCH:
            raise ValueRangeError(f"recipe: patch must be a multiple of {PATCH}, got {self.patch}")
        check_ratios(self.ratios)
        if bool(self.start) == bool(self.branches) or len(self.branches) not in (0, CLASSES):
            raise ValueRangeError(
                f"recipe: expected start, or {CLASSES} branches, got start = {self.start!r} and "
                f"{len(self.branches)} branches"
            )
        if self.branches and self.joint_steps:
            raise ValueRangeError("recipe: branches are not trained; set joint_steps = 0")


def load_any(path: str | Path) -> Recipe | ClassRecipe:
    """Read a recipe file of either kind; one with the line `kind = "classsr"` is a `ClassRecipe`.

    Args:
        path: the file; relative folders in it are relative to the working folder.

    Returns:
        The recipe.

    Raises:
        InputError: the file is missing, is no TOML, or has unknown, missing or mistyped keys.
        ValueRangeError: a number is out of range.
    """
    given = read(path)
    kind = given.pop("kind", "")
    if kind == "":
        return build(path, given, Recipe)
    if kind != "classsr":
        raise InputError(f"{path}: unknown kind {kind!r}; use classsr, or leave it out to train a network")
    return build(path, given, ClassRecipe)
