"""Sessions on a cluster of two workers in which something fails, and what must be true afterwards.

The acceptance tests assert the outcome; ``tests/benchmarks/cluster_faults.py`` repeats the scenes
at other moments and measures how long they take to recover.
"""

import collections
import contextlib
import json
import signal
import threading
import time

import psutil
from cluster import Cluster, checksums
from machine import Machine
from session import Session, impatient

__all__ = ["FAULTS", "MICROGRAPHS", "Scene", "faults_of", "on_processes"]

MICROGRAPHS = 16
FORMATS = ["relion", "star", "csv"]
EVERY_SECONDS = 0.2

SERVICE = impatient(
    {
        "picking.cluster.nodes.SILENT_SECONDS": 5.0,
        "picking.cluster.connection.ANSWER_SECONDS": 4.0,
        "picking.cluster.connection.CONNECT_SECONDS": 3.0,
        "picking.cluster.client.LOOK_SECONDS": 0.5,
        "picking.cluster.client.RETRY_SECONDS": 0.5,
    }
)
WORKER = impatient(
    {
        "picking.cluster.worker_program.CONFIG": {
            "distributed.comm.timeouts.tcp": "11s",
            "distributed.comm.timeouts.connect": "3s",
        },
        "picking.cluster.worker_program.RETRY_SECONDS": 0.5,
    }
)
"""The programs as they are, with shorter waits."""

PROGRAM = """\
#!/bin/sh
cat >> "$0.told"
"""


class Scene:
    """A session on a cluster of two workers; the first one is the victim of the faults.

    Parameters
    ----------
    folder
        Where the files of the session and of the cluster are.
    elsewhere
        What is on another machine: ``worker``, the victim; ``cluster``, all but the service; empty:
        nothing.
    patient
        True for the waits of the programs as they are.
    """

    def __init__(self, folder, *, elsewhere="", patient=False):
        self.patient = patient
        with contextlib.ExitStack() as ending:  # ends everything if something does not start
            self._begin(folder, elsewhere, ending)
            self._ending = ending.pop_all()

    def _begin(self, folder, elsewhere, ending):
        self.machine = Machine() if elsewhere else None
        if self.machine is not None:
            ending.callback(self.machine.end)
        on = self.machine if elsewhere == "cluster" else None
        self.cluster = Cluster(folder, scheduler_on=on)
        ending.callback(self.cluster.end)
        program = folder / "program"
        program.write_text(PROGRAM)
        program.chmod(0o755)
        self.told = folder / "program.told"
        self.session = Session(
            folder,
            output={"formats": FORMATS, "on_picked": [str(program)]},
        )
        ending.callback(self.session.end)
        self.cluster.serve(self.session)
        self.workers = []
        self.cluster.start_scheduler()
        self.join(on=self.machine)
        self.join(on=on)

    def join(self, **how):
        """Let a worker join."""
        program = {} if self.patient else {"program": WORKER}
        self.workers.append(self.cluster.start_worker(**program, **how))

    @property
    def victim(self):
        """The first worker."""
        return psutil.Process(self.workers[0].pid)

    def start(self):
        """Start the service."""
        program = {} if self.patient else {"program": SERVICE}
        self.session.start(**program)

    def run(self, *faults, after_seconds, micrographs=MICROGRAPHS):
        """Let micrographs land, with faults in the midst of it, until all are picked.

        Returns
        -------
        The seconds from the first fault until all micrographs that had landed by then were picked,
        and the longest time without a pick.
        """
        names = [f"mic_{number:04d}" for number in range(1, micrographs + 1)]

        def acquire():
            for number in range(1, micrographs + 1):
                self.session.drop(1, first=number)
                time.sleep(EVERY_SECONDS)

        self.session.until(lambda: self.session.figure("cluster_slots") == 2, "both workers")
        microscope = threading.Thread(target=acquire, name="microscope", daemon=True)
        microscope.start()
        time.sleep(after_seconds)
        at = time.time()
        for fault in faults:
            FAULTS[fault](self)
        microscope.join()
        self.session.until(lambda: self.session.picked() == micrographs, "all picks", seconds=300)
        rows = self.session.rows().values()
        assert sorted(row.relative.stem for row in rows) == names
        waiting = [row.picked_at - at for row in rows if row.landed_at < at < row.picked_at]
        times = sorted(row.picked_at for row in rows if row.picked_at > at)
        gaps = [after - before for before, after in zip([at, *times], times, strict=False)]
        return max(waiting, default=0.0), max(gaps, default=0.0)

    def end(self):
        """End the session and the cluster."""
        self._ending.close()


def hold_jobs(scene):
    """Suspend the victim until it has had time to get a job."""
    scene.victim.suspend()
    time.sleep(1.0)


def kill_worker(scene):
    """Kill a worker at work; another one joins, as Slurm or systemd would start it."""
    hold_jobs(scene)
    scene.cluster.kill(scene.workers.pop(0))
    scene.join(on=scene.machine)


def kill_scheduler(scene):
    """Kill the scheduler, which is started again at the same address."""
    scene.cluster.kill(scene.cluster.scheduler)
    scene.cluster.start_scheduler()


def hang_worker(scene):
    """Stop a worker for good, as a machine that hangs; its connections stay open."""
    scene.victim.suspend()


def pause_worker(scene):
    """Stop a worker until others have its jobs, then let it go on."""
    scene.victim.suspend()
    time.sleep(45 if scene.patient else 8)
    scene.victim.resume()


def cut_network(scene):
    """Take the network of the other machine down, until that is noticed, and up again."""
    scene.machine.unplug()
    time.sleep(60 if scene.patient else 8)
    scene.machine.plug()


def blink_network(scene):
    """Take the network down for so short a time that nobody notices."""
    scene.machine.unplug()
    time.sleep(3.0)
    scene.machine.plug()


def fill_memory(scene):
    """Kill the processes that pick, as the system does if memory runs out."""
    for child in scene.victim.children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "spawn_main" in " ".join(child.cmdline()):
                child.kill()


def kill_service(scene):
    """Kill the service, and start it again while the cluster works."""
    scene.session.process.send_signal(signal.SIGKILL)
    scene.session.process.wait()
    scene.start()


def kill_service_without_scheduler(scene):
    """Kill the scheduler, and then the service, which starts again before the scheduler does."""
    scene.cluster.kill(scene.cluster.scheduler)
    kill_service(scene)
    assert scene.session.figure("cluster_connected") == 0
    scene.cluster.start_scheduler()


FAULTS = {
    "none": lambda scene: None,
    "worker killed": kill_worker,
    "worker hangs": hang_worker,
    "worker pauses": pause_worker,
    "worker without memory": fill_memory,
    "scheduler killed": kill_scheduler,
    "network of a worker": cut_network,
    "network of a worker, blink": blink_network,
    "network of the cluster": cut_network,
    "network of the cluster, blink": blink_network,
    "service killed": kill_service,
    "service killed, no scheduler": kill_service_without_scheduler,
}


def on_processes(folder):
    """Run the session of a scene on processes of this machine; return the checksums."""
    session = Session(folder, output={"formats": FORMATS})
    session.drop(MICROGRAPHS)
    try:
        session.start()
        session.until(lambda: session.picked() == MICROGRAPHS, "picks on processes")
        assert session.stop() == 0
    finally:
        session.end()
    return checksums(session)


def faults_of(scene, expected, *, restarts=0):
    """Return what is wrong with the end of a session, whose service still runs, as sentences.

    Parameters
    ----------
    scene
        The session.
    expected
        Checksums of the outputs.
    restarts
        Number of kills of the service. What it counts begins anew at each start; and the program
        is called again for what was picked since it last noted its calls.
    """
    session, found = scene.session, []
    rows = session.rows()
    for name, row in rows.items():
        if row.state != "picked" or row.reason is not None:
            found.append(f"{name}: {row.state}: {row.reason}")
    if blamed := session.figure("retries_total"):
        found.append(f"{blamed:g} times a micrograph was queued again after an error")
    if failed := session.figure('micrographs_total{state="failed"}'):
        found.append(f"{failed:g} micrographs counted as failed")
    session.until(lambda: not _missing_calls(scene, rows), "the calls")
    calls = collections.Counter(json.loads(line)["micrograph"] for line in _lines(scene.told))
    twice = [name for name, count in calls.items() if count > 1 + restarts]
    found += [f"{name}: the program was called {calls[name]} times" for name in twice]
    counted = session.figure('micrographs_total{state="picked"}')
    if not restarts and counted != len(rows):
        found.append(f"{counted:g} micrographs counted as picked")
    found += _of_the_journal(session, restarts)
    assert session.stop() == 0
    now = checksums(session)
    found += [f"{name} differs" for name in expected if now.get(name) != expected[name]]
    found += [f"{name} should not be there" for name in now.keys() - expected.keys()]
    return found


def _lines(path):
    return path.read_text().splitlines() if path.exists() else []


def _missing_calls(scene, rows):
    told = {json.loads(line)["micrograph"] for line in _lines(scene.told)}
    return {str(scene.session.landing / name) for name in rows} - told


def _of_the_journal(session, restarts):
    """Yield the coordinate files that were written more than once.

    A kill of the service between a file and its record in the ledger lets it be written again.
    """
    written = collections.Counter(
        line.split("\t")[1]
        for line in _lines(session.output / ".livepick" / "written")
        if line.startswith("+") and "mic_" in line
    )
    for name, count in written.items():
        if count > 1 + restarts:
            yield f"{name} was written {count} times"
