"""Problems, their severity and order, and the metrics that the supervisor sets."""

import dataclasses
import errno
import os
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from factories import make_result
from livepick.core.contracts.cluster_view import ClusterView, NodeView
from livepick.core.contracts.device_aside import DeviceAside
from livepick.core.evaluation.drift_test import Change, Drift
from livepick.core.formats.file_version import FileVersion
from livepick.core.imaging.ctf import Ctf
from livepick.core.imaging.quality import CtfFigures
from livepick.core.imaging.quality_limits import VERDICTS
from livepick.errors import EditedError, EngineError, LedgerWriteError, OccupiedError, OutputError
from livepick.host.disks import Disk, Space
from livepick.host.gpus import GpuMonitor
from livepick.host.systemd import Systemd
from livepick.ingest.watch_health import FileEvents
from livepick.ledger.session_rows import Rebuilt
from livepick.monitoring.metrics.exporter import Metrics
from livepick.monitoring.supervisor import UNEXPECTED_SECONDS, Supervisor

OF_PROGRAM = Ctf(
    defocus_u_angstrom=12_000.0,
    defocus_v_angstrom=11_000.0,
    astigmatism_angle_degrees=30.0,
    voltage_kv=200.0,
    spherical_aberration_mm=1.4,
    amplitude_contrast=0.1,
)
ROOM = Space(50, 100, device=1)
THINNER = Change("fewer_picks", before=66, now=40)


class Parts:
    """A supervisor of parts that can be broken one by one."""

    def __init__(self, config, ledger=None, *, provider="CUDAExecutionProvider", sign=""):
        self.folder = SimpleNamespace(
            root=Path("/data/in"),
            available=True,
            detail="ext4, inotify",
            space=ROOM,
            is_awaited=False,
        )
        self.watching = SimpleNamespace(
            folders=[self.folder],
            last_scan_at=1.0,
            seconds_since_scan=0.0,
            last_scan_seconds=0.0,
            interval_seconds=60.0,
            watching=0,
            excluded=0,
            skipped=(),
            events=FileEvents(),
            overflows=0,
            restarts=0,
        )
        self.dispatch = SimpleNamespace(
            ledger_fault=None,
            engine_fault=None,
            left_behind=0,
            devices_aside=(),
            progress_at=time.monotonic(),
            unfinished_seconds=0.0,
            longest_seconds=0.0,
        )
        self.outputs = SimpleNamespace(fault=None, obstacles=[])
        self.rebuilt = None
        without = SimpleNamespace(rebuilt=lambda: self.rebuilt)
        self.metrics = Metrics()
        self.supervisor = Supervisor(
            config,
            systemd=Systemd({}),
            metrics=self.metrics,
            ledger=without if ledger is None else ledger.reader,
            watcher=SimpleNamespace(health=lambda: self.watching, is_alive=lambda: True),
            dispatch=self.dispatch,
            outputs=self.outputs,
            provider=provider,
            gpu_sign=lambda: sign,
            workers=1,
            drifted=lambda sentence: None,
            gpu_monitor=GpuMonitor(None),
        )

    @property
    def problems(self):
        return self.supervisor._problems()

    def sample(self, name, **labels):
        """Return the value of a metric."""
        return self.metrics.registry.get_sample_value(f"livepick_{name}", labels)


@pytest.fixture
def parts(make_config):
    """Return a supervisor whose parts are all healthy."""
    return Parts(make_config())


def lose_folder(parts):
    parts.folder.available, parts.folder.detail = False, "No such file or directory"


def refuse_output(parts):
    parts.outputs.fault = OutputError("/o/a.star could not be written", "Free space.")
    parts.outputs.fault.__cause__ = OSError(errno.EROFS, os.strerror(errno.EROFS))


def unmount_output(parts):
    parts.outputs.fault = OutputError("/o is not mounted: it was on server:/o", "Mount it.")


def obstruct(parts):
    parts.outputs.obstacles = [
        EditedError("/o/a.star was changed, so it stays as it is", "Move it.", "/o/a.star"),
        OccupiedError("/o/b.star is a link, so it stays as it is", "Move it.", "/o/b.star"),
    ]


def edit(parts):
    parts.outputs.obstacles = [EditedError("/o/a.star was changed", "Move it.", "/o/a.star")]


def refuse_ledger(parts):
    parts.dispatch.ledger_fault = LedgerWriteError(
        "/s/ledger.sqlite cannot be written: database is locked", "Close other programs."
    )


def lose_ledger(parts):
    parts.rebuilt = Rebuilt(time.time(), "/s/ledger.sqlite is damaged", done=True, kept=7)


def drift(parts):
    parts.supervisor._drift._drift = Drift(changes=(THINNER,), model_version=1)


def lose_gpu(parts):
    parts.supervisor.use_provider("CPUExecutionProvider")


def test_healthy_parts_have_no_problem(parts):
    assert parts.problems == ()


def test_a_folder_that_has_not_been_checked_yet_is_not_missing(make_config, ledger):
    """A file system that hangs delays the first check."""
    parts = Parts(make_config(), ledger)
    parts.folder.available = None
    parts.supervisor.beat()

    assert parts.problems == ()
    assert parts.sample("watch_root_available", root="0") is None


@pytest.mark.parametrize(
    ("breaks", "level", "words"),
    [
        (lose_folder, "bad", "The watched folder /data/in is missing: No such file"),
        (refuse_output, "bad", "out failed: Read-only file system."),
        (unmount_output, "bad", "out failed: /o is not mounted: it was on server:/o."),
        (obstruct, "bad", "/o/b.star is a link, so it stays as it is. There is 1 more like it."),
        (edit, "attention", "/o/a.star was changed."),
        (refuse_ledger, "bad", "ledger.sqlite cannot be written: database is locked."),
        (
            lose_ledger,
            "attention",
            "lost (/s/ledger.sqlite is damaged) and has been rebuilt: 7",
        ),
        (drift, "attention", "The last 25 micrographs have 61% of the picks"),
        (lose_gpu, "attention", "The GPU is not used: one was used before in this session"),
    ],
)
def test_each_problem_has_its_level_and_a_remedy(parts, breaks, level, words):
    """A problem is bad if it stops picks from appearing; otherwise picking continues."""
    breaks(parts)
    (problem,) = parts.problems

    assert problem.level == level
    assert words in problem.sentence
    assert problem.remedy.endswith(".")


@pytest.mark.parametrize("is_kept", [True, False])
def test_a_rebuilt_ledger_is_news_for_a_day_and_while_the_old_one_is_kept(parts, tmp_path, is_kept):
    aside = tmp_path / "ledger.sqlite.damaged-20260101-000000"
    aside.touch()
    parts.rebuilt = Rebuilt(time.time() - 90_000, "it is empty", str(aside), done=True)
    if not is_kept:
        aside.unlink()
    assert len(parts.problems) == is_kept


def test_a_folder_that_has_not_been_created_yet_is_no_problem(parts):
    """Nor does the alert on a missing folder have a series."""
    parts.folder.available, parts.folder.is_awaited = False, True
    parts.supervisor._set_gauges()
    assert parts.problems == ()
    assert parts.sample("watch_root_available", root="0") is None


@pytest.mark.parametrize(
    ("device", "sign", "words"),
    [
        ("prefer-gpu", "", None),
        ("prefer-gpu", "nvidia-smi is installed", "nvidia-smi is installed, but livepick picks"),
        ("require-gpu", "", "picking.device is require-gpu"),
        ("cpu", "nvidia-smi is installed", None),
    ],
)
def test_picking_on_the_cpu_is_a_fault_only_where_a_gpu_is_expected(
    make_config, ledger, device, sign, words
):
    """By default there is none on a machine without one, by choice."""
    parts = Parts(
        make_config(picking={"device": device}), provider="CPUExecutionProvider", sign=sign
    )
    parts.supervisor._set_gauges()
    assert [p.kind for p in parts.problems] == ([] if words is None else ["no_gpu"])
    assert all(words in problem.sentence for problem in parts.problems)
    assert parts.sample("gpu_expected") == (words is not None)


def test_a_gpu_of_an_earlier_start_is_missed(make_config, ledger):
    """Its micrographs are in the ledger."""
    ledger.arrivals.landed(Path("/m"), Path("a.mrc"), FileVersion(1, 2, 3), 900.0)
    (claim,) = ledger.claim(1)
    ledger.picked(claim, make_result(provider="CUDAExecutionProvider"))
    parts = Parts(make_config(), ledger=ledger, provider="CPUExecutionProvider")
    parts.supervisor.describe(SimpleNamespace(version=0, kind="blob"))
    assert [problem.kind for problem in parts.problems] == ["no_gpu"]


def test_the_most_severe_problem_comes_first_and_the_gpu_last(parts):
    """The order does not depend on what broke first."""
    for breaks in (lose_gpu, drift, refuse_output, lose_folder):
        breaks(parts)

    assert [problem.level for problem in parts.problems] == ["bad", "bad", "attention", "attention"]
    assert "GPU" in parts.problems[-1].sentence


def test_a_restart_restores_when_a_run_last_ended_with_each_result(make_config, ledger, clock):
    """Otherwise an old failure would fire its alert again, or a new one would not."""
    for version, state in enumerate(("promoted", "failed", "promoted", "failed"), start=1):
        clock.now = 1000.0 * version
        ledger.session.run_changed(version, "abc", state)
    parts = Parts(make_config(), ledger=ledger)
    parts.supervisor.describe(SimpleNamespace(version=0, kind="blob"))

    for end, ended_at in (("promoted", 3000.0), ("failed", 4000.0), ("kept_aside", 0.0)):
        assert parts.sample("training_ended_timestamp_seconds", result=end) == ended_at


@pytest.mark.parametrize(
    ("breaks", "gauge"), [(refuse_output, "output_writable"), (refuse_ledger, "state_writable")]
)
def test_a_folder_that_cannot_be_written_shows_in_the_metrics(make_config, ledger, breaks, gauge):
    """Each has a gauge of its own: without the ledger, no other figure changes."""
    parts, told = Parts(make_config(), ledger), []
    for break_it in (lambda _: None, breaks):
        break_it(parts)
        parts.supervisor.beat()
        told.append(parts.sample(gauge))

    assert told == [1, 0]


def test_files_that_are_in_the_way_are_counted(make_config, ledger):
    parts = Parts(make_config(), ledger)
    obstruct(parts)
    parts.supervisor.beat()
    assert parts.sample("output_obstacles", kind="foreign") == 1
    assert parts.sample("output_obstacles", kind="edited") == 1


def test_empty_micrographs_in_a_row_are_counted_in_the_ledger(make_config, ledger):
    """As on the page: a restart keeps the count, and picking one again corrects it."""

    def pick(name, *scores, content=1):
        ledger.arrivals.landed(Path("/m"), Path(name), FileVersion(100, content, 7), 900.0)
        (claim,) = ledger.claim(1)
        ledger.picked(claim, make_result(scores))
        started = Parts(make_config(), ledger)
        started.supervisor.beat()
        return started.sample("consecutive_empty_micrographs")

    assert [pick("a.mrc"), pick("b.mrc", 0.1), pick("c.mrc")] == [1, 2, 3]
    assert [pick("c.mrc", 0.9, content=2), pick("d.mrc")] == [0, 1]


def test_verdicts_in_the_metrics_include_the_ctf(make_config, ledger):
    """A CTF file comes later, and changes the verdict at the first picks."""
    for name in ("a.mrc", "b.mrc"):
        ledger.arrivals.landed(Path("/m"), Path(name), FileVersion(100, 1, 7), 900.0)
    for claim in ledger.claim(2):
        ledger.picked(claim, make_result())
    ledger.ctf.found(claim.id, 1, CtfFigures(11_000.0, 10_000.0, 0.0, 20.0))
    ledger.arrivals.landed(Path("/m"), Path("c.mrc"), FileVersion(100, 1, 7), 900.0)
    parts = Parts(make_config(), ledger)
    parts.supervisor.beat()

    for gauge in ("ledger_quality_verdicts", "latest_quality_verdicts"):
        told = [parts.sample(gauge, verdict=verdict) for verdict in VERDICTS]
        assert told == [1, 0, 1]
    assert parts.sample("latest_micrographs", state="picked") == 2
    assert parts.sample("latest_micrographs", state="waiting") == 1


def test_a_restart_continues_with_the_landings_of_the_session(make_config, ledger):
    """Files that were there at the start do not count, although they are in the ledger."""
    ledger.arrivals.landed(Path("/m"), Path("a.mrc"), FileVersion(100, 1, 7), 5000.0)
    ledger.arrivals.collected([900.0, 960.0])
    parts = Parts(make_config(), ledger)
    parts.supervisor.describe(SimpleNamespace(version=0, kind="blob"))

    assert parts.sample("last_micrograph_seen_timestamp_seconds") == 960
    assert parts.sample("micrograph_gap_seconds") == 60


def test_the_free_space_of_all_folders_is_exported(parts, tmp_path):
    """The supervisor checks the folders it writes to; the watcher checks its own."""
    (tmp_path / "out").mkdir()
    parts.supervisor._check_disks()
    disks = parts.supervisor._disks()

    assert [disk.role for disk in disks] == ["watch", "output"]  # no state folder yet
    assert disks[0] == Disk("watch", Path("/data/in"), ROOM)
    for disk in disks:
        free = parts.metrics.registry.get_sample_value(
            "livepick_disk_free_bytes", {"path_role": disk.role}
        )
        assert free == disk.space.free_bytes


def test_an_unexpected_error_is_a_problem_for_an_hour(parts):
    unexpected = parts.supervisor._unexpected
    unexpected.passed_over("ctf", "/data/a.xml", LookupError("unknown encoding: x"))
    (problem,) = parts.problems
    assert (problem.kind, problem.level) == ("unexpected_errors", "attention")
    assert "ctf" in problem.sentence
    assert "/data/a.xml" in problem.sentence
    assert "unknown encoding: x" in problem.sentence
    unexpected._latest = dataclasses.replace(unexpected.latest, at=time.time() - UNEXPECTED_SECONDS)

    assert parts.problems == ()


def test_a_beat_continues_after_an_unexpected_error(parts, ledger, make_config, monkeypatch):
    """The drift check and the metrics meet one, and the status is written all the same."""
    parts = Parts(make_config(), ledger)
    for broken in (parts.supervisor._drift, parts.metrics.landings):
        name = "check" if broken is parts.supervisor._drift else "update_activity"
        monkeypatch.setattr(broken, name, lambda *_: next(iter(())))
    lines = []
    monkeypatch.setattr(parts.supervisor._systemd, "status", lines.append)
    parts.supervisor.beat()

    assert parts.supervisor._unexpected.count == 2
    assert lines


def test_a_gpu_that_was_set_aside_is_a_problem(parts):
    parts.dispatch.devices_aside = (DeviceAside("GPU 1", "CUDA failure 999"),)
    (problem,) = parts.supervisor._worker_problems()
    assert problem.kind == "gpu_set_aside"
    assert problem.sentence == "GPU 1 has been set aside: CUDA failure 999."
    assert "engine.devices" in problem.remedy
    parts.supervisor.beat()
    registry = parts.supervisor._metrics.registry
    assert registry.get_sample_value("livepick_gpus_set_aside") == 1


def node(name, state="accepted", reason="", remedy=""):
    return NodeView(f"tcp://{name}:1", name, name, state, 2, 0, reason, remedy)


def test_workers_of_a_cluster_that_do_not_fit_are_a_problem_for_each_reason(parts):
    """It names three of them."""
    away = ("it does not see /d", "Mount the watched folder there, at the same path.")
    nodes = [node(f"n{number}", "refused", *away) for number in range(5)]
    nodes += [node("n8"), node("n9", "set_aside", "CUDA failure 999", "Run livepick check.")]
    parts.supervisor._cluster = lambda: ClusterView("s", is_connected=True, nodes=tuple(nodes))
    first, second = parts.supervisor._worker_problems()
    assert first.sentence == (
        "The workers n0, n1, n2 and 2 more of the cluster get no jobs: it does not see /d."
    )
    assert first.remedy.startswith("Mount the watched folder there, at the same path. livepick")
    assert second.sentence == "The worker n9 of the cluster gets no jobs: CUDA failure 999."


def test_a_ctf_file_of_another_microscope_is_a_problem_until_the_config_agrees(parts, make_config):
    """Voltage and spherical aberration are compared; the amplitude contrast is a choice."""
    parts.supervisor._ctf_of_program = lambda: (Path("/data/in/mic_1.mrc"), OF_PROGRAM)
    (problem,) = parts.problems
    assert (problem.kind, problem.level) == ("optics_contradicted", "attention")
    assert problem.sentence == (
        "microscope.voltage_kv is 300 kV, and the CTF file says 200 kV;"
        " microscope.spherical_aberration_mm is 2.7 mm, and the CTF file says 1.4 mm (mic_1.mrc)."
    )
    microscope = {"voltage_kv": 200, "spherical_aberration_mm": 1.4}
    parts.supervisor.use_config(make_config(microscope=microscope))
    assert parts.problems == ()


def test_the_metrics_follow_the_workers_of_a_cluster(parts):
    """They come and go, and so does their provider."""

    def figure(series):
        lines = parts.metrics.exposition().decode().splitlines()
        (line,) = [line for line in lines if line.startswith(f"livepick_{series} ")]
        return float(line.rpartition(" ")[2])

    parts.supervisor._cluster = lambda: view
    view = ClusterView(
        "s",
        is_connected=True,
        provider="CPUExecutionProvider",
        nodes=(node("n1"), node("n2", "silent", "it sends no heartbeat")),
        retries={"io": 3},
    )
    parts.supervisor._set_gauges()
    assert figure("cluster_connected") == 1
    assert figure('cluster_nodes{state="accepted"}') == 1
    assert figure('cluster_nodes{state="set_aside"}') == 1
    assert figure("cluster_slots") == 2
    assert figure('cluster_retries_total{reason="io"}') == 3
    assert figure('inference_provider_active{provider="CPUExecutionProvider"}') == 1
    view = ClusterView("s", fault="no answer", retries={"io": 3})
    parts.supervisor._set_gauges()
    assert (figure("cluster_connected"), figure("cluster_slots")) == (0, 0)
    assert figure('cluster_nodes{state="accepted"}') == 0
    assert figure('cluster_retries_total{reason="io"}') == 3


def test_workers_that_cannot_be_started_or_killed_are_problems(parts):
    parts.dispatch.engine_fault = EngineError("worker processes do not start", "Look in the log.")
    parts.dispatch.left_behind = 2
    problems = {problem.kind: problem for problem in parts.supervisor._worker_problems()}
    assert "worker processes do not start" in problems["no_workers"].sentence
    assert "2 worker processes hang" in problems["workers_left_behind"].sentence
