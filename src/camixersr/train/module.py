"""A run as Lightning sees it: what a step is, what validation is, what a checkpoint holds."""

import math
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from camixersr.models import Trainable, classic
from camixersr.models.detail import window_detail
from camixersr.nn.predictor import Predictor
from camixersr.nn.routing import Policy, Routing, TopShare
from camixersr.train.alarms import measure, middle
from camixersr.train.allotment import Allotment, measure_allotment
from camixersr.train.fused import FusedStep, Patch
from camixersr.train.loop import Learning
from camixersr.train.objective import (
    detach_scores,
    detail_loss,
    gate_loss,
    paper_loss,
    percentile,
    pixel_loss,
)
from camixersr.train.photos import (
    Batches,
    DegradedStream,
    FisheyeStream,
    MixedStream,
    PanoramaStream,
    PatchStream,
    Photos,
)
from camixersr.train.policies import AtLeast, Explore, RecentScores, Stochastic
from camixersr.train.rates import factor, make_optimizer
from camixersr.train.recipe import Recipe
from camixersr.train.score import Images, score
from camixersr.train.teacher import Hints, TaughtStream

__all__ = ["Training"]

MEASURED = 24
"""Validation pictures on which it is measured what attention is worth."""

FLAT = 0.01
"""Standard deviation of a block's scores over a batch below which it no longer chooses."""


class Training(Learning):
    """One network under one recipe.

    Args:
        network: to be trained.
        recipe: the run.
        photos: to cut patches from.
        images: for validation.
        flat: ordinary photographs beside panoramas, if the recipe wants some.
        answers: a teacher's, to the photographs.
        fused: what computes the steps, if not torch.
        teacher: a teacher that works beside the network, as its own `FusedStep`.
        hints: what compares the two.

    Attributes:
        flat_blocks: blocks whose scores hardly varied over the last batch.
        allotment: what attention is worth in each block, as measured last; None before that.
        earlier: what checkpoints tell of the legs before this run, see `provenance.earlier`.
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
        answers: Photos | None = None,
        fused: FusedStep | None = None,
        teacher: FusedStep | None = None,
        hints: Hints | None = None,
    ) -> None:
        super().__init__()
        self.flat = flat
        self.answers = answers
        self.fused = fused
        self.teacher = teacher
        self.hints = hints
        self.network = network
        self.recipe = recipe
        self.photos = photos
        self.images = images
        self.stream = self._stream(recipe.seed)
        self.recent = RecentScores(network.block_count)
        self.allotment: Allotment | None = None
        self.flat_blocks: list[int] = []
        self.earlier: dict[str, str] = {}
        self._gates: list[Tensor] = []
        if recipe.routing != "paper":
            detach_scores(network)
        for module in network.modules():
            if isinstance(module, Predictor) and fused is None:
                module.spatial.register_forward_hook(self._see_gate)
        low, _ = self.pairs(256, seed=recipe.seed + 1)
        detail = window_detail(low[:, :3], network.config.window).flatten()
        probability = torch.linspace(0.0, 1.0, 256, dtype=detail.dtype)
        self.register_buffer("quantiles", detail.quantile(probability))

    def _see_gate(self, module: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
        if self.training and torch.is_grad_enabled():
            self._gates.append(out.float().mean(dim=(1, 2, 3)))

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
        if self.answers is not None:
            scale = self.network.config.scale
            return TaughtStream(self.photos, self.answers, scale=scale, patch=recipe.patch, seed=seed)
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

    def _share(self) -> float:
        """What this step attends, a function of the seed and the step alone."""
        recipe, step = self.recipe, self.global_step
        random = np.random.default_rng((recipe.seed, 1, step))
        if step < recipe.attention_first * recipe.steps:
            return 1.0
        share = float(random.uniform(*recipe.shares))
        if recipe.routing != "detail":
            return share
        drawn = random.random()
        return 0.0 if drawn < recipe.plain else 1.0 if drawn >= 1.0 - recipe.full else share

    def _shares(self) -> float | Tensor:
        """The same for each block, likewise, once it is known what attention is worth in them."""
        share = self._share()
        random = np.random.default_rng((self.recipe.seed, 3, self.global_step))
        if self.allotment is None or random.random() >= self.recipe.allot:
            return share
        return self.allotment.shares(share)

    def _policy(self) -> Policy:
        """This step's policy, a function of the seed, the step and the scores seen so far."""
        recipe, step = self.recipe, self.global_step
        if recipe.routing == "detail":
            return AtLeast(self.recent.least(self._shares()))
        draw = int(np.random.default_rng((recipe.seed, 2, step)).integers(2**62))
        generator = torch.Generator(self.device).manual_seed(draw)
        if recipe.routing == "paper":
            return Stochastic(generator, noise_on="probabilities")
        progress = step / recipe.steps
        return Explore(
            self._share(),
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

    def _pixels(self, result: Tensor, high: Tensor, told: Tensor | None, rows: Tensor | None) -> Tensor:
        """The loss of pictures to photographs and, where there is one, to a teacher's answers."""
        recipe = self.recipe
        part = recipe.teacher_weight if told is not None else 0.0
        loss = result.new_zeros(())
        if part < 1.0:
            loss = loss + (1.0 - part) * pixel_loss(recipe.loss, result, high, rows)
        if told is not None and part > 0.0:
            loss = loss + part * pixel_loss(recipe.loss, result, told, rows)
        return loss

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        """The loss of pixels in [0, 1] units, plus the weighted ones of routing and gates."""
        low, high = self.stream.pairs(batch)
        policy = self._policy()
        self._gains = policy.gains if isinstance(policy, Explore) else {}
        # the area that a row of pixels covers, of mean 1 over the sphere
        area = high[:, 3, :, 0] * (math.pi / 2.0) if self.recipe.projection == "erp" else None
        told = high[:, 3:] if self.answers is not None else None
        seen = low if self.network.config.latitude else low[:, :3]
        if self.fused is not None:
            assert isinstance(policy, AtLeast)
            return self._fused_step(self.fused, policy, seen, high[:, :3], told, area)
        self._gates.clear()
        result, routing = self.network.route(seen, policy)
        pixels = self._pixels(result.float(), high[:, :3], told, area)
        self.log("train/pixels", pixels.detach(), sync_dist=True)
        if not routing.blocks:  # a network of one's own may do without mixers
            return pixels
        guide = self._guide(routing, low)
        gates = pixels.new_zeros(())
        if self._gates:
            gates = self.recipe.gate_weight * gate_loss(torch.stack(self._gates, dim=1))
        logits = torch.stack([block.logits.detach().float() for block in routing.blocks])
        self._log_routing(guide, logits, routing.attention_share.mean().float())
        return pixels + guide + gates

    def _fused_step(
        self,
        fused: FusedStep,
        policy: AtLeast,
        low: Tensor,
        high: Tensor,
        told: Tensor | None,
        area: Tensor | None,
    ) -> Tensor:
        """The same without torch."""
        hints, weight = self.hints, self.recipe.hint_weight

        def loss(number: int, made: Patch, beside: Patch | None) -> Tensor:
            one = slice(number, number + 1)
            answer = beside.high[None] if beside is not None else None if told is None else told[one]
            rows = None if area is None else area[one]
            value = self._pixels(made.high[None], high[one], answer, rows)
            if hints is not None and beside is not None:
                value = value + weight * hints(made.features, beside.features)
            return value / len(high)

        detail = window_detail(low[:, :3], self.network.config.window)
        losses = fused(
            low,
            loss,
            least=policy.least,
            target=percentile(detail, self.quantiles),
            guide=self.recipe.routing_weight,
            gates=self.recipe.gate_weight,
            beside=[] if hints is None else list(hints.parameters()),
            teacher=self.teacher,
        )
        self.log("train/pixels", losses.pixels, sync_dist=True)
        self.log("train/gates", losses.gates, sync_dist=True)
        attended = (losses.logits >= policy.least[:, None, None]).float().mean()
        self._log_routing(losses.guide, losses.logits, attended)
        return losses.total

    def _log_routing(self, guide: Tensor, logits: Tensor, share: Tensor) -> None:
        """The routing loss, what K blocks' scores are like (K x B x N log-odds), and the share attended."""
        seen = logits
        if self.trainer.world_size > 1:  # all processes remember all windows
            seen = torch.cat(list(cast(Tensor, self.all_gather(logits))), dim=1)
        self.recent.add(seen)
        spread = logits.sigmoid().flatten(1).std(dim=1, correction=0)
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
        """Score the averaged weights along the dial, and look into them."""
        recipe = self.recipe
        value = score(self.network, self.images, TopShare(recipe.ratio), recipe.projection)
        self.log("psnr", value, sync_dist=True)
        full = score(self.network, self.images, TopShare(1.0), recipe.projection)
        self.log("psnr_full", full, sync_dist=True)
        if (own := classic(self.network)) is not None:
            for name, number in measure(own, self.images, recipe.projection).items():
                self.log(f"alarm/{name}", number, sync_dist=True)
        if recipe.allot:
            some = self.images[:: max(1, len(self.images) // MEASURED)][:MEASURED]
            cut = [middle(*pair, self.network.config.scale) for pair in some]
            self.allotment = measure_allotment(self.network, cut)

    def configure_optimizers(self) -> Any:
        """See `camixersr.train.rates`."""
        beside = [] if self.hints is None else self.hints.parameters()
        optimizer = make_optimizer(self.network, self.recipe, beside)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factor(self.recipe, step))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take along the clock, the recent scores, and what weights alone do not tell of the network."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["recent_scores"] = self.recent.known
        checkpoint["allotment"] = (
            None if self.allotment is None else (self.allotment.level, self.allotment.slope)
        )
        checkpoint["pool"] = getattr(self.network.config, "pool", 0)
        checkpoint["earlier"] = self.earlier

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where the clock and the recent scores were."""
        super().on_load_checkpoint(checkpoint)
        if "recent_scores" in checkpoint:
            self.recent.known = checkpoint["recent_scores"]
        if checkpoint.get("allotment") is not None:
            self.allotment = Allotment(*checkpoint["allotment"])
