"""`camixersr viewports`: look at a panorama as a viewer shows it."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

__all__ = ["viewports"]


def viewports(
    panorama: Annotated[Path, Parameter(name="PANORAMA")],
    /,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    compare: Path | None = None,
    degrees: float = 90.0,
    side: int = 512,
    overwrite: Annotated[bool, Parameter(negative=())] = False,
) -> int:
    """Write six flat views of a 360-degree panorama: front, right, back (with the seam), left, up, down.

    Parameters
    ----------
    panorama
        An equirectangular panorama, twice as wide as high.
    output
        Folder for the pictures (front.png and so on). It is made if it does not exist.
    compare
        Another panorama of the same place, of any size. Its views go on the left, so you see before
        and after side by side.
    degrees
        Angle that a view takes in, below 180.
    side
        Rows and columns of a view.
    overwrite
        Replace views that exist.
    """
    from camixersr.errors import ValueRangeError
    from camixersr.image.files import shown
    from camixersr.image.viewport import write_views

    if not 0.0 < degrees < 180.0 or not 1 <= side <= 16384:
        raise ValueRangeError(
            f"expected --degrees between 0 and 180 and --side from 1 to 16384, got {degrees:g} and {side}"
        )
    panoramas = [panorama] if compare is None else [compare, panorama]
    written = write_views(panoramas, output, degrees=degrees, side=side, overwrite=overwrite)
    print(f"{shown(output)}: {', '.join(path.name for path in written)}")
    return 0
