"""The file ``web.web_config_file``: TLS, passwords and headers, as Prometheus's exporters read it.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md describes the
format, and ``promtool check web-config`` checks it. What Python's TLS cannot do is refused, because
a protection that is silently left out is worse than none. Relative paths are relative to the file.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, ValidationError, ValidationInfo, field_validator, model_validator

from livepick.config.error_messages import contradiction, describe
from livepick.config.setting import Folder, Section
from livepick.config.web_section import Web
from livepick.config.yaml_loader import parse_document, read_text
from livepick.errors import ConfigError
from livepick.host.loopback import is_loopback

__all__ = [
    "TlsServer",
    "TlsVersion",
    "WebConfig",
    "check_exposure",
    "load_web_config",
    "read_protection",
]

TlsVersion = Literal["TLS12", "TLS13", "TLS11", "TLS10"]

HEADERS = {
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
}
"""Headers that may be set, as in the exporters."""

MOST_COST = 15
"""Highest cost of a hash; its check takes about two seconds."""

EXAMPLE = "deploy/web_config.yml is an example."

NOT_A_HASH = "is not a hash of bcrypt; make one with: htpasswd -nBC 10"

_REMEDY = f"Fix the file named by web.web_config_file; {EXAMPLE}"


class TlsServer(Section):
    """The certificate, and what is asked of clients."""

    cert_file: Folder
    """The certificate, in PEM format, followed by those between it and the root."""

    key_file: Folder
    """Its key, in PEM format, without a password."""

    client_auth_type: Literal[
        "NoClientCert", "VerifyClientCertIfGiven", "RequireAndVerifyClientCert"
    ] = "NoClientCert"
    """Certificates of clients."""

    client_ca_file: Folder | None = None
    """Authority of the clients' certificates."""

    min_version: TlsVersion = "TLS12"
    """Oldest version of TLS."""

    max_version: TlsVersion = "TLS13"
    """Newest version of TLS."""

    cipher_suites: Annotated[list[str], Field(min_length=1)] | None = None
    """Cipher suites of TLS 1.2, by the names of Go and IANA; None: those of OpenSSL."""

    prefer_server_cipher_suites: bool = True
    """True if the order of the suites is that of the server."""

    @field_validator("client_auth_type", "client_ca_file", "cipher_suites", mode="before")
    @classmethod
    def _is_unset(cls, value: object, info: ValidationInfo) -> object:
        """Read an empty value as unset, as the exporters do."""
        default = "NoClientCert" if info.field_name == "client_auth_type" else None
        return value if value or value is False else default

    @model_validator(mode="after")
    def _has_a_version(self) -> Self:
        """Refuse an oldest version that is newer than the newest, with which nobody connects."""
        if self.min_version > self.max_version:
            raise contradiction(
                f"{{name}}.min_version is {self.min_version}, which is newer than"
                f" {{name}}.max_version, {self.max_version}",
                key="min_version",
            )
        return self

    @model_validator(mode="after")
    def _has_authority(self) -> Self:
        """Refuse a check of certificates without the authority, or the reverse."""
        if (self.client_auth_type == "NoClientCert") != (self.client_ca_file is None):
            raise contradiction(
                "{name}.client_auth_type and {name}.client_ca_file belong together; set both or"
                " none",
                key="client_auth_type",
            )
        return self

    @field_validator("cipher_suites")
    @classmethod
    def _are_known(cls, suites: list[str] | None) -> list[str] | None:
        """Refuse names that do not look like those of TLS 1.2, and are not those of 1.3."""
        for suite in suites or ():
            if suite not in SUITES_OF_TLS13 and not re.fullmatch(r"TLS_\w+_WITH_\w+", suite):
                raise contradiction(f"{{name}} has {suite!r}; {CIPHER_EXAMPLE}")
        return suites


SUITES_OF_TLS13 = {
    "TLS_AES_128_GCM_SHA256",
    "TLS_AES_256_GCM_SHA384",
    "TLS_CHACHA20_POLY1305_SHA256",
}
"""Allowed and without effect, as in the exporters: they are not a choice."""

CIPHER_EXAMPLE = "a name is such as TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"


class HttpServer(Section):
    """Headers of every answer."""

    http2: bool = True
    """Accepted and without effect: livepick speaks HTTP/1.1."""

    headers: dict[str, str] = Field(default_factory=dict)
    """Headers by name; they replace livepick's own."""

    @field_validator("headers", mode="before")
    @classmethod
    def _without_empty(cls, headers: object) -> object:
        """Leave out headers without a value, as the exporters do."""
        if not isinstance(headers, dict):
            return {} if headers is None else headers
        return {name: value for name, value in headers.items() if value not in (None, "")}

    @field_validator("headers")
    @classmethod
    def _may_be_set(cls, headers: dict[str, str]) -> dict[str, str]:
        """Refuse other headers, and values that are not text of one line."""
        for name, value in headers.items():
            if name not in HEADERS:
                known = ", ".join(sorted(HEADERS))
                raise contradiction(f"{{name}} has {name}, which cannot be set; known are {known}")
            if not re.fullmatch(r"[ -~]*", value):
                raise contradiction(f"{{name}}.{name} must be one line of ASCII characters")
        return headers


class WebConfig(Section):
    """TLS, passwords and headers."""

    tls_server_config: TlsServer | None = None
    """The certificate; None: no TLS."""

    http_server_config: HttpServer = HttpServer()
    """Headers."""

    basic_auth_users: dict[str, str] = Field(default_factory=dict)
    """Hash of the password of each user, made with bcrypt."""

    @field_validator("tls_server_config", mode="before")
    @classmethod
    def _is_empty(cls, section: object) -> object:
        """Read an empty section as none, as the exporters do."""
        return section or None

    @field_validator("basic_auth_users", mode="before")
    @classmethod
    def _are_text(cls, users: object) -> object:
        """Refuse what is not a name with a text, without repeating it: it may be a password."""
        if users is None:
            return {}
        if not isinstance(users, dict):
            raise contradiction("{name} must have a line NAME: HASH for each user")
        for user, stored in users.items():
            if not isinstance(user, str):
                raise contradiction("{name} has a name that YAML does not read as text; quote it")
            if not isinstance(stored, str):
                raise contradiction(f"{{name}}.{user} {NOT_A_HASH} {user}")
        return users

    @field_validator("basic_auth_users")
    @classmethod
    def _are_hashes(cls, users: dict[str, str]) -> dict[str, str]:
        """Refuse a password that is not a hash, without repeating it."""
        for user, stored in users.items():
            if not user or ":" in user:
                raise contradiction(
                    f"{{name}} has the user {user!r}; a name has no colon, and is not empty"
                )
            found = re.fullmatch(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}", stored)
            if found is None:
                raise contradiction(f"{{name}}.{user} {NOT_A_HASH} {user}")
            if not 4 <= int(found[1]) <= MOST_COST:
                raise contradiction(
                    f"{{name}}.{user} has the cost {int(found[1])}; it must be between 4 and"
                    f" {MOST_COST} (10 is usual)"
                )
        return users

    @property
    def asks_clients(self) -> bool:
        """True if clients need a password or a certificate."""
        tls = self.tls_server_config
        has_certificates = tls is not None and tls.client_auth_type == "RequireAndVerifyClientCert"
        return bool(self.basic_auth_users) or has_certificates

    @property
    def files(self) -> tuple[Path, ...]:
        """Further files that belong to it."""
        tls = self.tls_server_config
        if tls is None:
            return ()
        more = () if tls.client_ca_file is None else (tls.client_ca_file,)
        return (tls.cert_file, tls.key_file, *more)


def read_protection(web: Web) -> WebConfig:
    """Return the content of ``web.web_config_file``; an empty one without a file.

    Raises
    ------
    ConfigError
        As in ``load_web_config``.
    """
    return WebConfig() if web.web_config_file is None else load_web_config(web.web_config_file)


def load_web_config(path: Path) -> WebConfig:
    """Read a file in the format of the exporters.

    Raises
    ------
    ConfigError
        The file cannot be read or something in it is wrong.
    """
    text = read_text(path, remedy=_REMEDY)
    lines = (line.strip() for line in text.splitlines())
    if all(line in ("", "---", "...", "null", "~") or line.startswith("#") for line in lines):
        return WebConfig()
    document = parse_document(text, path, remedy=_REMEDY, sections="tls_server_config:")
    faults = list(document.faults)
    try:
        config = WebConfig.model_validate(document.values, context={"folder": path.parent})
    except ValidationError as error:
        faults += describe(error, WebConfig)
    else:
        if not faults:
            return config
    listed = "; ".join(
        sentence if (line := document.line_of(path)) is None else f"line {line}: {sentence}"
        for path, sentence in ((fault.path, fault.sentence) for fault in faults)
    )
    raise ConfigError(f"{path}: {listed}", _REMEDY)


def check_exposure(web: Web, protection: WebConfig, *, host: str) -> bool:
    """Return True if other machines can read the page without TLS or without a password.

    Parameters
    ----------
    web
        Settings of the page.
    protection
        Content of ``web.web_config_file``.
    host
        Address that is listened on.

    Raises
    ------
    ConfigError
        They can, and ``web.insecure`` does not accept it.
    """
    if is_loopback(host):
        return False
    lacks = [
        word
        for word, present in (
            ("TLS (tls_server_config)", protection.tls_server_config is not None),
            ("passwords (basic_auth_users)", protection.asks_clients),
        )
        if not present
    ]
    if not lacks:
        return False
    if web.insecure:
        return True
    place = web.web_config_file or "the page"
    raise ConfigError(
        f"web.listen is {web.listen}, which other machines can reach ({host}), and {place} has no"
        f" {' and no '.join(lacks)}",
        "Add them, or listen on 127.0.0.1 behind a proxy, or accept it with web.insecure: true."
        f" {EXAMPLE}",
    )
