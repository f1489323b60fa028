"""Recording of the CTF of micrographs: fitted here, or measured by another program.

What another program has written takes precedence, and replaces a fitted CTF. A fit that cannot be
trusted is recorded without figures.
"""

import dataclasses
from collections.abc import Callable

from livepick.core.formats.header import printable
from livepick.core.imaging.ctf import CtfFit
from livepick.core.imaging.quality import CtfFigures
from livepick.core.imaging.quality_limits import judge
from livepick.ledger.columns import CTF_FIGURES, quality_of
from livepick.ledger.database import Database
from livepick.ledger.person_verdicts import overruled
from livepick.ledger.rows import CtfOutcome

__all__ = ["CtfRecords", "outcome_of"]


class CtfRecords:
    """Writes the CTF columns; part of the one writer.

    Parameters
    ----------
    database
        The ledger.
    clock
        Function that returns unix seconds.

    Raises
    ------
    LedgerWriteError
        From every method: nothing was changed; a later try may succeed.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def found(self, micrograph_id: int, content: int, figures: CtfFigures) -> bool:
        """Record CTF figures from another program, in place of fitted ones; update the verdict.

        Returns
        -------
        bool
            False if nothing was recorded: the content has changed, has no picks, or has CTF
            figures of a program already.
        """
        with self._database.transaction():
            return self._set(micrograph_id, content, figures, ctf_source="program")

    def fitted(self, micrograph_id: int, content: int, fit: CtfFit, settings: str) -> bool:
        """Record livepick's own fit; figures only if it is trusted.

        Parameters
        ----------
        micrograph_id, content
            Micrograph, and its content that was fitted.
        fit
            The fit.
        settings
            Settings of the microscope, as the caller writes them; see ``forget_fits``.

        Returns
        -------
        bool
            False if nothing was recorded: the content has changed, has no picks, or has CTF figures
            of another program.
        """
        figures = None if fit.ctf is None else CtfFigures.of(fit.ctf)
        with self._database.transaction():
            return self._set(
                micrograph_id,
                content,
                figures,
                ctf_source="fitted" if figures else None,
                ctf_outcome=outcome_of(fit),
                ctf_score=fit.score,
                ctf_reason=printable(fit.reason) or None,
                ctf_settings=settings,
            )

    def failed(self, micrograph_id: int, content: int, reason: str, settings: str) -> bool:
        """Record the reason that there is no fit. Parameters and return value: as in ``fitted``."""
        with self._database.transaction():
            return self._set(
                micrograph_id,
                content,
                None,
                ctf_source=None,
                ctf_outcome="failed",
                ctf_score=None,
                ctf_reason=printable(reason),
                ctf_settings=settings,
            )

    def forget_fits(self, settings: str) -> int:
        """Forget the fits with other settings of the microscope, and those that failed.

        They are due again. Returns their number.
        """
        which = "ctf_outcome is not null and (ctf_settings is not ? or ctf_outcome = 'failed')"
        figures = ", ".join(f"{name} = null" for name in CTF_FIGURES)
        with self._database.transaction():
            self._database.change(
                f"update micrograph set {figures}, ctf_source = null, changed_at = ?"  # noqa: S608
                f" where {which} and ctf_source = 'fitted'",
                self._clock(),
                settings,
            )
            return self._database.change(
                "update micrograph set ctf_outcome = null, ctf_score = null, ctf_reason = null,"  # noqa: S608
                f" ctf_settings = null where {which}",
                settings,
            )

    def forget_untrusted(self) -> int:
        """Forget that micrographs were fitted without a result. Returns their number."""
        with self._database.transaction():
            return self._database.change(
                "update micrograph set ctf_outcome = null, ctf_score = null, ctf_reason = null,"
                " ctf_settings = null, changed_at = ?"
                " where ctf_outcome is not null and ctf_outcome != 'trusted'",
                self._clock(),
            )

    def _set(
        self, micrograph_id: int, content: int, figures: CtfFigures | None, **columns: object
    ) -> bool:
        """Set the CTF of a picked content, unless it is that of another program."""
        rows = self._database.rows(
            "select * from micrograph where id = ? and content = ?"
            " and picked_content is content and ctf_source is not 'program'",
            micrograph_id,
            content,
        )
        quality = quality_of(rows[0]) if rows else None
        if quality is None:
            return False
        verdict, why = overruled(rows[0], *judge(quality, figures))
        values = dataclasses.astuple(figures) if figures else (None,) * len(CTF_FIGURES)
        columns |= dict(zip(CTF_FIGURES, values, strict=True))
        columns |= {"quality_verdict": verdict, "quality_reason": why, "changed_at": self._clock()}
        assignments = ", ".join(f"{name} = ?" for name in columns)
        self._database.change(
            f"update micrograph set {assignments} where id = ?",  # noqa: S608 - constants
            *columns.values(),
            micrograph_id,
        )
        return True


def outcome_of(fit: CtfFit) -> CtfOutcome:
    """Return the outcome of a fit that has ended."""
    if not fit.is_possible:
        return "not_fitted"
    return "not_trusted" if fit.ctf is None else "trusted"
