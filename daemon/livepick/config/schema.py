"""The whole configuration as one frozen value, and digests of the settings that shape a model.

A file may leave the particle to be measured (``WrittenConfig``). All other parts of livepick use a
``Config``, whose particle has numbers: ``livepick.config.measured_particle`` makes it.

The settings, with their bounds, units and examples, are in ``livepick.config.sections`` and in
``output_sections``, ``training_sections``, ``engine_section`` and ``web_section`` beside it.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationInfo, field_validator

from livepick.config.class_averages_section import ClassAverages
from livepick.config.engine_section import EngineSettings
from livepick.config.error_messages import contradiction
from livepick.config.notify_section import Notify
from livepick.config.output_sections import Output
from livepick.config.sections import (
    Micrograph,
    Microscope,
    Particle,
    Picking,
    Session,
    State,
    Watch,
    WrittenParticle,
)
from livepick.config.setting import Section, shaping_settings, shaping_values
from livepick.config.training_sections import Bootstrap, Retrain, Training
from livepick.config.web_section import Web

__all__ = ["Config", "WrittenConfig", "digest", "particle_fingerprint"]


class WrittenConfig(Section):
    """The whole configuration, as it is in the file."""

    session: Session
    """The microscope session."""

    watch: Watch
    """Folders where micrographs land, and rules for when one is complete."""

    micrograph: Micrograph = Micrograph()
    """Properties of the micrographs that are known in advance."""

    microscope: Microscope = Microscope()
    """Optics of the microscope."""

    particle: WrittenParticle
    """The particle, as the microscopist thinks of it."""

    bootstrap: Bootstrap = Bootstrap()
    """The first training set."""

    training: Training = Training()
    """Training of the network."""

    picking: Picking = Picking()
    """Picking of the micrographs."""

    engine: EngineSettings = EngineSettings()
    """Workers that pick: processes of this machine, or a Dask cluster."""

    retrain: Retrain = Retrain()
    """Conditions for the promotion of a new model."""

    class_averages: ClassAverages = ClassAverages()
    """Class averages of the newest picks."""

    notify: Notify = Notify()
    """Notices by mail, chat or webhook, without an Alertmanager."""

    output: Output
    """Output of coordinates."""

    state: State
    """Folder for livepick's ledger, models and runs."""

    web: Web = Web()
    """The page and the metrics."""

    @field_validator("training")
    @classmethod
    def _both_sides(cls, training: Training, info: ValidationInfo) -> Training:
        """Refuse a split that leaves no micrograph to train on."""
        bootstrap = info.data.get("bootstrap")
        if bootstrap is None:
            return training
        held_out = max(1, round(bootstrap.micrographs * training.held_out_fraction))
        if held_out >= bootstrap.micrographs:
            raise contradiction(
                f"training.held_out_fraction is {training.held_out_fraction:g}, which leaves none "
                f"of the {bootstrap.micrographs} micrographs (bootstrap.micrographs) to train on;"
                " 0.2 is usual",
                key="held_out_fraction",
            )
        return training

    @field_validator("engine")
    @classmethod
    def _has_one_number(cls, engine: EngineSettings, info: ValidationInfo) -> EngineSettings:
        """Refuse two numbers of workers, and GPUs for workers that use none."""
        picking = info.data.get("picking")
        if picking is None:
            return engine
        if picking.workers is not None and engine.kind == "dask":
            raise contradiction(
                f"picking.workers is {picking.workers}, which is of this machine, and engine.kind"
                " is dask; remove it, and give it to each livepick worker (--workers)",
                key="kind",
            )
        if picking.workers is not None and engine.workers not in ("auto", picking.workers):
            raise contradiction(
                f"engine.workers is {engine.workers} and picking.workers is {picking.workers},"
                " which are two names of one setting; remove one of the two",
                key="workers",
            )
        if picking.device == "cpu" and engine.devices is not None:
            raise contradiction(
                f"engine.devices is {engine.devices}, and picking.device is cpu, which uses no GPU;"
                " change one of the two",
                key="devices",
            )
        return engine

    @property
    def workers(self) -> int | None:
        """Number of worker processes of this machine; None: it depends on the machine."""
        return self.picking.workers if self.engine.workers == "auto" else self.engine.workers

    @field_validator("output")
    @classmethod
    def _has_one_optics(cls, output: Output, info: ValidationInfo) -> Output:
        """Refuse optics under both of their names."""
        if output.relion.optics is not None and info.data.get("microscope") != Microscope():
            raise contradiction(
                "output.relion.optics is the earlier name of microscope, and both are given;"
                " remove output.relion.optics",
                key="relion.optics",
            )
        return output

    @property
    def optics(self) -> Microscope:
        """Optics of the microscope, under either name."""
        earlier = self.output.relion.optics
        return self.microscope if earlier is None else Microscope(**earlier.model_dump())

    @field_validator("state")
    @classmethod
    def _apart(cls, state: State, info: ValidationInfo) -> State:
        """Refuse a ledger in a watched folder: livepick writes nothing there."""
        watch = info.data.get("watch")
        if watch is not None and state.directory in watch.directories:
            raise contradiction(
                f"state.directory is {state.directory}, which is watched for micrographs; "
                "give it a folder of its own on a local disk",
                key="directory",
            )
        return state


class Config(WrittenConfig):
    """The whole configuration, with numbers for the particle."""

    particle: Particle
    """The particle, as the microscopist thinks of it."""

    def particle_fingerprint(self) -> str:
        """Return a short digest of the particle: a model serves only the one it was made for."""
        return particle_fingerprint(self.particle)

    def training_fingerprint(self) -> str:
        """Return a short digest of every setting that shapes the model.

        Two configs with the same fingerprint share a model; a new fingerprint requires a new
        training run. Settings that are ``live``, such as the number of threads, do not count.
        """
        return digest(
            shaping_settings(
                particle=self.particle, bootstrap=self.bootstrap, training=self.training
            )
        )


@functools.lru_cache(maxsize=16)
def particle_fingerprint(particle: Particle) -> str:
    """Return a short digest of a particle, as ``Config.particle_fingerprint``."""
    return digest(shaping_values(particle))


def digest(settings: Mapping[str, Any]) -> str:
    """Return a short digest of settings, which does not depend on their order."""
    canonical = json.dumps(settings, sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()[:12]
