"""The sections of the configuration: each setting with its default, bounds, unit and meaning."""

import ipaddress
import os
import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    JsonValue,
    Strict,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from livepick.config.error_messages import contradiction

__all__ = [
    "RUNNING",
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


RUNNING = ("threads", "device", "gpu_memory_fraction", "time_limit_minutes")
"""Settings of ``training`` that say how a run is done, and do not shape its model."""


Preset = Literal["motioncor", "relion", "warp", "cryosparc", "cryoem-services", "plain"]


Contrast = Literal["dark", "bright"]
"""Of the particles, against the ice."""
Device = Literal["require-gpu", "prefer-gpu", "cpu"]


Format = Literal["relion"]


Repick = Literal["provisional", "all", "none"]


def _beside_config(path: Path, info: ValidationInfo) -> Path:
    """Make a folder absolute: relative ones are relative to the config file's folder."""
    if path == Path():
        raise contradiction("{name} is empty; name a folder")
    path = path.expanduser()
    folder = (info.context or {}).get("folder")
    # abspath, not resolve: a link that names the session of the day is followed when it is used.
    return path if folder is None else Path(os.path.abspath(folder / path))  # noqa: PTH100


Folder = Annotated[Path, Strict(strict=False), AfterValidator(_beside_config)]


class Section(BaseModel):
    """A part of the configuration: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def _advised(lowest: float, highest: float, why: str) -> dict[str, JsonValue]:
    """Return what the practice of the field advises, for ``Field(json_schema_extra=...)``."""
    return {"advised": [lowest, highest], "advice": why}


class Session(Section):
    """The microscope session."""

    name: str = Field(
        min_length=1,
        max_length=100,
        pattern=r"^[\w.+-]+$",
        examples=["letters, digits and . _ + -, no spaces, as krios1-2026-11-23"],
    )
    """Names the session in metrics and on the page: letters, digits, ``. _ + -``."""


class Watch(Section):
    """Where micrographs land, and when one is complete."""

    directories: list[Folder] = Field(min_length=1, examples=["as [/data/session/Micrographs]"])
    """Folders with motion-corrected micrographs; sub-folders are included."""

    preset: Preset = "plain"
    """Which program writes the micrographs; sets ``include``, ``exclude`` and sidecars."""

    include: list[str] | None = Field(default=None, min_length=1, examples=['as ["*_DW.mrc"]'])
    """Globs on the name, with a slash on the path below the watched folder; None: the preset's."""

    exclude: list[str] | None = None
    """Globs of what is left out, whatever ``include`` says; None: the preset's."""

    mode: Literal["auto", "inotify", "poll"] = "auto"
    """``auto`` takes inotify on local file systems and polls on network ones."""

    rescan_seconds: float | None = Field(
        default=None, ge=0.2, le=3600, examples=["10 is usual on a network file system"]
    )
    """How often the folders are listed anew; None: 10 when polling, 60 with inotify."""

    settle_seconds: float | None = Field(
        default=None, ge=0, le=3600, examples=["15 is usual on a network file system"]
    )
    """How long a file must stay unchanged; None: 5 on local file systems, 15 on network ones."""

    incomplete_timeout_seconds: float = Field(
        default=600, ge=1, le=86400, examples=["600 is ten minutes"]
    )
    """A file that is not whole after this long is set aside until it changes."""

    require_sidecar: str | None = Field(
        default=None, pattern=r"^\.[\w.+-]+$", examples=["a suffix with its dot, as .star"]
    )
    """A suffix, as ``.star``: wait until ``NAME.star`` is there too; None: the preset's."""

    forbid_sidecar: str | None = Field(
        default=None, pattern=r"^\.[\w.+-]+$", examples=["a suffix with its dot, as .tmp"]
    )
    """A suffix, as ``.tmp``: wait while ``NAME.tmp`` is there; None: the preset's."""

    follow_symlinks: bool = False
    """Whether links to files and folders are followed."""

    @field_validator("directories")
    @classmethod
    def _not_nested(cls, folders: list[Path]) -> list[Path]:
        """Refuse folders inside one another: their files would be two micrographs each."""
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
        """Refuse a sidecar that is required and forbidden: no file would ever be taken."""
        if suffix is not None and suffix == info.data.get("require_sidecar"):
            raise contradiction(
                f"watch.forbid_sidecar is {suffix}, which watch.require_sidecar asks for; "
                "remove one of the two"
            )
        return suffix


class Micrograph(Section):
    """What is known of the micrographs beforehand."""

    pixel_size_angstrom: float | None = Field(
        default=None, ge=0.1, le=20, examples=["0.83 at 105,000 times is usual"]
    )
    """Of the micrographs as they land; None: each file's header says it."""

    ctf: Folder | None = None
    """Where their defocus is written, so that 2D classes are made of flipped phases and each
    micrograph's CTF figures are known: RELION's ``micrographs_ctf.star``, or a folder of CTFFIND's
    texts or Warp's XML; None: CTFFIND's ``NAME.txt`` or ``NAME_ctf.txt`` or Warp's ``NAME.xml``
    beside a micrograph, where there is one. It may come to be during the
    session, and asks by itself for no new training."""


class Particle(Section):
    """The particle, as the microscopist thinks of it."""

    diameter_angstrom: float = Field(ge=20, le=2000, examples=["a ribosome is about 300"])
    """Longest diameter. Sets the resampling, the blob radii and the picking distance."""

    contrast: Contrast = "dark"
    """How particles look in the files; protein in ice is dark before inversion."""

    min_distance_fraction: float = Field(
        default=0.6, ge=0.1, le=2, examples=["1 keeps round particles from overlapping"]
    )
    """Closest allowed centres, as a fraction of the diameter."""

    edge_fraction: float = Field(
        default=0.05,
        ge=0,
        le=2,
        examples=["0.5 leaves out all particles that the edge cuts"],
    )
    """Smallest distance of a pick's centre from the edge of the image, as a fraction of the
    diameter. 0: picks up to the edge; 0.25: four fifths of the particle's disc are inside; 0.5: all
    of it. A dead border is kept a quarter of the diameter away at least."""


class PicksFrom(Section):
    """First picks that are not the blob picker's; one of the two."""

    model: Folder | None = None
    """Folder of a model bundle, as a general pretrained one; every particle is brought to the
    same size in pixels, so it may be of another specimen, microscope and pixel size."""

    coordinates: Folder | None = None
    """File or folder of picks by hand or curated: STAR, CSV, EMAN box, crYOLO cbox or
    cryoSPARC cs, matched to micrographs by name."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        """Refuse none and both."""
        if self.model is not None and self.coordinates is not None:
            raise contradiction("{name} has both model and coordinates; keep one")
        if self.model is None and self.coordinates is None:
            raise contradiction("{name} has no path; give model: PATH or coordinates: PATH")
        return self


def _is_section(value: object) -> str:
    return "section" if isinstance(value, dict | PicksFrom) else "word"


class Classes(Section):
    """A person's word on the 2D classes, by their numbers in ``classes.png``."""

    accept: list[int] = []
    """Numbers of classes to learn from, whatever their figures."""

    reject: list[int] = []
    """Numbers of classes not to learn from."""

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
        """Refuse a class that is both."""
        both = sorted(set(reject) & set(info.data.get("accept", [])))
        if both:
            raise contradiction(
                f"bootstrap.classes accepts and rejects {', '.join(map(str, both))}; decide once"
            )
        return reject


class Bootstrap(Section):
    """How the first training set comes about."""

    picks: Annotated[
        Annotated[Literal["blob"], Tag("word")] | Annotated[PicksFrom, Tag("section")],
        Discriminator(_is_section),
    ] = Field(default="blob", examples=["blob, or model: or coordinates: with a path below it"])
    """Where the first picks come from: the blob picker, a model, or a person."""

    micrographs: int = Field(
        default=20,
        ge=3,
        le=5000,
        examples=["20 is usual"],
        json_schema_extra=_advised(
            10, 400, "under 20 do for an easy, symmetric particle, low hundreds for a hard one"
        ),
    )
    """Training starts when this many are picked; those of bad quality do not count."""

    minimum_picks: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        examples=["200 is usual"],
        json_schema_extra=_advised(
            100, 20_000, "a few hundred particles teach the picker, thousands are plenty"
        ),
    )
    """Training waits for more micrographs while they hold fewer picks than this."""

    classes: Classes = Classes()
    """A person's word on the 2D classes; only what comes after them is done again."""

    @field_validator("picks", mode="before")
    @classmethod
    def _is_blob_or_section(cls, picks: object) -> object:
        """Say what is meant to whoever writes a path or another word."""
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
    """How the network is trained."""

    generation: int = Field(default=1, ge=1, examples=["2 trains once more"])
    """Raise it by one to train anew with everything else the same."""

    epochs: int = Field(
        default=30,
        ge=1,
        le=1000,
        examples=["30 is usual"],
        json_schema_extra=_advised(
            20, 50, "20 to 50 are a first choice; the curves tell whether more are needed"
        ),
    )
    """At most so many passes over the training patches; it stops early once it learns no more."""

    initial_learning_rate: float = Field(
        default=0.003,
        gt=0,
        le=1,
        examples=["0.003 is usual"],
        json_schema_extra=_advised(0.001, 0.01, "0.01 to 0.001 works best"),
    )
    """Step size of the optimizer at the start."""

    final_learning_rate: float = Field(
        default=0.0003,
        gt=0,
        le=1,
        examples=["0.0003 is usual"],
        json_schema_extra=_advised(0.000_01, 0.01, "a tenth of the initial rate is usual"),
    )
    """Step size at the end, to which it decays; at most the initial one."""

    minibatch_size: int = Field(
        default=8,
        ge=1,
        le=256,
        examples=["8 is usual"],
        json_schema_extra=_advised(
            1, 16, "1 is safe; more is faster, needs memory, and can cost picks"
        ),
    )
    """Patches per step; more needs more memory."""

    class_weights: bool = True
    """Whether particles weigh more than the background, of which there is so much more."""

    normalize: bool = True
    """Whether each micrograph is divided by its own noise, to mean 0 and variance 1; if not, all
    are divided by one number, the usual noise of those that are trained on."""

    lowpass_angstrom: float | None = Field(
        default=None,
        ge=1,
        le=500,
        examples=["a tenth of the diameter is the finest that the picker sees"],
    )
    """Detail finer than this is filtered out of micrographs before training and picking; None:
    what the resampling leaves, a tenth of the particle's diameter.

    The published guide has a "degree of lowpass" in its place, 50 as a rule and down to 15 for
    noisy data. As far as its text goes, that is a count of frequencies that are kept in Fourier
    space, and no ångström: the *lower* it is, the more is filtered, and what it means in ångström
    depends on the size of the image that is filtered. So no number is carried over: for noisy
    data, *raise* this one, as to a fifth of the diameter."""

    held_out_fraction: float = Field(
        default=0.2,
        gt=0,
        lt=0.9,
        examples=["0.2 keeps one micrograph in five"],
        json_schema_extra=_advised(0.1, 0.5, "one micrograph in five judges the others"),
    )
    """Part of the micrographs that judges the model and is never trained on."""

    expected_picks: int | None = Field(
        default=None, ge=1, le=5000, examples=["as many as you count in a typical micrograph"]
    )
    """Particles in a typical micrograph, if somebody knows; sets the model's threshold."""

    auto_remedy: bool = True
    """Whether a run whose curves show a fault is repeated with its remedy, at most twice, and
    the better result kept."""

    seed: int = Field(default=1, ge=0, examples=["any whole number"])
    """Of the random numbers; the same seed gives the same model on the same machine."""

    threads: int = Field(
        default=2,
        ge=1,
        le=64,
        examples=["2 leaves the others to picking"],
        json_schema_extra=_advised(1, 8, "4 to 8 is generally safe, and more seldom helps"),
    )
    """CPU threads of the trainer; does not shape the model."""

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda|cuda:[0-9]{1,2})$",
        examples=["auto, cpu, cuda, or one of several GPUs by its number, as cuda:1"],
    )
    """Where it trains; does not shape the model."""

    gpu_memory_fraction: float = Field(
        default=0.5, gt=0, le=1, examples=["0.5 leaves the other half to picking"]
    )
    """Part of the GPU's memory that the trainer may take; does not shape the model."""

    time_limit_minutes: float = Field(
        default=240, gt=0, le=10080, examples=["240 is four hours, 10080 a week"]
    )
    """A run that takes longer is ended; does not shape the model."""

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
    """How micrographs are picked."""

    device: Device = "prefer-gpu"
    """``require-gpu`` ends with an error where there is none, ``prefer-gpu`` takes the CPU then."""

    threshold: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = Field(
        default="auto", examples=["0.05 writes nearly all candidates"]
    )
    """Score from which a candidate is written as a pick; ``auto`` takes the model's own. A low
    number writes the whole precision-recall curve."""

    workers: int | None = Field(
        default=None, ge=1, le=256, examples=["cores of the machine minus one is usual"]
    )
    """Worker processes; None: 1 with a GPU, else the number of cores minus one (at least 1)."""

    repick: Repick = "provisional"
    """What is picked again, after new arrivals, when another model picks: what the blob picker
    picked (or all, if the particle is another), what any other model picked, or nothing."""


class Retrain(Section):
    """What decides whether a new model picks."""

    gate: Literal["strict", "tolerant", "off"] = "strict"
    """A new model must be better on held-out micrographs than the one that picks. ``strict``:
    as good is enough only where an edit of the config asked for it; ``tolerant``: as good is
    always enough; ``off``: every new model picks."""

    on_drift: bool = False
    """Whether to train on recent micrographs when picks or micrographs are no longer what they
    were; the gate judges the result like any other."""

    @field_validator("gate", mode="before")
    @classmethod
    def _off_is_a_word(cls, gate: object) -> object:
        """Take YAML's ``off``, which is false without quotes, as the word that it is here."""
        return "off" if gate is False else gate


class Output(Section):
    """Where coordinates go."""

    directory: Folder
    """Coordinate files appear here, in a tree that mirrors the watched folders."""

    formats: list[Format] = Field(default=["relion"], min_length=1, examples=["as [relion]"])
    """Formats of the coordinate files; ``relion`` writes STAR."""


class State(Section):
    """Where livepick keeps its ledger, models and runs."""

    directory: Folder
    """Ledger, models and runs are here. On a local disk: the ledger is SQLite in WAL mode."""


class Web(Section):
    """The page and the metrics."""

    listen: str = "127.0.0.1:9476"
    """host:port; port 0 takes a free one, which the log and STATE/web.address name."""

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        """Refuse what is no ``host:port``."""
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
        """The port to listen on; 0 takes a free one."""
        return _split_address(self.listen)[1] or 0


def _split_address(listen: str) -> tuple[str, int | None]:
    """Return host and port of ``host:port``; None for a port that is no number."""
    host, _, port = listen.rpartition(":")
    return host, int(port) if re.fullmatch(r"[0-9]{1,5}", port) else None
