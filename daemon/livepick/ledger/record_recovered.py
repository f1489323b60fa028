"""Recording of micrographs whose picks were read back from the output folder."""

import dataclasses

from livepick.core.formats.file_version import FileVersion
from livepick.ledger.columns import (
    CTF_FIGURES,
    NEW_PRIORITY,
    QUALITY_FIGURES,
    REPICK_PRIORITY,
    stored_version,
    version_of,
)
from livepick.ledger.database import Database
from livepick.ledger.rows import RecoveredPicks

__all__ = ["record_recovered"]


def record_recovered(
    database: Database, found: RecoveredPicks, *, repick: bool, now: float
) -> bool:
    """Give a micrograph the picks from its file; call it inside a transaction.

    Parameters
    ----------
    database
        The ledger.
    found
        The micrograph.
    repick
        True to queue it behind all others, so that it gets its candidates back.
    now
        Unix seconds.

    Returns
    -------
    bool
        False if the ledger knows better: the micrograph has other content, or is being picked.
    """
    rows = database.rows(
        "select * from micrograph where root = ? and relative = ?",
        str(found.root),
        str(found.relative),
    )
    if rows and (
        rows[0]["state"] != "queued"
        or rows[0]["picked_content"] is not None
        or version_of(rows[0]) != found.version
    ):
        return False
    figures: dict[str, object] = {
        "state": "queued" if repick else "picked",
        "priority": REPICK_PRIORITY if repick else NEW_PRIORITY,
        "queued_at": now,
        "changed_at": now,
        "picked_at": found.picked_at,
        "model_version": found.model_version,
        "model_kind": found.model_kind,
        "threshold": found.threshold,
        "pick_count": len(found.picks),
        "pixel_size_angstrom": found.pixel_size_angstrom,
        "height_px": found.shape_px[0],
        "width_px": found.shape_px[1],
        **{name: getattr(found.quality, name) for name in QUALITY_FIGURES},
        "quality_verdict": found.verdict,
        "quality_reason": found.reason,
    }
    if found.ctf is not None:
        figures |= dict(zip(CTF_FIGURES, dataclasses.astuple(found.ctf), strict=True))
        figures["ctf_source"] = found.ctf_source
    if rows:
        micrograph_id = rows[0]["id"]
        columns = ", ".join(f"{name} = ?" for name in figures)
        database.change(
            f"update micrograph set {columns}, picked_content = content where id = ?",  # noqa: S608
            *figures.values(),
            micrograph_id,
        )
    else:
        row = {
            "root": str(found.root),
            "relative": str(found.relative),
            **stored_version(found.version or FileVersion(0, 0, 0)),
            "landed_at": found.picked_at,
            "picked_content": 1,
            **figures,
        }
        micrograph_id = database.insert("micrograph", row)
    database.change(
        "insert or replace into picks values (?, ?)", micrograph_id, found.picks.to_bytes()
    )
    return True
