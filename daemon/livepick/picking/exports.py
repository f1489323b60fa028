"""The files that a session writes: its exports and tables, as the config says."""

from collections.abc import Callable, Iterable
from pathlib import Path

from livepick.config.output_sections import Output
from livepick.config.schema import Config
from livepick.ledger.reader import LedgerReader
from livepick.picking.coordinate_files import CoordinateFiles, file_formats
from livepick.picking.cryosparc_files import CryosparcFiles, known_exposures
from livepick.picking.finality import Finality
from livepick.picking.micrograph_table import MicrographTable
from livepick.picking.output_sync import Export, Outputs, SessionTable
from livepick.picking.output_tree import Branches
from livepick.picking.relion_files import RelionFiles
from livepick.picking.relion_project import RelionProject, relion_project

__all__ = ["make_outputs"]


def make_outputs(
    config: Callable[[], Config],
    ledger: LedgerReader,
    *,
    roots: Iterable[Path],
    failed: Callable[[], None],
) -> Outputs:
    """Return the files of a session.

    Parameters
    ----------
    config
        Function that returns the config in use. The section ``output`` is read once.
    ledger
        Source of the expected contents.
    roots
        All watched folders that the session has or had.
    failed
        Called when writing to the output folder fails.

    Raises
    ------
    ConfigError
        The RELION project or cryoSPARC's exposures are not as the config says.
    OutputError
        The RELION project is not there.
    """
    output = config().output
    branches = Branches(roots)
    project = relion_project(output)
    finality = Finality(ledger, lambda: config().picking.repick != "none")

    def diameter_angstrom() -> float:
        return config().particle.diameter_angstrom

    tables: list[SessionTable] = [
        MicrographTable(output.directory, project=project, optics=output.relion.optics)
    ]
    if "cryosparc" in output.formats:
        tables.append(
            CryosparcFiles(
                output.directory,
                diameter_angstrom=diameter_angstrom,
                min_distance_fraction=config().particle.min_distance_fraction,
                exposures=known_exposures(output.cryosparc.exposures),
            )
        )
    rechecks = [] if output.relion.publishes_all else [finality.has_come]
    if project is not None:
        rechecks.append(project.names_changed)
    return Outputs(
        _exports(output, branches, project, finality),
        ledger,
        failed,
        diameter_angstrom=diameter_angstrom,
        rechecks=rechecks,
        tables=tables,
    )


def _exports(
    output: Output, branches: Branches, project: RelionProject | None, finality: Finality
) -> list[Export]:
    known = file_formats(flip_tiff=output.star.flip_tiff)
    exports: list[Export] = [
        CoordinateFiles(known[name], output.directory, branches)
        for name in output.formats
        if name in known
    ]
    if "relion" in output.formats:
        relion = RelionFiles(
            output.directory,
            branches,
            project=project,
            verdicts=output.relion.verdicts,
            micrographs_star=output.relion.micrographs_star,
        )
        if not output.relion.publishes_all:
            relion.publish_if(finality.is_final)
        exports.insert(0, relion)
    return exports
