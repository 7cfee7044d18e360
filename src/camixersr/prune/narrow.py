"""Make a trained network narrower: three widths, by what its features were seen to do.

Every block of the result has the same widths (`CAMixerSRConfig.keys`, `values`, `hidden`), but which
channels go is each block's own affair:

- **keys**: only products of queries with keys matter, and of those only their differences within a
  window (a softmax does not see what is added to all). That bilinear form is replaced by the closest
  of lower rank, closest in the mean square of the scores over the features that were seen: a singular
  value decomposition between two Cholesky factors.
- **values** and **hidden**: channels are taken away one at a time, each time the one without which the
  layer that reads them can be mended best, and that layer is solved by least squares for those that
  stay. Both follow from the inverse of the features' covariance (the optimal brain surgeon, for whole
  channels).

The stream between blocks keeps its width: post-normalisation ties all blocks' channels together.

Sources: Hassibi and Stork, "Second order derivatives for network pruning: Optimal Brain Surgeon",
NeurIPS 1992; He, Zhang and Sun, "Channel Pruning for Accelerating Very Deep Neural Networks", ICCV 2017
(least squares); Eckart and Young, "The approximation of one matrix by another of lower rank", 1936.
"""

from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from camixersr.models import CAMixerSR
from camixersr.models.camixersr import Block, Group
from camixersr.nn.routing import Policy

__all__ = ["Moments", "Seen", "eliminate", "narrow", "observe", "widths"]

RIDGE = 1e-6
"""Added to covariances, as a share of their mean diagonal: some features hardly vary."""


class Moments:
    """Mean and covariance of features, summed up as they are seen."""

    def __init__(self) -> None:
        self._count = 0
        self._sum = torch.zeros(())
        self._products = torch.zeros(())

    def add(self, x: Tensor) -> None:
        """See features: ... x n."""
        x = x.detach().flatten(0, -2).double().cpu()
        self._count += len(x)
        self._sum = self._sum + x.sum(dim=0)
        self._products = self._products + x.T @ x

    @property
    def mean(self) -> Tensor:
        """N, float64."""
        return self._sum / self._count

    @property
    def second(self) -> Tensor:
        """Mean of the products, n x n float64, a little ridge added."""
        return _ridged(self._products / self._count)

    @property
    def covariance(self) -> Tensor:
        """Of the products less those of the means, likewise."""
        return _ridged(self._products / self._count - torch.outer(self.mean, self.mean))


def _ridged(matrix: Tensor) -> Tensor:
    ridge = RIDGE * matrix.diagonal().mean() + torch.finfo(torch.float32).tiny
    return matrix + ridge * torch.eye(len(matrix), dtype=matrix.dtype)


@dataclass(frozen=True)
class Seen:
    """What was seen of a block's features.

    Attributes:
        inputs: what it is given.
        queries: what its queries are projected from, in attended windows.
        keys: what its keys are projected from, less their mean over each window.
        mixed: what the mixer's output is projected from.
        gated: what the feed-forward's output is projected from.
    """

    inputs: Moments = field(default_factory=Moments)
    queries: Moments = field(default_factory=Moments)
    keys: Moments = field(default_factory=Moments)
    mixed: Moments = field(default_factory=Moments)
    gated: Moments = field(default_factory=Moments)


def _blocks(network: CAMixerSR) -> Iterator[tuple[str, Block]]:
    """Every block, with what its parameters' names begin with."""
    for number, group in enumerate(network.body):
        assert isinstance(group, Group)
        for place, block in enumerate(group.blocks):
            assert isinstance(block, Block)
            yield f"body.{number}.blocks.{place}.", block


@contextmanager
def _watched(network: CAMixerSR) -> Generator[list[Seen]]:
    """While inside, all that passes through the network's blocks is summed up."""
    everything: list[Seen] = []
    handles: list[torch.utils.hooks.RemovableHandle] = []

    def watch(layer: nn.Module, moments: Moments, tokens: int = 0) -> None:
        def look(_: nn.Module, given: tuple[Tensor, ...]) -> None:
            x = given[0]
            if tokens:
                x = x.unflatten(0, (-1, tokens))
                x = x - x.mean(dim=1, keepdim=True)
            moments.add(x)

        handles.append(layer.register_forward_pre_hook(look))

    for _, block in _blocks(network):
        mixer, seen = block.mixer, Seen()
        watch(mixer.project_v, seen.inputs)
        watch(mixer.attention.project_q, seen.queries)
        watch(mixer.attention.project_k, seen.keys, mixer.window**2)
        watch(mixer.project_out, seen.mixed)
        watch(block.feed_forward.project_out, seen.gated)
        everything.append(seen)
    try:
        yield everything
    finally:
        for handle in handles:
            handle.remove()


@torch.no_grad()
def observe(network: CAMixerSR, lows: Iterable[Tensor], policy: Policy) -> list[Seen]:
    """Let a network compute pictures, and look at the features.

    Args:
        network: in evaluation mode.
        lows: each B x 3 x H x W in [0, 1].
        policy: who chooses the windows; it must attend some, or nothing is seen of queries and keys.

    Returns:
        One entry a block.
    """
    with _watched(network) as seen:
        for low in lows:
            network.route(low, policy)
    return seen


def widths(network: CAMixerSR) -> dict[str, int]:
    """The three widths of a network's blocks, by the names of its configuration."""
    config = network.config
    return {name: getattr(config, name) or config.channels for name in ("keys", "values", "hidden")}


@torch.no_grad()
def narrow(network: CAMixerSR, seen: list[Seen], *, keys: int, values: int, hidden: int) -> CAMixerSR:
    """Make a narrower network that computes nearly the same.

    Args:
        network: left as it is.
        seen: of its blocks, from `observe`.
        keys: width of queries and keys, from 1 to what it is now.
        values: width inside the mixers, likewise.
        hidden: pairs inside the feed-forwards, likewise.

    Returns:
        The network, in evaluation mode, gradients off.
    """
    before = widths(network)
    state = network.state_dict()
    for (prefix, block), features in zip(_blocks(network), seen, strict=True):
        changed: dict[str, Tensor] = {}
        if keys < before["keys"]:
            changed |= _fewer_keys(block, features, keys)
        if values < before["values"]:
            changed |= _fewer_values(block, features, values)
        if hidden < before["hidden"]:
            changed |= _fewer_pairs(block, features, hidden)
        state |= {prefix + name: value.float() for name, value in changed.items()}
    result = CAMixerSR(replace(network.config, keys=keys, values=values, hidden=hidden))
    result.load_state_dict(state)
    return result.eval().requires_grad_(False)


def eliminate(weight: Tensor, products: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Choose inputs of a linear layer to do without, and solve it for those that stay.

    Args:
        weight: m x n.
        products: n x n, positive definite: the mean of the inputs' products, or their covariance.
        count: inputs that stay, from 1 to n.

    Returns:
        Which stay, `count` int64 in ascending order, and the weights for them, m x count: of all
        weights for these inputs, those with the least mean square of the outputs' error.
    """
    weight, inverse = weight.double(), torch.linalg.inv(products)
    stays = torch.arange(weight.shape[1])
    while len(stays) > count:
        # without input i the outputs' error grows by |w_i|^2 / inverse_ii, the others mending what they can
        cost = weight.square().sum(dim=0) / inverse.diagonal()
        worst = int(cost.argmin())
        share = inverse[worst] / inverse[worst, worst]
        weight = weight - torch.outer(weight[:, worst], share)
        inverse = inverse - torch.outer(inverse[:, worst], share)
        rest = torch.arange(len(stays)) != worst
        stays, weight, inverse = stays[rest], weight[:, rest], inverse[rest][:, rest]
    return stays, weight


def _fewer_keys(block: Block, seen: Seen, count: int) -> dict[str, Tensor]:
    """The closest scores of a lower rank."""
    q, k = block.mixer.attention.project_q, block.mixer.attention.project_k
    # of queries with a one beside them, for the bias; that of keys adds to all scores of a query
    mean, second = seen.queries.mean[:, None], seen.queries.second
    with_one = torch.cat((torch.cat((second, mean), 1), torch.cat((mean.T, torch.ones(1, 1)), 1)))
    of_queries = torch.linalg.cholesky(_ridged(with_one))
    of_keys = torch.linalg.cholesky(seen.keys.second)
    form = torch.cat((q.weight, q.bias[:, None]), dim=1).double().T @ k.weight.double()
    left, size, right = torch.linalg.svd(of_queries.T @ form @ of_keys)
    root = size[:count].sqrt()
    query = torch.linalg.solve_triangular(of_queries.T, left[:, :count] * root, upper=True).T
    key = torch.linalg.solve_triangular(of_keys.T, right[:count].T * root, upper=True).T
    name = "mixer.attention.project_"
    return {
        f"{name}q.weight": query[:, :-1],
        f"{name}q.bias": query[:, -1],
        f"{name}k.weight": key,
        f"{name}k.bias": torch.zeros(count),
    }


def _fewer_values(block: Block, seen: Seen, count: int) -> dict[str, Tensor]:
    """Fewer channels inside the mixer; its output, and what its predictor reads, are mended."""
    mixer = block.mixer
    project, predictor, out = mixer.project_v, mixer.predictor, mixer.project_out
    stays, weight = eliminate(out.weight, seen.mixed.covariance, count)
    mean = seen.mixed.mean
    changed = {
        "mixer.project_v.weight": project.weight[stays],
        "mixer.project_v.bias": project.bias[stays],
        "mixer.project_out.weight": weight,
        "mixer.project_out.bias": out.bias + out.weight.double() @ mean - weight @ mean[stays],
        "mixer.predictor.channel.weight": predictor.channel.weight[stays],
        "mixer.predictor.channel.bias": predictor.channel.bias[stays],
    }
    for name, parameter in mixer.local.named_parameters():
        changed[f"mixer.local.{name}"] = parameter[stays]
    before = len(project.weight)
    reads, condition = predictor.project_in.weight.double().tensor_split([before], dim=1)
    mean = project.weight.double() @ seen.inputs.mean + project.bias
    spread = _ridged(project.weight.double() @ seen.inputs.covariance @ project.weight.double().T)
    mended = torch.linalg.solve(spread[stays][:, stays], spread[stays] @ reads.T).T
    changed["mixer.predictor.project_in.weight"] = torch.cat((mended, condition), dim=1)
    changed["mixer.predictor.project_in.bias"] = (
        predictor.project_in.bias + reads @ mean - mended @ mean[stays]
    )
    return changed


def _fewer_pairs(block: Block, seen: Seen, count: int) -> dict[str, Tensor]:
    """Fewer gated pairs inside the feed-forward; its output is mended."""
    feed = block.feed_forward
    stays, weight = eliminate(feed.project_out.weight, seen.gated.second, count)
    both = torch.cat((stays, stays + feed.project_out.in_features))
    return {
        "feed_forward.project_in.weight": feed.project_in.weight[both],
        "feed_forward.depthwise.weight": feed.depthwise.weight[both],
        "feed_forward.project_out.weight": weight,
    }
