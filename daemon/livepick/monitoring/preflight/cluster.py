"""Preflight check of the Dask cluster: its scheduler, and what its workers offer."""

import time

from livepick.config.schema import Config
from livepick.errors import LivepickError
from livepick.host.certificate_end import SOON_SECONDS, authority_ends_at
from livepick.host.isolated_call import ProcessDiedError, call_isolated
from livepick.monitoring.preflight.check import Check
from livepick.picking.cluster.look_at_pool import Pool, look_at_pool

__all__ = ["cluster"]

NAME = "cluster"

SECONDS = 60.0
"""Time for the answers of the scheduler, and to load Dask."""


def cluster(config: Config) -> Check:
    """Check that the scheduler answers and has workers. Whether they fit, the service asks them."""
    try:
        pool = call_isolated(look_at_pool, config.engine, timeout_seconds=SECONDS, log=False)
    except LivepickError as error:
        return Check(NAME, "fault", error.what, error.remedy)
    except ImportError as error:
        return Check(
            NAME,
            "fault",
            f"engine.kind is dask, and Dask is not installed: {error}",
            'Install it next to livepick: pip install -c constraints.txt ".[dask]".',
        )
    except (ProcessDiedError, OSError) as error:
        return Check(
            NAME,
            "fault",
            f"the scheduler could not be asked: {error or type(error).__name__}",
            "Check that the file system of engine.scheduler_file responds, and the installation of"
            " Dask.",
        )
    tls = config.engine.tls
    ends_at = None if tls is None else authority_ends_at(tls.ca)
    if ends_at is not None and ends_at - time.time() < SOON_SECONDS:
        day = time.strftime("%Y-%m-%d", time.localtime(ends_at))
        return Check(
            NAME,
            "warning",
            f"the certificates of the cluster end on {day}",
            "Make new ones, copy them to all machines, and restart scheduler, workers and services"
            " (deploy/cluster.md).",
        )
    return _judged(pool, is_heavy=config.engine.heavy == "cluster")


def _judged(pool: Pool, *, is_heavy: bool) -> Check:
    if not pool.workers:
        return Check(
            NAME,
            "warning",
            f"the scheduler {pool.scheduler} has no livepick worker, so micrographs will wait",
            "Start livepick worker on the machines that pick (deploy/cluster.md).",
        )
    found = (
        f"{pool.scheduler}: {pool.workers} worker{'s' if pool.workers > 1 else ''} for"
        f" {pool.micrographs} micrograph{'s' if pool.micrographs > 1 else ''} at a time"
    )
    if not is_heavy:
        return Check(NAME, "ok", found)
    if not pool.heavy:
        return Check(
            NAME,
            "warning",
            f"{found}; engine.heavy is cluster, and none of them offers to train",
            "Start one of them with livepick worker --heavy; meanwhile it is trained here.",
        )
    return Check(NAME, "ok", f"{found}, {pool.heavy} of which train{'s' * (pool.heavy == 1)}")
