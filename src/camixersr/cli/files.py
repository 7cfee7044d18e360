"""What `camixersr upscale` and `restore` do: call the library, show how far it is, print what came."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camixersr.cli.bars import Bars
from camixersr.cli.flags import Flags
from camixersr.enlarge.options import Options
from camixersr.errors import UsageError
from camixersr.image.files import replacing, require_writable, shown
from camixersr.units import shown_bytes

if TYPE_CHECKING:
    from camixersr.runs.files import Run
    from camixersr.runs.results import Event, Result

__all__ = ["make"]


def make(
    files: "Callable[..., Run]",
    inputs: Sequence[Path],
    output: str | None,
    options: Options,
    flags: Flags,
) -> int:
    """Make a picture of every picture, and say what was done.

    Args:
        files: `upscale_files` or `restore_files`.
        inputs: as given.
        output: as given.
        options: as given.
        flags: as given.

    Returns:
        The exit code: 3 if a picture of many failed.
    """
    from camixersr.image.picture import MAX_PIXELS
    from camixersr.runs.find import STREAM
    from camixersr.runs.work import refuse_existing

    existing = (
        "overwrite"
        if flags.overwrite
        else "skip"
        if flags.skip_existing
        else "resume"
        if flags.resume
        else "refuse"
    )
    teller = _Teller()
    run = files(
        inputs,
        output,
        options=options,
        existing=existing,
        route_map=flags.route_map,
        compare=flags.compare,
        spill=flags.spill,
        max_pixels=MAX_PIXELS if flags.max_pixels is None else flags.max_pixels,
        on_progress=teller,
    )
    if any(job.target == STREAM for job in run.jobs) and sys.stdout.isatty():
        raise UsageError("a picture is not for a terminal; name a file with -o")
    if flags.json_ is not None:
        run.keep_apart({"the facts (--json)": flags.json_})
        if existing not in ("overwrite", "resume"):
            refuse_existing(flags.json_)
        require_writable(flags.json_)
    with Bars(len(run)) as teller.bars:
        results = list(run)
    return _report(run, results, flags.json_)


def _report(run: "Run", results: "Sequence[Result]", facts_file: Path | None) -> int:
    order = {job.source: number for number, job in enumerate(run.jobs)}
    results = sorted(results, key=lambda each: order[each.source])
    failures = [each for each in results if each.error is not None]
    if failures and not run.many:
        assert failures[0].cause is not None
        raise failures[0].cause
    if facts_file is not None:
        facts = [each.facts for each in results if each.facts]
        content = json.dumps(facts if run.many else facts[0] if facts else {}, indent=2)
        with replacing(facts_file) as partial:
            partial.write_text(content + "\n")
    for each in failures:
        line, name = str(each.error), shown(each.source)
        _say(line if name in line else f"{name}: {line}")
    if skipped := sum(each.status == "skipped" for each in results):
        _say(f"{skipped} of {len(run)} pictures were there already")
    if failures:
        _say(f"{len(failures)} of {len(run)} pictures failed")
    return 3 if failures else 0


def _say(line: str) -> None:
    print(f"camixersr: {' '.join(line.split())}", file=sys.stderr)


class _Teller:
    """Shows what happens in a run."""

    bars: Bars | None = None

    def __call__(self, event: "Event") -> None:
        """Be told what happens."""
        from camixersr.runs.results import Advanced, Began, Finished, Measuring, Remark

        bars = self.bars
        match event:
            case Remark(text, source):
                line = text if source is None else f"{shown(source.name)}: {text}"
                if bars is None:
                    _say(line)
                else:
                    bars.say(line)
            case Began(source) if bars is not None:
                bars.begin(shown(source.name))
            case Advanced(_, done, total) if bars is not None:
                bars(done, total)
            case Measuring(model, done, total) if bars is not None:
                bars.measuring(model, done, total)
            case Finished(result) if bars is not None:
                self._finished(result, bars)
            case _:
                pass

    @staticmethod
    def _finished(result: "Result", bars: Bars) -> None:
        from camixersr.runs.find import STREAM

        for note in result.notes:
            _say(f"{shown(result.source)}: {note}")
        if result.status == "done":
            out = sys.stderr if result.target == STREAM else sys.stdout
            print(_summary(result.facts), file=out, flush=True)
        bars.finished()


def _summary(facts: Mapping[str, Any]) -> str:
    memory = facts["peak_memory_bytes"]
    network = (
        f"peak {shown_bytes(memory)}" if memory else "peak memory unknown",
        f"{100 * facts['attention_share']:.0f} % of windows attended",
    )
    resized = "kept at its size" if facts["high_size"] == facts["low_size"] else "reduced"
    return ", ".join(
        (
            f"{shown(facts['output'])}: {' x '.join(map(str, facts['low_size']))}"
            + (f" -> {' x '.join(map(str, facts['high_size']))}" if "restores" not in facts else ""),
            *([f"{facts['pages']} pages"] if facts["pages"] > 1 else []),
            f"{facts['seconds']:.1f} s",
            *(network if facts["model_size"] else (resized,)),
        )
    )
