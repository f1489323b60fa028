"""``livepick setup``: ask five questions, and write a config that ``livepick check`` passes."""

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, TypeVar, get_args

import typer
from pydantic import ValidationError

from livepick.commands.check import check
from livepick.config.sections import LARGEST_ANGSTROM, SMALLEST_ANGSTROM, Preset, Session
from livepick.core.formats.header import PIXEL_SIZE_TOLERANCE
from livepick.core.formats.micrograph import read_header
from livepick.core.formats.pixel_size import resolve_pixel_size
from livepick.deployment.first_config import (
    Answers,
    config_text,
    free_listen,
    guess_name,
    guess_output,
    guess_state,
)
from livepick.errors import ConfigError, LivepickError
from livepick.ingest.preset_guess import guess_preset
from livepick.ingest.presets import PRESETS
from livepick.ingest.scan import Scan
from livepick.monitoring.preflight.folders import ledger_file_system, writable_folder

__all__ = ["setup"]

_Answer = TypeVar("_Answer")


def setup(
    config_path: Annotated[
        Path, typer.Argument(metavar="CONFIG", help="File to write; it must not exist.")
    ],
    *,
    watch: Annotated[
        str | None, typer.Option(help="Folder with the motion-corrected micrographs.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Program that writes them.  [default: guessed]")
    ] = None,
    pixel_size: Annotated[
        str | None, typer.Option(help="In ångström, or headers.  [default: headers]")
    ] = None,
    diameter: Annotated[
        str | None, typer.Option(help="Longest diameter in ångström, or auto.  [default: auto]")
    ] = None,
    output: Annotated[str | None, typer.Option(help="Folder for the picks.")] = None,
    state: Annotated[str | None, typer.Option(help="Folder for ledger and models.")] = None,
    name: Annotated[
        str | None, typer.Option(help="Name of the session.  [default: from the folders]")
    ] = None,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Ask nothing: take the options and the defaults.")
    ] = False,
) -> None:
    """Write the config of a session: five questions, each with a default.

    An option answers its question. The new config is then checked as by livepick check; the exit
    status is 1 if a check failed. An existing file is never replaced.
    """
    path = config_path.absolute()
    _refuse_existing(path)
    ask = _Questions(asks=not yes)
    watched = ask("1. Folder with the micrographs", "--watch", watch, None, _folder)
    guess = guess_preset(watched)
    ask.say(f"   {guess.reason}: {guess.preset}")
    chosen = ask(
        f"2. Program that writes them ({', '.join(PRESETS)})",
        "--preset",
        preset,
        guess.preset,
        _preset,
    )
    header = _header_pixel_size(watched, chosen, ask)
    pixel = ask(
        "3. Pixel size in ångström, or headers",
        "--pixel-size",
        pixel_size,
        None if header == 0.0 else "headers",
        _pixel_size(allows_headers=header != 0.0),
    )
    size = ask(
        "4. Longest diameter of the particle in ångström, or auto to measure it",
        "--diameter",
        diameter,
        "auto",
        _diameter,
    )
    given = _Questions(asks=False)
    named = given("   Name", "--name", name, guess_name(watched), _name)
    out = ask(
        "5. Folder for the picks",
        "--output",
        output,
        str(guess_output(watched)),
        _writable("", other_than=watched),
    )
    kept = ask(
        "   Folder for ledger and models, on a local disk",
        "--state",
        state,
        str(guess_state(named)),
        _writable("state"),
    )
    differs = pixel is not None and header and abs(header - pixel) > PIXEL_SIZE_TOLERANCE * pixel
    if differs:
        ask.say(f"   the headers have {header:g} Å: the config is trusted (micrograph.trust)")
    answers = Answers(
        name=named,
        watched=watched,
        preset=chosen,
        pixel_size_angstrom=pixel,
        trusts_config=bool(differs),
        diameter_angstrom=size,
        output=out,
        state=kept,
        listen=free_listen(),
    )
    _write_new(path, config_text(answers, path))
    typer.echo(f"\n{path} is written. Checking it:\n")
    check(path)
    typer.echo(f"\nNext: livepick run {path}\n      livepick status {path}")


@dataclass(frozen=True, slots=True)
class _Questions:
    """Questions, each answered by its option, by a person, or by its default."""

    asks: bool

    def __call__(
        self,
        question: str,
        option: str,
        given: str | None,
        default: str | None,
        read: Callable[[str], _Answer],
    ) -> _Answer:
        """Return the answer as ``read`` takes it; a person is asked again after a wrong one.

        Raises
        ------
        ConfigError
            The option is wrong, or there is none and nobody to ask.
        """
        if given is not None or not self.asks:
            text = given if given is not None else default
            if text is None:
                raise ConfigError(f"{question[3:]}: there is no answer", f"Give it by {option}.")
            try:
                return read(text)
            except ValueError as error:
                raise ConfigError(f"{option} {text}: {error}", "Give another value.") from error
        while True:
            text = _prompt(question, option, default)
            try:
                return read(text)
            except ValueError as error:
                typer.echo(f"   {error}", file=sys.stderr)

    def say(self, text: str) -> None:
        """Print a line between the questions."""
        if self.asks:
            typer.echo(text)


def _prompt(question: str, option: str, default: str | None) -> str:
    """Return the answer of a person, as typed. Raises ConfigError at the end of the input."""
    try:
        answer: str = typer.prompt(question, default=default)
    except typer.Abort as abort:
        if not isinstance(abort.__context__, EOFError):  # Ctrl-C
            raise
        raise ConfigError(
            f"{question[3:]}: there is nobody to answer",
            f"Give it by {option}, and --yes for the defaults, or use a terminal.",
        ) from abort
    return answer


def _refuse_existing(path: Path) -> None:
    if os.path.lexists(path):
        raise ConfigError(
            f"{path} exists, and is not replaced", "Edit it, or name another file to write."
        )
    if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
        raise ConfigError(
            f"{path.parent} is not a folder that you may write",
            "Name a file in another folder, or create this one.",
        )


def _folder(text: str) -> Path:
    folder = Path(os.path.abspath(os.path.expanduser(text.strip())))  # noqa: PTH100, PTH111 - links stay links
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is not a folder")
    if not folder.exists() and not folder.parent.exists():
        raise ValueError(f"neither {folder} nor {folder.parent} exists")
    return folder


def _preset(text: str) -> Preset:
    for preset in get_args(Preset):
        if text.strip().lower() == preset:
            known: Preset = preset
            return known
    raise ValueError(f"choose one of {', '.join(PRESETS)}")


def _pixel_size(*, allows_headers: bool) -> Callable[[str], float | None]:
    def read(text: str) -> float | None:
        if text.strip().lower() in ("headers", "header"):
            if not allows_headers:
                raise ValueError("the headers have none")
            return None
        number = _number(text)
        if not 0.1 <= number <= 20:
            raise ValueError("the pixel size is a number of ångström from 0.1 to 20")
        return number

    return read


def _diameter(text: str) -> float | None:
    if text.strip().lower() == "auto":
        return None
    number = _number(text)
    if not SMALLEST_ANGSTROM <= number <= LARGEST_ANGSTROM:
        raise ValueError(
            f"the diameter is a number from {SMALLEST_ANGSTROM} to {LARGEST_ANGSTROM}, or auto"
        )
    return number


def _number(text: str) -> float:
    try:
        return float(text.strip().replace(",", ".").removesuffix("Å").removesuffix("A"))
    except ValueError:
        raise ValueError(f"{text.strip()} is not a number") from None


def _name(text: str) -> str:
    try:
        return Session(name=text).name
    except ValidationError:
        raise ValueError("a name has letters, digits and . _ + - only, and no spaces") from None


def _writable(kind: str, *, other_than: Path | None = None) -> Callable[[str], Path]:
    def read(text: str) -> Path:
        folder = Path(os.path.abspath(os.path.expanduser(text.strip())))  # noqa: PTH100, PTH111 - links stay links
        if folder == other_than:
            raise ValueError("the micrographs are in this folder; choose one of its own")
        tried = [writable_folder(kind, folder)]
        if kind == "state":
            tried.append(ledger_file_system(folder))
        for result in tried:
            if result.verdict == "fault":
                raise ValueError(result.found)
        return folder

    return read


def _header_pixel_size(watched: Path, preset: Preset, ask: _Questions) -> float | None:
    """Return the pixel size of the first micrograph; 0: it has none; None: no micrograph yet."""
    scan = Scan(watched, PRESETS[preset], follow_symlinks=False)
    try:
        found = next((found for finds in scan for found in islice(finds, 1)), None)
        if found is None:
            return None
        path = watched / found.relative
        size = resolve_pixel_size(path, read_header(path), None).angstrom
    except OSError:
        return None
    except LivepickError as error:
        ask.say(f"   {error.what}")
        return 0.0
    ask.say(f"   {size:g} Å in the header of {path.name}")
    return size


def _write_new(path: Path, text: str) -> None:
    """Write a file that does not exist. Raises ConfigError."""
    try:
        with path.open("x") as file:
            file.write(text)
    except OSError as error:
        raise ConfigError(
            f"{path} cannot be written: {error.strerror}", "Name another file."
        ) from error
