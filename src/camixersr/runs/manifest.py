"""The record of what has been done: a manifest of JSON lines in the folder of results.

A run can be killed at any moment. Every result appears whole or not at all, the manifest says what was
begun and what is done, and a resumed run does the rest.
"""

import contextlib
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from camixersr.errors import ImageError, OutputError
from camixersr.image.files import open_regular, remove_leftovers, shown
from camixersr.image.locks import hold

__all__ = ["MANIFEST", "Manifest", "digest", "results_in"]

MANIFEST = "camixersr.jsonl"
"""Name of the record in the output folder."""


def digest(path: Path) -> str:
    """SHA-256 of a file, hexadecimal.

    Raises:
        ImageError: it cannot be read.
    """
    try:
        with open_regular(path) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"{shown(path)}: cannot be read: {error.strerror or error}") from error


def place_of(path: Path) -> str:
    """Where a file lies, whatever the working folder and links on the way; the file may be a link."""
    return os.path.join(os.path.realpath(path.parent), path.name)  # noqa: PTH118 - any bytes


class Manifest:
    """The record of runs into one folder: JSON lines, each about one picture.

    A line has `input` (below the folder searched), `source` (the file itself), `output` (below the
    output folder), `result` ("begun", "done" or "failed"), and from its beginning on `sha256` of the
    input and `options`; when done `bytes` of the output and `facts`, else `error`. `route_map` is there
    if one is made. Of each output the last line counts that says begun or done.

    Args:
        path: the file; made if it is missing, continued if it is there.

    Raises:
        OutputError: it cannot be written, or another run writes it now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._made: dict[str, dict[str, Any]] = {}  # output or route map: the last line about it
        self._outputs: dict[str, set[str]] = {}  # input: outputs of it
        try:
            self._file = path.open("ab+")
            self._lock()
            self._file.seek(0)
            content = self._file.read()
            for entry in _entries(content):
                self._learn(entry)
            if content and not content.endswith(b"\n"):
                self._file.write(b"\n")
        except OSError as error:
            raise OutputError(f"{shown(path)}: cannot be written: {error.strerror or error}") from error

    def close(self) -> None:
        """Let another run have it."""
        with contextlib.suppress(OSError):  # of a disk that is full, which `note` has said
            self._file.close()

    def _lock(self) -> None:
        try:
            hold(self._file.fileno())
        except BlockingIOError:
            self._file.close()
            raise OutputError(
                f"{shown(self.path)}: another run writes into this folder; wait for it"
            ) from None
        except OSError:
            return  # a file system without locks

    def _learn(self, entry: dict[str, Any]) -> None:
        if entry["result"] not in ("begun", "done"):  # what failed changed nothing
            return
        for name in ("output", "route_map"):
            if entry.get(name) is not None:
                self._made[entry[name]] = entry
        self._outputs.setdefault(entry["input"], set()).add(entry["output"])

    def _name(self, path: Path) -> str:
        return os.path.relpath(path, self.path.parent)

    def note(
        self,
        source: Path,
        relative: Path,
        output: Path,
        *,
        result: str,
        route_map: Path | None = None,
        **facts: Any,
    ) -> None:
        """Add a line.

        Args:
            source: the input.
            relative: its path below what was searched.
            output: its target.
            result: "begun", "done" or "failed".
            route_map: where that goes, or None.
            facts: what else is known.

        Raises:
            OutputError: the disk is full.
        """
        entry = {
            "input": str(relative),
            "source": place_of(source),
            "output": self._name(output),
            "result": result,
            **({} if route_map is None else {"route_map": self._name(route_map)}),
            **facts,
        }
        self._learn(entry)
        try:
            self._file.write(json.dumps(entry).encode("ascii") + b"\n")
            self._file.flush()
        except OSError as error:
            raise OutputError(
                f"{shown(self.path)}: cannot be written: {error.strerror or error}"
            ) from error

    def is_ours(self, path: Path) -> bool:
        """Whether a file was made, or begun, by a run that is recorded here."""
        return self._name(path) in self._made

    def other_source(self, path: Path, source: Path, sha256: str) -> str | None:
        """The input that a recorded result or route map was made from, if it was another one.

        The same input is a file in the same place, whatever has become of its content, or the same
        content, wherever it has been moved.

        Args:
            path: the result.
            source: the input that it is to be made from now.
            sha256: of that input.

        Returns:
            Where the other input lies or lay; None if it was the same, or if nothing is recorded.
        """
        entry = self._made.get(self._name(path))
        if entry is None or entry.get("sha256") == sha256 or entry.get("source") == place_of(source):
            return None
        return str(entry.get("source", entry["input"]))

    def clear(self, output: Path) -> None:
        """Remove what a killed run left of a picture it had begun."""
        if self.is_ours(output):
            remove_leftovers(output)

    def done(
        self, relative: Path, sha256: str, options: Mapping[str, Any], *, route_map: bool
    ) -> dict[str, Any] | None:
        """The line about this very picture, made with these very options, if all of it is still there.

        Args:
            relative: path of the input below what was searched.
            sha256: of the input.
            options: as they were noted.
            route_map: one is wanted, too.
        """
        for output in self._outputs.get(str(relative), ()):
            entry = self._made[output]
            same = entry.get("sha256") == sha256 and entry.get("options") == options
            whole = entry["result"] == "done" and isinstance(entry.get("facts"), dict)
            if whole and same and self._is_there(entry, route_map=route_map):
                return entry
        return None

    def _is_there(self, entry: dict[str, Any], *, route_map: bool) -> bool:
        folder, routes = self.path.parent, entry.get("route_map")
        output = folder / entry["output"]
        if route_map and not (self._made.get(routes or "") is entry and (folder / str(routes)).is_file()):
            return False
        return output.is_file() and output.stat().st_size == entry.get("bytes")


def _entries(content: bytes) -> list[dict[str, Any]]:
    """The lines of a manifest, without any that a kill has cut."""
    entries: list[dict[str, Any]] = []
    for line in content.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if isinstance(entry, dict) and all(
                isinstance(entry.get(name), str) for name in ("input", "output", "result")
            ):
                entries.append(entry)
    return entries


def results_in(folder: Path) -> dict[str, str]:
    """Results that a folder's manifest, if it has one, records: place of each -> place of its input."""
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError:
        return {}
    return {
        place_of(folder / entry["output"]): entry["source"]
        for entry in _entries(content)
        if entry["result"] in ("begun", "done") and isinstance(entry.get("source"), str)
    }
