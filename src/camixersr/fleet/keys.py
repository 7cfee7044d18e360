"""Which keys are pictures, and what their results are called: the rules of `camixersr upscale`."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path, PurePosixPath

from camixersr.errors import ImageError, UsageError
from camixersr.fleet.places import Entry, Folder, Place, Store, is_plain
from camixersr.fleet.rows import HOME, Task
from camixersr.image.files import printable
from camixersr.runs.find import Found, find, is_picture
from camixersr.runs.targets import jobs_for

__all__ = ["pictures_in", "tasks_for"]


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
        return sorted(((store.entry(each.source), each) for each in found), key=lambda each: each[0].key)
    barred = place.below(results)
    pairs: list[tuple[Entry, Found]] = []
    for entry in store.entries():
        if (barred and entry.key.startswith(barred)) or not is_picture(PurePosixPath(entry.key).name):
            continue
        if not is_plain(entry.key):
            say(f"{entry.key!r}: is no plain path, and was passed over")
            continue
        # a path that leads nowhere: names are decided by the key alone
        pairs.append((entry, Found(Path("/", HOME, "-", entry.key), Path(entry.key), True)))
    if not pairs:
        raise ImageError(f"{place}: expected pictures there, found none")
    return sorted(pairs, key=lambda each: each[0].key)


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


def _split(key: str) -> tuple[str, str]:
    suffix = PurePosixPath(key).suffix
    return key.removesuffix(suffix), suffix
