"""What a worker finds in a micrograph, made up."""

import numpy as np

from livepick.core.contracts.job import Result, StageSeconds
from livepick.core.imaging.picks import Picks
from livepick.core.imaging.quality import Quality


def result(*, version=0, kind="blob", threshold=0.5, scores=(0.9, 0.6, 0.1)):
    """Return picks with these scores, the best first."""
    score = np.array(scores, dtype=np.float32)
    return Result(
        picks=Picks(score * 100, score * 200, score),
        threshold=threshold,
        model_version=version,
        model_kind=kind,
        shape_px=(400, 300),
        pixel_size_angstrom=1.5,
        quality=Quality(masked_fraction=0.1, median_score=None),
        seconds=StageSeconds(0.1, 0.2, 0.3, 0.4),
        provider="CPUExecutionProvider",
    )
