"""All alerts of livepick, by subject.

Each alert evaluates a window, never a single micrograph. `livepick_session_active` keeps them
silent when no session is collecting. An alert is critical if no micrographs or picks appear until
somebody acts, like a red problem on livepick's page. After a warning livepick continues, but
somebody should check. The limits are those of the page.
"""

from observability.collection_alerts import COLLECTION_ALERTS
from observability.disk_alerts import DISK_ALERTS
from observability.instrument_alerts import INSTRUMENT_ALERTS
from observability.picking_alerts import PICKING_ALERTS
from observability.quality_alerts import QUALITY_ALERTS
from observability.service_alerts import SERVICE_ALERTS
from observability.training_alerts import TRAINING_ALERTS

__all__ = ["ALERTS"]

ALERTS = (
    *SERVICE_ALERTS,
    *INSTRUMENT_ALERTS,
    *COLLECTION_ALERTS,
    *PICKING_ALERTS,
    *DISK_ALERTS,
    *QUALITY_ALERTS,
    *TRAINING_ALERTS,
)
