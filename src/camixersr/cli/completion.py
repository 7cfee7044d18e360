"""`camixersr completion`: the Tab key completes commands and options."""

from typing import Annotated, Literal

from cyclopts import Parameter

from camixersr.errors import OutputError, UsageError

__all__ = ["completion"]


def completion(
    shell: Annotated[Literal["bash", "zsh", "fish"] | None, Parameter(name="SHELL")] = None,
    /,
    *,
    show: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Make the Tab key complete commands and options, in bash, zsh or fish.

    This writes one file. For bash and zsh it also adds a line to ~/.bashrc or ~/.zshrc that reads the file.

    Parameters
    ----------
    shell
        Which shell. Default: the shell that runs now.
    show
        Print the script and install nothing.
    """
    from cyclopts.completion.detect import ShellDetectionError

    from camixersr.cli import app
    from camixersr.cli.talk import say
    from camixersr.image.files import shown

    try:
        if show:
            print(app.generate_completion(shell=shell))
            return
        file = app.install_completion(shell=shell, add_to_startup=True)
    except ShellDetectionError:
        raise UsageError("the shell is not known; name it: bash, zsh or fish") from None
    except OSError as error:
        raise OutputError(f"{error.filename}: cannot be written: {error.strerror or error}") from error
    print(shown(file))
    say("installed; it works in the next shell you open")
