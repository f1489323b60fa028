"""Removal of passwords, keys and names of persons from a text that is sent to others."""

import re
from typing import Final

__all__ = ["without_secrets"]

HIDDEN: Final = "***"

_PRIVATE_NAME = (
    r"[\w.-]*(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|access[_-]?key|private[_-]?key"
    r"|license[_-]?id|credential|authorization)[\w.-]*"
)

_RULES: Final = [
    # PEM keys
    (re.compile(r"-----BEGIN [^-]*KEY-----.*?(-----END [^-]*-----|\Z)", re.DOTALL), HIDDEN),
    # user:password@host in an address
    (re.compile(r"(?<=://)[^/\s@'\"]+@"), f"{HIDDEN}@"),
    # hashes of passwords
    (re.compile(r"\$(2[abxy]?|5|6|y|argon2\w*|apr1|pbkdf2[\w-]*)\$[^\s'\",]+"), HIDDEN),
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]{8,}"), rf"\1 {HIDDEN}"),
    # "--token", "abc" in a list, --token=abc and --token abc
    (re.compile(rf"(?i)(--?{_PRIVATE_NAME}['\"]?\s*[,=\s]\s*)['\"]?[^\s,'\"\]]+"), rf"\1{HIDDEN}"),
    # name: value and NAME=value, up to the end of the line; and ?token=abc in an address
    (re.compile(rf"(?i)([?&]{_PRIVATE_NAME}=)[^&\s'\"]+"), rf"\1{HIDDEN}"),
    (re.compile(rf"(?im)^(\W*{_PRIVATE_NAME}['\"]?\s*[:=][ \t]*)(?!\s*$)\S.*$"), rf"\1{HIDDEN}"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)*\.(?!service\b|socket\b)[a-z]{2,}\b"), HIDDEN),
    # names of persons in paths
    (re.compile(r"(?<=/home/)[^/\s:'\",\]]+|(?<=/Users/)[^/\s:'\",\]]+"), "USER"),
]


def without_secrets(text: str) -> str:
    """Return a text without passwords, keys, e-mail addresses and names of home folders."""
    for pattern, instead in _RULES:
        text = pattern.sub(instead, text)
    return text
