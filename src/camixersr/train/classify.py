"""A ClassSR from its recipe to its weights; `camixersr.train.classes` has what its steps are."""

import logging
import os
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from camixersr.catalogue import find
from camixersr.data import open_set
from camixersr.errors import InputError, UsageError
from camixersr.image.files import make_folder
from camixersr.inference.computer import Computer
from camixersr.metrics import luma, psnr
from camixersr.models import CAMixerSR, Classes, PatchClassifier, classic
from camixersr.models.classes import ByClass
from camixersr.models.classsr import windows_of
from camixersr.nn.routing import TopShare
from camixersr.tensors import from_array, to_array
from camixersr.train.calibrate import calibrate
from camixersr.train.class_recipe import ClassRecipe
from camixersr.train.classes import Alone, Bank, Classifying, Jointly, Say, Setup, told_ten_times
from camixersr.train.loop import Loop
from camixersr.train.photos import PatchStream, Photos, list_photos, load_photos
from camixersr.weights import Model, save

__all__ = ["classify", "describe_class_run", "score_classes"]

logger = logging.getLogger(__name__)


@torch.no_grad()
def score_classes(
    model: Model, images: Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]], attention_ratio: float
) -> float:
    """Mean luma PSNR of a ClassSR, as `camixersr.train.fit.score` of a network.

    Args:
        model: with classes.
        images: low and high, uint8 RGB, each.
        attention_ratio: the dial, in [0, 1].

    Returns:
        dB.
    """
    if model.classes is None:
        raise UsageError(f"expected a ClassSR, got {model.name}")
    if model.branches:
        computer = Computer(model, device=str(next(model.network.parameters()).device))
        scores: list[float] = []
        for low, high in images:
            made = to_array(computer.run(from_array(low).numpy(), attention_ratio=attention_ratio).high)
            scores.append(psnr(luma(made), luma(high), border=computer.scale))
        return float(np.mean(scores))
    network, classes = model.network, model.classes
    device = next(network.parameters()).device
    policies = model.class_policies(attention_ratio)
    results: list[float] = []
    for low, high in images:
        image = from_array(low)[None].to(device)
        window = network.config.window
        rows, columns = (-(-length // window) for length in low.shape[:2])
        own = windows_of(classes.classifier.classes(image), rows, columns, window)
        result = to_array(network(image, ByClass(policies, own))[0].float().cpu())
        results.append(psnr(luma(result), luma(high), border=network.config.scale))
    return float(np.mean(results))


def _start(recipe: ClassRecipe) -> tuple[Model, tuple[CAMixerSR, ...]]:
    """The model that the classes are put upon, and the networks of the classes if they have their own."""
    models = [find(name) for name in recipe.branches or (recipe.start,)]
    networks: list[CAMixerSR] = []
    for name, model in zip(recipe.branches or (recipe.start,), models, strict=True):
        network = classic(model.network)
        if model.config.latitude or model.restores or model.classes or network is None:
            raise InputError(f"{name}: expected a network that enlarges flat pictures, without classes")
        if model.config.scale != models[0].config.scale:
            raise InputError(f"{name}: expected x{models[0].config.scale} as the other branches")
        networks.append(network)
    return models[-1], tuple(networks) if recipe.branches else ()


def _photos(recipe: ClassRecipe, scale: int) -> tuple[Photos, Photos]:
    kept, aside = list_photos(recipe.photos, limit=recipe.limit, holdout=recipe.holdout)
    smallest = PatchStream.side_of(scale=scale, patch=recipe.patch)
    cache = Path(recipe.output) / "cache"
    make_folder(cache)
    return load_photos(kept, cache, smallest=smallest), load_photos(aside, cache, smallest=smallest)


def _loop(recipe: ClassRecipe, phase: type[Classifying]) -> Loop:
    steps = recipe.joint_steps if phase is Jointly else recipe.steps
    return Loop(output=Path(recipe.output), name=phase.name, steps=steps, every=told_ten_times(steps))


def classify(recipe: ClassRecipe, *, resume: bool = False, say: Say = logger.info) -> Path:
    """Run a recipe: train, score, and write the model.

    Thresholds are the starting model's, measured anew on the photographs held out after joint steps;
    and at last if it has none: its classes are shares of each piece while they are trained.

    Args:
        recipe: the run.
        resume: continue from the last checkpoint in the recipe's output folder, if there is one.
        say: told how it goes, now and then.

    Returns:
        The file, `<output>/<name>.safetensors`.

    Raises:
        InputError: no usable photographs or validation pairs, or a start that has classes already.
        CheckpointError: the model to start from does not load.
        OutputError: the output folder cannot be written.
        KeyboardInterrupt: stopped by a signal, after writing a checkpoint.
    """
    began = time.perf_counter()
    before, branches = _start(recipe)
    network = classic(before.network)
    assert network is not None  # `_start` has looked
    scale = before.config.scale
    photos, held_out = _photos(recipe, scale)
    images: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    measured = ""
    if recipe.validation:
        benchmark = open_set(recipe.validation)
        if benchmark.problems:
            raise InputError(benchmark.problems[0])
        measured, images = benchmark.name, [pair.read(scale) for pair in benchmark.pairs]
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for each in (network, *branches):
        each.to(device)
    aside = [held_out.photo(number) for number in range(len(held_out))]
    torch.manual_seed(recipe.seed)
    classes = Classes(PatchClassifier().to(device), recipe.ratios)
    policies = [TopShare(ratio) if branches else before.policy(ratio) for ratio in recipe.ratios]
    stream = PatchStream(photos, scale=scale, patch=recipe.patch, seed=recipe.seed)
    setup = Setup(network, classes.classifier, policies, recipe, say)
    unit, joint = 1.0, _loop(recipe, Jointly)
    far = resume and joint.last.exists()  # its checkpoint has all of the first phase
    if not far:
        joint.last.unlink(missing_ok=True)  # of an earlier run
        bank = Bank.of(branches or (network,), policies, stream, recipe.pieces, say)
        alone = Alone(setup, bank, seconds=time.perf_counter() - began)
        _loop(recipe, Alone).run(alone, resume=resume)
        unit, began = alone.unit, time.perf_counter() - alone.elapsed
    if recipe.joint_steps:
        jointly = Jointly(setup, stream, unit=unit, seconds=time.perf_counter() - began)
        joint.run(jointly, resume=far)
        began = time.perf_counter() - jointly.elapsed
    for each in (network, *branches, classes.classifier):
        each.eval().requires_grad_(False).to(device)
    moved = recipe.joint_steps or before.calibration is None
    calibration = calibrate(network, aside) if moved and not branches else before.calibration
    if branches:
        calibration = None  # thresholds are one network's; of several, classes have shares
    model = Model(recipe.name, network, calibration, classes=classes, branches=branches)
    scores = {
        f"{measured}/{ratio:g}": round(score_classes(model, images, ratio), 3)
        for ratio in ((0.25, 0.5, 0.75) if images else ())
    }
    provenance = {
        "data": recipe.data,
        "licences": recipe.licences,
        "start": ", ".join(recipe.branches)
        or f"{before.name} ({before.provenance.get('steps', '?')} steps)",
        "device": f"{device}, {os.cpu_count()} CPU cores",
        "torch": torch.__version__,
        "steps": f"{recipe.steps} of the classifier, {recipe.joint_steps} of both",
        "hours": f"{(time.perf_counter() - began) / 3600:.2f}",
    }
    file = Path(recipe.output) / f"{recipe.name}.safetensors"
    for each in (network, *branches, classes.classifier):
        each.cpu()
    save(file, replace(model, provenance=provenance, scores=scores))
    return file


def describe_class_run(recipe: ClassRecipe) -> str:
    """Describe a run without doing it: a step or two of each part are measured, nothing is written.

    Args:
        recipe: the run.

    Returns:
        Lines of text.

    Raises:
        CamixerError: as for `classify`.
    """
    before, branches = _start(recipe)
    network = classic(before.network)
    assert network is not None  # `_start` has looked
    kept, aside = list_photos(recipe.photos, limit=recipe.limit, holdout=recipe.holdout)
    if recipe.validation:
        open_set(recipe.validation)
    policies = [TopShare(ratio) if branches else before.policy(ratio) for ratio in recipe.ratios]
    scale = before.config.scale
    side = PatchStream.side_of(scale=scale, patch=recipe.patch)
    noise = np.random.default_rng(0).integers(0, 256, 3 * side * side, np.uint8)
    stream = PatchStream(Photos(noise, (0,), ((side, side),), ()), scale=scale, patch=recipe.patch, seed=0)
    networks = branches or (network,)
    Bank.of(networks, policies, stream, 2)  # the first time is slower
    began = time.perf_counter()
    bank = Bank.of(networks, policies, stream, 2)
    setup = Setup(network, PatchClassifier(), policies, recipe)
    each = (
        (time.perf_counter() - began) / 2,
        _seconds(Alone(setup, bank), 2),
        0.0 if branches else _seconds(Jointly(setup, stream, unit=bank.unit), 1),
    )
    counts = (recipe.pieces, recipe.steps, recipe.joint_steps)
    minutes = sum(count * seconds for count, seconds in zip(counts, each, strict=True)) / 60
    ratios = ", ".join(f"{ratio:g}" for ratio in recipe.ratios)
    over = ", ".join(recipe.branches) or before.name
    lines = [
        f"model        {recipe.name}: a classifier over {over}, x{scale}; its classes "
        f"have attention ratios {ratios}",
        f"photographs  {len(kept)} to train on, {len(aside)} held out",
        f"validation   {recipe.validation or 'none'}",
        f"pieces       {recipe.pieces} of {recipe.patch} x {recipe.patch} low pixels",
        f"steps        {recipe.steps} of the classifier with {recipe.batch} of these, "
        f"{recipe.joint_steps} of both with {recipe.joint_batch} new ones",
        f"time         {minutes:.0f} min without validation: {each[0]:.2f} s a piece, {each[1]:.2f} and "
        f"{each[2]:.2f} s a step",
        f"writes       {Path(recipe.output) / recipe.name}.safetensors",
    ]
    return "\n".join(lines)


def _seconds(phase: Classifying, steps: int) -> float:
    """What a step takes, the mean of a few."""
    optimizer = phase.configure_optimizers()["optimizer"]
    batches = iter(phase.train_dataloader())
    began = time.perf_counter()
    for _ in range(steps):
        loss = phase.training_step(next(batches), 0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return (time.perf_counter() - began) / steps
