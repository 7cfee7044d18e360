"""What an ONNX graph is written with: nodes by name, and what depends on the shape of an input alone."""

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from camixersr.nn.predictor import SLOPE

__all__ = ["Nodes", "Places", "array_of", "bias_of"]

Array = NDArray[Any]


class Nodes:
    """Nodes in the order of computation; every value is known by its name, a string."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self.initializers: list[onnx.TensorProto] = []

    def __call__(self, operator: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """Add a node; returns its output's name, or a list where there are several."""
        number = len(self.nodes)
        names = [f"{operator}_{number}" + (f"_{k}" if outputs > 1 else "") for k in range(outputs)]
        self.nodes.append(helper.make_node(operator, list(inputs), names, names[0], **attributes))
        return names if outputs > 1 else names[0]

    def constant(self, value: Any, dtype: Any = np.float32) -> str:
        """A constant; equal ones are stored once."""
        array = np.ascontiguousarray(value, dtype=dtype).reshape(np.shape(value))
        key = (str(array.dtype), array.shape, array.tobytes())
        if key not in self.constants:
            name = f"constant_{len(self.constants)}"
            self.constants[key] = name
            self.initializers.append(numpy_helper.from_array(array, name))
        return self.constants[key]

    def integers(self, *values: int) -> str:
        """A list of int64."""
        return self.constant(values, np.int64)

    def integer(self, value: int) -> str:
        """One int64, without dimensions."""
        return self.constant(np.int64(value), np.int64)

    # arithmetic --------------------------------------------------------------------------------------

    def add(self, a: str, b: str) -> str:
        """The sum."""
        return self("Add", a, b)

    def sub(self, a: str, b: str) -> str:
        """The difference."""
        return self("Sub", a, b)

    def mul(self, a: str, b: str) -> str:
        """The product."""
        return self("Mul", a, b)

    # layers, on 1 x C x H x W ------------------------------------------------------------------------

    def conv(self, x: str, weight: Array, bias: Array | None = None, **attributes: Any) -> str:
        """A convolution."""
        inputs = [x, self.constant(weight)] + ([] if bias is None else [self.constant(bias)])
        return self("Conv", *inputs, kernel_shape=list(weight.shape[2:]), **attributes)

    def layer(self, x: str, layer: nn.Module) -> str:
        """A convolution, or a linear layer as a 1x1 convolution."""
        if isinstance(layer, nn.Linear):
            return self.conv(x, array_of(layer.weight)[:, :, None, None], bias_of(layer))
        assert isinstance(layer, nn.Conv2d)
        pad, dilation = layer.padding[0], layer.dilation[0]
        assert not isinstance(pad, str)
        return self.conv(
            x,
            array_of(layer.weight),
            bias_of(layer),
            pads=[int(pad)] * 4,
            dilations=[dilation] * 2,
            group=layer.groups,
        )

    def leaky(self, x: str) -> str:
        """LeakyReLU with the predictor's slope."""
        return self("LeakyRelu", x, alpha=SLOPE)

    def norm(self, x: str, layer: nn.LayerNorm, *, centred: bool = False) -> str:
        """LayerNorm over channels, whose mean may be 0 already."""
        channels = self.integers(1)
        if not centred:
            x = self.sub(x, self("ReduceMean", x, channels, keepdims=1))
        variance = self("ReduceMean", self.mul(x, x), channels, keepdims=1)
        deviation = self("Sqrt", self.add(variance, self.constant(np.float32(layer.eps))))
        scaled = self.mul(self("Div", x, deviation), self.constant(array_of(layer.weight)[:, None, None]))
        return self.add(scaled, self.constant(array_of(layer.bias)[:, None, None]))

    # layers, on ... x C ------------------------------------------------------------------------------

    def linear(self, x: str, layer: nn.Linear) -> str:
        """A linear layer."""
        y = self("MatMul", x, self.constant(array_of(layer.weight).T))
        bias = bias_of(layer)
        return y if bias is None else self.add(y, self.constant(bias))


def array_of(tensor: Any) -> Array:
    """A tensor as a constant: float32."""
    return np.asarray(tensor.detach().float().cpu().numpy(), np.float32)


def bias_of(layer: Any) -> Array | None:
    """A layer's, likewise."""
    return None if layer.bias is None else array_of(layer.bias)


class Places:
    """What depends on the shape of an input alone (of `like`, whose axis `first` is H): counted once."""

    def __init__(self, g: Nodes, window: int, like: str, first: int) -> None:
        M = window
        self.g, self.M = g, M
        shape = g("Shape", like)
        self.height, self.width = (g("Gather", shape, g.integer(first + i), axis=0) for i in range(2))
        self.rows, self.columns = (g("Div", length, g.integer(M)) for length in (self.height, self.width))
        # lists of one, for Reshape and Concat
        one = g.integers(0)
        self.height_1, self.width_1, self.columns_1, self.rows_1 = (
            g("Unsqueeze", each, one) for each in (self.height, self.width, self.columns, self.rows)
        )
        self.bottom, self.right = (
            g("Cast", g.sub(each, g.integer(1)), to=TensorProto.INT32) for each in (self.height, self.width)
        )
        self.stride = g("Cast", self.width, to=TensorProto.INT32)
        self.run = g.mul(self.columns, g.integer(M - 1))
        self.runs = g.mul(g.constant(np.arange(M)[None], np.int64), self.columns)  # 1 x M

    def position(self) -> str:
        """1 x 2 x H x W: where a pixel sits inside its window; first the row, then the column."""
        g, M = self.g, self.M
        side = np.linspace(-1.0, 1.0, M, dtype=np.float32)
        own = np.stack(np.broadcast_arrays(side[:, None], side[None, :]))[None]
        ones = g.integers(1, 1)
        return g("Tile", g.constant(own), g("Concat", ones, self.rows_1, self.columns_1, axis=0))

    def runs_of(self, index: str) -> str:
        """K -> K x M: the runs (rows of a window) of the windows at `index`, in the list of all."""
        g = self.g
        row = g("Div", index, self.columns)
        first = g.add(index, g.mul(row, self.run))  # row * M * columns + column
        return g.add(g("Unsqueeze", first, g.integers(1)), self.runs)

    def corners_of(self, index: str) -> tuple[str, str]:
        """K -> the pixel column and row of every token, each K x M*M int32."""
        g, M = self.g, self.M
        row = g("Div", index, self.columns)
        column = g.sub(index, g.mul(row, self.columns))
        inside = np.arange(M * M)[None]

        def pixel(window: str, within: NDArray[np.int64]) -> str:
            first = g("Cast", g.mul(window, g.integer(M)), to=TensorProto.INT32)
            return g.add(g("Unsqueeze", first, g.integers(1)), g.constant(within, np.int32))

        return pixel(column, inside % M), pixel(row, inside // M)
