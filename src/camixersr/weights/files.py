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
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialise

from camixersr.errors import CheckpointError
from camixersr.image.degradation import Degradation
from camixersr.image.files import open_regular, printable, replacing, shown
from camixersr.models.calibration import Calibration
from camixersr.models.classes import CLASSES, Classes
from camixersr.models.config import CAMixerSRConfig, Config
from camixersr.models.shapes import infer_config, shapes_of
from camixersr.weights.model import KINDS, Arrays, Model, Weights, arrays_of

if TYPE_CHECKING:
    from torch import Tensor, nn


__all__ = ["load_file", "plain_name", "save"]

logger = logging.getLogger(__name__)

FORMER_NAMES = {"OmniSR": "OmniCAMixerSR"}
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
        "architecture": model.architecture,
        "config": json.dumps(asdict(model.config)),
        "provenance": json.dumps(dict(model.provenance)),
        "scores": json.dumps(dict(model.scores)),
    }
    if model.calibration is not None:
        metadata["calibration"] = json.dumps(asdict(model.calibration))
    if model.restores is not None:
        metadata["restores"] = json.dumps(asdict(model.restores))
    tensors = dict(model.arrays)
    if model.classes is not None:
        metadata["classes"] = json.dumps({"ratios": model.classes.ratios})
        for name, value in arrays_of(model.classes.classifier).items():
            tensors[f"{CLASSIFIER}{name}"] = value
    if model.branches:
        metadata["branches"] = json.dumps([asdict(each.config) for each in model.branches[:-1]])
        for number, each in enumerate(model.branches[:-1]):
            for name, value in arrays_of(each).items():
                tensors[f"{BRANCH}{number}.{name}"] = value
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
    logger.debug("model %s: %d weights, SHA-256 %s", model.name, model.parameters, digest[:16])
    return replace(model, sha256=digest)


def _load_ours(path: Path) -> Model:
    try:
        with safe_open(path, framework="np") as file:
            metadata = file.metadata() or {}
            tensors: dict[str, NDArray[Any]] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except TypeError:
        metadata, tensors = _load_in_torch(path)
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
    architecture = str(metadata.get("architecture", "CAMixerSR"))
    architecture = FORMER_NAMES.get(architecture, architecture)
    if architecture not in KINDS:
        raise CheckpointError(
            f"{shown(path)}: its network, {printable(architecture)}, is somebody's own; read its tensors "
            "with safetensors.torch.load_file into that class"
        )
    try:
        shape = _config(KINDS[architecture], metadata)
        calibration = _calibration(metadata, blocks=sum(shape.blocks))
        restores = Degradation(**json.loads(metadata["restores"])) if "restores" in metadata else None
        provenance, scores = json.loads(metadata["provenance"]), json.loads(metadata["scores"])
        if not isinstance(provenance, dict) or not isinstance(scores, dict):
            raise TypeError("provenance and scores are no tables")
        classes = None
        if "classes" in metadata:
            from camixersr.models.classsr import PatchClassifier

            classifier = PatchClassifier().eval().requires_grad_(False)
            classes = Classes(classifier, tuple(json.loads(metadata["classes"])["ratios"]))
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown(path)}: its metadata is damaged ({error!r})") from error
    branches, tensors = _take_branches(metadata, tensors, path)
    own = {name: value for name, value in tensors.items() if not name.startswith(CLASSIFIER)}
    _require_true(shape, infer_config(own, path), path)
    weights = _filled(shape, own, path)
    if branches:
        branches = (*branches, weights)
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
        weights,
        calibration,
        provenance,
        scores,
        restores=restores,
        classes=classes,
        branches=branches,
    )


def _take_branches(
    metadata: Mapping[str, str], tensors: Mapping[str, NDArray[Any]], path: Path
) -> tuple[tuple[Weights, ...], dict[str, NDArray[Any]]]:
    """All networks of a ClassSR but the last, and the tensors that are left."""
    rest = {name: value for name, value in tensors.items() if not name.startswith(BRANCH)}
    if "branches" not in metadata:
        return (), dict(tensors)
    try:
        given = json.loads(metadata["branches"])
        shapes = [_config(CAMixerSRConfig, {"config": json.dumps(each)}) for each in given]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{shown(path)}: its metadata is damaged ({error!r})") from error
    networks: list[Weights] = []
    for number, shape in enumerate(shapes[:CLASSES]):
        own = _of_branch(tensors, number)
        _require_true(shape, infer_config(own, path), path)
        networks.append(_filled(shape, own, path))
    return tuple(networks), rest


def _of_branch(tensors: Mapping[str, Any], number: int) -> dict[str, Any]:
    own = f"{BRANCH}{number}."
    return {name.removeprefix(own): value for name, value in tensors.items() if name.startswith(own)}


def _require_branches(branches: tuple[Weights, ...], classes: Classes | None, path: Path) -> None:
    """Refuse networks that cannot be the branches of one ClassSR."""
    if classes is None or len(branches) != CLASSES or len({each.config.scale for each in branches}) != 1:
        raise CheckpointError(
            f"{shown(path)}: expected a classifier and {CLASSES} networks of one scale, got "
            f"{len(branches)} of x{', x'.join(str(each.config.scale) for each in branches)}"
        )


def _load_in_torch(path: Path) -> tuple[dict[str, str], dict[str, NDArray[Any]]]:
    """A file with numbers that numpy does not have, such as bfloat16."""
    with safe_open(path, framework="pt") as file:
        found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        metadata = file.metadata() or {}
    return metadata, _in_numpy(found)


def _in_numpy(tensors: "Mapping[str, Tensor]") -> dict[str, NDArray[Any]]:
    return {
        name: (value.float() if value.is_floating_point() else value).numpy()
        for name, value in tensors.items()
    }


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
    from camixersr.official import read_official

    tensors = read_official(path, content)
    provenance = {"source": f"{path.name}, a checkpoint in the authors' format"}
    name = plain_name(path.stem)
    if f"{CLASSIFIER}out.weight" not in tensors:
        return Model(name, _shaped(tensors, path), provenance=provenance)
    from camixersr.models.classsr import PatchClassifier

    branches = tuple(_shaped(_of_branch(tensors, number), path) for number in range(CLASSES))
    classes = Classes(PatchClassifier().eval().requires_grad_(False), PUBLISHED_RATIOS)
    theirs = {
        name.removeprefix(CLASSIFIER): value
        for name, value in tensors.items()
        if not name.startswith(BRANCH)
    }
    _fill(classes.classifier, _in_numpy(theirs), path)
    _require_branches(branches, classes, path)
    return Model(name, branches[-1], provenance=provenance, classes=classes, branches=branches)


def _shaped(tensors: "Mapping[str, Tensor]", path: Path) -> Weights:
    """An authors' network; their 1x1 convolutions are our linear layers."""
    shape = infer_config(tensors, path)
    expected = _expected(shape)
    shaped = {
        name: value.reshape(expected[name])
        if name in expected and value.numel() == math.prod(expected[name])
        else value
        for name, value in tensors.items()
    }
    return _filled(shape, _in_numpy(shaped), path)


def _expected(config: Config) -> Mapping[str, tuple[int, ...]]:
    """The shapes of a network's tensors, by name."""
    if config.kind == "classic":
        return shapes_of(config)
    import torch

    from camixersr.models.kinds import make

    with torch.device("meta"):
        return _shapes(make(config))


def _shapes(network: "nn.Module") -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in network.state_dict().items()}


def _filled(config: Config, arrays: Mapping[str, NDArray[Any]], path: Path) -> Weights:
    """These weights of a network of that shape, once every name and size has been compared."""
    return Weights(config, _fitting(_expected(config), arrays, path))


def _fill(network: "nn.Module", arrays: Mapping[str, NDArray[Any]], path: Path) -> None:
    """Load arrays into a network."""
    import torch

    fitting = _fitting(_shapes(network), arrays, path)
    network.load_state_dict({name: torch.from_numpy(value) for name, value in fitting.items()})


def _fitting(
    expected: Mapping[str, tuple[int, ...]], arrays: Mapping[str, NDArray[Any]], path: Path
) -> Arrays:
    """The arrays in float32; every name and shape must be one that is expected, every number be one."""
    missing, extra = sorted(expected.keys() - arrays.keys()), sorted(arrays.keys() - expected.keys())
    common = expected.keys() & arrays.keys()
    wrong = [name for name in common if expected[name] != arrays[name].shape]
    whole = [name for name in common if not np.issubdtype(arrays[name].dtype, np.floating)]
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
    for name in expected:
        if not np.isfinite(arrays[name]).all():
            raise CheckpointError(f"{shown(path)}: expected finite weights, got NaN or infinity in {name}")
    return {name: np.array(arrays[name], np.float32) for name in expected}
