"""Selection of micrographs that are suitable for training, and of those held out of a run."""

from collections.abc import Collection, Sequence
from pathlib import Path

from livepick.core.contracts.run import RunMicrograph
from livepick.core.formats.image_names import without_compression

__all__ = ["LEAST_MICROGRAPHS", "MOST_MASKED", "is_suitable_for_training", "split"]


MOST_MASKED = 0.5
"""Highest fraction of the area that may be masked (carbon, ice, dirt, bad borders); beyond it, a
micrograph is of bad quality."""


LEAST_MICROGRAPHS = 3
"""Lowest number of micrographs that can be split into a training set and a held-out set."""


def is_suitable_for_training(*, masked_fraction: float, picks: int) -> bool:
    """Return True if a micrograph can be trained on: it is mostly clean and has picks.

    Parameters
    ----------
    masked_fraction
        Fraction of the area excluded from picking, 0 to 1.
    picks
        Number of picks above the threshold of the model that made them.
    """
    return masked_fraction <= MOST_MASKED and picks > 0


def split(
    micrographs: Sequence[RunMicrograph],
    *,
    threshold: float,
    held_out_fraction: float,
    held_out_before: Collection[Path] = (),
    trained_on_before: Collection[Path] = (),
) -> list[RunMicrograph]:
    """Hold out some micrographs with typical numbers of picks: at least one, but never all.

    The few micrographs that judge a model also set its threshold, and an empty field or one full
    of junk would give a threshold that suits only itself. Micrographs held out before stay held
    out, and new ones are added up to the fraction.

    Parameters
    ----------
    micrographs
        Micrographs in the order they landed, at least one of them not held out before.
    threshold
        Lowest score at which a seed counts.
    held_out_fraction
        Fraction of the micrographs to hold out.
    held_out_before
        Micrographs held out by earlier runs.
    trained_on_before
        Micrographs that earlier runs trained on: not held out now, unless there is nothing else to
        judge by.
    """
    count = len(micrographs)
    names = [_name(micrograph.path) for micrograph in micrographs]
    reserved, used = set(map(_name, held_out_before)), set(map(_name, trained_on_before))
    held_out = {i for i in range(count) if names[i] in reserved}
    free = [i for i in range(count) if i not in held_out]
    unseen = [i for i in free if names[i] not in used]
    if not held_out and not unseen:
        unseen = free
    wanted = min(max(1, round(count * held_out_fraction)), count - 1)
    more = min(max(0, wanted - len(held_out)), len(free) - 1, len(unseen))
    picked = [sum(score >= threshold for _, _, score in m.seeds) for m in micrographs]
    by_picks = sorted(unseen, key=lambda i: (picked[i], i))
    # Evenly spaced between the fewest and the most picks, excluding both ends.
    held_out |= {by_picks[(i + 1) * len(unseen) // (more + 1)] for i in range(more)}
    return [
        micrograph.model_copy(update={"held_out": i in held_out})
        for i, micrograph in enumerate(micrographs)
    ]


def _name(path: Path) -> str:
    """Return the path of a micrograph, which may have been compressed since the earlier runs."""
    return without_compression(str(path))
