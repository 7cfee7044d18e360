"""Every error that camixersr raises on purpose.

    CamixerError
    |- UsageError            wrong options                 also ValueError      exit 2
    |  |- ValueRangeError    a number out of its range
    |  `- UnknownModelError  no model of that name
    |- InputError            a bad file or array           also ValueError      exit 3
    |  |- ImageError         a picture that cannot be read
    |  |- ShapeError         an array of the wrong shape
    |  `- CheckpointError    weights that cannot be loaded
    |- OutputError           a file that cannot be written also OSError         exit 3
    |- DownloadError         a transfer failed or its content is wrong, also OSError   exit 1
    |- MemoryLimitError      the memory does not suffice   also MemoryError     exit 1
    |- DeviceError           the device is not there       also RuntimeError    exit 2
    |- CancelledError        the caller asked to stop      also RuntimeError    exit 1
    |- ParityError           an export that computes something else, also RuntimeError   exit 1
    `- MissingExtraError     an optional dependency is not installed, also ImportError  exit 2

A message is one line: what was expected, what came, what to do. `exit_code` is what the command
line ends with.
"""

__all__ = [
    "CamixerError",
    "CancelledError",
    "CheckpointError",
    "DeviceError",
    "DownloadError",
    "ImageError",
    "InputError",
    "MemoryLimitError",
    "MissingExtraError",
    "OutputError",
    "ParityError",
    "ShapeError",
    "UnknownModelError",
    "UsageError",
    "ValueRangeError",
]


class CamixerError(Exception):
    """Root of all errors of this package."""

    exit_code = 1


class UsageError(CamixerError, ValueError):
    """The call or the command line asks for something that does not exist or does not fit."""

    exit_code = 2


class ValueRangeError(UsageError):
    """A number lies outside its range."""


class UnknownModelError(UsageError):
    """No model has that name; the message lists those that exist."""


class InputError(CamixerError, ValueError):
    """What was given cannot be used."""

    exit_code = 3


class ImageError(InputError):
    """A picture is missing, broken, or of a kind that cannot be read."""


class ShapeError(InputError):
    """An array or tensor has the wrong shape or dtype."""


class CheckpointError(InputError):
    """A file of weights is missing, broken, unsafe or does not fit the network."""


class OutputError(CamixerError, OSError):
    """A result cannot be written; nothing is left behind."""

    exit_code = 3


class DownloadError(CamixerError, OSError):
    """A download failed, or what came is not what was expected."""

    exit_code = 1


class MemoryLimitError(CamixerError, MemoryError):
    """The work does not fit into the memory that there is, or that was granted."""

    exit_code = 1


class DeviceError(CamixerError, RuntimeError):
    """The device asked for is not available."""

    exit_code = 2


class CancelledError(CamixerError, RuntimeError):
    """The caller asked to stop; nothing is left half-written."""

    exit_code = 1


class ParityError(CamixerError, RuntimeError):
    """An exported network computes something else than torch does."""

    exit_code = 1


class MissingExtraError(CamixerError, ImportError):
    """A feature needs an optional dependency that is not installed."""

    exit_code = 2
