"""Files of weights: our own safetensors format, the authors' checkpoints, and the catalogue of names.

Our file is self-contained: its metadata holds the network's configuration, the routing calibration,
where the weights come from and what they score. The authors' `.pth` files (`camixersr.official`) are
reshaped, since their 1x1 convolutions are our linear layers. Either is checked name by name, and what
a file says is compared with the tensors that it has before anything is built.
"""

import hashlib
import json
import logging
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
from camixersr.image.files import open_regular, printable, replacing, shown
from camixersr.models import (
    CAMixerSR,
    CAMixerSRConfig,
    Classes,
    Config,
    Network,
    OmniCAMixerSR,
    OmniCAMixerSRConfig,
    PatchClassifier,
    make,
)
from camixersr.models.calibration import Calibration
from camixersr.models.classsr import CLASSES
from camixersr.nn.routing import Policy, TopShare
from camixersr.official import infer_config, read_official

__all__ = ["Model", "load_file", "plain_name", "save"]

logger = logging.getLogger(__name__)

FORMER_NAMES = {"OmniSR": OmniCAMixerSR.__name__}
"""What files of earlier versions call networks: that is the name of somebody else's (CVPR 2023)."""

FORMAT = "camixersr/1"

UNSEEN = ("pool",)
"""Of a configuration, what the shapes of tensors do not tell."""

CLASSIFIER = "classifier."
"""Before the names of a ClassSR classifier's tensors."""

BRANCH = "branch."
"""Before the number of a ClassSR's network and its tensors' names; the last one in our files has none."""

PUBLISHED_RATIOS = (0.25, 0.30, 0.50)
"""Attention ratios of the classes in the authors' ClassSR; its file does not tell them."""


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
        branches: of a ClassSR whose classes have networks of their own: one a class, `network` last;
            else empty.
    """

    name: str
    network: Network
    calibration: Calibration | None = None
    provenance: Mapping[str, str] = field(default_factory=dict[str, str])
    scores: Mapping[str, Any] = field(default_factory=dict[str, Any])
    sha256: str = ""
    restores: Degradation | None = None
    classes: Classes | None = None
    branches: tuple[Network, ...] = ()

    @property
    def config(self) -> Config:
        """The network's shape."""
        return self.network.config

    @property
    def parameters(self) -> int:
        """How many weights there are."""
        networks = [
            *(self.branches or (self.network,)),
            *([self.classes.classifier] if self.classes is not None else []),
        ]
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
    if model.branches:
        metadata["branches"] = json.dumps([asdict(each.config) for each in model.branches[:-1]])
        for number, each in enumerate(model.branches[:-1]):
            for name, value in each.state_dict().items():
                tensors[f"{BRANCH}{number}.{name}"] = value.contiguous()
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
        with open_regular(path) as file:
            content = file.read()
    except OSError as error:
        raise CheckpointError(
            f"{shown(path)}: expected a file of weights, but {error.strerror or error}"
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    # Torch's zip, or its older format. The length that a safetensors file begins with may look like either,
    # but is followed by the header, where those two have no brace.
    pickled = (content[:2] == b"PK" or content[:1] == b"\x80") and content[8:9] != b"{"
    model = _load_official(path, content) if pickled else _load_ours(path)
    for network in (model.network, *model.branches):
        network.eval().requires_grad_(False)
    if model.classes is not None:
        model.classes.classifier.eval().requires_grad_(False)
    logger.debug("model %s: %d weights, SHA-256 %s", model.name, model.parameters, digest[:16])
    return replace(model, sha256=digest)


def _load_ours(path: Path) -> Model:
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(
            f"{shown(path)}: expected a safetensors file or an authors' .pth checkpoint, but it is neither "
            f"or is damaged ({printable(str(error))})"
        ) from error
    if metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"{shown(path)}: expected weights in the format {FORMAT}, got "
            f"{printable(metadata.get('format', 'none'))}; convert the checkpoint with "
            "`camixersr models convert`"
        )
    architecture = str(metadata.get("architecture", CAMixerSR.__name__))
    architecture = FORMER_NAMES.get(architecture, architecture)
    if architecture not in (CAMixerSR.__name__, OmniCAMixerSR.__name__):
        raise CheckpointError(
            f"{shown(path)}: its network, {printable(architecture)}, is somebody's own; read its tensors "
            "with safetensors.torch.load_file into that class"
        )
    try:
        shape = _config(
            OmniCAMixerSRConfig if architecture == OmniCAMixerSR.__name__ else CAMixerSRConfig, metadata
        )
        calibration = _calibration(metadata, blocks=sum(shape.blocks))
        restores = Degradation(**json.loads(metadata["restores"])) if "restores" in metadata else None
        provenance, scores = json.loads(metadata["provenance"]), json.loads(metadata["scores"])
        if not isinstance(provenance, dict) or not isinstance(scores, dict):
            raise TypeError("provenance and scores are no tables")
        classes = None
        if "classes" in metadata:
            classes = Classes(PatchClassifier(), tuple(json.loads(metadata["classes"])["ratios"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown(path)}: its metadata is damaged ({error!r})") from error
    branches, tensors = _take_branches(metadata, tensors, path)
    own = {name: value for name, value in tensors.items() if not name.startswith(CLASSIFIER)}
    _require_true(shape, infer_config(own, path), path)
    network = _filled(shape, own, path)
    if branches:
        branches = (*branches, network)
        _require_branches(branches, classes, path)
    if classes is not None:
        if calibration is None and not branches:
            raise CheckpointError(
                f"{shown(path)}: expected the routing thresholds that its classes choose from"
            )
        theirs = {
            name.removeprefix(CLASSIFIER): value for name, value in tensors.items() if name not in own
        }
        _fill(classes.classifier, theirs, path)
    elif len(own) < len(tensors):
        raise CheckpointError(f"{shown(path)}: expected the attention ratios of its classifier's classes")
    name = plain_name(metadata.get("name", path.stem))
    return Model(
        name,
        network,
        calibration,
        provenance,
        scores,
        restores=restores,
        classes=classes,
        branches=branches,
    )


def _take_branches(
    metadata: Mapping[str, str], tensors: Mapping[str, Tensor], path: Path
) -> tuple[tuple[Network, ...], dict[str, Tensor]]:
    """All networks of a ClassSR but the last, and the tensors that are left."""
    rest = {name: value for name, value in tensors.items() if not name.startswith(BRANCH)}
    if "branches" not in metadata:
        return (), dict(tensors)
    try:
        given = json.loads(metadata["branches"])
        shapes = [_config(CAMixerSRConfig, {"config": json.dumps(each)}) for each in given]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown(path)}: its metadata is damaged ({error!r})") from error
    networks: list[Network] = []
    for number, shape in enumerate(shapes[:CLASSES]):
        own = _of_branch(tensors, number)
        _require_true(shape, infer_config(own, path), path)
        networks.append(_filled(shape, own, path))
    return tuple(networks), rest


def _of_branch(tensors: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    own = f"{BRANCH}{number}."
    return {name.removeprefix(own): value for name, value in tensors.items() if name.startswith(own)}


def _require_branches(branches: tuple[Network, ...], classes: Classes | None, path: Path) -> None:
    """Refuse networks that cannot be the branches of one ClassSR."""
    if classes is None or len(branches) != CLASSES or len({each.config.scale for each in branches}) != 1:
        raise CheckpointError(
            f"{shown(path)}: expected a classifier and {CLASSES} networks of one scale, got "
            f"{len(branches)} of x{', x'.join(str(each.config.scale) for each in branches)}"
        )


def _require_true(stated: Config, told: Config, path: Path) -> None:
    """Refuse a configuration that is not the one that the tensors tell."""
    said = asdict(stated)
    for name, value in asdict(told).items():
        if name not in UNSEEN and said.get(name, value) != value:
            raise CheckpointError(
                f"{shown(path)}: its metadata says {name} {printable(str(said[name]))[:40]}, its tensors "
                f"have {value}"
            )
    if type(stated) is not type(told):
        raise CheckpointError(f"{shown(path)}: its metadata names another network than its tensors make")


def _config(kind: type[Config], metadata: Mapping[str, str]) -> Config:
    """The configuration that a file states: whole numbers, and nothing that `kind` does not know."""
    given = {**json.loads(metadata["config"])}
    given["blocks"] = tuple(given["blocks"])
    for name, value in given.items():
        expected = bool if name == "latitude" else int
        if any(type(each) is not expected for each in (value if name == "blocks" else (value,))):
            raise TypeError(f"{name} is {value!r}"[:80])
    return kind(**given)


def _calibration(metadata: Mapping[str, str], *, blocks: int) -> Calibration | None:
    """The routing thresholds that a file states, one a block for every ratio."""
    if "calibration" not in metadata:
        return None
    given = json.loads(metadata["calibration"])
    ratios = tuple(float(each) for each in given["ratios"])
    rows = tuple(tuple(float(each) for each in row) for row in given["thresholds"])
    if not all(0.0 < ratio < 1.0 for ratio in ratios) or len(set(ratios)) != len(ratios):
        raise ValueError("calibration: ratios must be different and lie in (0, 1)")
    if any(len(row) != blocks or not all(map(math.isfinite, row)) for row in rows):
        raise ValueError(f"calibration: expected {blocks} finite thresholds for every ratio")
    return Calibration(ratios, rows)


def plain_name(text: str) -> str:
    r"""What a file calls its model, made fit for the name of a file: no path, nothing that is not seen.

    >>> plain_name("../../etc/x\n")
    'etc-x'
    """
    return re.sub(r"[^\w .+()-]+", "-", text).strip(" .-")[:100] or "model"


def _load_official(path: Path, content: bytes) -> Model:
    tensors = read_official(path, content)
    provenance = {"source": f"{path.name}, a checkpoint in the authors' format"}
    name = plain_name(path.stem)
    if f"{CLASSIFIER}out.weight" not in tensors:
        return Model(name, _shaped(tensors, path), provenance=provenance)
    branches = tuple(_shaped(_of_branch(tensors, number), path) for number in range(CLASSES))
    classes = Classes(PatchClassifier(), PUBLISHED_RATIOS)
    theirs = {
        name.removeprefix(CLASSIFIER): value
        for name, value in tensors.items()
        if not name.startswith(BRANCH)
    }
    _fill(classes.classifier, theirs, path)
    _require_branches(branches, classes, path)
    return Model(name, branches[-1], provenance=provenance, classes=classes, branches=branches)


def _shaped(tensors: Mapping[str, Tensor], path: Path) -> Network:
    """An authors' network; their 1x1 convolutions are our linear layers."""
    shape = infer_config(tensors, path)
    with torch.device("meta"):
        own = make(shape).state_dict()
    shaped = {
        name: value.reshape(own[name].shape)
        if name in own and value.numel() == own[name].numel()
        else value
        for name, value in tensors.items()
    }
    return _filled(shape, shaped, path)


def _filled(shape: Config, tensors: Mapping[str, Tensor], path: Path) -> Network:
    """A network of that shape with these weights, built only once every size has been compared."""
    with torch.device("meta"):
        _require_fit(make(shape), tensors, path)
    network = make(shape)
    _fill(network, tensors, path)
    return network


def _fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Load `tensors` into `network`; every name and shape must match, every number be one."""
    _require_fit(network, tensors, path)
    network.load_state_dict(dict(tensors))
    for name, value in network.state_dict().items():
        if not bool(value.isfinite().all()):
            raise CheckpointError(f"{shown(path)}: expected finite weights, got NaN or infinity in {name}")


def _require_fit(network: nn.Module, tensors: Mapping[str, Tensor], path: Path) -> None:
    own = network.state_dict()
    missing, extra = sorted(own.keys() - tensors.keys()), sorted(tensors.keys() - own.keys())
    common = own.keys() & tensors.keys()
    wrong = [name for name in common if own[name].shape != tensors[name].shape]
    whole = [name for name in common if not tensors[name].is_floating_point()]
    parts = [
        f"{label} {', '.join(map(printable, names[:3]))}{' ...' if len(names) > 3 else ''}"
        for label, names in (
            ("missing", missing),
            ("unknown", extra),
            ("of another shape", sorted(wrong)),
            ("of no floating-point numbers", sorted(whole)),
        )
        if names
    ]
    if parts:
        raise CheckpointError(f"{shown(path)}: the tensors do not fit the network: {'; '.join(parts)}")
