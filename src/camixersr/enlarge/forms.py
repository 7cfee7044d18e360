"""The options as a form: their groups, kinds and words, and the record of what was filled in.

Everything follows from `Options`: its fields, their types and its docstring. The command line's groups,
a page's form and the text of an interface come from here. Other records of options become forms likewise.
"""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

from camixersr.enlarge.options import Options
from camixersr.errors import UsageError

__all__ = ["GROUPS", "Described", "described", "options_from", "schema", "values_from"]

GROUPS: Mapping[str, tuple[str, ...]] = {
    "Options": ("model", "scale", "fit", "attention_ratio", "format", "quality"),
    "Size of the result": ("width", "height", "megapixels", "at_most"),
    "Effort: time, memory and attention": (
        "preview", "routing", "max_share", "seconds", "memory", "tile", "batch",
    ),
    "What computes, and where": ("device", "backend", "precision"),
    "What is in the pictures": ("restore", "alpha", "projection", "salvage", "color"),
    "Files that are written": ("subsampling", "compression", "lossless", "strip", "name"),
}  # fmt: skip
"""Title -> options, in the order in which people want to know them; what matters first comes first."""

_WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}
_JSON = {int: "integer", float: "number", bool: "boolean", str: "string"}


@dataclass(frozen=True)
class Described:
    """What a form says of an option.

    Attributes:
        name: of the field.
        group: title of its group.
        about: what it does, in words.
        kinds: types that it takes: int, float, bool, str.
        choices: words that it takes.
        default: where nothing is said; None: the program decides.
        several: it takes any number of its choices.
    """

    name: str
    group: str
    about: str
    kinds: tuple[type, ...]
    choices: tuple[str, ...]
    default: Any
    several: bool = False

    def plain(self, value: Any) -> Any:
        """A value as JSON has it."""
        return sorted(value) if self.several else value


def described(
    record: type = Options, groups: Mapping[str, Sequence[str]] = GROUPS
) -> tuple[Described, ...]:
    """Every option, group by group.

    Args:
        record: a dataclass whose docstring has words for each of its fields.
        groups: title -> fields.
    """
    hints, defaults = get_type_hints(record), {each.name: each.default for each in fields(record)}
    texts = _texts(record)
    return tuple(
        Described(
            name,
            group,
            texts[name],
            *_kinds(hints[name]),
            defaults[name],
            several=get_origin(hints[name]) is frozenset,
        )
        for group, names in groups.items()
        for name in names
    )


def _kinds(hint: Any) -> tuple[tuple[type, ...], tuple[str, ...]]:
    parts = (hint,) if get_origin(hint) is Literal or isinstance(hint, type) else get_args(hint)
    words = tuple(word for part in parts if get_origin(part) is Literal for word in get_args(part))
    return tuple(part for part in parts if part in _WORDS), words


def _texts(record: type) -> dict[str, str]:
    """What the docstring of a record says of each."""
    listed = (record.__doc__ or "").partition("Attributes:")[2].partition("Raises:")[0]
    found = re.findall(r"^        (\w+): (.+?)(?=^        \w+: |\Z)", listed, re.MULTILINE | re.DOTALL)
    return {name: " ".join(text.split()) for name, text in found}


def schema(
    options: Sequence[Described] | None = None, *, leave_out: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """The options as JSON Schema.

    Args:
        options: from `described`; all of `Options` if they are not given.
        leave_out: options that are not for the asking.
    """
    properties: dict[str, Any] = {}
    for each in described() if options is None else options:
        if each.name in leave_out:
            continue
        ways: list[dict[str, Any]] = [{"type": _JSON[kind]} for kind in each.kinds]
        ways += [{"enum": list(each.choices)}] if each.choices else []
        ways = [{"type": "array", "items": ways[0]}] if each.several else ways
        ways += [{"type": "null"}] if each.default is None else []
        properties[each.name] = {
            "description": each.about,
            "default": each.plain(each.default),
            **(ways[0] if len(ways) == 1 else {"anyOf": ways}),
        }
    return {"type": "object", "additionalProperties": False, "properties": properties}


def options_from(values: Mapping[str, Any], *, leave_out: frozenset[str] = frozenset()) -> Options:
    """The record of what somebody filled in.

    Args:
        values: see `values_from`.
        leave_out: options that are not for the asking.

    Raises:
        UsageError: an unknown option, a value of another type, or one that `Options` refuses.
    """
    return Options(**values_from(values, [each for each in described() if each.name not in leave_out]))


def values_from(values: Mapping[str, Any], options: Sequence[Described]) -> dict[str, Any]:
    """What somebody filled in, in the types of a record's fields; defaults are left out.

    Args:
        values: option -> value: of its own type, as JSON has it, or as text, as forms have it. Empty text
            and None stand for the default. Several choices are a list, or text with commas.
        options: those that there are.

    Raises:
        UsageError: an unknown option, or a value of another type.
    """
    known = {each.name: each for each in options}
    given: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            raise UsageError(f"no option {name[:60]!r}; options: {', '.join(known)}")
        if value is not None and value != "":
            given[name] = (_several if known[name].several else _value)(known[name], value)
    return given


def _several(option: Described, value: Any) -> frozenset[str]:
    parts: Any = [each.strip() for each in value.split(",")] if isinstance(value, str) else value
    if not isinstance(parts, list | tuple | frozenset) or not set(option.choices).issuperset(
        each if isinstance(each, str) else ""
        for each in parts  # pyright: ignore[reportUnknownVariableType]
    ):
        raise UsageError(
            f"{option.name} must be some of {', '.join(option.choices)}, got {str(value)[:60]!r}"
        )
    return frozenset(parts)  # pyright: ignore[reportUnknownArgumentType]


def _value(option: Described, value: Any) -> Any:
    if isinstance(value, str) and value in option.choices:
        return value
    for kind in sorted(option.kinds, key=[int, float, bool, str].index):
        if kind is not str and isinstance(value, str):
            found = _read(kind, value)
        else:  # True is no number, though Python has it as one
            fits = isinstance(value, int | float if kind is float else kind)
            found = value if fits and (kind is bool or not isinstance(value, bool)) else None
        if found is not None and kind is float:
            found = _finite(found)
        if found is not None:
            return found
    expected = [_WORDS[kind] for kind in option.kinds]
    expected += ["one of " + ", ".join(option.choices)] if option.choices else []
    raise UsageError(f"{option.name} must be {' or '.join(expected)}, got {str(value)[:60]!r}")


def _read(kind: type, text: str) -> Any:
    if kind is bool:
        return {"true": True, "false": False}.get(text.lower())
    try:
        return kind(text)
    except ValueError:
        return None


def _finite(value: Any) -> float | None:
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
