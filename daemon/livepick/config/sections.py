"""Sections of the configuration: each setting with its default, bounds, unit and meaning.

Those about training are in ``livepick.config.training_sections``, those about the output in
``livepick.config.output_sections``.
"""

import ipaddress
import re
import urllib.parse
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from livepick.config.error_messages import contradiction
from livepick.config.setting import LIVE, RESTART, RETRAIN, Folder, Section
from livepick.host.loopback import is_loopback

__all__ = [
    "Contrast",
    "Device",
    "Micrograph",
    "Particle",
    "Picking",
    "Preset",
    "Repick",
    "Session",
    "State",
    "Trust",
    "Watch",
    "Web",
]


Preset = Literal["motioncor", "relion", "warp", "cryosparc", "cryoem-services", "plain"]

Contrast = Literal["dark", "bright"]
"""Contrast of the particles against the ice."""

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
    """Which pixel size counts if header and config differ by more than 2 %: ``config`` for headers
    that are wrong, ``header`` to use the config only where a header has none. None: a file that
    differs is refused."""

    ctf: Folder | None = Field(default=None, json_schema_extra=LIVE)
    """File or folder with the defocus of the micrographs: RELION's ``micrographs_ctf.star``, or a
    folder of CTFFIND's texts or Warp's XML. None: CTFFIND's ``NAME.txt`` or ``NAME_ctf.txt`` or
    Warp's ``NAME.xml`` beside a micrograph, where there is one. It is used to flip phases for 2D
    classes and to report each micrograph's CTF figures. It may appear during the session, and does
    not by itself start a new training."""


class Particle(Section):
    """The particle, in the microscopist's terms."""

    diameter_angstrom: float = Field(
        ge=20, le=2000, examples=["a ribosome is about 300"], json_schema_extra=RETRAIN
    )
    """Longest diameter. Sets the resampling, the blob radii and the picking distance."""

    contrast: Contrast = Field(default="dark", json_schema_extra=RETRAIN)
    """Contrast of the particles in the files; protein in ice is dark before inversion."""

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
    micrograph that is tried alone the memory of all workers."""

    repick: Repick = Field(default="provisional", json_schema_extra=LIVE)
    """Micrographs to pick again, after new arrivals, when another model takes over.
    ``provisional``: those that the blob picker picked (or all, if the particle has changed);
    ``all``: those that any other model picked; ``none``: no micrographs."""


class State(Section):
    """Folder for livepick's ledger, models and runs."""

    directory: Folder = Field(json_schema_extra=RESTART)
    """Ledger, models and runs are here. On a local disk: the ledger is SQLite in WAL mode."""


class Web(Section):
    """The page and the metrics."""

    listen: str = Field(default="127.0.0.1:9476", json_schema_extra=RESTART)
    """Address as host:port. With port 0 a free port is used, which is written to the log and to
    STATE/web.address."""

    external_url: str | None = Field(default=None, json_schema_extra=RESTART)
    """URL at which a proxy shows the page, such as https://cryoem.example.org/krios1/. Requests
    with its host are accepted, and links that livepick hands out begin with it. None: no proxy."""

    web_config_file: Folder | None = Field(default=None, json_schema_extra=RESTART)
    """File with TLS and passwords, in the format of Prometheus's exporters. It is read again when
    it changes."""

    insecure: bool = Field(default=False, json_schema_extra=RESTART)
    """True to accept an address in ``listen`` that other machines can reach without TLS and
    passwords."""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        """Refuse a value that is not ``host:port``."""
        host, port = _split_address(listen)
        named = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host) is not None
        if host.startswith("["):
            try:
                ipaddress.IPv6Address(host[1:-1])
            except ValueError:
                named = False
            else:
                named = host.endswith("]")
        if not named or port is None or port > 65535:
            raise contradiction(
                f"web.listen is {listen!r}; it must be host:port with a port from 0 to 65535, such"
                " as 127.0.0.1:9476, localhost:0 or [::1]:9476"
            )
        return listen

    @field_validator("external_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        """Refuse what is not the URL of a folder; a slash at the end is added."""
        if url is None:
            return None
        try:
            parts = urllib.parse.urlsplit(url)
            named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:  # a port that is not a number, or half an IPv6 address
            named = False
        else:
            named = named and parts.scheme in ("http", "https") and parts.username is None
            named = named and not parts.query and not parts.fragment
        if not named or not re.fullmatch(r"[!-~]+", url):
            raise contradiction(
                f"web.external_url is {url!r}; it must be the http or https URL at which the page"
                " is reached, without ? and #, such as https://cryoem.example.org/krios1/"
            )
        return url.rstrip("/") + "/"

    @model_validator(mode="after")
    def _is_protected(self) -> Self:
        """Refuse an address that others can reach, unless it is protected or accepted."""
        if is_loopback(self.host) or self.insecure or self.web_config_file is not None:
            return self
        raise contradiction(
            f"web.listen is {self.listen}, which other machines may be able to reach, and the page"
            " has no password; set web.web_config_file (TLS and passwords), or listen on 127.0.0.1"
            " behind a proxy, or accept it with web.insecure: true",
            key="listen",
        )

    @property
    def external_host(self) -> str | None:
        """The host of ``external_url``."""
        if self.external_url is None:
            return None
        return urllib.parse.urlsplit(self.external_url).hostname

    @property
    def host(self) -> str:
        """The host to listen on, an IPv6 address without its brackets."""
        return _split_address(self.listen)[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on; 0: any free port."""
        return _split_address(self.listen)[1] or 0


def _split_address(listen: str) -> tuple[str, int | None]:
    """Return host and port of ``host:port``; None for a port that is not a number."""
    host, _, port = listen.rpartition(":")
    return host, int(port) if re.fullmatch(r"[0-9]{1,5}", port) else None
