"""The configuration: YAML in, one frozen ``Config`` out."""

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field


Preset = Literal["motioncor", "relion", "warp", "cryosparc", "cryoem-services", "plain"]
Device = Literal["require-gpu", "prefer-gpu", "cpu"]
Format = Literal["relion"]


class Section(BaseModel):
    """A part of the configuration: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Session(Section):
    """The microscope session."""

    name: str = Field(min_length=1, max_length=100, pattern=r"^[\w.+-]+$")
    """Names the session in metrics and on the page: letters, digits, ``. _ + -``."""


class Watch(Section):
    """Where micrographs land, and when one is complete."""

    directories: list[Path] = Field(min_length=1)
    """Folders with motion-corrected micrographs; sub-folders are included."""

    preset: Preset = "plain"
    """Which program writes the micrographs; sets ``include``, ``exclude`` and sidecars."""

    include: list[str] | None = None
    """Globs on the path below the watched folder; None: those of the preset."""

    exclude: list[str] | None = None
    """Globs that win over ``include``; None: those of the preset."""

    mode: Literal["auto", "inotify", "poll"] = "auto"
    """``auto`` takes inotify on local file systems and polls on network ones."""

    rescan_seconds: float | None = Field(default=None, ge=0.2, le=3600)
    """How often the folders are listed anew; None: 10 when polling, 60 with inotify."""

    settle_seconds: float | None = Field(default=None, ge=0, le=3600)
    """How long a file must stay unchanged; None: 5 on local file systems, 15 on network ones."""

    incomplete_timeout_seconds: float = Field(default=600, ge=1, le=86400)
    """A file that is not whole after this long is set aside until it changes."""

    require_sidecar: str | None = None
    """A suffix, as ``.star``: wait until ``NAME.star`` is there too."""

    forbid_sidecar: str | None = None
    """A suffix, as ``.tmp``: wait while ``NAME.tmp`` is there."""

    follow_symlinks: bool = False
    """Whether links to files and folders are followed."""


class Micrograph(Section):
    """What is known of the micrographs beforehand."""

    pixel_size_angstrom: float | None = Field(default=None, ge=0.1, le=20)
    """Of the micrographs as they land; None: each file's header says it."""


class Particle(Section):
    """The particle, as the microscopist thinks of it."""

    diameter_angstrom: float = Field(ge=20, le=2000)
    """Longest diameter. Sets the resampling, the blob radii and the picking distance."""

    contrast: Literal["dark", "bright"] = "dark"
    """How particles look in the files; protein in ice is dark before inversion."""

    min_distance_fraction: float = Field(default=0.6, ge=0.1, le=2)
    """Closest allowed centres, as a fraction of the diameter."""


class Bootstrap(Section):
    """How the first training set comes about."""

    micrographs: int = Field(default=20, ge=3, le=5000)
    """Training starts when this many are picked."""


class Training(Section):
    """How the network is trained."""

    generation: int = Field(default=1, ge=1)
    """Raise it by one to train anew with everything else the same."""

    epochs: int = Field(default=30, ge=1, le=1000)
    initial_learning_rate: float = Field(default=0.003, gt=0, le=1)
    final_learning_rate: float = Field(default=0.0003, gt=0, le=1)
    minibatch_size: int = Field(default=8, ge=1, le=256)
    held_out_fraction: float = Field(default=0.2, gt=0, lt=0.9)
    seed: int = Field(default=1, ge=0)
    threads: int = Field(default=2, ge=1, le=64)
    """CPU threads of the trainer; does not shape the model."""
    device: Literal["auto", "cuda", "cpu"] = "auto"
    """Where it trains; does not shape the model."""
    time_limit_minutes: float = Field(default=240, gt=0)
    """A run that takes longer is ended; does not shape the model."""


class Picking(Section):
    """How micrographs are picked."""

    device: Device = "prefer-gpu"
    threshold: Literal["auto"] | Annotated[float, Field(ge=0, le=1)] = "auto"
    workers: int | None = Field(default=None, ge=1, le=256)
    """Worker processes; None: 1 with a GPU, else the number of cores minus one (at least 1)."""


class Output(Section):
    """Where coordinates go."""

    directory: Path
    formats: list[Format] = Field(default=["relion"], min_length=1)


class State(Section):
    """Where livepick keeps its ledger, models and runs."""

    directory: Path
    """On a local disk: the ledger is SQLite in WAL mode."""


class Web(Section):
    """The page and the metrics."""

    listen: str = "127.0.0.1:9476"
    """host:port; port 0 takes a free one, which the log and STATE/web.address name."""


class Config(Section):
    """The whole configuration."""

    session: Session
    watch: Watch
    micrograph: Micrograph = Micrograph()
    particle: Particle
    bootstrap: Bootstrap = Bootstrap()
    training: Training = Training()
    picking: Picking = Picking()
    output: Output
    state: State
    web: Web = Web()

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a config file; relative folders in it are relative to the file's folder."""
        return cls.model_validate(yaml.safe_load(path.read_text()))

    def particle_fingerprint(self) -> str:
        """Return a short digest of the particle: a model serves only the one it was made for."""
        return _digest(self.particle.model_dump(mode="json"))

    def training_fingerprint(self) -> str:
        """Return a short digest of every setting that shapes the model.

        Two configs with the same fingerprint share a model; a new fingerprint asks for a new
        training run. Threads, device and time limit are left out on purpose.
        """
        training = self.training.model_dump(
            mode="json", exclude={"threads", "device", "time_limit_minutes"}
        )
        return _digest(
            {
                "particle": self.particle.model_dump(mode="json"),
                "bootstrap": self.bootstrap.model_dump(mode="json"),
                "training": training,
            }
        )


def _digest(shaping: dict[str, Any]) -> str:
    canonical = json.dumps(shaping, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
