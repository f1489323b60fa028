"""Promotion of models: judge new ones, promote them, and follow the pointer to the current model.

``models/champion.json`` is the pointer. The service moves it when the promotion gate lets a model
pass, and a person moves it with ``livepick models promote``. Whoever moved it, the model is tested
on the workers before it is used for picking. If it does not run, the pointer is set back.
"""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from livepick.config.schema import Config
from livepick.config.sections import Device
from livepick.core.contracts.before_and_after import BEFORE_AND_AFTER
from livepick.core.contracts.judgement import VERDICT, Judgement
from livepick.errors import EngineError, MemoryLimitError, ModelError, ProviderError
from livepick.host.atomic_files import write_atomically
from livepick.models.bundle_on_disk import Bundle
from livepick.models.registry import Models
from livepick.retraining.instruments import Instruments
from livepick.retraining.promotion_gate import Compute, PromotionGate
from livepick.retraining.trial_picking import Submit, result_of

__all__ = ["Probe", "Promoter"]

Probe = Callable[[Path, Device], Future[str]]
"""Loads a bundle in a worker, and returns the onnxruntime provider that runs it."""

_log = logging.getLogger(__name__)


class Promoter:
    """Judges and promotes models, and switches to the model that the pointer names.

    Parameters
    ----------
    config
        Config of the session.
    current
        The bundle in use at the start.
    submit, compute
        Functions that submit micrographs and other work to the workers.
    probe
        Function that loads a bundle in a worker and returns the onnxruntime provider that runs it.
    promoted
        Called with a bundle, and the onnxruntime provider that runs it, when it comes into use.
    """

    def __init__(
        self,
        config: Config,
        *,
        models: Models,
        metrics: Instruments,
        current: Bundle,
        submit: Submit,
        compute: Compute,
        probe: Probe,
        promoted: Callable[[Bundle, str], None],
    ) -> None:
        self._config = config
        self._models = models
        self._metrics = metrics
        self._current = current
        self._submit = submit
        self._compute = compute
        self._probe = probe
        self._promoted = promoted

    @property
    def version(self) -> int:
        """Version of the model in use."""
        return self._current.card.version

    def use(self, config: Config) -> None:
        """Use another config from now on."""
        self._config = config

    def judge(self, candidate: Bundle, run_folder: Path, *, for_drift: bool) -> Judgement:
        """Compare a new model with the current one, and write the judgement to the run's folder.

        The picks of both models in some of the micrographs are written beside it.

        Parameters
        ----------
        candidate
            The new model.
        run_folder
            Folder of its training run; it need not exist.
        for_drift
            True if it was trained because of drift and not because a person requested it.

        Raises
        ------
        ModelError
            One of the models does not run.
        EngineError
            Workers cannot be started.
        OSError
            Writing to the folder failed.
        """
        gate = PromotionGate(self._config, self._submit, self._compute)
        judgement = gate.judge(
            candidate, self._current, requested=not for_drift, recent_only=for_drift
        )
        self._metrics.judged(judgement.comparison)
        if run_folder.is_dir():
            if gate.before_and_after is not None:
                write_atomically(run_folder / BEFORE_AND_AFTER, gate.before_and_after.to_bytes())
            write_atomically(run_folder / VERDICT, judgement.to_bytes())
        return judgement

    def promote(self, bundle: Bundle, why: str) -> None:
        """Promote a model for the present config, and switch to it.

        Raises
        ------
        ModelError
            The bundle is damaged.
        LedgerWriteError
            Writing to the folder of models failed.
        """
        card = bundle.card
        self._point_to(card.version, why)
        _log.info(
            "model %d: promoted, threshold %.3f (%s): %s",
            card.version,
            card.threshold,
            card.threshold_source,
            why,
        )
        self.follow_pointer()

    def follow_pointer(self) -> None:
        """Switch to the model that the pointer names, or set the pointer back if it does not run.

        Raises
        ------
        ProviderError
            A GPU is required, and the workers have none.
        EngineError
            Workers cannot be started.
        """
        wanted = self._models.current(self._config)
        version = wanted.card.version
        if version == self.version:
            return
        try:
            provider = result_of(
                f"model {version}", lambda: self._probe(wanted.path, self._config.picking.device)
            )
        except (ProviderError, EngineError):
            raise  # not the model's fault
        except (ModelError, MemoryLimitError) as error:
            has_another = wanted.card.kind == "general" or self._models.fault() is not None
            if isinstance(error, ModelError) and has_another:
                _log.error("model %d: set aside: %s", version, error)
                self._models.set_aside(version, error)  # the next step tries one before it
                return
            why = f"model {version} does not run: {error}"
            _log.error("model %d: stays in use, %s", self.version, why)
            self._metrics.training_failed(ModelError.reason)
            self._point_to(self.version, why, rollback=True)
            return
        self._current = wanted
        self._promoted(wanted, provider)

    def _point_to(self, version: int, why: str, *, rollback: bool = False) -> None:
        self._models.promote(
            version,
            by="service",
            why=why,
            fingerprint=self._config.training_fingerprint(),
            session=self._config.session.name,
            rollback=rollback,
        )
