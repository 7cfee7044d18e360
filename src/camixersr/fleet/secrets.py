"""Credentials never shown: what errors and addresses tell, without what must stay secret."""

import os
import re
from collections.abc import Mapping

__all__ = ["one_line", "without_secrets"]

_NAMES = re.compile(r"SECRET|TOKEN|PASSWORD|PASSPHRASE|CREDENTIAL|SAS|(^|_)KEY(_|$)|APIKEY", re.IGNORECASE)
"""Names of environment variables whose values are secrets."""

_QUERY = re.compile(r"(\b[a-z][a-z0-9+.-]*://[^\s?\"'<>]+)\?[^\s\"'<>)]*", re.IGNORECASE)
_USER = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\s/@\"'<>]+@", re.IGNORECASE)
_SHORTEST = 6
"""Shorter values are no secrets, and would blank out plain words."""

LONGEST = 400
"""Characters of an error that are kept."""


def without_secrets(text: str, environment: Mapping[str, str] | None = None) -> str:
    """A text without signatures in addresses, users in addresses, and values of secret variables.

    >>> without_secrets("GET https://host/key?sig=abc failed", {})
    'GET https://host/key failed'
    >>> without_secrets("key hush-hush", {"AWS_SECRET_ACCESS_KEY": "hush-hush"})
    'key ***'

    Args:
        text: an error, for example.
        environment: variables; those of this process by default.
    """
    known = (os.environ if environment is None else environment).items()
    hidden = {value for name, value in known if _NAMES.search(name) and len(value) >= _SHORTEST}
    for value in sorted(hidden, key=len, reverse=True):  # one may begin with another
        text = text.replace(value, "***")
    return _USER.sub(r"\1", _QUERY.sub(r"\1", text))


def one_line(error: BaseException) -> str:
    """What went wrong, in one line without secrets."""
    if isinstance(error, MemoryError) and not str(error):
        return "out of memory"
    told, _, _ = str(error).partition("Debug source:")  # requests and answers, by obstore
    text = " ".join(without_secrets(told).split())
    if not text:
        return type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
