"""People who are signed in: the token, their sessions, and the limit of wrong tokens.

Sessions are kept in memory and end with the service, after ``SESSION_SECONDS``, and when the token
changes. The cookie has a random number, of which only a digest is kept.
"""

import hashlib
import hmac
import ipaddress
import logging
import secrets
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

from livepick.config.reload import FileStamp, file_stamp
from livepick.config.web_token import is_token, read_token
from livepick.errors import ConfigError

__all__ = ["MOST_NAME", "Refusal", "SignIns", "Visit"]

SESSION_SECONDS = 12 * 3600.0
"""Time after which a person signs in again."""

MOST_VISITS = 64
"""Maximum number of people who are signed in; the one who came first gives way."""

MOST_NAME = 60
"""Maximum length of the name that a person signs in with."""

WINDOW_SECONDS = 60.0
"""Time in which wrong tokens are counted."""

WRONG_OF_ONE = 5
"""Wrong tokens in that time after which an address waits."""

WRONG_OF_ALL = 30
"""Wrong tokens in that time after which everybody waits who has not been signed in before."""

MOST_ADDRESSES = 512
"""Maximum number of addresses whose wrong tokens are counted."""

T = TypeVar("T")

Refusal = Literal["wrong", "too many", "no token"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Visit:
    """A person who is signed in."""

    name: str
    key: str = field(repr=False)
    """Digest of the cookie."""
    form_token: str = field(repr=False)
    """Text that each form must have, so that no other page can send it (CSRF)."""
    ends_at: float
    """Time of the monotonic clock."""


class SignIns:
    """The token and the people who are signed in; may be used from any thread.

    Parameters
    ----------
    token_file
        File with the token.
    clock
        Monotonic clock, in seconds.

    Raises
    ------
    ConfigError
        The token cannot be used.
    """

    def __init__(self, token_file: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._path = token_file
        self._clock = clock
        self._lock = threading.Lock()
        self._last: FileStamp
        self._last = self._read = file_stamp(token_file)
        self._token: str | None = read_token(token_file)
        self.fault: ConfigError | None = None
        """Reason why nobody can sign in; None: one can."""
        self._visits: OrderedDict[str, Visit] = OrderedDict()
        self._wrong: OrderedDict[str, deque[float]] = OrderedDict()
        self._wrong_of_all: deque[float] = deque(maxlen=WRONG_OF_ALL)
        self._welcome: OrderedDict[str, None] = OrderedDict()

    def reload_if_edited(self) -> None:
        """Read the token again if its file has changed; call it every second or so.

        A new token ends all sessions. With a file that cannot be used, nobody can sign in.
        """
        now = file_stamp(self._path)
        settled, self._last = now == self._last, now
        if not settled or now == self._read:
            return
        self._read = now
        fault, token = None, None
        try:
            token = read_token(self._path)
        except ConfigError as error:
            fault = error
            _log.error("page: nobody can sign in: %s", error)
        with self._lock:
            self.fault = fault
            if token is not None and self._token is not None and is_token(token, self._token):
                return
            self._token = token
            count = len(self._visits)
            self._visits.clear()
        if fault is None:
            _log.info("page: there is a new token; %d signed out", count)

    def sign_in(self, token: str, name: str, address: str) -> tuple[str, Visit] | Refusal:
        """Return the text of the cookie and the visit of a person, or why there is none.

        Parameters
        ----------
        token, name
            Token and name that the person gives.
        address
            Address that the request comes from.
        """
        now, network = self._clock(), _network(address)
        with self._lock:
            if self._token is None:
                return "no token"
            if self._has_too_many(network, now):
                return "too many"
            if not is_token(token, self._token):
                self._count_wrong(network, now)
                return "wrong"
            _keep(self._welcome, network, None, MOST_ADDRESSES)
            cookie = secrets.token_urlsafe(32)
            visit = Visit(name, _key(cookie), secrets.token_urlsafe(32), now + SESSION_SECONDS)
            _keep(self._visits, visit.key, visit, MOST_VISITS)
            return cookie, visit

    def visit(self, cookies: list[str]) -> Visit | None:
        """Return the visit that one of the cookies belongs to; None: nobody is signed in."""
        now = self._clock()
        with self._lock:
            for cookie in cookies:
                visit = self._visits.get(key := _key(cookie))
                if visit is not None and visit.ends_at > now:
                    return visit
                self._visits.pop(key, None)
        return None

    def sign_out(self, visit: Visit) -> None:
        """End the session of a person."""
        with self._lock:
            self._visits.pop(visit.key, None)

    def _has_too_many(self, network: str, now: float) -> bool:
        wrong = self._wrong.get(network, ())
        if sum(now - at < WINDOW_SECONDS for at in wrong) >= WRONG_OF_ONE:
            return True
        of_all = sum(now - at < WINDOW_SECONDS for at in self._wrong_of_all)
        return of_all >= WRONG_OF_ALL and network not in self._welcome

    def _count_wrong(self, network: str, now: float) -> None:
        wrong = self._wrong.get(network) or deque(maxlen=WRONG_OF_ONE)
        wrong.append(now)
        _keep(self._wrong, network, wrong, MOST_ADDRESSES)
        self._wrong_of_all.append(now)


def _keep(kept: OrderedDict[str, T], key: str, value: T, most: int) -> None:
    """Put a value last, and drop the first one if there are too many."""
    kept[key] = value
    kept.move_to_end(key)
    if len(kept) > most:
        kept.popitem(last=False)


def _key(cookie: str) -> str:
    return hmac.digest(b"livepick", cookie.encode("utf-8", "replace"), hashlib.sha256).hex()


def _network(address: str) -> str:
    """Return what is counted as one address: with IPv6, the 64 bits of a network."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if parsed.version == 4:
        return str(parsed)
    if parsed.ipv4_mapped is not None:
        return str(parsed.ipv4_mapped)
    return str(ipaddress.ip_network((parsed, 64), strict=False))
