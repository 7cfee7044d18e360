"""`camixersr upscale`: pictures in, enlarged pictures out."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from camixersr.cli.files import make
from camixersr.cli.flags import Flags, options_of, output_parameter, with_flags

__all__ = ["upscale"]


@with_flags()
def upscale(
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    output: Annotated[str | None, output_parameter] = None,
    given: Any = None,
    flags: Flags | None = None,
) -> int:
    """Enlarge pictures.

    Parameters
    ----------
    inputs
        Pictures, folders with everything below them, patterns such as 'photos/**/*.jpg', or - for
        standard input. Formats: PNG, JPEG, WebP, TIFF, AVIF, HEIC, GIF, BMP, PPM, and camera RAW with
        the extra `raw`.
    output
        File to write, folder/ or - for standard output. Default: NAME_x4 beside each input. A folder
        gives FOLDER_x4 beside it, with the same tree.
    """
    options = options_of(given)
    from camixersr.runs.files import upscale_files

    return make(upscale_files, inputs, output, options, flags or Flags())
