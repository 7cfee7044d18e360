"""Learning from another network: from its answers, and from what it makes of a picture on the way.

A photograph has detail that no network could know from its low picture; that is noise to a step. A
teacher's answer holds nothing but what can be known. Its answers to whole photographs, each a mean
over eight flips and turns with all windows attended, are computed once (`load_answers`). *Hints* (Romero
et al., "FitNets", ICLR 2015) are what the teacher's groups of blocks hand on, which a group of ours should
be able to tell, up to a linear map of its channels.
"""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from camixersr.errors import CheckpointError, OutputError, UsageError
from camixersr.image.files import replacing
from camixersr.image.resize import resize
from camixersr.models import CAMixerSR, Network, classic
from camixersr.nn.routing import TopShare
from camixersr.tensors import channels_first, from_array, to_array
from camixersr.train.photos import PatchStream, Photos, reduce

__all__ = ["Hints", "TaughtStream", "answer", "check_hints", "load_answers", "load_teacher"]


def load_teacher(path: str, like: Network) -> CAMixerSR:
    """Load a teacher.

    Args:
        path: a file of weights, or a name of `camixersr models list`.
        like: the network that will learn.

    Raises:
        CheckpointError: the file cannot be read, or was not fetched.
        UnknownModelError: there is neither.
        UsageError: it is of another kind, or of another scale.
    """
    from camixersr.catalogue import find

    given = find(path).network
    teacher = classic(given)
    if teacher is None or teacher.config.scale != like.config.scale:
        raise UsageError(
            f"{path}: expected a classic network that enlarges x{like.config.scale} as a teacher, got "
            f"{given.config}"
        )
    return teacher.eval().requires_grad_(False)


@torch.no_grad()
def answer(teacher: Network, high: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """What a teacher makes of a photograph's low picture.

    Args:
        teacher: in evaluation mode.
        high: H x W x 3, reduced here as MATLAB would.

    Returns:
        H' x W' x 3, H' and W' the largest multiples of the scale: a mean over eight flips and turns, all
        windows attended.
    """
    s = teacher.config.scale
    height, width = (length // s for length in high.shape[:2])
    low = from_array(resize(high[: s * height, : s * width], height=height, width=width))[None]
    total = torch.zeros(1, 3, s * height, s * width)
    for mirrored in (False, True):
        seen = low.flip(3) if mirrored else low
        for turns in range(4):
            back = teacher.route(seen.rot90(turns, (2, 3)), TopShare(1.0))[0].rot90(-turns, (2, 3))
            total += back.flip(3) if mirrored else back
    return to_array(total[0] / 8.0)


def load_answers(teacher: Network, photos: Photos, cache: Path) -> Photos:
    """The answers to all photographs, computed now or by an earlier run, which may have been cut off.

    Args:
        teacher: in evaluation mode.
        photos: that are trained on.
        cache: folder for the file.

    Returns:
        Pictures laid out as the photographs are, their last rows and columns black beyond multiples of the
        scale.

    Raises:
        OutputError: the cache cannot be written.
    """
    key = hashlib.sha256(json.dumps([photos.offsets, photos.sizes]).encode())
    key.update(np.ascontiguousarray(photos.pixels[:: max(1, len(photos.pixels) // 4096)]).tobytes())
    for name, weights in sorted(teacher.state_dict().items()):
        key.update(name.encode() + weights.cpu().numpy().tobytes())
    data = cache / f"answers-{key.hexdigest()[:16]}.u8"
    if not data.exists():
        partial, count = data.with_suffix(".part"), data.with_suffix(".count")
        try:
            done = int(count.read_text()) if partial.exists() and count.exists() else 0
            mode = "r+" if done else "w+"
            pixels = np.memmap(partial, np.uint8, mode=mode, shape=photos.pixels.shape)
            held = replace(photos, pixels=pixels)
            for number in range(done, len(photos)):
                told = answer(teacher, photos.photo(number))
                held.photo(number)[: told.shape[0], : told.shape[1]] = told
                pixels.flush()
                with replacing(count) as fresh:
                    fresh.write_text(str(number + 1))
            del pixels, held
            partial.rename(data)
            count.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"{cache}: cannot write the teacher's answers: {error}") from error
    return replace(photos, pixels=np.memmap(data, dtype=np.uint8, mode="r"))


class TaughtStream(PatchStream):
    """Patches of photographs with the teacher's answers to them, cut alike.

    They are cut where the photograph's low pixels begin: elsewhere the low picture would be another
    one than the teacher was shown.

    Args:
        photos: where the patches are cut from.
        answers: to them, see `load_answers`.
        scale: as for `PatchStream`, and so on.
        patch: likewise.
        seed: likewise.
    """

    def __init__(self, photos: Photos, answers: Photos, *, scale: int, patch: int, seed: int) -> None:
        super().__init__(photos, scale=scale, patch=patch, seed=seed)
        self.answers = answers

    def patch(self, number: int) -> Tensor:
        """Patch `number`: 6 x S x S uint8, S = `side`: the photograph and the teacher's answer."""
        rng = np.random.default_rng((self.seed, number))
        which = self._which(rng)
        high, told = self.photos.photo(which), self.answers.photo(which)
        s = self.scale
        row, column = (s * int(rng.integers((length - self.side) // s + 1)) for length in high.shape[:2])
        place = slice(row, row + self.side), slice(column, column + self.side)
        both = np.concatenate((high[place], told[place]), axis=2)
        both = np.rot90(both, int(rng.integers(4)))
        if rng.random() < 0.5:
            both = both[:, ::-1]
        return channels_first(both)

    def pairs(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Low, B x 3 x P x P, and high, B x 6 x sP x sP: the photograph and the teacher's answer."""
        low, high = reduce(patches[:, :3], self.scale)
        edge = (patches.shape[-1] - high.shape[-1]) // 2
        told = patches[:, 3:, edge:-edge, edge:-edge].float() / 255.0
        return low, torch.cat((high, told), dim=1)


class Hints(nn.Module):
    """How far a network's groups are from telling what a teacher's groups say.

    Args:
        channels: C, of both.
        mean: G x C, of the teacher's features, which the maps say at first.
        spread: for each group the mean square of the teacher's features about their means.
    """

    spread: Tensor

    def __init__(self, channels: int, mean: Tensor, spread: Sequence[float]) -> None:
        super().__init__()
        maps = [nn.Linear(channels, channels) for _ in spread]
        for mapping, here in zip(maps, mean, strict=True):  # features of any size at first do no harm
            nn.init.zeros_(mapping.weight)
            mapping.bias.data.copy_(here)
        self.maps = nn.ModuleList(maps)
        self.register_buffer("spread", torch.tensor(spread))

    def forward(self, features: Tensor, told: Tensor) -> Tensor:
        """Compare.

        Args:
            features: G x C x P x P, of G groups.
            told: the teacher's.

        Returns:
            A scalar: the mean square of what is missing, in parts of `spread`; 1 for maps that know
            nothing, on average over what it was measured on.
        """
        missing = torch.zeros(())
        for number, mapping in enumerate(self.maps):
            error = mapping(features[number].permute(1, 2, 0)) - told[number].permute(1, 2, 0)
            missing = missing + error.square().mean() / self.spread[number]
        return missing / len(self.maps)

    @classmethod
    @torch.no_grad()
    def of(cls, teacher: CAMixerSR, low: Tensor, learner: CAMixerSR | None = None) -> "Hints":
        """Measured on patches of what is trained on.

        Args:
            teacher: in evaluation mode.
            low: B x 3 x P x P.
            learner: a network whose features already tell something of the teacher's; the maps then begin
                as the best linear ones, by ridge regression, and need not be learnt first.
        """
        told = _features(teacher, low)
        mean = told.mean(dim=1)
        spread = [float(each) for each in (told - mean[:, None]).square().mean(dim=(1, 2))]
        hints = cls(teacher.config.channels, mean, spread)
        if learner is not None:
            for mapping, seen, wanted, here in zip(
                hints.maps, _features(learner, low).double(), told.double(), mean.double(), strict=True
            ):
                assert isinstance(mapping, nn.Linear)
                own = seen.mean(dim=0)
                x = seen - own
                gram = x.mT @ x
                ridge = RIDGE * gram.diagonal().mean().clamp(min=1e-12)
                known = torch.linalg.solve(gram + ridge * torch.eye(len(gram)), x.mT @ (wanted - here))
                mapping.weight.copy_(known.mT)
                mapping.bias.copy_(here - own @ known)
        return hints


RIDGE = 1e-3
"""Of the regression that hints begin with, in parts of the features' mean square."""


def _features(network: CAMixerSR, low: Tensor) -> Tensor:
    """What each of G groups makes of B x 3 x P x P, all windows attended: G x BPP x C."""
    seen: list[Tensor] = []
    hooks = [
        group.register_forward_hook(lambda _, given, out: seen.append(out[0].flatten(0, -2)))
        for group in network.body
    ]
    try:
        network.route(low[:, :3], TopShare(1.0), together=True)
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(seen)


def check_hints(teacher: CAMixerSR, network: Network, path: str) -> None:
    """Raise `CheckpointError` unless a teacher's groups can be compared with a network's."""
    wanted = network.config
    if (teacher.config.channels, teacher.config.blocks) != (wanted.channels, getattr(wanted, "blocks", ())):
        raise CheckpointError(
            f"{path}: expected a teacher of the network's own shape for hints, {wanted}, got "
            f"{teacher.config}; leave hint_weight out"
        )
