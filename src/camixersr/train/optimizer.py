"""Muon for the matrices of the body, AdamW for everything else, as one optimizer.

Muon (Keller Jordan and others, 2024, https://kellerjordan.github.io/posts/muon) replaces the momentum
of a weight matrix by the nearest semi-orthogonal matrix, found by five Newton-Schulz steps, so that
every direction of the matrix learns at one pace. In this network of many small, normalised 1x1
layers that saves most of the steps (docs/training-log.md has the trial). Vectors, depthwise kernels
and the layers next to the pixels are no such matrices and stay with AdamW. The kernel of a dense
convolution is a matrix of C' rows and C * k * k columns.

A step in which nothing is attended gives queries, keys and offsets gradients of zero. Orthogonalising
brings any momentum back to full size, so such a step would move them by the whole rate in a stale
direction: a matrix whose gradient is exactly zero stands still, and keeps its momentum.

Muon moves a matrix by its rate whatever the gradient's size, so what bounds its size is decay alone:
with a decay of d no singular value can stay above 1 / d.
"""

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

__all__ = ["MuonAdamW", "orthogonalise"]

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)  # Jordan's quintic: fast from small singular values
STEPS = 5


def orthogonalise(matrices: Tensor) -> Tensor:
    """Send every singular value to about 1 (0.7 to 1.2), keeping the singular vectors.

    Args:
        matrices: K x R x S, floating point; a matrix of zeros stays zero.

    Returns:
        K x R x S.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.mT if tall else matrices
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(STEPS):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.mT if tall else x


class MuonAdamW(torch.optim.AdamW):
    """AdamW, except for groups of parameters with `muon=True`, which are matrices or dense kernels.

    Matrices of one shape are orthogonalised together. One optimizer rather than two keeps clipping,
    schedules and exact resumption those of any single optimizer.

    Args:
        params: groups, each with `params`, `lr` and, for Muon, `muon=True`.
        momentum: of Muon, with Nesterov's look ahead.
        betas: of AdamW.
        weight_decay: decoupled; a group may have one of its own, and Muon's wants a larger one.

    Raises:
        ValueError: a parameter of a Muon group is neither a matrix nor a kernel.
    """

    def __init__(
        self,
        params: Iterable[dict[str, Any]],
        *,
        momentum: float = 0.95,
        betas: tuple[float, float] = (0.9, 0.999),
        weight_decay: float = 1e-4,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"muon": False, "momentum": momentum, **group, "params": list(group["params"])}
            for group in params
        ]
        on_cpu = all(each.device.type == "cpu" for group in groups for each in group["params"])
        # one call for hundreds of small weights; torch chooses well on accelerators only
        super().__init__(groups, betas=betas, weight_decay=weight_decay, fused=on_cpu or None)
        self._step_supports_amp_scaling = False  # one call would scale gradients itself; Muon does not
        for group in self.param_groups:
            for parameter in group["params"]:
                if group["muon"] and parameter.ndim not in (2, 4):
                    raise ValueError(f"Muon wants matrices, got a parameter of {tuple(parameter.shape)}")

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both; `closure` computes the loss, as everywhere in torch."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["muon"]:
                self._muon(group)
        super().step()  # what Muon has dealt with has no gradient any more, and is passed over
        return loss

    def _muon(self, group: dict[str, Any]) -> None:
        shapes: dict[tuple[int, int], list[Tensor]] = {}
        for parameter in group["params"]:
            if parameter.grad is None:
                continue
            if not parameter.grad.any():
                parameter.grad = None  # and AdamW passes it over, too
            else:
                rows = len(parameter)
                shapes.setdefault((rows, parameter.numel() // rows), []).append(parameter)
        for (rows, columns), same in shapes.items():
            gradients = torch.stack([each.grad.flatten(1) for each in same if each.grad is not None])
            velocities = []
            for parameter in same:
                state = self.state[parameter]
                if not state:  # "step" is AdamW's own bookkeeping, which its loader looks for
                    state["step"] = torch.zeros(())
                    state["velocity"] = torch.zeros_like(parameter).flatten(1)
                velocities.append(state["velocity"])
            velocity = torch.stack(velocities).lerp(gradients, 1.0 - group["momentum"])
            move = orthogonalise(gradients.lerp(velocity, group["momentum"]))
            rate = group["lr"] * max(1.0, rows / columns) ** 0.5
            for parameter, old, new, step in zip(same, velocities, velocity, move, strict=True):
                old.copy_(new)
                parameter.mul_(1.0 - group["lr"] * group["weight_decay"])
                parameter.sub_(step.view_as(parameter), alpha=rate)
                parameter.grad = None
