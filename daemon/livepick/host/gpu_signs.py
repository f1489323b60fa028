"""Signs that this machine has an NVIDIA GPU, whether or not it works."""

import contextlib
import shutil
from pathlib import Path

__all__ = ["gpu_sign"]

_DEVICES = Path("/dev")
_DRIVER = Path("/proc/driver/nvidia/version")
_PCI = Path("/sys/bus/pci/devices")

_NVIDIA = "0x10de"
_DISPLAY = "0x03"
"""PCI vendor, and the class of graphics cards and accelerators; a GPU's sound is of another."""


def gpu_sign() -> str:
    """Return a sign of an NVIDIA GPU, in words; empty if there is none.

    A GPU whose driver is broken or not loaded is still on the PCI bus, and its programs are still
    installed: without a sign, nobody expects a GPU to be used here.
    """
    if any(_DEVICES.glob("nvidia[0-9]*")) or (_DEVICES / "dxg").exists():
        return "/dev has an NVIDIA device"
    if _DRIVER.exists():
        return "the NVIDIA driver is loaded"
    if shutil.which("nvidia-smi") is not None:
        return "nvidia-smi is installed"
    with contextlib.suppress(OSError):
        for device in _PCI.iterdir():
            with contextlib.suppress(OSError):
                vendor = (device / "vendor").read_text().strip()
                kind = (device / "class").read_text().strip()
                if vendor == _NVIDIA and kind.startswith(_DISPLAY):
                    return f"there is an NVIDIA GPU on the PCI bus ({device.name})"
    return ""
