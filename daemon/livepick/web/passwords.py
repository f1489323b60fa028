"""Passwords of the page's users; the only module that imports bcrypt.

A check takes a tenth of a second by design, so its result is cached, as in Prometheus's exporters:
a scrape every few seconds must not cost that each time. The cache holds keyed digests, no
passwords. Right and wrong ones are cached apart, so that a guesser does not displace them.
"""

import asyncio
import base64
import binascii
import functools
import hashlib
import hmac
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

__all__ = ["Passwords", "TooBusyError"]

MOST_CACHED = 500
"""Maximum number of cached results of each kind."""

MOST_WAITING = 32
"""Maximum number of checks that wait. The limit is reached only if somebody guesses."""

MOST_PASSWORD_BYTES = 72
"""Number of bytes of a password that bcrypt reads; htpasswd ignores the rest too."""

NOBODY = b"$2b$10$HlbzcrX9SoYBqGTvyDYmQuOWQPQ6fhqFFJPI/YbYwUUnSrnJRUzsK"
"""Hash to check for a user who does not exist, so that the answer takes as long."""


class TooBusyError(Exception):
    """Too many passwords are being checked."""


class Passwords:
    """Checks the header ``Authorization``. For one event loop, except for ``use``."""

    def __init__(self) -> None:
        self._users: dict[str, bytes] = {}
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._waiting = 0
        # bcrypt releases Python's lock, so one thread leaves the other cores to the workers.
        self._thread = ThreadPoolExecutor(1, "passwords")

    def use(self, users: Mapping[str, str]) -> None:
        """Set the hashes by user; without users every request is accepted."""
        self._users = {user: stored.encode() for user, stored in users.items()}

    async def accept(self, authorization: bytes | None) -> bool:
        """Return True if a request may be answered.

        Raises
        ------
        TooBusyError
            Too many passwords are being checked.
        """
        users = self._users
        if not users:
            return True
        given = _user_and_password(authorization)
        if given is None:
            return False
        user, password = given
        stored = users.get(user, NOBODY)
        digest = self._digest(user.encode(), stored, password)
        for cache, accepted in ((self._right, True), (self._wrong, False)):
            if digest in cache:
                cache.move_to_end(digest)
                return accepted
        matches = await self._check(password, stored) and user in users
        cache = self._right if matches else self._wrong
        cache[digest] = None
        if len(cache) > MOST_CACHED:
            cache.popitem(last=False)
        return matches

    async def _check(self, password: bytes, stored: bytes) -> bool:
        if self._waiting >= MOST_WAITING:
            raise TooBusyError
        self._waiting += 1
        try:
            check = functools.partial(_matches, password, stored)
            return await asyncio.get_running_loop().run_in_executor(self._thread, check)
        finally:
            self._waiting -= 1

    def _digest(self, *parts: bytes) -> bytes:
        whole = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, whole, hashlib.sha256)


def _matches(password: bytes, stored: bytes) -> bool:
    import bcrypt  # noqa: PLC0415 - few services have passwords

    try:
        return bcrypt.checkpw(password[:MOST_PASSWORD_BYTES], stored)
    except ValueError:  # a password with a NUL byte, for some versions
        return False


def _user_and_password(authorization: bytes | None) -> tuple[str, bytes] | None:
    scheme, _, encoded = (authorization or b"").partition(b" ")
    if scheme.lower() != b"basic":
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode("utf-8"), password) if colon else None
    except (binascii.Error, UnicodeDecodeError):
        return None
