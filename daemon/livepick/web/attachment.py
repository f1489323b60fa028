"""Names of downloaded files, safe for every system and header."""

import re
import unicodedata
from urllib.parse import quote

__all__ = ["attachment"]

DEFAULT = "livepick"
"""Name of a file if nothing is left of its own."""

MOST_CHARACTERS = 120
"""Maximum length of a name: most file systems allow 255 bytes."""

_UNSAFE = re.compile(r"[^\w.+-]+")
"""Characters with a meaning of their own in some system: separators, wildcards, quotes, blanks."""


def attachment(session: str, name: str) -> dict[str, str]:
    """Return the header for a download, whose name begins with that of the session.

    The name of a file ends after its suffix, however long the rest is.
    """
    stem, dot, suffix = name.rpartition(".")
    start = _safe(f"{session}_{stem if dot else name}")[: MOST_CHARACTERS - len(suffix)]
    full = f"{start}{dot}{_safe(suffix)}".lstrip(".-_") or DEFAULT
    plain = unicodedata.normalize("NFKD", full).encode("ascii", "ignore").decode().lstrip(".-_")
    disposition = f'attachment; filename="{plain or DEFAULT}"'
    if plain != full:
        disposition += f"; filename*=UTF-8''{quote(full, safe='')}"
    return {"content-disposition": disposition}


def _safe(text: str) -> str:
    whole = text.encode("utf-8", "replace").decode()  # a name need not be text
    return _UNSAFE.sub("_", unicodedata.normalize("NFC", whole)).strip("_")
