"""Memory of a session about its output folders, in its state folder.

``STATE/output.json`` has the id by which the session knows its folders again. It survives the loss
of the ledger and moves along with the state folder. It also has the mounts on which the folders
were: an empty folder on another one is the mount point of a share that is not there.
"""

import dataclasses
import json
import secrets
import time
from pathlib import Path
from typing import Any

from livepick.host.atomic_files import write_atomically
from livepick.host.filesystem import Mount
from livepick.host.foreign_files import parse_json

__all__ = ["MEMORY", "SessionMemory"]

MEMORY = "output.json"
"""File in the state folder."""


class SessionMemory:
    """Notes of a session about its output folders, in its state folder.

    Parameters
    ----------
    state
        State folder of the session.
    """

    def __init__(self, state: Path) -> None:
        self.state = state
        self._path = state / MEMORY
        self._content = _read_json(self._path)

    @property
    def id(self) -> str:
        """Id of the session; empty before ``ensure_id``."""
        found = self._content.get("id")
        return found if isinstance(found, str) else ""

    def ensure_id(self) -> str:
        """Return the id of the session; write a new one if there is none. Raises OSError."""
        if not self.id:
            self._content["id"] = secrets.token_hex(16)
            self._save()
        return self.id

    @property
    def is_recorded(self) -> bool:
        """True if all files of the session in its output folders are recorded there."""
        return self._content.get("recorded") is True

    @property
    def adopts_before(self) -> float | None:
        """Time when the session first met files without a record, in unix seconds."""
        found = self._content.get("adopts_before")
        return float(found) if isinstance(found, int | float) else None

    def begin_adopting(self) -> None:
        """Keep when the session first met files without a record. Raises OSError."""
        if self.adopts_before is None:
            self._content["adopts_before"] = time.time()
            self._save()

    def keep_recorded(self) -> None:
        """Keep that all files are recorded. Raises OSError."""
        if not self.is_recorded:
            self._content["recorded"] = True
            self._save()

    @property
    def project(self) -> Path | None:
        """RELION project that was found above the output folder at the last start, if any."""
        found = self._content.get("project")
        return Path(found) if isinstance(found, str) and found else None

    def keep_project(self, project: Path | None) -> None:
        """Keep the RELION project above the output folder. Raises OSError."""
        if self.project != project:
            self._content["project"] = "" if project is None else str(project)
            self._save()

    def mount(self, folder: Path) -> Mount | None:
        """Return the mount on which an output folder was; None if the session had none there."""
        found: Any = self._folders().get(str(folder))
        try:
            return Mount(found["point"], found["kind"], found["source"])
        except (TypeError, KeyError):
            return None

    def remember(self, folder: Path, mount: Mount) -> None:
        """Keep the mount of an output folder. Raises OSError."""
        self._content["folders"] = self._folders() | {str(folder): dataclasses.asdict(mount)}
        self._save()

    def _folders(self) -> dict[str, Any]:
        found = self._content.get("folders")
        return found if isinstance(found, dict) else {}

    def _save(self) -> None:
        write_atomically(self._path, json.dumps(self._content, indent=1).encode() + b"\n")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = parse_json(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
