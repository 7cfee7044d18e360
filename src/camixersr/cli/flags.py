"""The options of commands that make pictures of pictures: a flag for each field of `Options`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, make_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

from cyclopts import Group, Parameter

from camixersr.enlarge.forms import GROUPS
from camixersr.enlarge.options import Options
from camixersr.errors import UsageError

if TYPE_CHECKING:
    from camixersr.runs.work import Existing

__all__ = ["FIRST", "GROUP_OF", "Flags", "options_of", "output_parameter", "with_flags"]

_GROUP = {title: Group(title, sort_key=number) for number, title in enumerate(GROUPS)}
FIRST, _, _, _, INPUTS, FILES = _GROUP.values()
"""`FIRST` is what matters first."""
RUN = Group("Runs over many or large pictures", sort_key=len(GROUPS))

GROUP_OF: Mapping[str, Group] = {name: _GROUP[title] for title, names in GROUPS.items() for name in names}
"""Where `--help` lists each option."""

output_parameter = Parameter(name=["--output", "-o"], group=FIRST)


@Parameter(name="*")  # its fields are options of the commands
@dataclass(frozen=True, kw_only=True)
class Flags:
    """What a run does beside enlarging.

    Attributes:
        overwrite: Replace files that exist.
        resume: Go on with an interrupted run that had the same options. It makes the missing pictures of a
            folder, or the missing tiles of a large picture. Ctrl-C prints the command to use.
        json_: Also write the facts of the summary as JSON. Several inputs give a list.
        skip_existing: Leave out inputs whose result exists.
        spill: Folder for the intermediate files of large pictures. Default: the output's folder.
        route_map: Also write a picture that shows where attention went. For several inputs, name a folder.
        compare: Also write an HTML page that compares the result with bicubic interpolation. It has a
            slider, a zoom and the route map. This works for one input.
        max_pixels: Refuse inputs with more pixels before decoding them. Default: 2,000,000,000.
    """

    overwrite: Annotated[bool, Parameter(negative=(), group=FIRST)] = False
    resume: Annotated[bool, Parameter(negative=(), group=FIRST)] = False
    json_: Annotated[Path | None, Parameter(name="--json", group=FIRST)] = None
    skip_existing: Annotated[bool, Parameter(negative=(), group=RUN)] = False
    spill: Annotated[Path | None, Parameter(group=RUN)] = None
    route_map: Annotated[str | None, Parameter(group=FILES)] = None
    compare: Annotated[Path | None, Parameter(group=FILES)] = None
    max_pixels: Annotated[int | None, Parameter(group=INPUTS)] = None

    def __post_init__(self) -> None:
        if self.overwrite and self.skip_existing:
            raise UsageError("--overwrite and --skip-existing exclude each other; give one of them")

    @property
    def existing(self) -> "Existing":
        """What to do about results that exist."""
        if self.overwrite:
            return "resume or overwrite" if self.resume else "overwrite"
        if self.skip_existing:
            return "resume or skip" if self.resume else "skip"
        return "resume" if self.resume else "refuse"


Command = TypeVar("Command", bound=Callable[..., int])


def with_flags(*, leave_out: frozenset[str] = frozenset(), **defaults: Any) -> Callable[[Command], Command]:
    """Give a command's parameter `given` a flag for each option.

    The command then gets what was given as a record from which `options_of` makes the `Options`: their
    checks speak for themselves, and not as a parser's remarks.

    Args:
        leave_out: options that the command does not have.
        defaults: of options, where they are others.
    """
    hints = get_type_hints(Options)
    names = {"scale": ["--scale", "-s"]}
    members = [
        (
            each.name,
            Annotated[
                hints[each.name],
                Parameter(
                    name=names.get(each.name),
                    group=GROUP_OF[each.name],
                    negative=None if each.default is None else (),  # only what has no default can be off
                ),
            ],
            field(default=defaults.get(each.name, each.default)),
        )
        for each in fields(Options)
        if each.name not in leave_out
    ]
    record: Any = make_dataclass(
        "Given", members, kw_only=True, namespace={"__doc__": Options.__doc__, "__module__": __name__}
    )

    def give(command: Command) -> Command:
        command.__annotations__["given"] = Parameter(name="*")(record) | None
        return command

    return give


def options_of(given: Any, **others: Any) -> Options:
    """The options of what was given on a command line; None is all defaults."""
    return Options(**({} if given is None else vars(given)), **others)
