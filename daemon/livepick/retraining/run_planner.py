"""Planning of runs: decide if a new run is due, and write its specification.

A run is due when the config's training fingerprint has none and ``bootstrap.picks`` gives enough to
learn from. If an earlier run differs only in what comes after the 2D classes, such as a person's
choice of classes or the learning rates, the new run takes over its seeds immediately, and the
trainer takes over its preparation and sorting: the numbers in ``classes.png`` then keep their
meaning.
"""

import logging
import time
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from livepick.config.schema import Config
from livepick.config.training_sections import Classes
from livepick.core.contracts.bundle import ModelCard, bundle_name
from livepick.core.contracts.run import RUNS, RunMicrograph, RunSpec
from livepick.errors import ModelError
from livepick.ledger.known_ctfs import known_ctfs
from livepick.ledger.reader import LedgerReader
from livepick.models.bundle_on_disk import Bundle
from livepick.models.registry import Models
from livepick.models.start_weights import StartWeights, read_start_weights
from livepick.retraining.holdout_split import split
from livepick.retraining.instruments import Instruments
from livepick.retraining.run_store import Runs, Waiting, write_waiting
from livepick.retraining.seed_sources import (
    MicrographOrder,
    Seeds,
    SeedsFromEither,
    SeedsFromLedger,
    SeedSource,
    WaitReason,
)
from livepick.retraining.seeds_from_coordinates import SeedsFromCoordinates
from livepick.retraining.seeds_from_model import SeedsFromModel
from livepick.retraining.trial_picking import Submit

__all__ = ["RunPlanner", "with_ctfs"]

COLLECT_SECONDS = 10.0
"""Time between two checks for seeds while no further micrograph is picked."""

_log = logging.getLogger(__name__)


class RunPlanner:
    """Decides if a run is due, and creates it in the folder ``runs`` of the state folder.

    Parameters
    ----------
    ledger
        Read access to the picked micrographs.
    submit
        Function that submits a job to the workers, for seeds by a model that is not in use.
    particle_waits
        Returns why no run may begin until more is known about the particle; None if one may.
    fingerprint
        Fingerprint of the new run: the config's, or that of a run that is due for another reason.
    latest
        True if the run is to learn from the latest micrographs.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Models,
        metrics: Instruments,
        ledger: LedgerReader,
        submit: Submit,
        particle_waits: Callable[[], str | None] = lambda: None,
        fingerprint: str | None = None,
        latest: bool = False,
    ) -> None:
        self._particle_waits = particle_waits
        self._was_held = False
        self._config = config
        self._models = models
        self._metrics = metrics
        self._ledger = ledger
        self._submit = submit
        self._latest = latest
        self._fingerprint = fingerprint or config.training_fingerprint()
        self._folder = config.state.directory / RUNS
        self._runs = Runs(self._folder)
        self._source: SeedSource | None = None
        self._seeds_by: int | None = None
        self._last_reason: WaitReason | None = None
        self._collected: tuple[int, float] | None = None

    def open_run(self, failed: Collection[int]) -> Path | None:
        """Return the run to continue with, or a new one if one is due; None if there is none.

        Parameters
        ----------
        failed
            Versions of runs that are not tried again.

        Raises
        ------
        EngineError
            Workers cannot be started.
        OSError
            Writing to the state folder failed.
        """
        known = self._runs.latest(self._fingerprint)
        if known is not None:
            return None if int(known.name) in failed else known
        is_released = self._was_held and self._particle_waits() is None
        if not is_released and not self._is_time_to_collect():
            return None
        config = self._config
        try:
            start = read_start_weights(config.training)
        except ModelError as error:
            self._wait(WaitReason(f"Training cannot start: {error}", "trouble"))
            return None
        earlier = self._runs.to_continue(config.particle, config.bootstrap, config.training)
        if earlier is not None and not self._latest and not self._is_held():
            return self._new_run(
                Seeds(
                    earlier.micrographs,
                    earlier.seeds_from,
                    earlier.seed_threshold,
                    earlier.parent,
                    earlier.unmatched,
                    earlier.orientation,
                ),
                start,
                continues=bundle_name(earlier.version),
            )
        current = self._models.current(self._config).card
        if self._source is None or self._seeds_by != current.version:
            self._source, self._seeds_by = self._make_source(current), current.version
        seeds = self._source.collect(self._runs.held_out())
        if isinstance(seeds, WaitReason):
            self._wait(seeds)
            return None
        return None if self._is_held() else self._new_run(seeds, start)

    def _is_held(self) -> bool:
        """Return True if no run may begin, because the particle is not certain."""
        sentence = self._particle_waits()
        self._was_held = sentence is not None
        if sentence is not None:
            self._wait(WaitReason(sentence, "particle"))
        return self._was_held

    def _is_time_to_collect(self) -> bool:
        """Return True if seeds may have changed: collecting them reads the ledger and the disk."""
        picked, now = self._ledger.counts().picked, time.monotonic()
        soon = self._last_reason is not None and self._last_reason.kind == "at work"
        if not soon and self._collected is not None:
            picked_then, then = self._collected
            if picked_then == picked and now - then < COLLECT_SECONDS:
                return False
        self._collected = (picked, now)
        return True

    def _wait(self, why: WaitReason) -> None:
        """Save the reason for waiting, for the status; log it when its kind changes."""
        if why == self._last_reason:
            return
        if self._last_reason is None or why.kind != self._last_reason.kind or why.kind == "trouble":
            if why.kind == "trouble":
                _log.error("training: %s", _as_log(why.sentence))
                self._metrics.training_failed(self._reason)
            elif why.kind != "collecting":
                _log.info("training: %s", _as_log(why.sentence))
        word = Waiting(
            fingerprint=self._fingerprint, sentence=why.sentence, trouble=why.kind == "trouble"
        )
        write_waiting(self._folder, None if why.kind == "collecting" else word)
        self._last_reason = why

    @property
    def _reason(self) -> str:
        """Label of the obstacle in the metrics."""
        return "coordinates" if isinstance(self._source, SeedsFromCoordinates) else "model"

    def _make_source(self, current: ModelCard) -> SeedSource:
        """Return the source of seeds that ``bootstrap.picks`` asks for."""
        config, ledger, picks = self._config, self._ledger, self._config.bootstrap.picks
        later = config.training.generation > 1
        order = MicrographOrder(
            ledger, "latest" if self._latest else "spread" if later else "landed"
        )
        if isinstance(picks, str):
            first, blob = self._models.first_picker(config), self._models.blob(config)
            source = self._made_by(first, current, order)
            if first is None or first.card.kind == "blob":
                return source
            return SeedsFromEither(source, self._made_by(blob, current, order))
        if picks.model is not None:
            return SeedsFromModel(config, ledger, self._submit, picks.model, order=order)
        if picks.coordinates is not None:
            return SeedsFromCoordinates(config, ledger, picks.coordinates)
        raise ValueError("bootstrap.picks has neither model nor coordinates")

    def _made_by(
        self, picker: Bundle | None, current: ModelCard, order: MicrographOrder
    ) -> SeedSource:
        """Return the source of a first picker's seeds: the ledger, if it is the one in use."""
        config, ledger = self._config, self._ledger
        if picker is None or picker.card == current:
            return SeedsFromLedger(config, ledger, current, order)
        return SeedsFromModel(config, ledger, self._submit, picker.path, order=order, own=True)

    def _new_run(
        self, seeds: Seeds, start: StartWeights | None, *, continues: str | None = None
    ) -> Path:
        with self._models.version_lock:
            version = self._models.next_version(besides=self._folder)
            spec = self._spec(seeds, version, start, continues)
            folder = self._runs.create(spec, start.content if start else None)
        write_waiting(self._folder, None)
        for sentence in seeds.unmatched + seeds.orientation:
            _log.info("run %s: coordinates: %s", folder.name, sentence)
        _log.info("run %s: %s", folder.name, _described(spec))
        return folder

    def _spec(
        self, seeds: Seeds, version: int, start: StartWeights | None, continues: str | None
    ) -> RunSpec:
        config = self._config
        bootstrap = config.bootstrap
        if continues is None and bootstrap.classes != Classes():
            # The numbers are those of an earlier sorting, and this run will sort anew.
            bootstrap = bootstrap.model_copy(update={"classes": Classes()})
            _log.warning(
                "run %04d: it sorts into new 2D classes, so bootstrap.classes, which has numbers of"
                " earlier ones, is not used; remove it, or decide again when they are there",
                version,
            )
        return RunSpec(
            version=version,
            parent=seeds.parent,
            fingerprint=self._fingerprint,
            particle_fingerprint=config.particle_fingerprint(),
            models_directory=self._models.directory,
            particle=config.particle,
            training=config.training,
            bootstrap=bootstrap,
            seeds_from=seeds.seeds_from,
            seed_threshold=seeds.threshold,
            start=start.for_run() if start else None,
            continues=continues,
            unmatched=seeds.unmatched,
            orientation=seeds.orientation,
            micrographs=with_ctfs(
                split(
                    seeds.micrographs,
                    threshold=seeds.threshold,
                    held_out_fraction=config.training.held_out_fraction,
                    held_out_before=self._runs.held_out(),
                    trained_on_before=self._runs.trained_on(),
                ),
                config,
                self._ledger,
            ),
        )


def _as_log(sentence: str) -> str:
    """Return a status sentence in the form of a log line about training."""
    return sentence.removeprefix("Training ").rstrip(".")


def _described(spec: RunSpec) -> str:
    held_out = sum(micrograph.held_out for micrograph in spec.micrographs)
    picks = spec.bootstrap.picks
    if spec.parent is not None or isinstance(picks, str):
        made_by = f"model {spec.parent}"
    else:
        made_by = str(picks.model or picks.coordinates)
    sentence = (
        f"training on {len(spec.micrographs) - held_out} micrographs, {held_out} more held out,"
        f" with picks of {made_by}"
    )
    if spec.start is not None:
        sentence += f", starting from the weights of {spec.start.name}"
    return f"{sentence}, as run {spec.continues} sorted them" if spec.continues else sentence


def with_ctfs(
    micrographs: Sequence[RunMicrograph], config: Config, ledger: LedgerReader
) -> list[RunMicrograph]:
    """Return the micrographs of a run, with their CTF where it is known.

    CTF files that cannot be read are logged as warnings, and the micrograph stays without CTF.

    Parameters
    ----------
    micrographs
        Micrographs of the new run.
    config, ledger
        As for ``known_ctfs``.
    """
    found, faults = known_ctfs(config, [micrograph.path for micrograph in micrographs], ledger)
    for fault in faults:
        _log.warning("defocus: left out: %s", fault)
    if found or config.micrograph.ctf_place is not None:
        _log.info("defocus: known for %d of %d micrographs", len(found), len(micrographs))
    return [m.model_copy(update={"ctf": found.get(m.path)}) for m in micrographs]
