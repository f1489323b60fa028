"""Who may read the page: addresses that need protection, and the file that gives it."""

from pathlib import Path

import pytest

from livepick.config.web_config import WebConfig, check_exposure, load_web_config
from livepick.config.yaml_loader import load_config
from livepick.errors import ConfigError
from livepick.host.loopback import is_loopback

HASH = "$2b$10$Y1veYNVMmSO6MsGHN0kk6eIEkJmweBpw1CQgEZihU0TCE3TfaMsp2"

SETTINGS = """\
session: {name: s}
watch: {directories: [in]}
particle: {diameter_angstrom: 150}
output: {directory: out}
state: {directory: state}
"""


def _config(tmp_path: Path, web: str) -> Path:
    path = tmp_path / "session.yaml"
    path.write_text(f"{SETTINGS}web: {{{web}}}\n")
    return path


def _read(tmp_path: Path, text: str) -> WebConfig:
    path = tmp_path / "web.yml"
    path.write_text(text)
    return load_web_config(path)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.1.2.3", "::1", "::1%lo", "::ffff:127.0.0.1", "localhost", "LOCALHOST."],
)
def test_a_loopback_address_needs_nothing(tmp_path: Path, host: str) -> None:
    assert is_loopback(host)
    shown = f"[{host}]" if ":" in host else host
    if "%" not in host and not host.endswith("."):
        assert not load_config(_config(tmp_path, f"listen: '{shown}:1'")).web.insecure


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104 - it is refused
        "::",
        "::ffff:0.0.0.0",
        "::ffff:10.0.0.1",
        "10.0.0.1",
        "fe80::1",
        "krios1",
        "krios1.example.org",
        "eth0",
        "0",
        "127.1",
        "2130706433",
        "localhost.example.org",
        "notlocalhost",
    ],
)
def test_an_address_that_others_can_reach_is_refused(tmp_path: Path, host: str) -> None:
    """A name or a short form may be any address, so it counts as one of them."""
    shown = f"[{host}]" if ":" in host else host
    with pytest.raises(ConfigError, match=r"set web\.web_config_file") as refused:
        load_config(_config(tmp_path, f"listen: '{shown}:9476'"))
    assert f"web.listen is {shown}:9476" in str(refused.value)
    assert "line 6" in str(refused.value)
    assert "web.insecure: true" in str(refused.value)

    assert load_config(_config(tmp_path, f"listen: '{shown}:1', insecure: true")).web.insecure
    web = load_config(_config(tmp_path, f"listen: '{shown}:1', web_config_file: w.yml")).web
    assert web.web_config_file == tmp_path / "w.yml"


@pytest.mark.parametrize("url", ["krios1:9476", ":0", ":65536", "javascript:alert(1)", "http://"])
def test_a_link_to_an_overview_is_a_url_or_a_port(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"overview_url is .* must be an http or https URL"):
        load_config(_config(tmp_path, f"overview_url: '{url}'"))
    for good in (":9476", "https://cryoem.example.org/"):
        assert load_config(_config(tmp_path, f"overview_url: '{good}'")).web.overview_url == good


@pytest.mark.parametrize(
    ("text", "lacks"),
    [
        ("", "no TLS (tls_server_config) and no passwords (basic_auth_users)"),
        ("# nothing\n", "no TLS"),
        (f"basic_auth_users: {{a: {HASH}}}", "no TLS (tls_server_config)"),
        ("tls_server_config: {cert_file: c, key_file: k}", "no passwords (basic_auth_users)"),
    ],
)
def test_a_file_that_does_not_protect_is_no_protection(
    tmp_path: Path, text: str, lacks: str
) -> None:
    listen = "listen: '0.0.0.0:1', web_config_file: web.yml"
    protection = _read(tmp_path, text)
    web = load_config(_config(tmp_path, listen)).web
    with pytest.raises(ConfigError) as refused:
        check_exposure(web, protection, host="0.0.0.0")  # noqa: S104 - it is refused
    assert lacks in str(refused.value)
    assert not check_exposure(web, protection, host="127.0.0.1")

    web = load_config(_config(tmp_path, f"{listen}, insecure: true")).web
    assert check_exposure(web, protection, host="192.0.2.1")


@pytest.mark.parametrize(
    "clients",
    [
        f"basic_auth_users: {{a: {HASH}}}",
        "#",
    ],
)
def test_tls_with_passwords_or_certificates_is_protection(tmp_path: Path, clients: str) -> None:
    more = (
        ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca"
        if clients == "#"
        else ""
    )
    text = f"tls_server_config: {{cert_file: c, key_file: /k{more}}}\n{clients}\n"
    protection = _read(tmp_path, text)
    web = load_config(_config(tmp_path, "listen: '0.0.0.0:1', web_config_file: web.yml")).web
    assert not check_exposure(web, protection, host="192.0.2.1")
    assert protection.files[:2] == (tmp_path / "c", Path("/k"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("tls: {}", "tls is unknown"),
        ("tls_server_config: {cert_file: c}", "tls_server_config.key_file is missing"),
        (
            "tls_server_config: {cert_file: c, key_file: k, certfile: x}",
            "tls_server_config.certfile is unknown; perhaps you mean",
        ),
        (
            "tls_server_config: {cert_file: c, key_file: k, client_allowed_sans: [x]}",
            "client_allowed_sans is unknown",
        ),
        (
            "tls_server_config: {cert_file: c, key_file: k, client_auth_type: RequestClientCert}",
            "it must be NoClientCert",
        ),
        (
            "tls_server_config: {cert_file: c, key_file: k,\n client_ca_file: a}",
            "tls_server_config.client_auth_type and tls_server_config.client_ca_file belong",
        ),
        ("tls_server_config: {cert_file: c, key_file: k, min_version: TLS14}", "TLS12"),
        ("tls_server_config: {cert_file: c, key_file: k, cipher_suites: [RC4]}", "has 'RC4'"),
        ("tls_server_config: {cert_file: c, key_file: k, cipher_suites: [TLS_NO]}", "has 'TLS_NO'"),
        (
            (
                "tls_server_config: {cert_file: c, key_file: k, min_version: TLS13,"
                " max_version: TLS12}"
            ),
            "tls_server_config.min_version is TLS13, which is newer than",
        ),
        ("rate_limit: {burst: 5}", "rate_limit is unknown"),
        ("basic_auth_users: {anna: plain}", "basic_auth_users.anna is not a hash"),
        (f"basic_auth_users: {{anna: {HASH[:-1]}}}", "is not a hash"),
        (f"basic_auth_users: {{anna: {HASH.replace('$10$', '$31$')}}}", "has the cost 31"),
        (f"basic_auth_users: {{'a:b': {HASH}}}", "a name has no colon"),
        ("basic_auth_users: [anna]", "basic_auth_users must have a line NAME: HASH"),
        ("basic_auth_users: {anna: 90210}", "basic_auth_users.anna is not a hash"),
        ("basic_auth_users: {anna: [90210]}", "basic_auth_users.anna is not a hash"),
        ("basic_auth_users: {anna: }", "basic_auth_users.anna is not a hash"),
        (f"basic_auth_users: {{no: {HASH}}}", "does not read as text"),
        (f"basic_auth_users: {{'': {HASH}}}", "is not empty"),
        (f"basic_auth_users: {{a: {HASH}, a: {HASH}}}", "repeated"),
        ("http_server_config: {headers: {Server: x}}", "has Server, which cannot be set"),
        (
            'http_server_config: {headers: {X-Frame-Options: "a\\r\\nSet-Cookie: x"}}',
            "must be one line",
        ),
        ("- a\n", "it has no sections such as tls_server_config:"),
        ("a: [", "web.yml"),
    ],
)
def test_a_fault_is_named(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as refused:
        _read(tmp_path, text)
    assert said in str(refused.value)
    assert "web.yml" in str(refused.value)
    assert "web.web_config_file" in refused.value.remedy
    assert "plain" not in str(refused.value)
    assert "90210" not in str(refused.value)


@pytest.mark.parametrize("text", ["", "---\n", "# nothing\n---\n...\n", "null\n", "{}\n"])
def test_a_file_without_content_is_empty(tmp_path: Path, text: str) -> None:
    assert _read(tmp_path, text) == WebConfig()


def test_a_value_that_is_empty_is_unset(tmp_path: Path) -> None:
    """As in the exporters, whose documentation lists all keys."""
    text = (
        "tls_server_config: {cert_file: c, key_file: k, client_auth_type: '',\n"
        "  client_ca_file: '', cipher_suites: []}\n"
        "http_server_config:\n  headers:\n    X-XSS-Protection:\n    X-Frame-Options: ''\n"
        "    Strict-Transport-Security: max-age=1\n"
        "basic_auth_users:\n"
    )
    config = _read(tmp_path, text)
    assert config.tls_server_config is not None
    assert config.tls_server_config.client_auth_type == "NoClientCert"
    assert config.tls_server_config.client_ca_file is None
    assert config.tls_server_config.cipher_suites is None
    assert config.http_server_config.headers == {"Strict-Transport-Security": "max-age=1"}


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yml cannot be read: No such file"):
        load_web_config(tmp_path / "none.yml")


def test_the_example_is_read() -> None:
    example = Path(__file__).parents[3] / "deploy" / "web_config.yml"
    config = load_web_config(example)
    assert config.tls_server_config is not None
    assert config.asks_clients


@pytest.mark.parametrize(
    ("url", "read"),
    [
        ("https://cryoem.example.org/krios1", "https://cryoem.example.org/krios1/"),
        ("http://localhost:8080", "http://localhost:8080/"),
        ("https://[2001:db8::1]/a/", "https://[2001:db8::1]/a/"),
    ],
)
def test_an_external_url_ends_in_a_slash(tmp_path: Path, url: str, read: str) -> None:
    assert load_config(_config(tmp_path, f"external_url: '{url}'")).web.external_url == read


@pytest.mark.parametrize(
    "url",
    [
        "",
        "cryoem.example.org",
        "/krios1",
        "ftp://a/",
        "https:///a",
        "https://u:p@a/",
        "https://a/?b",
        "https://a/#b",
        "https://a:x/",
        "https://[::1/",
        "https://a b/",
        "https://a/\\n",
    ],
)
def test_another_external_url_is_refused(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="it must be the http or https URL"):
        load_config(_config(tmp_path, f'external_url: "{url}"'))
