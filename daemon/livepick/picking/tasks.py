"""Functions that the main process passes to the workers.

Each of them imports its module when it is called, in the worker: scipy and onnxruntime take more
memory than the rest of the service, and the main process needs neither. It imports no other module
of the worker code.
"""

from pathlib import Path

from livepick.config.sections import Device
from livepick.core.contracts.job import CtfJob, Job, RenderJob, Result
from livepick.core.imaging.ctf import CtfFit

__all__ = ["canary", "fit_ctf", "pick", "probe", "render"]


def pick(job: Job) -> Result:
    """Pick one micrograph.

    Raises
    ------
    MicrographError
        The file is incomplete, unreadable, not a micrograph, or contains no image.
    ModelError
        The bundle is damaged, or (``ProviderError``) the GPU was required and not obtained.
    """
    from livepick.picking import worker  # noqa: PLC0415 - see above

    return worker.pick(job)


def probe(bundle: Path, device: Device) -> str:
    """Load a bundle as ``pick`` would, run its graph once, and return the provider obtained.

    Raises
    ------
    ModelError
        The graph does not load, or its scores are not between 0 and 1; ``ProviderError`` if the
        GPU was required and not obtained.
    """
    from livepick.picking import model_check  # noqa: PLC0415 - see above

    return model_check.probe(bundle, device)


def canary(bundle: Path) -> None:
    """Run the graph of a bundle on a small synthetic image, on the CPU, and check its output.

    Raises
    ------
    ModelError
        The bundle is damaged or has another format, its graph does not run, or its output is not a
        score between 0 and 1 for each pixel.
    """
    from livepick.picking import model_check  # noqa: PLC0415 - see above

    model_check.canary(bundle)


def fit_ctf(job: CtfJob) -> CtfFit:
    """Return the CTF of a micrograph, without figures if the fit cannot be trusted.

    Raises
    ------
    MicrographError
        The file is missing, has changed, or contains no image.
    """
    from livepick.picking import fit_ctf as fitting  # noqa: PLC0415 - see above

    return fitting.fit_ctf(job)


def render(job: RenderJob) -> bytes:
    """Return a PNG image of a micrograph, or of its mask.

    Raises
    ------
    MicrographError
        The file is missing, has changed, or contains no image.
    """
    from livepick.picking import render as drawing  # noqa: PLC0415 - see above

    return drawing.render(job)
