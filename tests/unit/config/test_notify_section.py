"""Addresses of notices are named in the config, never written into it."""

from pathlib import Path

import pytest

from livepick.config.yaml_loader import as_yaml, parse_config
from livepick.errors import ConfigError

BASE = """\
session: {name: s}
watch: {directories: [in]}
particle: {diameter_angstrom: 150}
output: {directory: out}
state: {directory: state}
"""

SECRET = "mailtos://anna:hunter2@example.org"  # noqa: S105 - of nobody


def parsed(text):
    return parse_config(BASE + text, Path("/data/s.yaml"))


def test_a_list_is_a_short_form():
    short = parsed('notify: [{url_file: mail}, {url: "${MAIL}"}]')
    long = parsed('notify: {to: [{url_file: mail}, {url: "${MAIL}"}]}')
    assert short.notify == long.notify
    assert [each.name for each in short.notify.to] == ["/data/mail", "${MAIL}"]
    assert parse_config(as_yaml(short), Path("/data/s.yaml")).notify == short.notify
    assert parsed("").notify.to == []


@pytest.mark.parametrize(
    "text",
    [
        f"notify: [{{url: '{SECRET}'}}]",
        f"notify: ['{SECRET}']",
        f"notify: '{SECRET}'",
        f"notify: [{{url: '{SECRET}', url_file: x}}]",
        f"notify: [{{url: '${{A}}{SECRET}'}}]",
        f"notify: {{to: '{SECRET}'}}",
        f"notify: {{to: [{{ulr: '{SECRET}'}}]}}",
        f"notify: {{too: '{SECRET}'}}",
        f"notify: [{{url: ['{SECRET}']}}]",
        f"notify: [[{{url: '{SECRET}'}}]]",
        "notify: [{}]",
    ],
)
def test_what_is_no_place_of_an_address_is_refused_without_repeating_it(text):
    with pytest.raises(ConfigError) as caught:
        parsed(text)
    assert "notify" in caught.value.what
    assert "hunter2" not in f"{caught.value.what} {caught.value.remedy}"
