"""Limits beyond which the page and the alerts warn an operator.

Both take their limits from here, and those of disks from ``livepick.host.disks``, so that they
agree on what is a fault and on how severe it is.
"""

LATEST = 50
"""Number of the latest micrographs that describe the current state."""

SESSION_SECONDS = 6 * 3600.0
"""A session without a new micrograph for this long is over, and raises no alert."""

PROBABLY_OVER_SECONDS = 2 * 3600.0
"""After this much silence a session is probably over, and not stalled."""

QUIET_SECONDS = 900.0
"""Shortest pause that counts as silence; a microscope changes its grid square in less time."""

QUIET_GAPS = 10
"""Shortest pause that counts as silence, in usual gaps between micrographs; both must pass."""

GAPS = 25
"""Number of the latest gaps from which the usual gap is computed; EPU delivers in bursts."""

LAG_SECONDS = 600.0
"""Picks that arrive this late no longer help to steer the session."""

EMPTY_IN_ROW = 10
"""This many micrographs in a row without a pick are a fault, not chance."""

FAILED_FRACTION = 0.05
"""Fraction of the latest micrographs above which failures are no longer isolated cases."""

FAILED_SINGLE = 2
"""Up to this many failures are isolated cases, however few micrographs there are."""

BAD_FRACTION = 0.2
"""Fraction of the latest judged micrographs above which bad ones are not isolated cases."""

BAD_SINGLE = 2
"""Up to this many bad micrographs are isolated cases."""

DOUBTFUL_FRACTION = 0.5
"""Same for doubtful and bad micrographs together; higher, because a doubt is not yet a fault."""

DOUBTFUL_SINGLE = 4
"""Up to this many doubtful and bad micrographs together are isolated cases."""

CTF_FITS = 10
"""Fewest CTF fits of the latest micrographs that are judged."""

CTF_NOT_TRUSTED_FRACTION = 0.5
"""Fraction of these above which it is not single micrographs whose fit does not hold."""

CLASS_GOOD_FRACTION = 0.5
"""Fraction of the picks in good class averages below which most picks may be junk."""

CLASS_NOISE_FRACTION = 0.5
"""Fraction of the picks in class averages that cannot be told from noise, from which that is the
reason why few are in good ones."""

CLASS_JUDGED_PARTICLES = 1000
"""Fewest particles of class averages that are judged by it: classes of a few hundred are noisy."""

UNREADABLE = ("unreadable", "broken_link", "too_deep")
"""Kinds of files left out (``livepick.ingest.skipped``) that are a fault whenever they occur."""

NOT_TAKEN = ("waiting", "link", "empty", "not_included", "excluded", "stack", "other_format")
"""Kinds of files left out that may be the micrographs, if their number grows and none is taken."""
