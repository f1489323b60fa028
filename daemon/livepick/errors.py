"""Exceptions of livepick, and who can fix their causes.

::

    LivepickError
    ├── ConfigError             the user edits the YAML file
    │   ├── PortsTakenError         no port is left for the page of another session
    │   └── SessionStateError       the state folder of a session cannot be used
    ├── MicrographError         one file is bad; the run continues without it
    │   ├── IncompleteFileError     still being written; try it again
    │   ├── ChangedFileError        it changed while it was read; try it again
    │   ├── VanishedFileError       it is gone
    │   ├── UnreadableFileError     the system cannot read it; try it again
    │   ├── HeaderError             its header is invalid
    │   ├── MovieStackError         it has several frames
    │   ├── PixelSizeError          its pixel size is missing or contradicts the config
    │   ├── ContentError            NaN, infinite, or constant pixels
    │   ├── TimeLimitError          it took longer than a job may take
    │   │   └── StalledError            its worker waited, as for a disk that does not answer
    │   ├── MemoryLimitError        it needs more memory than a worker may use
    │   ├── SmallImageError         it is smaller than one particle
    │   ├── ImageError              the model runs, but not on this image
    │   └── PoisonError             it stopped its worker on every try
    ├── OutputError             picks could not be written; try it again
    │   └── NotOwnerError           the output folder belongs to another session
    ├── OccupiedError           a file that livepick did not write is where one of its own belongs
    │   └── EditedError             a file of livepick was changed by somebody else
    ├── ModelError              a model is missing or does not fit the data
    │   └── ProviderError           the GPU was requested and is not available
    ├── LedgerError             the state folder cannot be used
    │   ├── BusyError               another service uses it
    │   ├── DamagedLedgerError      the ledger is damaged; a new one is begun
    │   ├── OlderLedgerError        the ledger is of an earlier version; a start updates it
    │   └── LedgerWriteError        writing to it failed, for example on a full disk; try it again
    │       └── StateFolderGoneError    it was renamed or unmounted while the service ran
    ├── EngineError             workers cannot be started
    ├── FolderAwayError         a watched folder is not there; try it again
    ├── CoordinatesError        a coordinates file cannot be read or does not match
    ├── CtfError                a CTF file cannot be read; the run continues without it
    └── TrainerError            the trainer stopped early; its log says why

The arguments are positional and reach ``Exception.__init__`` unchanged, so that an error can be
pickled and sent back from a worker process; a keyword-only argument broke the pool and all of its
jobs.
"""

from typing import ClassVar

__all__ = [
    "EXIT_CONFIG",
    "BusyError",
    "ChangedFileError",
    "ConfigError",
    "ContentError",
    "CoordinatesError",
    "CtfError",
    "DamagedLedgerError",
    "EditedError",
    "EngineError",
    "FolderAwayError",
    "HeaderError",
    "ImageError",
    "IncompleteFileError",
    "LedgerError",
    "LedgerWriteError",
    "LivepickError",
    "MemoryLimitError",
    "MicrographError",
    "ModelError",
    "MovieStackError",
    "NotOwnerError",
    "OccupiedError",
    "OlderLedgerError",
    "OutputError",
    "PixelSizeError",
    "PoisonError",
    "PortsTakenError",
    "ProviderError",
    "SessionStateError",
    "SmallImageError",
    "StalledError",
    "StateFolderGoneError",
    "TimeLimitError",
    "TrainerError",
    "UnreadableFileError",
    "VanishedFileError",
]


EXIT_CONFIG = 78
"""Exit status of a command whose config is wrong, EX_CONFIG of sysexits.h; the unit file tells
systemd not to restart the service after it."""


def _encodable(text: str) -> str:
    r"""Return a text that can be logged, stored and shown: bytes of file names become ``\xff``."""
    try:
        return text.encode(errors="surrogateescape").decode(errors="backslashreplace")
    except UnicodeEncodeError:  # another surrogate, such as from JSON
        return text.encode(errors="backslashreplace").decode()


class LivepickError(Exception):
    """An error with its remedy: ``what`` happened, and what to do."""

    retryable: ClassVar[bool] = False
    """True if a later retry may succeed."""

    reason: ClassVar[str] = "internal"
    """One short word, from a limited set, for the ledger and the metric label."""

    def __init__(self, what: str, remedy: str) -> None:
        what, remedy = _encodable(what), _encodable(remedy)
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


class ConfigError(LivepickError):
    """The configuration is wrong; the user must edit it."""

    reason = "config"


class PortsTakenError(ConfigError):
    """No port is left for the page of another session of an instrument."""


class SessionStateError(ConfigError):
    """The state folder of a session of an instrument cannot be used."""


class MicrographError(LivepickError):
    """One micrograph cannot be picked; the others are not affected."""

    reason = "micrograph"


class IncompleteFileError(MicrographError):
    """A micrograph is shorter than its header promises, or has no header yet."""

    reason = "incomplete"
    retryable = True


class ChangedFileError(MicrographError):
    """A micrograph was replaced or extended while it was read."""

    reason = "changed"
    retryable = True


class VanishedFileError(MicrographError):
    """A micrograph was found and has since disappeared."""

    reason = "vanished"


class UnreadableFileError(MicrographError):
    """The operating system refused to read a micrograph."""

    reason = "io"
    retryable = True


class HeaderError(MicrographError):
    """A file is not an MRC or TIFF image that livepick can read."""

    reason = "header"


class MovieStackError(MicrographError):
    """A file has several frames, so it is a movie and not a micrograph."""

    reason = "movie"


class PixelSizeError(MicrographError):
    """The pixel size is unknown, or header and config contradict each other."""

    reason = "pixel_size"


class ContentError(MicrographError):
    """The pixels do not hold an image: they are NaN, infinite, or all the same."""

    reason = "content"


class TimeLimitError(MicrographError):
    """A micrograph took longer than a job may take."""

    reason = "time_limit"


class StalledError(TimeLimitError):
    """A micrograph took too long because its worker waited, and hardly used the processor."""


class MemoryLimitError(MicrographError):
    """A micrograph needs more memory than a worker may use."""

    reason = "memory"


class ImageError(MicrographError):
    """The model runs, but not on this image; on a busy GPU a later try may succeed."""

    reason = "image"
    retryable = True


class SmallImageError(MicrographError):
    """The image is smaller than one particle."""

    reason = "too_small"


class PoisonError(MicrographError):
    """A micrograph stopped its worker process on every try."""

    reason = "poison"


class OutputError(LivepickError):
    """Picks could not be written; the disk may be full or read-only."""

    reason = "output"
    retryable = True


class NotOwnerError(OutputError):
    """The output folder belongs to another session, which may be writing to it."""


class OccupiedError(LivepickError):
    """Something that livepick did not write is where one of its files belongs. It stays as it is.

    Parameters
    ----------
    what, remedy
        As for every error.
    path
        The file, link or folder that is in the way.
    """

    reason = "output"

    def __init__(self, what: str, remedy: str, path: str = "") -> None:
        super().__init__(what, remedy)
        self.path = path


class EditedError(OccupiedError):
    """A file that livepick wrote has another content now, so it counts as somebody else's."""


class ModelError(LivepickError):
    """A model bundle is missing, damaged, or does not fit the data."""

    reason = "model"


class ProviderError(ModelError):
    """The GPU was requested, but onnxruntime runs on the CPU."""

    reason = "provider"


class LedgerError(LivepickError):
    """The state folder cannot be used."""

    reason = "ledger"


class BusyError(LedgerError):
    """Another service uses the same state folder."""

    reason = "busy"


class DamagedLedgerError(LedgerError):
    """The ledger is damaged, or its file is gone: it is set aside, and a new one is begun."""


class OlderLedgerError(LedgerError):
    """The ledger is of an earlier version of livepick: the next start brings it to this one."""


class LedgerWriteError(LedgerError):
    """Writing to the ledger, or to the file that names the current model, failed."""

    retryable = True


class StateFolderGoneError(LedgerWriteError):
    """The state folder was renamed or unmounted while the service ran: it waits for it."""


class EngineError(LivepickError):
    """No worker can be started: a fault of the machine, not of a micrograph or model."""

    reason = "engine"


class FolderAwayError(LivepickError):
    """A watched folder is not there, as when its share is not mounted: what needs it waits."""

    reason = "folder"
    retryable = True


class CoordinatesError(LivepickError):
    """A coordinates file cannot be read, or belongs to other micrographs."""

    reason = "coordinates"


class CtfError(LivepickError):
    """A CTF file cannot be read, or is not one."""

    reason = "ctf"


class TrainerError(LivepickError):
    """The trainer stopped early; its log says why."""

    reason = "trainer"
