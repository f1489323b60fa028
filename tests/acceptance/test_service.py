"""The installed command as a process: files dropped into a folder, signals, /metrics read back."""

import html
import json
import shutil
import signal
import socket
import subprocess
from pathlib import Path

import pytest
from session import livepick

from chaos_check import LISTS

HAS_GPU = Path("/dev/nvidiactl").exists()


def test_micrographs_are_picked_as_they_land(make_session):
    """Coordinates, ledger, metrics and page agree, and SIGTERM ends it with status 0."""
    session = make_session()
    session.start()
    names = session.drop(4)
    (session.landing / "garbage.mrc").write_bytes(b"not a micrograph" * 1000)
    session.until(lambda: session.picked() == 4, "4 picked")
    session.until(lambda: session.counts().failed == 1, "1 failed")
    counted = 'micrographs_total{state="picked"}'
    session.until(lambda: session.figure(counted) == 4, "the counter, which comes after the rows")

    status = session.status()
    rows = {name: session.star(name) for name in names}
    metrics = session.get("/metrics")

    assert (status["model"]["version"], status["model"]["kind"]) == (0, "blob")
    assert sum(map(len, rows.values())) == status["particles"]
    assert all(12 <= len(found) <= 20 for found in rows.values())
    assert 'livepick_inference_provider_active{provider="CPUExecutionProvider"} 1.0' in metrics
    assert f"livepick_particles_total {status['particles']}.0" in metrics
    session.until(lambda: "garbage.mrc" in session.get("/"), "the failure on the page")
    assert json.loads(session.get("/healthz"))["ok"]
    assert session.stop() == 0
    after = session.status()
    assert after["service"]["state"] == "stopped"
    # The particle is measured until the stop; the ledger knows the rest.
    other = {key: status[key] for key in ("service", "problems", "particle")}
    assert after | other == status
    assert after["particle"]["given_diameter_angstrom"] == 160
    assert "mic_0004.mrc" in (session.output / "autopick.star").read_text()
    promtool = shutil.which("promtool")
    if promtool is not None:
        lint = subprocess.run(
            [promtool, "check", "metrics"], input=metrics.encode(), capture_output=True, check=False
        )
        assert (lint.returncode, lint.stdout + lint.stderr) == (0, b"")


def test_status_says_what_is_wrong_in_the_words_of_the_page(make_session):
    """A folder that is gone, an edit that is not taken, a service that was killed; and the end."""
    session = make_session()

    def said():
        return " ".join(p["sentence"] for p in session.problems())

    session.start()
    session.drop(1)
    session.until(lambda: session.picked() == 1, "1 picked")
    assert (said(), session.status()["service"]["state"]) == ("", "running")

    session.landing.rename(session.folder / "away")
    session.until(lambda: "The watched folder" in said(), "the folder is missed")
    session.until(lambda: said() in html.unescape(session.get("/")), "the page says it")
    (session.folder / "away").rename(session.landing)
    session.until(lambda: said() == "", "the folder is back")

    session.settings["particle"]["diameter_angstrom"] = 170
    session.save()
    session.until(lambda: "diameter_angstrom: 170" in kept(session), "taken")
    session.settings["particle"]["diameter_angstrom"] = "large"
    session.save()
    session.until(lambda: "reload: failed" in session.log.read_text(), "refused")
    rejected = "was rejected, and the previous settings still apply"
    session.until(lambda: rejected in said(), "the status says it")
    assert "diameter_angstrom: 170" in kept(session)

    session.process.kill()
    session.process.wait()
    first, second = session.problems()
    assert (first["level"], "killed" in first["sentence"]) == ("bad", True)
    assert "last valid" in second["sentence"]
    assert session.status()["micrographs"]["picked"] == 1

    session.settings["particle"]["diameter_angstrom"] = 170
    session.save()
    session.start()
    assert session.status()["service"]["state"] == "running"
    assert session.stop() == 0
    assert (said(), session.status()["service"]["state"]) == ("", "stopped")


def kept(session):
    """Return the copy of the settings in use."""
    return (session.state / "config.yaml").read_text()


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="needs /proc")
def test_the_main_process_stays_light(make_session):
    """onnxruntime, scipy and torch are for workers and the trainer; the service has 200 MB."""
    session = make_session()
    session.start()
    session.drop(1)
    session.until(lambda: session.picked() == 1, "1 picked")

    maps = Path(f"/proc/{session.process.pid}/maps").read_text()
    status = Path(f"/proc/{session.process.pid}/status").read_text()

    for heavy in ("onnx", "onnxruntime", "scipy", "torch", "matplotlib"):
        assert f"/{heavy}/" not in maps
    peak_kib = int(status.partition("VmHWM:")[2].split()[0])
    assert peak_kib < 200_000


def test_a_second_service_on_the_same_state_is_refused(make_session):
    """Two writers would corrupt the ledger; the first goes on."""
    session = make_session()
    session.start()

    second = livepick("run", session.config)

    assert second.returncode == 75
    assert "another livepick" in second.stderr
    assert session.process.poll() is None


def test_a_wrong_config_ends_with_78_and_all_faults(make_session):
    """Systemd does not restart on 78."""
    session = make_session(particle={"diameter_angstrom": 1}, picking={"devise": "cpu"})

    ran = livepick("run", session.config)

    assert ran.returncode == 78
    assert "diameter_angstrom" in ran.stderr
    assert "devise" in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.skipif(HAS_GPU, reason="there is a GPU")
def test_a_required_gpu_that_is_not_there_ends_the_service(make_session):
    """Two plain lines and status 1, where onnxruntime would pick on the CPU without a word."""
    session = make_session(picking={"device": "require-gpu"})

    ran = livepick("run", session.config)

    assert ran.returncode == 1
    assert "livepick: the GPU cannot be used: onnxruntime offers" in ran.stderr
    assert "set picking.device to prefer-gpu or cpu" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_systemd_hears_how_the_service_does(make_session, tmp_path):
    """READY, WATCHDOG and STATUS; RELOADING and READY on SIGHUP; STOPPING at the end."""
    session = make_session()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(120)
        session.start(NOTIFY_SOCKET=str(tmp_path / "notify"))
        heard = []

        def wait_for(prefix):
            while not heard or not heard[-1].startswith(prefix):
                heard.append(manager.recv(1000).decode())

        wait_for("READY=1")
        wait_for("WATCHDOG=1")
        wait_for("STATUS=picked 0/0")
        session.settings["particle"] = {"diameter_angstrom": 1}
        session.save()
        session.process.send_signal(signal.SIGHUP)
        wait_for("RELOADING=1\nMONOTONIC_USEC=")
        wait_for("READY=1")
        reloaded = session.get("/metrics")
        session.process.send_signal(signal.SIGTERM)
        wait_for("STOPPING=1")

    assert session.process.wait(timeout=60) == 0
    assert "livepick_config_last_reload_successful 0.0" in reloaded
    assert "reload: failed, the previous config stays in use" in session.log.read_text()


def test_kill_loses_nothing(make_session):
    """After kill -9 in the middle everything ends picked, once, with no unfinished file."""
    session = make_session()
    session.start()
    names = session.drop(12)
    session.until(lambda: len(list(session.output.glob("*_autopick.star"))) > 2, "some picks")
    session.process.kill()
    session.process.wait()

    session.start()
    session.until(lambda: session.picked() == 12, "12 picked")

    assert session.stop() == 0
    files = sorted(path.name for path in session.output.glob("[!.]*"))
    assert files == sorted([*LISTS, *(f"{name}_autopick.star" for name in names)])
    assert sum(len(session.star(name)) for name in names) == session.status()["particles"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_is_trained_survives_restarts_and_picks_everything(make_session):
    """Blob picks first; a stop and a kill during the training; then all picks are the model's."""
    session = make_session(
        bootstrap={"micrographs": 6, "minimum_picks": 50},
        training={
            "epochs": 2,
            "held_out_fraction": 0.34,
            "minibatch_size": 4,
            "auto_remedy": False,
        },
        retrain={"gate": "off"},  # the blob picker finds all of the discs too
    )
    run = session.state / "runs" / "0001"
    session.start()
    session.drop(7)
    lock = run / "lock"
    session.until(lambda: lock.exists() and lock.read_text().isdigit(), "a training run")
    pid = int(lock.read_text())

    assert session.stop() == 0
    assert not Path(f"/proc/{pid}").exists()
    session.start()
    session.until(lambda: lock.read_text() not in ("", str(pid)), "another trainer")
    session.process.kill()
    session.process.wait()
    session.start()
    session.until(session.has_trained_model, "a model", seconds=400)
    session.until(
        lambda: {row.model_version for row in session.rows().values()} == {1}, "its picks"
    )
    assert session.picked() == 7
    session.drop(1, first=8)
    session.until(lambda: session.picked() == 8, "a new arrival")

    status = session.status()
    assert (status["model"]["version"], status["model"]["kind"]) == (1, "trained")
    assert status["micrographs"]["stale"] == 0
    assert sorted(path.name for path in session.state.joinpath("runs").iterdir()) == ["0001"]
    assert 'livepick_model_info{kind="trained",version="1"} 1.0' in session.get("/metrics")
    assert "(trained)" in (session.output / "mic_0001_autopick.star").read_text()
    assert session.stop() == 0


def test_pick_needs_no_service(make_session):
    """One bad file is named, the others are picked, and the exit status says so."""
    session = make_session()
    session.start()
    names = session.drop(2)
    session.until(lambda: session.picked() == 2, "2 picked")
    session.stop()
    bad = session.folder / "bad.mrc"
    bad.write_bytes(b"x" * 5000)
    apart = session.folder / "apart"

    ran = livepick(
        "pick", session.state / "models" / "0000", *session.landing.glob("*.mrc"), bad,
        "--output", apart, "--device", "cpu",
    )  # fmt: skip

    assert ran.returncode == 1
    assert "bad.mrc" in ran.stderr
    assert "2 of 3 micrographs picked" in ran.stdout
    for name in names:
        with_pick = (apart / "in" / f"{name}_autopick.star").read_text()
        assert with_pick == (session.output / f"{name}_autopick.star").read_text()
