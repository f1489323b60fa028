"""The nodes of a cluster as the service judges them: fit, unfit, or set aside.

Pure: it takes cards and outcomes, and returns decisions.
"""

from livepick.core.contracts.job import CPU
from livepick.core.contracts.node import HelloRequest, NodeCard

__all__ = ["refusal"]


def refusal(card: NodeCard, request: HelloRequest) -> str | None:
    """Return why a node does not fit a session, and what to do; None if it fits.

    Parameters
    ----------
    card
        What the node has answered.
    request
        What it was asked.
    """
    state = request.token_file.parent
    root = next(iter(card.missing_roots), None)
    reasons = {
        f"{card.fault}. Run livepick check on that machine.": card.fault,
        f"it does not see {state}. Mount the state folder of the service on that machine, at the"
        " same path.": card.token is None,
        f"its {state} is another folder than that of the service. Mount the state folder of the"
        " service on that machine, at the same path.": card.token != request.token,
        f"it does not see {root}. Mount the watched folder there, at the same path.": root,
        f"it does not see the model {request.bundle}. Check the mount of the state folder on that"
        " machine.": card.graph_sha256 != request.graph_sha256,
        "it has no usable GPU, and picking.device is require-gpu. Run livepick check on that"
        " machine.": request.device == "require-gpu" and card.provider == CPU,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)
