"""A network's weights as the core takes them: one row of numbers, with what can be multiplied beforehand.

What a layer norm scales and shifts goes into the matrices that read its result, so that the stream
between blocks is "normal": zero mean and unit deviation over channels. The predictor reads the stream
instead of `project_v`'s result. Sums are in double precision. `network.h` reads the numbers in this order.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Shape", "fold"]

Array = NDArray[np.float64]

LOG2_E = 1.4426950408889634
"""Scores are powers of two in the core."""


class Shape(Protocol):
    """What is needed of `camixersr.models.CAMixerSRConfig`."""

    @property
    def channels(self) -> int: ...  # noqa: D102
    @property
    def blocks(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def latitude(self) -> bool: ...  # noqa: D102
    @property
    def scale(self) -> int: ...  # noqa: D102
    @property
    def window(self) -> int: ...  # noqa: D102
    @property
    def keys(self) -> int: ...  # noqa: D102
    @property
    def values(self) -> int: ...  # noqa: D102
    @property
    def hidden(self) -> int: ...  # noqa: D102
    @property
    def pool(self) -> int: ...  # noqa: D102


def fold(config: Shape, weights: Mapping[str, NDArray[Any]]) -> NDArray[np.float32]:
    """Put weights in the core's order.

    Args:
        config: the network's shape.
        weights: its tensors by name, as `CAMixerSR.state_dict` has them.

    Returns:
        All numbers, float32.
    """
    parts = [np.asarray(part, np.float64).ravel() for part in _numbers(config, weights)]
    return np.concatenate(parts).astype(np.float32)


def _numbers(config: Shape, weights: Mapping[str, NDArray[Any]]) -> Iterator[Array | Sequence[Array]]:
    def of(name: str) -> Array:
        return np.asarray(weights[name], np.float64)

    def layer(name: str) -> Iterator[Array]:
        yield of(f"{name}.weight")
        yield of(f"{name}.bias")

    C = config.channels
    yield from layer("head")
    if config.latitude:
        yield of("latitude.weight")
    yield from layer("global_in")
    yield from layer("global_out")
    for group, count in enumerate(config.blocks):
        # a group begins with features that no norm has seen
        scale, shift = np.ones(C), np.zeros(C)
        for number in range(count):
            name = f"body.{group}.blocks.{number}"
            yield from _block(of, f"{name}.mixer", name, scale, shift)
            scale, shift = of(f"{name}.norm2.weight"), of(f"{name}.norm2.bias")
        weight, bias = of(f"body.{group}.tail.weight"), of(f"body.{group}.tail.bias")
        yield weight * scale
        yield bias + weight @ shift
    yield from layer("body_tail")
    yield from layer("tail")


def _block(of: Any, mixer: str, name: str, scale: Array, shift: Array) -> Iterator[Array]:
    """A block whose input is `scale` * normal + `shift`."""
    predictor, attention = f"{mixer}.predictor", f"{mixer}.attention"
    yield scale
    v_weight = of(f"{mixer}.project_v.weight") * scale
    v_bias = of(f"{mixer}.project_v.bias") + of(f"{mixer}.project_v.weight") @ shift
    # the predictor's norm subtracts a mean, which the weights can do
    V = len(v_bias)
    into = of(f"{predictor}.project_in.weight")
    weight = np.concatenate((into[:, :V] @ v_weight, into[:, V:]), axis=1)
    bias = of(f"{predictor}.project_in.bias") + into[:, :V] @ v_bias
    weight, bias = weight - weight.mean(axis=0), bias - bias.mean()
    yield weight[:, : len(scale)]
    yield bias
    yield weight[:, len(scale) :]
    yield of(f"{predictor}.norm.weight")
    yield of(f"{predictor}.norm.bias")
    taps = of(f"{predictor}.spatial.weight")[0].reshape(-1, 9).T
    yield np.concatenate((taps, of(f"{predictor}.offsets.0.weight")))
    yield of(f"{predictor}.offsets.0.bias")
    yield of(f"{predictor}.spatial.bias")
    yield of(f"{predictor}.offsets.2.weight")
    yield of(f"{predictor}.offsets.2.bias")
    yield of(f"{predictor}.mask.0.weight")
    yield of(f"{predictor}.mask.0.bias")
    yield of(f"{predictor}.mask.2.weight")[0] - of(f"{predictor}.mask.2.weight")[1]
    yield of(f"{predictor}.mask.2.bias")[:1] - of(f"{predictor}.mask.2.bias")[1:]
    yield of(f"{predictor}.channel.weight")
    yield of(f"{predictor}.channel.bias")
    yield v_weight
    yield v_bias
    # the keys' input is a sum of two pixels of the stream
    for part, shifts, factor in (("q", 1.0, LOG2_E), ("k", 2.0, 1.0)):
        weight = of(f"{attention}.project_{part}.weight")
        yield factor * weight * scale
        yield factor * (of(f"{attention}.project_{part}.bias") + shifts * (weight @ shift))
    for number in range(2):
        yield of(f"{mixer}.local.{number}.weight")
        yield of(f"{mixer}.local.{number}.bias")
    yield of(f"{mixer}.project_out.weight")
    yield of(f"{mixer}.project_out.bias") + shift
    scale, shift = of(f"{name}.norm1.weight"), of(f"{name}.norm1.bias")
    yield scale
    weight = of(f"{name}.feed_forward.project_in.weight")
    yield weight * scale
    yield weight @ shift
    yield of(f"{name}.feed_forward.depthwise.weight")
    yield of(f"{name}.feed_forward.project_out.weight")
    yield shift
