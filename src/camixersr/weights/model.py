"""A network with what its file says of it: arrays until somebody asks for the network itself.

Only that loads torch (and the authors' files do, and a ClassSR's classifier).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from camixersr.image.degradation import Degradation
from camixersr.models.calibration import Calibration
from camixersr.models.classes import Classes
from camixersr.models.config import CAMixerSRConfig, Config, OmniCAMixerSRConfig
from camixersr.models.pools import pool_of
from camixersr.nn.pool import Pool
from camixersr.nn.routing import Policy, TopShare

if TYPE_CHECKING:
    from torch import nn

    from camixersr.models.kinds import Network

__all__ = ["KINDS", "Arrays", "Model", "Weights", "arrays_of"]

ENOUGH = 0.01
"""In dB: what an attention ratio may cost and still be recommended."""

KINDS: Mapping[str, type[Config]] = {"CAMixerSR": CAMixerSRConfig, "OmniCAMixerSR": OmniCAMixerSRConfig}
"""Configurations of networks, by the names of their classes."""

Arrays = Mapping[str, NDArray[np.float32]]
"""A network's tensors by name."""


class Weights:
    """A network as its file has it.

    Args:
        config: its shape.
        arrays: its tensors, which fit that.
    """

    def __init__(self, config: Config, arrays: Arrays) -> None:
        self.config = config
        self.arrays = arrays

    def __reduce__(self) -> tuple[Any, ...]:
        return Weights, (self.config, self.arrays)  # the network is made again

    @cached_property
    def network(self) -> "Network":
        """In evaluation mode, on the CPU, gradients off."""
        import torch

        from camixersr.models.kinds import make

        network = make(self.config)
        network.load_state_dict({name: torch.from_numpy(value) for name, value in self.arrays.items()})
        return network.eval().requires_grad_(False)


@dataclass(frozen=True)
class Model:
    """A network with what its file says of it.

    Attributes:
        name: catalogue name, or the file's stem.
        source: the network, in evaluation mode, on the CPU, gradients off; or its weights.
        calibration: thresholds for the attention ratio; None if there are none.
        provenance: where the weights come from: data, licences, recipe, hours, machine.
        scores: PSNR in dB by "set/ratio", with the protocol under "protocol".
        sha256: of the file.
        restores: what the network undoes, at scale 1; None for one that enlarges.
        classes: of a ClassSR, whose patches' classes choose the attention ratio; None of any other.
        branches: of a ClassSR whose classes have networks of their own: one a class, `source` last;
            else empty.
    """

    name: str
    source: "Network | Weights"
    calibration: Calibration | None = None
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    scores: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sha256: str = ""
    restores: Degradation | None = None
    classes: Classes | None = None
    branches: "tuple[Network | Weights, ...]" = ()

    @property
    def config(self) -> Config:
        """The network's shape."""
        return self.source.config

    @property
    def network(self) -> "Network":
        """The network itself, which loads torch."""
        return self.source.network if isinstance(self.source, Weights) else self.source

    @property
    def architecture(self) -> str:
        """The name of the network's class."""
        if not isinstance(self.source, Weights):
            return type(self.source).__name__
        return next(name for name, kind in KINDS.items() if kind is type(self.config))

    @property
    def arrays(self) -> Arrays:
        """The network's tensors by name, float32."""
        return arrays_of(self.source)

    @property
    def pool(self) -> Pool:
        """What channel attention knows of a picture if nothing else is said."""
        return pool_of(self.config.pool)

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        parts: list[nn.Module | Weights] = [*(self.branches or (self.source,))]
        parts += [] if self.classes is None else [self.classes.classifier]
        return sum(array.size for part in parts for array in arrays_of(part).values())

    @property
    def attention_ratio(self) -> float:
        """The ratio that the model recommends.

        It is the least whose score is within `ENOUGH` of the best: on the photographs held out from
        training, else on the set that its file tells of. Without scores, and with classes, it is 0.5.
        """
        found: dict[str, dict[float, float]] = {}
        for name, psnr in self.scores.items():
            measured = re.fullmatch(r"(.+)/(0(?:\.\d+)?|1)", name)
            if measured and isinstance(psnr, int | float):
                found.setdefault(measured[1], {})[float(measured[2])] = psnr
        if not found or self.classes is not None:
            return 0.5
        scored = found.get("held out") or next(iter(found.values()))
        least = max(scored.values()) - ENOUGH
        return min(ratio for ratio, psnr in scored.items() if round(psnr - least, 6) >= 0.0)

    def ratio(self, asked: float | None) -> float:
        """The attention ratio that was asked for; if none was, the one that the model recommends."""
        return self.attention_ratio if asked is None else asked

    def policy(self, attention_ratio: float) -> Policy:
        """How this model spends an attention ratio.

        With a calibration: thresholds, so that the ratio is an average over photographs and a plain
        picture spends less. Without: that share of every picture's windows, best scores first.

        Raises:
            ValueRangeError: the ratio lies outside [0, 1].
        """
        if self.calibration is not None:
            return self.calibration.at(attention_ratio)
        return TopShare(attention_ratio)

    def class_policies(self, attention_ratio: float) -> tuple[Policy, ...]:
        """How each class of a ClassSR spends an attention ratio; nothing for any other model.

        Raises:
            ValueRangeError: the ratio lies outside [0, 1].
        """
        if self.classes is None:
            return ()
        return tuple(self.policy(ratio) for ratio in self.classes.at(attention_ratio))


def arrays_of(network: "nn.Module | Weights") -> Arrays:
    """The tensors of a network."""
    if isinstance(network, Weights):
        return network.arrays
    return {name: value.float().cpu().contiguous().numpy() for name, value in network.state_dict().items()}
