"""Section of the configuration about the page: its address, its URL behind a proxy, its protection.

An address that other machines can reach is refused unless it is protected or accepted.
"""

import ipaddress
import re
import urllib.parse
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from livepick.config.error_messages import contradiction
from livepick.config.setting import RESTART, Folder, Section
from livepick.host.loopback import is_loopback

__all__ = ["Web"]


class Web(Section):
    """The page and the metrics."""

    listen: str = Field(default="127.0.0.1:9476", json_schema_extra=RESTART)
    """Address as host:port. With port 0 a free port is used, which is written to the log and to
    STATE/web.address."""

    external_url: str | None = Field(default=None, json_schema_extra=RESTART)
    """URL at which a proxy shows the page, such as https://cryoem.example.org/krios1/. Requests
    with its host are accepted, and links that livepick hands out begin with it. None: no proxy."""

    overview_url: str | None = Field(default=None, json_schema_extra=RESTART)
    """URL of a page about all sessions, to which the page links; ``:PORT`` is a port of the host by
    which the page is reached. None: no link."""

    web_config_file: Folder | None = Field(default=None, json_schema_extra=RESTART)
    """File with TLS and passwords, in the format of Prometheus's exporters. It is read again when
    it changes."""

    insecure: bool = Field(default=False, json_schema_extra=RESTART)
    """True to accept an address in ``listen`` that other machines can reach without TLS and
    passwords."""

    actions: Literal["off", "token"] = Field(default="off", json_schema_extra=RESTART)
    """``token`` lets people who know the token of ``token_file`` change settings and choose models
    on the page; ``off``: the page is read-only."""

    token_file: Folder | None = Field(
        default=None, json_schema_extra=RESTART, validate_default=True
    )
    """File with the token, one line of at least 16 characters, that only the service's user and
    group can read. It is read again when it changes, which signs everybody out."""

    @field_validator("actions", mode="before")
    @classmethod
    def _off_is_a_word(cls, actions: object) -> object:
        """Accept ``off`` without quotes, which YAML reads as false."""
        return "off" if actions is False else actions

    @field_validator("token_file")
    @classmethod
    def _has_a_token(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        """Refuse actions without the file of the token."""
        if path is None and info.data.get("actions") == "token":
            raise contradiction(
                "web.actions is token, and web.token_file is not set; name the file with the token"
            )
        return path

    @field_validator("listen")
    @classmethod
    def _is_address(cls, listen: str) -> str:
        """Refuse a value that is not ``host:port``."""
        host, port = _split_address(listen)
        named = re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host) is not None
        if host.startswith("["):
            try:
                ipaddress.IPv6Address(host[1:-1])
            except ValueError:
                named = False
            else:
                named = host.endswith("]")
        if not named or port is None or port > 65535:
            raise contradiction(
                f"web.listen is {listen!r}; it must be host:port with a port from 0 to 65535, such"
                " as 127.0.0.1:9476, localhost:0 or [::1]:9476"
            )
        return listen

    @field_validator("external_url")
    @classmethod
    def _is_url(cls, url: str | None) -> str | None:
        """Refuse what is not the URL of a folder; a slash at the end is added."""
        if url is None:
            return None
        try:
            parts = urllib.parse.urlsplit(url)
            named = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        except ValueError:  # a port that is not a number, or half an IPv6 address
            named = False
        else:
            named = named and parts.scheme in ("http", "https") and parts.username is None
            named = named and not parts.query and not parts.fragment
        if not named or not re.fullmatch(r"[!-~]+", url):
            raise contradiction(
                f"web.external_url is {url!r}; it must be the http or https URL at which the page"
                " is reached, without ? and #, such as https://cryoem.example.org/krios1/"
            )
        return url.rstrip("/") + "/"

    @field_validator("overview_url")
    @classmethod
    def _is_link(cls, url: str | None) -> str | None:
        """Refuse what is neither a URL nor a port."""
        if url is None or re.fullmatch(r"https?://[!-~]+", url):
            return url
        if re.fullmatch(r":[0-9]{1,5}", url) and 0 < int(url[1:]) < 65536:
            return url
        raise contradiction(
            f"web.overview_url is {url!r}; it must be an http or https URL, or the port of an"
            " overview on the same host, such as :9476"
        )

    @model_validator(mode="after")
    def _is_protected(self) -> Self:
        """Refuse an address that others can reach, unless it is protected or accepted."""
        if is_loopback(self.host) or self.insecure or self.web_config_file is not None:
            return self
        raise contradiction(
            f"web.listen is {self.listen}, which other machines may be able to reach, and the page"
            " has no password; set web.web_config_file (TLS and passwords), or listen on 127.0.0.1"
            " behind a proxy, or accept it with web.insecure: true",
            key="listen",
        )

    @property
    def external_host(self) -> str | None:
        """The host of ``external_url``."""
        if self.external_url is None:
            return None
        return urllib.parse.urlsplit(self.external_url).hostname

    @property
    def host(self) -> str:
        """The host to listen on, an IPv6 address without its brackets."""
        return _split_address(self.listen)[0].strip("[]")

    @property
    def port(self) -> int:
        """The port to listen on; 0: any free port."""
        return _split_address(self.listen)[1] or 0


def _split_address(listen: str) -> tuple[str, int | None]:
    """Return host and port of ``host:port``; None for a port that is not a number."""
    host, _, port = listen.rpartition(":")
    return host, int(port) if re.fullmatch(r"[0-9]{1,5}", port) else None
