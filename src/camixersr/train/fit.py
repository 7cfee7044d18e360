"""The training loop: a Lightning module, and `fit`, which runs a recipe from start to weights."""

import math
import os
import sys
import time
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch.callbacks import EMAWeightAveraging, ModelCheckpoint, TQDMProgressBar
from lightning.pytorch.loggers import TensorBoardLogger
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, TensorDataset

from camixersr.data import SUFFIXES, BenchmarkSet, open_set
from camixersr.errors import InputError, UnknownModelError
from camixersr.metrics import luma, psnr
from camixersr.models import PRESETS, CAMixerSR
from camixersr.nn.detail import window_detail
from camixersr.nn.routing import Policy, Stochastic, TopShare
from camixersr.train.calibrate import calibrate
from camixersr.train.initialise import initialise_linear
from camixersr.train.objective import detail_loss, paper_loss, percentile
from camixersr.train.photos import PatchStream, Photos, load_photos, reduce
from camixersr.train.recipe import Recipe
from camixersr.weights import Model, load_file, save

__all__ = ["fit", "score"]

Images = Sequence[tuple[NDArray[np.uint8], NDArray[np.uint8]]]


@torch.no_grad()
def score(network: CAMixerSR, images: Images, policy: Policy) -> float:
    """Mean luma PSNR over benchmark pairs, border of `scale` pixels cropped, 8-bit rounding first.

    Args:
        network: on any device.
        images: low and high, uint8 RGB, each.
        policy: who chooses the windows.

    Returns:
        dB.
    """
    device = next(network.parameters()).device
    scale = network.config.scale
    results: list[float] = []
    for low, high in images:
        image = torch.from_numpy(low.copy()).permute(2, 0, 1)[None].to(device).float() / 255.0
        out = (network(image, policy)[0].float() * 255.0).round().clamp(0, 255)
        result = out.byte().permute(1, 2, 0).cpu().numpy()
        results.append(psnr(luma(result), luma(high), border=scale))
    return float(np.mean(results))


class Training(lightning.LightningModule):
    """One network under one recipe."""

    quantiles: Tensor

    def __init__(self, network: CAMixerSR, recipe: Recipe, photos: Photos, images: Images) -> None:
        super().__init__()
        self.network = network
        self.recipe = recipe
        self.photos = photos
        self.images = images
        sample = self.patches(256, seed=recipe.seed + 1)
        low, _ = reduce(sample, network.config.scale)
        detail = window_detail(low, network.config.window).flatten()
        probability = torch.linspace(0.0, 1.0, 256, dtype=detail.dtype)
        self.register_buffer("quantiles", detail.quantile(probability))

    def patches(self, count: int, *, seed: int) -> Tensor:
        """The first `count` patches of another stream than the one trained on."""
        stream = PatchStream(
            self.photos, scale=self.network.config.scale, patch=self.recipe.patch, seed=seed
        )
        return torch.stack([stream.patch(number) for number in range(count)])

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Patches from where the run stands: step n sees the same ones, resumed or not."""
        stream = PatchStream(
            self.photos,
            scale=self.network.config.scale,
            patch=self.recipe.patch,
            seed=self.recipe.seed,
            start=self.trainer.global_step * self.recipe.batch,
        )
        return DataLoader(stream, batch_size=self.recipe.batch)

    def val_dataloader(self) -> DataLoader[tuple[Tensor, ...]]:
        """One item: the whole validation set is scored at once."""
        return DataLoader(TensorDataset(torch.zeros(1)))

    def _policy(self) -> Policy:
        """This step's policy, a function of the seed and the step alone."""
        recipe = self.recipe
        random = np.random.default_rng((recipe.seed, 1, self.global_step))
        if recipe.routing == "paper":
            generator = torch.Generator(self.device).manual_seed(int(random.integers(2**62)))
            return Stochastic(generator, noise_on="probabilities")
        if self.global_step < recipe.attention_first * recipe.steps:
            return TopShare(1.0)
        return TopShare(float(random.random()))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """L1 in [0, 1] units plus the weighted routing loss."""
        low, high = reduce(batch, self.network.config.scale)
        result, routing = self.network.route(low, self._policy())
        pixels = F.l1_loss(result, high)
        if self.recipe.routing == "paper":
            guide = paper_loss(routing, self.recipe.ratio)
        else:
            detail = window_detail(low, self.network.config.window)
            guide = detail_loss(routing, percentile(detail, self.quantiles))
        loss = pixels + self.recipe.routing_weight * guide
        scores = torch.stack([block.scores.detach() for block in routing.blocks])
        self.log_dict(
            {
                "train/l1": pixels.detach(),
                "train/routing": guide.detach(),
                "train/score_spread": scores.std(dim=(1, 2)).mean(),
                "train/attention_share": routing.attention_share.mean().float(),
            }
        )
        return loss

    def validation_step(self, batch: list[Tensor], batch_idx: int) -> None:
        """Score the averaged weights at the recipe's ratio and at full attention."""
        value = score(self.network, self.images, TopShare(self.recipe.ratio))
        self.log("psnr", value, prog_bar=True)
        self.log("psnr_full", score(self.network, self.images, TopShare(1.0)))

    def configure_optimizers(self) -> Any:
        """AdamW; linear warm-up, then a cosine to zero.

        The layers between features and pixels learn at a tenth of the rate: they start at a
        least-squares solution, which full steps would shatter before the body has learnt anything.
        """
        recipe = self.recipe
        network = self.network
        near_pixels = [
            parameter
            for layer in (network.head, network.body_tail, network.tail)
            for parameter in layer.parameters()
        ]
        known = {id(parameter) for parameter in near_pixels}
        others = [parameter for parameter in network.parameters() if id(parameter) not in known]
        optimizer = torch.optim.AdamW(
            [
                {"params": others, "lr": recipe.learning_rate},
                {"params": near_pixels, "lr": 0.1 * recipe.learning_rate},
            ],
            betas=(0.9, 0.999),
            weight_decay=recipe.weight_decay,
        )

        def factor(step: int) -> float:
            if step < recipe.warmup:
                return (step + 1) / recipe.warmup
            part = (step - recipe.warmup) / max(1, recipe.steps - recipe.warmup)
            return 0.5 * (1.0 + math.cos(math.pi * min(1.0, part)))

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def fit(recipe: Recipe, *, resume: bool = False, name: str = "") -> Path:
    """Run a recipe: train, calibrate on the held-out photographs, score, and write the weights.

    Args:
        recipe: the run.
        resume: continue from the last checkpoint in the recipe's output folder, if there is one.
        name: of the model in its file; the recipe's preset by default.

    Returns:
        The file of weights, `<output>/<name>.safetensors`.

    Raises:
        UnknownModelError: the recipe's preset does not exist.
        InputError: no usable photographs or no validation pairs.
        OutputError: the output folder cannot be written.
        CheckpointError: the weights to start from do not load.
    """
    if recipe.model not in PRESETS:
        raise UnknownModelError(f"no preset {recipe.model!r}; there are {', '.join(PRESETS)}")
    config = PRESETS[recipe.model]
    output = Path(recipe.output)
    files = sorted(file for file in Path(recipe.photos).rglob("*") if file.suffix.lower() in SUFFIXES)
    smallest = PatchStream.side_of(scale=config.scale, patch=recipe.patch)
    kept = [file for number, file in enumerate(files) if number % recipe.holdout]
    photos = load_photos(kept, output / "cache", smallest=smallest)
    held_out = load_photos(files[:: recipe.holdout], output / "cache", smallest=smallest)
    benchmark = open_set(recipe.validation)
    images = _read(benchmark, config.scale)

    torch.manual_seed(recipe.seed)
    network = load_file(recipe.start).network if recipe.start else CAMixerSR(config)
    network.train().requires_grad_(True)
    training = Training(network, recipe, photos, images)
    if not recipe.start:
        low, high = reduce(training.patches(64, seed=recipe.seed + 2), config.scale)
        initialise_linear(network, low, high)

    checkpoints = ModelCheckpoint(
        output / "checkpoints",
        filename="{step}-{psnr:.3f}",
        monitor="psnr",
        mode="max",
        save_last=True,
        save_top_k=1,
    )
    terminal = sys.stderr.isatty()  # a log file has no use for a bar; TensorBoard has the curves
    trainer = lightning.Trainer(
        accelerator="auto",
        devices=1,
        max_steps=recipe.steps,
        val_check_interval=recipe.validate_every,
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        gradient_clip_val=recipe.clip,
        logger=TensorBoardLogger(output, name="log", version=0),
        callbacks=[
            EMAWeightAveraging(decay=recipe.ema),
            checkpoints,
            *([TQDMProgressBar(refresh_rate=20)] if terminal else []),
        ],
        enable_progress_bar=terminal,
        enable_model_summary=False,
        log_every_n_steps=20,
    )
    last = output / "checkpoints" / "last.ckpt"
    began = time.perf_counter()
    with warnings.catch_warnings():
        # Lightning advises workers and a logger of its own; the stream is cheaper than a worker.
        warnings.filterwarnings("ignore", module=r"lightning(\.|$)")
        trainer.fit(training, ckpt_path=str(last) if resume and last.exists() else None, weights_only=False)
    hours = (time.perf_counter() - began) / 3600
    if trainer.interrupted:
        raise KeyboardInterrupt

    network.eval().requires_grad_(False)
    model = Model(
        name or recipe.model,
        network,
        calibration=calibrate(network, [held_out.photo(i) for i in range(len(held_out))]),
        provenance={
            "data": recipe.data,
            "licences": recipe.licences,
            "steps": str(recipe.steps),
            "hours": f"{hours:.2f}",
            "device": f"{trainer.strategy.root_device}, {os.cpu_count()} CPU cores",
            "torch": torch.__version__,
        },
    )
    scores = {
        f"{benchmark.name}/{ratio:g}": round(score(network, images, model.policy(ratio)), 3)
        for ratio in (0.0, 0.25, 0.5, 1.0)
    }
    file = output / f"{model.name}.safetensors"
    save(file, Model(model.name, network, model.calibration, model.provenance, scores))
    return file


def _read(benchmark: BenchmarkSet, scale: int) -> Images:
    """The validation pictures; all of them, or none."""
    if benchmark.problems:
        raise InputError(benchmark.problems[0])
    return [pair.read(scale) for pair in benchmark.pairs]
