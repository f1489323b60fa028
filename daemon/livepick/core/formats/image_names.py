"""Names of image files: the suffixes of micrographs, and names without them.

``X.mrc``, ``X.mrc.gz`` and ``X.mrc.bz2`` are the same micrograph ``X``: its coordinates files and
the files of other programs beside it are named after ``X``, whatever its compression.
"""

from pathlib import PurePath
from typing import Final, TypeVar

__all__ = [
    "COMPRESSED_SUFFIXES",
    "IMAGE_SUFFIXES",
    "image_stem",
    "is_compressed_name",
    "stem_of_name",
    "uncompressed_path",
    "without_compression",
    "without_image_suffix",
]

COMPRESSED_SUFFIXES: Final = (".gz", ".bz2")
"""Suffixes after ``.mrc`` of a compressed micrograph."""

IMAGE_SUFFIXES: Final = (".mrc", ".mrcs", ".tif", ".tiff", ".mrc.gz", ".mrc.bz2")
"""Suffixes of files that can be micrographs, in upper or lower case."""

_COMPRESSED: Final = tuple(f".mrc{suffix}" for suffix in COMPRESSED_SUFFIXES)

_Path = TypeVar("_Path", bound=PurePath)


def is_compressed_name(name: str) -> bool:
    """Return True if a file of this name is a compressed micrograph."""
    return name.lower().endswith(_COMPRESSED)


def without_compression(name: str) -> str:
    """Return ``X.mrc`` for ``X.mrc.gz``; any other name is returned unchanged."""
    return name.rpartition(".")[0] if is_compressed_name(name) else name


def uncompressed_path(path: _Path) -> _Path:
    """Return the path that a micrograph has without compression, to tell whether two are one."""
    return path.with_name(without_compression(path.name)) if path.name else path


def without_image_suffix(path: _Path) -> _Path:
    """Return a path without its suffix, and without the one of its compression."""
    return uncompressed_path(path).with_suffix("")


def stem_of_name(name: str) -> str:
    """Return the name of a micrograph's file without its suffixes."""
    plain = without_compression(name)
    stem, _, suffix = plain.rpartition(".")
    return stem if stem and suffix else plain


def image_stem(path: PurePath) -> str:
    """Return the name of a micrograph without folders and suffixes."""
    return stem_of_name(path.name)
