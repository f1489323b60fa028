"""What an operator should know, how grave it is, and what to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from livepick.core.evaluation.drift_test import DriftFinding
from livepick.core.formats.header import printable
from livepick.errors import ConfigError, LedgerWriteError, LivepickError, OutputError

__all__ = [
    "Level",
    "Problem",
    "config_faulty",
    "config_refused",
    "drifted",
    "folder_gone",
    "is_config_refused",
    "ledger_refuses",
    "no_gpu",
    "output_refuses",
]

Level = Literal["attention", "bad"]
"""``bad``: micrographs or picks stay out until somebody acts. ``attention``: it goes on, and
somebody should look."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it should be."""

    level: Level
    sentence: str
    """What is the case, with a full stop."""
    remedy: str = ""
    """What to do, in whole sentences; empty if ``sentence`` says it."""


def folder_gone(root: Path, detail: str) -> Problem:
    """Return what is said of a watched folder that is not there."""
    return Problem(
        "bad",
        f"The watched folder {printable(root)} is not there: {detail}.",
        "Mount it again; livepick goes on by itself, and nothing is forgotten.",
    )


def output_refuses(folder: Path, error: OutputError) -> Problem:
    """Return what is said of an output folder that takes no writes, in the system's words."""
    cause = error.__cause__
    why = cause.strerror if isinstance(cause, OSError) else _shown(error.what)
    return Problem(
        "bad",
        f"{printable(folder)} takes no writes: {why}.",
        "Free space, or mend its permissions; picking waits, and goes on by itself.",
    )


def ledger_refuses(error: LedgerWriteError) -> Problem:
    """Return what is said of a ledger that takes no writes, in the words of SQLite."""
    return Problem("bad", f"{_shown(error.what)}.", error.remedy)


_NOT_TAKEN = "The config was edited and is not taken; the former one is in force"


def config_refused(error: BaseException) -> Problem:
    """Return what is wrong with an edit of the config, whose message has a line for each fault."""
    what, remedy = (
        (error.what, error.remedy) if isinstance(error, LivepickError) else (str(error), "")
    )
    return Problem("attention", f"{_NOT_TAKEN}: {_in_a_line(what)}.", remedy)


def is_config_refused(problem: Problem) -> bool:
    """Whether a problem is one of ``config_refused``."""
    return problem.sentence.startswith(_NOT_TAKEN)


def config_faulty(error: ConfigError) -> Problem:
    """Return what is said of a config with a fault that no service has read."""
    return Problem(
        "attention",
        f"The config has a fault, and what is said here is by the settings that were last in"
        f" force: {_in_a_line(error.what)}.",
        error.remedy,
    )


def drifted(finding: DriftFinding) -> Problem:
    """Return what is said of a session that is no longer as the model knew it."""
    return Problem(
        "attention",
        _sentence(finding.evidence),
        f"{_sentence(finding.remedy)} Look at the newest micrographs; if they are good, run"
        " livepick retrain.",
    )


def no_gpu() -> Problem:
    """Return what is said where a GPU was preferred and is not there."""
    return Problem(
        "attention",
        "There is no GPU, so the CPU picks.",
        "It goes on, only slower. See nvidia-smi and livepick check; a service that started before"
        " the driver needs a restart.",
    )


def _in_a_line(what: str) -> str:
    return "; ".join(line.strip().rstrip(".") for line in _shown(what).splitlines())


def _shown(text: str) -> str:
    """Return a text that can be sent: odd bytes of a file name come as escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words[-1] in ".?" else ".")
