"""A real systemd in namespaces of its own, for tests of the shipped units.

Debian's systemd runs as PID 1 of a PID namespace, over an overlay of ``/``, with a cgroup2 child
of its own, so nothing outside is touched. Only cgroup2 is mounted inside: with the v1 hierarchies
systemd could move processes that are not the test's.
"""

import contextlib
import os
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SYSTEMD = Path("/lib/systemd/systemd")
UNSHARE = ["unshare", "--mount", "--pid", "--fork", "--ipc", "--uts", "--net", "--cgroup"]
SECONDS = 480

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
mkdir -p $new/etc/livepick
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
cp -r "$OUT"/units/* $new/etc/systemd/system/
cp "$OUT"/configs/* $new/etc/livepick/
cp "$OUT"/livepick $new/opt/livepick/bin/
chroot $new useradd --system --home-dir /var/lib/livepick --shell /usr/sbin/nologin livepick
for folder in $FOLDERS; do mkdir -p $new$folder; chroot $new chown livepick $folder; done
exec chroot $new /usr/bin/env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin \
    /lib/systemd/systemd --system --unit=test.target --log-target=console
"""

TARGET = """
[Unit]
DefaultDependencies=no
Requires={unit} operator.service
"""

OPERATOR_UNIT = """
[Unit]
DefaultDependencies=no
After={unit}
[Service]
Type=oneshot
TimeoutStartSec=infinity
ExecStart=/bin/bash /opt/test/out/operator.sh
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


@contextlib.contextmanager
def control_group():
    """Give a cgroup2 group to a test, or skip it where there can be none."""
    if os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("unshare") is None:
        pytest.skip("needs root, systemd and unshare")
    hierarchy = cgroup2()
    if hierarchy is None:
        pytest.skip("needs a cgroup2 hierarchy that can be written")
    if subprocess.run([*UNSHARE, "true"], check=False, capture_output=True).returncode != 0:
        pytest.skip("namespaces are refused here")
    place = hierarchy / f"livepick-test-{os.getpid()}"
    place.mkdir(exist_ok=True)  # an earlier run with the same number may have left it
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


def prepare(out, *, unit, shipped, config, operator, writes, drop_in=""):
    """Put what the inside needs into a folder.

    Parameters
    ----------
    out
        The folder, which is ``/opt/test/out`` inside.
    unit
        Name of the service, such as ``livepick@krios1``.
    shipped
        Name of the shipped unit; all of it is used, but for the patience of systemd.
    config
        Name and text of the config below ``/etc/livepick``.
    operator
        Script of the operator, as a second unit.
    writes
        Folder for ReadWritePaths.
    drop_in
        Lines of a drop-in, as ``systemctl edit`` writes it. Empty: they are in the unit.
    """
    units = out / "units"
    units.mkdir()
    text = (ROOT / "deploy" / shipped).read_text()
    text = text.replace("WatchdogSec=120", "WatchdogSec=10")
    text = text.replace("TimeoutStartSec=300", "TimeoutStartSec=20")
    # The units that it waits for (network, remote file systems, journal) do not exist here.
    lines = [line for line in text.splitlines() if not line.startswith(("After=", "Wants="))]
    text = "\n".join(lines).replace("[Unit]", "[Unit]\nDefaultDependencies=no")
    added = "[Service]\nStandardError=append:/opt/test/out/log\n"
    if not drop_in:
        added += f"ReadWritePaths={writes}\n"
    (units / shipped).write_text(text.replace("[Service]\n", added))
    if drop_in:
        (units / f"{unit}.service.d").mkdir()
        (units / f"{unit}.service.d" / "override.conf").write_text(drop_in)
    service = f"{unit}.service"
    (units / "operator.service").write_text(OPERATOR_UNIT.format(unit=service))
    (units / "test.target").write_text(TARGET.format(unit=service))
    (out / "operator.sh").write_text(operator)
    (out / "configs").mkdir()
    (out / "configs" / config[0]).write_text(config[1])
    (out / "livepick").write_text(PROGRAM)
    (out / "livepick").chmod(0o755)
    (out / "inside.sh").write_text(INSIDE)


def run(group, out, folders):
    """Run systemd until the operator ends it; ``folders`` are made for the service's user."""
    environment = os.environ | {
        "ROOT": str(ROOT),
        "OUT": str(out),
        "FOLDERS": " ".join(folders),
        "PYTHON_HOME": sys.base_prefix,
        "PACKAGES": sysconfig.get_path("purelib"),
    }
    unshare = " ".join([*UNSHARE, "--kill-child"])
    inside = out / "inside.sh"
    with (out / "console").open("wb") as console:
        subprocess.run(
            ["/bin/bash", "-c", f"echo $$ > {group}/cgroup.procs; exec {unshare} bash {inside}"],
            cwd=out.parent,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            timeout=SECONDS,
            check=False,
        )


def said(out, step):
    """Return what the operator has written in a step; fail with the logs if it has not."""
    path = out / step
    log = out / "log"
    assert path.exists(), (out / "console").read_text() + (log.read_text() if log.exists() else "")
    return path.read_text()


def shown(out, step):
    """Return what ``systemctl show`` has printed in a step."""
    return dict(line.split("=", 1) for line in said(out, step).splitlines())
