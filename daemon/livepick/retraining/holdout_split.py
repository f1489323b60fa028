"""Which micrographs are held out of a training run, and which are fit to learn from."""

from collections.abc import Collection, Sequence
from pathlib import Path

from livepick.core.contracts.run import RunMicrograph

__all__ = ["LEAST_MICROGRAPHS", "MOST_MASKED", "is_fit_to_learn_from", "split"]


MOST_MASKED = 0.5
"""With more than this part of its area taken out (carbon, ice, dirt, bad borders), a micrograph is
of bad quality."""


LEAST_MICROGRAPHS = 3
"""Fewer cannot be split into micrographs to learn from and micrographs to judge by."""


def is_fit_to_learn_from(*, masked_fraction: float, picks: int) -> bool:
    """Return whether a micrograph counts for the bootstrap: it is mostly clean, and not empty.

    Parameters
    ----------
    masked_fraction
        Area taken out of picking, 0 to 1.
    picks
        Above the threshold of whoever made them.
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
    """Hold out a part of the micrographs, typical in their picks; at least one and never all.

    The few that judge a model also set its threshold: an empty field or one full of junk would
    set it for itself alone. What was held out before stays so, and new ones are added up to the
    fraction.

    Parameters
    ----------
    micrographs
        In the order they landed, at least one of them not held out before.
    threshold
        Score from which on a seed counts.
    held_out_fraction
        Of their number.
    held_out_before
        By earlier runs.
    trained_on_before
        By earlier runs: not held out now, unless there is nothing else to judge by.
    """
    count = len(micrographs)
    held_out = {i for i in range(count) if micrographs[i].path in held_out_before}
    free = [i for i in range(count) if i not in held_out]
    unseen = [i for i in free if micrographs[i].path not in trained_on_before]
    if not held_out and not unseen:
        unseen = free
    wanted = min(max(1, round(count * held_out_fraction)), count - 1)
    more = min(max(0, wanted - len(held_out)), len(free) - 1, len(unseen))
    picked = [sum(score >= threshold for _, _, score in m.seeds) for m in micrographs]
    by_picks = sorted(unseen, key=lambda i: (picked[i], i))
    # Evenly between the poorest and the richest, and neither of them.
    held_out |= {by_picks[(i + 1) * len(unseen) // (more + 1)] for i in range(more)}
    return [
        micrograph.model_copy(update={"held_out": i in held_out})
        for i, micrograph in enumerate(micrographs)
    ]
