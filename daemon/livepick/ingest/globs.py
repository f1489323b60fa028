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


_TOKENS = re.compile(r"(?<![^/])(?:\*\*/)+|\*\*+|\*|\?|\[!?\]?[^]/]*\]|.", re.DOTALL)


def _translated_part(glob: str) -> str:
    """Translate a glob without a final suffix.

    What stands between two wildcards is matched where it is found first, because the second one
    takes the rest: an atomic group, ``(?>...)``, keeps a glob of many stars from trying all ways to
    divide a name among them.
    """
    blocks: list[list[str]] = [[]]
    wilds = [""]
    for token in _TOKENS.findall(glob):
        if token.startswith("**"):
            wilds.append("/" if token.endswith("/") else ".")
            blocks.append([])
        else:
            blocks[-1].append(token)
    first = {"": "", "/": "(?:.*?/)??", ".": ".*?"}
    longest = {"": "", "/": "(?:.*/)?", ".": ".*"}  # the same here, and faster
    translated = [
        f"(?>{first[wild]}{_translated_block(tokens, '[^/]*?')})"
        for wild, tokens in zip(wilds[:-1], blocks[:-1], strict=True)
    ]
    return "".join(translated) + longest[wilds[-1]] + _translated_block(blocks[-1], "[^/]*")


def _translated_block(tokens: list[str], star: str) -> str:
    """Translate what stands between two ``**``; ``star`` is the last ``*`` of each name."""
    return "/".join(_translated_name(name, star) for name in _divided(tokens, "/"))


def _translated_name(tokens: list[str], star: str) -> str:
    first, *others = ("".join(map(_translated_token, one)) for one in _divided(tokens, "*"))
    if not others:
        return first
    inner = "".join(f"(?>[^/]*?{one})" for one in others[:-1])
    return f"{first}{inner}{star}{others[-1]}"


def _divided(tokens: list[str], by: str) -> list[list[str]]:
    parts: list[list[str]] = [[]]
    for token in tokens:
        if token == by:
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def _translated_token(part: str) -> str:
    if part == "?":
        return "[^/]"
    if len(part) == 1:
        return re.escape(part)
    negated = part[1] == "!"
    members = re.sub(r"([\\^\[\]&~|])", r"\\\1", part[1 + negated : -1])
    return f"[^/{members}]" if negated else f"[{members}]"
