"""Weights and checkpoints on disk, written atomically and read without executing any code."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from livepick.errors import TrainerError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.learning.train import Checkpoint

__all__ = ["CHECKPOINT", "load_checkpoint", "load_weights", "save_checkpoint", "save_weights"]

CHECKPOINT = "checkpoint.pt"


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint to ``path``, replacing an earlier one."""
    _save(path, checkpoint.to_dict())


def load_checkpoint(path: Path) -> Checkpoint | None:
    """Return the checkpoint at ``path``, or None if there is none yet.

    Raises
    ------
    TrainerError
        The checkpoint is damaged.
    """
    if not path.exists():
        return None
    try:
        return Checkpoint.from_dict(_load(path))
    except (TypeError, KeyError) as error:
        raise _damaged(path, error) from error


def save_weights(path: Path, network: nn.Module) -> None:
    """Write the weights of a network."""
    _save(path, network.state_dict())


def load_weights(path: Path, network: nn.Module) -> None:
    """Read weights into ``network``, which must have the same architecture.

    Raises
    ------
    TrainerError
        The file is damaged or belongs to another architecture.
    """
    try:
        network.load_state_dict(_load(path))
    except RuntimeError as error:
        raise _damaged(path, error) from error


def _save(path: Path, entries: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(entries, buffer)
    write_atomically(path, buffer.getvalue())


def _load(path: Path) -> dict[str, Any]:
    try:
        entries: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError) as error:
        raise _damaged(path, error) from error
    return entries


def _damaged(path: Path, error: Exception) -> TrainerError:
    first_line = str(error).partition("\n")[0]
    return TrainerError(
        f"{path} cannot be used: {first_line}",
        f"Remove the folder {path.parent}; training then starts from its first epoch.",
    )
