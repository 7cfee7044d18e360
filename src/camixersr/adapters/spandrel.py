"""spandrel's interface: programs that load models through it (chaiNNer, ComfyUI and others) load ours.

>>> from camixersr.adapters.spandrel import install
>>> install()                                                                   # doctest: +SKIP
>>> spandrel.ModelLoader().load_from_file("CAMixerSR_S.pth").scale              # doctest: +SKIP
4

spandrel hands over tensors alone, without what our files say beside them. So the embedded models are known
by their tensors, and keep their thresholds. Any other network attends the share of every picture's windows;
`load` reads a file with all that it says.
"""

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from camixersr.catalogue import embedded, find
from camixersr.errors import CamixerError, CheckpointError, MissingExtraError
from camixersr.extras import install_line
from camixersr.models import Config, make
from camixersr.models.shapes import infer_config
from camixersr.official import rename_official
from camixersr.weights import Model, load_file

__all__ = ["Enlarger", "install", "load"]

ID = "CAMixerSR"
"""The architecture's name in spandrel."""

SIZES = {36: "S", 48: "M", 60: "B"}
"""The paper's names of networks, by their channels."""


class Enlarger(nn.Module):
    """A network at one attention ratio: an image in, an image out.

    Args:
        model: whose network.
        attention_ratio: gamma in [0, 1].

    Raises:
        ValueRangeError: the ratio lies outside [0, 1].
    """

    def __init__(self, model: Model, attention_ratio: float) -> None:
        super().__init__()
        self.network = model.network
        self.policy = model.policy(attention_ratio)

    def forward(self, low: Tensor) -> Tensor:
        """B x 3 x H x W, RGB in [0, 1], any H and W from 1 -> B x 3 x sH x sW, not clamped."""
        return self.network.route(low, self.policy)[0]


def install(attention_ratio: float = 0.5) -> None:
    """Have spandrel know our networks; called again, it changes the ratio of what is loaded from then on.

    Args:
        attention_ratio: gamma in [0, 1] of every model: 0 is fastest, 1 attends everything.

    Raises:
        MissingExtraError: spandrel is not installed.
        ValueRangeError: the ratio lies outside [0, 1].
    """
    spandrel = _spandrel()
    known = spandrel.MAIN_REGISTRY.get(ID)
    if known is None:
        known = spandrel.ArchSupport.from_architecture(_architecture(spandrel))
        spandrel.MAIN_REGISTRY.add(known)
    known.architecture.use(attention_ratio)


def load(path: str | Path, attention_ratio: float = 0.5) -> Any:
    """A file as spandrel's `ImageModelDescriptor`, with all that it says; `install` is not needed.

    Args:
        path: our safetensors, or an authors' `.pth`.
        attention_ratio: gamma in [0, 1].

    Raises:
        CheckpointError: the file is missing, damaged, or no network that we know.
        MissingExtraError: spandrel is not installed.
        ValueRangeError: the ratio lies outside [0, 1].
    """
    spandrel = _spandrel()
    architecture = _architecture(spandrel)
    architecture.use(attention_ratio)
    return architecture.describe(load_file(path))


def _spandrel() -> Any:
    try:
        return import_module("spandrel")
    except ImportError as error:
        raise MissingExtraError(f"this needs spandrel ({error}); {install_line('spandrel')}") from error


def _config(tensors: Mapping[str, Any]) -> Config | None:
    """The network's shape, if the tensors are those of one of ours."""
    if not any(".predictor." in name or ".conv_sptial." in name for name in tensors):
        return None
    try:
        return infer_config(tensors)
    except CheckpointError:
        return None


@cache
def _embedded() -> tuple[Model, ...]:
    return tuple(find(name) for name in embedded())


def _model(tensors: Mapping[str, Tensor], config: Config) -> Model:
    """The embedded model that has these tensors, or one that is told nothing beside them."""
    for model in _embedded():
        own = model.network.state_dict()
        if own.keys() == tensors.keys() and all(
            own[name].shape == value.shape and torch.equal(own[name], value.to(own[name]))
            for name, value in tensors.items()
        ):
            config = model.config
            break
    else:
        model = None
    network = make(config)
    own = network.state_dict()
    network.load_state_dict({name: value.reshape(own[name].shape) for name, value in tensors.items()})
    network.eval().requires_grad_(False)
    if model is None:
        return Model(ID, network)
    return Model(model.name, network, model.calibration, restores=model.restores)


def _architecture(spandrel: Any) -> Any:
    """Our architecture; a class of spandrel's, which is only known here."""

    class Architecture(spandrel.Architecture):
        """See `spandrel.Architecture`."""

        def __init__(self) -> None:
            super().__init__(
                id=ID, name=ID, detect=lambda state: _config(rename_official(state)) is not None
            )
            self._ratio = 0.5

        def use(self, attention_ratio: float) -> None:
            _embedded()[0].policy(attention_ratio)  # complains now
            self._ratio = attention_ratio

        def load(self, state_dict: dict[str, Any]) -> Any:
            tensors = rename_official(state_dict)
            config = _config(tensors)
            if config is None:
                raise CheckpointError("expected the tensors of a CAMixerSR")
            try:
                return self.describe(_model(tensors, config))
            except (KeyError, RuntimeError) as error:
                raise CamixerError(f"the tensors do not fit a CAMixerSR: {error}") from error

        def describe(self, model: Model) -> Any:
            config, enlarger = model.config, Enlarger(model, self._ratio).eval()
            # what pools over the whole picture, or ranks its windows, wants to see all of it
            local = getattr(config, "pool", 0) > 0 and model.calibration is not None
            return spandrel.ImageModelDescriptor(
                enlarger,
                enlarger.state_dict(),
                architecture=self,
                purpose="SR" if config.scale > 1 else "Restoration",
                tags=[SIZES.get(config.channels, f"{config.channels}ch"), f"ratio {self._ratio:g}"],
                supports_half=False,
                supports_bfloat16=False,
                scale=config.scale,
                input_channels=3,
                output_channels=3,
                size_requirements=spandrel.SizeRequirements(minimum=1),
                tiling=spandrel.ModelTiling.SUPPORTED if local else spandrel.ModelTiling.DISCOURAGED,
            )

    return Architecture()
