"""Nodes of a cluster that do not fit a session, that fail, come late, or serve several sessions."""

import dataclasses
import html
import sys

import mrcfile
import numpy as np
import psutil
import pytest
from cluster import Cluster
from disc_micrographs import write_disc_micrograph
from machine import Machine
from session import impatient, livepick

from livepick.core.imaging.ctf_fit import fit_ctf
from livepick.core.imaging.quality import CtfFigures

pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

pytestmark = pytest.mark.slow

SERVICE = impatient(
    {
        "picking.cluster.nodes.FIRST_PAUSE_SECONDS": 2.0,
        "picking.cluster.nodes.LONGEST_PAUSE_SECONDS": 2.0,
    }
)
"""A service that asks a node again sooner."""

OTHER_VERSION = """\
import livepick.cli, livepick.picking.cluster.scheduler as scheduler, sys
livepick.__version__ = "0.0.1"
sys.exit(livepick.cli.main())
"""
"""A worker whose answer to the service is another version; its own check of the scheduler is as if
both had been installed."""


@pytest.fixture(scope="module")
def pool(tmp_path_factory):
    """Return a cluster of one worker, for all tests that leave it as it is."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_scheduler()
        cluster.start_worker()
        yield cluster
    finally:
        cluster.end()


@pytest.fixture
def visitor(pool):
    """Return a function that lets another worker join, which ends with the test."""
    joined = []

    def join(**how):
        joined.append(pool.start_worker(**how))
        return joined[-1]

    yield join
    for worker in joined:
        pool.kill(worker)


@pytest.fixture
def machine(needs_machine):
    """Return another machine."""
    machine = Machine()
    yield machine
    machine.end()


def nodes(session, state):
    """Return the number of nodes in a state, according to ``/metrics``."""
    return session.figure(f'cluster_nodes{{state="{state}"}}')


def said(session, *words):
    """Wait until the page and ``livepick status`` say a sentence with these words."""

    def is_said():
        problems = session.status()["problems"]
        sentences = [f"{problem['sentence']} {problem['remedy']}" for problem in problems]
        return any(all(word in sentence for word in words) for sentence in sentences)

    def is_shown():
        page = html.unescape(session.get("/"))
        return all(word in page for word in words)

    session.until(is_said, " ".join(words))
    session.until(is_shown, f"{' '.join(words)} on the page")


def land_together(session, count, *, first):
    """Let micrographs land at one moment, so that all nodes get some of them."""
    made = session.folder / "made"
    made.mkdir()
    names = [f"mic_{number:04d}.mrc" for number in range(first, first + count)]
    for number, name in enumerate(names, first):
        write_disc_micrograph(made / name, seed=number)
    for name in names:
        (made / name).rename(session.landing / name)


def test_nodes_without_the_share_or_of_another_version_are_refused(
    pool, visitor, machine, make_session
):
    """The watched folder of the one is empty, as a mount point is."""
    session = pool.serve(make_session())
    session.drop(2)
    machine.hide(session.landing)
    visitor(on=machine)
    visitor(program=(sys.executable, "-c", OTHER_VERSION))
    session.start()

    session.until(lambda: nodes(session, "refused") == 2, "the refusals")

    session.until(lambda: session.picked() == 2, "picks of the fit one")
    said(session, machine.name, f"its {session.landing} is empty", "Mount the watched folder")
    said(session, "it has livepick 0.0.1", "Install the same version")
    assert session.figure('micrographs_total{state="failed"}') == 0


def test_a_node_without_the_gpu_is_refused(pool, make_session):
    """The micrographs wait, and a person can read why."""
    session = pool.serve(make_session(picking={"device": "require-gpu"}))
    session.drop(1)
    session.start()

    session.until(lambda: nodes(session, "refused") == 1, "the refusal")

    said(session, "require-gpu")
    session.until(lambda: session.counts().queued == 1, "the micrograph")
    assert session.stop() == 0


def test_a_bad_node_is_told_from_a_bad_file(visitor, pool, machine, make_session):
    """A node that loses the share is set aside until it sees the files again: no file is blamed.

    A file that needs too much memory on both nodes fails once: no node is blamed.
    """
    session = pool.serve(make_session(picking={"memory_limit_gib": 0.25}))
    visitor(on=machine)
    session.start(program=SERVICE)
    session.until(lambda: nodes(session, "accepted") == 2, "both nodes")
    session.drop(4)
    session.until(lambda: session.picked() == 4, "picks of both")

    machine.hide(session.landing)
    land_together(session, 12, first=5)
    session.until(lambda: session.picked() == 16, "picks of the other one")
    session.until(lambda: nodes(session, "set_aside") == 1, "the node to be set aside")
    said(session, machine.name, "gets no jobs")
    assert session.figure('micrographs_total{state="failed"}') == 0

    machine.show(session.landing)
    session.until(lambda: nodes(session, "accepted") == 2, "the node again")

    with mrcfile.new(session.landing / "mic_huge.mrc", np.eye(8000, dtype=np.float32)) as mrc:
        mrc.voxel_size = 1.0
    session.until(lambda: session.counts().failed == 1, "the failure")
    assert session.rows()["mic_huge.mrc"].reason == "memory"
    retried = 'cluster_retries_total{reason="memory"}'  # the service counts once a second
    session.until(lambda: session.figure(retried) > 0, "the try on the other node")
    failed = 'micrographs_total{state="failed"}'
    session.until(lambda: session.figure(failed) == 1, "the metric")
    assert nodes(session, "accepted") == 2


def test_a_node_with_another_folder_at_the_same_path_is_no_fault_of_the_files(
    visitor, pool, machine, make_session
):
    """Its files have the same names. In mid-session it is set aside, and before it is refused."""
    session = pool.serve(make_session())
    other = session.folder / "other"
    other.mkdir()
    for number in range(1, 21):  # as from another microscope
        write_disc_micrograph(other / f"mic_{number:04d}.mrc", seed=100 + number)
    visitor(on=machine)
    session.start(program=SERVICE)
    session.until(lambda: nodes(session, "accepted") == 2, "both nodes")
    session.drop(4)
    session.until(lambda: session.picked() == 4, "picks of both")

    machine.replace(session.landing, other)
    land_together(session, 16, first=5)
    session.until(lambda: session.picked() == 20, "picks of the other one")
    session.until(lambda: nodes(session, "accepted") == 1, "the node to be set aside")
    said(session, machine.name, f"its {session.landing} is another folder", "Mount the watched")
    assert session.figure("retries_total") == 0
    assert session.figure('micrographs_total{state="failed"}') == 0

    machine.show(session.landing)
    session.until(lambda: nodes(session, "accepted") == 2, "the node again")
    machine.replace(session.landing, other)
    assert session.stop() == 0
    session.start(program=SERVICE)
    session.until(lambda: nodes(session, "refused") == 1, "the refusal")
    assert session.counts().picked == 20


def test_workers_and_scheduler_may_come_after_the_service(make_cluster, make_session):
    """It says what it waits for; the scheduler's address is in its file."""
    cluster = make_cluster(by_file=True)
    session = cluster.serve(make_session())
    session.drop(3)
    session.start()
    assert session.figure("cluster_connected") == 0
    said(session, "scheduler.json")
    cluster.start_scheduler()
    session.until(lambda: session.figure("cluster_connected") == 1, "the scheduler")
    session.until(lambda: session.counts().queued == 3, "the micrographs")
    cluster.start_worker()

    session.until(lambda: session.picked() == 3, "picks")

    assert session.figure('micrographs_total{state="failed"}') == 0
    assert session.stop() == 0


def test_the_workers_of_a_cluster_fit_the_ctf_as_this_machine_does(pool, make_session, tmp_path):
    """One of the micrographs has pixels that are too large, and is no failure."""
    made = tmp_path / "made"
    written = livepick(
        *("simulate", made, "--micrographs", 2, "--every", "1ms", "--write-seconds", 0),
        *("--clean", "--size", 1024, "--pixel-size", 1.5),
    )
    assert written.returncode == 0, written.stderr
    session = pool.serve(make_session(particle={"diameter_angstrom": 125}))
    session.start()
    names = sorted(path.name for path in made.glob("*.mrc"))
    for name in names:
        (made / name).rename(session.landing / name)
    write_disc_micrograph(session.landing / "large_pixels.mrc", seed=1)

    def outcomes():
        return {name: row.ctf_outcome for name, row in session.rows().items()}

    wanted = dict.fromkeys(names, "trusted") | {"large_pixels.mrc": "not_fitted"}
    session.until(lambda: outcomes() == wanted, "the fits")
    for name in names:
        here = fit_ctf(
            mrcfile.read(session.landing / name),
            pixel_size_angstrom=1.5,
            voltage_kv=300.0,
            spherical_aberration_mm=2.7,
            amplitude_contrast=0.07,
        )
        assert dataclasses.astuple(session.rows()[name].ctf) == pytest.approx(
            dataclasses.astuple(CtfFigures.of(here.ctf)), rel=1e-6
        )
    session.until(lambda: session.figure('ctf_fits_total{outcome="trusted"}') == 2, "the metric")
    session.until(lambda: "No CTF fit for 1 micrograph: pixels of 4" in session.get("/"), "words")
    assert session.stop() == 0
    listed = (session.output / "micrographs_ctf.star").read_text()
    assert [name in listed for name in sorted(wanted)] == [False, True, True]


def test_two_services_share_a_pool(pool, make_session):
    one, two = (pool.serve(make_session(name)) for name in ("one", "two"))
    for session in (one, two):
        session.drop(6)
        session.start()

    for session in (one, two):
        session.until(lambda s=session: s.picked() == 6, "picks")
        picked = 'micrographs_total{state="picked"}'
        session.until(lambda s=session, p=picked: s.figure(p) == 6, "the metric")

    assert one.stop() == 0
    two.drop(1, first=7)
    two.until(lambda: two.picked() == 7, "picks after the other one has ended")


def test_a_service_that_is_killed_takes_no_worker_from_another_one(pool, make_session):
    """It dies with jobs on the only worker, and picks what is left when it is back."""
    one, two = (pool.serve(make_session(name)) for name in ("one", "two"))
    for session in (one, two):
        session.start()
        session.until(lambda s=session: s.figure("cluster_slots") == 1, "the worker")
    one.drop(4)
    one.until(lambda: one.picked() == 4, "its first picks")
    worker = psutil.Process(pool.workers[0].pid)
    worker.suspend()
    one.drop(8, first=5)
    one.until(lambda: one.counts().picking > 0, "jobs on the worker")
    one.process.kill()
    one.process.wait()
    worker.resume()
    assert one.picked() == 4

    two.drop(6)
    two.until(lambda: two.picked() == 6, "picks of the other one")
    assert two.figure('micrographs_total{state="failed"}') == 0

    one.start()
    one.until(lambda: one.picked() == 12, "what was left")
    assert one.figure("retries_total") == 0
    assert one.figure('micrographs_total{state="failed"}') == 0
