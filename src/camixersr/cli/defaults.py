"""Defaults of the user's own: the environment, and a configuration file.

What is typed counts first, then an environment variable such as CAMIXERSR_UPSCALE_ATTENTION_RATIO, then
the file, then the program's default. The file is `camixersr.toml` in the user's configuration folder, or
the one that CAMIXERSR_CONFIG names ("off" for none). It has a table for each command:

    [upscale]
    attention-ratio = 0.25
    format = "png"
"""

import os
from pathlib import Path
from typing import Any

from cyclopts import App
from cyclopts.config import Env, Toml
from cyclopts.exceptions import CycloptsError

__all__ = ["configuration_file", "configure", "told"]

CONFIG = "CAMIXERSR_CONFIG"
PREFIX = "CAMIXERSR_"


def configuration_file() -> Path | None:
    """The user's configuration file, which need not be there; None if it is switched off."""
    named = os.environ.get(CONFIG)
    if named == "off":
        return None
    if named:
        return Path(named)
    from platformdirs import user_config_path

    return user_config_path("camixersr") / "camixersr.toml"


def configure(app: App) -> None:
    """Have an app look up defaults: in the environment, then in the file."""
    sources: list[Any] = [Env(PREFIX, show=False)]
    if (file := configuration_file()) is not None:
        sources.append(Toml(file, must_exist=CONFIG in os.environ))
    app.config = tuple(sources)


def told(app: App, tokens: list[str]) -> str:
    """For `--help`: which defaults of a command are the user's own, and where they come from.

    Args:
        app: configured.
        tokens: of the command line.

    Returns:
        Lines; empty if there are none, or if no command is named.
    """
    commands, apps, _ = app.parse_commands([each for each in tokens if not each.startswith("-")])
    if not commands or apps[-1].default_command is None:
        return ""
    arguments = apps[-1].assemble_argument_collection()
    try:
        with app.app_stack(list(commands)):
            for source in app.config or ():
                source(apps[-1], commands, arguments)
    except (CycloptsError, OSError) as error:
        return f"Your defaults cannot be read: {error}"
    lines = [
        f"{argument.name} {', '.join(token.value for token in argument.tokens)} (from "
        f"{token.keyword if token.source == 'env' else token.source})"
        for argument in arguments
        for token in argument.tokens[:1]
    ]
    return "\n  ".join(("Your defaults:", *lines)) if lines else ""
