"""Training a ClassSR: first its classifier over the frozen network, then both together.

Three losses, as published (`camixersr.models.classsr`): L1 between the photograph and the classes'
results blended by their probabilities; one that makes the classifier sure; one that makes classes
equally many. Pieces of photographs larger than a patch are trained on, so that what a patch's
windows see around it is what they see in a picture.

Differs from the paper's code, whose classes are networks of different size: attention ratios of one
network differ by little, and by how little depends on the network. L1 is therefore counted in units
of what the classes differ by from patch to patch; and the classifier is made sure bit by bit, or it
would be sure before it knows.
"""

import logging
import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from camixersr.backends.folded import Folded
from camixersr.catalogue import find
from camixersr.data import open_set
from camixersr.errors import InputError, UsageError
from camixersr.image.files import make_folder
from camixersr.inference.computer import Computer
from camixersr.metrics import luma, psnr
from camixersr.models import CAMixerSR, Classes, PatchClassifier, classic
from camixersr.models.classsr import CLASSES, PATCH, ByClass, average_loss, blend, class_loss, windows_of
from camixersr.nn.routing import Policy, TopShare
from camixersr.tensors import from_array, to_array
from camixersr.train.calibrate import calibrate
from camixersr.train.class_recipe import ClassRecipe
from camixersr.train.photos import Batches, PatchStream, Photos, list_photos, load_photos, reduce
from camixersr.weights import Model, save

__all__ = ["Bank", "Classifying", "class_plan", "classify", "score_classes"]

logger = logging.getLogger(__name__)

TOLD = 100
"""Pieces between two lines of progress."""

THIN = 2
"""Every so-many-th pixel, down and across, is compared in the classifier's own steps."""


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


class Classifying:
    """One ClassSR under one recipe.

    Attributes:
        unit: of L1 in the loss, in [0, 1] steps of brightness; measured on the bank.

    Args:
        network: in evaluation mode; its gradients are switched on by the joint steps only.
        classifier: to train.
        policies: one a class.
        recipe: the run.
        say: told how it goes, now and then.
        branches: networks of the classes, one each; `network` computes all of them by default.
    """

    def __init__(
        self,
        network: CAMixerSR,
        classifier: PatchClassifier,
        policies: Sequence[Policy],
        recipe: ClassRecipe,
        say: Callable[[str], None] = lambda line: None,
        branches: Sequence[CAMixerSR] = (),
    ) -> None:
        self.network, self.classifier = network, classifier
        self.branches = tuple(branches) or (network,) * len(policies)
        self.policies, self.recipe, self.say = tuple(policies), recipe, say
        self.unit = 1.0

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

    @torch.no_grad()
    def bank(self, stream: PatchStream) -> Bank:
        """Let every class compute the first pieces of a stream."""
        recipe, device = self.recipe, next(self.network.parameters()).device
        routes = {
            each: Folded(each).route if device.type == "cpu" else each.route for each in set(self.branches)
        }
        ways = [(routes[each], policy) for each, policy in zip(self.branches, self.policies, strict=True)]
        lows: list[Tensor] = []
        highs: list[Tensor] = []
        made: list[Tensor] = []
        began = time.perf_counter()
        for number in range(recipe.pieces):
            low, high = reduce(stream.patch(number)[None].to(device), self.network.config.scale)
            results = [route(low, policy)[0][..., ::THIN, ::THIN] for route, policy in ways]
            lows.append((low * 255.0).round().byte())
            highs.append((high[..., ::THIN, ::THIN] * 255.0).round().byte())
            made.append(torch.stack(results).half())
            if (number + 1) % TOLD == 0 or number + 1 == recipe.pieces:
                each = (time.perf_counter() - began) / (number + 1)
                self.say(f"piece {number + 1} of {recipe.pieces}, {each:.2f} s each")
        return Bank(torch.cat(lows), torch.cat(highs), torch.cat(made, dim=1))

    def train_classifier(self, bank: Bank) -> None:
        """The first phase: the network frozen, sureness growing from nothing."""
        recipe = self.recipe
        self.unit = bank.unit
        generator = torch.Generator().manual_seed(recipe.seed)

        def losses() -> dict[str, Tensor]:
            some = torch.randint(len(bank.low), (recipe.batch,), generator=generator).to(bank.low.device)
            made = [each[some].float() for each in bank.made]
            return self.losses(bank.low[some] / 255.0, bank.high[some] / 255.0, made)

        parameters = list(self.classifier.parameters())
        rate = recipe.learning_rate
        self._descend("classifier", losses, parameters, rate, recipe.steps, sureness=lambda part: part)

    def train_jointly(self, stream: PatchStream) -> None:
        """The second phase: classifier and network, on pieces that follow the bank's."""
        recipe = self.recipe
        first = -(-recipe.pieces // recipe.joint_batch)
        batches = iter(Batches(stream, size=recipe.joint_batch, start=first))
        device = next(self.network.parameters()).device

        def losses() -> dict[str, Tensor]:
            low, high = reduce(next(batches).to(device), self.network.config.scale)
            made = [self.network.route(low, policy, together=True)[0] for policy in self.policies]
            return self.losses(low, high, made)

        self.network.requires_grad_(True)
        parameters = [*self.classifier.parameters(), *self.network.parameters()]
        self._descend("jointly", losses, parameters, recipe.joint_rate, recipe.joint_steps)
        self.network.requires_grad_(False)

    def _descend(
        self,
        name: str,
        losses: Callable[[], dict[str, Tensor]],
        parameters: list[nn.Parameter],
        rate: float,
        steps: int,
        sureness: Callable[[float], float] = lambda part: 1.0,
    ) -> None:
        optimizer = torch.optim.AdamW(parameters, lr=rate, weight_decay=0.0)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda step: 0.5 * (1.0 + math.cos(math.pi * min(1.0, step / steps)))
        )
        began, told, seen = time.perf_counter(), 0, dict[str, Tensor]()
        for step in range(1, steps + 1):
            now = losses()
            optimizer.zero_grad()
            self.loss(now, sureness(step / steps)).backward()
            optimizer.step()
            schedule.step()
            for key, value in now.items():
                seen[key] = seen.get(key, 0.0) + value.detach()
            if step == steps or step % max(1, steps // 10) == 0:
                mean = {key: value / (step - told) for key, value in seen.items()}
                shares = " ".join(f"{100 * share:.0f} %" for share in mean.pop("shares").tolist())
                said = ", ".join(f"{key} {float(value):.5f}" for key, value in mean.items())
                each = (time.perf_counter() - began) / step
                self.say(f"{name} {step} of {steps}: {said}, classes {shares}, {each:.2f} s a step")
                told, seen = step, {}


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


def classify(recipe: ClassRecipe, *, say: Callable[[str], None] = logger.info) -> Path:
    """Run a recipe: train, score, and write the model.

    Thresholds are the starting model's, measured anew on the photographs held out after joint steps;
    and at last if it has none: its classes are shares of each piece while they are trained.

    Args:
        recipe: the run.
        say: told how it goes, now and then.

    Returns:
        The file, `<output>/<name>.safetensors`.

    Raises:
        InputError: no usable photographs or validation pairs, or a start that has classes already.
        CheckpointError: the model to start from does not load.
        OutputError: the output folder cannot be written.
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
    work = Classifying(network, classes.classifier, policies, recipe, say, branches)
    work.train_classifier(work.bank(stream))
    if recipe.joint_steps:
        work.train_jointly(stream)
    moved = recipe.joint_steps or before.calibration is None
    calibration = calibrate(network, aside) if moved and not branches else before.calibration
    if branches:
        calibration = None  # thresholds are one network's; of several, classes have shares
    classes.classifier.eval().requires_grad_(False)
    model = Model(recipe.name, network.eval(), calibration, classes=classes, branches=branches)
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


def class_plan(recipe: ClassRecipe) -> str:
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
    brief = replace(recipe, pieces=2, steps=2, joint_steps=0 if branches else 1)
    work = Classifying(network, PatchClassifier(), policies, brief, branches=branches)
    side = PatchStream.side_of(scale=before.config.scale, patch=recipe.patch)
    noise = np.random.default_rng(0).integers(0, 256, 3 * side * side, np.uint8)
    stream = PatchStream(
        Photos(noise, (0,), ((side, side),), ()), scale=before.config.scale, patch=recipe.patch, seed=0
    )
    work.bank(stream)  # the first time is slower
    began = time.perf_counter()
    bank = work.bank(stream)
    computed = time.perf_counter()
    work.train_classifier(bank)
    trained = time.perf_counter()
    if brief.joint_steps:
        work.train_jointly(stream)
    each = ((computed - began) / 2, (trained - computed) / 2, time.perf_counter() - trained)
    counts = (recipe.pieces, recipe.steps, recipe.joint_steps)
    minutes = sum(count * seconds for count, seconds in zip(counts, each, strict=True)) / 60
    ratios = ", ".join(f"{ratio:g}" for ratio in recipe.ratios)
    over = ", ".join(recipe.branches) or before.name
    lines = [
        f"model        {recipe.name}: a classifier over {over}, x{before.config.scale}; its classes "
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
