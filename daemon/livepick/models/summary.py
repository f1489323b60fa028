"""Summaries of the models of a session: card, report, promotions and settings."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from livepick.config.schema import Config
from livepick.config.setting import shaping_settings
from livepick.core.contracts.bundle import ModelCard, bundle_name
from livepick.core.contracts.finding import Finding
from livepick.core.contracts.run import RUNS, RunSpec, RunStart
from livepick.core.contracts.training_report import (
    HeldOutFigures,
    read_figures,
    read_findings,
    read_start,
)
from livepick.errors import ModelError, TrainerError
from livepick.models.promotions import Promotion
from livepick.models.registry import Models

__all__ = ["ModelSummary", "SettingDifference", "differing_settings", "summarize_models"]


@dataclass(frozen=True, slots=True)
class ModelSummary:
    """Summary of one model."""

    card: ModelCard
    is_current: bool
    """True if it is currently used for picking."""
    fits: bool
    """True if it was made for the particle of the config."""
    figures: HeldOutFigures | None
    findings: tuple[Finding[str], ...]
    promotions: tuple[Promotion, ...]
    """Promotions of this model, the latest last."""
    start: RunStart | None = None
    """Weights that its training started from; None: random ones."""

    @property
    def source(self) -> str:
        """Short description of the data that the model was made from."""
        match self.card.kind:
            case "blob":
                return "the particle's diameter"
            case "general":
                return "many other particles"
        if self.card.parent is not None:
            seeds = f"picks of model {self.card.parent}"
        else:
            kind = self.figures.seeds_from if self.figures else ""
            seeds = {
                "coordinates": "coordinates",
                "model": "picks of a model from elsewhere",
            }.get(kind, "unknown seeds")
        if self.start is not None:
            seeds += f", started from {self.start.name}"
        return f"run {self.card.run}, {seeds}" if self.card.run else seeds

    def as_json(self) -> dict[str, Any]:
        """Return the summary as a JSON-serializable dict; scripts depend on its keys."""
        card = self.card
        return {
            "version": card.version,
            "kind": card.kind,
            "champion": self.is_current,
            "fits_particle": self.fits,
            "source": {
                "run": card.run,
                "parent": card.parent,
                "seeds": self.figures.seeds_from if self.figures else None,
                "start": self.start.source if self.start else None,
            },
            "created_at": card.created_at,
            "threshold": card.threshold,
            "fingerprint": card.fingerprint,
            "held_out": dataclasses.asdict(self.figures) if self.figures else None,
            "promotions": [promotion.model_dump(mode="json") for promotion in self.promotions],
        }


def summarize_models(models: Models, config: Config) -> list[ModelSummary]:
    """Return a summary of each readable model, sorted by version."""
    try:
        current = models.current(config).card.version
    except ModelError:  # there is none before the first start
        current = None
    promotions = models.promotions()
    particle = config.particle_fingerprint()
    return [
        ModelSummary(
            card=bundle.card,
            is_current=bundle.card.version == current,
            fits=bundle.card.particle_fingerprint == particle,
            figures=read_figures(bundle.path),
            findings=read_findings(bundle.path),
            promotions=tuple(p for p in promotions if p.version == bundle.card.version),
            start=read_start(bundle.path),
        )
        for bundle in models.bundles()
    ]


@dataclass(frozen=True, slots=True)
class SettingDifference:
    """A setting whose current value differs from the one that a model was trained with."""

    name: str
    """Name as in the config, such as ``training.epochs``."""
    then: object
    """Value at training time. None: it was not set."""
    now: object


def differing_settings(config: Config, version: int) -> list[SettingDifference] | None:
    """Return the settings that have changed since a model's run was created.

    None if the specification of the run does not exist or cannot be read.
    """
    try:
        spec = RunSpec.read(config.state.directory / RUNS / bundle_name(version))
    except TrainerError:
        return None
    then, now = _settings(spec), _settings(config)
    return [
        SettingDifference(name, then.get(name), now.get(name))
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]


def _settings(of: RunSpec | Config) -> dict[str, object]:
    """Return the settings that affect a model, by their name in the config."""
    return _flat(
        shaping_settings(particle=of.particle, bootstrap=of.bootstrap, training=of.training)
    )


def _flat(nested: dict[str, Any], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for key, value in nested.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat
