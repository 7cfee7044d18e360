r"""Models by name: those in this package, and the authors' checkpoints, fetched on request.

An official checkpoint is identified by its git blob id, sha1("blob SIZE\\0" + content), as listed in
the authors' repository at the commit below (and by SHA-256 where we have it). What is downloaded is
verified before it is put in the cache, and again each time it is loaded.
"""

import hashlib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.request import urlopen

from platformdirs import user_cache_path

from camixersr.errors import CheckpointError, DownloadError, UnknownModelError
from camixersr.image.files import replacing
from camixersr.weights import Model, load_file

__all__ = [
    "OFFICIAL",
    "Official",
    "cache_folder",
    "cached_path",
    "default_model",
    "embedded",
    "find",
    "names",
    "official_name",
    "pull",
]

REPOSITORY = "https://github.com/icandle/CAMixerSR/raw/d690b12/pretrained_models"
PANORAMIC = "-360-"
"""In the names of models for panoramas."""
LONGEST = 64 * 2**20  # bytes; no checkpoint of this family comes near it


@dataclass(frozen=True)
class Official:
    """A checkpoint in the authors' repository (Apache-2.0).

    Attributes:
        path: below `pretrained_models/`.
        blob: git blob id, 40 hexadecimal digits.
        about: what it is, a few words.
        sha256: of the file, where known.
    """

    path: str
    blob: str
    about: str
    sha256: str = ""


OFFICIAL: Mapping[str, Official] = {
    "official-s-x4": Official(
        "LargeSR/CAMixerSR_S.pth",
        "eb470abd9295cb46d54436900d0a34be2bec0192",
        "authors' S x4, for large images",
        "49ffcfbb59583b4512ed7f4290b6f480b4bac50afb3d1db1553687bbdeff3076",
    ),
    "official-m-x4": Official(
        "LargeSR/CAMixerSR_M.pth",
        "587c1704ae00808319015ab8754c80c054994eee",
        "authors' M x4, for large images",
    ),
    "official-b-x4": Official(
        "LightSR/CAMixerSRx4.pth",
        "832f81a75f68125e0038fcd4514493bd3cde8fbc",
        "authors' B x4, DIV2K (the same file serves large images)",
    ),
    "official-classsr-x4": Official(
        "LargeSR/CAMixerSR_ClassSR.pth",
        "d34586dcecc7587aecb3fd2dfb1c2da7017144dc",
        "authors' ClassSR x4: three networks and a classifier, for large images",
    ),
    "official-b-x4-df2k": Official(
        "LightSR/CAMixerSRx4_DF.pth",
        "18bb973e5faf8081d8fc846de0a24ad4340dc0dc",
        "authors' B x4, DF2K",
    ),
    "official-b-x3": Official(
        "LightSR/CAMixerSRx3.pth",
        "1bb089df3657fd48b31f4bcbdab41331f23a7879",
        "authors' B x3, DIV2K",
    ),
    "official-b-x2": Official(
        "LightSR/CAMixerSRx2.pth",
        "8a6d6d19a8ee1aeeb5ac03b7a9618288265390be",
        "authors' B x2, DIV2K",
    ),
    "official-b-x2-df2k": Official(
        "LightSR/CAMixerSRx2_DF.pth",
        "3302e2bcd6b73d100b1298ea2076bee5f1fdc22a",
        "authors' B x2, DF2K",
    ),
    "official-360-b-x4": Official(
        "ODISR/CAMixerSRx4.pth",
        "26f0cca359323b523d4b37ed5f86dd072bdcf844",
        "authors' omnidirectional B x4, ODI-SR",
    ),
    "official-360-b-x2": Official(
        "ODISR/CAMixerSRx2.pth",
        "b88949a0cb694b6534d051497a33f22c92244a3f",
        "authors' omnidirectional B x2, ODI-SR",
    ),
}


def embedded() -> dict[str, Path]:
    """Models inside this package: name -> file."""
    folder = Path(str(resources.files("camixersr") / "assets"))
    return {file.stem: file for file in sorted(folder.glob("*.safetensors"))}


def names() -> tuple[str, ...]:
    """Every name that `find` knows."""
    return (*embedded(), *OFFICIAL)


def default_model(scale: int, *, projection: str = "flat") -> str:
    """The embedded model for a scale.

    Args:
        scale: high pixels a low pixel, a side.
        projection: "erp" takes the one for panoramas where there is one.

    Raises:
        UnknownModelError: there is none; the message lists the scales that have one.
    """
    flat = [name for name in embedded() if PANORAMIC not in name]
    known = {name.rsplit("-x", 1)[-1]: name for name in flat}
    if projection == "erp":
        known |= {name.rsplit("-x", 1)[-1]: name for name in embedded() if PANORAMIC in name}
    if str(scale) not in known:
        raise UnknownModelError(
            f"no embedded model enlarges x{scale}; embedded: {', '.join(embedded()) or 'none'}; "
            "give another with --model"
        )
    return known[str(scale)]


def cache_folder() -> Path:
    """Where downloads and compiled models are kept: CAMIXERSR_CACHE, or the user's cache."""
    own = os.environ.get("CAMIXERSR_CACHE")
    return Path(own) if own else user_cache_path("camixersr")


def cached_path(name: str) -> Path:
    """Where the official checkpoint `name` is, or would be, on this machine."""
    return cache_folder() / "models" / f"{name}.pth"


def _unknown(name: str) -> UnknownModelError:
    return UnknownModelError(
        f"no model {name!r}, and no file of that name; known models: {', '.join(names())}"
    )


def _blob(content: bytes) -> str:
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


def official_name(path: str | Path) -> str:
    """The authors' checkpoint that a file is, whatever it is called; empty if it is none.

    Args:
        path: a file that can be read.

    Returns:
        A name of `OFFICIAL`: the file's content is that of the authors' repository, byte for byte.
    """
    content = Path(path).read_bytes()
    blob = _blob(content)
    return next((name for name, each in OFFICIAL.items() if each.blob == blob), "")


def _wrong(official: Official, content: bytes) -> str:
    """What is wrong with a file that should be `official`; empty if nothing is."""
    blob = _blob(content)
    if blob != official.blob:
        return f"expected git blob {official.blob}, got {blob} ({len(content)} bytes)"
    if official.sha256 and hashlib.sha256(content).hexdigest() != official.sha256:
        return f"expected SHA-256 {official.sha256}, got another"
    return ""


def find(name: str | Path) -> Model:
    """Load a model by catalogue name or from a file.

    Args:
        name: a name of `names()`, or a path.

    Returns:
        The model. Where it is an authors' checkpoint, known by its hash, its provenance names it under
        "official".

    Raises:
        UnknownModelError: neither a name nor a file; the message lists the names.
        CheckpointError: the file is damaged, or an official one has not been pulled yet.
    """
    text = str(name)
    if text in embedded():
        return load_file(embedded()[text])
    if text in OFFICIAL:
        path = cached_path(text)
        if not path.is_file():
            raise CheckpointError(f"{text} is not on this machine yet; run `camixersr models pull {text}`")
        if wrong := _wrong(OFFICIAL[text], path.read_bytes()):
            raise CheckpointError(f"{path}: {wrong}; run `camixersr models pull {text}` again")
        return _told(load_file(path), text)
    if Path(text).exists():
        return _told(load_file(text), official_name(text))
    raise _unknown(text)


def _told(model: Model, official: str) -> Model:
    """A model that says which of the authors' checkpoints it is, if it is one."""
    if not official:
        return model
    return replace(model, provenance={**model.provenance, "official": official})


def pull(
    name: str,
    *,
    source: str = "",
    progress: Callable[[int, int], None] | None = None,
    timeout: float = 30.0,
) -> Path:
    """Fetch an official checkpoint into the cache; one that is there and intact is not fetched again.

    Args:
        name: of an official model.
        source: base address instead of the authors' repository; also the environment variable
            CAMIXERSR_MODELS_URL.
        progress: called with bytes received and bytes in all (0 if the server does not say).
        timeout: seconds without an answer after which it gives up.

    Returns:
        The file in the cache.

    Raises:
        UnknownModelError: no official model of that name.
        DownloadError: no connection, a cut transfer, or content that is not the checkpoint.
        OutputError: the cache cannot be written.
    """
    if name not in OFFICIAL:
        raise UnknownModelError(
            f"no official model {name!r}; models that can be pulled: {', '.join(OFFICIAL)}"
        )
    official, target = OFFICIAL[name], cached_path(name)
    if target.is_file() and not _wrong(official, target.read_bytes()):
        return target
    base = source or os.environ.get("CAMIXERSR_MODELS_URL") or REPOSITORY
    address = f"{base.rstrip('/')}/{official.path}"
    content = bytearray()
    try:
        with urlopen(address, timeout=timeout) as answer:
            total = int(answer.headers.get("Content-Length") or 0)
            while chunk := answer.read(1 << 16):
                content += chunk
                if progress is not None:
                    progress(len(content), total)
                if len(content) > LONGEST:
                    break
    except (URLError, OSError, ValueError) as error:
        if isinstance(error, HTTPError):
            error.close()  # it holds the connection
        reason = getattr(error, "reason", None) or error
        raise DownloadError(
            f"{address}: cannot be fetched ({reason}). Fetch it on another machine and put it at {target}; "
            "it is verified when it is used. CAMIXERSR_MODELS_URL may name a mirror"
        ) from error
    if wrong := _wrong(official, bytes(content)):
        raise DownloadError(f"{address}: not the checkpoint: {wrong}; nothing was kept, try again")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DownloadError(f"{target.parent}: the cache cannot be made ({error.strerror})") from error
    with replacing(target) as partial:
        partial.write_bytes(content)
    return target
