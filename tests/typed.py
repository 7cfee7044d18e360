"""What a type checker says of the library's face: read by pyright in `make lint`, never run."""

# pyright: reportUnnecessaryTypeIgnoreComment=true

from pathlib import Path
from typing import Any, assert_type

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

import camixersr


def of_a_kind(array: NDArray[np.uint8], image: Image.Image, tensor: torch.Tensor, path: Path) -> None:
    upscaler = camixersr.load()
    assert_type(upscaler.upscale(array), NDArray[Any])
    assert_type(upscaler.upscale(image), Image.Image)
    assert_type(upscaler.upscale(tensor), torch.Tensor)
    assert_type(upscaler.upscale(path), camixersr.Picture)
    assert_type(upscaler.upscale("a.png"), camixersr.Picture)
    assert_type(upscaler.upscale(b"..."), camixersr.Picture)
    assert_type(upscaler.upscale([array, array]), list[NDArray[Any]])
    assert_type(upscaler.upscale([image]), list[Image.Image])
    assert_type(upscaler.upscale([tensor]), list[torch.Tensor])
    assert_type(upscaler.upscale([path]), list[camixersr.Picture])
    assert_type(camixersr.upscale(image, scale=2.5), Image.Image)
    assert_type(camixersr.restore(array), NDArray[Any])
    assert_type(camixersr.restore(path), camixersr.Picture)


def what_is_wrong_is_seen(path: Path) -> None:
    upscaler = camixersr.load()
    upscaler.upscale(7)  # pyright: ignore[reportCallIssue, reportArgumentType]
    upscaler.upscale(path, white=255)  # pyright: ignore[reportCallIssue, reportArgumentType]
    upscaler.upscale(path, atention_ratio=1)  # pyright: ignore[reportCallIssue]
