"""Muon against the singular value decomposition; AdamW against torch's own."""

import copy

import pytest
import torch
from torch import nn

from camixersr.train.optimizer import MuonAdamW, orthogonalise


@pytest.mark.parametrize("shape", [(3, 36, 36), (2, 72, 36), (4, 10, 40), (1, 16, 256)])
def test_orthogonalising_keeps_directions_and_evens_singular_values(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape)
    result = orthogonalise(matrices)
    assert result.shape == shape
    u, s, v = torch.linalg.svd(matrices, full_matrices=False)
    inner = u.mT @ result @ v.mT  # in the matrix's own directions: diagonal, every entry about 1
    diagonal = inner.diagonal(dim1=1, dim2=2)
    large = s > 0.1 * s[:, :1]
    assert ((diagonal > 0.6) & (diagonal < 1.3))[large].all()
    assert (inner - torch.diag_embed(diagonal)).abs().max() < 1e-3


def test_a_zero_matrix_stays_zero() -> None:
    assert orthogonalise(torch.zeros(2, 8, 8)).abs().max() == 0.0


def _network() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Linear(12, 20), nn.Tanh(), nn.Linear(20, 12))


def _train(network: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> list[float]:
    source = torch.Generator().manual_seed(4)
    losses: list[float] = []
    for _ in range(steps):
        x = torch.randn(32, 12, generator=source)
        loss = (network(x) - x.roll(1, dims=1)).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return losses


def test_without_matrices_it_is_adamw() -> None:
    one, two = _network(), _network()
    ours = MuonAdamW([{"params": one.parameters(), "lr": 1e-2}], betas=(0.9, 0.98), weight_decay=0.01)
    theirs = torch.optim.AdamW(two.parameters(), lr=1e-2, betas=(0.9, 0.98), weight_decay=0.01)
    assert _train(one, ours, 8) == pytest.approx(_train(two, theirs, 8), rel=1e-5)


def _mixed(network: nn.Sequential) -> MuonAdamW:
    matrices = [p for p in network.parameters() if p.ndim == 2]
    others = [p for p in network.parameters() if p.ndim != 2]
    return MuonAdamW([{"params": others, "lr": 1e-2}, {"params": matrices, "lr": 0.05, "muon": True}])


def test_it_learns_and_every_matrix_moves_by_its_rate() -> None:
    network = _network()
    before = [p.detach().clone() for p in network.parameters()]
    losses = _train(network, _mixed(network), 1)
    for old, new in zip(before, network.parameters(), strict=True):
        if new.ndim == 2:  # rate x sqrt(rows / columns) in every direction
            moved = torch.linalg.matrix_norm(new.detach() - old, 2)
            expected = 0.05 * max(1.0, old.shape[0] / old.shape[1]) ** 0.5
            assert 0.6 * expected < moved < 1.3 * expected
    losses += _train(network, _mixed(network), 200)
    assert losses[-1] < 0.2 * losses[0]


def test_a_kernel_is_a_matrix_of_its_taps() -> None:
    """A convolution that sees one whole patch is a linear layer, and learns as one."""
    torch.manual_seed(3)
    kernel, matrix = nn.Conv2d(8, 10, 3, bias=False), nn.Linear(72, 10, bias=False)
    matrix.weight.data.copy_(kernel.weight.data.flatten(1))
    optimizers = [
        MuonAdamW([{"params": [each.weight], "lr": 0.05, "muon": True}]) for each in (kernel, matrix)
    ]
    for _ in range(5):
        x = torch.randn(6, 8, 3, 3)
        for layer, given, optimizer in zip((kernel, matrix), (x, x.flatten(1)), optimizers, strict=True):
            optimizer.zero_grad()
            layer(given).square().mean().backward()
            optimizer.step()
    assert torch.allclose(kernel.weight.flatten(1), matrix.weight, atol=1e-4)
    with pytest.raises(ValueError, match="Muon wants matrices"):
        MuonAdamW([{"params": [nn.Parameter(torch.zeros(3))], "lr": 0.1, "muon": True}])


def test_a_saved_state_continues_exactly() -> None:
    one = _network()
    first = _mixed(one)
    _train(one, first, 5)
    two = copy.deepcopy(one)
    second = _mixed(two)
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    assert _train(one, first, 5) == _train(two, second, 5)


def test_parameters_without_gradients_are_left_alone() -> None:
    network = _network()
    optimizer = _mixed(network)
    before = [p.detach().clone() for p in network.parameters()]
    optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


def test_vectors_are_no_matrices() -> None:
    with pytest.raises(ValueError, match="matrices"):
        MuonAdamW([{"params": [nn.Parameter(torch.zeros(3))], "lr": 0.1, "muon": True}])


@pytest.mark.parametrize("nothing", [None, 0.0])
def test_a_matrix_without_a_gradient_stands_still_and_keeps_its_momentum(nothing: float | None) -> None:
    weight, beside = (nn.Parameter(torch.randn(12, 12)) for _ in range(2))
    optimizer = MuonAdamW([{"params": [weight, beside], "lr": 0.05, "muon": True}], weight_decay=0.1)
    weight.grad, beside.grad = torch.randn(12, 12), torch.randn(12, 12)
    optimizer.step()
    before, momentum = weight.detach().clone(), optimizer.state[weight]["velocity"].clone()
    moving = beside.detach().clone()
    weight.grad = None if nothing is None else torch.zeros(12, 12)
    beside.grad = torch.randn(12, 12)
    optimizer.step()
    assert torch.equal(weight, before)
    assert torch.equal(optimizer.state[weight]["velocity"], momentum)
    assert not torch.equal(beside, moving)


def test_decay_bounds_what_always_pushes_one_way() -> None:
    """Muon's steps do not shrink with the gradient: without a decay of its own a matrix grows for ever."""
    push = torch.randn(8, 8)

    def size(decay: float) -> float:
        weight = nn.Parameter(torch.zeros(8, 8))
        group = {"params": [weight], "lr": 0.1, "muon": True, "weight_decay": decay}
        optimizer = MuonAdamW([group], weight_decay=1e-4)
        for _ in range(400):
            weight.grad = push.clone()
            optimizer.step()
        return float(torch.linalg.matrix_norm(weight.detach(), 2))

    assert size(0.25) < 1.3 / 0.25  # orthogonalised steps are up to 1.2 long
    assert size(1e-4) > 4.0 * size(0.25)
