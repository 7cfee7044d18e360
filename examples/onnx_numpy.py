"""Enlarge a picture with an exported model: numpy, Pillow and ONNX Runtime, without torch or camixersr.

    camixersr export s-x4 --to onnx -o s-x4.onnx        # once, anywhere
    python examples/onnx_numpy.py s-x4.onnx photo.jpg large.png

Works with full and simple (`--simple`) exports. `inputs` has a sensible default for whatever the file
asks for. The picture is computed whole: large ones need memory for that.
"""

import argparse
import json
from collections.abc import Mapping

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image

WINDOW = 16
NOTHING, ALL = 1e30, -1e30
"""Thresholds that no window, and every window, reaches."""


def padded(low: NDArray[np.float32]) -> NDArray[np.float32]:
    """1 x 3 x H x W -> the same to whole windows: mirrored, or repeated where a side is too short."""
    for axis in (2, 3):
        missing = -low.shape[axis] % WINDOW
        pad = [(0, missing if each == axis else 0) for each in range(4)]
        low = np.pad(low, pad, mode="reflect" if missing < low.shape[axis] else "edge")
    return low


def inputs(
    low: NDArray[np.float32], facts: Mapping[str, str], ratio: float
) -> dict[str, NDArray[np.generic]]:
    """Everything that a full export asks for.

    Args:
        low: 1 x 3 x H x W, RGB in [0, 1], of whole windows.
        facts: the file's metadata.
        ratio: attention ratio in [0, 1].
    """
    blocks, windows = int(facts["blocks"]), low.shape[2] * low.shape[3] // WINDOW**2
    given: dict[str, NDArray[np.generic]] = {
        "low": low,
        "allowed": np.ones((blocks, windows), np.float32),  # any window may be attended
        "thresholds": np.full(blocks, ALL if ratio == 1 else NOTHING, np.float32),
        "slopes": np.ones(blocks, np.float32),
        "count": np.zeros(1, np.int64),
    }
    if ratio not in (0, 1) and "thresholds" in facts:  # between the measured ratios, linearly
        for name in ("thresholds", "slopes"):
            known = {float(key): value for key, value in json.loads(facts[name]).items()}
            rows = np.array([known[each] for each in sorted(known)])
            columns = [np.interp(ratio, sorted(known), column) for column in rows.T]
            given[name] = np.array(columns, np.float32)
    elif ratio not in (0, 1):  # not calibrated: the best windows of every block
        given["count"] = np.array([int(ratio * windows + 0.5)], np.int64)
    if "pool" in facts:  # the network pools over cells, and the picture begins with a whole one
        given["before"] = np.zeros(2, np.int64)
    else:  # it pools over the whole picture, which is all there
        given["pooled"] = np.zeros(json.loads(facts["pooled"]), np.float32)
        given["whole"] = np.ones(1, np.float32)
    return given


def enlarge(file: str, pixels: NDArray[np.uint8], ratio: float = 0.5) -> NDArray[np.uint8]:
    """Enlarge a picture.

    Args:
        file: of the exported model.
        pixels: H x W x 3, RGB.
        ratio: attention ratio in [0, 1]: 0 is fastest. A simple export has its own.

    Returns:
        sH x sW x 3.
    """
    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    low = pixels.astype(np.float32).transpose(2, 0, 1)[None] / 255
    simple = len(session.get_inputs()) == 1
    (high,) = session.run(["high"], {"low": low} if simple else inputs(padded(low), facts, ratio))
    scale = int(facts["scale"])
    high = high[0, :, : scale * pixels.shape[0], : scale * pixels.shape[1]]
    return (high.clip(0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)


def main() -> None:
    """Enlarge the picture that the command line names."""
    parser = argparse.ArgumentParser(description="Enlarge a picture with an exported model.")
    parser.add_argument("model", help="from `camixersr export --to onnx`")
    parser.add_argument("picture")
    parser.add_argument("result")
    parser.add_argument("--attention-ratio", type=float, default=0.5, help="of a full export; 0 is fastest")
    given = parser.parse_args()
    with Image.open(given.picture) as image:
        pixels = np.asarray(image.convert("RGB"))
    Image.fromarray(enlarge(given.model, pixels, given.attention_ratio)).save(given.result)


if __name__ == "__main__":
    main()
