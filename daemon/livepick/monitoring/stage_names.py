"""Names of the stages of a training run, for display."""

from typing import Final

from livepick.core.contracts.progress import Stage

__all__ = ["STAGE_NAMES"]

STAGE_NAMES: Final[dict[Stage, str]] = {
    "prepare": "reading the micrographs",
    "reseed": "picking again with templates",
    "classify": "2D classification",
    "select": "selecting the classes",
    "train": "training",
    "retrain": "training a second round on its own picks",
    "evaluate": "evaluating on held-out micrographs",
    "export": "exporting the model",
    "publish": "publishing the model",
    "done": "done",
    "failed": "failed",
}
