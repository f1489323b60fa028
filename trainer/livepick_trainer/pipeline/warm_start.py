"""Schedule of a training that starts from the weights of another model.

A network with a head start, one whose loss on the held-out patches is lower than that of a blind
guess before it is trained, takes half of the epochs. One without takes all of them: on the single
frames of EMPIAR-10146, the general model begins far above the loss of a blind guess, and has
nothing to save. Before the training, the norms of the weights become those of a fresh network
(``network.reset_weight_norms``). Without this, a training from the general model learned the frames
more slowly than one from random weights, and came to a higher loss even on the training patches.

One half of each set was learned, the other picked (``tests/benchmarks/ablation.py --folds 1``).
Average precision, best F1, F1 as written, and CPU seconds of both rounds, with the seed 1:

=======================  ============================  ============================
set, micrographs         random weights                general model
=======================  ============================  ============================
10146 sums, 5            .994 / .986 / .982, 84 s      .992 / .986 / .985, 59 s
10146 frames, 5          .549 / .647 / .645, 112 s     .546 / .641 / .633, 86 s
10017, 5                 .786 / .831 / .817, 143 s     .775 / .830 / .823, 85 s
proteasome, 10           .906 / .913 / .881, 104 s     .948 / .925 / .910, 60 s
β-galactosidase, 10      .898 / .909 / .899, 79 s      .898 / .908 / .884, 63 s
β-galactosidase, 5       .888 / .898 / .896, 123 s     .880 / .903 / .899, 94 s (*)
β-galactosidase, 3       not measured                  .809 / .870 / .866, 102 s (*)
apoferritin, 10          .986 / .986 / .974, 60 s      .982 / .984 / .976, 55 s
apoferritin, 3           not measured                  .980 / .982 / .953, 33 s
proteasome, 5            not measured                  .917 / .905 / .880, 36 s
proteasome, 3            not measured                  .897 / .908 / .837, 48 s
10146 frames, 3          not measured                  .487 / .605 / .603, 59 s
10146 sums, 3            not measured                  .990 / .987 / .985, 64 s
=======================  ============================  ============================

(*) The curves showed overfitting, and the first training was repeated twice.

Another seed changed the average precision after a start from random weights by .004 on EMPIAR-10017
and by .022 on the simulated β-galactosidase (both halves, an earlier version).

On the frames, with an earlier general model: .501 / .601 without new norms and with half of the
epochs, .523 / .625 with new norms, .533 / .642 with all epochs too.
"""

import math
from collections.abc import Sequence

from livepick_trainer.learning.dataset import Batch
from livepick_trainer.learning.losses import loss_scale, mean_loss
from livepick_trainer.learning.network import PickingNetwork
from livepick_trainer.pipeline.run_context import Run

__all__ = ["WARM_EPOCHS", "has_head_start", "scheduled_epochs"]

WARM_EPOCHS = 0.5
"""Share of the configured epochs for a network with a head start."""


def has_head_start(
    run: Run, network: PickingNetwork, judged: Sequence[Batch], *, positive_weight: float
) -> bool:
    """Return True if the training starts from another model that knows these particles.

    It knows them if its loss on the held-out patches is lower than that of a blind guess.
    """
    if run.spec.start is None:
        return False
    loss = mean_loss(network, judged, positive_weight=positive_weight)
    return loss_scale(judged, positive_weight=positive_weight).progress(loss) > 0


def scheduled_epochs(configured: int, *, head_start: bool) -> int:
    """Return the number of epochs to train."""
    return math.ceil(configured * WARM_EPOCHS) if head_start else configured
