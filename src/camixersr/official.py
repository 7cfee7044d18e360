"""The authors' checkpoints (`.pth`): read without running anything, and renamed.

Their files are pickles, read by torch's restricted unpickler. Their parameter names appear in this file
and nowhere else. What a file claims is compared with the bytes that it has before anything is made of it.
"""

import io
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from camixersr.errors import CheckpointError
from camixersr.image.files import shown

__all__ = ["RENAMES", "read_official", "rename_official"]

# The authors' names -> ours, applied in order.
RENAMES = (
    (r"^global_predictor\.0\.", "global_in."),
    (r"^global_predictor\.2\.", "global_out."),
    (r"^tail\.0\.", "tail."),
    (r"^body\.(\d+)\.body_tail\.", r"body.\1.tail."),
    (r"^body\.(\d+)\.body\.", r"body.\1.blocks."),
    (r"\.ffn\.dwconv\.", ".feed_forward.depthwise."),
    (r"\.ffn\.", ".feed_forward."),
    (r"\.conv_sptial\.", ".local."),
    (r"\.route\.in_conv\.0\.", ".predictor.project_in."),
    (r"\.route\.in_conv\.1\.", ".predictor.norm."),
    (r"\.route\.out_offsets\.", ".predictor.offsets."),
    (r"\.route\.out_mask\.", ".predictor.mask."),
    (r"\.route\.out_CA\.1\.", ".predictor.channel."),
    (r"\.route\.out_SA\.0\.", ".predictor.spatial."),
)

# A ClassSR of the authors' holds a classifier and three networks: what stands before their names.
CLASSSR_RENAMES = (
    (r"^classifier\.CondNet\.0\.", "classifier.patch."),
    (r"^classifier\.CondNet\.([2468])\.", lambda found: f"classifier.hidden.{int(found[1]) // 2 - 1}."),
    (r"^classifier\.lastOut\.", "classifier.out."),
)

CLASSIC_RENAMES = ((r"\.mixer\.project_([qk])\.", r".mixer.attention.project_\1."),)
OMNI_RENAMES = (
    (r"^dcn\.", "deformed."),
    (r"^offset_conv\.", "guide."),
    (r"^body\.(\d+)\.offset_conv\.", r"body.\1.guide."),
    (r"\.conv_offset\.", ".guide."),
)


def read_official(path: Path, content: bytes) -> dict[str, Tensor]:
    """Read the tensors of a checkpoint, its `params_ema` where there is one.

    Args:
        path: the file.
        content: its bytes.

    Returns:
        The tensors under our names, in their shapes.

    Raises:
        CheckpointError: the file is damaged, unsafe, or holds anything but tensors.
    """
    try:
        if content[:2] == b"PK":
            with zipfile.ZipFile(io.BytesIO(content)) as archive:
                if sum(each.file_size for each in archive.infolist()) > len(content):
                    raise CheckpointError(f"{shown(path)}: expected a checkpoint that is not compressed")
        loaded: Any = torch.load(path, map_location="cpu", weights_only=True)  # restricted unpickler
    except CheckpointError:
        raise
    except Exception as error:
        # the unpickler raises many kinds, and gives advice that must not be followed
        what = "holds other objects" if isinstance(error, pickle.UnpicklingError) else "is damaged"
        raise CheckpointError(
            f"{shown(path)}: expected a checkpoint of plain tensors, but it {what}; nothing in it was run"
        ) from error
    state: Any = loaded
    for key in ("params_ema", "params"):
        if isinstance(loaded, dict) and key in loaded:
            state = loaded[key]
            break
    if not isinstance(state, dict) or not all(
        isinstance(name, str) and isinstance(value, Tensor) for name, value in state.items()
    ):
        raise CheckpointError(
            f"{shown(path)}: expected the tensors of a network under params_ema or params, found something "
            "else"
        )
    # a tensor may claim any shape over a single stored number
    if any(value.layout != torch.strided or value.is_quantized for value in state.values()) or (
        sum(value.numel() * value.element_size() for value in state.values()) > len(content)
    ):
        raise CheckpointError(f"{shown(path)}: expected tensors that are stored whole")
    return rename_official(state)


def rename_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' parameters to ours; shapes stay as they are.

    Of a ClassSR, `net1.` to `net3.` become `branch.0.` to `branch.2.`.
    """
    if any(name.startswith("classifier.CondNet.") for name in state):
        whole: dict[str, Tensor] = {}
        for number in range(3):
            own = f"net{number + 1}."
            part = {name.removeprefix(own): value for name, value in state.items() if name.startswith(own)}
            whole |= {f"branch.{number}.{name}": value for name, value in rename_official(part).items()}
        for name, value in state.items():
            if not name.startswith(("net1.", "net2.", "net3.")):
                for pattern, replacement in CLASSSR_RENAMES:
                    name = re.sub(pattern, replacement, name)
                whole[name] = value
        return whole
    omni = any(name.startswith("offset_conv.") for name in state)
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in (*RENAMES, *(OMNI_RENAMES if omni else CLASSIC_RENAMES)):
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed
