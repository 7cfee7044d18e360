"""A run from start to weights: `fit`."""

from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import torch
from filelock import FileLock

from camixersr.data import BICUBIC, FISHEYES, degrading, open_set
from camixersr.errors import UsageError
from camixersr.image.files import make_folder
from camixersr.models import Backbone, Config, Network, Trainable, classic
from camixersr.models.omni_parts import OmniFeedForward
from camixersr.nn.layers import FeedForward
from camixersr.train.calibrate import RATIOS, calibrate
from camixersr.train.callbacks import PictureLog, SaturationAlarm
from camixersr.train.fused import FusedStep
from camixersr.train.initialise import ends, initialise_linear, vary_signs
from camixersr.train.loop import Loop
from camixersr.train.module import Training
from camixersr.train.photos import PatchStream, Photos, list_photos, load_photos
from camixersr.train.provenance import earlier, provenance
from camixersr.train.recipe import Recipe
from camixersr.train.restart import restart_attention
from camixersr.train.score import degraded_pairs, read_pairs, reduced_pairs, score
from camixersr.train.start import find_photos, fused_step, preset_of, start_network, start_own
from camixersr.train.teacher import Hints, check_hints, load_answers, load_teacher
from camixersr.weights import Model, save

__all__ = ["fit", "is_narrower"]


def fit(
    recipe: Recipe,
    *,
    network: Backbone | None = None,
    resume: bool = False,
    name: str = "",
    cache: Path | None = None,
) -> Path:
    """Run a recipe: train, calibrate on the held-out photographs, score, and write the weights.

    Runs alone, on `recipe.devices` processes of this machine, or as one process of many under
    `torchrun`.

    Args:
        recipe: the run.
        network: one's own, to train instead of the recipe's preset; `model` is then not looked at,
            and `start` may name weights of that network. `safetensors.torch.load_file` reads what
            comes of it; the commands know our own networks only.
        resume: continue from the last checkpoint in the recipe's output folder, if there is one.
        name: of the model in its file; by default the recipe's preset, its scale replaced by the task
            where that is 1 ("s-jpeg"), that of pruned weights it starts from, or the network's class.
        cache: folder for the decoded photographs, which runs may share; `<output>/cache` by default.

    Returns:
        The file of weights, `<output>/<name>.safetensors`.

    Raises:
        UnknownModelError: the recipe's preset does not exist.
        InputError: no usable photographs or no validation pairs.
        OutputError: the output folder cannot be written, or its disk is full; the last checkpoint
            stays.
        CheckpointError: the weights to start from do not load.
        KeyboardInterrupt: stopped by a signal, after writing a checkpoint.
    """
    output = Path(recipe.output)
    kept, aside, smallest = find_photos(recipe, network.config.scale if network is not None else None)
    make_folder(output)
    cache = cache or output / "cache"
    make_folder(cache)
    with FileLock(cache / ".lock"):  # the first process decodes, the others wait
        photos = load_photos(kept, cache, smallest=smallest)
        held_out = load_photos(aside, cache, smallest=smallest)
        flat = None
        if recipe.flat_photos:
            files, _ = list_photos(recipe.flat_photos, limit=recipe.limit, holdout=recipe.flat_holdout)
            flat = load_photos(files, cache, smallest=smallest)
    before: Model | None = None
    trained: Trainable
    if network is not None:
        name = name or type(network).__name__.lower()
        trained, fresh = network, start_own(recipe, network)
    else:
        trained, before = start_network(recipe)
        if before is not None and is_narrower(trained.config, preset_of(recipe)):
            name = name or before.name
        fresh = before is None or before.network.config.scale != trained.config.scale
    scale = trained.config.scale
    way = FISHEYES if recipe.reduction == "fisheye" else BICUBIC
    if recipe.validation:
        damage = recipe.degradation
        way = way if damage is None else degrading(damage.only(damage.at(0.5)))
        benchmark = open_set(recipe.validation, way)
        measured, images = benchmark.name, read_pairs(benchmark, scale)
    elif recipe.degradation is not None:
        measured, images = "held out", degraded_pairs(held_out, recipe.degradation)
    else:
        whole = recipe.projection == "erp"
        measured, images = "held out", reduced_pairs(held_out, scale, way, whole=whole)
    fused = fused_step(trained, recipe, cache)
    taught = _taught(trained, recipe, photos, cache)
    training = Training(trained, recipe, photos, images, flat=flat, fused=fused, **taught)
    training.earlier = earlier(recipe, before)
    if fresh and ends(trained) and not recipe.plain_start:
        low, high = training.pairs(64, seed=recipe.seed + 2)
        initialise_linear(trained, low, high, tail_only=before is not None)
        if before is None and recipe.routing != "paper":
            vary_signs(trained)
    if recipe.attention_afresh:
        own = classic(trained)
        if own is None:
            raise UsageError(
                f"recipe: attention_afresh is for classic networks, and {type(trained).__name__} is none; "
                "leave it out"
            )
        low, _ = training.pairs(64, seed=recipe.seed + 3)
        restart_attention(own, low if own.config.latitude else low[:, :3])

    loop = Loop(
        output=output,
        steps=recipe.steps,
        every=recipe.validate_every,
        keep=recipe.keep,
        ema=recipe.ema,
        clip=recipe.clip or None,
        half=recipe.precision == "bf16" and recipe.kernels == "torch",
        on_cpu=recipe.kernels == "fused",
        devices=recipe.devices,
    )
    if recipe.compile:
        for part in trained.modules():
            # the same at every step, where mixers route anew
            if isinstance(part, FeedForward | OmniFeedForward):
                part.compile()
    try:
        trainer = loop.run(training, resume=resume, callbacks=[PictureLog(), SaturationAlarm()])
    finally:
        if fused is not None:
            fused.close()
    known_as = recipe.model.replace("-x1", f"-{recipe.task}")  # "s-jpeg" is a preset s-x1 that was trained
    file = output / f"{name or known_as}.safetensors"
    if not trainer.is_global_zero:
        return file

    trained.eval().requires_grad_(False)
    hours = training.elapsed / 3600
    calibration = None
    if trained.block_count:
        aside_photos = [held_out.photo(i) for i in range(len(held_out))]
        calibration = calibrate(trained, aside_photos, degradation=recipe.degradation)
    model = Model(
        file.stem,
        cast(Network, trained),  # one's own is written alike, and read by no command
        calibration,
        provenance(recipe, before, hours, str(trainer.strategy.root_device)),
        restores=recipe.degradation,
    )
    scores = {
        f"{measured}/{ratio:g}": round(score(trained, images, model.policy(ratio), recipe.projection), 3)
        for ratio in (0.0, *RATIOS, 1.0)
    }
    save(file, replace(model, scores=scores))
    return file


def is_narrower(config: Config, preset: Config) -> bool:
    """Whether a network was pruned: what it pools over does not count."""
    if config.kind == "classic" and preset.kind == "classic":
        config = replace(config, pool=preset.pool)
    return config != preset


def _taught(network: Trainable, recipe: Recipe, photos: Photos, cache: Path) -> dict[str, Any]:
    """What a `Training` needs of the recipe's teacher: its answers, or itself and what compares the two."""
    if not recipe.teacher:
        return {}
    if isinstance(network, Backbone):
        raise UsageError("recipe: a teacher is for presets; leave it out for a network of your own")
    teacher = load_teacher(recipe.teacher, network)
    if not recipe.hint_weight:
        with FileLock(cache / ".lock"):
            return {"answers": load_answers(teacher, photos, cache)}
    check_hints(teacher, network, recipe.teacher)
    stream = PatchStream(photos, scale=network.config.scale, patch=recipe.patch, seed=recipe.seed + 4)
    low, _ = stream.pairs(torch.stack([stream.patch(number) for number in range(16)]))
    hints = Hints.of(teacher, low, classic(network) if recipe.start else None)
    half = recipe.precision == "bf16"
    return {"teacher": FusedStep(teacher, recipe.patch, cache, half=half), "hints": hints}
