"""Check of the packages that the trainer needs on a machine."""

import importlib.util

__all__ = ["missing_packages"]


def missing_packages() -> list[str]:
    """Return which packages of the trainer are not installed on this machine.

    None of them is imported: the processes of the service and of a worker never load torch.
    """
    wanted = ("livepick_trainer", "torch", "matplotlib")
    return [package for package in wanted if importlib.util.find_spec(package) is None]
