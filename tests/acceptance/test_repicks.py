"""Micrographs that cannot be picked again for a newer model keep what they have."""

import shutil

import pytest
from session import QUICK_LISTS, impatient, livepick

from factories import promote, publish_bundle
from livepick.config.yaml_loader import load_config
from livepick.core.formats.relion_star import MODELS_BLOCK
from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.models.registry import MODELS, Models

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


def take_over(session, version):
    """Promote a blob picker that counts as a trained model."""
    config, folder = load_config(session.config), session.state / MODELS
    publish_bundle(
        folder,
        blob_graph(DIAMETER_PX),
        config=config,
        version=version,
        fingerprint=f"other-{version}",
        threshold=0.4 + 0.05 * version,
    )
    promote(Models(folder), version, fingerprint=config.training_fingerprint())


def models_in_list(session):
    """Return the version of the model of each micrograph in RELION's list, by its name."""
    text = session.listed().partition(MODELS_BLOCK)[2]
    rows = [line.split() for line in text.splitlines() if line.startswith("/")]
    return {name.rpartition("/")[2]: int(version) for name, version, _ in rows}


def test_archived_micrographs_keep_their_picks_until_they_are_back(make_session, tmp_path):
    """Each is named with the reason, counted, and picked again when its file is there."""
    session = make_session(picking={"repick": "all"})
    program = impatient(QUICK_LISTS | {"picking.settle_jobs.RETRY_DELAYS_SECONDS": (0.5, 1.0)})
    names = session.drop(5)
    session.start(program=program)
    session.until(lambda: session.picked() == 5, "first picks")
    files = {name: (session.output / f"{name}_autopick.star").read_bytes() for name in names}
    archive = tmp_path / "archive"
    archive.mkdir()
    for name in names[:2]:
        shutil.move(session.landing / f"{name}.mrc", archive)

    take_over(session, 1)
    session.until(lambda: session.status()["repicks_failed"] == 2, "failures")
    session.until(lambda: sorted(models_in_list(session).values()) == [0, 0, 1, 1, 1], "the list")

    assert session.counts().picked == 5
    for name in names[:2]:
        assert (session.output / f"{name}_autopick.star").read_bytes() == files[name]
        assert models_in_list(session)[f"{name}.mrc"] == 0
    failures = session.status()["repick_failures"]
    assert {failure["micrograph"] for failure in failures} == {f"{n}.mrc" for n in names[:2]}
    assert {failure["reason"] for failure in failures} == {"vanished"}
    assert session.status()["failures"] == []
    failures = 'repick_failures_total{reason="vanished"}'
    session.until(lambda: session.figure(failures) == 2, "the counter")
    session.until(lambda: session.figure("repick_failed_micrographs") == 2, "the gauge")
    session.until(lambda: "Not picked again" in session.get("/"), "the page")
    views = [session.get(f"/micrographs/{number}") for number in range(1, 6)]
    assert sum("Not picked again" in view for view in views) == 2
    assert "could not be picked again" in livepick("status", session.config).stdout

    shutil.move(archive / f"{names[0]}.mrc", session.landing)
    session.until(lambda: session.status()["repicks_failed"] == 1, "the return")
    assert session.stop() == 0
    shutil.move(archive / f"{names[1]}.mrc", session.landing)
    session.start(program=program)
    session.until(lambda: set(models_in_list(session).values()) == {1}, "the last")
    assert session.status()["repicks_failed"] == 0


WAIT = """\
import pathlib, time
from livepick.ledger.writer import LedgerWriter
record, folder = LedgerWriter.picked, pathlib.Path({folder!r})
def record_and_wait(self, claim, result):
    record(self, claim, result)
    while claim.repick and folder.exists():
        time.sleep(0.05)
    if claim.repick:
        LedgerWriter.picked = record
LedgerWriter.picked = record_and_wait
"""
"""After the first micrograph that is picked again, picking waits until the folder is gone."""


def test_a_share_lost_while_all_are_picked_again_takes_nothing_away(make_session):
    """The others wait for it, and all are picked by the new model when it is back."""
    session = make_session(picking={"repick": "all"})
    names = session.drop(12)
    *python, code = impatient(QUICK_LISTS)
    session.start(program=(*python, WAIT.format(folder=str(session.landing)) + code))
    session.until(lambda: session.picked() == 12, "first picks")
    away = session.landing.with_name("away")

    take_over(session, 1)
    session.until(lambda: session.counts().stale, "micrographs to pick again")
    session.landing.rename(away)
    session.until(lambda: "not available" in session.log.read_text(), "the loss")

    counts = session.counts()
    assert (counts.failed, counts.queued) == (0, 0)
    assert len(list(session.output.glob("*_autopick.star"))) == 12
    away.rename(session.landing)
    session.until(
        lambda: models_in_list(session) == {f"{n}.mrc": 1 for n in names}, "the end", seconds=120
    )
    assert session.status()["repicks_failed"] == 0
    assert ": failed" not in session.log.read_text()
