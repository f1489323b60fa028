"""Extraction by RELION in a session whose micrographs are picked again, with a real ledger."""

import dataclasses
import time
from pathlib import Path

import numpy as np
import pytest

from factories import make_config, make_result
from livepick.config.output_sections import Output
from livepick.core.formats.coordinates import read_coordinates
from livepick.core.formats.file_version import FileVersion
from livepick.core.formats.star import star_tables
from livepick.core.imaging.picks import Picks
from livepick.picking import finality, relion_project
from livepick.picking.exports import make_outputs
from livepick.picking.relion_project import PIPELINE

NAMES = [f"Movies/{letter}.mrc" for letter in "abcd"]
LIST = "CtfFind/job003/micrographs_ctf.star"


@pytest.fixture(autouse=True)
def _in_a_hurry(monkeypatch):
    monkeypatch.setattr(finality, "LOOK_SECONDS", 0.0)
    monkeypatch.setattr(relion_project, "LOOK_SECONDS", 0.0)


@pytest.fixture
def session(tmp_path, ledger, clock):
    """Return a function that makes a session of four micrographs in a RELION project."""
    (tmp_path / "project" / "CtfFind" / "job003").mkdir(parents=True)
    (tmp_path / "project" / PIPELINE).touch()

    def make(*, repick="provisional", watched="project/MotionCorr/job002", hours_ago=0, **relion):
        clock.now = time.time() - 3600 * hours_ago
        return Session(tmp_path, ledger, repick, tmp_path / watched, relion)

    return make


class Session:
    """A session, and a continued Extract job of RELION on its coordinates."""

    def __init__(self, folder, ledger, repick, watched, relion):
        self.project, self.ledger, self.watched = folder / "project", ledger, watched
        self.job = self.project / "External" / "livepick"
        config = make_config(
            folder,
            watch={"directories": [watched]},
            picking={"repick": repick},
            output={"relion": {"project": self.project, **relion}},
        )
        self._make = lambda: make_outputs(
            lambda: config, ledger, roots=[watched], failed=lambda: None
        )
        self.outputs = self._make()
        self.extracted = {}
        for name in NAMES:
            ledger.arrivals.landed(watched, Path(name), FileVersion(1, 1, 1), 0.0)

    def pick(self, count=10, *, version=0):
        """Pick micrographs as the dispatch loop does; a version's picks are at its own places."""
        for claim in self.ledger.claim(count):
            at = np.array([10, 20], dtype=np.float32) + 100 * version
            found = dataclasses.replace(
                make_result(model_version=version, model_kind="trained" if version else "blob"),
                picks=Picks(at, at, np.array([0.9, 0.8], dtype=np.float32)),
            )
            self.outputs.write(claim, found)
            self.ledger.picked(claim, found)
        self.outputs.sync(now=True)
        return self

    def promote(self, version=1):
        """Queue the blob picker's micrographs for a trained model."""
        self.ledger.session.run_changed(version, "f", "promoted")
        self.ledger.requeue.stale(version, repick="provisional", threshold=0.5)

    def restart(self):
        """Start the service again."""
        self.outputs = self._make()
        self.outputs.begin()
        self.outputs.sync(now=True)

    def listed(self):
        """Return the coordinates file of each micrograph in the list."""
        (table, *_) = star_tables((self.job / "autopick.star").read_text())
        return {row[0]: self.project / row[1] for row in table.rows}

    def extract(self):
        """Extract as RELION does: a micrograph that has been extracted is never read again."""
        for name, place in self.listed().items():
            if place.exists() and name not in self.extracted:
                self.extracted[name] = tuple(read_coordinates(place).x_px.tolist())
        return self.extracted


def in_project(*names):
    return [f"MotionCorr/job002/{name}" for name in names]


@pytest.mark.parametrize("publish", [None, "final"])
def test_two_extractions_give_each_final_particle_once(session, publish):
    """``final`` is the default for a project that the config names."""
    session = session(publish=publish).pick()
    assert session.extract() == {}
    assert not (session.job / "Movies").exists()

    session.promote()
    session.pick(2, version=1)
    assert session.extract() == dict.fromkeys(in_project(*NAMES[:2]), (110, 120))
    session.pick(2, version=1)

    assert session.extract() == dict.fromkeys(in_project(*NAMES), (110, 120))


def test_with_all_an_extraction_keeps_provisional_particles(session):
    """The reason for ``final``."""
    session = session(publish="all").pick()
    session.extract()
    session.promote()
    session.pick(version=1)

    assert session.extract() == dict.fromkeys(in_project(*NAMES), (10, 20))


def test_all_is_the_default_of_a_project_that_the_config_does_not_name(tmp_path):
    assert Output.model_validate({"directory": tmp_path}).relion.publishes_all
    given = {"directory": tmp_path, "relion": {"project": tmp_path}}
    assert not Output.model_validate(given).relion.publishes_all


def test_other_formats_get_all_picks_at_once(session, tmp_path):
    """And so do the tables of figures."""
    session = session()
    session.pick()
    assert len((tmp_path / "out" / "micrographs.csv").read_text().splitlines()) == 1 + len(NAMES)


@pytest.mark.parametrize("state", ["failed", "kept_aside"])
def test_provisional_picks_are_final_when_training_has_ended_without_a_model(session, state):
    """Also those that are made after it."""
    session = session()
    session.pick(2)
    session.ledger.session.run_changed(1, "f", "running")
    session.outputs.sync(now=True)
    assert session.extract() == {}

    session.ledger.session.run_changed(1, "f", state, reason="test")
    session.outputs.sync(now=True)
    assert session.extract() == dict.fromkeys(in_project(*NAMES[:2]), (10, 20))
    session.pick(2)
    assert len(session.extract()) == len(NAMES)


@pytest.mark.parametrize("training", [False, True])
def test_provisional_picks_are_final_when_the_session_has_ended(session, training):
    """A training that is still running would make better ones."""
    session = session(hours_ago=6.1)
    if training:
        session.ledger.session.run_changed(1, "f", "running")
    session.pick()

    assert len(session.extract()) == (0 if training else len(NAMES))


def test_picks_that_are_never_picked_again_are_final(session):
    session = session(repick="none").pick()
    assert session.extract() == dict.fromkeys(in_project(*NAMES), (10, 20))


def test_a_restart_withholds_the_same_picks(session):
    """And writes again what is missing of the others."""
    session = session().pick()
    session.promote()
    session.pick(1, version=1)
    (written,) = session.listed().values()
    written.unlink()

    session.restart()

    assert session.extract() == dict.fromkeys(in_project(NAMES[0]), (110, 120))


def test_files_follow_the_names_of_a_list_that_comes_later(session, tmp_path):
    """Every file that the list names is there, also if RELION names micrographs after picking."""
    (tmp_path / "data").mkdir()
    session = session(watched="data", micrographs_star=LIST, publish="all").pick()
    (session.project / "Micrographs").symlink_to(tmp_path / "data")
    names = [f"Micrographs/{name}" for name in NAMES]
    rows = "".join(f"{name} 1\n" for name in names)
    (session.project / LIST).write_text(
        f"\ndata_micrographs\n\nloop_\n_rlnMicrographName #1\n_rlnOpticsGroup #2\n{rows}\n"
    )

    session.outputs.sync(now=True)

    assert session.extract() == dict.fromkeys(names, (10, 20))
    assert "Micrographs/Movies/a.mrc" in (session.job / "micrographs.star").read_text()
