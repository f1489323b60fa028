"""Sections of the configuration: each setting with its default, bounds, unit and meaning."""

import ipaddress
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from livepick.config.error_messages import contradiction
from livepick.config.setting import (
    LIVE,
    RESTART,
    RETRAIN,
    RETRAIN_AFTER_SORTING,
    Folder,
    Section,
    advised,
)

__all__ = [
    "Bootstrap",
    "Classes",
    "Contrast",
    "Device",
    "Format",
    "Micrograph",
    "Output",
    "Particle",
    "Picking",
    "PicksFrom",
    "Preset",
    "Repick",
    "Retrain",
    "Session",
    "State",
    "Training",
    "Watch",
    "Web",
]


Preset = Literal["motioncor", "relion", "warp", "cryosparc", "cryoem-services", "plain"]

Contrast = Literal["dark", "bright"]
"""Contrast of the particles against the ice."""

Device = Literal["require-gpu", "prefer-gpu", "cpu"]

Format = Literal["relion"]

Repick = Literal["provisional", "all", "none"]


class Session(Section):
    """The microscope session."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[\w.+-]+$",
        examples=["letters, digits and . _ + -, no spaces, as krios1-2026-11-23"],
        json_schema_extra=RESTART,
    )
    """Names the session in metrics and on the page: letters, digits, ``. _ + -``."""


class Watch(Section):
    """Folders where micrographs land, and rules for when one is complete."""

    directories: list[Folder] = Field(
        min_length=1, examples=["as [/data/session/Micrographs]"], json_schema_extra=RESTART
    )
    """Folders with motion-corrected micrographs; sub-folders are included."""

    preset: Preset = Field(default="plain", json_schema_extra=RESTART)
    """Program that writes the micrographs; sets ``include``, ``exclude`` and sidecars."""

    include: list[str] | None = Field(
        default=None, min_length=1, examples=['as ["*_DW.mrc"]'], json_schema_extra=RESTART
    )
    """Globs of files to pick. A glob matches the name or, if it has a slash, the path below the
    watched folder. None: the preset's."""

    exclude: list[str] | None = Field(default=None, json_schema_extra=RESTART)
    """Globs of files to leave out, whatever ``include`` says; None: the preset's."""

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
    """A file that is not whole after this long is set aside until it changes."""

    require_sidecar: str | None = Field(
        default=None,
        pattern=r"^\.[\w.+-]+$",
        examples=["a suffix with its dot, as .star"],
        json_schema_extra=RESTART,
    )
    """A suffix, as ``.star``: wait until ``NAME.star`` is there too; None: the preset's."""

    forbid_sidecar: str | None = Field(
        default=None,
        pattern=r"^\.[\w.+-]+$",
        examples=["a suffix with its dot, as .tmp"],
        json_schema_extra=RESTART,
    )
    """A suffix, as ``.tmp``: wait while ``NAME.tmp`` is there; None: the preset's."""

    follow_symlinks: bool = Field(default=False, json_schema_extra=RESTART)
    """True if links to files and folders are followed."""

    @field_validator("directories")
    @classmethod
    def _not_nested(cls, folders: list[Path]) -> list[Path]:
        """Refuse nested folders: each file in them would count as two micrographs."""
        for number, inner in enumerate(folders):
            for outer in folders[:number] + folders[number + 1 :]:
                if inner == outer:
                    raise contradiction(f"watch.directories names {inner} twice; name it once")
                if inner.is_relative_to(outer):
                    raise contradiction(
                        f"watch.directories has {inner} inside {outer}; sub-folders are included, "
                        "so keep the outer one only"
                    )
        return folders

    @field_validator("forbid_sidecar")
    @classmethod
    def _not_required_too(cls, suffix: str | None, info: ValidationInfo) -> str | None:
        """Refuse a sidecar that is both required and forbidden: no file would ever be picked."""
        if suffix is not None and suffix == info.data.get("require_sidecar"):
            raise contradiction(
                f"watch.forbid_sidecar is {suffix}, which watch.require_sidecar asks for; "
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
    """Pixel size of the micrographs as they land; None: taken from each file's header."""

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


class PicksFrom(Section):
    """Source of the first picks other than the blob picker; exactly one of the two."""

    model: Folder | None = None
    """Folder of a model bundle, such as a general pretrained one. Every particle is rescaled to the
    same size in pixels, so the model may be from another specimen, microscope and pixel size."""

    coordinates: Folder | None = None
    """File or folder of manual or curated picks: STAR, CSV, EMAN box, crYOLO cbox or cryoSPARC
    cs, matched to micrographs by name."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        """Refuse both and neither."""
        if self.model is not None and self.coordinates is not None:
            raise contradiction("{name} has both model and coordinates; keep one")
        if self.model is None and self.coordinates is None:
            raise contradiction("{name} has no path; give model: PATH or coordinates: PATH")
        return self


def _is_section(value: object) -> str:
    return "section" if isinstance(value, dict | PicksFrom) else "word"


class Classes(Section):
    """A person's decisions on the 2D classes, by their numbers in ``classes.png``."""

    accept: list[int] = Field(default=[])
    """Numbers of classes to train on, whatever their figures."""

    reject: list[int] = Field(default=[])
    """Numbers of classes not to train on."""

    @field_validator("accept", "reject")
    @classmethod
    def _are_numbers(cls, numbers: list[int]) -> list[int]:
        """Refuse negative numbers."""
        if any(number < 0 for number in numbers):
            raise contradiction("{name} has a negative number; classes.png counts from 0")
        return numbers

    @field_validator("reject")
    @classmethod
    def _not_both(cls, reject: list[int], info: ValidationInfo) -> list[int]:
        """Refuse a class that is both accepted and rejected."""
        both = sorted(set(reject) & set(info.data.get("accept", [])))
        if both:
            raise contradiction(
                f"bootstrap.classes accepts and rejects {', '.join(map(str, both))}; decide once"
            )
        return reject


class Bootstrap(Section):
    """The first training set."""

    picks: Annotated[
        Annotated[Literal["blob"], Tag("word")] | Annotated[PicksFrom, Tag("section")],
        Discriminator(_is_section),
    ] = Field(
        default="blob",
        examples=["blob, or model: or coordinates: with a path below it"],
        json_schema_extra=RETRAIN,
    )
    """Source of the first picks: the blob picker, a model, or a person."""

    micrographs: int = Field(
        default=20,
        ge=3,
        le=5000,
        examples=["20 is usual"],
        json_schema_extra=RETRAIN
        | advised(
            10, 400, "under 20 do for an easy, symmetric particle, low hundreds for a hard one"
        ),
    )
    """Training starts when this many micrographs are picked; those of bad quality do not count."""

    minimum_picks: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        examples=["200 is usual"],
        json_schema_extra=RETRAIN
        | advised(100, 20_000, "a few hundred particles teach the picker, thousands are plenty"),
    )
    """Training waits for more micrographs while there are fewer picks than this."""

    classes: Classes = Field(default=Classes(), json_schema_extra=RETRAIN_AFTER_SORTING)
    """A person's decisions on the 2D classes; only the steps after them are repeated."""

    @field_validator("picks", mode="before")
    @classmethod
    def _is_blob_or_section(cls, picks: object) -> object:
        """Suggest the correct form to a user who wrote a path or another word."""
        if picks is None or isinstance(picks, dict | PicksFrom) or picks == "blob":
            return picks
        guess = ""
        if isinstance(picks, str):
            looks_named = picks in PicksFrom.model_fields
            written = f"{picks}: PATH" if looks_named else f"coordinates: {picks}"
            if looks_named or "/" in picks or "." in picks:
                guess = f"; perhaps you mean {{{written}}}"
        raise contradiction(
            f"bootstrap.picks is {picks!r}; it must be blob, {{model: PATH}} or"
            f" {{coordinates: PATH}}{guess}"
        )


class Training(Section):
    """Training of the network."""

    generation: int = Field(
        default=1, ge=1, examples=["2 trains once more"], json_schema_extra=RETRAIN
    )
    """Increase it by one to train again with all other settings the same."""

    epochs: int = Field(
        default=30,
        ge=1,
        le=1000,
        examples=["30 is usual"],
        json_schema_extra=RETRAIN_AFTER_SORTING
        | advised(20, 50, "20 to 50 are a first choice; the curves tell whether more are needed"),
    )
    """Largest number of passes over the training patches; training stops early when the model no
    longer improves."""

    initial_learning_rate: float = Field(
        default=0.003,
        gt=0,
        le=1,
        examples=["0.003 is usual"],
        json_schema_extra=RETRAIN_AFTER_SORTING | advised(0.001, 0.01, "0.01 to 0.001 works best"),
    )
    """Step size of the optimizer at the start."""

    final_learning_rate: float = Field(
        default=0.0003,
        gt=0,
        le=1,
        examples=["0.0003 is usual"],
        json_schema_extra=RETRAIN_AFTER_SORTING
        | advised(0.000_01, 0.01, "a tenth of the initial rate is usual"),
    )
    """Step size to which the initial one decays by the end; at most the initial one."""

    minibatch_size: int = Field(
        default=8,
        ge=1,
        le=256,
        examples=["8 is usual"],
        json_schema_extra=RETRAIN_AFTER_SORTING
        | advised(1, 16, "1 is safe; more is faster, needs memory, and can cost picks"),
    )
    """Patches per step; more patches need more memory."""

    class_weights: bool = Field(default=True, json_schema_extra=RETRAIN_AFTER_SORTING)
    """True if particles are weighted more than the background, which is far more frequent."""

    normalize: bool = Field(default=True, json_schema_extra=RETRAIN)
    """True if each micrograph is divided by its own noise, to mean 0 and variance 1. If False, all
    are divided by one number, the usual noise of the training micrographs."""

    lowpass_angstrom: float | None = Field(
        default=None,
        ge=1,
        le=500,
        examples=["a tenth of the diameter is the finest that the picker sees"],
        json_schema_extra=RETRAIN,
    )
    """Detail finer than this is filtered out of micrographs before training and picking. None: no
    filter beyond the resampling, which leaves a tenth of the particle's diameter.

    The published guide has a "degree of lowpass" instead, usually 50 and as low as 15 for noisy
    data. According to its text, that is a number of frequencies kept in Fourier space, and not a
    length in ångström: the *lower* it is, the more is filtered, and its value in ångström depends
    on the size of the filtered image. Its numbers therefore cannot be used here: for noisy data,
    *raise* this setting, for example to a fifth of the diameter."""

    held_out_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=0.9,
        examples=["0.2 keeps one micrograph in five"],
        json_schema_extra=RETRAIN_AFTER_SORTING
        | advised(0.1, 0.5, "one micrograph in five judges the others"),
    )
    """Fraction of the micrographs that evaluates the model and is never trained on."""

    expected_picks: int | None = Field(
        default=None,
        ge=1,
        le=5000,
        examples=["as many as you count in a typical micrograph"],
        json_schema_extra=RETRAIN,
    )
    """Number of particles in a typical micrograph, if known; sets the model's threshold."""

    auto_remedy: bool = Field(default=True, json_schema_extra=RETRAIN_AFTER_SORTING)
    """True if a run whose curves show a fault is repeated with the remedy, at most twice, and the
    better result kept."""

    seed: int = Field(default=1, ge=0, examples=["any whole number"], json_schema_extra=RETRAIN)
    """Seed of the random numbers; the same seed gives the same model on the same machine."""

    threads: int = Field(
        default=2,
        ge=1,
        le=64,
        examples=["2 leaves the others to picking"],
        json_schema_extra=LIVE | advised(1, 8, "4 to 8 is generally safe, and more seldom helps"),
    )
    """CPU threads of the trainer; does not shape the model."""

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda|cuda:[0-9]{1,2})$",
        examples=["auto, cpu, cuda, or one of several GPUs by its number, as cuda:1"],
        json_schema_extra=LIVE,
    )
    """Device to train on; does not shape the model."""

    gpu_memory_fraction: float = Field(
        default=0.5,
        gt=0,
        le=1,
        examples=["0.5 leaves the other half to picking"],
        json_schema_extra=LIVE,
    )
    """Fraction of the GPU's memory that the trainer may use; does not shape the model."""

    time_limit_minutes: float = Field(
        default=240,
        gt=0,
        le=10080,
        examples=["240 is four hours, 10080 a week"],
        json_schema_extra=LIVE,
    )
    """Time after which a training run is stopped; does not shape the model."""

    @field_validator("final_learning_rate")
    @classmethod
    def _falls(cls, final: float, info: ValidationInfo) -> float:
        """Refuse a learning rate that grows."""
        initial = info.data.get("initial_learning_rate")
        if initial is not None and final > initial:
            raise contradiction(
                f"training.final_learning_rate is {final:g}, above the initial one, {initial:g}; "
                f"the rate falls during training, so {initial / 10:g} would do"
            )
        return final


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

    workers: int | None = Field(
        default=None,
        ge=1,
        le=256,
        examples=["cores of the machine minus one is usual"],
        json_schema_extra=RESTART,
    )
    """Worker processes; None: 1 with a GPU, else the number of cores minus one (at least 1)."""

    repick: Repick = Field(default="provisional", json_schema_extra=LIVE)
    """Micrographs to pick again, after new arrivals, when another model takes over.
    ``provisional``: those that the blob picker picked (or all, if the particle has changed);
    ``all``: those that any other model picked; ``none``: no micrographs."""


class Retrain(Section):
    """Conditions for the promotion of a new model."""

    gate: Literal["strict", "tolerant", "off"] = Field(default="strict", json_schema_extra=LIVE)
    """A new model must be better on held-out micrographs than the model in use. ``strict``: an
    equally good model is promoted only if an edit of the config asked for the training;
    ``tolerant``: an equally good model is always promoted; ``off``: every new model is promoted."""

    on_drift: bool = Field(default=False, json_schema_extra=LIVE)
    """True to train on recent micrographs when picks or micrographs have drifted; the gate judges
    the new model like any other."""

    @field_validator("gate", mode="before")
    @classmethod
    def _off_is_a_word(cls, gate: object) -> object:
        """Accept ``off`` without quotes, which YAML reads as false."""
        return "off" if gate is False else gate


class Output(Section):
    """Output of coordinates."""

    directory: Folder = Field(json_schema_extra=RESTART)
    """Coordinate files appear here, in a tree that mirrors the watched folders."""

    formats: list[Format] = Field(
        default=["relion"], min_length=1, examples=["as [relion]"], json_schema_extra=RESTART
    )
    """Formats of the coordinate files; ``relion`` writes STAR."""


class State(Section):
    """Folder for livepick's ledger, models and runs."""

    directory: Folder = Field(json_schema_extra=RESTART)
    """Ledger, models and runs are here. On a local disk: the ledger is SQLite in WAL mode."""


class Web(Section):
    """The page and the metrics."""

    listen: str = Field(default="127.0.0.1:9476", json_schema_extra=RESTART)
    """Address as host:port. With port 0 a free port is used, which is written to the log and to
    STATE/web.address."""

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
                f"web.listen is {listen!r}; it must be host:port with a port from 0 to 65535, as "
                "127.0.0.1:9476, localhost:0 or [::1]:9476"
            )
        return listen

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
