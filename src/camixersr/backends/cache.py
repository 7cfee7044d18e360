"""What runtimes keep between runs: files that can be made again at any time.

A file is its content's SHA-256 and then the content. One that is damaged is made anew. Several processes
may use the folder at once: files are written beside and moved into place, so that a reader sees a whole
one or none, and whoever comes second replaces it with the same.
"""

import contextlib
import hashlib
from pathlib import Path

from camixersr.catalogue import cache_folder
from camixersr.errors import OutputError
from camixersr.image.files import replacing

__all__ = ["folder", "keep", "kept", "key"]

DIGEST = 32  # bytes of a SHA-256


def folder() -> Path:
    """Where runtimes' files are; it need not exist."""
    return cache_folder() / "runtimes"


def key(*parts: object) -> str:
    """A file name for what depends on these, and on nothing else."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part if isinstance(part, bytes) else str(part).encode()).digest())
    return digest.hexdigest()[:32]


def kept(name: str) -> bytes | None:
    """What is kept under a name; None if there is nothing, or it is damaged."""
    with contextlib.suppress(OSError):
        content = (folder() / name).read_bytes()
        if hashlib.sha256(content[DIGEST:]).digest() == content[:DIGEST]:
            return content[DIGEST:]
    return None


def keep(name: str, content: bytes) -> None:
    """Keep something; a cache that cannot be written is done without."""
    with contextlib.suppress(OSError, OutputError):
        folder().mkdir(parents=True, exist_ok=True)
        with replacing(folder() / name) as partial:
            partial.write_bytes(hashlib.sha256(content).digest() + content)
