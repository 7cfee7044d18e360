"""`camixersr restore`: pictures in, the same pictures out without what compression or noise did to them."""

from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from camixersr.cli.files import make
from camixersr.cli.flags import Flags, options_of, output_parameter, with_flags

__all__ = ["restore"]

OF_ENLARGING = frozenset(
    {"scale", "width", "height", "fit", "megapixels", "at_most", "alpha", "projection", "restore"}
)


@with_flags(leave_out=OF_ENLARGING, model="s-jpeg")
def restore(
    inputs: Annotated[list[Path], Parameter(name="INPUT", negative=())],
    /,
    *,
    output: Annotated[str | None, output_parameter] = None,
    given: Any = None,
    flags: Flags | None = None,
) -> int:
    """Restore pictures: undo JPEG compression, or remove noise with --model s-noise.

    Size, depth, transparency and metadata stay as they are.

    Parameters
    ----------
    inputs
        Pictures, folders with everything below them, patterns such as 'photos/**/*.jpg', or - for
        standard input. The formats are those of `camixersr upscale`.
    output
        File to write, folder/ or - for standard output. Default: NAME_restored beside each input or
        folder, in its format. A JPEG is written at quality 95; --format png keeps every bit.
    """
    options = options_of(given)
    from camixersr.runs.files import restore_files

    return make(restore_files, inputs, output, options, flags or Flags())
