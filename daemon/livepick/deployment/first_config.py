"""The first config of a session: what can be guessed for it, and its text."""

import getpass
import os
import re
import socket
from dataclasses import dataclass
from pathlib import Path

from livepick.config.schema import WrittenConfig
from livepick.config.sections import Preset
from livepick.config.yaml_edit import Value, set_key
from livepick.config.yaml_loader import parse_config
from livepick.errors import ConfigError
from livepick.host.filesystem import file_system_type, is_network
from livepick.picking.relion_project import find_project

__all__ = ["Answers", "config_text", "free_listen", "guess_name", "guess_output", "guess_state"]

FIRST_PORT = 9476
"""Port of the page by default."""

MOST_PORTS = 100
"""Ports that are tried for a page."""

SYSTEM_STATE = Path("/var/lib/livepick")
"""State of services that root sets up."""

_GENERIC = re.compile(
    r"(micrographs?|motioncorr?\d*|motioncorrection|aligned|averages?|job\d+|frames|movies|data"
    r"|raw|images|output|processed|mrc|tiffs?)",
    re.IGNORECASE,
)
"""Names of folders that do not name a session."""

_TEMPLATE = """\
# Settings of one session, written by livepick setup. Check an edit: livepick check {path}
# The file config.example.yaml, beside the units that livepick deploy DIR writes, has all others.
session:
  # Name in metrics and on the page.
  name: session

watch:
  # Folders with motion-corrected micrographs; sub-folders are included.
  directories: [/micrographs]
  # Program that writes them: motioncor, relion, warp, cryosparc, cryoem-services or plain (any).
  preset: plain

particle:
  # Longest diameter in ångström; auto: measured on the first micrographs.
  diameter_angstrom: auto

output:
  # The coordinates are written here.
  directory: /output

state:
  # Ledger and models, on a local disk.
  directory: /state
"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """Answers to the questions of ``livepick setup``."""

    name: str
    watched: Path
    preset: Preset
    pixel_size_angstrom: float | None
    """None: that of the headers."""
    trusts_config: bool
    """True if the headers have another pixel size, which is wrong."""
    diameter_angstrom: float | None
    """None: measured."""
    output: Path
    state: Path
    listen: str | None = None
    """``host:port`` of the page; None: the default."""


def config_text(answers: Answers, path: Path) -> str:
    """Return the text of the config for answers, which is to be written to a path.

    Raises
    ------
    ConfigError
        An answer is not valid; the error names the setting.
    """
    diameter = answers.diameter_angstrom
    settings: list[tuple[str, Value]] = [
        ("session.name", answers.name),
        ("watch.directories", [str(answers.watched)]),
        ("watch.preset", answers.preset),
        ("output.directory", str(answers.output)),
        ("state.directory", str(answers.state)),
    ]
    if diameter is not None:
        settings.append(("particle.diameter_angstrom", _short(diameter)))
    if answers.pixel_size_angstrom is not None:
        settings.append(("micrograph.pixel_size_angstrom", _short(answers.pixel_size_angstrom)))
    if answers.trusts_config:
        settings.append(("micrograph.trust", "config"))
    if answers.listen is not None:
        settings.append(("web.listen", answers.listen))
    text = _TEMPLATE.format(path=" ".join(str(path).split()))
    for key, value in settings:
        text = set_key(text, path, key, value).text
    written: WrittenConfig = parse_config(text, path)
    if written.watch.directories != [answers.watched]:
        raise ConfigError(f"{answers.watched} cannot be written in YAML", "Rename the folder.")
    return text


def _short(number: float) -> int | float:
    return int(number) if number == int(number) else number


def guess_name(watched: Path) -> str:
    """Return a name for the session of a watched folder, from the folders that it is in."""
    parts = [part for part in watched.parts[1:] if not _GENERIC.fullmatch(part)]
    name = re.sub(r"[^\w.+-]+", "-", "-".join(parts[-2:]), flags=re.ASCII).strip("-.")
    return name[:100] or "session"


def guess_output(watched: Path) -> Path:
    """Return a folder for the picks.

    In a RELION project it is one of RELION's *External* jobs; else it is beside the watched folder,
    or in that of the user, who may not write there.
    """
    project = find_project(watched)
    if project is not None and os.access(project, os.W_OK):
        return _unused(project / "External" / "livepick", ".livepick")
    beside = watched.parent
    place = beside if os.access(beside, os.W_OK) and beside != Path("/") else Path.cwd()
    return _unused(place / "livepick", ".livepick")


def guess_state(name: str) -> Path:
    """Return a folder for the state of a session that this user can write, on a local disk."""
    if os.geteuid() == 0:
        return _unused(SYSTEM_STATE / name, "ledger.sqlite")
    homes = [os.environ.get("XDG_STATE_HOME", ""), os.path.expanduser("~/.local/state")]  # noqa: PTH111 - without a home it stays as it is
    for home in filter(os.path.isabs, homes):
        if not is_network(file_system_type(Path(home))):
            return _unused(Path(home) / "livepick" / name, "ledger.sqlite")
    return _unused(Path("/var/tmp") / f"livepick-{getpass.getuser()}" / name, "ledger.sqlite")  # noqa: S108 - a local disk that is kept


def _unused(folder: Path, mark: str) -> Path:
    """Return the folder, or one with a number if another session has it."""
    place, number = folder, 1
    while os.path.lexists(place / mark):
        number += 1
        place = folder.with_name(f"{folder.name}-{number}")
    return place


def free_listen() -> str | None:
    """Return an address for the page if the default one is in use; None: it is free."""
    for port in range(FIRST_PORT, FIRST_PORT + MOST_PORTS):
        with socket.socket() as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                listener.bind(("127.0.0.1", port))
                listener.listen(1)
            except OSError:
                continue
        return None if port == FIRST_PORT else f"127.0.0.1:{port}"
    return None
