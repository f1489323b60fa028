"""A session on a cluster in which workers, the scheduler, the network or the service fail.

Whatever fails, each micrograph is picked exactly once, none is blamed, and the files are those of
the same session on processes of this machine. ``tests/benchmarks/cluster_faults.py`` measures how
long each takes.
"""

import pytest
from cluster import Cluster
from fault_scenes import Scene, faults_of, on_processes

pytest.importorskip("distributed", reason="needs distributed, of the dask extra")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    """Return the checksums of the same session on processes of this machine."""
    return on_processes(tmp_path_factory.mktemp("local"))


@pytest.fixture
def make_scene(tmp_path):
    """Return a function that makes a scene, which ends with the test."""
    made = []

    def make(**options):
        made.append(Scene(tmp_path, **options))
        made[-1].start()
        return made[-1]

    yield make
    for scene in made:
        scene.end()


def test_processes_that_are_killed_or_hang_lose_nothing(make_scene, expected):
    """A worker at work, the scheduler, and a worker again, which stays on the scheduler's list."""
    scene = make_scene()

    scene.run("worker killed", "scheduler killed", "worker hangs", after_seconds=0.5)

    assert faults_of(scene, expected) == []


@pytest.mark.usefixtures("needs_machine")
@pytest.mark.parametrize("elsewhere", ["worker", "cluster"])
def test_a_network_that_fails_loses_nothing(elsewhere, make_scene, expected):
    """Between worker and scheduler, and between service and scheduler."""
    scene = make_scene(elsewhere=elsewhere)

    scene.run(f"network of {'a' if elsewhere == 'worker' else 'the'} {elsewhere}", after_seconds=1)

    assert faults_of(scene, expected) == []


@pytest.mark.parametrize("fault", ["service killed", "service killed, no scheduler"])
def test_a_service_killed_while_the_cluster_works_loses_nothing(fault, make_scene, expected):
    """It also starts while the scheduler is down, and picks when that is back."""
    scene = make_scene()

    scene.run(fault, after_seconds=1.5)

    assert faults_of(scene, expected, restarts=1) == []


@pytest.mark.usefixtures("needs_machine")
def test_a_scene_that_cannot_begin_leaves_no_process(tmp_path, monkeypatch):
    started = []

    def fails(cluster, *_, on, **__):
        started.extend([cluster.scheduler, on._holder])
        raise AssertionError("the worker does not join")

    monkeypatch.setattr(Cluster, "start_worker", fails)
    with pytest.raises(AssertionError, match="does not join"):
        Scene(tmp_path, elsewhere="cluster")
    assert len(started) == 2
    assert all(process.poll() is not None for process in started)
