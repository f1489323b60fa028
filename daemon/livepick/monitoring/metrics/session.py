"""Metrics of the program, its session, its health and its config."""

from collections.abc import Callable

from livepick.config.schema import Config
from livepick.host.unexpected_errors import PARTS, Part
from livepick.monitoring.metrics.instruments import InstrumentFactory

__all__ = ["SessionMetrics"]


class SessionMetrics:
    """Program, session, health, and the config in use."""

    def __init__(self, make: InstrumentFactory) -> None:
        self._build = make.info("build", "Which version of livepick is running?")
        self._session = make.info("session", "Which microscope session is this?")
        self._started = make.gauge(
            "session_started_timestamp_seconds", "When did this session start?"
        )
        self._ended = make.gauge("session_ended", "Is the session over, so that nothing is picked?")
        self._stopped = make.gauge(
            "stopped_on_purpose",
            "Is the service about to end because it was told to? It does not end before this was"
            " scraped.",
        )
        self._healthy = make.gauge(
            "healthy", "Are all parts of the service responding? The same as /healthz."
        )
        self._unexpected_errors = make.counter(
            "unexpected_errors", "Which part has met a bug and passed over an item?", part=PARTS
        )
        self._config = make.info("config", "Which settings are picks made with?")
        self._bootstrap_micrographs = make.gauge(
            "bootstrap_micrographs", "How many micrographs does the first training wait for?"
        )
        self._reloads = make.counter(
            "config_reloads", "Config reloads, by result.", result=("success", "failure")
        )
        self._last_reload_successful = make.gauge(
            "config_last_reload_successful", "Is the config on disk in use?"
        )
        self._last_reload_time = make.gauge(
            "config_last_reload_success_timestamp_seconds",
            "When was the config last read successfully?",
        )

    def unexpected_error(self, part: Part) -> None:
        """Count an unexpected error that a part has passed over."""
        self._unexpected_errors.labels(part).inc()

    def describe(
        self, *, version: str, python: str, session: str, started_at: float, page_url: str = ""
    ) -> None:
        """Set the versions of livepick and Python, and the session's name, start and page."""
        self._build.info({"version": version, "python": python})
        self._session.info({"session": session, "page_url": page_url})
        self._started.set(started_at)

    def ended(self, *, is_over: bool) -> None:
        """Set whether the session is over."""
        self._ended.set(is_over)

    def stopped(self) -> None:
        """Set that the service ends because it was told to."""
        self._stopped.set(1)

    def check_health(self, is_healthy: Callable[[], bool]) -> None:
        """Call a function at each scrape: a part that pushed its own health could hang too."""
        self._healthy.set_function(is_healthy)

    def use_config(self, config: Config, *, read_at: float) -> None:
        """Set the config in use, and when it was read."""
        self.use_particle(config)
        self._last_reload_successful.set(1)
        self._last_reload_time.set(read_at)

    def use_particle(self, config: Config) -> None:
        """Set the settings in use, in which at most what was measured is new."""
        self._bootstrap_micrographs.set(config.bootstrap.micrographs)
        self._config.info(
            {
                "diameter_angstrom": f"{config.particle.diameter_angstrom:g}",
                "device": config.picking.device,
                "threshold": str(config.picking.threshold),
                "training_fingerprint": config.training_fingerprint(),
            }
        )

    def reloaded(self, *, accepted: bool) -> None:
        """Count a reload of the config; one that is not accepted leaves the old config in use."""
        self._reloads.labels("success" if accepted else "failure").inc()
        self._last_reload_successful.set(accepted)
