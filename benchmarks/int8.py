"""What int8 would bring: the graph, quantised after training by ONNX Runtime, beside fp32 and bf16.

    python benchmarks/int8.py PHOTOS SET [--model s-x4] [--rounds 3] [--json FILE]

PHOTOS is a folder to calibrate on (6 patches of 96 x 96 low pixels), SET one to score on, with high/
and low/. Weights of the body's 1 x 1 and depthwise convolutions are int8 by output channel, what goes
into them is uint8, a range a layer; head, tail, predictor, softmax and attention's products stay fp32.
Seconds: the package's photograph, 256 x 192 low pixels of it, one graph of that size, in turns;
medians. Parity: PSNR against fp32 of the same, peak 1.
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from camixersr.backends.parity import sample_photo
from camixersr.catalogue import find
from camixersr.data import SUFFIXES, open_set
from camixersr.graph.build import FAR, OPSET, build
from camixersr.metrics import luma, psnr
from camixersr.speed.machine import describe
from camixersr.train.photos import PatchStream, load_photos, reduce

BODY = 30
"""Least channels on either side of a 1 x 1 convolution of the body; the predictor's have fewer."""


def inputs(model, low, ratio):
    """Of the graph, for a picture 3 x H x W and a share of windows."""
    window, blocks = model.config.window, model.network.block_count
    low = np.pad(low, ((0, 0), (0, -low.shape[1] % window), (0, -low.shape[2] % window)), mode="reflect")
    windows = low.shape[1] * low.shape[2] // window**2
    hidden = (model.config.channels + 4) // 4
    whole = {"pooled": np.zeros((blocks, hidden), np.float32), "whole": np.ones(1, np.float32)}
    return {
        "low": low[None],
        "thresholds": np.full(blocks, FAR, np.float32),
        "slopes": np.ones(blocks, np.float32),
        "count": np.array([round(ratio * windows)]),
        "allowed": np.ones((blocks, windows), np.float32),
        **({"before": np.zeros(2, np.int64)} if model.config.pool else whole),
    }


def quantise(graph: onnx.ModelProto, target: Path, feeds: list[dict]) -> None:
    sizes = {tensor.name: tensor.dims for tensor in graph.graph.initializer}
    nodes = []
    for node in graph.graph.node:
        if node.op_type == "Conv":
            out, into, height, width = sizes[node.input[1]]
            pointwise = height == width == 1 and min(out, into) >= BODY
            if pointwise or (into == 1 and out >= BODY):
                nodes.append(node.name)
    plain = target.with_suffix(".plain.onnx")
    onnx.save(graph, plain)

    class Reader(CalibrationDataReader):
        left = iter(feeds)

        def get_next(self):
            return next(self.left, None)

    quantize_static(
        plain,
        target,
        Reader(),
        quant_format=QuantFormat.QDQ,
        nodes_to_quantize=nodes,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def runners(model, graphs: dict[str, Path], size: tuple[int, int] | None):
    """Name -> inputs to high picture; graphs for one size, or any."""
    core, found = openvino.Core(), {}
    for name, path in graphs.items():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        found[f"onnxruntime {name}"] = lambda feed, session=session: session.run(["high"], feed)[0][0]
        for hint in ("f32", "bf16") if name == "fp32" else ("f32",):
            loaded = core.read_model(path)
            if size is not None:
                windows = size[0] * size[1] // model.config.window**2
                blocks = model.network.block_count
                loaded.reshape({"low": [1, 3, *size], "allowed": [blocks, windows]})
            threads = torch.get_num_threads()
            how = {
                "INFERENCE_PRECISION_HINT": hint,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,
            }
            compiled = core.compile_model(loaded, "CPU", how)
            precision = "bf16 (ends too)" if hint == "bf16" else name
            found[f"openvino {precision}"] = lambda feed, compiled=compiled: compiled(feed)["high"][0]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("photos", type=Path)
    parser.add_argument("set", type=Path)
    parser.add_argument("--model", default="s-x4")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    model = find(given.model)
    scale = model.config.scale
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        files = sorted(each for each in given.photos.rglob("*") if each.suffix.lower() in SUFFIXES)
        side = PatchStream.side_of(scale=scale, patch=96)
        photos = load_photos(files[:: max(1, len(files) // 12)], Path(folder), smallest=side)
        stream = PatchStream(photos, scale=scale, patch=96, seed=0)
        lows, _ = reduce(torch.stack([stream.patch(number) for number in range(6)]), scale)
        graphs = {name: Path(folder) / f"{name}.onnx" for name in ("fp32", "int8")}
        graph = build(model.network)
        onnx.save(graph, graphs["fp32"])
        quantise(graph, graphs["int8"], [inputs(model, low, 0.5) for low in lows.numpy()])

        pairs = [pair.read(scale) for pair in open_set(given.set).pairs]
        scores: dict[str, float] = {}
        for name, run in runners(model, graphs, None).items():
            decibel = []
            for low, high in pairs:
                planes = low.transpose(2, 0, 1).astype(np.float32) / 255
                result = run(inputs(model, planes, 0.5))[:, : high.shape[0], : high.shape[1]]
                pixels = (result.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
                decibel.append(psnr(luma(pixels), luma(high), border=scale))
            scores[name] = float(np.mean(decibel))

        low = np.ascontiguousarray(sample_photo().numpy()[:, :192, :256])
        contenders = runners(model, graphs, (192, 256))
        for ratio in (0.0, 0.5, 1.0):
            feed = inputs(model, low, ratio)
            truth = contenders["onnxruntime fp32"](feed)
            parity = {name: float(np.square(run(feed) - truth).mean()) for name, run in contenders.items()}
            took: dict[str, list[float]] = {name: [] for name in contenders}
            for _ in range(given.rounds):
                for name, run in contenders.items():
                    began = time.perf_counter()
                    run(feed)
                    took[name].append(time.perf_counter() - began)
            for name, error in parity.items():
                seconds = statistics.median(took[name])
                fp32 = statistics.median(took[f"{name.split()[0]} fp32"])
                row = {
                    "backend": name,
                    "attention_ratio": ratio,
                    "seconds": seconds,
                    "of_fp32": seconds / fp32,
                    "parity_db": None if error == 0.0 else -10.0 * float(np.log10(error)),
                    "psnr_db_at_0.5": scores[name],
                }
                rows.append(row)
                print(*row.values(), flush=True)
    if given.json:
        facts = describe() | {"model": model.name, "opset": OPSET, "rows": rows}
        given.json.write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
