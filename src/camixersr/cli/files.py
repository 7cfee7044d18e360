"""What `camixersr upscale` and `restore` do: call the library, show how far it is, print what came."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camixersr.cli.bars import Bars
from camixersr.cli.flags import Flags
from camixersr.cli.stopping import Stopping, command
from camixersr.cli.talk import is_quiet, say
from camixersr.enlarge.options import Options
from camixersr.errors import CancelledError, UsageError
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
        The exit code: 3 if a picture of many failed, 130 after Ctrl-C.
    """
    from camixersr.image.picture import MAX_PIXELS
    from camixersr.runs.find import STREAM
    from camixersr.runs.work import refuse_existing

    teller = _Teller()
    stopping = Stopping(teller.say)
    run = files(
        inputs,
        output,
        options=options,
        existing=flags.existing,
        route_map=flags.route_map,
        compare=flags.compare,
        spill=flags.spill,
        keep_begun=True,
        max_pixels=MAX_PIXELS if flags.max_pixels is None else flags.max_pixels,
        on_progress=teller,
        cancel=stopping,
    )
    if any(job.target == STREAM for job in run.jobs) and sys.stdout.isatty():
        raise UsageError("standard output is a terminal, which cannot take a picture; name a file with -o")
    if flags.json_ is not None:
        run.keep_apart({"the facts (--json)": flags.json_})
        if not (flags.overwrite or flags.resume):
            refuse_existing(flags.json_)
        require_writable(flags.json_)
    results: list[Result] = []
    listening = nullcontext() if any(job.source == STREAM for job in run.jobs) else stopping
    try:
        with Bars(len(run)) as teller.bars, listening:
            for result in run:
                results.append(result)
    except (CancelledError, KeyboardInterrupt):
        if not stopping():
            raise
        return _stopped(run, results, flags, streamed=teller.streamed)
    return _report(run, results, flags.json_)


def _stopped(run: "Run", results: "Sequence[Result]", flags: Flags, *, streamed: bool) -> int:
    """Say what is there, and how to go on."""
    if not run.many and not streamed:
        raise KeyboardInterrupt
    more, without = ["--resume"], [str(each.source) for each in results]
    if run.many:
        done = sum(each.status != "failed" for each in results)
        _say(f"stopped; {done} of {len(run)} pictures are done, and what was begun is kept; to go on:")
    else:
        _say("stopped; what was computed is kept; to go on:")
    if run.is_recorded or not run.many:
        without = []
    elif not flags.overwrite:
        more, without = [*more, "--skip-existing"], []
    print(f"  {command(*more, without=without)}", file=sys.stderr)
    return 130


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
        say(f"{skipped} of {len(run)} pictures were there already")
    if failures:
        _say(f"{len(failures)} of {len(run)} pictures failed")
    return 3 if failures else 0


def _say(line: str) -> None:
    """Whatever happens, also when the user wants quiet."""
    print(f"camixersr: {' '.join(line.split())}", file=sys.stderr)


class _Teller:
    """Shows what happens in a run."""

    bars: Bars | None = None
    streamed = False
    """The picture that is computed goes from disk to disk."""

    def say(self, line: str) -> None:
        """Print a line, above the bars."""
        if self.bars is None:
            say(line)
        elif not is_quiet():
            self.bars.say(line)

    def __call__(self, event: "Event") -> None:
        """Be told what happens."""
        from camixersr.runs.results import Advanced, Began, Finished, Measuring, Remark

        bars = self.bars
        match event:
            case Remark(text, source):
                self.say(text if source is None else f"{shown(source.name)}: {text}")
            case Began(source, streamed) if bars is not None:
                self.streamed = streamed
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
            say(f"{shown(result.source)}: {note}")
        if result.status == "done" and not is_quiet():
            out = sys.stderr if result.target == STREAM else sys.stdout
            print(_summary(result.facts), file=out, flush=True)
        bars.finished(result.status == "done")


def _recommended(facts: Mapping[str, Any]) -> str:
    """Who chose the attention ratio, if nobody asked for one."""
    asked = facts["options"]
    if asked["attention_ratio"] is not None or asked["seconds"] is not None:
        return ""
    return f" (ratio {facts['attention_ratio']:g}, which {facts['model']} recommends)"


def _summary(facts: Mapping[str, Any]) -> str:
    memory = facts["peak_memory_bytes"]
    network = (
        f"peak {shown_bytes(memory)}" if memory else "peak memory unknown",
        f"{100 * facts['attention_share']:.0f} % of windows attended{_recommended(facts)}",
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
