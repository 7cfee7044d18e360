"""What was asked of a picture or a film: read from a request, kept in the queue, given to a process."""

from collections.abc import Mapping
from typing import Any

from camixersr.enlarge.forms import Described, described, options_from, schema
from camixersr.enlarge.options import Options
from camixersr.video.forms import FilmOptions, described_of_films, film_options_from
from camixersr.web.fleets import FleetOrder
from camixersr.web.store import Job

__all__ = [
    "DECIDED",
    "asked_schema",
    "fleet_schema",
    "offered",
    "options_of",
    "read_fleet_options",
    "read_options",
    "record_of",
]

DECIDED = frozenset({"device", "backend"})
"""Options that the service decides."""
NOT_OF_FLEETS = DECIDED | {"preview"}
"""Options that fleets do not have."""


def offered(*, films: bool) -> list[Described]:
    """The options that there are.

    Args:
        films: those of films, else those of pictures.
    """
    every = described_of_films() if films else described()
    return [each for each in every if each.name not in DECIDED]


def asked_schema() -> dict[str, Any]:
    """The options of a request as JSON Schema."""
    kinds = {"of a picture": False, "of a film": True}
    return {
        "anyOf": [{**schema(offered(films=films)), "description": words} for words, films in kinds.items()]
    }


def read_options(values: Mapping[str, Any], *, film: bool) -> Options | FilmOptions:
    """What somebody asks for.

    Raises:
        UsageError: an unknown option, or one that does not fit.
    """
    return (film_options_from if film else options_from)(values, leave_out=DECIDED)


def read_fleet_options(values: Mapping[str, Any]) -> Options:
    """What somebody asks of a fleet.

    Raises:
        UsageError: as for `read_options`.
    """
    return options_from(values, leave_out=NOT_OF_FLEETS)


def fleet_schema() -> dict[str, Any]:
    """The options of a fleet as JSON Schema."""
    return schema(leave_out=NOT_OF_FLEETS)


def record_of(options: Options | FilmOptions) -> dict[str, Any]:
    """What differs from the defaults, as JSON values."""
    if isinstance(options, FilmOptions):
        return options.record()
    plain = Options().record()
    return {name: value for name, value in options.record().items() if value != plain[name]}


def options_of(job: Job) -> tuple[Options | FilmOptions | FleetOrder, str]:
    """The options of a job, and the suffix of the result of a film."""
    if job.is_fleet:
        options = read_fleet_options(job.options)
        return FleetOrder(job.picture["source"], job.picture["dest"], options), ""
    options = read_options(job.options, film=job.is_film)
    return options, options.suffix(job.name) if isinstance(options, FilmOptions) else ""
