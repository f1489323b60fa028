"""What can go wrong, and who can put it right.

::

    LivepickError
    ├── ConfigError             the user edits the YAML file
    ├── MicrographError         one file is bad; the run goes on without it
    │   ├── IncompleteFileError     still being written; try it again
    │   ├── ChangedFileError        it changed while it was read; try it again
    │   ├── VanishedFileError       it is gone
    │   ├── UnreadableFileError     the system would not read it; try it again
    │   ├── HeaderError             its header makes no sense
    │   ├── MovieStackError         it has several frames
    │   ├── PixelSizeError          its pixel size is missing or contradicts the config
    │   ├── ContentError            NaN, infinite, or constant pixels
    │   └── PoisonError             it stopped its worker again and again
    ├── OutputError             picks could not be written; try it again
    ├── ModelError              a model is missing or does not fit the data
    │   └── ProviderError           the GPU was asked for and not obtained
    ├── LedgerError             the state folder cannot be used
    │   ├── BusyError               another service uses it
    │   └── LedgerWriteError        it takes no writes now, as on a full disk; try it again
    ├── EngineError             no worker can be started
    ├── TruthError              a coordinates file cannot be read or does not match
    ├── CtfError                a file of defoci cannot be read; the run goes on without
    └── TrainerError            the trainer stopped early; its log says why

The arguments are positional and reach ``Exception.__init__`` unchanged, so that an error
survives the pickle trip home from a worker process; a keyword-only one broke the pool and
all of its jobs.
"""

from typing import ClassVar

__all__ = [
    "EXIT_CONFIG",
    "BusyError",
    "ChangedFileError",
    "ConfigError",
    "ContentError",
    "CtfError",
    "EngineError",
    "HeaderError",
    "IncompleteFileError",
    "LedgerError",
    "LedgerWriteError",
    "LivepickError",
    "MicrographError",
    "ModelError",
    "MovieStackError",
    "OutputError",
    "PixelSizeError",
    "PoisonError",
    "ProviderError",
    "TrainerError",
    "TruthError",
    "UnreadableFileError",
    "VanishedFileError",
]


EXIT_CONFIG = 78
"""Exit status of a command whose config is wrong, EX_CONFIG of sysexits.h: the unit file tells
systemd not to restart on it."""


class LivepickError(Exception):
    """An error that knows its remedy: ``what`` happened, and what to do."""

    retryable: ClassVar[bool] = False
    """Whether doing the same again later may succeed."""

    reason: ClassVar[str] = "internal"
    """One short word, bounded in number, for the ledger and the metric label."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(what, remedy)
        self.what = what
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.what}. {self.remedy}"


class ConfigError(LivepickError):
    """The configuration is wrong; a human edits it."""

    reason = "config"


class MicrographError(LivepickError):
    """One micrograph cannot be picked; the others go on."""

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
    """A micrograph was there and is gone."""

    reason = "vanished"


class UnreadableFileError(MicrographError):
    """The operating system refused to read a micrograph."""

    reason = "io"
    retryable = True


class HeaderError(MicrographError):
    """A file is no MRC or TIFF image that livepick understands."""

    reason = "header"


class MovieStackError(MicrographError):
    """A file has several frames, so it is a movie and not a micrograph."""

    reason = "movie"


class PixelSizeError(MicrographError):
    """The pixel size is unknown, or header and config contradict each other."""

    reason = "pixel_size"


class ContentError(MicrographError):
    """The pixels hold no picture: NaN, infinite, or all the same."""

    reason = "content"


class PoisonError(MicrographError):
    """A micrograph stopped its worker process on every try."""

    reason = "poison"


class OutputError(LivepickError):
    """Picks could not be written; the disk may be full or read-only."""

    reason = "output"
    retryable = True


class ModelError(LivepickError):
    """A model bundle is missing, damaged, or does not fit the data."""

    reason = "model"


class ProviderError(ModelError):
    """The GPU was asked for and onnxruntime runs on the CPU."""

    reason = "provider"


class LedgerError(LivepickError):
    """The state folder cannot be used."""

    reason = "ledger"


class BusyError(LedgerError):
    """Another service runs on the same state folder."""

    reason = "busy"


class LedgerWriteError(LedgerError):
    """The ledger, or the pointer to the champion, takes no writes now; the disk may be full."""

    retryable = True


class EngineError(LivepickError):
    """No worker can be started: a fault of the machine, and of no micrograph or model."""

    reason = "engine"


class TruthError(LivepickError):
    """A coordinates file cannot be read, or belongs to other micrographs."""

    reason = "coordinates"


class CtfError(LivepickError):
    """A file of defoci cannot be read, or is of something else."""

    reason = "ctf"


class TrainerError(LivepickError):
    """The trainer stopped early; its log says why."""

    reason = "trainer"
