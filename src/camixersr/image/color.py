"""Colour: bring what a file holds to grey or RGB, and keep what its values mean."""

from typing import Any, Literal

from camixersr.errors import ImageError

__all__ = ["Color", "to_rgb"]

Color = Literal["keep", "srgb"]

PROFILE = "icc-profile-data"
RGB_OR_GREY = ("b-w", "grey16", "srgb", "rgb", "rgb16", "scrgb", "multiband")


def to_rgb(image: Any, color: Color) -> tuple[Any, list[str]]:
    """Make a picture grey or RGB, in 8 or 16 bits or floating point.

    Args:
        image: pyvips image, as decoded.
        color: "keep" leaves RGB and grey values and their profile as they are; "srgb" converts them
            through the profile.

    Returns:
        The picture, and what was done that changes values, in words.

    Raises:
        ImageError: pixels of a kind that is no picture.
    """
    notes: list[str] = []
    profiled = bool(image.get_typeof(PROFILE))
    deep = image.format != "uchar"
    if image.interpretation == "cmyk":
        image = _through_profile(image, deep, input_profile="cmyk")
        how = "its profile" if profiled else "a general profile, as it has none"
        notes.append(f"CMYK was converted to sRGB through {how}")
    elif image.interpretation in ("lab", "labs", "labq"):
        image = _from_lab(image)
        notes.append("LAB was converted to sRGB")
    elif image.interpretation not in RGB_OR_GREY:
        notes.append(f"{image.interpretation} was converted to sRGB")
        image = image.colourspace("srgb")
    elif color == "srgb" and profiled:
        if image.format in ("uchar", "ushort"):
            image, said = _to_srgb(image, deep)
            notes += said
        else:
            notes.append("pixels in floating point keep their profile; --color srgb is for integers")
    if image.format in ("char", "short", "int", "uint"):
        notes.append("signed or 32-bit integers were taken as floating point, value for value")
    if image.format in ("char", "short", "int", "uint", "double"):
        image = image.cast("float").copy(interpretation="b-w" if image.bands < 3 else "scrgb")
    if image.format not in ("uchar", "ushort", "float"):
        raise ImageError(
            f"expected 8 or 16 bits a channel or floating point, got {image.format} pixels; convert them"
        )
    if image.bands > 4:
        raise ImageError(f"expected greyscale or RGB, with or without alpha, got {image.bands} channels")
    return image, notes


def _through_profile(image: Any, deep: bool, **options: Any) -> Any:
    """Colours to sRGB; transparency stays what it is, which libvips would scale in 16 bits."""
    colours = 4 if image.interpretation == "cmyk" else (1 if image.bands < 3 else 3)
    rest: list[Any] = []
    if image.bands > colours:
        rest = [image.extract_band(colours, n=image.bands - colours)]
        image = image.extract_band(0, n=colours)
    depth = 16 if deep else 8
    image = image.icc_transform("srgb", embedded=True, intent="relative", depth=depth, **options)
    return image.bandjoin(rest) if rest else image


def _from_lab(image: Any) -> Any:
    """CIELAB, which files relate to D50 as profiles do, to sRGB; libvips would take it for D65."""
    depth = 8 if image.interpretation == "labq" else 16
    rest: list[Any] = []
    if image.bands > 3:
        rest = [image.extract_band(3, n=image.bands - 3)]
        if image.format == "short":  # how libvips holds 16 bits beside signed a and b
            rest = [rest[0].copy(format="ushort")]
        elif image.format == "float":
            rest = [(rest[0] * 65535.0 + 0.5).floor().cast("ushort")]
        image = image.extract_band(0, n=3)
    image = image.colourspace("lab").copy()
    if image.get_typeof(PROFILE):
        image.remove(PROFILE)
    image = image.icc_export(output_profile="srgb", intent="relative", depth=depth, pcs="lab")
    image = image.bandjoin(rest) if rest else image.copy()
    image = image.copy(interpretation="srgb" if depth == 8 else "rgb16")
    if image.get_typeof(PROFILE):
        image.remove(PROFILE)
    return image


def _to_srgb(image: Any, deep: bool) -> tuple[Any, list[str]]:
    """Convert by choice; a profile that cannot be used is dropped, and its values taken for sRGB."""
    import pyvips

    bands = image.bands
    try:
        result = _through_profile(image, deep, black_point_compensation=True)
    except pyvips.Error:
        result = image.copy()
        result.remove(PROFILE)
        return result, ["its colour profile cannot be used, so its values were taken for sRGB"]
    if bands < 3:  # greyscale stays greyscale
        planes = [result.extract_band(0)]
        if result.bands > 3:
            planes.append(result.extract_band(3))
        result = planes[0].bandjoin(planes[1:]).copy(interpretation="grey16" if deep else "b-w")
        result = result.copy()
        result.remove(PROFILE)
    return result, []
