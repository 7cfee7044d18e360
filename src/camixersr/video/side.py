"""What comes with a frame beside its pixels: how it is turned, its screen, and what is left out."""

import struct
from dataclasses import dataclass
from typing import Any

from av.sidedata.sidedata import Type
from av.video.frame import VideoFrame

__all__ = ["LEFT_OUT", "Light", "display", "light", "side"]

LEFT_OUT = {
    Type.A53_CC: "closed captions inside its picture stream are left out",
    Type.DOVI_RPU_BUFFER: "its Dolby Vision data is left out",
    Type.DOVI_METADATA: "its Dolby Vision data is left out",
    Type.DYNAMIC_HDR_PLUS: "its HDR10+ data is left out",
    Type.DYNAMIC_HDR_VIVID: "its HDR Vivid data is left out",
    Type.SPHERICAL: "what says that it shows a sphere (360 degrees) is left out",
    Type.STEREO3D: "what says that it has a picture for each eye (3D) is left out",
}
"""Side data of frames that no encoder here is given."""


@dataclass(frozen=True)
class Light:
    """What an HDR film says of the screen it was made on, and of its brightness.

    Attributes:
        primaries: x and y of red, green and blue; empty where the screen is not said.
        white: x and y; likewise.
        luminance: least and most of the screen, cd/m2.
        content: greatest light of a pixel and of a frame, cd/m2; None where it is not said.
    """

    primaries: tuple[tuple[float, float], ...]
    white: tuple[float, float]
    luminance: tuple[float, float]
    content: tuple[int, int] | None


def side(frame: VideoFrame) -> list[Any]:
    """All that comes with a frame beside its pixels."""
    return list(frame.side_data)  # pyright: ignore[reportUnknownVariableType] - typed as a dictionary


def display(frame: VideoFrame) -> tuple[int, ...] | None:
    """The matrix that says how a player turns it, in fixed point; None if there is none."""
    matrix = next((bytes(each) for each in side(frame) if each.type == Type.DISPLAYMATRIX), None)
    return None if matrix is None else struct.unpack("=9i", matrix[:36])


def light(frame: VideoFrame) -> Light | None:
    """Read AVMasteringDisplayMetadata (ten rationals and two flags) and AVContentLightMetadata."""
    screen = next(
        (bytes(each) for each in side(frame) if each.type == Type.MASTERING_DISPLAY_METADATA), b""
    )
    content = next((bytes(each) for each in side(frame) if each.type == Type.CONTENT_LIGHT_LEVEL), b"")
    most = struct.unpack("=2I", content[:8]) if len(content) >= 8 else None
    unsaid = None if most is None else Light((), (0.0, 0.0), (0.0, 0.0), most)
    if len(screen) < 88:
        return unsaid
    numbers = struct.unpack("=22i", screen[:88])
    values = [
        over / under if under else 0.0 for over, under in zip(numbers[0:20:2], numbers[1:20:2], strict=True)
    ]
    if not (numbers[20] and numbers[21]):
        return unsaid
    return Light(
        ((values[0], values[1]), (values[2], values[3]), (values[4], values[5])),
        (values[6], values[7]),
        (values[8], values[9]),
        most,
    )
