"""Preflight check of cryoSPARC's exposures: without them the service does not start."""

from collections.abc import Iterator

from livepick.config.output_sections import Output
from livepick.errors import ConfigError
from livepick.monitoring.preflight.check import Check
from livepick.picking.cryosparc_files import known_exposures

__all__ = ["cryosparc"]

NAME = "cryoSPARC exposures"


def cryosparc(output: Output) -> Iterator[Check]:
    """Check that the file of the exposures can be read, if the config names one."""
    path = output.cryosparc.exposures
    if path is None:
        return
    if "cryosparc" not in output.formats:
        yield Check(
            NAME,
            "warning",
            "output.cryosparc.exposures is set, but output.formats does not have cryosparc",
            "Add cryosparc to output.formats if cryoSPARC should get the coordinates.",
        )
        return
    try:
        exposures = known_exposures(path)
    except ConfigError as error:
        yield Check(NAME, "fault", error.what, error.remedy)
        return
    yield Check(NAME, "ok", f"{path} with {len(exposures)} exposures")
