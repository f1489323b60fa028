"""CTF fits of the latest micrographs, as far as they tell something of their own.

A micrograph without picks, or one that is bad already, is left out: its picks or its verdict report
that, and an empty hole has no Thon rings. So is one whose CTF another program has measured.
"""

from collections.abc import Iterable, Sequence

from livepick.ledger.rows import MicrographRow

__all__ = ["judged_fits"]


def judged_fits(latest: Iterable[MicrographRow]) -> Sequence[MicrographRow]:
    """Return the micrographs whose CTF fit has an outcome, and says something about the session."""
    return [
        row
        for row in latest
        if row.ctf_outcome is not None
        and row.ctf_source != "program"
        and row.pick_count
        and row.quality_verdict != "bad"
    ]
