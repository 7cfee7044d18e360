"""A ClassSR as the loop sees it: first its classifier over the frozen network, then both together.

Three losses, as published (`camixersr.models.classsr`): L1 between the photograph and the classes'
results blended by their probabilities; one that makes the classifier sure; one that makes classes
equally many. Pieces of photographs larger than a patch are trained on, so that what a patch's
windows see around it is what they see in a picture.

Differs from the paper's code, whose classes are networks of different size: attention ratios of one
network differ by little, and by how little depends on the network. L1 is therefore counted in units
of what the classes differ by from patch to patch; and the classifier is made sure bit by bit, or it
would be sure before it knows.
"""

import math
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from camixersr.backends.folded import Folded
from camixersr.models import CAMixerSR, PatchClassifier
from camixersr.models.classes import CLASSES, PATCH
from camixersr.models.classsr import average_loss, blend, class_loss
from camixersr.nn.routing import Policy
from camixersr.train.class_recipe import ClassRecipe
from camixersr.train.loop import Learning
from camixersr.train.photos import Batches, PatchStream, reduce

__all__ = ["Alone", "Bank", "Classifying", "Jointly", "Say", "Setup", "told_ten_times"]

TOLD = 100
"""Pieces between two lines of progress."""

THIN = 2
"""Every so-many-th pixel, down and across, is compared in the classifier's own steps."""

Say = Callable[[str], None]
"""Told how a run goes, now and then."""

Made = tuple[Tensor, Tensor, Sequence[Tensor]]
"""Low and high pieces, and what each class makes of them."""


@dataclass(frozen=True)
class Bank:
    """Pieces of photographs and what every class makes of them; of the high ones every `THIN`-th pixel.

    Attributes:
        low: N x 3 x P x P uint8.
        high: N x 3 x sP/2 x sP/2 uint8.
        made: classes x N x 3 x sP/2 x sP/2 float16.
    """

    low: Tensor
    high: Tensor
    made: Tensor

    @property
    def unit(self) -> float:
        """Deviation, over patches, of the L1 that the last class saves against the first."""
        side = PATCH * self.high.shape[-1] // self.low.shape[-1]
        errors = [
            F.avg_pool2d((made.float() - self.high / 255.0).abs().mean(dim=1), side)
            for made in (self.made[0], self.made[-1])
        ]
        return float((errors[0] - errors[1]).std()) or 1.0

    @classmethod
    @torch.no_grad()
    def of(
        cls,
        networks: Sequence[CAMixerSR],
        policies: Sequence[Policy],
        stream: PatchStream,
        pieces: int,
        say: Say = lambda line: None,
    ) -> "Bank":
        """Let every class compute the first pieces of a stream.

        Args:
            networks: one a class, or one for all.
            policies: one a class.
            stream: of pieces.
            pieces: how many.
            say: told how far it is, now and then.
        """
        device, scale = next(networks[0].parameters()).device, networks[0].config.scale
        routes = [Folded(each).route if device.type == "cpu" else each.route for each in networks]
        routes *= len(policies) // len(routes)
        ways = list(zip(routes, policies, strict=True))
        lows: list[Tensor] = []
        highs: list[Tensor] = []
        made: list[Tensor] = []
        began = time.perf_counter()
        for number in range(pieces):
            low, high = reduce(stream.patch(number)[None].to(device), scale)
            results = [route(low, policy)[0][..., ::THIN, ::THIN] for route, policy in ways]
            lows.append((low * 255.0).round().byte())
            highs.append((high[..., ::THIN, ::THIN] * 255.0).round().byte())
            made.append(torch.stack(results).half())
            if (number + 1) % TOLD == 0 or number + 1 == pieces:
                each = (time.perf_counter() - began) / (number + 1)
                say(f"piece {number + 1} of {pieces}, {each:.2f} s each")
        return cls(torch.cat(lows), torch.cat(highs), torch.cat(made, dim=1))


@dataclass(frozen=True)
class Setup:
    """What both phases train.

    Attributes:
        network: in evaluation mode.
        classifier: of its patches.
        policies: one a class.
        recipe: the run.
        say: told how it goes, ten times a phase.
    """

    network: CAMixerSR
    classifier: PatchClassifier
    policies: Sequence[Policy]
    recipe: ClassRecipe
    say: Say = lambda line: None


class Classifying(Learning, ABC):
    """One phase of a ClassSR under its recipe.

    Attributes:
        name: of the phase.
        steps: of it.
        rate: of AdamW, at its highest.
        unit: of L1 in the loss, in [0, 1] steps of brightness; measured on the bank.

    Args:
        setup: what is trained.
        unit: see above.
        seconds: trained before.
    """

    name: str
    steps: int
    rate: float

    def __init__(self, setup: Setup, *, unit: float, seconds: float) -> None:
        super().__init__(seconds)
        self.network, self.classifier, self.recipe = setup.network, setup.classifier, setup.recipe
        self.policies, self.say, self.unit = tuple(setup.policies), setup.say, unit
        self._seen: dict[str, Tensor] = {}
        self._first = self._told = 0
        self._clock = 0.0

    def learning(self) -> Iterable[nn.Parameter]:
        """What learns."""
        return self.classifier.parameters()

    def sureness(self, part: float) -> float:
        """The factor to the class loss when so much of the phase is done."""
        return 1.0

    @abstractmethod
    def made(self, batch: Any) -> Made:
        """What a step compares."""

    @abstractmethod
    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches, from where the run stands."""

    def losses(self, low: Tensor, high: Tensor, made: Sequence[Tensor]) -> dict[str, Tensor]:
        """The three losses of a batch, unweighted.

        Args:
            low: B x 3 x P x P in [0, 1].
            high: B x 3 x Q x Q in [0, 1].
            made: of `low` by each class, as `high`.

        Returns:
            "pixels", "class" and "average", scalars; and "shares", of patches in each class.
        """
        probabilities = self.classifier(low).softmax(dim=1)
        blended = blend(probabilities, made, PATCH * high.shape[-1] // low.shape[-1])
        chosen = F.one_hot(probabilities.detach().argmax(dim=1), CLASSES).float()
        return {
            "pixels": F.l1_loss(blended, high),
            "class": class_loss(probabilities),
            "average": average_loss(probabilities),
            "shares": chosen.mean(dim=(0, 1, 2)),
        }

    def loss(self, losses: dict[str, Tensor], sureness: float = 1.0) -> Tensor:
        """The weighted sum; `sureness` is a factor to the class loss."""
        recipe = self.recipe
        return (
            recipe.pixel_weight / self.unit * losses["pixels"]
            + sureness * recipe.class_weight * losses["class"]
            + recipe.average_weight * losses["average"]
        )

    def training_step(self, batch: Any, batch_idx: int) -> Tensor:
        """The weighted losses of a batch."""
        losses = self.losses(*self.made(batch))
        for key, value in losses.items():
            self._seen[key] = self._seen.get(key, 0.0) + value.detach()
        return self.loss(losses, self.sureness((self.global_step + 1) / self.steps))

    def configure_optimizers(self) -> Any:
        """AdamW without decay; its rate falls to zero as a cosine."""
        optimizer = torch.optim.AdamW(list(self.learning()), lr=self.rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / self.steps)))
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_train_start(self) -> None:
        """Start counting."""
        self._first = self._told = self.global_step
        self._clock = time.perf_counter()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Tell the means since they were told last."""
        step = self.global_step
        if step < self.steps and step % told_ten_times(self.steps):
            return
        mean = {key: value / (step - self._told) for key, value in self._seen.items()}
        shares = " ".join(f"{100 * share:.0f} %" for share in mean.pop("shares").tolist())
        self.log_dict({f"{self.name}/{key}": value for key, value in mean.items()})
        said = ", ".join(f"{key} {float(value):.5f}" for key, value in mean.items())
        each = (time.perf_counter() - self._clock) / (step - self._first)
        self.say(f"{self.name} {step} of {self.steps}: {said}, classes {shares}, {each:.2f} s a step")
        self._told, self._seen = step, {}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take along the clock and the unit."""
        super().on_save_checkpoint(checkpoint)
        checkpoint["unit"] = self.unit

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on with them."""
        super().on_load_checkpoint(checkpoint)
        self.unit = checkpoint["unit"]


def told_ten_times(steps: int) -> int:
    """Steps between two lines of a phase, and its checkpoints."""
    return max(1, steps // 10)


class Alone(Classifying):
    """The first phase: the network frozen, sureness growing from nothing.

    Args:
        setup: what is trained.
        bank: what the classes make of pieces.
        seconds: trained before.
    """

    name = "classifier"

    def __init__(self, setup: Setup, bank: Bank, *, seconds: float = 0.0) -> None:
        super().__init__(setup, unit=bank.unit, seconds=seconds)
        self.bank, self.steps, self.rate = bank, self.recipe.steps, self.recipe.learning_rate
        self.network.requires_grad_(False)

    def sureness(self, part: float) -> float:
        """As much as is done."""
        return part

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Numbers of pieces, from where the run stands."""
        draws = _Draws(len(self.bank.low), self.recipe.batch, self.recipe.seed, self.global_step)
        return DataLoader(draws, batch_size=None)

    def made(self, batch: Tensor) -> Made:
        """Pieces of the bank."""
        bank, some = self.bank, batch.to(self.bank.low.device)
        made = [each[some].float() for each in bank.made]
        return bank.low[some] / 255.0, bank.high[some] / 255.0, made


class _Draws(IterableDataset[Tensor]):
    """Numbers of pieces for each step from `start`, out of so many."""

    def __init__(self, pieces: int, batch: int, seed: int, start: int) -> None:
        self.pieces, self.batch, self.seed, self.start = pieces, batch, seed, start

    def __iter__(self) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(self.seed)
        step = 0
        while True:
            some = torch.randint(self.pieces, (self.batch,), generator=generator)
            if step >= self.start:
                yield some
            step += 1


class Jointly(Classifying):
    """The second phase: classifier and network, on pieces that follow the bank's.

    Args:
        setup: what is trained.
        stream: of pieces.
        unit: as the first phase had it.
        seconds: trained before.
    """

    name = "jointly"

    def __init__(self, setup: Setup, stream: PatchStream, *, unit: float, seconds: float = 0.0) -> None:
        super().__init__(setup, unit=unit, seconds=seconds)
        self.stream, self.steps, self.rate = stream, self.recipe.joint_steps, self.recipe.joint_rate
        self.network.requires_grad_(True)

    def learning(self) -> Iterable[nn.Parameter]:
        """Both."""
        return [*self.classifier.parameters(), *self.network.parameters()]

    def train_dataloader(self) -> DataLoader[Tensor]:
        """Batches, from where the run stands."""
        size = self.recipe.joint_batch
        first = -(-self.recipe.pieces // size) + self.global_step
        return DataLoader(Batches(self.stream, size=size, start=first), batch_size=None)

    def made(self, batch: Tensor) -> Made:
        """New pieces."""
        low, high = reduce(batch, self.network.config.scale)
        return low, high, [self.network.route(low, policy, together=True)[0] for policy in self.policies]
