"""CTF fits of picked micrographs, with threads for workers and a ledger on disk."""

import dataclasses
import threading
from pathlib import Path

import pytest
from dispatch_session import ROOT, find_two

from livepick.core.contracts.job import CtfJob, WorkerDiedError
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.ctf import Ctf, CtfFit
from livepick.core.imaging.quality import CtfFigures
from livepick.errors import ContentError, EngineError
from livepick.ledger.inbox import CtfFound
from livepick.picking import ctf_fitting
from livepick.picking import engine as engines
from livepick.picking.ctf_fitting import CtfFitting
from livepick.picking.fit_ctf import fit_ctf

JOB = CtfJob(
    Path("/nowhere/mic.mrc"), FileVersion(1, 1, 1), 3.1, voltage_kv=300.0,
    spherical_aberration_mm=2.7, amplitude_contrast=0.07,
)  # fmt: skip
FIGURES = CtfFigures(9_000.0, 8_500.0, 15.0, 3.5)


def trusted(job):
    ctf = Ctf(
        defocus_u_angstrom=12_000.0,
        defocus_v_angstrom=11_000.0,
        astigmatism_angle_degrees=30.0,
        voltage_kv=job.voltage_kv,
        spherical_aberration_mm=job.spherical_aberration_mm,
        amplitude_contrast=job.amplitude_contrast,
        fit_resolution_angstrom=4.0,
    )
    return CtfFit(ctf=ctf, score=0.4)


def not_trusted(_):
    return CtfFit(ctf=None, score=0.05, reason="no Thon rings above the noise")


@pytest.fixture
def fits(session, make_config):
    """Return a function that makes a session whose CTFs are fitted by a function."""
    config = {"now": make_config()}

    def make(fit, **kwargs):
        def make_fitting(run):
            return CtfFitting(
                lambda: config["now"],
                ledger=run.ledger,
                engine=run.engine,
                outputs=run.outputs,
                instruments=run.instruments,
                finished=run.inbox.put,
                unexpected=run.unexpected,
                work=fit,
            )

        return session(make_fitting=make_fitting, **kwargs)

    make.edit = lambda **sections: config.update(now=make_config(**sections))
    return make


def fitted(run):
    """Return the outcomes of all fits."""
    return {name: row.ctf_outcome for name, row in run.rows().items() if row.ctf_outcome}


def test_picked_micrographs_are_fitted(fits):
    """The figures are in the ledger and are counted, and so are fits that do not hold."""
    run = fits(lambda job: (trusted if job.path.name == "a.mrc" else not_trusted)(job))
    run.land("a.mrc", "b.mrc").start()
    run.until(lambda: fitted(run) == {"a.mrc": "trusted", "b.mrc": "not_trusted"})
    run.stop()
    rows = run.rows()
    assert rows["a.mrc"].ctf == CtfFigures(12_000.0, 11_000.0, 30.0, 4.0)
    assert rows["b.mrc"].ctf is None
    calls = run.instruments.calls
    assert (calls["ctf_fitted", "trusted"], calls["ctf_fitted", "not_trusted"]) == (1, 1)
    assert calls["ctf_found"] == 1


def test_what_cannot_be_fitted_is_counted_apart_and_said_once(fits, caplog):
    """Pixels that are too large are no failure of the fit, and the file is not read for it."""
    caplog.set_level("INFO")
    large = [dataclasses.replace(JOB, path=Path(f"/nowhere/{n}.mrc")) for n in range(2)]
    outcomes = {job.path.name: fit_ctf(job) for job in large}
    run = fits(lambda job: outcomes[job.path.name])
    run.land(*outcomes).start()
    run.until(lambda: fitted(run) == dict.fromkeys(outcomes, "not_fitted"))
    run.stop()
    assert run.instruments.calls["ctf_fitted", "not_fitted"] == 2
    assert caplog.text.count("pixels of 3.1 Å are too large") == 1
    assert run.rows()["0.mrc"].ctf_reason.startswith("pixels of 3.1 Å are too large")


def test_fits_without_figures_are_forgotten_when_fits_are_off(fits):
    """The remedy of fits that do not hold clears what was said about them."""
    run = fits(lambda job: (trusted if job.path.name == "a.mrc" else not_trusted)(job))
    run.land("a.mrc", "b.mrc").start()
    run.until(lambda: len(fitted(run)) == 2)
    fits.edit(micrograph={"ctf": "off"})
    run.until(lambda: fitted(run) == {"a.mrc": "trusted"})
    fits.edit()
    run.until(lambda: fitted(run) == {"a.mrc": "trusted", "b.mrc": "not_trusted"})
    run.stop()


def test_picks_come_first(fits):
    """With one worker, no fit begins before the last of many waiting micrographs is picked."""
    order = []

    def pick(job):
        order.append(f"pick {job.path.name}")
        return find_two(job)

    def fit(job):
        order.append(f"fit {job.path.name}")
        return trusted(job)

    names = [f"{number}.mrc" for number in range(8)]
    run = fits(fit, work=pick, engine=engines.threads(1)).land(*names).start()
    run.until(lambda: len(fitted(run)) == 8)
    run.stop()
    assert [each.partition(" ")[0] for each in order] == ["pick"] * 8 + ["fit"] * 8


def test_there_are_at_most_as_many_fits_as_workers(fits):
    """Those that begin later take the place of those that end."""
    lock, now, most = threading.Lock(), [0], [0]
    go_on = threading.Event()

    def fit(job):
        with lock:
            now[0] += 1
            most[0] = max(most[0], now[0])
        go_on.wait(90)
        with lock:
            now[0] -= 1
        return trusted(job)

    run = fits(fit, engine=engines.threads(4)).land(*(f"{n}.mrc" for n in range(9))).start()
    run.until_counts(picked=9)
    run.until(lambda: now[0] == 4)
    go_on.set()
    run.until(lambda: len(fitted(run)) == 9)
    run.stop()
    assert most == [4]


def test_a_fit_that_fails_leaves_the_micrograph_alone(fits, caplog):
    """It is counted, and logged once for each kind of error; a bug is counted as one."""

    def fit(job):
        if job.path.name == "bug.mrc":
            raise ZeroDivisionError
        raise ContentError(f"{job.path.name}: nothing", "Look at it.")

    run = fits(fit).land("a.mrc", "b.mrc", "bug.mrc").start()
    run.until(lambda: list(fitted(run).values()) == ["failed"] * 3)
    run.stop()
    assert {row.state for row in run.rows().values()} == {"picked"}
    assert "nothing" in run.rows()["a.mrc"].ctf_reason
    assert run.instruments.calls["ctf_fitted", "failed"] == 3
    assert caplog.text.count("the CTF cannot be fitted: ") == 2
    assert run.unexpected.latest is not None


def test_what_may_pass_is_tried_again(fits, monkeypatch):
    """A worker that was killed counts once; without workers, a micrograph stays due."""
    monkeypatch.setattr(ctf_fitting, "RETRY_SECONDS", 0.0)
    monkeypatch.setattr(ctf_fitting, "ENGINE_PAUSE_SECONDS", 0.0)
    errors = [
        EngineError("no workers", "Wait."),
        EngineError("no workers", "Wait."),
        WorkerDiedError("outside", "it was killed"),
    ]

    def fit(job):
        if errors:
            raise errors.pop(0)
        return trusted(job)

    run = fits(fit).land("a.mrc").start()
    run.until(lambda: fitted(run) == {"a.mrc": "trusted"})
    run.stop()
    assert run.instruments.calls["ctf_fitted", "failed"] == 0


def test_a_restart_fits_what_is_missing(fits, session):
    """Also what was picked by a version that fitted nothing, and what failed before."""
    before = session().land("a.mrc", "b.mrc").start()
    before.until_counts(picked=2)
    row = before.rows()["a.mrc"]
    before.stop()
    before.ledger.ctf.failed(row.id, row.content, "a.mrc: gone", "300 kV, 2.7 mm, 0.07")
    before.ledger.database.close()

    run = fits(trusted).start()
    run.until(lambda: fitted(run) == {"a.mrc": "trusted", "b.mrc": "trusted"})
    run.stop()


def test_off_fits_nothing_until_it_is_edited(fits):
    """An edit takes effect at once."""
    fits.edit(micrograph={"ctf": "off"})
    run = fits(trusted).land("a.mrc").start()
    run.until_counts(picked=1)
    assert fitted(run) == {}
    fits.edit(micrograph={"ctf": "fit"})
    run.until(lambda: fitted(run) == {"a.mrc": "trusted"})
    run.stop()


def test_an_edit_of_the_microscope_fits_again(fits):
    """The defocus depends on the voltage."""
    volts = []

    def fit(job):
        volts.append(job.voltage_kv)
        return trusted(job)

    run = fits(fit).land("a.mrc").start()
    run.until(lambda: fitted(run) == {"a.mrc": "trusted"})
    fits.edit(microscope={"voltage_kv": 200})
    run.until(lambda: volts == [300, 200] and fitted(run) == {"a.mrc": "trusted"})
    run.stop()


def test_the_file_of_another_program_replaces_a_fit(fits):
    """Its figures do not count twice, and nothing is fitted again."""
    run = fits(trusted).land("a.mrc").start()
    run.until(lambda: fitted(run) == {"a.mrc": "trusted"})
    row = run.rows()["a.mrc"]
    run.inbox.put(CtfFound(row.id, row.content, FIGURES))
    run.until(lambda: run.rows()["a.mrc"].ctf == FIGURES)
    run.stop()
    assert run.rows()["a.mrc"].ctf_source == "program"
    assert run.instruments.calls["ctf_found"] == 1
    assert (ROOT / "a.mrc") not in run.ledger.reader.fitted_ctfs()


def test_some_fits_are_made_while_micrographs_are_picked_again(fits):
    """That may take hours, and the operator looks at the latest micrographs meanwhile."""
    order = []

    def pick(job):
        order.append("pick")
        return find_two(job)

    def fit(job):
        order.append("fit")
        return trusted(job)

    fits.edit(micrograph={"ctf": "off"})
    count = 4 * ctf_fitting.REPICKS_PER_FIT
    names = [f"{number:02}.mrc" for number in range(count)]
    first = fits(fit, work=pick, engine=engines.threads(1)).land(*names).start()
    first.until_counts(picked=count)
    first.stop()
    first.ledger.requeue.stale(1, repick="all", threshold=0.5)
    first.ledger.database.close()

    order.clear()
    fits.edit(micrograph={"ctf": "fit"})
    run = fits(fit, work=pick, engine=engines.threads(1)).start()
    run.until(lambda: len(fitted(run)) == count)
    run.stop()
    during = order[: len(order) - order[::-1].index("pick")]
    assert 1 <= during.count("fit") <= count / ctf_fitting.REPICKS_PER_FIT
