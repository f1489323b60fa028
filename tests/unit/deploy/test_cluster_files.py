"""The files for a Dask cluster name options and settings that exist."""

import contextlib
import os
import re
import shlex
import signal
import stat
import subprocess
import time
from pathlib import Path

import pytest
import typer.main
import yaml

from certificates import OPENSSL, needs_openssl
from livepick import cli
from livepick.commands.durations import parse_duration
from livepick.config.engine_section import EngineSettings

DEPLOY = Path(__file__).parents[3] / "deploy"
MAKE = DEPLOY / "dask" / "make-certificates.sh"
SBATCH = DEPLOY / "slurm" / "livepick-workers.sbatch"


def options_of_worker(words):
    """Return the options in words after ``livepick worker``, which must be those of the command."""
    command = typer.main.get_command(cli._application(["worker"])).commands["worker"]
    return command.make_context("worker", list(words)).params


def command_of(unit):
    """Return the command line of a unit, with the variables of ``worker.env``."""
    text = (DEPLOY / "dask" / unit).read_text().replace("\\\n", " ")
    (command,) = re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
    (comment,) = re.findall(r"^#   LIVEPICK_SCHEDULER_OPTIONS=(.*)$", text, re.MULTILINE) or [""]
    command = command.replace("$LIVEPICK_SCHEDULER_OPTIONS", comment)
    for line in (DEPLOY / "dask" / "worker.env").read_text().splitlines():
        name, _, value = line.partition("=")
        if not line.startswith("#"):
            command = command.replace(f"${{{name}}}", value).replace(f"${name}", value)
    return shlex.split(command)


def test_the_unit_of_the_worker_has_its_options():
    program, name, *words = command_of("livepick-worker.service")
    given = options_of_worker(words)
    assert (program, name) == ("/opt/livepick/bin/livepick", "worker")
    assert given["scheduler"] == "tls://head.example.org:8786"
    assert given["tls_key"] == Path("/etc/livepick/tls/key.pem")
    assert (given["devices"], given["insecure"]) == ("0,1", False)


def test_the_unit_of_the_scheduler_has_options_of_dask():
    scheduler = pytest.importorskip("distributed.cli.dask_scheduler", reason="needs distributed")
    program, name, *words = command_of("livepick-scheduler.service")
    assert (program, name) == ("/opt/livepick/bin/dask", "scheduler")
    known = {option for each in scheduler.main.params for option in each.opts + each.secondary_opts}
    used = {word for word in words if word.startswith("--")}
    assert used - known == set()
    assert {"--tls-ca-file", "--tls-cert", "--tls-key", "--scheduler-file"} <= used


def test_the_settings_of_dask_exist():
    """Dask takes any key, so a misspelt one would do nothing."""
    config = pytest.importorskip("dask.config", reason="needs distributed, of the dask extra")
    pytest.importorskip("distributed")
    settings = yaml.safe_load((DEPLOY / "dask" / "dask.yaml").read_text())

    def names(section, place=""):
        for key, value in section.items():
            if isinstance(value, dict):
                yield from names(value, f"{place}{key}.")
            else:
                yield f"{place}{key}"

    found = list(names(settings))
    assert "distributed.scheduler.worker-ttl" in found
    for name in found:
        config.get(name)  # raises KeyError


@needs_openssl
def test_certificates_are_made_once_and_only_for_their_user(tmp_path):
    folder = tmp_path / "tls"
    for status in (0, 1):  # they are not replaced
        made = subprocess.run([MAKE, folder, "2"], check=False, capture_output=True, text=True)
        assert made.returncode == status, made.stderr
    assert "certificates already" in made.stderr
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["ca.key", "ca.pem", "certificate.pem", "key.pem"]
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()} == {0o600}
    verify = [str(OPENSSL), "verify", "-x509_strict", "-CAfile", folder / "ca.pem"]
    subprocess.run([*verify, folder / "certificate.pem"], check=True, capture_output=True)


@pytest.fixture
def batch_job(tmp_path):
    """Return a function that starts the batch script with substitutes for srun and livepick."""
    (tmp_path / "srun").write_text(
        '#!/bin/bash\nwhile [[ $1 == --* ]]; do echo "$1" >>steps; shift; done\nexec "$@"\n'
    )
    (tmp_path / "livepick").write_text(
        "#!/bin/bash\ntrap 'echo left >left; exit ${STATUS:-0}' TERM\n"
        "printf '%s\\n' \"$@\" >words.part; mv words.part words\nsleep 60 & wait\n"
    )
    for name in ("srun", "livepick"):
        (tmp_path / name).chmod(0o755)
    started = []

    def start(**environment):
        path = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "LIVEPICK": "livepick"}
        started.append(
            subprocess.Popen(
                ["/bin/bash", SBATCH],
                cwd=tmp_path,
                env={**path, "HOME": "/home/em", **environment},
                start_new_session=True,
            )
        )
        give_up = time.monotonic() + 60
        while not (tmp_path / "words").exists():
            assert time.monotonic() < give_up
            time.sleep(0.01)
        return started[-1], (tmp_path / "words").read_text().splitlines()

    yield start
    for process in started:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_batch_job_has_a_worker_for_each_gpu_and_leaves_before_its_end(batch_job, tmp_path):
    end = int(time.time()) + 24 * 3600
    _, words = batch_job(
        SLURM_GPUS_ON_NODE="4", SLURM_JOB_END_TIME=str(end), SLURM_CPUS_PER_TASK="6"
    )
    assert words[0] == "worker"
    given = options_of_worker(words[1:])
    assert given["devices"] == "0,1,2,3"
    assert given["scheduler_file"] == Path("/data/livepick/scheduler.json")
    assert given["tls_key"] == Path("/home/em/livepick-tls/key.pem")
    assert given["mount"] == [Path("/data")]
    assert given["device"] == "require-gpu"
    lifetime, stagger = (parse_duration(given[key]) for key in ("lifetime", "lifetime_stagger"))
    assert 24 * 3600 - 300 < lifetime < 24 * 3600 - 60
    assert 0 < stagger < lifetime
    assert "--cpus-per-task=6" in (tmp_path / "steps").read_text().splitlines()


def test_the_signal_of_the_batch_system_reaches_the_worker(batch_job, tmp_path):
    """Its status is that of the job, so that a job that failed is seen as such."""
    job, words = batch_job(STATUS="3", LIVEPICK_WORKER_OPTIONS="--device cpu --insecure")
    given = options_of_worker(words[1:])
    assert (given["device"], given["devices"], given["lifetime"]) == ("cpu", None, None)
    os.kill(job.pid, signal.SIGTERM)
    assert job.wait(60) == 3
    assert (tmp_path / "left").exists()


def test_a_batch_job_is_warned_before_its_end():
    """To the script alone (B:), which passes the signal on, in time for the running jobs."""
    lines = re.findall(r"^#SBATCH --(\S+?)=(\S+)$", SBATCH.read_text(), re.MULTILINE)
    settings = dict(lines)
    assert settings["signal"] == "B:TERM@60"
    assert settings["ntasks-per-node"] == "1"
    assert int(settings["cpus-per-task"]) >= int(settings["gpus-per-node"])


def test_the_description_names_options_and_settings_that_exist():
    """Those of livepick worker and status, dask scheduler, systemctl and sbatch."""
    text = (DEPLOY / "cluster.md").read_text()
    command = typer.main.get_command(cli._application(["worker"])).commands["worker"]
    known = {option for each in command.params for option in each.opts}
    others = {"--scheduler-file", "--now", "--dependency", "--json"}
    others |= {"--tls-ca-file", "--tls-cert", "--no-dashboard", "--dashboard-address"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", text)) - known - others == set()
    settings = set(re.findall(r"`engine\.([a-z_]+)", text))
    assert settings - set(EngineSettings.model_fields) == set()
    assert {"kind", "insecure", "heavy", "scheduler_file"} <= settings
