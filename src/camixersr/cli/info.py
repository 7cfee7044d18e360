"""`camixersr info`: what a picture is, and what would become of it."""

import json
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from camixersr.cli.flags import options_of, with_flags

__all__ = ["info"]


@with_flags(leave_out=frozenset({"preview", "seconds", "memory", "name"}))
def info(
    file: Annotated[Path, Parameter(name="FILE")],
    /,
    *,
    measure: bool = True,
    json_: Annotated[bool, Parameter(name="--json", negative=())] = False,
    given: Any = None,
) -> int:
    """Show what a picture is, what `upscale` would make of it, and how long that would take.

    Parameters
    ----------
    file
        The picture.
    measure
        Time a part of the picture on this machine. This takes some seconds.
    json_
        Print JSON instead of text.
    """
    options = options_of(given)
    from camixersr.image.files import shown
    from camixersr.runs.about import about
    from camixersr.units import shown_time

    facts = about(file, options, measure=measure)
    if json_:
        print(json.dumps(facts, indent=2))
        return 0
    bits = {"8": "8 bits", "16": "16 bits", "float": "floating point"}[facts["depth"]]
    kind = facts["format"].upper() or "unknown format"
    quality = f", quality {facts['jpeg_quality']}" if facts["jpeg_quality"] else ""
    more = [
        *(["transparency"] if facts["alpha"] else []),
        *(["360-degree panorama"] if facts["panorama"] else []),
    ]
    if facts["pages"] > 1:
        more.append(f"{facts['pages']} pages or frames")
    time = "" if facts["seconds"] is None else f"about {shown_time(facts['seconds'])} on this machine"
    rows = {
        "picture": ", ".join((" x ".join(map(str, facts["size"])), f"{kind}{quality}", bits, *more)),
        "carries": ", ".join(facts["carries"]) or "no metadata",
        "result": f"{' x '.join(map(str, facts['result_size']))}, {facts['result_format']}",
        "lost": "; ".join(facts["lost"]) or "nothing",
        "model": facts["model"] or "none: it is only reduced",
        "first": "JPEG compression is undone" if facts["restored"] else "",
        "takes": time,
        "note": "; ".join(facts["notes"]),
    }
    print(shown(file))
    for name, words in rows.items():
        if words:
            print(f"  {name:8} {words}")
    return 0
