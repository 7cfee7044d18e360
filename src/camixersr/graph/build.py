"""The network as an ONNX graph, written for runtimes: the same mathematics, other bookkeeping.

`camixersr.models` is written to be read and to be trained. A runtime wants something else: one layout
throughout (B x C x H x W, which runtimes keep channels-last in memory), nothing moved that is not
needed, and no step that depends on anything but the input's shape. So the graph is built here from the
weights, not traced from the network's code. What is different:

- Windows are never cut out of the map. A row of a window is a run of M * C neighbouring numbers of the
  channels-last map: attended windows are gathered run by run and scattered back in the same way; the
  others are not touched. Offsets, warp, queries and keys exist for attended windows only.
- The warp splits each offset into an integer and a fraction before the position is added. Positions are
  integers: reduced precision (bf16 has 8 bits) cannot move them, however large the tile.
- The window's position enters the predictor linearly: condition and position are one map of 4
  channels, which each block's predictor takes in by a 1x1 convolution of its own.
- The predictor's first layer of a window's score (256 -> 16) is a 16 x 16 convolution of stride 16.

The routing stays dynamic: how many windows a block attends is found out while it runs.

Inputs (float32; N = H/M * W/M windows, row by row; `blocks` and `hidden` of the network):
    low         1 x 3 x H x W, RGB in [0, 1], H and W multiples of the window side M
    thresholds  blocks: log-odds above which a window is attended; +-1e30 is never and always
    slopes      blocks: how fast attention fades in above a threshold, per log-odds (1 / band)
    count       1, int64: attend so many best-scored windows of each block besides; 0 for none
    allowed     blocks x N: 1 where a window may be attended, 0 where not, or a mask in between
    pooled      blocks x hidden: what channel attention knows of the whole image, if `whole` is 0
    whole       1: 1 if `low` is the whole image, so that its own means are taken; else 0
If the network pools over cells, there is instead of the last two:
    before      2, int64: how many rows and columns of the first cells lie before `low`; 0 and 0 for a
                whole image, or a tile that begins where cells do
Outputs:
    high        1 x 3 x sH x sW, RGB, nominally in [0, 1], not clamped
    logits      blocks x N: log-odds of attention
    mask        blocks x N: what was attended, 0 to 1
    means       blocks x hidden: the pooled features of `low`; not of a network that pools over cells
Without its ends, which are then computed elsewhere in a higher precision (`CAMixerSR.enter`, `leave`),
the graph takes `x`, 1 x H x W x C, and `condition`, 1 x H x W x 4, instead of `low`, and gives `y`,
1 x H x W x C, instead of `high`.
"""

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper
from torch import nn

from camixersr.errors import UsageError
from camixersr.graph.nodes import Nodes, Places, array_of, bias_of
from camixersr.models import Config, Network, classic
from camixersr.models.camixersr import Block, Group
from camixersr.nn.layers import FeedForward
from camixersr.nn.pool import CONDITIONS
from camixersr.nn.predictor import MAX_OFFSET, Predictor

__all__ = ["FAR", "OPSET", "build", "inputs_of", "outputs_of"]

OPSET = 20
"""Of the ONNX operators: the first with Gelu."""

FAR = 1e30
"""Stands for infinity in `thresholds`; real infinities would make NaN of 0 * infinity."""

WHOLE_NUMBERS = ("count", "before")
"""Inputs that are int64; all others are float32."""


def inputs_of(config: Config, *, ends: bool = True) -> tuple[str, ...]:
    """Names of the inputs of a network's graph, in order."""
    entering = ("low",) if ends else ("x", "condition")
    pool = ("before",) if config.pool else ("pooled", "whole")
    return (*entering, "thresholds", "slopes", "count", "allowed", *pool)


def outputs_of(config: Config, *, ends: bool = True) -> tuple[str, ...]:
    """Names of the outputs of a network's graph, in order."""
    return ("high" if ends else "y", "logits", "mask", *(() if config.pool else ("means",)))


def build(network: Network, *, ends: bool = True) -> onnx.ModelProto:
    """Write the graph of a network.

    Args:
        network: the weights.
        ends: with what lies before the first block and after the last.

    Returns:
        The model; see the module's text for its inputs and outputs. Its metadata is empty. A latitude
        condition is left out: to the graph everything lies on the equator.

    Raises:
        UsageError: no graph is known for that kind of network.
    """
    own = classic(network)
    if own is None:
        raise UsageError(
            f"expected a classic CAMixerSR, got {type(network).__name__}, which runs on torch alone"
        )
    network, config = own, own.config
    g = Nodes()
    places = Places(g, config.window, *(("low", 2) if ends else ("x", 1)))
    groups = [group for group in network.body if isinstance(group, Group)]
    first = next(module for module in network.modules() if isinstance(module, Predictor))
    hidden = first.project_in.out_features
    ranked = _Ranked(g)
    each_block = [
        g("Split", name, outputs=network.block_count, axis=0, num_outputs=network.block_count)
        if network.block_count > 1
        else [name]
        for name in ("thresholds", "slopes", "allowed", *(() if config.pool else ("pooled",)))
    ]

    if ends:
        x = g.layer("low", network.head)
        condition = g.leaky(g.layer(g.leaky(g.layer(x, network.global_in)), network.global_out))
        condition = g("Concat", condition, places.position(), axis=1)
    else:
        x, condition = (g("Transpose", name, perm=[0, 3, 1, 2]) for name in ("x", "condition"))
    zero, one = g.constant(np.float32(0)), g.constant(np.float32(1))
    y, number = x, 0
    seen: list[tuple[str, ...]] = []
    of_cells = _of_cells(g, places, config.pool) if config.pool else None
    for group in groups:
        start = y
        for block in group.blocks:
            assert isinstance(block, Block)
            threshold, slope, allowed, *pooled = (names[number] for names in each_block)

            def choose(logits: str, at: str = threshold, slope: str = slope, allowed: str = allowed) -> str:
                faded = g("Clip", g.mul(g.sub(logits, at), slope), zero, one)
                return g.mul(g("Max", faded, ranked.best(logits)), allowed)

            attend = of_cells or _of_image(g, *pooled)
            y, told = _block(g, places, block, y, condition, choose, attend)
            seen.append(told)
            number += 1
        y = g.add(g.layer(y, group.tail), start)
    if ends:
        y = g.layer(g.add(g.layer(y, network.body_tail), x), network.tail)
        if config.scale > 1:
            y = g("DepthToSpace", y, blocksize=config.scale, mode="CRD")
    else:
        y = g("Transpose", y, perm=[0, 2, 3, 1])
    results = [y, *(g("Concat", *column, axis=0) for column in zip(*seen, strict=True))]
    entering, leaving = inputs_of(config, ends=ends), outputs_of(config, ends=ends)
    for name, result in zip(leaving, results, strict=True):
        g.nodes.append(helper.make_node("Identity", [result], [name]))

    B, C, s = network.block_count, config.channels, config.scale
    shapes: dict[str, list[int | str]] = {
        "low": [1, 3, "H", "W"],
        "x": [1, "H", "W", C],
        "condition": [1, "H", "W", CONDITIONS],
        "y": [1, "H", "W", C],
        "thresholds": [B],
        "slopes": [B],
        "count": [1],
        "allowed": [B, "N"],
        "pooled": [B, hidden],
        "whole": [1],
        "before": [2],
        "high": [1, 3, f"{s}*H", f"{s}*W"],
        "logits": [B, "N"],
        "mask": [B, "N"],
        "means": [B, hidden],
    }
    inputs, outputs = (
        [
            helper.make_tensor_value_info(
                name, TensorProto.INT64 if name in WHOLE_NUMBERS else TensorProto.FLOAT, shapes[name]
            )
            for name in names
        ]
        for names in (entering, leaving)
    )
    graph = helper.make_graph(g.nodes, "camixersr", inputs, outputs, g.initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)
    onnx.checker.check_model(model, full_check=True)
    return model


class _Ranked:
    """The best-scored windows of a block: a step that costs nothing while none are asked for."""

    def __init__(self, g: Nodes) -> None:
        self.g = g
        self.wanted = g("Cast", g("Min", "count", g.integers(1)), to=TensorProto.FLOAT)
        self.count = g("Max", "count", g.integers(1))

    def best(self, logits: str) -> str:
        """1 x N -> 1 x N: 1 at the best."""
        g = self.g
        _, index = g("TopK", logits, self.count, outputs=2, axis=1, largest=1, sorted=1)
        zeros = g.mul(logits, g.constant(np.float32(0)))
        ones = g.add(g.mul(g("Cast", index, to=TensorProto.FLOAT), g.constant(np.float32(0))), self.wanted)
        return g("ScatterElements", zeros, index, ones, axis=1)


Attend = Callable[[str, nn.Linear], tuple[str, tuple[str, ...]]]
"""Channel attention from the predictor's features: 1 x V x H x W (or 1 x 1); and the means, if told."""


def _of_image(g: Nodes, pooled: str) -> Attend:
    """Channel attention that pools over the image, or takes what is known of it."""

    def attend(f: str, channel: nn.Linear) -> tuple[str, tuple[str, ...]]:
        mean = g("ReduceMean", f, g.integers(2, 3), keepdims=1)
        means = g("Reshape", mean, g.integers(1, -1))
        known = g.add(g.mul(means, "whole"), g.mul(pooled, g.sub(g.constant(np.ones(1)), "whole")))
        return g("Sigmoid", g.layer(g("Reshape", known, g.integers(1, -1, 1, 1)), channel)), (means,)

    return attend


def _of_cells(g: Nodes, places: Places, side: int) -> Attend:
    """Channel attention that pools over cells.

    The map is padded with zeros to whole cells, and means are divided by the part of a cell that is
    there: runtimes disagree on pools that reach beyond a map.
    """
    size = g("Concat", places.height_1, places.width_1, axis=0)
    sides, none = g.integers(side, side), g.integers(0, 0)
    reach = g.add(size, "before")
    over = g("Mod", g.sub(sides, g("Mod", reach, sides)), sides)
    pads = g("Concat", none, "before", none, over, axis=0)
    scales = g.constant(np.array([1, 1, side, side]))

    def mean(x: str) -> str:
        return g("AveragePool", g("Pad", x, pads), kernel_shape=[side] * 2, strides=[side] * 2)

    ones = g("Expand", g.constant(np.ones((1, 1, 1, 1))), g("Concat", g.integers(1, 1), size, axis=0))
    part = mean(ones)

    def attend(f: str, channel: nn.Linear) -> tuple[str, tuple[str, ...]]:
        cells = g("Sigmoid", g.layer(g("Div", mean(f), part), channel))
        wide = g(
            "Resize",
            cells,
            "",
            scales,
            mode="nearest",
            coordinate_transformation_mode="asymmetric",
            nearest_mode="floor",
        )
        own = g("Slice", wide, "before", reach, g.integers(2, 3))
        # the same shape, but known to be: a runtime does not know what `before` will be
        values = g.integers(1, channel.out_features)
        return g("Reshape", own, g("Concat", values, size, axis=0)), ()

    return attend


def _block(
    g: Nodes,
    places: Places,
    block: Block,
    x: str,
    condition: str,
    choose: Callable[[str], str],
    attend: Attend,
) -> tuple[str, tuple[str, ...]]:
    """One block; returns its map, and its logits, mask and means (if any), each 1 x ...."""
    mixer = block.mixer
    V, C = mixer.project_v.weight.shape
    M = mixer.window

    # the predictor
    p = mixer.predictor
    v = g.layer(x, mixer.project_v)
    weight, bias = array_of(p.project_in.weight)[:, :, None, None], array_of(p.project_in.bias)
    weight, bias = weight - weight.mean(axis=0), bias - bias.mean()  # the norm's mean is subtracted here
    f = g.add(g.conv(v, weight[:, :V]), g.conv(condition, weight[:, V:], bias))
    f = g.leaky(g.norm(f, p.norm, centred=True))
    logits = _logits(g, f, p)
    mask = choose(logits)
    spatial = g("Sigmoid", g.layer(f, p.spatial))
    channel, means = attend(f, p.channel)

    # attention, where it is wanted; convolution everywhere else
    attended = g("Greater", g("Reshape", mask, g.integers(-1)), g.constant(np.float32(0)))
    index = g("Reshape", g("NonZero", attended), g.integers(-1))
    runs = places.runs_of(index)

    def runs_of_map(x: str, channels: int) -> str:
        """1 x c x H x W -> H * columns x M*c."""
        return g("Reshape", g("Transpose", x, perm=[0, 2, 3, 1]), g.integers(-1, M * channels))

    def windows_of_runs(x: str, channels: int) -> str:
        """The attended windows of a map, H * columns x M*c: K x M*M x c."""
        return g("Reshape", g("Gather", x, runs, axis=0), g.integers(-1, M * M, channels))

    # one transposition for all that read x: OpenVINO drops one that has one reader, and computes others
    x_runs = runs_of_map(x, C)
    own = windows_of_runs(x_runs, C)
    hidden, last = p.offsets[0], p.offsets[2]
    assert isinstance(hidden, nn.Linear)
    assert isinstance(last, nn.Linear)
    width = p.project_in.out_features
    features = windows_of_runs(runs_of_map(f, width), width)
    offsets = g.linear(g.leaky(g.linear(features, hidden)), last)
    offsets = g.mul(g("Tanh", offsets), g.constant(np.float32(MAX_OFFSET)))
    warped = _warp(g, places, g("Reshape", x_runs, g.integers(-1, C)), offsets, index)
    q = g.linear(own, mixer.attention.project_q)
    k = g.linear(g.add(own, warped), mixer.attention.project_k)
    weights = g("Softmax", g("MatMul", q, g("Transpose", k, perm=[0, 2, 1])), axis=-1)
    attention = g(
        "Reshape", g("MatMul", weights, windows_of_runs(runs_of_map(v, V), V)), g.integers(-1, M, M * V)
    )
    plain = runs_of_map(g.mul(v, spatial), V)
    share = g(
        "Reshape", g("Gather", g("Reshape", mask, g.integers(-1)), index, axis=0), g.integers(-1, 1, 1)
    )
    rest = g.sub(g.constant(np.float32(1)), share)
    blended = g.add(g.mul(attention, share), g.mul(g("Gather", plain, runs, axis=0), rest))
    where = g("Reshape", runs, g.integers(-1, 1))
    mixed = g("ScatterND", plain, where, g("Reshape", blended, g.integers(-1, M * V)))
    shape = g("Concat", g.integers(1), places.height_1, places.width_1, g.integers(V), axis=0)
    y = g("Transpose", g("Reshape", mixed, shape), perm=[0, 3, 1, 2])

    # local mixing, and the feed-forward
    local = y
    for convolution in mixer.local:
        local = g.layer(local, convolution)
    y = g.layer(g.add(g.mul(g("Gelu", local), channel), y), mixer.project_out)
    x = g.norm(g.add(x, y), block.norm1)
    feed = block.feed_forward
    a, b = (_half(g, feed, x, half) for half in (0, 1))
    y = g.norm(g.add(x, g.layer(g.mul(g("Gelu", a), b), feed.project_out)), block.norm2)
    return y, (logits, mask, *means)


def _half(g: Nodes, feed: FeedForward, x: str, half: int) -> str:
    """The first or second half of what the feed-forward has inside: splitting it would be a copy."""
    inside, kernel = array_of(feed.project_in.weight), array_of(feed.depthwise.weight)
    bias = bias_of(feed.depthwise)
    width = len(inside) // 2
    part = slice(half * width, half * width + width)
    wide = g.conv(x, inside[part, :, None, None])
    return g.conv(wide, kernel[part], None if bias is None else bias[part], pads=[1, 1, 1, 1], group=width)


def _logits(g: Nodes, f: str, p: Predictor) -> str:
    """1 x hidden x H x W -> 1 x N, log-odds of attention."""
    M = p.window
    first, last = p.mask[0], p.mask[2]
    assert isinstance(first, nn.Linear)
    assert isinstance(last, nn.Linear)
    mean = g("ReduceMean", f, g.integers(1), keepdims=1)
    score = g.conv(mean, array_of(first.weight).reshape(-1, 1, M, M), bias_of(first), strides=[M, M])
    weight, bias = array_of(last.weight), array_of(last.bias)
    score = g.conv(g.leaky(score), (weight[:1] - weight[1:])[:, :, None, None], bias[:1] - bias[1:])
    return g("Reshape", score, g.integers(1, -1))


def _warp(g: Nodes, places: Places, table: str, offsets: str, index: str) -> str:
    """Read a map, H*W x C, bilinearly at moved positions, the border's value beyond it: K x M*M x C.

    A corner beyond the border is the border's pixel, so that a position outside reads it whatever its
    fraction is: no fractional position is ever clamped.
    """
    whole = g("Floor", offsets)
    fraction = g.sub(offsets, whole)
    steps = g("Split", g("Cast", whole, to=TensorProto.INT32), outputs=2, axis=2, num_outputs=2)
    right, below = g("Split", fraction, outputs=2, axis=2, num_outputs=2)  # each K x M*M x 1
    zero, one = g.constant(np.int32(0), np.int32), g.constant(np.int32(1), np.int32)
    near: list[str] = []
    far: list[str] = []
    for step, place, last in zip(
        steps, places.corners_of(index), (places.right, places.bottom), strict=True
    ):
        at = g.add(g("Squeeze", step, g.integers(2)), place)
        near.append(g("Min", g("Max", at, zero), last))
        far.append(g("Min", g("Max", g.add(at, one), zero), last))
    unit = g.constant(np.float32(1))
    left, above = g.sub(unit, right), g.sub(unit, below)
    result = ""
    for row, down in ((near[1], above), (far[1], below)):
        start = g.mul(row, places.stride)
        for column, across in ((near[0], left), (far[0], right)):
            tap = g.mul(g("Gather", table, g.add(start, column), axis=0), g.mul(down, across))
            result = g.add(result, tap) if result else tap
    return result
