"""Sections of the configuration about training: the first training set, the network, promotion."""

from typing import Annotated, Literal, Self, get_args

from pydantic import Discriminator, Field, Tag, ValidationInfo, field_validator, model_validator

from livepick.config.error_messages import contradiction
from livepick.config.setting import (
    ADDED_LATER,
    LIVE,
    RETRAIN,
    RETRAIN_AFTER_SORTING,
    Folder,
    Section,
    advised,
    counts_as,
)

__all__ = [
    "FIRST_PICKER",
    "Bootstrap",
    "Classes",
    "FirstPicker",
    "PicksFrom",
    "Retrain",
    "StartFrom",
    "Training",
]

FirstPicker = Literal["general", "blob"]
"""Picker of a session until a model is trained: the general model, or the blob picker."""

FIRST_PICKER: FirstPicker = "general"
"""The first picker unless ``bootstrap.picks`` names one."""


class PicksFrom(Section):
    """Source of the seeds other than the first picker; exactly one of the two."""

    model: Folder | None = None
    """Folder of a model bundle, such as one trained on the same specimen before. Every particle is
    rescaled to the same size in pixels, so the model may be from another specimen, microscope and
    pixel size."""

    coordinates: Folder | None = None
    """File or folder of manual or curated picks, matched to micrographs by path and name: STAR
    (also RELION's list ``autopick.star``), CSV, EMAN2 box or info, crYOLO cbox, Topaz table or
    cryoSPARC cs."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        """Refuse both and neither."""
        if self.model is not None and self.coordinates is not None:
            raise contradiction("{name} has both model and coordinates; keep one")
        if self.model is None and self.coordinates is None:
            raise contradiction("{name} has no path; give model: PATH or coordinates: PATH")
        return self


class StartFrom(Section):
    """Model whose weights a training starts from."""

    model: Folder
    """Folder of a model bundle that livepick trained, for any particle."""


def _is_section(value: object) -> str:
    return "section" if isinstance(value, dict | PicksFrom | StartFrom) else "word"


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
                f"bootstrap.classes accepts and rejects {', '.join(map(str, both))}; choose one"
            )
        return reject


class Bootstrap(Section):
    """The first training set."""

    picks: Annotated[
        Annotated[FirstPicker, Tag("word")] | Annotated[PicksFrom, Tag("section")],
        Discriminator(_is_section),
    ] = Field(
        default=FIRST_PICKER,
        examples=["general, blob, or model: or coordinates: with a path below it"],
        # The default was blob in earlier versions, and an update must not retrain a session.
        json_schema_extra=RETRAIN | counts_as(general="blob"),
    )
    """Source of the first training set: the general model that ships with livepick, the blob
    picker, another model, or a person. A session that has a model is not retrained by an edit from
    one of the first two to the other; ``livepick retrain`` does that."""

    flip_y: Literal["auto", "yes", "no"] = Field(
        default="auto", json_schema_extra=RETRAIN | ADDED_LATER
    )
    """Direction of ``y`` in ``picks.coordinates``. ``no``: along the rows of the micrograph as they
    are stored; ``yes``: turned over, as programs count that turn a TIFF over when they read it;
    ``auto``: whichever agrees better with livepick's own picks."""

    micrographs: int = Field(
        default=20,
        ge=3,
        le=5000,
        examples=["20 is usual"],
        json_schema_extra=RETRAIN
        | advised(
            10,
            400,
            "fewer than 20 are enough for an easy, symmetric particle; a hard one needs hundreds",
        ),
    )
    """Training starts when this many micrographs are picked; those of bad quality do not count."""

    minimum_picks: int = Field(
        default=200,
        ge=1,
        le=1_000_000,
        examples=["200 is usual"],
        json_schema_extra=RETRAIN
        | advised(100, 20_000, "a few hundred particles are enough to train, thousands are plenty"),
    )
    """Training waits for more micrographs while there are fewer picks than this."""

    classes: Classes = Field(default=Classes(), json_schema_extra=RETRAIN_AFTER_SORTING)
    """A person's decisions on the 2D classes; only the steps after them are repeated."""

    @property
    def first_picker(self) -> FirstPicker:
        """Picker of the session until a model is trained."""
        return self.picks if isinstance(self.picks, str) else FIRST_PICKER

    @field_validator("flip_y", mode="before")
    @classmethod
    def _yes_is_a_word(cls, flip_y: object) -> object:
        """Accept yes and no without quotes, which YAML reads as true and false."""
        return {True: "yes", False: "no"}[flip_y] if isinstance(flip_y, bool) else flip_y

    @field_validator("picks", mode="before")
    @classmethod
    def _is_picker_or_section(cls, picks: object) -> object:
        """Suggest the correct form to a user who wrote a path or another word."""
        if picks is None or isinstance(picks, dict | PicksFrom):
            return picks
        if isinstance(picks, str) and picks in get_args(FirstPicker):
            return picks
        guess = ""
        if isinstance(picks, str):
            looks_named = picks in PicksFrom.model_fields
            written = f"{picks}: PATH" if looks_named else f"coordinates: {picks}"
            if looks_named or "/" in picks or "." in picks:
                guess = f"; perhaps you mean {{{written}}}"
        raise contradiction(
            f"bootstrap.picks is {picks!r}; it must be general, blob, {{model: PATH}}"
            f" or {{coordinates: PATH}}{guess}"
        )


class Training(Section):
    """Training of the network."""

    generation: int = Field(
        default=1, ge=1, examples=["2 trains once more"], json_schema_extra=RETRAIN
    )
    """Increase it by one to train again with all other settings the same."""

    start: Annotated[
        Annotated[Literal["general", "scratch"], Tag("word")]
        | Annotated[StartFrom, Tag("section")],
        Discriminator(_is_section),
    ] = Field(
        default="general",
        examples=["general, scratch, or model: with a path below it"],
        json_schema_extra=RETRAIN_AFTER_SORTING | ADDED_LATER,
    )
    """Weights that the training starts from. ``general``: those of the model that ships with
    livepick, trained on many different particles; ``scratch``: random ones; or those of a model
    that was trained here or elsewhere. If these weights find the held-out particles better than a
    blind guess, training takes half of ``epochs``."""

    epochs: int = Field(
        default=30,
        ge=1,
        le=1000,
        examples=["30 is usual"],
        json_schema_extra=RETRAIN_AFTER_SORTING
        | advised(20, 50, "start with 20 to 50; the learning curves show if more are needed"),
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
    """True to give particles more weight than the background, which is far more frequent."""

    normalize: bool = Field(default=True, json_schema_extra=RETRAIN)
    """True to divide each micrograph by its own noise, so that it has mean 0 and variance 1. False:
    all are divided by one number, the usual noise of the training micrographs."""

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
        examples=["0.2 holds out one micrograph in five"],
        json_schema_extra=RETRAIN_AFTER_SORTING
        | advised(0.1, 0.5, "one micrograph in five is usual"),
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
    """True to repeat a run whose curves show a fault with the remedy, at most twice; the better
    result is kept."""

    seed: int = Field(
        default=1,
        ge=0,
        le=2**62,  # torch takes no larger ones than 2**63 - 1
        examples=["any such whole number"],
        json_schema_extra=RETRAIN,
    )
    """Seed of the random numbers; the same seed gives the same model on the same machine."""

    threads: int = Field(
        default=2,
        ge=1,
        le=64,
        examples=["2 leaves the other cores to picking"],
        json_schema_extra=LIVE | advised(1, 8, "4 to 8 is generally safe, and more seldom helps"),
    )
    """CPU threads of the trainer; does not shape the model."""

    device: str = Field(
        default="auto",
        pattern=r"^(auto|cpu|cuda|cuda:[0-9]{1,2})$",
        examples=["auto, cpu, cuda, or one of several GPUs by its number, such as cuda:1"],
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

    @field_validator("start", mode="before")
    @classmethod
    def _is_word_or_model(cls, start: object) -> object:
        """Suggest the correct form to a user who wrote a path or another word."""
        if isinstance(start, dict | StartFrom) or start in ("general", "scratch"):
            return start
        guess = ""
        if isinstance(start, str) and ("/" in start or start == "model"):
            path = "PATH" if start == "model" else start
            guess = f"; perhaps you mean {{model: {path}}}"
        raise contradiction(
            f"training.start is {start!r}; it must be general, scratch or {{model: PATH}}{guess}"
        )

    @field_validator("final_learning_rate")
    @classmethod
    def _falls(cls, final: float, info: ValidationInfo) -> float:
        """Refuse a learning rate that grows."""
        initial = info.data.get("initial_learning_rate")
        if initial is not None and final > initial:
            raise contradiction(
                f"training.final_learning_rate is {final:g}, above the initial one, {initial:g}; "
                f"the rate falls during training; {initial / 10:g} is usual"
            )
        return final


class Retrain(Section):
    """Conditions for the promotion of a new model."""

    gate: Literal["strict", "tolerant", "off"] = Field(default="strict", json_schema_extra=LIVE)
    """A new model must be better on held-out micrographs than the model in use. ``strict``: an
    equally good model is promoted only if an edit of the config requested the training;
    ``tolerant``: an equally good model is always promoted; ``off``: every new model is promoted."""

    on_drift: bool = Field(default=False, json_schema_extra=LIVE)
    """True to train on recent micrographs when picks or micrographs have drifted; the
    promotion gate judges the new model like any other."""

    @field_validator("gate", mode="before")
    @classmethod
    def _off_is_a_word(cls, gate: object) -> object:
        """Accept ``off`` without quotes, which YAML reads as false."""
        return "off" if gate is False else gate
