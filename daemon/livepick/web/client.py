"""State of a service, seen from another process: from its page, or from the files it left.

The lock on the state folder shows if a service is running; the kernel releases it however the
service ends. The page is queried only if there is a service, so that another service that now uses
the port does not answer in its place. If there is an address of the page without the lock, the
service has ended unexpectedly.
"""

import http.client
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from livepick.config.schema import Config
from livepick.config.web_config import read_protection
from livepick.core.contracts.cluster_view import ClusterView
from livepick.errors import ConfigError
from livepick.host.lock import holder, lock_file
from livepick.ledger.database import LEDGER
from livepick.monitoring.headline import Headline
from livepick.monitoring.human_units import span
from livepick.monitoring.problem import Problem
from livepick.web.address_file import AddressFile, page_url
from livepick.web.service_socket import TIMEOUT_SECONDS, service_answer

__all__ = ["HEADLINE", "ServiceState", "ServiceStatus", "service_answer", "service_status"]

HEADLINE: Final = "/headline.json"
"""URL path of the page's headline as JSON, for programs."""

START_SECONDS = 300.0
"""Maximum duration of a start, including a first start with a GPU."""

ServiceState = Literal["running", "starting", "silent", "stopped", "ended"]
"""State of the service. ``running``: the page answers. ``starting``: starting or stopping, without
a page. ``silent``: the page does not answer. ``stopped``: stopped, or not started yet. ``ended``:
killed, or failed."""


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """State of a service and its problems."""

    state: ServiceState
    sentence: str
    """Activity or state of the service; empty if ``problems`` say it."""
    problems: tuple[Problem, ...] = ()
    """Problems as shown on the page, the most severe first."""
    address: str = ""
    """URL of the page, if it answers."""
    cluster: ClusterView | None = None
    """The Dask cluster that picks; None: the workers are on the service's machine, or no answer."""


def service_status(
    config: Config, path: Path, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> ServiceStatus:
    """Return the state of the service of a session.

    Parameters
    ----------
    config
        Config of the session.
    path
        Path of the config file, to name in a remedy.
    timeout_seconds
        Timeout for each step of the answer.
    """
    state = config.state.directory
    address = AddressFile(state).read()
    process = holder(state / LEDGER)
    start = f"systemctl start livepick, or livepick run {path}"
    if process is None and not address:
        return ServiceStatus(
            "stopped", f"The service is not running. To continue the session: {start}."
        )
    if process is None:
        ended = Problem(
            "service_ended",
            "bad",
            "The service is not running: it was killed or it crashed.",
            f"Start it to continue where it stopped: {start}. See the log (journalctl -u"
            " livepick) for the cause.",
        )
        return ServiceStatus("ended", "", (ended,))
    restart = (
        f"Restart it; nothing is lost: systemctl restart livepick, or end process {process} and run"
        f" livepick run {path}. See the log (journalctl -u livepick) for the cause."
    )
    if not address:
        return _starting(state, restart)
    return _query(config, address, restart, timeout_seconds)


def _starting(state: Path, restart: str) -> ServiceStatus:
    try:
        seconds = max(0.0, time.time() - lock_file(state / LEDGER).stat().st_mtime)
    except OSError:
        seconds = 0.0
    sentence = f"The service is starting or stopping, and its page is not up ({span(seconds)})."
    if seconds < START_SECONDS:
        return ServiceStatus("starting", sentence)
    problem = Problem("service_not_responding", "bad", sentence, restart)
    return ServiceStatus("starting", "", (problem,))


def _query(config: Config, address: str, restart: str, timeout_seconds: float) -> ServiceStatus:
    page = _page_url(config, address)
    try:
        text = service_answer(config.state.directory, HEADLINE, timeout_seconds=timeout_seconds)
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        sentence = f"The service is not responding at {page}: {why}."
        problem = Problem("service_not_responding", "bad", sentence, restart)
        return ServiceStatus("silent", "", (problem,))
    try:
        top = Headline.of_json(text)
    except ValueError:
        sentence = f"The service at {page} runs another version of livepick."
        problem = Problem("service_other_version", "attention", sentence, restart)
        return ServiceStatus("running", "", (problem,), page)
    doing = top.doing if top.problems else top.sentence
    return ServiceStatus("running", doing, top.problems, page, top.cluster)


def _page_url(config: Config, address: str) -> str:
    try:
        tls = read_protection(config.web).tls_server_config is not None
    except ConfigError:  # the service reports it; or this user may not read the file
        tls = config.web.web_config_file is not None
    return page_url(config.web, address, tls=tls)
