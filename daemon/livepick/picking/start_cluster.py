"""Start of the engine on a Dask cluster, which waits for neither the scheduler nor a worker."""

import contextlib
import importlib
import logging
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from livepick.config.schema import Config
from livepick.core.contracts.node import HelloRequest
from livepick.errors import ConfigError, LedgerWriteError
from livepick.host.atomic_files import write_atomically
from livepick.models.bundle_on_disk import Bundle
from livepick.picking.job_limits import JobLimits

if TYPE_CHECKING:
    from livepick.picking.cluster.client import ClusterExecutor

__all__ = ["start_cluster"]

TOKEN = "cluster_token"  # noqa: S105 - no secret
"""File in the state folder by which a node knows that it sees this folder."""

_log = logging.getLogger(__name__)


def start_cluster(
    config: Config, current: Callable[[], Bundle], ending: contextlib.ExitStack
) -> "ClusterExecutor":
    """Begin to connect to the scheduler, and return the executor.

    Parameters
    ----------
    config
        Settings of the session.
    current
        Returns the model in use, which each new node runs once.
    ending
        Leaves the cluster at its end.

    Raises
    ------
    ConfigError
        Dask is not installed, or a file of ``engine.tls`` cannot be used.
    LedgerWriteError
        The state folder cannot be written to.
    """
    try:
        client = importlib.import_module("livepick.picking.cluster.client")
    except ImportError as error:
        raise ConfigError(
            f"engine.kind is dask, and Dask cannot be loaded: {error}",
            "Install livepick with the extra dask (pip install 'livepick[dask]').",
        ) from error
    file = config.state.directory / TOKEN
    token = _token(file)

    def request() -> HelloRequest:
        model = current()
        return HelloRequest(
            device=config.picking.device,
            bundle=model.path,
            graph_sha256=model.card.graph_sha256,
            token_file=file,
            token=token,
            roots=tuple(config.watch.directories),
        )

    executor: ClusterExecutor = client.ClusterExecutor(
        config.engine, request, JobLimits.of(config.picking, 1), session=config.session.name
    )
    ending.callback(executor.shutdown)
    return executor


def _token(file: Path) -> str:
    """Return the content of the token file, which is written at the first start."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        if token := file.read_text(encoding="ascii").strip():
            return token
    token = secrets.token_hex(16)
    try:
        write_atomically(file, f"{token}\n".encode())
    except OSError as error:
        raise LedgerWriteError(
            f"{file} cannot be written: {error.strerror}",
            "Make room on the disk of the state folder, and give the service's user permission.",
        ) from error
    return token
