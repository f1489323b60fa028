"""Preflight check of the RELION project: each micrograph has a name that RELION knows it by.

RELION passes over a micrograph whose name it does not know, without an error.
"""

import itertools
from collections.abc import Iterator
from pathlib import Path

from livepick.config.schema import Config
from livepick.errors import LivepickError
from livepick.monitoring.preflight.check import Check
from livepick.monitoring.preflight.micrographs import micrographs
from livepick.picking.relion_project import PIPELINE, RelionProject, relion_project

__all__ = ["relion"]

NAME = "RELION project"

MOST_MICROGRAPHS = 1000
"""Maximum number of micrographs in a watched folder that are looked up in the project."""


def relion(config: Config) -> Iterator[Check]:
    """Check the RELION project, if it takes the coordinates."""
    output = config.output
    given = output.relion.project is not None or output.relion.micrographs_star is not None
    if "relion" not in output.formats:
        if given:
            yield Check(
                NAME,
                "warning",
                "output.relion names a project, but output.formats does not have relion",
                "Add relion to output.formats if RELION should get the coordinates.",
            )
        return
    try:
        project = relion_project(output)
        if project is not None:
            project.read_names()
    except LivepickError as error:
        yield Check(NAME, "fault", error.what, error.remedy)
        return
    if project is None:
        yield _without_project(output.directory)
        return
    unnamed = [
        one for folder in config.watch.directories if (one := _unnamed(folder, config, project))
    ]
    yield from unnamed
    if not unnamed:
        when = ", as soon as they are final (output.relion.publish)"
        when = "" if output.relion.publishes_all else when
        yield Check(NAME, "ok", f"{project.folder}; coordinates in {project.job}{when}")


def _without_project(directory: Path) -> Check:
    """Return the check of a session that no RELION project takes the coordinates of."""
    if (directory / PIPELINE).is_file():
        return Check(
            NAME,
            "warning",
            f"output.directory is {directory}, which is itself a RELION project; it is not used as"
            " one",
            "Choose a folder below the project, such as External/livepick.",
        )
    return Check(
        NAME,
        "ok",
        f"none, so the lists have absolute paths; RELION reads them only with livepick's own"
        f" {directory / 'micrographs.star'}. For a project, set output.relion.project",
    )


def _unnamed(folder: Path, config: Config, project: RelionProject) -> Check | None:
    """Return a fault if the micrographs of a watched folder have no name in the project."""
    present = list(itertools.islice(micrographs(config, [folder]), MOST_MICROGRAPHS))
    if any(project.name(one) for one in present or [folder / "any.mrc"]):
        return None
    named = config.output.relion.micrographs_star
    if named is None:
        return Check(
            NAME,
            "fault",
            f"{folder} is outside the RELION project {project.folder}, so its micrographs have no"
            " names there",
            "Set output.relion.micrographs_star to the project's list of these micrographs, such"
            " as CtfFind/job003/micrographs_ctf.star.",
        )
    if not present:
        return Check(
            NAME,
            "warning",
            f"{folder} has no micrographs yet, so it is not known if {named} names them",
            "Run livepick check again when there are some.",
        )
    return Check(
        NAME,
        "fault",
        f"{named} of the RELION project names none of the micrographs in {folder}, such as"
        f" {present[0].name}, and they are outside the project",
        "Set output.relion.micrographs_star to the list of these micrographs; import them by a"
        " link in the project.",
    )
