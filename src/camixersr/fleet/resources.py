"""What workers get, and where they are: checked before Ray is begun."""

import socket
from dataclasses import dataclass

from camixersr.errors import DeviceError, UsageError, ValueRangeError
from camixersr.fleet.secrets import one_line

__all__ = ["Resources", "require_heard"]

CONNECT = 10.0
"""Seconds in which a cluster must be heard."""


@dataclass(frozen=True, kw_only=True)
class Resources:
    """What workers get.

    Attributes:
        address: "local", "auto" or `ray://host:port`.
        workers: how many; None for as many as the cluster has processors or accelerators for.
        cpus: processors each.
        gpus: accelerators each, or a share of one.
    """

    address: str = "local"
    workers: int | None = None
    cpus: int = 1
    gpus: float = 0.0

    def __post_init__(self) -> None:
        if self.address not in ("local", "auto") and not self.address.startswith("ray://"):
            raise UsageError(f"--address must be local, auto or ray://host:port, got {self.address!r}")
        if self.workers is not None and self.workers < 1:
            raise ValueRangeError(f"--workers must be at least 1, got {self.workers}")
        if self.cpus < 1:
            raise ValueRangeError(f"--cpus-per-worker must be at least 1, got {self.cpus}")
        if self.gpus < 0:
            raise ValueRangeError(f"--gpus-per-worker must be at least 0, got {self.gpus:g}")


def require_heard(address: str) -> None:
    """Refuse an address that nobody listens at: Ray would try for minutes.

    Raises:
        DeviceError: nobody does.
    """
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal():
        return  # Ray knows where a cluster of this machine is, or says that there is none
    try:
        socket.create_connection((host, int(port)), CONNECT).close()
    except OSError as error:
        raise DeviceError(f"Ray at {address} (RAY_ADDRESS) cannot be used: {one_line(error)}") from error
