"""Rules that select micrographs: globs and sidecars for each motion-correction program.

A glob without a slash matches the name of a file, at any depth. A glob with a slash matches the
path below the watched folder: ``*`` and ``?`` stop at a slash, ``**/`` is any number of folders,
and a leading slash only anchors the glob at the top. Case matters, except in the suffix: a
photosystem II named ``PSII`` must not match a glob for power spectra. For the same reason the globs
for the other products of motion correction are anchored at the end of the stem.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath

from livepick.config.sections import Preset, Watch
from livepick.ingest.globs import any_of

__all__ = ["IMAGE_SUFFIXES", "PRESETS", "Rules", "is_ignored_name", "is_image_name", "rules_for"]

IMAGE_SUFFIXES = (".mrc", ".tif", ".tiff")
"""Suffixes of files that can be micrographs, in upper or lower case; ``.mrcs`` is a stack."""

IGNORED_SUFFIXES = (".tmp", ".part", ".partial", ".filepart", ".crdownload", ".downloading")
"""Suffixes of files (and folders) that a transfer is still writing."""

OTHER_PRODUCTS = (
    "*_noDW.*",  # without dose weighting, beside the weighted one
    "*_DWS.*",  # dose-weighted sum of some of the frames
    "*_ODD.*",
    "*_EVN.*",
    "*_EVEN.*",
    "*_Stk.*",  # aligned frames
    "*_PS.*",  # power spectrum
    "*_Ctf.*",
    "*_patch_aligned.mrc",  # cryoSPARC, without dose weighting
    "GridSquare_*",  # EPU's images of whole grid squares
)
"""Other files that motion correction and acquisition write beside the micrographs."""


@dataclass(frozen=True)
class Rules:
    """Rules for which image files below a watched folder are micrographs, and when to wait."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = OTHER_PRODUCTS
    require_sidecar: str | None = None
    """Suffix of a file of the same stem that must exist."""

    forbid_sidecar: str | None = None
    """Suffix of a file of the same stem that must not exist."""

    preferred_ending: str | None = None
    """Ending of a stem, as ``_DW``: a file is left out if its stem with this ending exists too."""

    def selects(self, relative: str) -> bool:
        """Return True if the file at this path below the watched folder is a micrograph."""
        return bool(self._included.match(relative)) and not self._excluded.match(relative)

    def blocked(self, name: str, exists: Callable[[str], bool]) -> str | None:
        """Return the reason, in words, why the file ``name`` has to wait, or None.

        ``exists`` returns True if a file of a given name is in the same folder.
        """
        if not (self.require_sidecar or self.forbid_sidecar):
            return None
        stem = PurePath(name).stem
        if self.require_sidecar and not exists(stem + self.require_sidecar):
            return f"{stem}{self.require_sidecar} is missing"
        if self.forbid_sidecar and exists(stem + self.forbid_sidecar):
            return f"{stem}{self.forbid_sidecar} still exists"
        return None

    def gives_way(self, name: str, exists: Callable[[str], bool]) -> bool:
        """Return True if a better version of the file ``name`` is in the same folder."""
        if not self.may_give_way(name):
            return False
        path = PurePath(name)
        return exists(f"{path.stem}{self.preferred_ending}{path.suffix}")

    def may_give_way(self, name: str) -> bool:
        """Return True if a better version of the file ``name`` may still appear."""
        ending = self.preferred_ending
        return ending is not None and not PurePath(name).stem.endswith(ending)

    def images_beside(self, relative: str) -> list[str]:
        """Return the possible paths of a sidecar's image; empty if it is not a sidecar."""
        path = PurePath(relative)
        if path.suffix not in (self.require_sidecar, self.forbid_sidecar):
            return []
        return [str(path.with_suffix(suffix)) for suffix in IMAGE_SUFFIXES]

    @cached_property
    def _included(self) -> re.Pattern[str]:
        return any_of(self.include)

    @cached_property
    def _excluded(self) -> re.Pattern[str]:
        return any_of(self.exclude)


PRESETS: dict[Preset, Rules] = {
    "plain": Rules(),
    # MotionCor writes X.mrc and, when it weights by dose, X_DW.mrc right after.
    "motioncor": Rules(include=("*.mrc",), preferred_ending="_DW"),
    # RELION writes X.star last. X_DW.mrc will be renamed to X.mrc.
    "relion": Rules(
        include=("*.mrc",), exclude=(*OTHER_PRODUCTS, "*_DW.*"), require_sidecar=".star"
    ),
    # Warp's averages; the folders odd, even, deconv etc. are beside the folder average.
    "warp": Rules(include=("/*.mrc", "**/average/*.mrc")),
    "cryosparc": Rules(include=("*_doseweighted.mrc",)),
    # Diamond's services touch X.tmp before they start and remove it when they are done.
    "cryoem-services": Rules(include=("*.mrc",), forbid_sidecar=".tmp"),
}


def rules_for(watch: Watch) -> Rules:
    """Return the rules of the preset, overridden by the settings in the config.

    Raises
    ------
    ConfigError
        A glob is not valid.
    """
    rules = PRESETS[watch.preset]
    if watch.include is not None:
        rules = replace(rules, include=tuple(watch.include), preferred_ending=None)
    if watch.exclude is not None:
        rules = replace(rules, exclude=tuple(watch.exclude))
    rules = replace(
        rules,
        require_sidecar=watch.require_sidecar or rules.require_sidecar,
        forbid_sidecar=watch.forbid_sidecar or rules.forbid_sidecar,
    )
    rules.selects("")  # compiles the globs now, where an error can be reported
    return rules


def is_image_name(name: str) -> bool:
    """Return True if a file of this name can be a micrograph."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_ignored_name(name)


def is_ignored_name(name: str) -> bool:
    """Return True if a file or folder is hidden or still being transferred, by its name."""
    return name.startswith(".") or name.lower().endswith(IGNORED_SUFFIXES)
