"""Which degradations a model is to be tried on, for the commands that know the originals."""

from typing import TYPE_CHECKING

from camixersr.errors import UsageError

if TYPE_CHECKING:
    from camixersr.image.degradation import Degradation
    from camixersr.weights import Model

__all__ = ["degradations"]


def degradations(
    model: "Model", *, quality: list[int] | None, sigma: list[float] | None
) -> "list[Degradation]":
    """What the originals are to suffer, one kind of one amount each; none if nothing was said.

    Args:
        model: that is tried.
        quality: of JPEG, as given on the command line.
        sigma: of noise, likewise.

    Raises:
        UsageError: the model undoes something else, or nothing.
        ValueRangeError: an amount is out of range.
    """
    given = {"quality": quality, "sigma": sigma}
    for option, amounts in given.items():
        if amounts is not None and (model.restores is None or model.restores.amount != option):
            does = (
                f"restores {model.restores.about}" if model.restores else f"enlarges x{model.config.scale}"
            )
            raise UsageError(f"--{option} is not for {model.name}, which {does}; leave it out")
    if model.restores is None:
        return []
    return [model.restores.only(amount) for amount in given[model.restores.amount] or []]
