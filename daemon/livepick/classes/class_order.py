"""Order of class averages: micrographs, the picks that are taken from each, and their CTF."""

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np

from livepick.classes.when_due import averaged
from livepick.config.schema import Config
from livepick.core.contracts.class_averages import (
    MOST_PARTICLES,
    ClassesOrder,
    OrderedMicrograph,
)
from livepick.core.imaging.picks import Picks
from livepick.ledger.known_ctfs import known_ctfs
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import MicrographRow

__all__ = ["MOST_ROWS", "make_order"]

MOST_ROWS = 500
"""Newest micrographs that are looked at; more are never needed."""

_log = logging.getLogger(__name__)


def make_order(config: Config, ledger: LedgerReader, *, threads: int) -> ClassesOrder | None:
    """Return the order for the newest picks of the session; None if there are none.

    Parameters
    ----------
    config
        Config of the session.
    ledger
        Read access to the micrographs and their picks.
    threads
        Number of CPU threads.

    Raises
    ------
    LedgerError
        The ledger cannot be read.
    """
    model = ledger.model()
    newest = ledger.newest_picked(MOST_ROWS)
    chosen = averaged(newest, None if model is None else model.version)[::-1]
    rows = [row for one in chosen if (row := ledger.get(one.id)) is not None]
    picks = _sampled([(row, ledger.candidates(row.id)) for row in rows], MOST_PARTICLES)
    if not picks:
        return None
    paths = [row.path for row, _ in picks]
    ctfs, faults = known_ctfs(config, paths, ledger)
    for fault in faults:
        _log.warning("class averages: a defocus is left out: %s", fault)
    return ClassesOrder(
        session=config.session.name,
        particle=config.particle,
        model_version=_model_version(
            [row.model_version or 0 for row, _ in picks], None if model is None else model.version
        ),
        first_id=picks[0][0].id,
        last_id=picks[-1][0].id,
        threshold=picks[-1][0].threshold,
        threads=threads,
        micrographs=[
            OrderedMicrograph(
                path=row.path,
                pixel_size_angstrom=row.pixel_size_angstrom or 0.0,
                version=dataclasses.replace(row.version, inode=0),
                ctf=ctfs.get(row.path),
                picks=list(zip(some.x_px.tolist(), some.y_px.tolist(), strict=True)),
            )
            for row, some in picks
        ],
    )


def _model_version(versions: Sequence[int], in_use: int | None) -> int:
    """Return the model that made the picks: the model in use only if all of them are by it.

    While micrographs are picked again, some have picks of an earlier model. The result is then of
    that model, so that it is made again when all picks are by the new one.
    """
    return next((version for version in versions if version != in_use), versions[0])


def _sampled(
    rows: Sequence[tuple[MicrographRow, Picks | None]], most: int
) -> list[tuple[MicrographRow, Picks]]:
    """Return at most about ``most`` picks, the same share of each micrograph.

    They are evenly spaced by score: the best ones alone would look better than the picks are.
    """
    above = [(row, picks.above(row.threshold or 0.0)) for row, picks in rows if picks is not None]
    share = min(1.0, most / max(1, sum(len(picks.score) for _, picks in above)))
    sampled = []
    for row, picks in above:
        wanted = int(share * len(picks.score))
        if wanted and row.pixel_size_angstrom:
            rank = np.linspace(0, len(picks.score) - 1, wanted).round().astype(int)
            sampled.append((row, Picks(picks.x_px[rank], picks.y_px[rank], picks.score[rank])))
    return sampled
