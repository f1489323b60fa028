"""Names of files and folders that are left out, whatever the config says, and why.

The rules that the config can change are in ``livepick.ingest.presets``.
"""

import re

from livepick.ingest.housekeeping import is_housekeeping_name
from livepick.ingest.presets import is_ignored_name, is_image_name, is_in_transfer
from livepick.ingest.skipped import SkipKind

__all__ = [
    "is_left_out_folder",
    "left_out_file_kind",
    "left_out_folder_kind",
    "may_be_watched_folder",
]

_LOOKS_LIKE_IMAGE = re.compile(r"\.(mrcs?|tiff?|eer)(?![a-z0-9])", re.IGNORECASE)
"""Suffix of an image, anywhere in a name."""

_OTHER_FORMAT = re.compile(
    r"\.(eer|dm[34]|st|stk|ali|map|hdf|hdf5|h5|mrcz|mrz|img|spi|raw|rec|ser|em|emd|ccp4|fits)$"
    r"|\.(mrcs?|tiff?)("
    r"\.(xz|zst|zip|lz4|lz|lzo|lzma|7z|z|gz|bz|bz2|br|sz|rar|tar|blosc|h5|gpg|enc|age|\d+)"
    r"|[._-](bak|old|orig|save|copy|backup|new)\d*|~|[\s.]+)$",
    re.IGNORECASE,
)
"""End of the name of an image that livepick does not take."""

_RSYNC_NAME = re.compile(r"\..+\.\w{6}")
"""Name that rsync gives a file until it is complete."""

_SUFFIX = re.compile(r"\.[A-Za-z]\w{0,5}$")


def left_out_file_kind(name: str) -> SkipKind | None:
    """Return why a file that looks like an image is not a micrograph; None: it is not an image."""
    if _LOOKS_LIKE_IMAGE.search(name):
        if is_housekeeping_name(name):
            return "housekeeping"
        if is_ignored_name(name):
            is_transferred = is_in_transfer(name) or _RSYNC_NAME.fullmatch(name)
            return "transferring" if is_transferred else "hidden"
    return "other_format" if _OTHER_FORMAT.search(name) else None


def left_out_folder_kind(name: str) -> SkipKind | None:
    """Return why a folder of this name is not descended into, or None."""
    if is_housekeeping_name(name):
        return "housekeeping"
    if is_in_transfer(name):
        return "transferring"
    return "hidden" if name.startswith(".") else None


def is_left_out_folder(name: str) -> bool:
    """Return True if a folder of this name is not descended into."""
    return left_out_folder_kind(name) is not None


def may_be_watched_folder(name: str) -> bool:
    """Return True if a link of this name may lead to a folder that would be descended into."""
    return not is_image_name(name) and not _SUFFIX.search(name) and not is_left_out_folder(name)
