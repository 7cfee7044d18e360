"""Which keys are pictures, and what their results are called: the rules of `camixersr upscale`."""

import os
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

from camixersr.errors import ImageError, UsageError
from camixersr.fleet.places import Entry, Folder, Place, Store, is_plain
from camixersr.fleet.rows import HOME, ROWS, Task, rows_in, runs_in
from camixersr.image.files import printable
from camixersr.image.formats import WRITABLE
from camixersr.runs.find import Found, find, is_picture
from camixersr.runs.targets import jobs_for

__all__ = ["kept_apart", "pictures_in", "tasks_for"]


def pictures_in(
    place: Place, store: Store, results: Place, say: Callable[[str], None]
) -> list[tuple[Entry, Found]]:
    """The pictures of a place, in the order of their keys.

    Args:
        place: where to look.
        store: it, open.
        results: where results go, which may lie below, and is passed over.
        say: told what was passed over, though it looked like a picture.

    Raises:
        ImageError: there are none.
    """
    if isinstance(store, Folder):
        if not store.root.is_dir():
            raise ImageError(f"{place}: expected a folder of pictures, found none")
        found = find([store.root], output=results.folder, say=say)
        homes = [each.parent for each in _homes(store.root) if each.parent != results.folder]
        tables = [f"{each.relative_to(store.root).as_posix()}/" for each in homes]
        return _sources([(_entry(store, each), each) for each in found], place, store, tables, say)
    tables_there: set[str] = set()
    barred = place.below(results)
    pairs: list[tuple[Entry, Found]] = []
    for entry in store.entries():
        if barred and entry.key.startswith(barred):
            continue
        if f"/{ROWS}" in entry.key:
            tables_there.add(f"{entry.key.partition(f'/{ROWS}')[0]}/")
        if not is_picture(PurePosixPath(entry.key).name):
            continue
        if not is_plain(entry.key):
            say(f"{entry.key!r}: is no plain path, and was passed over")
            continue
        # a path that leads nowhere: names are decided by the key alone
        pairs.append((entry, Found(Path("/", HOME, "-", entry.key), Path(entry.key), True)))
    return _sources(pairs, place, store, sorted(tables_there), say)


def _entry(store: Folder, found: Found) -> Entry:
    """What is known of a picture; of a link that leads nowhere, nothing: its reader complains."""
    try:
        return store.entry(found.source)
    except OSError:
        return Entry(found.relative.as_posix(), 0, "", 0.0)


def _homes(root: Path) -> Iterator[Path]:
    """Folders below where fleets keep their own, but for the one right there."""
    for place, folders, _ in os.walk(root):
        if HOME.rstrip("/") in folders and Path(place) != root:
            yield Path(place, HOME)
        folders[:] = [each for each in folders if not each.startswith(".") and f"{each}/" != HOME]


def _sources(
    pairs: Sequence[tuple[Entry, Found]],
    place: Place,
    store: Store,
    tables: Iterable[str],
    say: Callable[[str], None],
) -> list[tuple[Entry, Found]]:
    """Without what fleets keep, and what they have made of pictures here."""
    results: set[str] = set()
    for below in tables:
        sources = {str(run.get("source")) for _, run in runs_in(store, below)}
        if any(f"{each}/".startswith(f"{place.url}/") for each in sources):
            results |= {f"{below}{row.result}" for row in rows_in(store, below) if row.result}
    kept = [
        each
        for each in pairs
        if each[0].key not in results and HOME.rstrip("/") not in PurePosixPath(each[0].key).parts[:-1]
    ]
    if passed := sum(each[0].key in results for each in pairs):
        say(f"{place}: {passed} results of a fleet from here were passed over")
    if not kept:
        raise ImageError(f"{place}: expected pictures there, found none")
    return sorted(kept, key=lambda each: each[0].key)


def tasks_for(
    pictures: Iterable[tuple[Entry, Found]], *, size: str, template: str, suffix: str
) -> list[Task]:
    """Decide all names.

    Args:
        pictures: from `pictures_in`.
        size: what was asked for, in names, such as "x4".
        template: of names; see `Options.name`.
        suffix: of the format asked for; empty for the source's.

    Raises:
        UsageError: two results would have one name.
    """
    pictures = list(pictures)
    root = Path("results")
    jobs = jobs_for(
        [found for _, found in pictures],
        output=root,
        folder=True,
        size=size,
        template=template,
        suffix=suffix,
    )
    tasks = [
        Task(entry.key, entry.size, entry.version, job.target.relative_to(root).as_posix(), job.settled)
        for (entry, _), job in zip(pictures, jobs, strict=True)
    ]
    taken: dict[str, str] = {}
    for task in tasks:
        if (other := taken.setdefault(task.result, task.key)) != task.key:
            raise UsageError(
                f"{printable(task.result)}: would be the result of {printable(other)} and of "
                f"{printable(task.key)}; rename one, or use --name"
            )
    stems: defaultdict[str, list[str]] = defaultdict(list)
    for task in tasks:
        stem, ending = _split(task.result)
        stems[stem].append(ending)
    named: list[Task] = []
    for task in tasks:
        stem, ending = _split(task.result)
        others = tuple(sorted(each for each in stems[stem] if each != ending))
        named.append(replace(task, taken=others) if others else task)
    return named


def kept_apart(tasks: Iterable[Task], others: Mapping[str, str | None]) -> list[Task]:
    """Keep suffixes that are chosen later from what lies in the place of results.

    Args:
        tasks: from `tasks_for`.
        others: keys there that have an owner: the key of another picture, or None: no fleet has made it.
    """
    apart: list[Task] = []
    for task in tasks:
        stem, own = _split(task.result)
        names = {suffix: f"{stem}{suffix}" for suffix in WRITABLE if suffix != own and not task.settled}
        taken = {
            suffix for suffix, name in names.items() if name in others and others[name] != task.key
        } - set(task.taken)
        apart.append(replace(task, taken=tuple(sorted({*task.taken, *taken}))) if taken else task)
    return apart


def _split(key: str) -> tuple[str, str]:
    suffix = PurePosixPath(key).suffix
    return key.removesuffix(suffix), suffix
