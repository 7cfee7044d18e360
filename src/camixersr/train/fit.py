"""The training loop: a Lightning module, and `fit`, which runs a recipe from start to weights."""

import logging
import math
import os
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeGuard, cast

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from filelock import FileLock
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file as load_tensors
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from camixersr.data import BICUBIC, FISHEYES, BenchmarkSet, Reduction, degrading, open_set
from camixersr.errors import CheckpointError, InputError, OutputError, UnknownModelError, UsageError
from camixersr.image.degradation import Degradation
from camixersr.image.files import make_folder
from camixersr.metrics import latitude_weights, luma, psnr, ws_psnr
from camixersr.models import Backbone, CAMixerSR, CAMixerSRConfig, Config, Network, Trainable, make, presets
from camixersr.nn.detail import window_detail
from camixersr.nn.layers import FeedForward
from camixersr.nn.omni import OmniFeedForward
from camixersr.nn.routing import Explore, Policy, Routing, Stochastic, TopShare
from camixersr.train.calibrate import calibrate
from camixersr.train.callbacks import Pictures, Progress, SaturationAlarm, Stopper, WholeCheckpoints
from camixersr.train.fused import FusedStep
from camixersr.train.initialise import ends, initialise_linear, load_checkpoint, transfer
from camixersr.train.objective import detail_loss, paper_loss, percentile
from camixersr.train.optimizer import MuonAdamW
from camixersr.train.parts import put_out
from camixersr.train.photos import (
    Batches,
    DegradedStream,
    FisheyeStream,
    MixedStream,
    PanoramaStream,
    PatchStream,
    Photos,
    list_photos,
    load_photos,
)
from camixersr.train.recipe import Recipe
from camixersr.train.restart import restart_attention
from camixersr.weights import Model, load_file, save

__all__ = ["Training", "find_photos", "fit", "fused_step", "score", "start_network"]

Images = Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]

FLAT = 0.01
"""Standard deviation of a block's scores over a batch below which it no longer chooses."""

SIDE = 96
"""Pixels of a validation picture's middle, a side, that restoration is scored on."""


@torch.no_grad()
def score(network: Trainable, images: Images, policy: Policy, projection: str = "flat") -> float:
    """Mean luma PSNR over pairs, 8-bit rounding first, border of `scale` pixels cropped (none at scale 1).

    Args:
        network: on any device.
        images: low and high, uint8 RGB, each.
        policy: who chooses the windows.
        projection: "erp" for panoramas: mean WS-PSNR of RGB instead, computed flat, without wrap.

    Returns:
        dB.
    """
    device = next(network.parameters()).device
    scale = network.config.scale
    results: list[float] = []
    for low, high in images:
        image = torch.from_numpy(low.copy()).permute(2, 0, 1)[None].to(device).float() / 255.0
        if network.config.latitude and projection == "erp":
            cosine = torch.from_numpy(latitude_weights(len(low))).to(image)
            image = torch.cat((image, cosine[:, None].expand(1, 1, *low.shape[:2])), dim=1)
        out = (network(image, policy)[0].float() * 255.0).round().clamp(0, 255)
        result = out.byte().permute(1, 2, 0).cpu().numpy()
        if projection == "erp":
            results.append(ws_psnr(result, high))
        else:
            results.append(psnr(luma(result), luma(high), border=scale if scale > 1 else 0))
    return float(np.mean(results))


class Training(lightning.LightningModule):
    """One network under one recipe.

    Args:
        network: to be trained.
        recipe: the run.
        photos: to cut patches from.
        images: for validation.
        flat: ordinary photographs beside panoramas, if the recipe wants some.
        fused: what computes the steps, if not torch.

    Attributes:
        flat_blocks: blocks whose scores hardly varied over the last batch.
    """

    quantiles: Tensor

    def __init__(
        self,
        network: Trainable,
        recipe: Recipe,
        photos: Photos,
        images: Images,
        *,
        flat: Photos | None = None,
        fused: FusedStep | None = None,
    ) -> None:
        super().__init__()
        self.flat = flat
        self.fused = fused
        self.network = network
        self.recipe = recipe
        self.photos = photos
        self.images = images
        self.stream = self._stream(recipe.seed)
        self.flat_blocks: list[int] = []
        self._began = time.perf_counter()
        low, _ = self.pairs(256, seed=recipe.seed + 1)
        detail = window_detail(low[:, :3], network.config.window).flatten()
        probability = torch.linspace(0.0, 1.0, 256, dtype=detail.dtype)
        self.register_buffer("quantiles", detail.quantile(probability))

    @property
    def elapsed(self) -> float:
        """Seconds trained, over all resumptions."""
        return time.perf_counter() - self._began

    def _stream(self, seed: int) -> PatchStream:
        recipe = self.recipe
        if recipe.degradation is not None:
            return DegradedStream(
                self.photos,
                patch=recipe.patch,
                seed=seed,
                degradation=recipe.degradation,
                shrink=recipe.shrink,
            )
        if self.flat is not None:
            return MixedStream(
                self.photos,
                self.flat,
                share=recipe.flat_share,
                scale=self.network.config.scale,
                patch=recipe.patch,
                seed=seed,
            )
        kind = PatchStream
        if recipe.projection == "erp":
            kind = FisheyeStream if recipe.reduction == "fisheye" else PanoramaStream
        return kind(
            self.photos,
            scale=self.network.config.scale,
            patch=recipe.patch,
            seed=seed,
            shrink=recipe.shrink,
        )

    def patches(self, count: int, *, seed: int) -> Tensor:
        """The first `count` patches of another stream than the one trained on."""
        stream = self._stream(seed)
        return torch.stack([stream.patch(number) for number in range(count)])

    def pairs(self, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """The same as low and high images."""
        return self._stream(seed).pairs(self.patches(count, seed=seed))

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches from where the run stands: step n sees the same ones, resumed or not."""
        batches = Batches(
            self.stream,
            size=self.recipe.batch,
            start=self.trainer.global_step,
            process=self.trainer.global_rank,
            processes=self.trainer.world_size,
        )
        return DataLoader(batches, batch_size=None)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """One item: the whole validation set is scored at once."""
        return DataLoader(TensorDataset(torch.zeros(1)))

    def _policy(self) -> Policy:
        """This step's policy, a function of the seed and the step alone."""
        recipe, step = self.recipe, self.global_step
        random = np.random.default_rng((recipe.seed, 1, step))
        first = step < recipe.attention_first * recipe.steps
        share = 1.0 if first else float(random.uniform(*recipe.shares))
        if recipe.routing == "detail":
            return TopShare(0.0 if random.random() < recipe.plain else share)
        generator = torch.Generator(self.device).manual_seed(int(random.integers(2**62)))
        if recipe.routing == "paper":
            return Stochastic(generator, noise_on="probabilities")
        progress = step / recipe.steps
        return Explore(
            share,
            generator,
            temperature=recipe.temperature * 0.1**progress,
            weight=recipe.routing_weight * min(1.0, 2.0 * progress) / max(1, self.network.block_count),
        )

    def _guide(self, routing: Routing, low: Tensor) -> Tensor:
        """The routing loss beside what the policy itself teaches."""
        recipe = self.recipe
        if recipe.routing == "paper":
            return recipe.routing_weight * paper_loss(routing, recipe.ratio)
        detail = window_detail(low[:, :3], self.network.config.window)
        guide = recipe.routing_weight * detail_loss(routing, percentile(detail, self.quantiles))
        if recipe.routing == "gain":  # detail first; later half of it, or noisy gains flatten the scores
            guide = guide * max(0.5, 1.0 - self.global_step / recipe.steps)
        return guide

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """L1 in [0, 1] units plus the weighted routing loss."""
        low, high = self.stream.pairs(batch)
        policy = self._policy()
        self._gains = policy.gains if isinstance(policy, Explore) else {}
        # the area that a row of pixels covers, of mean 1 over the sphere
        area = high[:, 3, :, 0] * (math.pi / 2.0) if self.recipe.projection == "erp" else None
        seen = low if self.network.config.latitude else low[:, :3]
        if self.fused is not None:
            assert isinstance(policy, TopShare)
            return self._fused_step(self.fused, policy, seen, high[:, :3], area)
        result, routing = self.network.route(seen, policy)
        if area is None:
            pixels = F.l1_loss(result.float(), high)
        else:
            pixels = ((result.float() - high[:, :3]).abs() * area[:, None, :, None]).mean()
        self.log("train/l1", pixels.detach(), sync_dist=True)
        if not routing.blocks:  # a network of one's own may do without mixers
            return pixels
        guide = self._guide(routing, low)
        scores = torch.stack([block.scores.detach().float().flatten() for block in routing.blocks])
        self._log_routing(guide, scores, routing.attention_share.mean().float())
        return pixels + guide

    def _fused_step(
        self, fused: FusedStep, policy: TopShare, low: Tensor, high: Tensor, area: Tensor | None
    ) -> Tensor:
        """The same without torch."""
        detail = window_detail(low[:, :3], self.network.config.window)
        losses = fused(
            low,
            high,
            share=policy.share,
            target=percentile(detail, self.quantiles),
            guide=self.recipe.routing_weight,
            weight=high.new_ones(len(high), high.shape[2]) if area is None else area,
        )
        self.log("train/l1", losses.pixels, sync_dist=True)
        attended = int(policy.share * detail.shape[1] + 0.5) / detail.shape[1]
        self._log_routing(losses.guide, losses.logits.sigmoid().flatten(1), torch.tensor(attended))
        return losses.total

    def _log_routing(self, guide: Tensor, scores: Tensor, share: Tensor) -> None:
        """The routing loss, what K blocks' scores, K x any, are like, and the share attended."""
        spread = scores.std(dim=1, correction=0)
        self.flat_blocks = (spread < FLAT).nonzero().flatten().tolist()
        self.log_dict(
            {
                "train/routing": guide.detach(),
                "train/score_spread": spread.mean(),
                "train/flat_blocks": float(len(self.flat_blocks)),
                "train/attention_share": share,
            },
            sync_dist=True,
        )

    def on_after_backward(self) -> None:
        """Log what attention is worth: its mean gain over the typical size of one."""
        if self._gains:
            gains = torch.cat([gains for gains, _ in self._gains.values()])
            self.log("train/gain", gains.mean() / gains.abs().mean().clamp(min=1e-12), sync_dist=True)

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Score the averaged weights at the recipe's ratio and at full attention."""
        recipe = self.recipe
        value = score(self.network, self.images, TopShare(recipe.ratio), recipe.projection)
        self.log("psnr", value, sync_dist=True)
        full = score(self.network, self.images, TopShare(1.0), recipe.projection)
        self.log("psnr_full", full, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Muon and AdamW, or AdamW alone; linear warm-up, then the recipe's decay or halvings.

        The layers between features and pixels learn at a tenth of the rate: they start at a
        least-squares solution, which full steps would shatter before the body has learnt anything.
        """
        recipe = self.recipe
        network = self.network
        near_pixels = [parameter for layer in ends(network) or () for parameter in layer.parameters()]
        matrices = [
            layer.weight
            for layer in network.modules()
            if recipe.optimizer == "muon" and _is_matrix(layer) and layer not in (ends(network) or ())
        ]
        known = {id(parameter) for parameter in (*near_pixels, *matrices)}
        others = [parameter for parameter in network.parameters() if id(parameter) not in known]
        groups: list[dict[str, Any]] = [
            {"params": others, "lr": recipe.learning_rate},
            {"params": near_pixels, "lr": 0.1 * recipe.learning_rate},
            {"params": matrices, "lr": recipe.matrix_rate, "muon": True},
        ]
        optimizer = MuonAdamW(
            [group for group in groups if group["params"]],
            betas=(0.9, recipe.beta2),
            weight_decay=recipe.weight_decay,
        )

        def factor(step: int) -> float:
            if step < recipe.warmup:
                return (step + 1) / recipe.warmup
            if recipe.halve_at:
                return 0.5 ** sum(step >= milestone for milestone in recipe.halve_at)
            falls = recipe.warmup + recipe.hold * (recipe.steps - recipe.warmup)
            part = min(1.0, max(0.0, step - falls) / max(1.0, recipe.steps - falls))
            left = 1.0 - part if recipe.decay == "linear" else 0.5 * (1.0 + math.cos(math.pi * part))
            return recipe.final + (1.0 - recipe.final) * left

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the clock along."""
        checkpoint["seconds"] = self.elapsed

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Put the clock forward."""
        self._began = time.perf_counter() - checkpoint["seconds"]


def _is_matrix(layer: nn.Module) -> TypeGuard[nn.Linear | nn.Conv2d]:
    """Whether Muon may have a layer's weight: of a linear layer or of a dense convolution."""
    if isinstance(layer, nn.Conv2d):
        return layer.groups == 1 and min(layer.in_channels, layer.out_channels) >= 8
    return isinstance(layer, nn.Linear) and min(layer.weight.shape) >= 8


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
        scale = _preset(recipe).scale
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
    if not isinstance(network, CAMixerSR):
        raise UsageError(
            f'recipe: kernels = "fused" is for classic networks, and {type(network).__name__} is none; '
            'use kernels = "torch"'
        )
    return FusedStep(network, recipe.patch, folder)


def _preset(recipe: Recipe) -> Config:
    """The network's shape: the recipe's preset, with its blocks and window."""
    if recipe.model not in presets():
        raise UnknownModelError(f"no preset {recipe.model!r}; there are {', '.join(presets())}")
    preset = presets()[recipe.model]
    return replace(preset, blocks=recipe.blocks or preset.blocks, window=recipe.window)


def _shape(recipe: Recipe, before: Model | None) -> Config:
    """The recipe's preset; one that was pruned stays as narrow as the weights it starts from."""
    config, given = _preset(recipe), before and before.config
    if isinstance(config, CAMixerSRConfig) and isinstance(given, CAMixerSRConfig):
        return replace(config, keys=given.keys, values=given.values, hidden=given.hidden)
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
    network = make(_shape(recipe, before))
    if before is not None:
        transfer(before.network, network)
    network.train().requires_grad_(True)
    put_out(network, recipe.without)
    return network, before


def _start_own(recipe: Recipe, network: Backbone) -> bool:
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
        trained, fresh = network, _start_own(recipe, network)
    else:
        trained, before = start_network(recipe)
        if before is not None and trained.config != _preset(recipe):
            name = name or before.name
        fresh = before is None or before.network.config.scale != trained.config.scale
    scale = trained.config.scale
    way = FISHEYES if recipe.reduction == "fisheye" else BICUBIC
    if recipe.validation:
        damage = recipe.degradation
        way = way if damage is None else degrading(damage.only(damage.at(0.5)))
        benchmark = open_set(recipe.validation, way)
        measured, images = benchmark.name, _read(benchmark, scale)
    elif recipe.degradation is not None:
        measured, images = "held out", _degraded(held_out, recipe.degradation)
    else:
        measured, images = "held out", _reduced(held_out, scale, way)
    fused = fused_step(trained, recipe, cache)
    training = Training(trained, recipe, photos, images, flat=flat, fused=fused)
    if fresh and ends(trained):
        low, high = training.pairs(64, seed=recipe.seed + 2)
        initialise_linear(trained, low, high, tail_only=before is not None)
    if recipe.attention_afresh:
        if not isinstance(trained, CAMixerSR):
            raise UsageError(
                f"recipe: attention_afresh is for classic networks, and {type(trained).__name__} is none; "
                "leave it out"
            )
        low, _ = training.pairs(64, seed=recipe.seed + 3)
        restart_attention(trained, low if trained.config.latitude else low[:, :3])

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # its hardware report and tips
    trainer, stopper = _trainer(recipe, trained)
    last = output / "checkpoints" / "last.ckpt"
    try:
        with warnings.catch_warnings():
            # Lightning advises workers and a logger of its own; the stream is cheaper than a worker.
            warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
            checkpoint = str(last) if resume and last.exists() else None
            torch.set_flush_denormal(True)  # momenta of idle layers fade into them, 3x slower on a CPU
            trainer.fit(training, ckpt_path=checkpoint, weights_only=False)
    except OSError as error:
        raise OutputError(
            f"{output}: cannot write ({error.strerror or error}); the last checkpoint is whole: make "
            "room and run again with --resume"
        ) from error
    finally:
        torch.set_flush_denormal(False)
        if fused is not None:
            fused.close()
    known_as = recipe.model.replace("-x1", f"-{recipe.task}")  # "s-jpeg" is a preset s-x1 that was trained
    file = output / f"{name or known_as}.safetensors"
    if stopper.stopped or trainer.interrupted:
        raise KeyboardInterrupt
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
        _provenance(recipe, before, hours, str(trainer.strategy.root_device)),
        restores=recipe.degradation,
    )
    scores = {
        f"{measured}/{ratio:g}": round(score(trained, images, model.policy(ratio), recipe.projection), 3)
        for ratio in (0.0, 0.25, 0.5, 1.0)
    }
    save(file, replace(model, scores=scores))
    return file


def _trainer(recipe: Recipe, network: Trainable) -> tuple[lightning.Trainer, Stopper]:
    """Lightning's trainer for a recipe, and the callback that knows whether it was stopped."""
    output = Path(recipe.output)
    if recipe.compile:
        for part in network.modules():
            if isinstance(
                part, FeedForward | OmniFeedForward
            ):  # the same at every step, where mixers route anew
                part.compile()
    # torchrun has started the processes already, and says so in the environment
    devices = int(os.environ.get("LOCAL_WORLD_SIZE", recipe.devices))
    nodes = int(os.environ.get("GROUP_WORLD_SIZE", 1))
    many = devices * nodes > 1
    stopper = Stopper(str(output / "checkpoints" / "last.ckpt"))
    trainer = lightning.Trainer(
        accelerator="auto" if recipe.kernels == "torch" else "cpu",
        devices=devices,
        num_nodes=nodes,
        # a block that attends nothing leaves its queries, keys and offsets without gradients
        strategy=DDPStrategy(find_unused_parameters=True) if many else "auto",
        precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
        max_steps=recipe.steps,
        val_check_interval=recipe.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.clip,
        logger=TensorBoardLogger(output, name="log", version=0),
        plugins=[WholeCheckpoints()],
        callbacks=[
            Pictures(),  # before the average goes back to its place
            EMAWeightAveraging(decay=recipe.ema),
            stopper,
            SaturationAlarm(),
            Progress(),
            ModelCheckpoint(  # the best; Lightning's own `save_last` only follows when one is better
                output / "checkpoints",
                filename="{step}-{psnr:.3f}",
                monitor="psnr",
                mode="max",
                save_top_k=recipe.keep,
            ),
            ModelCheckpoint(  # the last
                output / "checkpoints", filename="last", enable_version_counter=False
            ),
        ],
        enable_progress_bar=False,
        enable_model_summary=False,
        log_every_n_steps=max(1, min(20, recipe.steps // 50)),
    )
    return trainer, stopper


def _provenance(recipe: Recipe, before: Model | None, hours: float, device: str) -> dict[str, str]:
    """Where weights come from; steps and hours add up over legs at one scale."""
    facts = {
        "data": recipe.data,
        "licences": recipe.licences,
        "device": f"{device}, {os.cpu_count()} CPU cores",
        "torch": torch.__version__,
    }
    steps, legs = recipe.steps, 1
    if before is not None:
        known = before.provenance
        if "pruned" in known:
            facts["pruned"] = known["pruned"]
        if before.config == _shape(recipe, before) and before.restores == recipe.degradation:
            steps += int(known.get("steps", 0))
            hours += float(known.get("hours", 0))
            legs += int(known.get("legs", 1))
        else:
            facts["start"] = f"{before.name} ({known.get('steps', '?')} steps)"
    return {**facts, "steps": str(steps), "hours": f"{hours:.2f}", "legs": str(legs)}


def _reduced(photos: Photos, scale: int, way: Reduction) -> Images:
    """Photographs as validation pairs."""
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for number in range(len(photos)):
        height, width = (length // scale for length in photos.sizes[number])
        high = photos.photo(number)[: scale * height, : scale * width]
        pairs.append((way.make(high, scale), high))
    return pairs


def _degraded(photos: Photos, degradation: Degradation) -> Images:
    """The middles of photographs as validation pairs, each with another amount of the degradation."""
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]] = []
    for number in range(len(photos)):
        photo = photos.photo(number)
        height, width = (min(SIDE, length) for length in photo.shape[:2])
        top, left = (photo.shape[0] - height) // 2, (photo.shape[1] - width) // 2
        high = photo[top : top + height, left : left + width]
        amount = degradation.at(number / max(1, len(photos) - 1))
        pairs.append((degradation.apply(high, amount, seed=number), high))
    return pairs


def _read(benchmark: BenchmarkSet, scale: int) -> Images:
    """The validation pictures; all of them, or none."""
    if benchmark.problems:
        raise InputError(benchmark.problems[0])
    return [pair.read(scale) for pair in benchmark.pairs]
