"""Names of sessions, made from the names of their folders."""

import hashlib
import os
import re
import unicodedata

__all__ = ["session_name"]

MOST_CHARACTERS = 60
"""Maximum number of characters of a folder's name that are kept. A name is part of paths, labels
and titles, and livepick allows 100."""

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]*")


def session_name(folder: str) -> str:
    """Return the name of the session in a folder.

    A folder's name that is one already is kept. Of others, such as names with spaces or umlauts,
    what can be kept is kept, and eight characters that depend on the whole name tell it from all
    others.
    """
    if _NAME.fullmatch(folder) and len(folder) <= MOST_CHARACTERS:
        return folder
    plain = unicodedata.normalize("NFKD", folder).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9_.+-]+", "-", plain).strip("-.+")[: MOST_CHARACTERS - 9]
    mark = hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]
    return f"{kept}-{mark}".lstrip("-")
