"""TLS as ``web.web_config_file`` describes it."""

import ssl

from livepick.config.web_config import CIPHER_EXAMPLE, SUITES_OF_TLS13, TlsServer, TlsVersion
from livepick.errors import ConfigError
from livepick.host.tls_files import load_tls_files

__all__ = ["make_context"]

VERSIONS: dict[TlsVersion, ssl.TLSVersion] = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}

CLIENTS = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}


def make_context(server: TlsServer) -> ssl.SSLContext:
    """Return the TLS context of a server.

    Raises
    ------
    ConfigError
        A file cannot be read, or the certificate does not match its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[server.min_version]
    context.maximum_version = VERSIONS[server.max_version]
    context.options |= ssl.OP_NO_COMPRESSION
    if server.prefer_server_cipher_suites:
        context.options |= ssl.OP_CIPHER_SERVER_PREFERENCE
    if server.cipher_suites is not None:
        _use_suites(context, server.cipher_suites)
    try:
        load_tls_files(context, server.cert_file, server.key_file, server.client_ca_file)
    except ValueError as error:
        names = [str(server.cert_file), str(server.key_file)]
        names += [str(server.client_ca_file)] if server.client_ca_file is not None else []
        raise ConfigError(
            f"tls_server_config: {', '.join(names)} cannot be used: {error}",
            "Give a certificate and its own key in PEM format, without a password, that the"
            " service's user can read.",
        ) from error
    if server.client_ca_file is not None:
        context.verify_mode = CLIENTS[server.client_auth_type]
    context.set_alpn_protocols(["http/1.1"])
    return context


def _use_suites(context: ssl.SSLContext, suites: list[str]) -> None:
    """Choose the suites of TLS 1.2; those of TLS 1.3 are not a choice, as in Go."""
    names = {suite: _openssl_name(suite) for suite in suites if suite not in SUITES_OF_TLS13}
    for suite, name in names.items():
        try:
            context.set_ciphers(name)
        except ssl.SSLError as error:
            raise ConfigError(
                f"tls_server_config.cipher_suites has {suite}, which OpenSSL does not have",
                f"Remove it; {CIPHER_EXAMPLE}.",
            ) from error
    if names:
        context.set_ciphers(":".join(names.values()))


def _openssl_name(suite: str) -> str:
    """Return OpenSSL's name of a suite of TLS 1.2."""
    name = suite.removeprefix("TLS_").replace("_WITH_", "_").replace("_", "-")
    name = name.replace("AES-", "AES").replace("-CBC", "")
    name = name.replace("CHACHA20-POLY1305-SHA256", "CHACHA20-POLY1305")
    return name.replace("RSA-AES", "AES") if name.startswith("RSA-") else name
