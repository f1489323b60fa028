"""Judge pairs of models with the real gate, where it is known which model is better.

    python tests/benchmarks/gate_pairs.py [--data FOLDER] [--sets NAME ...] [--seed N]
        [--work FOLDER]

Each set of ``ablation.py`` is split into two halves, and the trainer gets one. Then the gate makes
these comparisons on the held-out micrographs of the run and with its labels: the trained model
against the blob picker; models trained on another specimen against the blob picker and against the
trained model; and the trained model against these. The true result on the other half is printed
beside each decision.

A verdict is right if it promotes a model that is better by more than 0.01 in true average precision
and rejects one that is worse by more than that. In between, both verdicts are right.
"""

import argparse
import logging
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from ablation import (
    SIMULATIONS,
    STEPS,
    Material,
    blob_seeds,
    real_material,
    score,
    simulated_material,
    train,
)
from gate import here
from rich.console import Console

from livepick.config.schema import Config
from livepick.core.contracts.bundle import GRAPH, publish, read_card
from livepick.core.contracts.held_out_labels import HELD_OUT
from livepick.core.evaluation.matching import figures
from livepick.models.bundle_on_disk import Bundle
from livepick.picking.worker import pick
from livepick.retraining.promotion_gate import PromotionGate
from real_sets import DEFAULT_DATA, SETS

CONSOLE = Console(width=160, highlight=False)
SAME = 0.01
"""Difference in true average precision up to which two models count as equal."""
DEFAULT_SETS = (
    "10146-sums",
    "10017",
    "sim-proteasome",
    "sim-galactosidase",
    "sim-spike",
    "crowded-700",
)
STRANGERS = 1
"""Number of models of other specimens for each set."""


@dataclass(frozen=True, slots=True)
class Trained:
    """Model that the trainer made from half of a set."""

    material: Material
    blob: Bundle
    own: Bundle
    unseen: list[int]


def main() -> int:
    """Print a line for each pair; return 1 if the gate fails in more than a tenth of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--data", type=Path, default=Path(os.environ.get("LIVEPICK_DATA", DEFAULT_DATA))
    )
    parser.add_argument("--sets", nargs="*", choices=[*SETS, *SIMULATIONS], default=DEFAULT_SETS)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, help="keep models in this folder and reuse them")
    given = parser.parse_args()
    logging.basicConfig(level=logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="livepick-gate-") as temporary:
        work = given.work or Path(temporary)
        trained = [
            _trained(name, given.data, work / name, given.seed)
            for name in given.sets
            if name in SIMULATIONS or given.data.is_dir()
        ]
        verdicts = [right for number in range(len(trained)) for right in _judge(trained, number)]
    CONSOLE.print(f"{sum(verdicts)} of {len(verdicts)} verdicts are correct")
    return 0 if sum(verdicts) >= 0.9 * len(verdicts) else 1


def _trained(name: str, data: Path, work: Path, seed: int) -> Trained:
    place = work / "micrographs"
    material = (
        real_material(SETS[name], data, place)
        if name in SETS
        else simulated_material(name, SIMULATIONS[name], place)
    )
    blob, seeds = blob_seeds(material, work)
    folder = work / f"gate-{seed}"
    own = folder / "models" / "0001"
    if not own.is_dir():
        train(material, seeds[::2], STEPS["second-round"], folder, seed)
    unseen = list(range(len(seeds)))[1::2]
    return Trained(material, Bundle(blob, read_card(blob)), Bundle(own, read_card(own)), unseen)


def _judge(trained: Sequence[Trained], number: int) -> list[bool]:
    """Print the verdicts on the pairs of a set; return True for each that is right."""
    this = trained[number]
    truth = {id(b): _true_average_precision(this, b) for b in (this.blob, this.own)}
    pairs = [("trained", this.own, "blob picker", this.blob)]
    for step in range(1, STRANGERS + 1):
        other = trained[(number + step) % len(trained)]
        if other is this:
            continue
        stranger = _of_this_particle(other, this, version=100 + step)
        truth[id(stranger)] = _true_average_precision(this, stranger)
        name = f"of {other.material.name}"
        pairs += [
            (name, stranger, "blob picker", this.blob),
            (name, stranger, "trained", this.own),
            ("trained", this.own, name, stranger),
        ]
    gate = PromotionGate(_config(this), lambda job: here(pick, job), here)
    right = []
    for candidate_name, candidate, current_name, current in pairs:
        decision = gate.judge(candidate, current, requested=True).decision
        gain = truth[id(candidate)] - truth[id(current)]
        right.append(abs(gain) <= SAME or decision.promote == (gain > 0))
        CONSOLE.print(
            f"{'right' if right[-1] else 'WRONG'}: {this.material.name}: {candidate_name} against"
            f" {current_name}: {'promoted' if decision.promote else 'kept aside'}; true AP"
            f" {truth[id(candidate)]:.3f} against {truth[id(current)]:.3f} ({gain:+.3f}); gate:"
            f" {decision.sentence}",
            soft_wrap=True,
        )
    return right


def _of_this_particle(other: Trained, this: Trained, *, version: int) -> Bundle:
    """Publish a model of another specimen as if the run of this session had trained it."""
    card = replace(
        this.own.card,
        version=version,
        threshold=other.own.card.threshold,
        graph_sha256=other.own.card.graph_sha256,
        normalization=other.own.card.normalization,
    )
    models = this.own.path.parent
    path = models / f"{version:04d}"
    if not path.is_dir():
        labels = (this.own.path / HELD_OUT).read_bytes()
        publish(models, card, {GRAPH: (other.own.path / GRAPH).read_bytes(), HELD_OUT: labels})
    return Bundle(path, read_card(path))


def _true_average_precision(this: Trained, bundle: Bundle) -> float:
    matches, _ = score(this.material, bundle.path, this.unseen)
    return figures(matches).average_precision


def _config(this: Trained) -> Config:
    state = this.own.path.parent.parent
    return Config.model_validate(
        {
            "session": {"name": "gate"},
            "watch": {"directories": [str(this.material.micrographs[0].parent)]},
            "particle": {"diameter_angstrom": this.material.diameter_angstrom},
            "picking": {"device": "cpu"},
            "output": {"directory": str(state / "out")},
            "state": {"directory": str(state)},
        }
    )


if __name__ == "__main__":
    sys.exit(main())
