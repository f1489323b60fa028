"""Sections of an instrument's config: where its sessions are, and the overview of them.

A config with a section ``sessions`` is that of an instrument: each folder that matches its pattern
is a session with a config of its own, for which all other sections are the defaults.
"""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, ValidationInfo, field_validator, model_validator

from livepick.config.error_messages import contradiction, nearest
from livepick.config.schema import WrittenConfig
from livepick.config.setting import LIVE, RESTART, Folder, Section

__all__ = ["PLACEHOLDER", "SESSION_FILE", "Overview", "Sessions", "folder_above", "is_allowed"]

PLACEHOLDER = "{session}"
"""Stands for the name of a session in a folder."""

SESSION_FILE = "livepick.yaml"
"""Name of the file in a session's folder that overrides what the instrument allows."""

NEVER_ALLOWED = ("session", "watch", "output", "state", "web", "engine", "notify")
"""Sections that a file in a session's folder cannot override: whoever may write there could send
files elsewhere, run programs, or open the page to others."""

DEFAULT_ALLOWED = (
    "particle",
    "bootstrap",
    "training",
    "retrain",
    "microscope",
    "micrograph.pixel_size_angstrom",
    "micrograph.trust",
    "picking.threshold",
    "picking.repick",
)

MOST_PORTS = 10_000


def _has_placeholder(folder: Path, info: ValidationInfo) -> Path:
    """Refuse a folder without exactly one ``{session}`` in one of its names."""
    named = [part for part in folder.parts if PLACEHOLDER in part]
    if len(named) != 1 or named[0].count(PLACEHOLDER) != 1:
        raise contradiction(
            f"sessions.{info.field_name} is {folder}; it must contain {PLACEHOLDER} exactly once,"
            f" for example {_EXAMPLES[str(info.field_name)]}"
        )
    if "{" in str(folder).replace(PLACEHOLDER, "") or "*" in str(folder):
        raise contradiction(
            f"sessions.{info.field_name} is {folder}; {PLACEHOLDER} is the only placeholder, and *"
            " is not one"
        )
    return folder


_EXAMPLES = {
    "pattern": "/data/krios1/{session}/MotionCorr",
    "state": "/var/lib/livepick/krios1/{session}",
    "output": "/data/krios1/{session}/livepick",
}

PatternFolder = Annotated[Folder, AfterValidator(_has_placeholder)]


def folder_above(pattern: Path) -> Path:
    """Return the folder that holds those of all sessions."""
    parts = list(pattern.parts)
    number = next(n for n, part in enumerate(parts) if PLACEHOLDER in part)
    return Path(*parts[:number])


def is_allowed(setting: str, allow: list[str]) -> bool:
    """Return True if a setting, as ``training.epochs``, is in a list of settings and sections."""
    return any(setting == name or setting.startswith(f"{name}.") for name in allow)


class Sessions(Section):
    """Folders of an instrument's sessions, and the rules by which they are picked."""

    pattern: PatternFolder = Field(
        examples=[f"for example {_EXAMPLES['pattern']}"], json_schema_extra=RESTART
    )
    """Folder of a session's motion-corrected micrographs. ``{session}`` stands for a name; each
    folder that matches is a session."""

    state: PatternFolder = Field(
        examples=[f"for example {_EXAMPLES['state']}"], json_schema_extra=RESTART
    )
    """State folder of a session, on a local disk. Its config, ``session.yaml``, is there too."""

    output: PatternFolder = Field(
        examples=[f"for example {_EXAMPLES['output']}"], json_schema_extra=LIVE
    )
    """Folder of a session's coordinates. An edit holds for sessions that are found after it."""

    end_after_hours: float | None = Field(
        default=12, gt=0, le=8760, examples=["12"], json_schema_extra=LIVE
    )
    """Time without a new micrograph after which a session ends by itself; None: never."""

    at_once: int = Field(default=1, ge=1, le=64, json_schema_extra=LIVE)
    """Number of sessions that pick at a time. The newest come first; the others wait."""

    quiet_minutes: float = Field(default=10, gt=0, le=1440, json_schema_extra=LIVE)
    """Time without a new micrograph after which a session gives way to one that waits with
    micrographs to pick."""

    ignore_older_than_hours: float | None = Field(
        default=24, gt=0, le=87600, json_schema_extra=LIVE
    )
    """A folder that is found with no file newer than this is not picked until a micrograph lands
    in it, or ``livepick new`` asks for it; None: every folder is."""

    rescan_seconds: float = Field(default=10, ge=0.2, le=3600, json_schema_extra=LIVE)
    """Time between two looks for new sessions."""

    allow: list[str] = Field(default=list(DEFAULT_ALLOWED), json_schema_extra=LIVE)
    """Sections and settings that ``livepick.yaml`` in a session's folder may override."""

    ports: str = Field(default="9801-9899", json_schema_extra=RESTART)
    """Ports of the pages of the sessions, on the host of ``web.listen``."""

    external_url: str | None = Field(default=None, json_schema_extra=RESTART)
    """URL at which a proxy shows the page of a session, with ``{port}`` for its port, such as
    https://cryoem.example.org/krios1/{port}/. None: the page has no proxy."""

    @field_validator("pattern")
    @classmethod
    def _has_folder_above(cls, pattern: Path) -> Path:
        """Refuse a pattern in the root of the file system."""
        if folder_above(pattern) == Path("/"):
            raise contradiction(
                f"sessions.pattern is {pattern}; the sessions must be in a folder of their"
                f" instrument, for example {_EXAMPLES['pattern']}"
            )
        return pattern

    @field_validator("allow")
    @classmethod
    def _are_settings(cls, allow: list[str]) -> list[str]:
        """Refuse what is not a setting, or is never left to a session's folder."""
        for name in allow:
            section, _, key = name.partition(".")
            if section in NEVER_ALLOWED:
                raise contradiction(
                    f"sessions.allow has {name}; settings of {', '.join(NEVER_ALLOWED)} are never"
                    " left to a file in a session's folder"
                )
            field = WrittenConfig.model_fields.get(section)
            inner = None if field is None else field.annotation
            keys = getattr(inner, "model_fields", {})
            if field is None or (key and key.split(".")[0] not in keys):
                names = [*WrittenConfig.model_fields, *(f"{section}.{each}" for each in keys)]
                guess = nearest(name, names)
                hint = f"; perhaps you mean {guess}" if guess else ""
                raise contradiction(f"sessions.allow has {name}, which is not a setting{hint}")
        return allow

    @field_validator("ports")
    @classmethod
    def _is_range(cls, ports: str) -> str:
        """Refuse what is not a range of ports."""
        found = re.fullmatch(r"\s*(\d{1,5})\s*(?:-\s*(\d{1,5})\s*)?", ports)
        first, last = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not 1 <= first <= last <= 65535 or last - first >= MOST_PORTS:
            raise contradiction(
                f"sessions.ports is {ports!r}; it must be a range of ports, such as 9801-9899"
            )
        return ports

    @field_validator("external_url")
    @classmethod
    def _has_port(cls, url: str | None) -> str | None:
        """Refuse one URL for the pages of all sessions."""
        if url is not None and "{port}" not in url:
            raise contradiction(
                f"sessions.external_url is {url!r}; it must contain {{port}}, such as"
                " https://cryoem.example.org/krios1/{port}/"
            )
        return url

    @model_validator(mode="after")
    def _are_apart(self) -> Self:
        """Refuse ledgers and coordinates in the folders that are watched."""
        for name in ("state", "output"):
            if getattr(self, name).is_relative_to(self.pattern):
                raise contradiction(
                    f"sessions.{name} is inside of sessions.pattern, where micrographs land; give"
                    " it another folder",
                    key=name,
                )
        if self.state.is_relative_to(folder_above(self.pattern)) and (
            self.state.parts[: len(folder_above(self.pattern).parts) + 1]
            == (*folder_above(self.pattern).parts, PLACEHOLDER)
        ):
            return self  # in the session's own folder
        if folder_above(self.state) == folder_above(self.pattern):
            raise contradiction(
                f"sessions.state is {self.state}, so that each state folder looks like a session;"
                f" give it another folder, for example {_EXAMPLES['state']}",
                key="state",
            )
        return self

    @property
    def port_range(self) -> range:
        """Ports of the pages of the sessions."""
        first, _, last = self.ports.partition("-")
        return range(int(first), int(last or first) + 1)


class Overview(Section):
    """The page that shows all sessions."""

    instruments: list[str] = Field(default=[], max_length=50, json_schema_extra=RESTART)
    """URLs of the overviews of other instruments, to which the page links."""

    @field_validator("instruments")
    @classmethod
    def _are_urls(cls, urls: list[str]) -> list[str]:
        """Refuse what a browser would not open as a page."""
        for url in urls:
            if not re.fullmatch(r"https?://[!-~]+", url):
                raise contradiction(
                    f"overview.instruments has {url!r}; it must be the http or https URL of an"
                    " overview, such as http://krios2.example.org:9476/"
                )
        return urls
