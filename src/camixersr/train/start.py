"""What a run begins with: its photographs, its network, and what computes its steps."""

from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file as load_tensors

from camixersr.errors import CheckpointError, InputError, UnknownModelError, UsageError
from camixersr.models import (
    Backbone,
    Config,
    Network,
    Trainable,
    classic,
    make,
    presets,
)
from camixersr.train.fused import FusedStep
from camixersr.train.initialise import load_checkpoint, transfer
from camixersr.train.parts import disable
from camixersr.train.photos import DegradedStream, PatchStream, list_photos
from camixersr.train.recipe import Recipe
from camixersr.weights import Model, load_file

__all__ = ["find_photos", "fused_step", "preset_of", "shape_of", "start_network", "start_own"]


def find_photos(recipe: Recipe, scale: int | None = None) -> tuple[list[Path], list[Path], int]:
    """Find a recipe's photographs.

    Args:
        recipe: the run.
        scale: of a network of one's own; that of the recipe's preset by default.

    Returns:
        Those to train on, those held out for calibration, and the shortest side in pixels that a
        photograph must have.

    Raises:
        UnknownModelError: the recipe's preset does not exist.
        UsageError: it is none for the recipe's task.
        InputError: there is no such folder.
    """
    if scale is None:
        scale = preset_of(recipe).scale
    if (scale == 1) != (recipe.degradation is not None):
        raise UsageError(
            f"{recipe.model} works at scale {scale} and the recipe's task is {recipe.task!r}; "
            "restoration (jpeg, noise) goes with scale 1, enlarging (sr) with the others"
        )
    kept, aside = list_photos(recipe.photos, limit=recipe.limit, holdout=recipe.holdout)
    kind = DegradedStream if recipe.degradation else PatchStream
    return kept, aside, kind.side_of(scale=scale, patch=recipe.patch)


def fused_step(network: Trainable, recipe: Recipe, folder: Path) -> FusedStep | None:
    """What computes a run's steps, if not torch.

    Args:
        network: that is trained.
        recipe: the run.
        folder: for the compiled program.

    Returns:
        A program for the network, to be closed; None if the recipe's kernels are torch's.

    Raises:
        UsageError: the recipe's kernels are not for this network.
        DeviceError: nor for this machine.
        OutputError: the folder cannot be written.
    """
    if recipe.kernels == "torch":
        return None
    own = classic(network)
    if own is None:
        raise UsageError(
            f'recipe: kernels = "fused" is for classic networks, and {type(network).__name__} is none; '
            'use kernels = "torch"'
        )
    return FusedStep(own, recipe.patch, folder, half=recipe.precision == "bf16")


def preset_of(recipe: Recipe) -> Config:
    """The network's shape: the recipe's preset, with its blocks and window."""
    if recipe.model not in presets():
        raise UnknownModelError(f"no preset {recipe.model!r}; there are {', '.join(presets())}")
    preset = presets()[recipe.model]
    config = replace(preset, blocks=recipe.blocks or preset.blocks, window=recipe.window)
    if config.kind == "classic":
        return replace(config, pool=recipe.patch if recipe.pool == "patch" else 0)
    return config


def shape_of(recipe: Recipe, before: Model | None) -> Config:
    """The recipe's preset; what it starts from says how narrow it is and what it pools over."""
    config, given = preset_of(recipe), before and before.config
    if config.kind == "classic" and given is not None and given.kind == "classic":
        same = {name: getattr(given, name) for name in ("keys", "values", "hidden", "pool")}
        return replace(config, **same)
    return config


def start_network(recipe: Recipe) -> tuple[Network, Model | None]:
    """Make the network a recipe starts from.

    Returns:
        The network, in training mode, and the model it comes from, if any. From another scale
        everything but the last layer comes over; `fit` then solves that one by least squares.

    Raises:
        CheckpointError: the weights to start from do not load.
        InputError: they are of another shape, or the recipe leaves out what the network does not have.
        UnknownModelError: the recipe's preset does not exist.
    """
    torch.manual_seed(recipe.seed)
    before = None
    if recipe.start:
        load = load_checkpoint if recipe.start.endswith(".ckpt") else load_file
        before = load(recipe.start)
    network = make(shape_of(recipe, before))
    if before is not None:
        transfer(before.network, network)
    network.train().requires_grad_(True)
    disable(network, recipe.without)
    return network, before


def start_own(recipe: Recipe, network: Backbone) -> bool:
    """Make a network of one's own ready; whether it starts afresh."""
    if recipe.without:
        raise InputError("recipe: `without` is for presets; leave it out for a network of your own")
    if recipe.window != network.config.window:
        raise InputError(
            f"recipe: expected the network's window, {network.config.window}, got {recipe.window}"
        )
    if recipe.start:
        try:
            network.load_state_dict(load_tensors(recipe.start))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise CheckpointError(
                f"{recipe.start}: expected weights of {type(network).__name__}, but {error}"
            ) from error
    network.train().requires_grad_(True)
    return not recipe.start
