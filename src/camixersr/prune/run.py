"""From a model and a folder of photographs to a smaller model."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from camixersr.data import SUFFIXES
from camixersr.errors import InputError, UsageError
from camixersr.metrics import decibels
from camixersr.models import classic
from camixersr.nn.routing import TopShare
from camixersr.prune.narrow import widths
from camixersr.prune.search import Pruned, Quantity, shrink, words
from camixersr.train.calibrate import calibrate
from camixersr.train.photos import DegradedStream, PatchStream, load_photos
from camixersr.weights import Model

__all__ = ["Result", "prune"]

PHOTOS, PATCHES, SIDE = 32, 12, 64
"""Photographs that are looked at, patches that are cut from them, and their side in low pixels."""


@dataclass(frozen=True)
class Result:
    """A smaller model.

    Attributes:
        model: with thresholds calibrated anew; it has no scores yet.
        pruned: what was measured on the way.
        psnr_before: of the model before, on the patches, RGB, in dB.
        psnr_after: of the smaller one.
    """

    model: Model
    pruned: Pruned
    psnr_before: float
    psnr_after: float


def prune(
    model: Model,
    folder: Path,
    *,
    of: Quantity,
    to: float,
    attention_ratio: float = 0.5,
    name: str = "",
    say: Callable[[str], None] = lambda line: None,
) -> Result:
    """Make a model smaller; see `camixersr.prune.search.shrink`.

    Args:
        model: a classic one.
        folder: of photographs (searched recursively), as the model was trained on; some are looked at.
        of: what shall become less.
        to: which share of it may remain, in (0, 1).
        attention_ratio: at which MACs and seconds count.
        name: of the smaller model; by default the model's with "-pruned".
        say: told, in a line each, what is being done.

    Returns:
        The model, ready for use or for further training.

    Raises:
        UsageError: a model of another kind, or a ClassSR.
        InputError: no usable photographs.
        ValueRangeError: a number out of range, or a share that cannot be reached.
    """
    network = classic(model.network)
    if network is None:
        raise UsageError(
            f"expected a classic CAMixerSR, got {type(model.network).__name__}; only those are pruned"
        )
    if model.classes is not None:
        raise UsageError(
            f"{model.name} is a ClassSR, whose classes were trained on its network as it is; prune that "
            "network by itself, and train classes on the result"
        )
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder of photographs")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)
    if len(files) > PHOTOS:
        files = [files[number * len(files) // PHOTOS] for number in range(PHOTOS)]
    scale = network.config.scale
    kind = PatchStream if model.restores is None else DegradedStream
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as cache:
        photos = load_photos(files, Path(cache), smallest=kind.side_of(scale=scale, patch=SIDE))
        stream = (
            PatchStream(photos, scale=scale, patch=SIDE, seed=0)
            if model.restores is None
            else DegradedStream(photos, patch=SIDE, seed=0, degradation=model.restores)
        )
        low, high = stream.pairs(torch.stack([stream.patch(number) for number in range(PATCHES)]))
        pruned = shrink(network, low, of=of, to=to, attention_ratio=attention_ratio, say=say)
        say("calibrating")
        calibration = calibrate(
            pruned.network,
            [photos.photo(number) for number in range(len(photos))],
            degradation=model.restores,
        )
    share = pruned.after.macs / pruned.before.macs
    facts = {
        "pruned": f"{model.name} (sha256 {model.sha256[:16]}) to {share:.3f} of its MACs at attention "
        f"ratio {attention_ratio:g}: {words(widths(pruned.network))}"
    }
    smaller = replace(
        model,
        name=name or f"{model.name}-pruned",
        source=pruned.network,
        calibration=calibration,
        # pruned weights are no longer the authors' file
        provenance={name: value for name, value in model.provenance.items() if name != "official"} | facts,
        scores={},
        sha256="",
    )
    policy = TopShare(attention_ratio)
    return Result(
        smaller,
        pruned,
        _psnr(network.route(low, policy)[0], high),
        _psnr(pruned.network.route(low, policy)[0], high),
    )


def _psnr(result: Tensor, high: Tensor) -> float:
    error = float((result.clamp(0.0, 1.0) - high).double().square().mean())
    return decibels(error, data_range=1.0)
