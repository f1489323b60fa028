"""``python -m livepick_trainer.pretrain OUT``: make the general model from synthetic scenes.

``OUT/general/`` is the bundle, written anew at every report. ``OUT/checkpoint.pt`` is where a
training that was stopped continues when the same command is called again. The same settings give
the same weights on the same machine. One core is used.
"""

import argparse
import io
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

from livepick.core.contracts.bundle import sha256
from livepick.errors import LivepickError, TrainerError
from livepick.host.atomic_files import write_atomically
from livepick_trainer.pretrain.operating_point import HELD_OUT_SEED, measure
from livepick_trainer.pretrain.publishing import publish_general
from livepick_trainer.pretrain.structure_files import read_structures
from livepick_trainer.pretrain.training import PretrainRecipe, Progress, pretrain

__all__ = ["BUNDLE", "CHECKPOINT", "main"]

CHECKPOINT, BUNDLE = "checkpoint.pt", "general"

_log = logging.getLogger("livepick_trainer")


def main(argv: Sequence[str] | None = None) -> int:
    """Make the general model; return the exit status."""
    given = _arguments(argv)
    logging.basicConfig(
        level=logging.INFO, stream=sys.stderr, format="%(asctime)s %(levelname)s %(message)s"
    )
    torch.set_num_threads(1)
    try:
        _make(given)
    except LivepickError as error:
        sys.stderr.write(f"livepick_trainer.pretrain: {error.what}\n  {error.remedy}\n")
        return 1
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    usual = PretrainRecipe()
    parser = argparse.ArgumentParser(
        prog="python -m livepick_trainer.pretrain", description=__doc__
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--steps", type=int, default=usual.steps)
    parser.add_argument(
        "--structures",
        type=Path,
        metavar="FOLDER",
        help="PDB and mmCIF files that half of the specimens are made from; without them, all are"
        " random shapes",
    )
    parser.add_argument(
        "--start",
        type=Path,
        metavar="WEIGHTS",
        help="weights.npz of the bundle that the training starts from; without it, from random"
        " weights",
    )
    parser.add_argument("--highest-rate", type=float, default=usual.highest_rate, metavar="RATE")
    parser.add_argument("--report-every", type=int, default=2500, metavar="STEPS")
    parser.add_argument("--held-out-scenes", type=int, default=120, metavar="SCENES")
    given = parser.parse_args(argv)
    if given.seed == HELD_OUT_SEED:
        parser.error(f"{HELD_OUT_SEED} is the seed of the held-out scenes")
    return given


def _make(given: argparse.Namespace) -> None:
    """Train from the last checkpoint to the last step; each report writes checkpoint and bundle."""
    start = None if given.start is None else _read(given.start)
    digest = "" if start is None else sha256(start)
    recipe = PretrainRecipe(
        seed=given.seed, steps=given.steps, highest_rate=given.highest_rate, start_sha256=digest
    )
    structures = {} if given.structures is None else read_structures(given.structures)
    _log.info("%d structures, half of the specimens if there are any", len(structures))
    given.out.mkdir(parents=True, exist_ok=True)

    def report(progress: Progress) -> None:
        write_atomically(given.out / CHECKPOINT, _to_bytes(progress.checkpoint))
        figures = measure(progress.network, scenes=given.held_out_scenes, rules=recipe.scenes)
        publish_general(given.out / BUNDLE, progress, recipe, figures, structures=list(structures))
        _log.info(
            "step %d of %d: loss %.4f, held-out scenes AP %.3f, faint ones AP %.3f, threshold %.2f,"
            " %.0f CPU s",
            progress.step,
            recipe.steps,
            progress.loss,
            figures.average_precision,
            figures.faint_average_precision,
            figures.threshold,
            progress.cpu_seconds,
        )

    pretrain(
        recipe,
        list(structures.values()),
        start=start,
        resume=_read_checkpoint(given.out / CHECKPOINT),
        report_every=given.report_every,
        report=report,
    )


def _read(weights: Path) -> bytes:
    try:
        return weights.read_bytes()
    except OSError as error:
        raise TrainerError(
            f"{weights} cannot be read: {error}", "Name the weights.npz of a bundle in --start."
        ) from error


def _to_bytes(checkpoint: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.save(checkpoint, buffer)
    return buffer.getvalue()


def _read_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the checkpoint of an earlier call, or None if there is none."""
    if not path.exists():
        return None
    try:
        checkpoint: dict[str, Any] = torch.load(path, weights_only=True)
    except Exception as error:
        raise TrainerError(
            f"{path} cannot be read: {error}", "Remove it; the training then starts again."
        ) from error
    return checkpoint


if __name__ == "__main__":
    sys.exit(main())
