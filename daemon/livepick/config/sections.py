"""Sections of the configuration: each setting with its default, bounds, unit and meaning.

Those about training are in ``livepick.config.training_sections``, those about the output in
``livepick.config.output_sections``, that of the workers in ``livepick.config.engine_section``, and
that of the page in ``livepick.config.web_section``.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from livepick.config.error_messages import contradiction
from livepick.config.setting import LIVE, RESTART, RETRAIN, Folder, Section

__all__ = [
    "LARGEST_ANGSTROM",
    "SMALLEST_ANGSTROM",
    "Contrast",
    "Device",
    "Micrograph",
    "Microscope",
    "Particle",
    "Picking",
    "Preset",
    "Repick",
    "Session",
    "State",
    "Trust",
    "Watch",
    "WrittenParticle",
]


Preset = Literal["motioncor", "relion", "warp", "cryosparc", "cryoem-services", "plain"]

Contrast = Literal["dark", "bright"]
"""Contrast of the particles against the ice."""

SMALLEST_ANGSTROM, LARGEST_ANGSTROM = 20, 2000
"""Bounds of a particle's diameter."""

Device = Literal["require-gpu", "prefer-gpu", "cpu"]

Repick = Literal["provisional", "all", "none"]

Trust = Literal["header", "config"]
"""Source of the pixel size if header and config differ."""


class Session(Section):
    """The microscope session."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[\w.+-]+$",
        examples=["letters, digits and . _ + -, no spaces; for example krios1-2026-11-23"],
        json_schema_extra=RESTART,
    )
    """Name of the session in metrics and on the page: letters, digits and ``. _ + -``."""

    ended: bool = Field(default=False, json_schema_extra=LIVE)
    """True: the session is over. What has landed is still picked; then the closing report is
    written, and the workers are released. A micrograph that lands later is counted, not picked.
    ``livepick end`` sets it; false reopens the session."""

    ended_by: str | None = Field(
        default=None,
        max_length=100,
        examples=["the name of a person, which livepick end writes"],
        json_schema_extra=LIVE,
    )
    """Who ended the session, for the page and the report."""

    end_after_hours: float | None = Field(
        default=None,
        gt=0,
        le=24 * 365,
        examples=["6 for a microscope that is refilled in less"],
        json_schema_extra=LIVE,
    )
    """The session ends by itself after so many hours without a new micrograph, once at least one
    was picked and none is waiting. A micrograph that lands later reopens it. None: it does not."""


class Watch(Section):
    """Folders where micrographs land, and rules for when one is complete."""

    directories: list[Folder] = Field(
        min_length=1,
        examples=["for example [/data/session/Micrographs]"],
        json_schema_extra=RESTART,
    )
    """Folders with motion-corrected micrographs; sub-folders are included."""

    preset: Preset = Field(default="plain", json_schema_extra=RESTART)
    """Program that writes the micrographs; sets ``include``, ``exclude`` and sidecars."""

    include: list[str] | None = Field(
        default=None, min_length=1, examples=['for example ["*_DW.mrc"]'], json_schema_extra=RESTART
    )
    """Globs of files to pick. A glob matches the name or, if it has a slash, the path below the
    watched folder. None: the preset's."""

    exclude: list[str] | None = Field(default=None, json_schema_extra=RESTART)
    """Globs of files to leave out, whatever ``include`` says; None: the preset's, and products of
    micrographs such as ``NAME_ctf.mrc``."""

    mode: Literal["auto", "inotify", "poll"] = Field(default="auto", json_schema_extra=RESTART)
    """Watch mode. ``auto`` uses inotify on local file systems and polls network ones."""

    rescan_seconds: float | None = Field(
        default=None,
        ge=0.2,
        le=3600,
        examples=["10 is usual on a network file system"],
        json_schema_extra=RESTART,
    )
    """Time between listings of the folders; None: 10 when polling, 60 with inotify."""

    settle_seconds: float | None = Field(
        default=None,
        ge=0,
        le=3600,
        examples=["15 is usual on a network file system"],
        json_schema_extra=RESTART,
    )
    """Time that a file must stay unchanged; None: 5 on local file systems, 15 on network ones."""

    incomplete_timeout_seconds: float = Field(
        default=600, ge=1, le=86400, examples=["600 is ten minutes"], json_schema_extra=RESTART
    )
    """Time after which a file that is still incomplete is set aside until it changes."""

    require_sidecar: str | None = Field(
        default=None,
        pattern=r"^\.[\w.+-]+$",
        examples=["a suffix with its dot, such as .star"],
        json_schema_extra=RESTART,
    )
    """Suffix such as ``.star``: wait until ``NAME.star`` is there too; None: the preset's."""

    forbid_sidecar: str | None = Field(
        default=None,
        pattern=r"^\.[\w.+-]+$",
        examples=["a suffix with its dot, such as .tmp"],
        json_schema_extra=RESTART,
    )
    """Suffix such as ``.tmp``: wait while ``NAME.tmp`` is there; None: the preset's."""

    follow_symlinks: bool = Field(default=False, json_schema_extra=RESTART)
    """True to follow links to files and folders."""

    @field_validator("directories")
    @classmethod
    def _not_nested(cls, folders: list[Path]) -> list[Path]:
        """Refuse nested folders: each file in them would count as two micrographs."""
        for number, inner in enumerate(folders):
            for outer in folders[:number] + folders[number + 1 :]:
                if inner == outer:
                    raise contradiction(f"watch.directories lists {inner} twice; list it once")
                if inner.is_relative_to(outer):
                    raise contradiction(
                        f"watch.directories has {inner} inside {outer}; sub-folders are included, "
                        "so keep only the outer one"
                    )
        return folders

    @field_validator("forbid_sidecar")
    @classmethod
    def _not_required_too(cls, suffix: str | None, info: ValidationInfo) -> str | None:
        """Refuse a sidecar that is both required and forbidden: no file would ever be picked."""
        if suffix is not None and suffix == info.data.get("require_sidecar"):
            raise contradiction(
                f"watch.forbid_sidecar is {suffix}, which watch.require_sidecar requires; "
                "remove one of the two"
            )
        return suffix


class Micrograph(Section):
    """Properties of the micrographs that are known in advance."""

    pixel_size_angstrom: float | None = Field(
        default=None,
        ge=0.1,
        le=20,
        examples=["0.83 at 105,000 times is usual"],
        json_schema_extra=RESTART,
    )
    """Pixel size of the micrographs as they land; None: taken from each file's header. In a header,
    an impossible one, such as 0.0026 Å, counts as unset."""

    trust: Trust | None = Field(default=None, json_schema_extra=RESTART)
    """Pixel size that counts if header and config differ by more than 2 %: ``config`` for headers
    that are wrong, ``header`` to use the config only where a header has none. None: a file that
    differs is refused."""

    ctf: Literal["fit", "off"] | Folder = Field(default="fit", json_schema_extra=LIVE)
    """``fit``: the CTF of each micrograph is fitted after it was picked. ``off``: it is not. Path:
    the file or folder in which another program writes the defocus (RELION's
    ``micrographs_ctf.star``, or a folder of CTFFIND's texts or Warp's XML); a micrograph that is
    not in it is fitted.

    Without a path, CTFFIND's ``NAME.txt`` or ``NAME_ctf.txt`` or Warp's ``NAME.xml`` beside a
    micrograph is read, where there is one. What another program has written takes precedence, and
    replaces a fitted CTF. It is used to flip phases for 2D classes, to report each micrograph's CTF
    figures, and for ``micrographs_ctf.star``. An edit does not by itself start a new training."""

    @field_validator("ctf", mode="before")
    @classmethod
    def _was_empty(cls, ctf: object) -> object:
        """Accept an empty value, the default of earlier versions, and ``off`` without quotes."""
        if ctf is None:
            return "fit"
        return "off" if ctf is False else ctf

    @property
    def ctf_place(self) -> Path | None:
        """File or folder of another program; None: what is beside the micrographs."""
        return self.ctf if isinstance(self.ctf, Path) else None

    @property
    def fits_ctf(self) -> bool:
        """True if a micrograph gets a CTF fit unless another program has measured it."""
        return self.ctf != "off"


class Microscope(Section):
    """Optics of the microscope: for CTF fits, and for the lists that RELION reads.

    A phase plate is not supported.
    """

    voltage_kv: float = Field(
        default=300, ge=10, le=1000, examples=["300 or 200"], json_schema_extra=LIVE
    )
    """Acceleration voltage. An edit of the optics makes all CTF fits anew."""

    spherical_aberration_mm: float = Field(
        default=2.7, ge=0, le=20, examples=["2.7"], json_schema_extra=LIVE
    )
    """Spherical aberration of the objective lens."""

    amplitude_contrast: float = Field(
        default=0.07,
        ge=0,
        le=1,
        examples=["0.07 to 0.1 for protein in ice"],
        json_schema_extra=LIVE,
    )
    """Fraction of the contrast that comes from the amplitude."""

    def __str__(self) -> str:
        """Return the settings in words."""
        return (
            f"{self.voltage_kv:g} kV, {self.spherical_aberration_mm:g} mm,"
            f" {self.amplitude_contrast:g}"
        )


class WrittenParticle(Section):
    """The particle, as it is in the file: what is ``auto`` is measured on the micrographs."""

    diameter_angstrom: (
        Literal["auto"] | Annotated[float, Field(ge=SMALLEST_ANGSTROM, le=LARGEST_ANGSTROM)]
    ) = Field(examples=["a ribosome is about 300"], json_schema_extra=RETRAIN)
    """Longest diameter, or ``auto`` to measure it on the first micrographs. Sets the resampling,
    the blob radii and the picking distance."""

    diameter_between_angstrom: tuple[float, float] | None = Field(
        default=None, examples=["for example [80, 400]"], json_schema_extra=LIVE
    )
    """Smallest and largest diameter that a measurement may give; None: any. A given diameter is
    compared with what the micrographs say between these bounds, so narrow bounds around it accept
    it."""

    contrast: Literal["dark", "bright", "auto"] = Field(default="dark", json_schema_extra=RETRAIN)
    """Contrast of the particles in the files; protein in ice is dark before inversion. ``auto``:
    measured on the first micrographs."""

    min_distance_fraction: float = Field(
        default=0.6,
        ge=0.1,
        le=2,
        examples=["1 keeps round particles from overlapping"],
        json_schema_extra=RETRAIN,
    )
    """Closest allowed centres, as a fraction of the diameter."""

    edge_fraction: float = Field(
        default=0.05,
        ge=0,
        le=2,
        examples=["0.5 leaves out all particles that the edge cuts"],
        json_schema_extra=RETRAIN,
    )
    """Smallest distance of a pick's centre from the edge of the image, as a fraction of the
    diameter. 0: picks up to the edge; 0.25: four fifths of the particle's disc are inside; 0.5: all
    of it. The distance from a dead border is always at least a quarter of the diameter."""

    @field_validator("diameter_between_angstrom", mode="before")
    @classmethod
    def _is_pair(cls, between: object) -> object:
        """Accept the list that YAML has, if it is two diameters, the smaller one first."""
        if between is None:
            return None
        pair = list(between) if isinstance(between, list | tuple) else []
        if (
            len(pair) != 2
            or not all(type(each) in (int, float) for each in pair)
            or not SMALLEST_ANGSTROM <= pair[0] < pair[1] <= LARGEST_ANGSTROM
        ):
            raise contradiction(
                f"particle.diameter_between_angstrom is {between}; it must be the smallest and the"
                f" largest diameter, between {SMALLEST_ANGSTROM:g} and {LARGEST_ANGSTROM:g} Å, for"
                " example [80, 400]"
            )
        return tuple(pair)

    @field_validator("diameter_between_angstrom")
    @classmethod
    def _around_the_diameter(
        cls, between: tuple[float, float] | None, info: ValidationInfo
    ) -> tuple[float, float] | None:
        """Refuse bounds that exclude the diameter."""
        diameter = info.data.get("diameter_angstrom")
        if between is not None and isinstance(diameter, float | int):
            low, high = between
            if not low <= diameter <= high:
                raise contradiction(
                    f"particle.diameter_between_angstrom is [{low:g}, {high:g}], and"
                    f" particle.diameter_angstrom is {diameter:g}, outside of it; change one of"
                    " the two, or set the diameter to auto"
                )
        return between

    @property
    def is_automatic(self) -> bool:
        """True if something of the particle is measured on the micrographs."""
        return "auto" in (self.diameter_angstrom, self.contrast)


class Particle(WrittenParticle):
    """The particle in the microscopist's terms, with a number for its diameter."""

    diameter_angstrom: float = Field(
        ge=SMALLEST_ANGSTROM,
        le=LARGEST_ANGSTROM,
        examples=["a ribosome is about 300"],
        json_schema_extra=RETRAIN,
    )
    """Longest diameter, given or measured. Sets the resampling, the blob radii and the picking
    distance."""

    contrast: Contrast = Field(default="dark", json_schema_extra=RETRAIN)
    """Contrast of the particles in the files, given or measured."""


class Picking(Section):
    """Picking of the micrographs."""

    device: Device = Field(default="prefer-gpu", json_schema_extra=RESTART)
    """Device to pick on. Without a GPU, ``require-gpu`` ends with an error and ``prefer-gpu`` uses
    the CPU."""

    threshold: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = Field(
        default="auto", examples=["0.05 writes nearly all candidates"], json_schema_extra=LIVE
    )
    """Lowest score at which a candidate is written as a pick; ``auto``: the model's own threshold.
    A low number writes the whole precision-recall curve."""

    @property
    def fixed_threshold(self) -> float | None:
        """The threshold; None for the model's own."""
        return None if self.threshold == "auto" else self.threshold

    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        examples=["cores of the machine minus one is usual"],
        json_schema_extra=RESTART,
    )
    """Worker processes; None: 1 with a GPU, else the number of cores minus one (at least 1)."""

    time_limit_seconds: float | None = Field(
        default=None, ge=5, le=604800, examples=["600 is ten minutes"], json_schema_extra=RESTART
    )
    """Longest time that a worker may take for a micrograph. After it, the worker is replaced and
    the micrograph is tried once more, alone; then it fails. None: 300 s, and for each worker 1 s
    per megabyte of the file, so that a slow share does not exceed it."""

    memory_limit_gib: float | None = Field(
        default=None, ge=0.25, le=4096, examples=["8 is usual"], json_schema_extra=RESTART
    )
    """Memory that a worker may use for a micrograph, in GiB. Beyond it, the worker is replaced and
    the micrograph is tried once more, alone; then it fails. None: 0.6 of the memory of the machine
    (or of the unit or container) divided by the number of workers, from 1 to 16 GiB, and for a
    micrograph that is tried alone the memory of all workers. A worker of a cluster has a limit of
    its own as well, and the lower one holds."""

    repick: Repick = Field(default="provisional", json_schema_extra=LIVE)
    """Micrographs to pick again, after new arrivals, when another model takes over.
    ``provisional``: those that the first picker picked (or all, if the particle has changed);
    ``all``: those that any other model picked; ``none``: no micrographs."""


class State(Section):
    """Folder for livepick's ledger, models and runs."""

    directory: Folder = Field(json_schema_extra=RESTART)
    """Ledger, models and runs are here. On a local disk: the ledger is SQLite in WAL mode."""
