"""Networks told by the shapes of their tensors, and the shapes that a configuration has; no torch."""

import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

from camixersr.errors import CheckpointError
from camixersr.image.files import shown
from camixersr.models.config import CAMixerSRConfig, Config, OmniCAMixerSRConfig
from camixersr.nn.pool import CONDITIONS

__all__ = ["Shaped", "infer_config", "shapes_of"]


class Shaped(Protocol):
    """A tensor or an array."""

    @property
    def shape(self) -> Any: ...  # noqa: D102


def shapes_of(config: CAMixerSRConfig) -> dict[str, tuple[int, ...]]:
    """The shape of every tensor of a classic network, by name, in `state_dict`'s order.

    >>> from camixersr.models import CAMixerSR
    >>> config = CAMixerSRConfig(channels=12, scale=2, blocks=(1,))
    >>> tensors = CAMixerSR(config).state_dict()
    >>> shapes_of(config) == {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    True
    """
    return dict(_shapes(config))


def _shapes(config: CAMixerSRConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    C, M = config.channels, config.window
    D, V, pairs = (each or C for each in (config.keys, config.values, config.hidden))
    hidden, narrow = (C + CONDITIONS) // 4, (C + CONDITIONS) // 8

    def layer(name: str, *weight: int, bias: bool = True) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}.weight", weight
        if bias:
            yield f"{name}.bias", weight[:1]

    yield from layer("head", C, 3, 3, 3)
    if config.latitude:
        yield from layer("latitude", C, 1, bias=False)
    yield from layer("global_in", 8, C)
    yield from layer("global_out", 2, 8, 3, 3)
    for group, count in enumerate(config.blocks):
        for number in range(count):
            block = f"body.{group}.blocks.{number}"
            mixer, predictor = f"{block}.mixer", f"{block}.mixer.predictor"
            yield from layer(f"{mixer}.project_v", V, C)
            yield from layer(f"{predictor}.project_in", hidden, V + CONDITIONS)
            yield from layer(f"{predictor}.norm", hidden)
            yield from layer(f"{predictor}.offsets.0", narrow, hidden)
            yield from layer(f"{predictor}.offsets.2", 2, narrow)
            yield from layer(f"{predictor}.mask.0", M, M * M)
            yield from layer(f"{predictor}.mask.2", 2, M)
            yield from layer(f"{predictor}.channel", V, hidden)
            yield from layer(f"{predictor}.spatial", 1, hidden, 3, 3)
            yield from layer(f"{mixer}.attention.project_q", D, C)
            yield from layer(f"{mixer}.attention.project_k", D, C)
            yield from layer(f"{mixer}.local.0", V, 1, 3, 3)
            yield from layer(f"{mixer}.local.1", V, 1, 3, 3)
            yield from layer(f"{mixer}.project_out", C, V)
            yield from layer(f"{block}.norm1", C)
            yield from layer(f"{block}.feed_forward.project_in", 2 * pairs, C, bias=False)
            yield from layer(f"{block}.feed_forward.depthwise", 2 * pairs, 1, 3, 3, bias=False)
            yield from layer(f"{block}.feed_forward.project_out", C, pairs, bias=False)
            yield from layer(f"{block}.norm2", C)
        yield from layer(f"body.{group}.tail", C, C)
    yield from layer("body_tail", C, C, 3, 3)
    yield from layer("tail", 3 * config.scale**2, C, 3, 3)


def infer_config(tensors: Mapping[str, Shaped], path: str | Path = "checkpoint") -> Config:
    """Read the network's shape off its tensors.

    Args:
        tensors: under our names, of any shape that holds the right number of elements.
        path: named in errors.

    Returns:
        The configuration.

    Raises:
        CheckpointError: the tensors are neither those of a classic CAMixerSR nor of an OmniCAMixerSR.
    """
    groups: dict[int, set[int]] = {}
    for name in tensors:
        if found := re.match(r"body\.(\d+)\.blocks\.(\d+)\.", name):
            groups.setdefault(int(found[1]), set()).add(int(found[2]))
    try:
        channels = tensors["head.weight"].shape[0]
        window = tensors["body.0.blocks.0.mixer.predictor.mask.2.weight"].shape[1]
        outputs = tensors["tail.weight"].shape[0]
        omni = "deformed.weight" in tensors
        if not omni and "global_out.weight" not in tensors:
            raise KeyError("global_out.weight")
        block = "body.0.blocks.0"
        widths = {
            name: tensors[f"{block}.{layer}.weight"].shape[axis]
            for name, layer, axis in (
                ("keys", "mixer.attention.project_q", 0),
                ("values", "mixer.project_v", 0),
                ("hidden", "feed_forward.project_out", 1),
            )
            if not omni
        }
    except KeyError as missing:
        raise CheckpointError(
            f"{shown(path)}: expected the tensors of a CAMixerSR, classic or omnidirectional, but "
            f"{missing} is not there"
        ) from missing
    except IndexError as flat:
        raise CheckpointError(
            f"{shown(path)}: expected the tensors of a CAMixerSR, but some lack dimensions"
        ) from flat
    scale = math.isqrt(outputs // 3)
    if 3 * scale**2 != outputs or sorted(groups) != list(range(len(groups))):
        raise CheckpointError(
            f"{shown(path)}: expected 3 s^2 output channels and consecutive groups, got {outputs} "
            f"channels and groups {sorted(groups)}"
        )
    blocks = tuple(len(groups[group]) for group in sorted(groups))
    if omni:
        return OmniCAMixerSRConfig(channels=channels, scale=scale, blocks=blocks, window=window)
    latitude = "latitude.weight" in tensors
    return CAMixerSRConfig(channels, scale, blocks, window, latitude, **widths)
