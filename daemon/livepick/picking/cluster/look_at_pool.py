"""Offers of the workers of a cluster, for ``livepick check``."""

import asyncio
from dataclasses import dataclass

from livepick.config.engine_section import EngineSettings
from livepick.core.contracts.node import HEAVY, PICK

__all__ = ["Pool", "look_at_pool"]


@dataclass(frozen=True, slots=True)
class Pool:
    """A scheduler and what its workers offer, all together."""

    scheduler: str
    workers: int
    micrographs: int
    """Micrographs that they pick at a time."""
    heavy: int
    """Workers that offer trainings."""


def look_at_pool(engine: EngineSettings) -> Pool:
    """Ask the scheduler of a config what its workers offer. Called in a process of its own.

    Raises
    ------
    ImportError
        Dask is not installed.
    ConfigError
        A TLS file, or the address in the scheduler's file, cannot be used.
    EngineError
        The scheduler does not answer, or has other versions or other certificates.
    """
    # Dask is loaded here, in that process.
    from livepick.picking.cluster.scheduler import (  # noqa: PLC0415
        SchedulerPlace,
        offers_there,
        refuse_versions,
        versions_there,
    )
    from livepick.picking.cluster.security import cluster_security, refuse_open  # noqa: PLC0415

    security = cluster_security(engine.tls)
    address = SchedulerPlace(engine.scheduler, engine.scheduler_file).read()
    refuse_open(address, engine.tls, insecure=engine.insecure, accept="engine.insecure: true")

    async def ask() -> list[dict[str, float]]:
        refuse_versions(address, await versions_there(address, security))
        return await offers_there(address, security)

    offers = [offer for offer in asyncio.run(ask()) if PICK in offer]
    return Pool(
        address,
        len(offers),
        int(sum(offer[PICK] for offer in offers)),
        sum(HEAVY in offer for offer in offers),
    )
