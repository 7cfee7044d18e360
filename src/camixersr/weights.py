"""Files of weights: our own safetensors format, the authors' checkpoints, and the catalogue of names.

Our file is self-contained: its metadata holds the network's configuration, the routing calibration,
where the weights come from and what they score. The authors' `.pth` files are read with torch's
restricted unpickler, renamed and reshaped (their 1x1 convolutions are our linear layers), and
checked name by name. Their parameter names appear in this file and nowhere else.
"""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as serialise
from torch import Tensor, nn

from camixersr.errors import CheckpointError
from camixersr.image.degradation import Degradation
from camixersr.image.files import replacing
from camixersr.models import (
    CAMixerSR,
    CAMixerSRConfig,
    Classes,
    Config,
    Network,
    OmniSR,
    OmniSRConfig,
    PatchClassifier,
    make,
)
from camixersr.nn.routing import Calibration, Policy, TopShare

__all__ = ["Model", "infer_config", "load_file", "rename_official", "save"]

FORMAT = "camixersr/1"

CLASSIFIER = "classifier."
"""Before the names of a ClassSR classifier's tensors."""

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

CLASSIC_RENAMES = ((r"\.mixer\.project_([qk])\.", r".mixer.attention.project_\1."),)
OMNI_RENAMES = (
    (r"^dcn\.", "deformed."),
    (r"^offset_conv\.", "guide."),
    (r"^body\.(\d+)\.offset_conv\.", r"body.\1.guide."),
    (r"\.conv_offset\.", ".guide."),
)


@dataclass(frozen=True)
class Model:
    """A network with what its file says of it.

    Attributes:
        name: catalogue name, or the file's stem.
        network: in evaluation mode, on the CPU, gradients off.
        calibration: thresholds for the attention ratio; None if there are none.
        provenance: where the weights come from: data, licences, recipe, hours, machine.
        scores: PSNR in dB by "set/ratio", with the protocol under "protocol".
        sha256: of the file.
        restores: what the network undoes, at scale 1; None for one that enlarges.
        classes: of a ClassSR, whose patches' classes choose the attention ratio; None of any other.
    """

    name: str
    network: Network
    calibration: Calibration | None = None
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    scores: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sha256: str = ""
    restores: Degradation | None = None
    classes: Classes | None = None

    @property
    def config(self) -> Config:
        """The network's shape."""
        return self.network.config

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        networks = [self.network, *([self.classes.classifier] if self.classes is not None else [])]
        return sum(parameter.numel() for network in networks for parameter in network.parameters())

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


def save(path: str | Path, model: Model) -> None:
    """Write a model in our format, whole or not at all.

    Args:
        path: the file, usually `.safetensors`.
        model: what to write; its `sha256` is not stored.

    Raises:
        OutputError: the file cannot be written.
    """
    metadata = {
        "format": FORMAT,
        "name": model.name,
        "architecture": type(model.network).__name__,
        "config": json.dumps(asdict(model.config)),
        "provenance": json.dumps(dict(model.provenance)),
        "scores": json.dumps(dict(model.scores)),
    }
    if model.calibration is not None:
        metadata["calibration"] = json.dumps(asdict(model.calibration))
    if model.restores is not None:
        metadata["restores"] = json.dumps(asdict(model.restores))
    tensors = {name: value.contiguous() for name, value in model.network.state_dict().items()}
    if model.classes is not None:
        metadata["classes"] = json.dumps({"ratios": model.classes.ratios})
        for name, value in model.classes.classifier.state_dict().items():
            tensors[f"{CLASSIFIER}{name}"] = value.contiguous()
    content = _in_order(serialise(tensors, metadata=metadata))
    with replacing(path) as partial:
        partial.write_bytes(content)


def _in_order(content: bytes) -> bytes:
    """The same safetensors with its metadata in the order of their names: the library's varies.

    The format is the header's length in 8 bytes, the header in JSON, and the tensors.
    """
    start = 8 + int.from_bytes(content[:8], "little")
    header = json.loads(content[8:start])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    ordered += b" " * (-len(ordered) % 8)  # tensors begin at multiples of 8
    return len(ordered).to_bytes(8, "little") + ordered + content[start:]


def load_file(path: str | Path) -> Model:
    """Read a model: our safetensors, or an authors' `.pth` (their `params_ema` where there is one).

    Args:
        path: the file; its content decides what it is, not its name.

    Returns:
        The model, ready for inference.

    Raises:
        CheckpointError: the file is missing, damaged, unsafe, or no network that we know.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(
            f"{path}: expected a file of weights, but {error.strerror or error}"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    # Torch's zip, or its older format. The length that a safetensors file begins with may look like either,
    # but is followed by the header, where those two have no brace.
    pickled = (content[:2] == b"PK" or content[:1] == b"\x80") and content[8:9] != b"{"
    model = _load_official(path) if pickled else _load_ours(path)
    model.network.eval().requires_grad_(False)
    if model.classes is not None:
        model.classes.classifier.eval().requires_grad_(False)
    return replace(model, sha256=digest)


def _load_ours(path: Path) -> Model:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected a safetensors file or an authors' .pth checkpoint, but it is neither "
            f"or is damaged ({error})"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{path}: expected weights in the format {FORMAT}, got {metadata.get('format', 'none')}; "
            "convert the checkpoint with `camixersr models convert`"
        )
    architecture = metadata.get("architecture", CAMixerSR.__name__)
    if architecture not in (CAMixerSR.__name__, OmniSR.__name__):
        raise CheckpointError(
            f"{path}: its network, {architecture}, is somebody's own; read its tensors with "
            "safetensors.torch.load_file into that class"
        )
    try:
        config: dict[str, Any] = json.loads(metadata["config"])
        config["blocks"] = tuple(config["blocks"])
        omni = architecture == OmniSR.__name__
        shape: Config = OmniSRConfig(**config) if omni else CAMixerSRConfig(**config)
        calibration = None
        if "calibration" in metadata:
            given = json.loads(metadata["calibration"])
            calibration = Calibration(
                tuple(given["ratios"]), tuple(tuple(row) for row in given["thresholds"])
            )
        restores = Degradation(**json.loads(metadata["restores"])) if "restores" in metadata else None
        provenance, scores = json.loads(metadata["provenance"]), json.loads(metadata["scores"])
        classes = None
        if "classes" in metadata:
            classes = Classes(PatchClassifier(), tuple(json.loads(metadata["classes"])["ratios"]))
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path}: its metadata is damaged ({error!r})") from error
    network = make(shape)
    if classes is not None:
        if calibration is None:
            raise CheckpointError(f"{path}: expected the routing thresholds that its classes choose from")
        own = {name: value for name, value in tensors.items() if name.startswith(CLASSIFIER)}
        _fill(classes.classifier, {name.removeprefix(CLASSIFIER): own[name] for name in own}, path)
        tensors = {name: tensors[name] for name in tensors if name not in own}
    _fill(network, tensors, path)
    name = metadata.get("name", path.stem)
    return Model(name, network, calibration, provenance, scores, restores=restores, classes=classes)


def _load_official(path: Path) -> Model:
    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True)  # restricted unpickler
    except Exception as error:  # the unpickler raises many kinds, all of which mean the same here
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise CheckpointError(
            f"{path}: expected a checkpoint of plain tensors, but it is damaged or holds other objects "
            f"({first})"
        ) from error
    state: Any = content
    for key in ("params_ema", "params"):
        if isinstance(content, dict) and key in content:
            state = content[key]
            break
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise CheckpointError(
            f"{path}: expected the tensors of a network under params_ema or params, found something else"
        )
    tensors = rename_official(state)
    network = make(infer_config(tensors, path))
    own = network.state_dict()
    shaped = {
        name: value.reshape(own[name].shape)
        if name in own and value.numel() == own[name].numel()
        else value
        for name, value in tensors.items()
    }
    _fill(network, shaped, path)
    return Model(path.stem, network, provenance={"source": f"authors' checkpoint {path.name}"})


def rename_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the authors' parameters to ours; shapes stay as they are."""
    omni = any(name.startswith("offset_conv.") for name in state)
    renamed: dict[str, Tensor] = {}
    for name, value in state.items():
        for pattern, replacement in (*RENAMES, *(OMNI_RENAMES if omni else CLASSIC_RENAMES)):
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def infer_config(tensors: Mapping[str, Tensor], path: str | Path = "checkpoint") -> Config:
    """Read the network's shape off its tensors.

    Args:
        tensors: under our names, of any shape that holds the right number of elements.
        path: named in errors.

    Returns:
        The configuration.

    Raises:
        CheckpointError: the tensors are neither those of a classic CAMixerSR nor of an OmniSR.
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
            f"{path}: expected the tensors of a CAMixerSR, classic or omnidirectional, but {missing} "
            "is not there"
        ) from missing
    scale = math.isqrt(outputs // 3)
    if 3 * scale**2 != outputs or sorted(groups) != list(range(len(groups))):
        raise CheckpointError(
            f"{path}: expected 3 s^2 output channels and consecutive groups, got {outputs} channels and "
            f"groups {sorted(groups)}"
        )
    blocks = tuple(len(groups[group]) for group in sorted(groups))
    if omni:
        return OmniSRConfig(channels=channels, scale=scale, blocks=blocks, window=window)
    latitude = "latitude.weight" in tensors
    return CAMixerSRConfig(channels, scale, blocks, window, latitude, **widths)


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load `tensors` into `network`; every name and shape must match."""
    own = network.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    wrong = [name for name in own.keys() & tensors.keys() if own[name].shape != tensors[name].shape]
    if missing or extra or wrong:
        parts = [
            f"{label} {', '.join(names[:3])}{' ...' if len(names) > 3 else ''}"
            for label, names in (
                ("missing", missing),
                ("unknown", extra),
                ("of another shape", sorted(wrong)),
            )
            if names
        ]
        raise CheckpointError(f"{path}: the tensors do not fit the network: {'; '.join(parts)}")
    network.load_state_dict(dict(tensors))
