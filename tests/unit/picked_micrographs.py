"""Micrographs with made-up picks, and a ledger that lists them."""

import io
from pathlib import Path

import numpy as np

from livepick.core.formats.cryosparc_cs import write_cs
from livepick.core.formats.picked_micrograph import PickedMicrograph
from livepick.core.imaging.picks import Picks
from livepick.ledger.columns import CTF_FIGURES, QUALITY_FIGURES
from livepick.ledger.output_rows import Measured, MeasuredSummary, Visible

ROOT = Path("/data/avg")
NO_CTF = (None,) * len(CTF_FIGURES)


def picks(*rows):
    """Return picks from rows of x, y and score."""
    table = np.array(rows, dtype=np.float32).reshape(-1, 3)
    return Picks(table[:, 0], table[:, 1], table[:, 2])


def picked(
    *rows, path=ROOT / "a.mrc", shape_px=(300, 400), pixel_size_angstrom=1.5, version=1, box_px=64
):
    """Return a micrograph with picks from rows of x, y and score."""
    return PickedMicrograph(
        Path(path),
        picks(*rows),
        shape_px,
        pixel_size_angstrom,
        diameter_angstrom=box_px * pixel_size_angstrom / 1.5,
        model_version=version,
        model_kind="trained" if version else "blob",
    )


def cs_file(*micrographs, uids=None):
    """Return the cs file of micrographs."""
    file = io.BytesIO()
    write_cs(
        file,
        zip(micrographs, uids or [None] * len(micrographs), strict=True),
        min_distance_angstrom=90,
        path_bytes=max((len(str(one.path).encode()) for one in micrographs), default=0),
    )
    return file.getvalue()


def visible(relative="a.mrc", *, root=ROOT, number=1, version=1, verdict="good", shape=(300, 400)):
    """Return a micrograph whose coordinates belong in the output folder."""
    kind = "trained" if version else "blob"
    return Visible(number, root, Path(relative), 0.5, version, kind, shape, 1.5, verdict)


def measured(
    relative="a.mrc",
    *,
    root=ROOT,
    contrast=4.25,
    ctf=NO_CTF,
    verdict="good",
    reason="",
    pixel_size_angstrom=1.5,
    ctf_source=None,
    ctf_score=None,
):
    """Return a picked micrograph with its figures; a CTF is that of another program."""
    figures = tuple(contrast if name == "contrast" else None for name in QUALITY_FIGURES)
    return Measured(
        root,
        Path(relative),
        12,
        0.5,
        3,
        "trained",
        pixel_size_angstrom,
        figures,
        ctf,
        verdict,
        reason,
        ctf_source or (None if ctf[0] is None else "program"),
        ctf_score,
    )


class LedgerOf:
    """A ledger that lists these micrographs, with what the outputs read of it."""

    def __init__(self, entries=(), *, candidates=None, measured=()):
        self._entries = list(entries)
        self._candidates = candidates or {}
        self._measured = list(measured)

    def visible(self):
        yield from self._entries

    def candidates(self, number):
        return self._candidates.get(number)

    def measured(self, *, until=0):
        yield from self._measured

    def summary_of_measured(self):
        rows = list(self.measured())
        good = [row for row in rows if row.verdict == "good"]
        return MeasuredSummary(
            len(rows),
            tuple(dict.fromkeys(row.pixel_size_angstrom for row in rows)),
            some_have_ctf=any(value is not None for row in rows for value in row.ctf),
            all_have_ctf=bool(rows) and not any(None in row.ctf for row in rows),
            all_good_have_ctf=bool(good) and not any(None in row.ctf for row in good),
            all_ctfs_have_resolution=not any(row.has_ctf and row.ctf[3] is None for row in rows),
            all_ctfs_are_fitted=not any(row.ctf_source == "program" for row in rows),
        )
