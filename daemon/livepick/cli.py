"""The command line of livepick: its commands, and what happens to their errors.

A command is a function in a module of its own, and its docstring is its help. Its parameters are
the options, which makes some of these functions long. A command with subcommands is a typer
application of that name instead. The module is imported when the command is
called, so that ``livepick --help`` is quick and ``livepick run`` loads only what it needs. A
``LivepickError`` is printed as two lines on stderr with an exit status, never as a traceback.
"""

import importlib
import sys
from collections.abc import Callable, Sequence
from typing import Any

import typer

from livepick import __version__
from livepick.errors import EXIT_CONFIG, BusyError, ConfigError, LedgerError, LivepickError
from livepick.host.sqlite_version import SQLITE_REMEDY, sqlite_fault, sqlite_version

__all__ = ["COMMANDS", "EXIT_BUSY", "main"]

EXIT_BUSY = 75
"""EX_TEMPFAIL: another service uses the state folder. This one can start when that has ended."""

COMMANDS = {
    "setup": "Ask five questions, and write the config of a session.",
    "run": "Watch the folders of a config, pick, train and pick again, until stopped.",
    "list": "List the sessions of an instrument.",
    "new": "Begin a session of an instrument by hand.",
    "check": "Check a config and the machine before the service is started.",
    "status": "Show the state of a session, whether or not the service is running.",
    "deploy": "Write systemd units, dashboards, alert rules and scrape config into a folder.",
    "doctor": "Print versions, config, errors, disks and limits, to attach to a report.",
    "classes": "Make 2D class averages of the newest picks now, as a picture.",
    "end": "End a session: pick what has landed, write the closing report, release the workers.",
    "exclude": "Exclude micrographs from the lists of good ones, by hand.",
    "include": "Include micrographs in the lists of good ones, or let their figures decide.",
    "notify-test": "Send a test notice to each address of a config's notify.",
    "report": "Write a report of a session as one HTML file.",
    "retrain": "Train a new model with the same settings, by editing the config.",
    "models": "List, show, promote, roll back and remove the models of a session.",
    "diameter": "Measure the particle's diameter and contrast in micrographs.",
    "pick": "Pick micrographs with a model, without the service.",
    "relion-job": "Pick the micrographs of a RELION project, as its External job.",
    "cryosparc-push": "Send the picks of a session to a CryoSPARC server, as an External job.",
    "worker": "Pick on this machine for the services of a Dask cluster.",
    "evaluate": "Compare picks with the true positions.",
    "simulate": "Simulate a microscope: write micrographs with known particles.",
}
"""Commands with their short help. Each is the function or the typer application of that name in
``livepick.commands.NAME``, with ``_`` for ``-``."""

_READS_ITS_OPTIONS = ("relion-job",)
"""Commands that get their options as words, because a wrong one must not end them here."""

_WITHOUT_LEDGER = (
    "deploy",
    "doctor",
    "diameter",
    "pick",
    "relion-job",
    "worker",
    "evaluate",
    "simulate",
)
"""Commands that an old SQLite does not stop: they have no ledger, or say what is wrong with it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command named in ``argv``; return the exit status."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        _check_sqlite(_called(arguments))
        _application(arguments)(arguments, prog_name="livepick")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except LivepickError as error:
        sys.stderr.write(f"livepick: {error.what}\n  {error.remedy}\n")
        return _exit_status(error)
    return 0


def _exit_status(error: LivepickError) -> int:
    match error:
        case ConfigError():
            return EXIT_CONFIG
        case BusyError():
            return EXIT_BUSY
        case _:
            return 1


def _called(arguments: Sequence[str]) -> str | None:
    """Return the name of the called command; None: only options of livepick itself."""
    return next((word for word in arguments if not word.startswith("-")), None)


def _check_sqlite(called: str | None) -> None:
    """Say that SQLite is too old. Raises LedgerError if the command needs a ledger."""
    fault = sqlite_fault()
    says_it_itself = called == "check" and sqlite_version()
    if called not in COMMANDS or says_it_itself or fault is None:
        return
    if called not in _WITHOUT_LEDGER or not sqlite_version():
        raise LedgerError(fault, SQLITE_REMEDY)
    sys.stderr.write(
        f"livepick: {fault}\n  livepick {called} works without one, and livepick run will not."
        f" {SQLITE_REMEDY}\n"
    )


def _application(arguments: Sequence[str]) -> typer.Typer:
    """Return the application; only the module of the called command is imported."""
    app = typer.Typer(
        help="Pick particles in cryo-EM micrographs while the microscope is still collecting.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
    )
    app.callback()(_options)
    called = _called(arguments)
    for name, summary in COMMANDS.items():
        command = _load(name) if name == called else _not_called
        if isinstance(command, typer.Typer):
            app.add_typer(command, name=name, short_help=summary)
        else:
            ignore = {"ignore_unknown_options": name in _READS_ITS_OPTIONS}
            app.command(name, short_help=summary, context_settings=ignore)(command)
    return app


def _load(name: str) -> Callable[..., Any] | typer.Typer:
    function = name.replace("-", "_")
    module = importlib.import_module(f"livepick.commands.{function}")
    command: Callable[..., Any] | typer.Typer = getattr(module, function)
    return command


def _not_called() -> None:
    """Do nothing, in place of a command whose module is not needed now."""


def _show_version(*, wanted: bool) -> None:
    if wanted:
        typer.echo(f"livepick {__version__}")
        raise typer.Exit


def _options(
    *,
    version: bool = typer.Option(
        False,  # noqa: FBT003 - typer takes the default here
        "--version",
        help="Print the version and exit.",
        is_eager=True,
        callback=lambda value: _show_version(wanted=value),
    ),
) -> None:
    """Options of livepick itself."""
