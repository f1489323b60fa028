"""Sections of the report about this machine: versions, GPU, disks, limits, service and log."""

import importlib.metadata
import os
import platform
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from livepick import __version__
from livepick.host.disks import space_of
from livepick.host.filesystem import is_network, mount_of
from livepick.host.processors import usable_processors
from livepick.host.sqlite_version import sqlite_version
from livepick.monitoring.human_units import size

__all__ = ["file_systems", "gpus", "limits", "log", "machine", "processes", "systemd", "versions"]

UNIT = "livepick"
"""Name of the systemd unit, as shipped."""

LOG_LINES = 80

PROGRAM_SECONDS = 8.0
"""Time that a program which is called for the report may take."""

_OTHER_PACKAGES = ("torch", "onnxruntime", "onnxruntime-gpu", "nvidia-ml-py")

_ENVIRONMENT = ("CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH", "LANG", "TZ", "TMPDIR")

_PROVIDERS = "import onnxruntime; print(', '.join(onnxruntime.get_available_providers()))"


def versions() -> Iterator[str]:
    """Yield the versions of livepick, Python, the system and the packages."""
    yield f"livepick {__version__}, in {Path(__file__).parents[2]}"
    yield f"Python {platform.python_version()} ({sys.executable})"
    yield f"SQLite {sqlite_version() or 'is not in this Python'}"
    yield f"system: {_system()}, {platform.machine()}"
    required = importlib.metadata.requires("livepick") or []
    used = (one for one in required if not re.search(r"extra == .dev", one))
    names = {re.split(r"[^\w.-]", one, maxsplit=1)[0] for one in used}
    for name in sorted({*names, *_OTHER_PACKAGES}, key=str.lower):
        try:
            yield f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            yield f"{name}: not installed"


def machine() -> Iterator[str]:
    """Yield the time, the load, the memory and what the environment sets."""
    yield f"time: {time.strftime('%Y-%m-%d %H:%M:%S %z')}"
    yield f"processors: {os.cpu_count()}, usable {usable_processors()}"
    yield f"load: {' '.join(f'{load:.1f}' for load in os.getloadavg())}"
    memory = dict(_pairs(Path("/proc/meminfo")))
    for name in ("MemTotal", "MemAvailable", "SwapTotal", "SwapFree"):
        yield f"{name}: {memory.get(name, 'unknown')}"
    yield f"user: {os.getuid()}, groups {sorted(os.getgroups())}"
    for name in _ENVIRONMENT:
        if name in os.environ:
            yield f"{name}={os.environ[name]}"
    hidden = sorted(name for name in os.environ if name.startswith(("LIVEPICK", "CRYOSPARC")))
    yield f"also set: {', '.join(hidden) or 'nothing of livepick'}"
    yield f"clock: {_answer(['timedatectl', 'show', '-p', 'NTPSynchronized', '-p', 'Timezone'])}"


def gpus() -> Iterator[str]:
    """Yield the GPUs, their processes, and the providers of onnxruntime in a process of its own."""
    yield _answer(
        ["nvidia-smi", "--format=csv",
         "--query-gpu=index,name,driver_version,memory.used,memory.total,utilization.gpu,uuid"]
    )  # fmt: skip
    yield "processes: " + _answer(
        ["nvidia-smi", "--format=csv", "--query-compute-apps=pid,process_name,used_memory,gpu_uuid"]
    )
    yield f"onnxruntime: {_answer([sys.executable, '-c', _PROVIDERS])}"


def file_systems(folders: Mapping[str, Path]) -> Iterator[str]:
    """Yield the file system, the space and the permissions of each folder.

    Each is looked at by ``df`` and ``stat`` in a process of its own first: a share that hangs then
    holds up only its own line.
    """
    for role, folder in folders.items():
        answer = _answer(["stat", "--format=%F, mode %a, owner %u:%g", os.fspath(folder)])
        yield f"{role}: {folder}: {answer}"
        if answer.startswith("(no answer"):
            continue
        mount = mount_of(folder)
        if mount is not None:
            where = "network" if is_network(mount.kind) else "not known as a network file system"
            yield f"  {mount.kind} on {mount.point} from {mount.source}; {where}"
            yield f"  options: {_mount_options(mount.point)}"
        space = space_of(folder)
        if space is not None:
            yield f"  {size(space.free_bytes)} free of {size(space.size_bytes)}"
            inodes = os.statvfs(folder)
            yield f"  {inodes.f_favail:,} free inodes of {inodes.f_files:,}"
        access = {"read": os.R_OK, "write": os.W_OK, "enter": os.X_OK}
        allowed = [word for word, mode in access.items() if os.access(folder, mode)]
        yield f"  this user may {', '.join(allowed) or 'do nothing'}"


def limits() -> Iterator[str]:
    """Yield the limits that a session of tens of thousands of files may meet."""
    for name in ("max_user_watches", "max_user_instances", "max_queued_events"):
        yield f"fs.inotify.{name}: {_content(Path('/proc/sys/fs/inotify') / name)}"
    yield f"fs.file-nr: {_content(Path('/proc/sys/fs/file-nr'))}"
    for word, limit in (
        ("open files", resource.RLIMIT_NOFILE),
        ("processes", resource.RLIMIT_NPROC),
        ("address space", resource.RLIMIT_AS),
        ("file size", resource.RLIMIT_FSIZE),
    ):
        soft, hard = resource.getrlimit(limit)
        yield f"{word} of this shell: {_limit(soft)}, at most {_limit(hard)}"
    group = _content(Path("/proc/self/cgroup")).rpartition(":")[2]
    yield f"control group of this shell: {group}"
    for name in ("memory.max", "memory.high", "memory.current", "cpu.max", "pids.max"):
        content = _content(Path(f"/sys/fs/cgroup{group}") / name)
        if not content.startswith("("):
            yield f"  {name}: {content}"


def systemd() -> Iterator[str]:
    """Yield what systemd knows of the unit, and the processes of livepick."""
    properties = (
        "LoadState,ActiveState,SubState,Result,ExecMainStatus,ExecMainStartTimestamp,NRestarts,"
        "MainPID,MemoryCurrent,MemoryMax,MemoryPeak,LimitNOFILE,WatchdogUSec,WatchdogTimestamp,"
        "StatusText,FragmentPath,DropInPaths,User"
    )
    yield _answer(["systemctl", "show", UNIT, "--property", properties, "--no-pager"])


def processes(main: int | None) -> Iterator[str]:
    """Yield the memory, threads and open files of the service's main process and its workers."""
    if main is None:
        yield "no process holds the state folder"
        return
    for process in [main, *_children(main)]:
        status = dict(_pairs(Path(f"/proc/{process}/status")))
        try:
            count = str(len(os.listdir(f"/proc/{process}/fd")))  # noqa: PTH208 - names only
        except OSError as error:
            count = f"({error.strerror})"
        yield (
            f"{process}: {status.get('Name', 'gone')}, {status.get('State', '')},"
            f" {status.get('VmRSS', '?')} in memory, at most {status.get('VmHWM', '?')},"
            f" {status.get('Threads', '?')} threads, {count} open files"
        )


def log() -> Iterator[str]:
    """Yield the last lines of the service's log, if journald has it."""
    yield _answer(
        ["journalctl", "--unit", UNIT, "--lines", str(LOG_LINES), "--no-pager", "--no-hostname",
         "--output", "short-iso"]
    )  # fmt: skip


def _answer(command: Sequence[str]) -> str:
    """Return what a program prints, or in brackets why there is nothing."""
    if shutil.which(command[0]) is None:
        return f"({command[0]} is not installed)"
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PROGRAM_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"(no answer from {command[0]} within {PROGRAM_SECONDS:g} s)"
    except OSError as error:
        return f"({command[0]}: {error.strerror})"
    text = done.stdout.strip()
    if done.returncode:
        fault = done.stderr.strip() or f"status {done.returncode}"
        return f"{text}\n({command[0]}: {fault})".strip()
    return text or "(nothing)"


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = ""
    return f"{name or platform.system()}, kernel {platform.release()}"


def _pairs(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names and values of a file of ``/proc``; nothing if it cannot be read."""
    for line in _content(path).splitlines():
        name, colon, value = line.partition(":")
        if colon:
            yield name.strip(), value.strip()


def _content(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError as error:
        return f"({error.strerror})"


def _limit(value: int) -> str:
    return "unlimited" if value == resource.RLIM_INFINITY else f"{value:,}"


def _mount_options(point: str) -> str:
    options = "unknown"
    for line in _content(Path("/proc/self/mounts")).splitlines():
        fields = line.split(" ")
        if len(fields) > 3 and fields[1].replace("\\040", " ") == point:
            options = fields[3]
    return re.sub(r"(?i)\b(username|user|password|pass|credentials)=[^,]*", r"\1=***", options)


def _children(process: int) -> Iterable[int]:
    tasks = _content(Path(f"/proc/{process}/task/{process}/children"))
    return [int(word) for word in tasks.split() if word.isdigit()]
