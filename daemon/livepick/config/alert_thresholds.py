"""Limits beyond which the page and the alerts warn an operator.

Both take their limits from here, and those of disks from ``livepick.host.disks``, so that they
agree on what is a fault and on how severe it is.
"""

LATEST = 50
"""Number of micrographs that "now" refers to: those that landed last."""

SESSION_SECONDS = 6 * 3600.0
"""A session without a micrograph for this long is over: nobody wants a call at night about it."""

QUIET_SECONDS = 900.0
"""A microscope changes its grid square within a quarter of an hour."""

QUIET_GAPS = 10
"""A pause of this many usual gaps between micrographs is not due to chance either."""

GAPS = 25
"""Number of latest gaps from which the usual gap is computed; EPU delivers in bursts."""

LAG_SECONDS = 600.0
"""Picks that arrive this late no longer help to steer the session."""

EMPTY_IN_ROW = 10
"""This many micrographs in a row without a pick are not due to chance."""

FAILED_FRACTION = 0.05
"""Fraction of the latest micrographs above which failures are no longer isolated cases."""

FAILED_SINGLE = 2
"""Up to this many failures are isolated cases, however few micrographs there are."""

BAD_FRACTION = 0.2
"""Fraction of the latest judged micrographs above which bad ones are not isolated cases."""

BAD_SINGLE = 2

DOUBTFUL_FRACTION = 0.5
"""Same for doubtful and bad micrographs together; higher, because a doubt is not yet a fault."""

DOUBTFUL_SINGLE = 4
