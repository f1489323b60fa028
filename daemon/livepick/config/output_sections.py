"""Sections of the configuration about the output: formats of coordinates, and RELION projects."""

from pathlib import PurePosixPath
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from livepick.config.error_messages import contradiction
from livepick.config.setting import RESTART, Folder, Section

__all__ = ["CryosparcOutput", "Format", "Optics", "Output", "Publish", "RelionOutput", "StarOutput"]

Format = Literal["relion", "star", "cryosparc", "eman", "eman-json", "cbox", "topaz", "csv"]

Publish = Literal["final", "all"]

DEFAULT_JOB = "External/livepick"
"""Folder of the coordinates in a RELION project."""


class Optics(Section):
    """Optics of the microscope under their earlier name; use ``microscope``."""

    voltage_kv: float = Field(
        default=300, ge=10, le=1000, examples=["300 or 200"], json_schema_extra=RESTART
    )
    """Acceleration voltage."""

    spherical_aberration_mm: float = Field(
        default=2.7, ge=0, le=20, examples=["2.7"], json_schema_extra=RESTART
    )
    """Spherical aberration of the objective lens."""

    amplitude_contrast: float = Field(
        default=0.1, ge=0, le=1, examples=["0.1"], json_schema_extra=RESTART
    )
    """Fraction of the contrast that comes from the amplitude."""


class RelionOutput(Section):
    """A RELION project that takes the coordinates."""

    project: Folder | None = Field(default=None, json_schema_extra=RESTART)
    """Folder of the RELION project, which holds ``default_pipeline.star``; None: the folder above
    ``output.directory`` that has this file, if there is one."""

    micrographs_star: str | None = Field(
        default=None,
        min_length=1,
        examples=["a path below the project, such as CtfFind/job003/micrographs_ctf.star"],
        json_schema_extra=RESTART,
    )
    """RELION's list of the micrographs, below the project, such as
    ``CtfFind/job003/micrographs_ctf.star``. The micrographs get the names that they have there;
    None: their paths below the project."""

    job: str = Field(
        default=DEFAULT_JOB,
        min_length=1,
        max_length=200,
        examples=["a folder below the project, such as External/livepick"],
        json_schema_extra=RESTART,
    )
    """Folder of the coordinates below ``output.relion.project``, as that of a RELION job."""

    publish: Publish | None = Field(default=None, json_schema_extra=RESTART)
    """``final``: RELION gets the picks of a micrograph only when no better ones are to come, since
    its Extract job never reads a micrograph twice; ``all``: at once. None: ``final`` if
    ``output.relion.project`` is given, else ``all``. Other formats always get all picks at once."""

    verdicts: list[Literal["good", "doubtful", "bad"]] = Field(
        default=["good", "doubtful", "bad"],
        min_length=1,
        examples=["as [good, doubtful]"],
        json_schema_extra=RESTART,
    )
    """Quality verdicts of the micrographs that RELION's list names; others are left out of it."""

    optics: Optics | None = Field(default=None, json_schema_extra=RESTART)
    """Earlier name of ``microscope``, with an ``amplitude_contrast`` of 0.1 unless given."""

    @field_validator("job")
    @classmethod
    def _is_below_project(cls, job: str) -> str:
        """Refuse a folder outside the project."""
        if not _is_below(job):
            raise contradiction(
                f"{{name}} is {job!r}; it must be a folder below the project, such as"
                " External/livepick"
            )
        return str(PurePosixPath(job))

    @field_validator("micrographs_star")
    @classmethod
    def _is_in_project(cls, place: str | None) -> str | None:
        """Refuse a list outside the project: RELION's paths are relative to the project."""
        if place is not None and not _is_below(place):
            raise contradiction(
                f"{{name}} is {place!r}; it must be a path below the project, such as"
                " CtfFind/job003/micrographs_ctf.star"
            )
        return place

    @model_validator(mode="after")
    def _has_project(self) -> Self:
        """Refuse a folder without the project that it is below: it would not be used."""
        if self.project is None and self.job != DEFAULT_JOB:
            raise contradiction(
                f"{{name}}.job is {self.job}, but {{name}}.project is not set; set it to the folder"
                " of the RELION project",
                key="job",
            )
        return self

    @property
    def publishes_all(self) -> bool:
        """True if picks are published although better ones are to come."""
        return (self.publish or ("final" if self.project else "all")) == "all"


class StarOutput(Section):
    """The format ``star``: particles in a STAR file for each micrograph."""

    flip_tiff: bool = Field(default=True, json_schema_extra=RESTART)
    """True for programs that turn the rows of a TIFF over (Warp, EMAN2, RELION); false for those
    that do not (CryoSPARC, Topaz). Without a meaning for MRC."""


class CryosparcOutput(Section):
    """The format ``cryosparc``: one cs file for the session."""

    exposures: Folder | None = Field(default=None, json_schema_extra=RESTART)
    """CryoSPARC's cs file of the exposures, which gives the number and the path of each micrograph.
    None: the number before the first ``_`` of the micrograph's name, if there is one."""


def _is_below(path: str) -> bool:
    """Return True if a path is relative, goes down only, and fits into a STAR file."""
    place = PurePosixPath(path)
    below = bool(place.parts) and not place.is_absolute() and ".." not in place.parts
    return below and path.isprintable() and '"' not in path


class Output(Section):
    """Output of coordinates."""

    directory: Folder = Field(json_schema_extra=RESTART)
    """Coordinate files appear here, in a tree that mirrors the watched folders."""

    formats: list[Format] = Field(
        default=["relion"],
        min_length=1,
        examples=["as [relion, cryosparc]"],
        json_schema_extra=RESTART,
    )
    """Formats of the coordinate files. ``relion`` is written directly into the folder or into the
    RELION project, each other format into a folder of its own name."""

    relion: RelionOutput = Field(default=RelionOutput(), json_schema_extra=RESTART)
    """The RELION project that takes the coordinates."""

    star: StarOutput = Field(default=StarOutput(), json_schema_extra=RESTART)
    """Details of the format ``star``."""

    cryosparc: CryosparcOutput = Field(default=CryosparcOutput(), json_schema_extra=RESTART)
    """Details of the format ``cryosparc``."""

    on_picked: list[str] | None = Field(
        default=None,
        min_length=1,
        examples=["as [/opt/facility/to_ispyb, --session, bi12345]"],
        json_schema_extra=RESTART,
    )
    """Program, with its arguments, that is called for each micrograph whose picks are written, such
    as ``[/opt/facility/to_ispyb, --session, bi12345]``. It reads one JSON object from its standard
    input. No shell is used. None: no program."""

    on_picked_parallel: int = Field(
        default=2, ge=1, le=64, examples=["2"], json_schema_extra=RESTART
    )
    """Maximum number of calls of ``on_picked`` at a time."""

    on_picked_timeout_seconds: float = Field(
        default=60, ge=0.1, le=3600, examples=["60"], json_schema_extra=RESTART
    )
    """A call of ``on_picked`` that takes longer is killed, with all that it started."""

    @field_validator("on_picked")
    @classmethod
    def _is_program(cls, command: list[str] | None) -> list[str] | None:
        """Refuse a program that would depend on the folder that livepick was started in."""
        if command is not None and ("/" in command[0] or not command[0]):
            program = PurePosixPath(command[0])
            if not program.is_absolute():
                raise contradiction(
                    f"{{name}} calls {command[0]!r}; give the program's absolute path, or the name"
                    " of one on the PATH"
                )
        return command

    @field_validator("formats")
    @classmethod
    def _once(cls, formats: list[Format]) -> list[Format]:
        """Refuse a format that is listed twice."""
        for name in formats:
            if formats.count(name) > 1:
                raise contradiction(f"output.formats lists {name} twice; list it once")
        return formats
