"""Start as the best linear upsampler instead of from noise.

The body's contribution is switched off at first (`body_tail` = 0: features pass by the skip), which
leaves head and tail, two linear maps of 3 x 3 pixels each. The head becomes the whitened principal
components of 3 x 3 photo patches, so that its features are decorrelated and of one size, fine
detail as much as brightness: that is what the normalised body can work with. The tail is then
solved by least squares, and the untrained network already is the best linear upsampler of 5 x 5
pixels: 29.2 dB on Set5 x4, where bicubic has 28.4.
"""

import pickle
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camixersr.errors import CheckpointError, InputError
from camixersr.models import Network, Trainable, make
from camixersr.models.shapes import infer_config
from camixersr.nn.predictor import Predictor
from camixersr.nn.routing import TopShare
from camixersr.weights import Model

__all__ = ["ends", "initialise_linear", "load_checkpoint", "transfer", "vary_signs", "with_leg"]

RIDGE = 1e-3  # relative to the mean square of the features; keeps the weights small, costs < 0.01 dB
FLOOR = 1e-3  # added to the variances before whitening, so that noise is not blown up


def ends(network: Trainable) -> tuple[nn.Conv2d, nn.Conv2d, nn.Conv2d] | None:
    """The layers between features and pixels, `head`, `body_tail` and `tail`; None if it has others.

    Of a network of one's own, see `Backbone`, they count if they have these names and shapes.
    """
    C, outputs = network.config.channels, 3 * network.config.scale**2
    found: list[nn.Conv2d] = []
    for name, channels in (("head", (3, C)), ("body_tail", (C, C)), ("tail", (C, outputs))):
        layer = getattr(network, name, None)
        if not isinstance(layer, nn.Conv2d) or layer.weight.shape != (*channels[::-1], 3, 3):
            return None
        if layer.bias is None:
            return None
        found.append(layer)
    return found[0], found[1], found[2]


@torch.no_grad()
def initialise_linear(network: Trainable, low: Tensor, high: Tensor, *, tail_only: bool = False) -> None:
    """Set `head`, `body_tail` and `tail` of a fresh network; or solve the tail for a body that is not.

    Args:
        network: changed in place; on the CPU; with the three `ends`.
        low: B x 3 x H x W in [0, 1]; with a fourth channel as for `CAMixerSR.forward`.
        high: B x 3 x sH x sW in [0, 1]; what comes after the third channel is not looked at.
        tail_only: leave all but `tail` as it is.
    """
    found = ends(network)
    assert found is not None
    head, body_tail, tail = found
    assert tail.bias is not None
    if not tail_only:
        _whiten(head, low[:, :3] - _mean(network))
        _zero(body_tail)
    _zero(tail)

    features = F.unfold(_before(tail, network, low), 3, padding=1).transpose(1, 2).flatten(0, 1).double()
    features = torch.cat((features, torch.ones_like(features[:, :1])), dim=1)
    wanted = (
        F.pixel_unshuffle(high[:, :3] - _mean(network), network.config.scale).flatten(2).transpose(1, 2)
    )
    wanted = wanted.flatten(0, 1).double()
    gram = features.T @ features
    gram += torch.eye(len(gram), dtype=gram.dtype) * RIDGE * gram.diagonal().mean()
    solution = torch.linalg.solve(gram, features.T @ wanted)  # (C*9 + 1) x 3s^2
    tail.weight.copy_(solution[:-1].T.reshape(tail.weight.shape))
    tail.bias.copy_(solution[-1])


@torch.no_grad()
def vary_signs(network: nn.Module) -> None:
    """Let the layers that score see something, in a fresh network that no score's gradient will shape.

    They read the mean over the predictor's features, and a layer norm leaves features whose sum is zero:
    with weights of one sign their mean varies by 0.02 about 0.4, and scores learn nothing in thousands of
    steps. With signs drawn at random it varies by 0.13.

    Args:
        network: changed in place; predictors without a norm stay as they are.
    """
    for module in network.modules():
        if isinstance(module, Predictor):
            weight = module.norm.weight
            weight.mul_(torch.where(torch.rand_like(weight) < 0.5, -1.0, 1.0))


def _mean(network: Trainable) -> Tensor:
    """What the network takes off its input and adds to its output, 3 x 1 x 1."""
    return torch.tensor(getattr(network, "mean", (0.0, 0.0, 0.0)))[:, None, None]


def _zero(layer: nn.Conv2d) -> None:
    for parameter in layer.parameters():
        parameter.zero_()


def _whiten(layer: nn.Conv2d, low: Tensor) -> None:
    assert layer.bias is not None
    patches = F.unfold(low, 3).transpose(1, 2).flatten(0, 1).double()
    mean = patches.mean(dim=0)
    variance, component = torch.linalg.eigh((patches - mean).T.cov())
    whitening = (component / (variance.clamp(min=0.0) + FLOOR).sqrt()).T.float()  # 27 x 27
    # more channels than components: random mixtures fill up; fewer: the largest variances stay
    extra = F.normalize(torch.randn(max(0, layer.out_channels - len(whitening)), len(whitening)), dim=1)
    head = torch.cat((whitening.flip(0), extra @ whitening))[: layer.out_channels]
    layer.weight.copy_(head.reshape(layer.weight.shape))
    layer.bias.copy_(-head @ mean.float())


def _before(tail: nn.Conv2d, network: Trainable, low: Tensor) -> Tensor:
    """What the last layer sees, B x C x H x W, half the windows attended."""
    seen: list[Tensor] = []
    handle = tail.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    try:
        network.route(low if network.config.latitude else low[:, :3], TopShare(0.5))
    finally:
        handle.remove()
    return torch.cat(seen)[..., : low.shape[2], : low.shape[3]]


@torch.no_grad()
def transfer(source: Network, target: Network) -> None:
    """Copy weights into a network of the same shape; at another scale, all but the last layer.

    A latitude condition that the source does not have stays as it is: zero, in a fresh network. One
    that the target does not have is left out: the target then does what the source does on the equator.

    Args:
        source: where they come from.
        target: changed in place.

    Raises:
        InputError: the shapes differ in more than the scale.
    """
    given, wanted = source.config, target.config
    fits = replace(given, scale=wanted.scale) == wanted
    if given.kind == "classic" and wanted.kind == "classic":
        fits = replace(given, scale=wanted.scale, latitude=wanted.latitude, pool=wanted.pool) == wanted
    if not fits:
        raise InputError(
            f"cannot start {target.config} from weights of {source.config}; they may differ in scale "
            "alone, in whether they are told the latitude, and in what they pool over"
        )
    own = target.state_dict()
    weights = own | {name: value for name, value in source.state_dict().items() if name in own}
    if source.config.scale != target.config.scale:
        weights |= {name: own[name] for name in own if name.startswith("tail.")}
    target.load_state_dict(weights)


def with_leg(known: Mapping[str, str], steps: int, hours: float) -> dict[str, str]:
    """Steps, hours and legs of the earlier ones and one more."""
    return {
        "steps": str(steps + int(known.get("steps", 0))),
        "hours": f"{hours + float(known.get('hours', 0)):.2f}",
        "legs": str(1 + (int(known.get("legs", 1)) if "steps" in known else 0)),
    }


def load_checkpoint(path: str | Path) -> Model:
    """The averaged weights in a run's checkpoint, to start another run from.

    Args:
        path: a `.ckpt` that the trainer wrote.

    Returns:
        The model, without calibration; its provenance counts that run's steps and hours, and those of the
        legs before it.

    Raises:
        CheckpointError: the file is none, or of a network of somebody's own.
    """
    path = Path(path)
    try:
        held = torch.load(path, map_location="cpu", weights_only=True)
        tensors = {
            name.removeprefix("network."): value
            for name, value in held["state_dict"].items()
            if name.startswith("network.")
        }
        known = held.get("earlier", {})  # checkpoints that are older do not tell
        facts = known | with_leg(known, held["global_step"], held["seconds"] / 3600)
        config = infer_config(tensors, path)
        if config.kind == "classic":
            config = replace(config, latitude="latitude.weight" in tensors, pool=held.get("pool", 0))
        network = make(config)
        network.load_state_dict(tensors)
    except (OSError, pickle.UnpicklingError, EOFError, KeyError, TypeError, RuntimeError) as error:
        raise CheckpointError(f"{path}: expected a checkpoint of the trainer, but {error}") from error
    return Model(path.stem, network, None, facts)
