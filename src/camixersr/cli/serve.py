"""`camixersr serve`: the HTTP service and its page."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from camixersr.errors import MissingExtraError
from camixersr.extras import install_line

__all__ = ["serve"]


def serve(
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    data: Path | None = None,
    token_file: Path | None = None,
    allow_host: Annotated[list[str] | None, Parameter(negative=())] = None,
    max_megapixels_in: float = 100.0,
    max_megapixels_out: float = 800.0,
    max_upload: str = "1GB",
    max_film_upload: str = "10GB",
    max_film_gigapixels: float = 500.0,
    max_queue: int = 1000,
    keep: float = 24.0,
    device: str = "auto",
    backend: Literal["auto", "fastest", "native", "torch", "compile", "onnxruntime", "openvino"] = "auto",
    fleet_source: Annotated[list[str] | None, Parameter(negative=())] = None,
    fleet_dest: Annotated[list[str] | None, Parameter(negative=())] = None,
    fleet_address: str = "local",
    fleet_workers: int | None = None,
) -> None:
    """Enlarge pictures and films over HTTP, with a page for the browser. See docs/service.md.

    Parameters
    ----------
    host
        Address to listen on. If other machines can reach it, it needs --token-file.
    port
        Port to listen on.
    data
        Folder for the queue, uploads and results. Default: the user's data folder.
    token_file
        File of tokens, one a line. A token lets its owner use the service and see the jobs made with it.
    allow_host
        Another name of this service beside localhost, for example the name of a proxy.
    max_megapixels_in
        Refuse pictures, and frames of films, with more megapixels.
    max_megapixels_out
        Refuse to make results, or frames of films, with more megapixels.
    max_upload
        Refuse larger pictures. Give a size such as 500MB.
    max_film_upload
        Refuse larger films.
    max_film_gigapixels
        Refuse to make films with more gigapixels in all their frames together. A minute of 3840 x 2160
        pixels at 24 frames a second has 12.
    max_queue
        Most jobs that may wait. The answer to more jobs is 429.
    keep
        Hours to keep a finished job and its files.
    device
        Where to compute: cpu, cuda, cuda:1 or mps. Several with commas, or all, get a process each.
    backend
        What computes, as for `camixersr upscale`.
    fleet_source
        Folder or address below which fleets may read, with the rights of this service. Default: no fleets.
    fleet_dest
        Folder or address below which fleets may write.
    fleet_address
        Ray cluster for fleets, as for `camixersr fleet upscale`.
    fleet_workers
        Workers of a fleet. Default: one for each processor.
    """
    import importlib.util

    from platformdirs import user_data_path

    from camixersr.image.files import shown
    from camixersr.units import parse_bytes

    try:
        from camixersr.web.app import serve as run
        from camixersr.web.settings import Settings, read_tokens
    except ImportError as error:
        raise MissingExtraError(f"the service needs an extra; {install_line('serve')}") from error
    if fleet_source and not all(map(importlib.util.find_spec, ("ray", "obstore"))):
        raise MissingExtraError(f"--fleet-source needs an extra; {install_line('fleet')}")
    settings = Settings(
        data=(data or user_data_path("camixersr") / "service").absolute(),
        host=host,
        port=port,
        tokens=() if token_file is None else read_tokens(token_file),
        hosts=tuple(allow_host or ()),
        max_in=round(max_megapixels_in * 1e6),
        max_out=round(max_megapixels_out * 1e6),
        max_upload=parse_bytes(max_upload, "--max-upload"),
        max_film_upload=parse_bytes(max_film_upload, "--max-film-upload"),
        max_film=round(max_film_gigapixels * 1e9),
        max_queue=max_queue,
        keep=keep,
        device=device,
        backend=backend,
        fleet_sources=tuple(fleet_source or ()),
        fleet_dests=tuple(fleet_dest or ()),
        fleet_address=fleet_address,
        fleet_workers=fleet_workers,
    )

    def begun(address: str) -> None:
        print(
            f"camixersr: open {address} (Ctrl-C ends it); files in {shown(settings.data)}",
            file=sys.stderr,
            flush=True,
        )

    run(settings, begun=begun)
