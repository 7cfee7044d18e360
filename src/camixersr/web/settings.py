"""What a service is told when it is started."""

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from camixersr.errors import UsageError, ValueRangeError

__all__ = ["Settings", "read_tokens"]

LEAST_TOKEN = 16
"""Characters of a token: fewer can be guessed."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a service runs.

    Attributes:
        data: folder for the queue, uploads and results.
        host: address to listen on.
        port: to listen on; 0 for any that is free.
        tokens: who may use it; each sees its own jobs alone. None are needed on a loopback address.
        hosts: names under which it is reached, beside the address and localhost.
        max_in: pixels of an upload.
        max_out: pixels of a result.
        max_upload: bytes of a picture.
        max_film_upload: bytes of a film.
        max_film: pixels of all frames of a film's result together.
        max_queue: jobs that wait.
        keep: hours after which a finished job is removed with its files.
        device: where to compute, as for `camixersr upscale`; one process each.
        backend: what computes, likewise.
        fleet_sources: places below which fleets may read, with the rights and credentials of the service.
        fleet_dests: places below which they may write; without both no fleet is taken.
        fleet_address: of Ray's cluster, as for `camixersr fleet`.
        fleet_workers: how many; None for as many as there is room for.

    Raises:
        UsageError: an address that others reach, without a token.
        ValueRangeError: a limit that is not positive.
    """

    data: Path
    host: str = "127.0.0.1"
    port: int = 8000
    tokens: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    max_in: int = 100_000_000
    max_out: int = 800_000_000
    max_upload: int = 1_000_000_000
    max_film_upload: int = 10_000_000_000
    max_film: int = 500_000_000_000
    max_queue: int = 1000
    keep: float = 24.0
    device: str = "auto"
    backend: str = "auto"
    fleet_sources: tuple[str, ...] = ()
    fleet_dests: tuple[str, ...] = ()
    fleet_address: str = "local"
    fleet_workers: int | None = None

    def __post_init__(self) -> None:
        for name in ("max_in", "max_out", "max_upload", "max_film_upload", "max_film", "max_queue", "keep"):
            if not getattr(self, name) > 0:
                raise ValueRangeError(f"--{name} must be positive, got {getattr(self, name):g}")
        if not 0 <= self.port <= 65_535:
            raise ValueRangeError(f"--port must lie in [0, 65535], got {self.port}")
        if bool(self.fleet_sources) != bool(self.fleet_dests):
            raise UsageError("--fleet-source and --fleet-dest go together; give both, or none")
        if not self.tokens and not is_loopback(self.host):
            raise UsageError(
                f"--host {self.host} lets other machines in; give --token-file, or leave --host out"
            )

    def is_own(self, host: str) -> bool:
        """Whether a Host header, or the host of an Origin, names this service.

        Args:
            host: NAME or NAME:PORT.
        """
        name = host.rsplit("]", 1)[0] + "]" if host.startswith("[") else host.partition(":")[0]
        own = {"127.0.0.1", "localhost", "[::1]", self.host, f"[{self.host}]", *self.hosts}
        return name.lower() in {each.lower() for each in own}


def is_loopback(host: str) -> bool:
    """Whether an address is this machine's own."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def read_tokens(path: Path) -> tuple[str, ...]:
    """The tokens of a file: one a line; empty lines and those that begin with # are passed over.

    Raises:
        UsageError: it cannot be read, has none, or has one that is too short.
    """
    try:
        lines = [line.strip() for line in path.read_text().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {path} cannot be read: {error}") from error
    tokens = tuple(line for line in lines if line and not line.startswith("#"))
    if not tokens:
        raise UsageError(f"--token-file {path} has no token; write one a line")
    if any(len(each) < LEAST_TOKEN or not each.isascii() for each in tokens):
        raise UsageError(f"--token-file {path}: a token needs {LEAST_TOKEN} characters of ASCII or more")
    return tokens
