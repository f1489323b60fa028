"""Fit the weights of the automatic diameter to simulated sessions of random specimens.

    python tests/benchmarks/diameter_fit.py [--sessions N] [--micrographs N] [--model BUNDLE]
        [--keep FOLDER]

The weights are fitted to the sessions with even numbers, then to those with odd numbers, and each
time the others are judged: how often the diameter is right within 20 %, how often that is said, and
which wrong numbers are contradicted. At last they are fitted to all sessions, and printed for
``livepick.particle.size_posterior``. It is to be run again when the general model is replaced. It
takes two seconds of CPU time a micrograph; what was measured is kept in a folder (``--keep``).
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from diameter import FIRST, RIGHT, WRONG, kept_evidence
from numpy.typing import NDArray
from random_sessions import junk_field, random_session, simulated
from rich.console import Console
from scipy import optimize

from livepick.core.contracts.particle_measurement import DEFAULT_BOUNDS_ANGSTROM, ParticleEvidence
from livepick.models.general_model import SHIPPED
from livepick.particle import size_posterior
from livepick.particle.decide import contradiction, decide
from livepick.particle.size_posterior import PLACES, REACH, Weights, features, probabilities

CONSOLE = Console(width=140)

START = Weights(
    signal=(0.0,) * REACH + (1.0,) + (0.0,) * REACH,
    own=(0.0, 0.0, 0.0),
    nothing=3.0,
    growth=0.4,
)
"""Weights from which the fit begins, and towards which it is drawn."""

DRAWN = 0.3
"""Strength of that."""

LEAST_PROBABILITY = 1e-4
"""Lower probabilities cost no more than this one: a few sessions cannot be understood."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What was measured in a session."""

    name: str
    true_angstrom: float | None
    evidence: tuple[ParticleEvidence, ...]


def main() -> int:
    """Print the tables and the weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--sessions", type=int, default=40)
    parser.add_argument("--micrographs", type=int, default=FIRST)
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--keep", type=Path, help="keep micrographs and evidence in this folder")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="livepick-diameter-") as name:
        place = given.keep or Path(name)
        sessions = []
        for number in range(given.sessions):
            one = random_session(number)
            files = [simulated(one, index, place) for index in range(given.micrographs)]
            evidence = tuple(kept_evidence(path, given.model, place) for path in files)
            sessions.append(Seen(f"random {number}", one.true_angstrom, evidence))
        for number in range(given.sessions // 2):
            files = [junk_field(number, index, place) for index in range(given.micrographs)]
            evidence = tuple(kept_evidence(path, given.model, place) for path in files)
            sessions.append(Seen(f"junk {number}", None, evidence))
    judge_halves(sessions)
    CONSOLE.print(fitted(sessions))
    return 0


def judge_halves(sessions: Sequence[Seen]) -> None:
    """Print what weights that were fitted to one half of the sessions say about the other."""
    rows: list[dict[str, Any]] = []
    for half in range(2):
        weights = fitted(sessions[half::2])
        for one in sessions[1 - half :: 2]:
            rows.append(judged(one, weights))
            CONSOLE.print(*(f"{key} {value}" for key, value in rows[-1].items()), style="dim")
    found = [row for row in rows if row["ratio"] is not None]
    right = [row for row in found if 1 / 1.2 <= row["ratio"] <= 1.2]
    missing = sum(row["true"] is None and row["found"] is not None for row in rows)
    CONSOLE.print(
        f"with particles {sum(row['true'] is not None for row in rows)}: named {len(found)}, within"
        f" 20 % {len(right)}; without particles {sum(row['true'] is None for row in rows)}: named"
        f" {missing}"
    )
    for low, high in ((0.0, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        some = [row for row in rows if row["found"] and low <= row["sure"] < high]
        if some:
            hits = sum(row in right for row in some)
            CONSOLE.print(f"confidence {low:.1f} to {high:.1f}: {hits} of {len(some)} are right")
    for times in (*WRONG, *RIGHT):
        flagged = sum(times in row["flagged"] for row in rows)
        CONSOLE.print(f"{times:g} times the diameter: contradicted {flagged}")


def judged(one: Seen, weights: Weights) -> dict[str, Any]:
    """Return what weights say about a session."""
    with mock.patch.object(size_posterior, "BY_MODEL", weights):
        verdict = decide(one.evidence)
        true, best = one.true_angstrom, verdict.best
        flagged = [
            times
            for times in (*WRONG, *RIGHT)
            if true is not None
            and contradiction(verdict, diameter_angstrom=times * true, contrast="dark")
        ]
    ratio = None if true is None or best is None else best.diameter_angstrom / true
    return {
        "name": one.name,
        "true": None if true is None else round(true),
        "found": None if best is None else best.words,
        "ratio": None if ratio is None else round(ratio, 2),
        "sure": round(verdict.confidence, 2),
        "flagged": flagged,
    }


def fitted(sessions: Sequence[Seen]) -> Weights:
    """Return the weights that make what is true of the sessions most probable.

    Each session counts once as a whole, and once more as single micrographs.
    """
    cases = [(one.true_angstrom, one.evidence, 1.0) for one in sessions]
    for one in sessions:
        cases += [(one.true_angstrom, (e,), 1 / len(one.evidence)) for e in one.evidence]
    made = [features(seen, bounds_angstrom=DEFAULT_BOUNDS_ANGSTROM) for _, seen, _ in cases]
    values, possible = (np.array(part) for part in zip(*made, strict=True))
    counts = np.array([len(seen) for _, seen, _ in cases])
    shares = np.array([share for *_, share in cases])
    # Weights of the places around the true diameter; all 0 if there are no particles.
    truth = np.array([_around(true_angstrom) for true_angstrom, *_ in cases])
    is_empty = truth.sum(axis=1) == 0
    start = _vector(START)

    def cost(vector: NDArray[np.float64]) -> float:
        particles, nothing = probabilities(values, possible, counts, _weights(vector))
        probability = np.where(is_empty, nothing, (truth * particles[:, 0]).sum(axis=1))
        missed = -float((shares * np.log(probability + LEAST_PROBABILITY)).sum())
        return missed + DRAWN * float(((vector - start) ** 2).sum())

    found = optimize.minimize(cost, start, method="L-BFGS-B", options={"maxiter": 60})
    return _weights(found.x.round(3))


def _around(true_angstrom: float | None) -> NDArray[np.float64]:
    """Return the weights that interpolate between the two places next to a diameter."""
    if true_angstrom is None:
        return np.zeros(len(PLACES))
    away = np.abs(PLACES - np.log(true_angstrom)) / (PLACES[1] - PLACES[0])
    return np.asarray(np.clip(1 - away, 0, 1))


def _vector(weights: Weights) -> NDArray[np.float64]:
    return np.array([*weights.signal, *weights.own, weights.nothing, weights.growth])


def _weights(vector: NDArray[np.float64]) -> Weights:
    width = 2 * REACH + 1
    low, here, high = vector[width : width + 3].tolist()
    nothing, growth = vector[width + 3 :].tolist()
    return Weights(
        signal=tuple(vector[:width].tolist()),
        own=(low, here, high),
        nothing=nothing,
        growth=growth,
    )


if __name__ == "__main__":
    sys.exit(main())
