"""Rules for when class averages are made.

They are made from the first ``FIRST_MICROGRAPHS``, and again whenever there are as many newer
picks as they have particles, until they have the largest number. From then on they follow the
newest picks: they are made again when newer picks would replace half of their particles, but not
more often than the config says. Another diameter makes them due at once, because it is the size of
their boxes; another model or threshold, as soon as all their picks are by it. Until there are so
many newer picks, the old ones stay: they are shown with their time and micrographs.

Each time the particles are sorted from scratch. Classes that begin early and are only updated keep
the noise of their first particles.
"""

from collections.abc import Sequence

from livepick.core.contracts.class_averages import LEAST_PARTICLES, MOST_PARTICLES
from livepick.ledger.rows import PickCount
from livepick.ledger.session_rows import ClassAveragesRow

__all__ = ["FIRST_MICROGRAPHS", "MOST_MICROGRAPHS", "averaged", "why_due"]

FIRST_MICROGRAPHS = 10
"""Micrographs with picks from which class averages are made."""

MOST_MICROGRAPHS = 60
"""Most micrographs that particles are taken from: each of them is read and resampled."""

RENEWED_FRACTION = 0.5
"""Fraction of the particles that newer picks must replace."""


def averaged(newest: Sequence[PickCount], model_version: int | None) -> list[PickCount]:
    """Return the micrographs whose picks are averaged, the latest first.

    Those of the model in use, as soon as there are enough; until then, those of any model.

    Parameters
    ----------
    newest
        Micrographs with picks, the latest first.
    model_version
        Model in use; None if there is none.
    """
    of_model = [row for row in newest if row.model_version == model_version]
    pool = of_model if len(of_model) >= FIRST_MICROGRAPHS else newest
    chosen: list[PickCount] = []
    particles = 0
    for row in pool[:MOST_MICROGRAPHS]:
        if particles >= MOST_PARTICLES and len(chosen) >= FIRST_MICROGRAPHS:
            break
        chosen.append(row)
        particles += row.pick_count or 0
    return chosen


def why_due(
    newest: Sequence[PickCount],
    last: ClassAveragesRow | None,
    *,
    model_version: int | None,
    now: float,
    every_seconds: float,
    diameter_angstrom: float,
) -> str | None:
    """Return why class averages are due, as a clause; None if they are not.

    Parameters
    ----------
    newest
        Micrographs with picks, the latest first.
    last
        The last class averages; None: there are none yet.
    model_version
        Model in use; None if there is none.
    now
        Unix seconds.
    every_seconds
        Shortest time between two of them that follow the newest picks.
    diameter_angstrom
        Diameter of the particle.
    """
    chosen = averaged(newest, model_version)
    particles = sum(row.pick_count or 0 for row in chosen)
    if len(chosen) < FIRST_MICROGRAPHS or particles < LEAST_PARTICLES:
        return None
    if last is None:
        return f"{len(chosen)} micrographs are picked"
    if (why := _outdated(chosen, last, model_version, diameter_angstrom)) is not None:
        return why
    newer = sum(row.pick_count or 0 for row in newest if row.id > last.last_id)
    if last.particles < MOST_PARTICLES and newer >= last.particles:
        return f"{newer} picks are newer, as many as they have particles"
    is_recent = 0 <= now - last.made_at < every_seconds  # not after the clock was set back
    if not is_recent and newer >= RENEWED_FRACTION * last.particles:
        return f"{newer} picks are newer"
    return None


def _outdated(
    chosen: Sequence[PickCount],
    last: ClassAveragesRow,
    model_version: int | None,
    diameter_angstrom: float,
) -> str | None:
    """Return that the diameter, the model or the threshold is another one; None if not.

    Another model or threshold counts as soon as all picks are by it.
    """
    if last.diameter_angstrom not in (None, diameter_angstrom):
        return f"the diameter is {diameter_angstrom:g} Å now"
    models = {row.model_version for row in chosen}
    if models == {model_version} and model_version != last.model_version:
        return f"model {model_version} picks now"
    thresholds = {row.threshold for row in chosen}
    if last.threshold is not None and thresholds.isdisjoint({last.threshold, None}):
        return f"the threshold is {chosen[0].threshold:.2f} now"
    return None
