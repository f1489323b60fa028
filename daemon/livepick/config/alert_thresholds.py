"""From where on an operator is told, on the page and by an alert.

Both have their limits from here, and those of disks from ``livepick.host.disks``: what one calls a
fault the other does too, and as gravely.
"""

LATEST = 50
"""Micrographs that "now" means: those that landed last."""

SESSION_SECONDS = 6 * 3600.0
"""Without a micrograph for so long a session is over: nobody wants a call at night about it."""

QUIET_SECONDS = 900.0
"""A microscope changes its grid square within a quarter of an hour."""

QUIET_GAPS = 10
"""So many usual gaps without a micrograph are no chance either."""

GAPS = 25
"""Between so many last micrographs the usual gap is taken; EPU delivers in bursts."""

LAG_SECONDS = 600.0
"""Picks that come so late no longer help to steer the session."""

EMPTY_IN_ROW = 10
"""So many micrographs without a pick are no chance."""

FAILED_FRACTION = 0.05
"""Of the latest, over which failures are no single files any more."""

FAILED_SINGLE = 2
"""So many are single ones, however few micrographs there are."""

BAD_FRACTION = 0.2
"""Of the latest that are judged, over which bad micrographs are no single ones any more."""

BAD_SINGLE = 2

DOUBTFUL_FRACTION = 0.5
"""Of the latest that are judged, if the bad ones count too: a doubt is no more than that."""

DOUBTFUL_SINGLE = 4
