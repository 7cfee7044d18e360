"""Names of a package that are loaded when they are first asked for: torch takes a second."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["lazily"]


def lazily(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
    """A package's `__getattr__`.

    >>> lazily("package", {"sqrt": "math"})("sqrt")(4.0)
    2.0

    Args:
        package: its name.
        places: the module that each name comes from.
    """

    def get(name: str) -> Any:
        if name in places:
            return getattr(import_module(places[name]), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return get
