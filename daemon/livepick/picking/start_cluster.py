"""Start of the engine on a Dask cluster, which waits for neither the scheduler nor a worker."""

import contextlib
import importlib
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

__all__ = ["connect_cluster", "question", "start_cluster"]

TOKEN = "cluster_token"  # noqa: S105 - no secret
"""File in the state folder by which a node knows that it sees this folder."""


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
    file = config.state.directory / TOKEN
    if _token(file) is None:
        try:
            write_atomically(file, f"{secrets.token_hex(16)}\n".encode())
        except OSError as error:
            raise LedgerWriteError(
                f"{file} cannot be written: {error.strerror}",
                "Make room on its disk, and let the service's user write to the state folder.",
            ) from error
    cluster = connect_cluster(config, lambda: question(config, current()))
    ending.callback(cluster.shutdown)
    return cluster


def connect_cluster(config: Config, request: Callable[[], HelloRequest]) -> "ClusterExecutor":
    """Begin to connect to the scheduler of a config.

    Parameters
    ----------
    config
        Settings of the session.
    request
        Returns what to ask a node that has joined.

    Raises
    ------
    ConfigError
        Dask is not installed, or a file of ``engine.tls`` cannot be used.
    """
    try:
        client = importlib.import_module("livepick.picking.cluster.client")
    except ImportError as error:
        raise ConfigError(
            f"engine.kind is dask, and Dask cannot be loaded: {error}",
            "Install livepick with the extra dask (pip install 'livepick[dask]').",
        ) from error
    limits = JobLimits.of(config.picking, 1)
    cluster: ClusterExecutor = client.ClusterExecutor(
        config.engine, request, limits, session=config.session.name
    )
    return cluster


def question(config: Config, model: Bundle | None) -> HelloRequest:
    """Return what to ask a node that has joined; without a model, it runs one of its own."""
    file = config.state.directory / TOKEN
    return HelloRequest(
        device=config.picking.device,
        bundle=None if model is None else model.path,
        graph_sha256=None if model is None else model.card.graph_sha256,
        token_file=file,
        token=_token(file),
        roots=tuple(config.watch.directories),
    )


def _token(file: Path) -> str | None:
    """Return the content of the token file; None before the first start."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        return file.read_text(encoding="ascii").strip() or None
    return None
