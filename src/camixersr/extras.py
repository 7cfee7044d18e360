"""What is to be typed where an optional dependency is missing."""

import json
import os
import shlex
import shutil
import sys
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from urllib.parse import unquote, urlsplit

__all__ = ["install_line"]


def install_line(extra: str) -> str:
    """The command that installs an extra beside this program, right where the user is.

    Args:
        extra: its name in `pyproject.toml`, such as "raw".

    Returns:
        A line for a shell: `pip install '.[raw]'` in a checkout, `pip install 'camixersr[raw]'` for an
        installed package; with the checkout's path, or this Python's, where the plain line would miss them.
    """
    checkout = _checkout()
    place = "camixersr" if checkout is None else str(checkout)
    if checkout == Path.cwd().resolve():
        place = "."
    return f"{_pip()} install {shlex.quote(f'{place}[{extra}]')}"


def _checkout() -> Path | None:
    """The folder of sources that this package is, or was installed from; None if that is not here."""
    above = Path(__file__).resolve().parents[2]
    if (above / "src" / "camixersr").is_dir() and (above / "pyproject.toml").is_file():
        return above
    try:
        origin = json.loads(distribution("camixersr").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return None
    address = urlsplit(str(origin.get("url", "")))
    folder = Path(unquote(address.path))
    is_here = address.scheme == "file" and (folder / "pyproject.toml").is_file()
    return folder.resolve() if is_here else None


def _pip() -> str:
    """`pip`, if that is this Python's."""
    found, python = shutil.which("pip"), sys.executable
    if not python or (found and Path(found).parent == Path(python).parent):
        return "pip"
    beside = os.path.relpath(python)  # as `.venv/bin/python`
    return f"{shlex.quote(python if beside.startswith('..') else beside)} -m pip"
