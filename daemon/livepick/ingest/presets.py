"""Rules that select micrographs: globs and sidecars for each motion-correction program.

A glob without a slash matches the name of a file, at any depth. A glob with a slash matches the
path below the watched folder: ``*`` and ``?`` stop at a slash, ``**/`` is any number of folders,
and a leading slash only anchors the glob at the top. Case matters, except in the suffix. ``*.mrc``
matches ``X.mrc.gz`` too, because that is the same micrograph. Products of micrographs are left out
by the rules of ``livepick.ingest.products``, unless the config has globs of its own.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import PurePath

from livepick.config.sections import Preset, Watch
from livepick.core.formats.image_names import (
    COMPRESSED_SUFFIXES,
    IMAGE_SUFFIXES,
    is_compressed_name,
    stem_of_name,
    without_compression,
)
from livepick.ingest.globs import any_of
from livepick.ingest.products import may_be_product, product_beside, product_by_name
from livepick.ingest.skipped import SkipKind

__all__ = [
    "PRESETS",
    "LeftOut",
    "Rules",
    "is_ignored_name",
    "is_image_name",
    "is_in_transfer",
    "rules_for",
]

TRANSFER_SUFFIXES = (
    ".tmp",
    ".temp",
    ".part",
    ".partial",
    ".filepart",
    ".crdownload",
    ".download",
    ".downloading",
    ".aria2",
    ".lftp",
    ".upload",
    ".uploading",
    ".copying",
    ".incomplete",
    ".unfinished",
    ".writing",
)
"""Suffixes of files (and folders) that a transfer is still writing."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Reason why the rules leave a file out."""

    kind: SkipKind
    rule: str = ""
    """Rule that does, in words; empty if the kind says it."""


def _nothing_is_beside(name: str) -> bool:  # noqa: ARG001 - the interface of a function
    return False


@dataclass(frozen=True)
class Rules:
    """Rules for which image files below a watched folder are micrographs, and when to wait."""

    include: tuple[str, ...] = ("*",)
    exclude: tuple[str, ...] = ()
    leaves_out_products: bool = True
    """True to leave out the files that ``livepick.ingest.products`` knows."""

    is_own_exclude: bool = False
    """True if ``exclude`` is the config's, not the preset's."""

    require_sidecar: str | None = None
    """Suffix of a file of the same stem that must exist."""

    forbid_sidecar: str | None = None
    """Suffix of a file of the same stem that must not exist."""

    preferred_ending: str | None = None
    """Ending of a stem, as ``_DW``: a file is left out if its stem with this ending exists too."""

    waits_for_preferred: bool = False
    """True if a file without that ending may still get such a brother."""

    def left_out(
        self, relative: str, is_beside: Callable[[str], bool] = _nothing_is_beside
    ) -> LeftOut | None:
        """Return why a file is not picked, by its name and those beside it; None if it is.

        Parameters
        ----------
        relative
            Path below the watched folder.
        is_beside
            Function that returns True if a file of a given name is in the same folder.
        """
        reason = self._left_out_by_name(relative)
        if reason is not None:
            return reason
        folder, _, name = relative.rpartition("/")

        def is_micrograph(other: str) -> bool:
            if not is_beside(other):
                return False
            if "/" in other or not is_image_name(other):
                return True
            return self._left_out_by_name(f"{folder}/{other}" if folder else other) is None

        if self.leaves_out_products and (kind := product_beside(relative, is_micrograph)):
            return LeftOut("product", kind)
        if self._gives_way(name, is_beside):
            return LeftOut("better_version")
        return None

    def selects(self, relative: str) -> bool:
        """Return True if the file at this path below the watched folder is a micrograph."""
        return self.left_out(relative) is None

    def _left_out_by_name(self, relative: str) -> LeftOut | None:
        plain = without_compression(relative)
        if not self._included.match(plain) and not self._included.match(relative):
            return LeftOut("not_included")
        for glob, pattern in self._excluded.items():
            if pattern.match(plain) or pattern.match(relative):
                return LeftOut("excluded" if self.is_own_exclude else "product", glob)
        if self.leaves_out_products and (kind := product_by_name(relative)) is not None:
            return LeftOut("product", kind)
        return None

    def _gives_way(self, name: str, is_beside: Callable[[str], bool]) -> bool:
        """Return True if a better version of the file ``name`` is in the same folder."""
        if is_compressed_name(name):
            plain = without_compression(name)
            better = [plain, *(plain + suffix for suffix in COMPRESSED_SUFFIXES)]
            if any(map(is_beside, better[: better.index(name) if name in better else 1])):
                return True
        ending = self.preferred_ending
        if ending is None:
            return False
        stem = stem_of_name(name)
        return not stem.endswith(ending) and is_beside(f"{stem}{ending}{name[len(stem) :]}")

    def compile(self) -> None:
        """Compile the globs now, where an error can be reported. Raises ConfigError."""
        _ = self._included, self._excluded

    def blocked(self, name: str, exists: Callable[[str], bool]) -> str | None:
        """Return the reason, in words, why the file ``name`` has to wait, or None.

        ``exists`` returns True if a file of a given name is in the same folder.
        """
        if not (self.require_sidecar or self.forbid_sidecar):
            return None
        stem = stem_of_name(name)
        if self.require_sidecar and not exists(stem + self.require_sidecar):
            return f"{stem}{self.require_sidecar} is missing"
        if self.forbid_sidecar and exists(stem + self.forbid_sidecar):
            return f"{stem}{self.forbid_sidecar} still exists"
        return None

    @property
    def sidecar_words(self) -> str:
        """The condition that ``blocked`` tests, in words; empty if there is none."""
        if self.require_sidecar:
            return f"until NAME{self.require_sidecar} is there"
        return f"while NAME{self.forbid_sidecar} is there" if self.forbid_sidecar else ""

    def may_give_way(self, name: str) -> bool:
        """Return True if a file may be left out when another one appears beside it."""
        if self.leaves_out_products and may_be_product(name):
            return True
        ending = self.preferred_ending
        waits = ending is not None and self.waits_for_preferred
        return waits and not stem_of_name(name).endswith(ending or "")

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
    def _excluded(self) -> dict[str, re.Pattern[str]]:
        return {glob: any_of((glob,)) for glob in self.exclude}


PRESETS: dict[Preset, Rules] = {
    "plain": Rules(preferred_ending="_DW"),
    # MotionCor writes X.mrc and, when it weights by dose, X_DW.mrc right after.
    "motioncor": Rules(include=("*.mrc",), preferred_ending="_DW", waits_for_preferred=True),
    # RELION writes X.star last. X_DW.mrc will be renamed to X.mrc.
    "relion": Rules(include=("*.mrc",), exclude=("*_DW.*",), require_sidecar=".star"),
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
        rules = replace(
            rules, exclude=tuple(watch.exclude), is_own_exclude=True, leaves_out_products=False
        )
    rules = replace(
        rules,
        require_sidecar=watch.require_sidecar or rules.require_sidecar,
        forbid_sidecar=watch.forbid_sidecar or rules.forbid_sidecar,
    )
    rules.compile()
    return rules


def is_image_name(name: str) -> bool:
    """Return True if a file of this name can be a micrograph."""
    return name.lower().endswith(IMAGE_SUFFIXES) and not is_ignored_name(name)


def is_in_transfer(name: str) -> bool:
    """Return True if a file or folder is still being transferred, by its name."""
    return name.lower().endswith(TRANSFER_SUFFIXES)


def is_ignored_name(name: str) -> bool:
    """Return True if a file or folder is hidden or still being transferred, by its name."""
    return name.startswith(".") or is_in_transfer(name)
