"""The shipped unit and the real daemon under a real systemd, in namespaces of its own.

Debian's systemd runs as PID 1 of a PID namespace, over an overlay of ``/``, with a cgroup2 child
of its own, so nothing outside is touched. Only cgroup2 is mounted inside: with the v1 hierarchies
systemd could move processes that are not the test's.
"""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest
from disc_micrographs import write_disc_micrograph

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--net", "--cgroup"]
SECONDS = 240

# The shell is PID 1's predecessor: it builds the new root, then becomes systemd.
INSIDE = r"""
set -e
mount --make-rprivate /
mkdir layers && mount -t tmpfs tmpfs layers && cd layers && mkdir upper work root
mount -t overlay overlay -o lowerdir=/,upperdir=upper,workdir=work root
new=$PWD/root
mount -t proc proc $new/proc
mount -t sysfs sysfs $new/sys
mkdir -p $new/opt/test/{python,packages,daemon,trainer,out} $new/opt/livepick/bin
mkdir -p $new/data/in $new/data/out $new/etc/livepick
mount --bind "$PYTHON_HOME" $new/opt/test/python
mount --bind "$PACKAGES" $new/opt/test/packages
mount --bind "$ROOT/daemon" $new/opt/test/daemon
mount --bind "$ROOT/trainer" $new/opt/test/trainer
mount --bind "$OUT" $new/opt/test/out
for folder in run tmp dev; do mount -t tmpfs tmpfs $new/$folder; done
for node in null zero full random urandom tty; do
    touch $new/dev/$node; mount --bind /dev/$node $new/dev/$node
done
ln -s /proc/self/fd $new/dev/fd
mkdir $new/dev/shm
mount -t cgroup2 cgroup2 $new/sys/fs/cgroup
cp "$OUT"/units/* $new/etc/systemd/system/
cp "$OUT"/config.yaml $new/etc/livepick/
cp "$OUT"/livepick $new/opt/livepick/bin/
chroot $new useradd --system --home-dir /var/lib/livepick --shell /usr/sbin/nologin livepick
chroot $new chown livepick /data/out
exec chroot $new /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=test.target --log-target=console
"""

# The operator, as a second unit.
OPERATOR = r"""
cd /opt/test/out
show() {
    systemctl show livepick -p ActiveState -p Result -p StatusText -p NRestarts -p MainPID > $1
}
wait_for() {  # seconds, words in the status of the service
    for _ in $(seq $1); do sleep 1; show now; grep -q "$2" now && return; done
}
show started
grep -q ActiveState=active started || systemctl exit
cp micrographs/*.mrc /data/in/
wait_for 40 'picked 3/3'; show picked
ls /data/out > coordinates
for _ in $(seq 10); do sleep 1; [ "$(wc -l < /data/out/told)" -ge 3 ] && break; done
cp /data/out/told told
pid=$(sed -n s/MainPID=//p picked)
grep -E 'CapEff|NoNewPrivs|Seccomp:' /proc/$pid/status > confined
systemctl reload livepick; echo $? > reload
kill -STOP $pid
wait_for 40 NRestarts=1; wait_for 40 ActiveState=active; show after_watchdog
systemctl stop livepick; show stopped
sed -i 's/127.0.0.1:0/127.0.0.1:9476/' /etc/livepick/config.yaml
LD_LIBRARY_PATH=/opt/test/python/lib /opt/test/python/bin/python3 \
    -c 'import socket, time; s = socket.create_server(("127.0.0.1", 9476)); time.sleep(600)' &
taken=$!; sleep 2
systemctl start --no-block livepick
wait_for 60 'StatusText=waiting to start'; sleep 25; show waiting
kill $taken
wait_for 40 ActiveState=active; wait_for 20 'picked 3/3'; show continued
systemctl stop livepick
sed -i 's/diameter_angstrom:.*/diameter_angstrom: 1/' /etc/livepick/config.yaml
systemctl start livepick; sleep 8; show misconfigured
systemctl exit
"""

TARGET = """
[Unit]
DefaultDependencies=no
Requires=livepick.service operator.service
"""

OPERATOR_UNIT = """
[Unit]
DefaultDependencies=no
After=livepick.service
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /opt/test/out/operator.sh
"""

CONFIG = """
session: {name: test}
watch: {directories: [/data/in], settle_seconds: 0.3, rescan_seconds: 1}
particle:
  diameter_angstrom: 160
bootstrap: {micrographs: 1000}
picking: {device: cpu, workers: 1}
output: {directory: /data/out, on_picked: [/usr/bin/tee, -a, /data/out/told]}
state: {directory: /var/lib/livepick}
web: {listen: "127.0.0.1:0"}
"""

PROGRAM = f"""#!/bin/sh
export PYTHONPATH=/opt/test/daemon:/opt/test/trainer:/opt/test/packages PYTHONDONTWRITEBYTECODE=1
export LD_LIBRARY_PATH=/opt/test/python/lib
exec /opt/test/python/bin/python{sys.version_info.major}.{sys.version_info.minor} \\
    -c 'import sys; from livepick.cli import main; sys.exit(main())' "$@"
"""


def cgroup2() -> Path | None:
    """Return where cgroup2 is mounted."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2" and os.access(place, os.W_OK):
            return Path(place)
    return None


@pytest.fixture
def group():
    """Return a cgroup2 group for the test, or skip where there can be none."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("unshare") is None:
        pytest.skip("needs root, systemd and unshare")
    hierarchy = cgroup2()
    if hierarchy is None:
        pytest.skip("needs a cgroup2 hierarchy that can be written")
    if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("namespaces are refused here")
    place = hierarchy / f"livepick-test-{os.getpid()}"
    place.mkdir()
    yield place
    for _ in range(50):  # the kernel frees a group a moment after its last process
        try:
            for folder in sorted(place.rglob("*"), reverse=True):
                if folder.is_dir():
                    folder.rmdir()
            place.rmdir()
        except OSError:
            time.sleep(0.1)
        else:
            return


def prepare(out: Path) -> None:
    """Put what the inside needs into ``out``: the shipped unit, but for the patience of systemd."""
    units = out / "units"
    units.mkdir()
    unit = (ROOT / "deploy" / "livepick.service").read_text()
    unit = unit.replace("WatchdogSec=120", "WatchdogSec=10")
    unit = unit.replace("TimeoutStartSec=300", "TimeoutStartSec=20")
    # There is no network, no remote file system and no journal to wait for.
    lines = [line for line in unit.splitlines() if not line.startswith(("After=", "Wants="))]
    unit = "\n".join(lines).replace("[Unit]", "[Unit]\nDefaultDependencies=no")
    unit = unit.replace(
        "[Service]",
        "[Service]\nStandardError=append:/opt/test/out/log\nReadWritePaths=/data/out",
    )
    (units / "livepick.service").write_text(unit)
    (units / "operator.service").write_text(OPERATOR_UNIT)
    (units / "test.target").write_text(TARGET)
    (out / "operator.sh").write_text(OPERATOR)
    (out / "config.yaml").write_text(CONFIG)
    (out / "livepick").write_text(PROGRAM)
    (out / "livepick").chmod(0o755)
    (out / "inside.sh").write_text(INSIDE)


@pytest.mark.slow
@pytest.mark.timeout(SECONDS + 30)
def test_the_unit_keeps_its_promises(group, tmp_path):
    """Ready, picks, reload, watchdog, stop, a start that waits, none on a wrong config."""
    out = tmp_path / "out"
    (out / "micrographs").mkdir(parents=True)
    prepare(out)
    for number in range(3):
        write_disc_micrograph(out / "micrographs" / f"mic_{number}.mrc", seed=number)
    environment = os.environ | {
        "ROOT": str(ROOT),
        "OUT": str(out),
        "PYTHON_HOME": sys.base_prefix,
        "PACKAGES": sysconfig.get_path("purelib"),
    }
    unshare = " ".join([*UNSHARE, "--kill-child"])
    inside = out / "inside.sh"
    with (out / "console").open("wb") as console:
        subprocess.run(
            ["/bin/bash", "-c", f"echo $$ > {group}/cgroup.procs; exec {unshare} bash {inside}"],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            timeout=SECONDS,
            check=False,
        )

    def shown(step: str) -> dict[str, str]:
        path = out / step
        assert path.exists(), (out / "console").read_text() + (out / "log").read_text()
        return dict(line.split("=", 1) for line in path.read_text().splitlines())

    assert shown("started")["ActiveState"] == "active"
    assert shown("picked")["StatusText"].startswith("picked 3/3, ")
    assert "mic_0_autopick.star" in (out / "coordinates").read_text()
    told = (out / "told").read_text().splitlines()
    assert sorted(json.loads(line)["micrograph"] for line in told) == [
        f"/data/in/mic_{number}.mrc" for number in range(3)
    ]
    confined = (out / "confined").read_text().split()
    assert confined[1::2] == ["0000000000000000", "1", "2"]
    assert (out / "reload").read_text() == "0\n"
    after = shown("after_watchdog")
    assert (after["ActiveState"], after["NRestarts"]) == ("active", "1")
    stopped = shown("stopped")
    assert (stopped["ActiveState"], stopped["Result"]) == ("inactive", "success")
    waiting = shown("waiting")
    assert (waiting["ActiveState"], waiting["NRestarts"]) == ("activating", "0")
    assert "web.listen is 127.0.0.1:9476" in waiting["StatusText"]
    assert shown("continued")["ActiveState"] == "active"
    wrong = shown("misconfigured")
    assert (wrong["ActiveState"], wrong["NRestarts"]) == ("failed", "0")
    assert "particle.diameter_angstrom is the number 1;" in (out / "log").read_text()
