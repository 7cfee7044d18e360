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
    """Write flat views of a 360-degree panorama: front, right, back (with the seam), left, up, down.

    Parameters
    ----------
    panorama
        An equirectangular panorama, twice as wide as high.
    output
        Folder for the pictures, front.png and so on; made if it is missing.
    compare
        Another panorama of the same place, of any size: its views are put on the left, so that
        before and after can be seen side by side.
    degrees
        How much a view takes in, below 180.
    side
        Rows and columns of a view.
    overwrite
        Replace views that exist.
    """
    import numpy as np

    from camixersr.errors import OutputError, ValueRangeError
    from camixersr.image.decode import read
    from camixersr.image.encode import write
    from camixersr.image.files import make_folder, shown
    from camixersr.image.panorama import Panorama
    from camixersr.image.picture import Picture
    from camixersr.image.viewport import VIEWS, viewport

    if not 0.0 < degrees < 180.0 or not 1 <= side <= 16384:
        raise ValueRangeError(
            f"expected --degrees between 0 and 180 and --side from 1 to 16384, got {degrees:g} and {side}"
        )
    pictures = []
    for path in [panorama] if compare is None else [compare, panorama]:
        pixels = read(path, color="srgb").pixels
        Panorama.whole(*pixels.shape[:2])  # complains of another shape
        if pixels.dtype.kind == "f":
            pixels = (pixels.clip(0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
        elif pixels.dtype == np.uint16:
            pixels = (pixels // 257).astype(np.uint8)
        pictures.append(np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels)
    targets = {name: output / f"{name}.png" for name in VIEWS}
    there = next((path for path in targets.values() if path.exists()), None)
    if there is not None and not overwrite:
        raise OutputError(f"{shown(there)}: exists already; add --overwrite to replace it")
    make_folder(output)
    for name, (yaw, pitch) in VIEWS.items():
        views = [viewport(each, yaw, pitch, degrees=degrees, side=side) for each in pictures]
        write(targets[name], Picture(np.concatenate(views, axis=1)))
    print(f"{shown(output)}: {', '.join(path.name for path in targets.values())}")
    return 0
