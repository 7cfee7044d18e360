"""The command line: a table of names and functions, one short file a command.

Nothing here imports torch until a command runs, so that `--help` answers at once. Every error that
camixersr raises on purpose becomes one line on stderr and an exit code: 2 for a wrong option, 3 for
a file that cannot be read or written, 1 for the rest, 130 for
Ctrl-C, 143 for SIGTERM, 129 for SIGHUP (the terminal has gone).
"""

import contextlib
import os
import signal
import sys
import warnings
from collections.abc import Generator, Sequence
from glob import has_magic
from pathlib import Path
from typing import NoReturn

from cyclopts import App
from cyclopts.exceptions import CycloptsError

from camixersr import __version__
from camixersr.cli import (
    ablate,
    benchmark,
    completion,
    data,
    defaults,
    doctor,
    evaluate,
    export,
    fleet,
    info,
    models,
    prune,
    reproduce,
    restore,
    routes,
    serve,
    stopping,
    talk,
    train,
    upscale,
    video,
    viewports,
)
from camixersr.errors import CamixerError, MissingExtraError, UsageError

__all__ = ["app", "main"]

app = App(
    name="camixersr",
    help="Make pictures larger and sharper, with attention for details alone. `camixersr PHOTO` is short "
    "for `camixersr upscale PHOTO`.",
    version=__version__,
    suppress_keyboard_interrupt=False,  # `main` says what became of the files
    help_epilogue="These go with any command: --quiet prints errors alone, --verbose prints each step, "
    "--debug prints the traceback of an error. To set your own defaults, see docs/configuration.md.",
)
app.command(upscale.upscale)
app.command(restore.restore)
app.command(video.video)
app.command(models.app)
app.command(evaluate.evaluate)
app.command(reproduce.reproduce)
app.command(data.app)
app.command(routes.routes)
app.command(benchmark.benchmark)
app.command(export.export)
app.command(serve.serve)
app.command(fleet.app)
app.command(doctor.doctor)
app.command(train.train)
app.command(ablate.ablate)
app.command(prune.prune)
app.command(viewports.viewports)
app.command(info.info)
app.command(completion.completion)

EVERYWHERE = ("--debug", "--quiet", "--verbose")
"""Options that go with any command."""


_RESEARCH = ("torch", "lightning")
"""Packages of the extras `research` and `train`."""

_NO_ROOM = ("failed to map segment", "annot allocate memory", "without setting an exception")
"""What is said of a library that a memory limit keeps out: by the loader, and by Python."""


LEAST_ROOM = 600 * 2**20
"""Bytes of address space without which libraries end the process from within."""


def _require_room() -> None:
    """Refuse a limit of the address space that nothing could be done in."""
    try:
        import resource
    except ImportError:  # Windows
        return
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit != resource.RLIM_INFINITY and limit < LEAST_ROOM:
        _fail(
            f"memory is limited to {limit / 1e6:.0f} MB of addresses; raise the limit (ulimit -v) to 2 GB",
            1,
        )


def _fail(message: str, code: int) -> NoReturn:
    with contextlib.suppress(OSError):  # after SIGHUP there is no terminal to tell
        print(f"camixersr: {' '.join(message.split())}", file=sys.stderr)
    raise SystemExit(code)


def _terminate(number: int, _: object) -> NoReturn:
    """End as after any error, so that temporary files are removed."""
    _fail("terminated; nothing was left half-written", 128 + number)


@contextlib.contextmanager
def _ending_well() -> Generator[None]:
    """Clean up when the system or a closing terminal ends the process, and not only after Ctrl-C."""
    endings = {signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)}  # Windows has no SIGHUP
    before = {each: signal.getsignal(each) for each in endings}
    for each, handler in before.items():
        if handler != signal.SIG_IGN:  # as `nohup` has it
            signal.signal(each, _terminate)
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _yield_the_processor() -> None:
    """Let waiting threads sleep instead of spin, unless the user has decided.

    Spinning helps nobody on an idle machine, and halves the speed beside one other busy process.
    OpenMP reads this when torch is loaded; processes that are started inherit it.
    """
    names = {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "0"}
    if not names.keys() & os.environ.keys():
        os.environ.update(names)


def _is_input(token: str) -> bool:
    """Whether `camixersr TOKEN` is short for `camixersr upscale TOKEN`."""
    from camixersr.image.formats import READABLE

    is_one = token == "./-" or os.path.lexists(token) or has_magic(token)
    return not token.startswith("-") and (is_one or Path(token).suffix.lower() in READABLE)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line, and end the process with its exit code.

    Args:
        arguments: instead of the process's own.
    """
    tokens = list(sys.argv[1:] if arguments is None else arguments)
    debug, quiet, verbose = (each in tokens for each in EVERYWHERE)
    stopping.typed[:] = tokens
    # a lone dash is standard input or output, a path to the command and an option to the parser
    tokens = ["./-" if token == "-" else token for token in tokens if token not in EVERYWHERE]
    if tokens and tokens[0] not in app and _is_input(tokens[0]):
        tokens.insert(0, "upscale")
    if not debug:
        warnings.showwarning = talk.show_warning
    _yield_the_processor()
    if "--help" not in tokens:
        _require_room()
    try:
        if quiet and verbose:
            raise UsageError("--quiet and --verbose exclude each other; give one of them")
        with _ending_well(), talk.volume(quiet=quiet, verbose=verbose):
            defaults.configure(app)
            if set(tokens) & {"--help", "-h"} and (own := defaults.told(app, tokens)):
                print(own, end="\n\n")
            result = app(tokens, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        if debug:
            raise
        _fail(f"{error} (see `camixersr --help`)", 2)
    except CamixerError as error:
        if debug:
            raise
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted; nothing was left half-written", 130)
    except BrokenPipeError:  # the reader of our output has gone
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(1) from None
    except OSError as error:  # what the system says of a name or a disk, wherever it was met
        if debug or error.strerror is None:
            raise
        from camixersr.image.files import shown

        where = f"{shown(error.filename)}: " if isinstance(error.filename, str | bytes) else ""
        _fail(f"{where}{error.strerror}", 3)
    except MemoryError:
        if debug:
            raise
        _fail("out of memory; choose a smaller --tile", 1)
    except (ImportError, SystemError) as error:
        if not debug and isinstance(error, ModuleNotFoundError) and error.name in _RESEARCH:
            from camixersr.extras import install_line

            extra = "train" if error.name == "lightning" else "research"
            _fail(f"this needs {error.name}; {install_line(extra)}", MissingExtraError.exit_code)
        if debug or not any(words in str(error) for words in _NO_ROOM):
            raise
        _fail("too little memory to load torch and libvips; raise the limit (ulimit -v) to 2 GB", 1)
    raise SystemExit(result if isinstance(result, int) else 0)
