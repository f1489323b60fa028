"""Checks by ``livepick check`` of notices, and of the links in mails."""

import pytest

from livepick.monitoring.preflight import notices as checks

SECRET = "json://hunter2@example.org"  # noqa: S105 - of nobody


@pytest.fixture
def mail(tmp_path):
    path = tmp_path / "mail"
    path.write_text(f"{SECRET}\n")
    path.chmod(0o600)
    return path


def tried(config):
    found = list(checks.notices(config))
    assert all("hunter2" not in f"{each.found}{each.remedy}" for each in found)
    return [each.verdict for each in found]


def test_a_file_with_an_address_is_right_if_others_cannot_read_it(make_config, mail):
    config = make_config(notify={"to": [{"url_file": str(mail)}]})
    assert tried(config) == ["ok"]
    mail.chmod(0o644)
    assert tried(config) == ["warning"]
    mail.write_text("")
    assert tried(config) == ["fault"]
    mail.unlink()
    assert tried(config) == ["fault"]


def test_a_variable_that_is_not_set_may_be_set_for_the_service(make_config, monkeypatch):
    config = make_config(notify={"to": [{"url": "${LIVEPICK_MAIL}"}]})
    monkeypatch.delenv("LIVEPICK_MAIL", raising=False)
    assert tried(config) == ["warning"]
    monkeypatch.setenv("LIVEPICK_MAIL", SECRET)
    assert tried(config) == ["ok"]


def test_links_that_lead_nowhere_are_told_where_mails_have_some(make_config, mail, monkeypatch):
    """With notices, or with livepick's alert rules in a Prometheus of this machine."""
    rules = mail.parent / "etc"
    rules.mkdir()
    monkeypatch.setattr(checks, "_PROMETHEUS", rules)
    notify = {"to": [{"url_file": str(mail)}]}
    url = "https://cryoem.example.org/krios1/"
    assert list(checks.links_in_mails(make_config())) == []
    (check,) = checks.links_in_mails(make_config(notify=notify))
    assert check.verdict == "warning"
    assert list(checks.links_in_mails(make_config(notify=notify, web={"external_url": url}))) == []

    (rules / "livepick.yml").write_text("- alert: LivepickDown\n")
    (check,) = checks.links_in_mails(make_config())
    assert "web.external_url" in check.found
