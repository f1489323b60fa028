"""``livepick relion-job``: pick the micrographs of a RELION project, as its External job.

The options are read here, word by word, and not by typer: RELION shows a job as running until it
finds the file that says how it ended, so a wrong option must write this file too.
"""

import difflib
import math
import os
import signal
import sys
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from livepick.config.last_known_good import read_config_copy, read_settings
from livepick.config.schema import Config
from livepick.config.sections import Device, Trust
from livepick.core.contracts.bundle import CARD
from livepick.core.contracts.job import Job
from livepick.errors import ConfigError, LivepickError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.session_config import session_config
from livepick.picking.engine import local
from livepick.picking.finality import Finality
from livepick.picking.job_picks import Event, SessionPicks, bundle_picks
from livepick.picking.relion_job import RelionJob
from livepick.picking.relion_job_folder import End, JobFolder

__all__ = ["relion_job"]

WAIT_MINUTES = 60.0
"""Time for waiting for a session's picks, unless another is given."""

DEVICES: dict[str, Device] = {
    "cpu": "cpu",
    "prefer-gpu": "prefer-gpu",
    "require-gpu": "require-gpu",
}

_SOURCES = ("bundle", "session", "state")

TRUSTED: dict[str, Trust] = {"header": "header", "config": "config"}
"""Values of ``--trust``."""

_OF_BUNDLE = ("device", "threshold", "pixel_size", "trust")

_LABELS = ("o", "in_mics", *_SOURCES, *_OF_BUNDLE, "wait_minutes", "j", "pipeline_control")
"""``pipeline_control``: RELION adds it to every command that contains ``relion_``, even if that is
in the path of a model. Its value is that of ``o``."""

_REMEDY = "Correct the tabs Input and Params of the job; see livepick relion-job --help."


def relion_job(
    words: Annotated[
        list[str],
        typer.Argument(metavar="--LABEL VALUE", hidden=True),
    ],
) -> None:
    """Pick the micrographs of a RELION project, as its External job.

    RELION starts it in the folder of the project, and gives it the first two options:

    \b
    --o External/jobNNN/   Folder of the job; the coordinates go there.
    --in_mics STAR         List of micrographs.

    One of these is needed, as a parameter of the job:

    \b
    --bundle DIR           Pick with this model, such as STATE/models/0003.
    --session CONFIG       Wait for the final picks of the session with this config file.
    --state DIR            The same, by its state folder.

    With a model:

    \b
    --device WORD          cpu, prefer-gpu (without it) or require-gpu.
    --threshold NUMBER     Least score of a pick, 0 to 1; without it, the model's own.
    --pixel_size ANGSTROM  Of the micrographs; without it, as in their headers.
    --trust WORD           header or config (the option): which counts if they differ; without it,
                           an error.
    --j NUMBER             Processes that pick (RELION's threads); 1 is enough for a GPU.

    With a session:

    \b
    --wait_minutes NUMBER  Longest time to wait; 60 without it. 0 takes what is final now.

    A job that is continued picks the micrographs without coordinates. Ends with status 0, with 1 if
    it failed, or with 2 if it was aborted in RELION.
    """  # noqa: D301 - typer keeps the line breaks after this mark
    given = _labels(words)
    folder = _job_folder(given)
    end = End.FAILURE
    # A queueing system ends a job with this signal; RELION must learn of it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(End.FAILURE.exit_status))
    try:
        folder.begin()
        end = _run(folder, _parameters(given))
    except LivepickError as error:
        typer.echo(f"livepick: {error.what}\n  {error.remedy}", err=True)
    finally:
        folder.end(end)
    raise typer.Exit(end.exit_status)


@dataclass(frozen=True, slots=True)
class _Parameters:
    """Input that the user has entered in RELION."""

    in_mics: str
    processes: int
    bundle: Job | None
    """The model with its settings; None: a session."""
    session: Config | None
    wait_seconds: float


def _run(folder: JobFolder, given: _Parameters) -> End:
    """Pick or wait; return how the job ended. Raises LivepickError."""

    def picks(names: Sequence[str]) -> Generator[Event]:
        if given.bundle is not None:
            yield from bundle_picks(folder.project, names, given.bundle, local(given.processes))
        if given.session is None:
            return
        config = given.session
        with Database.read_only(config.state.directory / LEDGER) as database:
            ledger = LedgerReader(database)
            session = SessionPicks(
                folder.project,
                ledger,
                Finality(ledger, lambda: config.picking.repick != "none"),
                verdicts=config.output.relion.verdicts,
            )
            yield from session.final(names, wait_seconds=given.wait_seconds)

    job = RelionJob(
        folder, given.in_mics, report=typer.echo, warn=lambda line: typer.echo(line, err=True)
    )
    return job.run(picks)


def _labels(words: Sequence[str]) -> dict[str, list[str]]:
    """Return the words after each ``--label``; those before the first one have the label ``""``."""
    found: dict[str, list[str]] = {}
    label = ""
    for word in words:
        if word.startswith("--"):
            label, _, value = word[2:].partition("=")
            label = label.replace("-", "_")
            found.setdefault(label, []).extend([value] if value else [])
        else:
            found.setdefault(label, []).append(word)
    return found


def _job_folder(found: Mapping[str, Sequence[str]]) -> JobFolder:
    """Return the folder of the job. Raises ConfigError."""
    project = Path.cwd()
    job = Path(os.path.normpath(project / _value(found, "o")))
    if not job.is_relative_to(project) or job == project:
        raise ConfigError(
            f"--o is {job}, which is not below {project}",
            "Start livepick relion-job in the folder of the RELION project, as RELION does.",
        )
    return JobFolder(project, job.relative_to(project))


def _parameters(found: Mapping[str, Sequence[str]]) -> _Parameters:
    """Return what the user has entered. Raises ConfigError."""
    if "" in found:
        raise ConfigError(f"{' '.join(found[''])!r} has no --label before it", _REMEDY)
    for label in found:
        if label not in _LABELS:
            near = difflib.get_close_matches(label, _LABELS, 1)
            hint = f"; did you mean --{near[0]}?" if near else ""
            raise ConfigError(f"livepick relion-job has no option --{label}{hint}", _REMEDY)
    given = {label: _value(found, label) for label in found}
    sources = [label for label in _SOURCES if label in given]
    if len(sources) != 1:
        raise ConfigError(
            " and ".join(f"--{label}" for label in sources) + " exclude each other"
            if sources
            else "it is not said where the picks come from",
            "On the Params tab, enter one of: bundle with the folder of a model, session with a"
            " config file, or state with a state folder.",
        )
    (source,) = sources
    idle = ["wait_minutes"] if source == "bundle" else list(_OF_BUNDLE)
    for label in idle:
        if label in given:
            raise ConfigError(f"--{label} has no meaning with --{source}", _REMEDY)
    return _Parameters(
        _value(found, "in_mics"),
        int(_number(given, "j", 1, 1, 1024)),
        _job(given) if source == "bundle" else None,
        None if source == "bundle" else _session(source, Path(given[source])),
        60 * _number(given, "wait_minutes", WAIT_MINUTES, 0, 60 * 24 * 30),
    )


def _job(given: Mapping[str, str]) -> Job:
    device = given.get("device", "prefer-gpu")
    if device not in DEVICES:
        raise ConfigError(f"--device is {device!r}; it must be {' or '.join(DEVICES)}", _REMEDY)
    trust = given.get("trust")
    if trust is not None and trust not in TRUSTED:
        raise ConfigError(f"--trust is {trust!r}; it must be {' or '.join(TRUSTED)}", _REMEDY)
    job = Job(
        path=Path(),
        version=None,
        bundle=Path(given["bundle"]).absolute(),
        device=DEVICES[device],
        pixel_size_angstrom=_number_or_none(given, "pixel_size", 0.01, 100),
        threshold=_number_or_none(given, "threshold", 0, 1),
        trust=None if trust is None else TRUSTED[trust],
    )
    if not os.path.isfile(job.bundle / CARD):  # noqa: PTH113 - false for a path that is too long
        raise ConfigError(
            f"--bundle is {given['bundle']}, which is not the folder of a model: it has no {CARD}",
            "On the Params tab, enter the folder of a model, such as STATE/models/0003.",
        )
    return job


def _session(source: str, path: Path) -> Config:
    """Return the settings of a session. Raises ConfigError."""
    if source == "session":
        return session_config(read_settings(path).config)
    kept = read_config_copy(path.absolute())
    if kept is None:
        raise ConfigError(
            f"--state is {path}, where no session has left its settings",
            "Enter the state.directory of the session, or its config file as --session.",
        )
    return session_config(kept.config)


def _value(found: Mapping[str, Sequence[str]], label: str) -> str:
    """Return the value of an option that must have one. Raises ConfigError."""
    words = found.get(label, ())
    if len(words) == 1:
        return words[0]
    if words:
        raise ConfigError(
            f"--{label} has {len(words)} values: {', '.join(words)}",
            f'Enter one; a path with spaces needs quotes: "{" ".join(words)}".',
        )
    raise ConfigError(
        f"--{label} has no value" if label in found else f"--{label} is missing", _REMEDY
    )


def _number_or_none(given: Mapping[str, str], label: str, low: float, high: float) -> float | None:
    return _number(given, label, low, low, high) if label in given else None


def _number(given: Mapping[str, str], label: str, default: float, low: float, high: float) -> float:
    """Return the value of an option as a number. Raises ConfigError."""
    if label not in given:
        return default
    try:
        number = float(given[label])
    except ValueError:
        number = math.nan
    if not low <= number <= high:
        raise ConfigError(
            f"--{label} is {given[label]!r}; it must be a number from {low:g} to {high:g}", _REMEDY
        )
    return number
