"""All Prometheus metrics of the service, by subject."""

from livepick.monitoring.metrics.classes import ClassMetrics
from livepick.monitoring.metrics.cluster import ClusterMetrics
from livepick.monitoring.metrics.host import HostMetrics
from livepick.monitoring.metrics.ingest import IngestMetrics
from livepick.monitoring.metrics.instruments import ErrorCounter, InstrumentFactory
from livepick.monitoring.metrics.landings import LandingMetrics
from livepick.monitoring.metrics.notices import NoticeMetrics
from livepick.monitoring.metrics.on_picked import OnPickedMetrics
from livepick.monitoring.metrics.particle import ParticleMetrics
from livepick.monitoring.metrics.picking import PickingMetrics
from livepick.monitoring.metrics.quality import QualityMetrics
from livepick.monitoring.metrics.scrapes import Scrapes
from livepick.monitoring.metrics.session import SessionMetrics
from livepick.monitoring.metrics.training import TrainingMetrics
from livepick.monitoring.metrics.web import WebMetrics

__all__ = ["Metrics"]


class Metrics:
    """The metrics of each subject, in one registry."""

    def __init__(self) -> None:
        make = InstrumentFactory()
        errors = ErrorCounter(make)
        self.session = SessionMetrics(make)
        self.landings = LandingMetrics(make)
        self.picking = PickingMetrics(
            make, errors=errors, landings=self.landings, quality=QualityMetrics(make)
        )
        self.ingest = IngestMetrics(make, self.picking)
        self.cluster = ClusterMetrics(make)
        self.on_picked = OnPickedMetrics(make)
        self.particle = ParticleMetrics(make)
        self.training = TrainingMetrics(make, errors)
        self.classes = ClassMetrics(make)
        self.host = HostMetrics(make)
        self.web = WebMetrics(make)
        self.notices = NoticeMetrics(make)
        self.scrapes = Scrapes()
        self.registry = make.registry
        self.exposition = make.exposition
        """Returns the text that Prometheus scrapes, as bytes."""
