"""A training run as a value: what a recipe file may say, and nothing else."""

import os
import tomllib
from collections.abc import Callable
from dataclasses import MISSING, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, get_args, get_origin

from camixersr.errors import InputError, ValueRangeError
from camixersr.image.degradation import Degradation
from camixersr.train.objective import PixelLoss

__all__ = ["Part", "Recipe", "build", "load_recipe", "read", "require_numbers", "with_folders"]

R = TypeVar("R")

Part = Literal["offsets", "spatial", "channel", "condition"]
"""What an ablation can put out of action."""


MOST_PLAIN = 0.2

TABLES = {
    "data": "photos validation data licences projection flat_photos flat_share flat_holdout reduction task "
    "quality sigma shrink limit holdout",
    "network": "model blocks window pool without start plain_start attention_afresh",
    "loss": "loss teacher teacher_weight hint_weight routing_weight gate_weight",
    "steps": "steps batch patch optimizer learning_rate matrix_rate ends_rate warmup decay hold final "
    "halve_at beta2 weight_decay matrix_decay clip ema",
    "attention": "routing temperature attention_first plain full allot much_plain shares ratio",
    "run": "output validate_every keep seed precision kernels compile devices",
}
"""What a recipe file may group its keys by: `[data]` and so on. One without tables is read alike."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything a run depends on; the same recipe gives the same weights on the same machine.

    Attributes:
        photos: folder of training photographs (searched recursively).
        validation: folder with `high/` and `low/` pictures of the same names, or with high pictures
            only; empty for the photographs held out.
        data: what the photographs are, for the model's provenance.
        licences: theirs, likewise.
        projection: of the photographs: "flat", or "erp" for equirectangular panoramas, whose patches
            wrap around, carry their latitude, and count by the area they cover on the sphere.
        flat_photos: for "erp", folder of ordinary photographs that are learnt from, too: they lie on the
            equator.
        flat_share: share of the patches that are cut from these.
        flat_holdout: every so-many-th of them is kept from training, for other recipes' sake.
        reduction: how low panoramas are made of high ones: "bicubic", or "fisheye", through two fisheye
            pictures, as cameras see them. (Thresholds are calibrated on bicubic ones.)
        task: "sr" enlarges; "jpeg" undoes compression and "noise" removes Gaussian noise, both with
            a preset at scale 1 ("s-x1").
        quality: for "jpeg", lowest and highest quality trained on, [10, 60] for example.
        sigma: for "noise", smallest and largest standard deviation in 8-bit steps.
        shrink: before a patch is cut, its photograph is reduced by a random factor from 1 to this.
        limit: use only so many of the photographs, spread over the folder; 0 for all.
        holdout: every so-many-th photograph is kept from training, for calibration.
        model: preset name, "s-x4" and so on; those for panoramas are "s-360-x4" and so on, those
            for restoration "s-x1" and so on.
        blocks: of each group of the network; empty for the preset's.
        window: side of the network's windows, in low pixels; 16 in every preset.
        pool: what channel attention pools over: cells as large as a "patch", which is what training sees
            whatever is said here; or the whole "image", as in the paper. Weights to start from keep theirs.
        without: parts of the network that are put out of action and not trained, for ablations:
            "offsets" of the keys, "spatial" and "channel" attention, the global "condition".
        start: a file of weights to start from, of this scale or, for all but the last layer, of
            another; or a checkpoint (`.ckpt`) of another run, whose averaged weights count; empty for
            the linear upsampler.
        plain_start: without `start`, begin with torch's own random layers, as the paper's code does, and
            not as the linear upsampler.
        attention_afresh: before the first step, let attention begin where convolution is: for weights that
            were trained without it.
        loss: of pixels: "l1", "charbonnier", or "l1+fft" (`camixersr.train.objective`).
        teacher: a file of weights, or a model's name, whose answers are learnt from: each photograph's
            low picture enlarged with all windows attended, a mean over its eight flips and turns, computed
            once into the cache.
        teacher_weight: how much of the loss is that to the teacher's answers, in [0, 1]; the rest is that
            to the photographs.
        hint_weight: of what the groups of the teacher's blocks make of a patch, beside its answer ("fused";
            a teacher of the network's own shape). The teacher then works beside the network, on the patch
            as it is, and nothing is cached.
        routing_weight: of the routing loss beside L1 (in [0, 1] units).
        gate_weight: of the loss that keeps spatial attention from closing.
        steps: optimiser steps.
        batch: patches a step, over all processes together.
        patch: side of a low patch, in pixels; a multiple of the window.
        optimizer: "muon" for the matrices and dense kernels of the body, with AdamW for the rest;
            "adamw" for all.
        learning_rate: of AdamW at its highest, after the warm-up; see `decay`.
        matrix_rate: of Muon, likewise.
        ends_rate: of the layers between features and pixels, as a share of `learning_rate`.
        warmup: steps over which the learning rates rise.
        decay: how the learning rates fall after that: as a "cosine" or a "linear" function of the step.
        hold: share of the steps for which they stay at their highest before they fall.
        final: what is left of them at the end, as a share of the highest.
        halve_at: steps at which they are halved, instead of all this.
        beta2: of AdamW.
        weight_decay: decoupled, of AdamW.
        matrix_decay: of Muon: no singular value of a matrix stays above 1 / this.
        clip: largest norm of the gradient; 0 for any.
        ema: decay of the moving average of the weights, which is what is kept.
        routing: "detail" attends a share drawn anew each step and ranks windows by local detail; "gain"
            adds noise to the scores, and ranks by detail first, then by detail and by how much
            attention lowers the loss; "paper" draws a Gumbel mask and holds its mean at one half.
        temperature: of the noise on scores ("gain") at the start, in deviations of a block's scores; it
            falls to a tenth.
        attention_first: share of the steps, from the start, in which every window is attended.
        plain: share of the steps, drawn at random, in which no window is attended ("detail"); at most 0.2:
            a body that learns much without attention learns to do without it.
        full: share of the steps, likewise, in which all windows are attended.
        allot: share of the other steps in which blocks get attention by what it is worth in them, as
            calibrated thresholds give it (`camixersr.train.allotment`), measured at each validation. In the
            rest all blocks attend one share.
        much_plain: let `plain` be more, as it was when the embedded weights were trained.
        shares: range from which the share of attended windows is drawn anew each step ("detail", "gain").
        ratio: gamma of the paper's routing loss, and of validation.
        output: folder for checkpoints, logs and the final weights.
        validate_every: steps between validations (and checkpoints).
        keep: how many of the best checkpoints stay, beside the last.
        seed: of everything random.
        precision: "bf16" runs matrix products and convolutions in bfloat16 (autocast; "fused": the
            products of attention).
        kernels: "torch"; or "fused" for a program that computes a step's gradients on the CPU, compiled
            when the run starts (classic networks, routing by detail; wants AVX2 or AVX-512, and g++).
        compile: compile the feed-forwards with `torch.compile`; not worth it on the CPUs tried.
        devices: processes on this machine, one an accelerator (or, on a CPU, one a share of it).
    """

    # [data]
    photos: str
    validation: str = ""
    data: str = ""
    licences: str = ""
    projection: Literal["flat", "erp"] = "flat"
    flat_photos: str = ""
    flat_share: float = 0.0
    flat_holdout: int = 25
    reduction: Literal["bicubic", "fisheye"] = "bicubic"
    task: Literal["sr", "jpeg", "noise"] = "sr"
    quality: tuple[int, ...] = ()
    sigma: tuple[float, ...] = ()
    shrink: float = 1.0
    limit: int = 0
    holdout: int = 25
    # [network]
    model: str = "s-x4"
    blocks: tuple[int, ...] = ()
    window: int = 16
    pool: Literal["patch", "image"] = "patch"
    without: tuple[Part, ...] = ()
    start: str = ""
    plain_start: bool = False
    attention_afresh: bool = False
    # [loss]
    loss: PixelLoss = "l1"
    teacher: str = ""
    teacher_weight: float = 1.0
    hint_weight: float = 0.0
    routing_weight: float = 0.02
    gate_weight: float = 0.01
    # [steps]
    steps: int = 10_000
    batch: int = 4
    patch: int = 48
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float = 2e-3
    matrix_rate: float = 0.02
    ends_rate: float = 0.1
    warmup: int = 200
    decay: Literal["cosine", "linear"] = "cosine"
    hold: float = 0.0
    final: float = 0.0
    halve_at: tuple[int, ...] = ()
    beta2: float = 0.999
    weight_decay: float = 1e-4
    matrix_decay: float = 0.1
    clip: float = 1.0
    ema: float = 0.999
    # [attention]
    routing: Literal["gain", "detail", "paper"] = "detail"
    temperature: float = 1.0
    attention_first: float = 0.2
    plain: float = 0.0
    full: float = 0.0
    allot: float = 0.0
    much_plain: bool = False
    shares: tuple[float, float] = (0.0, 1.0)
    ratio: float = 0.5
    # [run]
    output: str
    validate_every: int = 500
    keep: int = 1
    seed: int = 0
    precision: Literal["fp32", "bf16"] = "fp32"
    kernels: Literal["torch", "fused"] = "torch"
    compile: bool = False
    devices: int = 1

    def __post_init__(self) -> None:
        require_numbers(
            self,
            at_least_1="steps batch validate_every keep devices shrink window",
            positive="learning_rate matrix_rate ends_rate",
            not_negative="warmup weight_decay matrix_decay routing_weight temperature limit hint_weight "
            "gate_weight clip",
            shares="attention_first ratio ema beta2 plain full allot hold final flat_share teacher_weight",
            at_least_2="holdout flat_holdout",
        )
        if len(self.shares) != 2 or not 0.0 <= self.shares[0] <= self.shares[1] <= 1.0:
            raise ValueRangeError(
                f"recipe: shares must be two ascending numbers in [0, 1], got {list(self.shares)}"
            )
        if self.patch < 16 or self.patch % self.window:
            raise ValueRangeError(
                f"recipe: patch must be a multiple of {self.window}, the window, and at least 16, "
                f"got {self.patch}"
            )
        if self.batch % self.devices:
            raise ValueRangeError(
                f"recipe: batch must be a multiple of devices, got {self.batch} and {self.devices}"
            )
        if self.projection == "erp" and self.shrink != 1.0:
            raise ValueRangeError("recipe: shrink is for flat photographs; leave it out with erp")
        if bool(self.flat_photos) != (self.flat_share > 0.0):
            raise ValueRangeError(
                "recipe: flat_photos (a folder) and flat_share (above 0) go together, got "
                f"{self.flat_photos!r} and {self.flat_share}"
            )
        if self.flat_photos and (self.projection != "erp" or self.reduction != "bicubic"):
            raise ValueRangeError(
                'recipe: flat_photos go beside panoramas; add projection = "erp" and leave reduction out'
            )
        for name in ("plain", "full", "allot"):
            if getattr(self, name) and self.routing != "detail":
                raise ValueRangeError(
                    f'recipe: {name} is for routing = "detail", got routing = "{self.routing}"'
                )
        if self.plain + self.full > 1.0:
            raise ValueRangeError(
                f"recipe: plain and full are shares of all steps, got {self.plain:g} and {self.full:g}"
            )
        if self.plain > MOST_PLAIN and not self.much_plain:
            raise ValueRangeError(
                f"recipe: plain must be at most {MOST_PLAIN:g}, got {self.plain:g}; a body that learns "
                "much without attention learns to do without it"
            )
        if self.plain_start and self.start:
            raise ValueRangeError("recipe: plain_start is for runs without start; leave one out")
        if self.hint_weight and not (self.teacher and self.kernels == "fused"):
            raise ValueRangeError('recipe: hint_weight wants a teacher and kernels = "fused"')
        if self.teacher and (self.task != "sr" or self.projection != "flat" or self.shrink != 1.0):
            raise ValueRangeError(
                "recipe: a teacher is for enlarging flat photographs as they are; leave it out with task, "
                "projection and shrink"
            )
        if self.kernels == "fused" and (self.routing != "detail" or self.compile or self.without):
            raise ValueRangeError(
                'recipe: kernels = "fused" expects routing = "detail", neither compile nor without; or use '
                'kernels = "torch"'
            )
        if self.reduction == "fisheye" and self.projection != "erp":
            raise ValueRangeError('recipe: reduction = "fisheye" is for panoramas; add projection = "erp"')
        if self.task != "sr" and self.projection == "erp":
            raise ValueRangeError(
                "recipe: panoramas are enlarged, not restored; leave task or projection out"
            )
        for name, task in (("quality", "jpeg"), ("sigma", "noise")):
            given = getattr(self, name)
            if (len(given) == 2) != (self.task == task) or len(given) not in (0, 2):
                raise ValueRangeError(
                    f'recipe: {name} is a range of two numbers and goes with task = "{task}", got '
                    f'{name} = {list(given)} with task = "{self.task}"'
                )
        _ = self.degradation  # its numbers are checked there

    @property
    def degradation(self) -> Degradation | None:
        """What the network learns to undo; None where it enlarges."""
        if self.task == "sr":
            return None
        least, most = self.quality if self.task == "jpeg" else self.sigma
        return Degradation(self.task, least, most)


_RANGES: dict[str, tuple[Callable[[float], bool], str]] = {
    "at_least_1": (lambda value: value >= 1, "be at least 1"),
    "at_least_2": (lambda value: value >= 2, "be at least 2"),
    "positive": (lambda value: value > 0, "be positive"),
    "not_negative": (lambda value: value >= 0, "not be negative"),
    "shares": (lambda value: 0.0 <= value <= 1.0, "lie in [0, 1]"),
}


def require_numbers(recipe: Any, **ranges: str) -> None:
    """Check numbers of a recipe.

    Args:
        recipe: of any kind.
        ranges: names of fields that must be `at_least_1`, `at_least_2`, `positive`, `not_negative` or
            `shares`.

    Raises:
        ValueRangeError: a number is out of its range.
    """
    for kind, names in ranges.items():
        fits, wanted = _RANGES[kind]
        for name in names.split():
            if not fits(getattr(recipe, name)):
                raise ValueRangeError(f"recipe: {name} must {wanted}, got {getattr(recipe, name)}")


def _fits(value: Any, kind: Any) -> bool:
    if get_origin(kind) is Literal:
        return value in get_args(kind)
    if get_origin(kind) is tuple:
        return isinstance(value, list) and all(_fits(each, get_args(kind)[0]) for each in value)
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and isinstance(value, bool) == (kind is bool)


def load_recipe(path: str | Path) -> Recipe:
    """Read a recipe file (TOML).

    Args:
        path: the file; relative folders in it are relative to the working folder, and `$DATA` stands for
            the environment variable DATA, by default the folder `data`.

    Returns:
        The recipe.

    Raises:
        InputError: the file is missing, is no TOML, or has unknown, missing or mistyped keys.
        ValueRangeError: a number is out of range.
    """
    return build(path, read(path), Recipe)


def read(path: str | Path) -> dict[str, Any]:
    """What a file of TOML says; raises `InputError` if it is none."""
    try:
        return tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"{path}: expected a recipe in TOML, but {error}") from error


def _without_tables(path: str | Path, given: dict[str, Any]) -> dict[str, Any]:
    """The keys of a recipe, whatever tables they stand in; `InputError` for one in another's."""
    flat: dict[str, Any] = {}
    for name, value in given.items():
        if not isinstance(value, dict):
            flat[name] = value
            continue
        if name not in TABLES:
            raise InputError(f"{path}: unknown table [{name}]; known are {', '.join(TABLES)}")
        for key, inner in value.items():
            home = next((table for table, keys in TABLES.items() if key in keys.split()), name)
            if home != name:
                raise InputError(f"{path}: {key} stands in [{name}] and belongs into [{home}]")
            if key in flat:
                raise InputError(f"{path}: {key} is there twice; leave one out")
            flat[key] = inner
    return flat


def build(path: str | Path, given: dict[str, Any], kind: type[R]) -> R:
    """Make a recipe of what its file says.

    Args:
        path: of the file, for errors.
        given: what it says.
        kind: the recipe's class.

    Raises:
        InputError: unknown, missing or mistyped keys.
        ValueRangeError: a number is out of range.
    """
    known = {field.name: field for field in fields(cast(Any, kind))}
    given = _without_tables(path, given)
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise InputError(f"{path}: unknown key {', '.join(unknown)}; known are {', '.join(known)}")
    missing = [name for name, field in known.items() if field.default is MISSING and name not in given]
    if missing:
        raise InputError(f"{path}: missing {', '.join(missing)}")
    for name, value in given.items():
        if not _fits(value, known[name].type):
            raise InputError(f"{path}: {name} should be {known[name].type}, got {value!r}")
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    data = os.environ.get("DATA", "data")
    placed = {
        name: value.replace("$DATA", data) for name, value in values.items() if isinstance(value, str)
    }
    return kind(**values | placed)


def with_folders(recipe: R, *, photos: Path | None = None, validation: Path | None = None) -> R:
    """A recipe with other folders than its file names; None leaves what it has.

    What the file says of its photographs, `data` and `licences`, is not true of others: the weights then
    say the folder's name, and no licences.

    Args:
        recipe: a `Recipe`, or another with these fields.
        photos: folder of training photographs.
        validation: folder of pictures to score on.
    """
    changed: dict[str, str] = {}
    if photos is not None:
        changed |= {"photos": str(photos), "data": photos.resolve().name, "licences": ""}
    if validation is not None:
        changed["validation"] = str(validation)
    return cast(R, replace(cast(Any, recipe), **changed))
