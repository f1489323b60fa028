"""``livepick exclude``: the verdict of a person on single micrographs.

It is written into a file of the state folder, which a running service reads within seconds.
"""

import getpass
import os
from pathlib import Path
from typing import Annotated

import typer

from livepick.commands.session_option import SessionOption, named_config
from livepick.config.yaml_loader import load_config
from livepick.core.formats.header import printable
from livepick.errors import LedgerError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.person_verdicts import JudgedFile, Word, decide
from livepick.ledger.reader import LedgerReader

__all__ = ["Config", "Micrographs", "exclude", "judge_by_hand"]

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The configuration file.")]
Micrographs = Annotated[
    list[str],
    typer.Argument(metavar="MICROGRAPH...", help="Names or paths, as in micrographs.csv."),
]


def exclude(config: Config, micrographs: Micrographs, *, session: SessionOption = None) -> None:
    """Exclude micrographs from the lists of good ones, whatever their figures.

    The verdict stays over restarts, repicking, and the loss of the ledger. livepick include takes
    it back.
    """
    judge_by_hand(named_config(config, session), micrographs, "excluded")


def judge_by_hand(path: Path, names: list[str], verdict: Word | None) -> None:
    """Record a verdict on micrographs, and print it.

    Parameters
    ----------
    path
        The config file.
    names
        Names or paths of micrographs.
    verdict
        The verdict; None: that of the figures.

    Raises
    ------
    LedgerError
        A name fits no micrograph of the session, or several. Nothing is recorded then.
    """
    state = load_config(path).state.directory
    with Database.read_only(state / LEDGER) as database:
        known = [JudgedFile(*each) for each in LedgerReader(database).file_times()]
    files = [_found(name, known, path) for name in names]
    decide(state, files, verdict, by=_user())
    word = "judged by its figures" if verdict is None else verdict
    for file in files:
        typer.echo(f"{printable(file.relative)}: {word}")
    typer.echo("A running service applies it within seconds; otherwise the next start does.")


def _found(name: str, known: list[JudgedFile], config: Path) -> JudgedFile:
    whole = str(Path(os.path.abspath(name)))  # noqa: PTH100 - links stay links
    fits = [file for file in known if name == file.relative or whole == _path(file)]
    fits = fits or [file for file in known if Path(file.relative).name == name]
    if len(fits) == 1:
        return fits[0]
    listed = ", ".join(printable(_path(file)) for file in fits[:4])
    raise LedgerError(
        f"{printable(name)} is the name of {len(fits)} micrographs: {listed}"
        if fits
        else f"{printable(name)} is not a micrograph of this session",
        "Give its path." if fits else f"Its micrographs are listed by: livepick status {config}",
    )


def _path(file: JudgedFile) -> str:
    return f"{file.root}/{file.relative}"


def _user() -> str:
    """Return the name of the user who called the command, also through sudo."""
    try:
        return os.environ.get("SUDO_USER") or getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as in a container
        return f"user {os.getuid()}"
