"""Amounts as people write and read them: MB and GB are millions and thousands of millions of bytes."""

import math
import re

from camixersr.errors import UsageError

__all__ = ["parse_bytes", "shown_bytes", "shown_time"]

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "KI": 2**10, "MI": 2**20, "GI": 2**30}


def parse_bytes(text: str, option: str) -> int:
    """Bytes of "2GB", "1.5 GiB", "800M" or "123456".

    >>> parse_bytes("1.5GB", "--memory"), parse_bytes("2 GiB", "--memory")
    (1500000000, 2147483648)

    Args:
        text: what was written.
        option: where, for the error.

    Raises:
        UsageError: no such amount.
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([KMG]?I?)B?\s*", text.upper())
    if not found or found[2] not in _UNITS or float(found[1]) == 0.0:
        raise UsageError(f"{option} must be a size such as 2GB, 800MB or 1.5GiB, got {text!r}")
    return int(float(found[1]) * _UNITS[found[2]])


def shown_bytes(count: int) -> str:
    """An amount for people, rounded up, so that whoever grants what is shown grants enough.

    >>> shown_bytes(392_100_000), shown_bytes(2_010_000_000), parse_bytes("393MB", "") == 393_000_000
    ('393 MB', '2.1 GB', True)
    """
    if count < 999_000_000:
        return f"{math.ceil(count / 1e6)} MB"
    return f"{math.ceil(count / 1e8) / 10:.1f} GB"


def shown_time(seconds: float) -> str:
    """A time to come, for people, who want to know when to look again: two figures are enough.

    >>> shown_time(8.3), shown_time(95), shown_time(3900), shown_time(200_000)
    ('8 s', '2 min', '1 h 5 min', '56 h')
    """
    if seconds < 60.0:
        return f"{max(1, round(seconds))} s"
    if seconds < 3570.0:
        return f"{round(seconds / 60)} min"
    fives = round(seconds / 300)
    hours, minutes = divmod(5 * fives, 60)
    return f"{hours} h {minutes} min" if minutes and hours < 10 else f"{round(seconds / 3600)} h"
