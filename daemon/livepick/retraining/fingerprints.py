"""Digests of the settings that affect a model."""

from collections.abc import Collection

from livepick.config.schema import digest
from livepick.config.sections import Particle
from livepick.config.setting import shaping_settings
from livepick.config.training_sections import Bootstrap, Training

__all__ = ["drift_fingerprint", "is_for_settings", "seeding_fingerprint"]


def seeding_fingerprint(particle: Particle, bootstrap: Bootstrap, training: Training) -> str:
    """Return a short digest of all settings that affect seeds, preparation and sorting.

    Two runs with the same digest differ only in what comes after the 2D classes.
    """
    return digest(
        shaping_settings(stage="sorting", particle=particle, bootstrap=bootstrap, training=training)
    )


def drift_fingerprint(settings: str, taken: Collection[str]) -> str:
    """Return the fingerprint of a run that is due because of drift, not only of the settings.

    Parameters
    ----------
    settings
        The config's training fingerprint.
    taken
        Fingerprints of all runs.
    """
    number = sum(is_for_settings(fingerprint, settings) for fingerprint in taken)
    return f"{settings}.drift{max(number, 1)}"


def is_for_settings(fingerprint: str, settings: str) -> bool:
    """Return True if a run with this fingerprint was created for these settings."""
    return fingerprint.partition(".")[0] == settings
