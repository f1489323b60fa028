"""Digests of the settings that affect a model."""

import hashlib
import json
from collections.abc import Collection

from livepick.config.sections import Bootstrap, Particle, Training

__all__ = ["drift_fingerprint", "is_of"]


def seeding_fingerprint(particle: Particle, bootstrap: Bootstrap, training: Training) -> str:
    """Return a short digest of all settings that affect seeds, preparation and sorting.

    Two runs with the same digest differ only in what comes after the 2D classes.
    """
    shaping = {
        "particle": particle.model_dump(mode="json"),
        "bootstrap": bootstrap.model_dump(mode="json", exclude={"classes"}),
        "training": training.model_dump(
            mode="json",
            include={"seed", "generation", "normalize", "lowpass_angstrom", "expected_picks"},
        ),
    }
    return hashlib.sha256(json.dumps(shaping, sort_keys=True).encode()).hexdigest()[:12]


def drift_fingerprint(settings: str, taken: Collection[str]) -> str:
    """Return the fingerprint of a run that is due because of drift, not only of the settings.

    Parameters
    ----------
    settings
        The config's training fingerprint.
    taken
        Fingerprints of all runs.
    """
    number = sum(is_of(fingerprint, settings) for fingerprint in taken)
    return f"{settings}.drift{max(number, 1)}"


def is_of(fingerprint: str, settings: str) -> bool:
    """Return True if a run with this fingerprint was ordered for these settings."""
    return fingerprint.partition(".")[0] == settings
