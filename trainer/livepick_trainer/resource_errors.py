"""Errors caused by the machine and not by the data: memory or disk space has run out.

If memory runs out once, it will run out again, so the run fails with an error that names the
settings that need less. A full disk is temporary: the run waits for space and then continues.
"""

import errno

import torch

from livepick.errors import LivepickError, TrainerError

__all__ = ["is_full_disk", "resource_error"]

_AGAIN = "then raise training.generation to start another run."

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


def is_full_disk(error: BaseException) -> bool:
    """Return True if an error, or any error in its chain, was caused by a full disk or quota."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError) and seen.errno in _NO_ROOM:
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def resource_error(error: BaseException) -> LivepickError | None:
    """Return an error that names the exhausted resource; None if it was neither memory nor disk."""
    if is_full_disk(error):
        return TrainerError(
            "the disk with the training run is full",
            "Free disk space; the run then continues by itself where it stopped.",
        )
    if isinstance(error, torch.OutOfMemoryError):
        return TrainerError(
            "the GPU does not have enough memory for the training",
            "Lower training.minibatch_size, raise training.gpu_memory_fraction, or set"
            f" training.device to another GPU (such as cuda:1) or to cpu; {_AGAIN}",
        )
    if isinstance(error, MemoryError) or _is_torchs_memory_error(error):
        return TrainerError(
            "the machine does not have enough memory for the training",
            f"Lower bootstrap.micrographs or training.minibatch_size, or free memory; {_AGAIN}",
        )
    return None


def _is_torchs_memory_error(error: BaseException) -> bool:
    # On the CPU torch raises a plain RuntimeError with these words.
    return isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
