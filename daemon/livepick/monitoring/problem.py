"""Problems to report to the operator, with their severity and remedy."""

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
"""Severity. ``bad``: micrographs or picks will be missing until somebody acts. ``attention``: the
session continues, but somebody should check."""


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem of the session."""

    level: Level
    sentence: str
    """Description of the problem, ending in a full stop."""
    remedy: str = ""
    """Advice, in full sentences; empty if ``sentence`` contains it."""


def folder_gone(root: Path, detail: str) -> Problem:
    """Return the problem of a missing watched folder."""
    return Problem(
        "bad",
        f"The watched folder {printable(root)} is not there: {detail}.",
        "Mount it again; livepick goes on by itself, and nothing is forgotten.",
    )


def output_refuses(folder: Path, error: OutputError) -> Problem:
    """Return the problem of an output folder that cannot be written, with the system's error."""
    cause = error.__cause__
    why = cause.strerror if isinstance(cause, OSError) else _shown(error.what)
    return Problem(
        "bad",
        f"{printable(folder)} takes no writes: {why}.",
        "Free space, or mend its permissions; picking waits, and goes on by itself.",
    )


def ledger_refuses(error: LedgerWriteError) -> Problem:
    """Return the problem of a ledger that cannot be written, with the error text of SQLite."""
    return Problem("bad", f"{_shown(error.what)}.", error.remedy)


_NOT_TAKEN = "The config was edited and is not taken; the former one is in force"


def config_refused(error: BaseException) -> Problem:
    """Return the problem of a rejected config edit; the error message has a line for each fault."""
    what, remedy = (
        (error.what, error.remedy) if isinstance(error, LivepickError) else (str(error), "")
    )
    return Problem("attention", f"{_NOT_TAKEN}: {_in_a_line(what)}.", remedy)


def is_config_refused(problem: Problem) -> bool:
    """Return True if a problem was made by ``config_refused``."""
    return problem.sentence.startswith(_NOT_TAKEN)


def config_faulty(error: ConfigError) -> Problem:
    """Return the problem of a faulty config that no service has read."""
    return Problem(
        "attention",
        f"The config has a fault, and what is said here is by the settings that were last in"
        f" force: {_in_a_line(error.what)}.",
        error.remedy,
    )


def drifted(finding: DriftFinding) -> Problem:
    """Return the problem of a session that has drifted from what its model was promoted on."""
    return Problem(
        "attention",
        _sentence(finding.evidence),
        f"{_sentence(finding.remedy)} Look at the newest micrographs; if they are good, run"
        " livepick retrain.",
    )


def no_gpu() -> Problem:
    """Return the problem of a missing GPU where one is preferred."""
    return Problem(
        "attention",
        "There is no GPU, so the CPU picks.",
        "It goes on, only slower. See nvidia-smi and livepick check; a service that started before"
        " the driver needs a restart.",
    )


def _in_a_line(what: str) -> str:
    return "; ".join(line.strip().rstrip(".") for line in _shown(what).splitlines())


def _shown(text: str) -> str:
    """Return a text that can be encoded: invalid bytes of a file name become escapes."""
    return text.encode("utf-8", "backslashreplace").decode()


def _sentence(words: str) -> str:
    return words[0].upper() + words[1:] + ("" if words[-1] in ".?" else ".")
