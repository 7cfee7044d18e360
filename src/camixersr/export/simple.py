"""A graph with an image in and an image out: the one of `camixersr.graph`, its routing settled.

What the full graph asks for is computed or constant here: the image is padded to windows and cut again,
the attention ratio is fixed, and the image is whole. For programs that know nothing of routing.

Input (float32):
    low     1 x 3 x H x W, RGB in [0, 1], H and W any
Output:
    high    1 x 3 x sH x sW, RGB, clamped to [0, 1]
"""

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from camixersr.backends.orders import orders
from camixersr.nn.routing import TopShare
from camixersr.weights import Model

__all__ = ["simplify"]

PARTS = 1_000_000
"""A share of windows is counted in whole numbers: so many millionths."""


def simplify(graph: onnx.ModelProto, model: Model, attention_ratio: float) -> None:
    """Leave an image as the only input and an image as the only output of a full graph.

    Args:
        graph: from `camixersr.graph.build`, with its ends; it is changed.
        model: what it was built from.
        attention_ratio: gamma in [0, 1], spent as the model spends it: by its thresholds, or else on
            that share of every image's windows.

    Raises:
        ValueRangeError: the ratio lies outside [0, 1].
    """
    policy, blocks, M = model.policy(attention_ratio), model.network.block_count, model.config.window
    given = orders(policy, blocks, 1)
    assert given is not None  # a model's policy is always a policy in numbers
    given_inputs = {value.name: value for value in graph.graph.input}
    inside = {"low": "padded", "high": "uncut"}
    for node in graph.graph.node:
        for names in (node.input, node.output):
            for number, name in enumerate(names):
                names[number] = inside.get(name, name)

    n = _Nodes()
    height, width = (n("Shape", "low", start=axis, end=axis + 1) for axis in (2, 3))
    rows, columns = (n.windows(length, M) for length in (height, width))
    tall = n("Gather", "low", n.places(height, rows, M), axis=2)
    n("Gather", tall, n.places(width, columns, M), axis=3, to="padded")
    windows = n("Mul", rows, columns)
    n.constant(given.thresholds, to="thresholds")
    n.constant(given.slopes, to="slopes")
    whole = n("Concat", n.constant(np.array([blocks])), windows, axis=0)
    n("Expand", n.constant(np.ones((1, 1), np.float32)), whole, to="allowed")
    if isinstance(policy, TopShare):  # int(share * windows + 1/2)
        twice = n.constant(np.array([2 * round(policy.share * PARTS)]))
        rounded = n("Add", n("Mul", windows, twice), n.constant(np.array([PARTS])))
        n("Div", rounded, n.constant(np.array([2 * PARTS])), to="count")
    else:
        n.constant(np.zeros(1, np.int64), to="count")
    if "before" in given_inputs:
        n.constant(np.zeros(2, np.int64), to="before")
    else:
        shape = [each.dim_value for each in given_inputs["pooled"].type.tensor_type.shape.dim]
        n.constant(np.zeros(shape, np.float32), to="pooled")
        n.constant(np.ones(1, np.float32), to="whole")

    after = _Nodes("cut")
    sides = after("Concat", height, width, axis=0)
    if model.config.scale > 1:
        sides = after("Mul", sides, after.constant(np.array([model.config.scale] * 2)))
    zeros, axes = after.constant(np.zeros(2, np.int64)), after.constant(np.array([2, 3]))
    own = after("Slice", "uncut", zeros, sides, axes)
    bounds = (after.constant(np.array(value, np.float32)) for value in (0.0, 1.0))
    after("Clip", own, *bounds, to="high")

    nodes = [*n.nodes, *graph.graph.node, *after.nodes]
    del graph.graph.node[:]
    graph.graph.node.extend(nodes)
    for values, name in ((graph.graph.input, "low"), (graph.graph.output, "high")):
        kept = [value for value in values if value.name == name]
        del values[:]
        values.extend(kept)
    onnx.checker.check_model(graph, full_check=True)


class _Nodes:
    """Nodes in the order of computation, named apart from the full graph's."""

    def __init__(self, prefix: str = "simple") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []

    def __call__(self, operator: str, *inputs: str, to: str = "", **attributes: Any) -> str:
        """Add a node; returns its output's name, `to` or one of its own."""
        name = to or f"{self.prefix}_{operator}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name, **attributes))
        return name

    def constant(self, value: np.ndarray[Any, Any], *, to: str = "") -> str:
        """A constant, as a node: what is not a weight is not stored in half precision."""
        return self("Constant", to=to, value=numpy_helper.from_array(value))

    def windows(self, length: str, window: int) -> str:
        """How many windows a side has when it is padded; a list of one."""
        more = self("Add", length, self.constant(np.array([window - 1])))
        return self("Div", more, self.constant(np.array([window])))

    def places(self, length: str, windows: str, window: int) -> str:
        """Which pixels a padded side reads, as `camixersr.models.camixersr.pad_to_windows` pads."""
        one = self.constant(np.array([1]))
        padded = self("Mul", windows, self.constant(np.array([window])))
        last = self("Sub", length, one)
        zero, step = self.constant(np.array(0)), self.constant(np.array(1))
        places = self("Range", zero, self("Squeeze", padded), step)
        mirrored = self("Sub", self("Add", last, last), places)
        is_long = self("Less", self("Sub", padded, length), length)
        return self("Min", places, self("Where", is_long, mirrored, last))
