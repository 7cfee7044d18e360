"""The options of a film as a form: those of its frames, and those of the film itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from camixersr.enlarge.forms import Described, described, values_from
from camixersr.enlarge.options import Options
from camixersr.video.containers import WRITTEN, suffix_for
from camixersr.video.settings import Settings, seconds_of

__all__ = ["NOT_OF_FRAMES", "FilmOptions", "described_of_films", "film_options_from", "words"]

NOT_OF_FRAMES = frozenset(
    {
        "preview", "routing", "seconds", "memory", "alpha", "projection", "salvage", "color", "format",
        "quality", "subsampling", "compression", "lossless", "strip", "name",
    }
)  # fmt: skip
"""Options of pictures that films do not have, or have in another form."""

GROUPS: Mapping[str, tuple[str, ...]] = {
    "The film that is written": (
        "codec", "crf", "preset", "pixel_format", "without", "interlaced", "salvage",
    ),
    "Which part of the film": ("start", "end", "preview"),
}  # fmt: skip
"""Title -> fields of `Settings` that a form has."""

_RUN = {"Runs that take hours": ("workers", "segment", "work", "route_maps", "resume", "overwrite")}
"""What only who starts a run decides."""

_CLOCKS = ("start", "end")
"""What may be written as hours:minutes:seconds."""

_FORMAT = Described(
    "format",
    "The film that is written",
    "Container of the result. Default: that of the film if such films are written, else mkv.",
    (),
    tuple(each.removeprefix(".") for each in WRITTEN),
    None,
)


def words() -> dict[str, str]:
    """What is said of each field of `Settings`."""
    return {each.name: each.about for each in described(Settings, {**GROUPS, **_RUN})}


def described_of_films() -> tuple[Described, ...]:
    """Every option that a form for films has, group by group."""
    usual = Options(restore="off")
    frames = [
        replace(each, default=getattr(usual, each.name))
        for each in described()
        if each.name not in NOT_OF_FRAMES
    ]
    return (*frames, _FORMAT, *described(Settings, GROUPS))


@dataclass(frozen=True, kw_only=True)
class FilmOptions:
    """What was filled in.

    Attributes:
        options: how frames are enlarged.
        settings: what else is done.
        format: suffix of the result, without its dot; None: that of the film.
    """

    options: Options
    settings: Settings
    format: str | None = None

    def suffix(self, name: str) -> str:
        """Of the result of a film of this name."""
        return suffix_for(name).lower() if self.format is None else f".{self.format}"

    def record(self) -> dict[str, Any]:
        """What differs from the defaults, as plain JSON values."""
        frames = self.options.record()
        found: dict[str, Any] = {}
        value: Any
        for each in described_of_films():
            if each.name == "format":
                value = self.format
            elif each.group in GROUPS:
                value = getattr(self.settings, each.name)
            else:
                value = frames[each.name]
            if value != each.default:
                found[each.name] = each.plain(value)
        return found


def film_options_from(values: Mapping[str, Any], *, leave_out: frozenset[str] = frozenset()) -> FilmOptions:
    """The record of what somebody filled in.

    Args:
        values: as for `camixersr.enlarge.forms.values_from`; times may be hours:minutes:seconds.
        leave_out: options that are not for the asking.

    Raises:
        UsageError: an unknown option, a value of another type, or one that does not fit.
    """
    values = dict(values)
    for name in _CLOCKS:
        text = values.get(name)
        if isinstance(text, str) and ":" in text:
            values[name] = seconds_of(text, name)
    options = [each for each in described_of_films() if each.name not in leave_out]
    groups = {each.name: each.group for each in options}
    given: dict[str, Any] = {"restore": "off"} | values_from(values, options)
    container = given.pop("format", None)
    settings = {name: given.pop(name) for name in list(given) if groups[name] in GROUPS}
    return FilmOptions(options=Options(**given), settings=Settings(**settings), format=container)
