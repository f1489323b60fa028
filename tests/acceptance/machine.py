"""Another machine: a network, a host name and mounts of its own, in Linux namespaces.

A process holds the namespaces. Nothing is left on this machine once it ends.
"""

import itertools
import os
import shutil
import subprocess
import time
from pathlib import Path

__all__ = ["Machine", "why_none"]

_numbers = itertools.count()


class Machine:
    """Another machine, joined to this one by a cable.

    Its programs see the same files, unless a folder is hidden from them.
    """

    def __init__(self):
        number = (os.getpid() * 8 + next(_numbers)) % 16384
        self.name = f"node{number}"
        self.cable = f"cable{number}"
        # Of the network that is reserved for tests of network devices (RFC 2544).
        self.ours, self.address = (
            f"198.18.{number // 64}.{number % 64 * 4 + end}" for end in (1, 2)
        )
        holder = ["unshare", "--net", "--uts", "--mount", "cat"]  # ends with the pipe, so with us
        self._holder = subprocess.Popen(holder, stdin=subprocess.PIPE)
        try:
            self._until_unshared()
            self._connect()
        except BaseException:
            self.end()
            raise

    def _connect(self):
        ends = ["type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid)]
        _run("ip", "link", "add", self.cable, *ends)
        _run("ip", "address", "add", f"{self.ours}/30", "dev", self.cable)
        _run("ip", "link", "set", self.cable, "up")
        self.run("hostname", self.name)
        self.run("ip", "address", "add", f"{self.address}/30", "dev", "eth0")
        self.run("ip", "link", "set", "lo", "up")
        self.plug()

    def _until_unshared(self):
        here, there = (Path(f"/proc/{who}/ns/uts") for who in ("self", self._holder.pid))
        give_up = time.monotonic() + 30
        while here.samefile(there):
            assert self._holder.poll() is None, "unshare failed"
            assert time.monotonic() < give_up, "unshare hangs"
            time.sleep(0.01)

    @property
    def prefix(self):
        """Command that runs the command after it on the machine."""
        return ["nsenter", f"--target={self._holder.pid}", "--net", "--uts", "--mount", "--"]

    def run(self, *command):
        """Run a command on the machine, to its end."""
        _run(*self.prefix, *command)

    def unplug(self):
        """Take its network down: what is sent is lost, and no connection is closed."""
        self.run("ip", "link", "set", "eth0", "down")

    def plug(self):
        """Bring its network back."""
        self.run("ip", "link", "set", "eth0", "up")

    def hide(self, folder):
        """Let a folder be empty on the machine, as if its share were not mounted."""
        self.run("mount", "-t", "tmpfs", "none", folder)

    def replace(self, folder, other):
        """Let a folder be another one on the machine, as if that were mounted in its place."""
        self.run("mount", "--bind", other, folder)

    def show(self, folder):
        """Let the machine see a hidden folder again; programs that are in it keep the empty one."""
        self.run("umount", "--lazy", folder)

    def end(self):
        """Let the machine go, once its programs have ended."""
        self._holder.communicate()


def why_none():
    """Return the reason why no machine can be made here; empty if one can be."""
    missing = [name for name in ("ip", "nsenter", "unshare") if shutil.which(name) is None]
    if missing:
        return f"needs {' and '.join(missing)} (of Debian's iproute2 and util-linux)"
    try:
        Machine().end()
    except (AssertionError, subprocess.CalledProcessError):
        return "network namespaces are not allowed here (they need root)"
    return ""


def _run(*command):
    subprocess.run([str(word) for word in command], check=True, capture_output=True)
