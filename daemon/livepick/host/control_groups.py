"""Our control groups (a systemd unit, a container, a batch job), of either version."""

from collections.abc import Iterator
from pathlib import Path

__all__ = ["own_groups", "with_parents"]

_PROC = Path("/proc")
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def own_groups(controller: str) -> list[Path]:
    """Return the folders of our control group, in each hierarchy that knows a controller.

    Parameters
    ----------
    controller
        ``memory`` or ``cpu``.
    """
    try:
        lines = (_PROC / "self" / "cgroup").read_text().splitlines()
    except OSError:
        return []
    folders = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            folders.append(_CONTROL_GROUPS / path.lstrip("/"))
        elif controller in controllers.split(","):
            folders.append(_CONTROL_GROUPS / controller / path.lstrip("/"))
    return folders


def with_parents(group: Path) -> Iterator[Path]:
    """Yield the folder of a control group, and those of the groups around it."""
    for folder in (group, *group.parents):
        if not folder.is_relative_to(_CONTROL_GROUPS):
            return
        yield folder
