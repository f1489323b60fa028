"""Patterns of file names, as regular expressions."""

import re

from livepick.errors import ConfigError


def any_of(globs: tuple[str, ...]) -> re.Pattern[str]:
    """Return one regular expression that matches names matched by any of the globs."""
    pattern = "|".join(_translated(glob) for glob in globs)
    try:
        return re.compile(pattern or r"(?!)", re.DOTALL)
    except re.error as error:
        raise ConfigError(
            f"one of the globs {', '.join(globs)} is not valid: {error}",
            "Correct watch.include or watch.exclude; examples are '*_DW.mrc' and 'average/*.mrc'.",
        ) from error


def _translated(glob: str) -> str:
    """Translate a glob to a regular expression for a whole path."""
    tied = glob if "/" in glob else f"**/{glob}"
    stem, dot, suffix = tied.lstrip("/").rpartition(".")
    if dot and re.fullmatch(r"\w+", suffix):  # the case of a plain suffix is ignored
        return f"(?:{_translated_part(stem)}\\.(?i:{re.escape(suffix)})\\Z)"
    return f"(?:{_translated_part(tied.lstrip('/'))}\\Z)"


_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?\]?[^]/]*\]|.", re.DOTALL)


def _translated_part(glob: str) -> str:
    wild = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    parts = []
    for token in _TOKENS.findall(glob):
        if token in wild:
            parts.append(wild[token])
        elif len(token) > 1:
            negated = token[1] == "!"
            members = re.sub(r"([\\^\[\]&~|])", r"\\\1", token[1 + negated : -1])
            parts.append(f"[^/{members}]" if negated else f"[{members}]")
        else:
            parts.append(re.escape(token))
    return "".join(parts)
