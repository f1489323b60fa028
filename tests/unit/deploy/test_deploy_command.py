"""``livepick deploy``: the files of deploy/ for one installation."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from livepick import cli
from livepick.deployment import shipped_files
from livepick.deployment.filled_files import filled_files, replacements
from livepick.deployment.shipped_files import DEPLOYED, deploy_files
from livepick.deployment.site import Site
from livepick.deployment.written_files import RECORD
from livepick.errors import LivepickError

ROOT = Path(__file__).parents[3]

NOT_DEPLOYED = {
    "alerts/tests": "tests of the rules",
    "bundle": "makes the offline bundle",
    "conda": "for an installation by conda",
    "container": "for an installation in a container",
    "generate.py": "makes rules and dashboards",
    "observability": "what generate.py makes them of",
    "pictures": "of the README",
}
"""Files and folders of deploy/ that an installation does not need, and why."""


@pytest.fixture
def program(tmp_path):
    """Return an installed command, as systemd looks for it."""
    path = tmp_path / "prefix" / "bin" / "livepick"
    path.parent.mkdir(parents=True)
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


@pytest.fixture
def deploy(tmp_path, program, capsys):
    """Return a function that calls the command, and the folder that it writes to."""
    folder = tmp_path / "deployed"

    def call(*options):
        status = cli.main(["deploy", str(folder), "--program", str(program), *map(str, options)])
        said = capsys.readouterr()
        return status, said.out, said.err

    return call, folder


def site_of(program, **more):
    """Return a site in which every value differs from the shipped files."""
    return Site(
        directory=Path("/srv/livepick-files"),
        program=program,
        user="cryoem",
        config_folder=Path("/srv/configs"),
        output_folders=(Path("/data/picks"), Path("/data/more")),
        instrument="glacios2",
        page_url="https://glacios2.example.com/live/",
        prometheus_url="https://metrics.example.com",
        alertmanager_url="https://alerts.example.com/am",
        grafana_url="https://grafana.example.com/",
        runbook_url="https://wiki.example.com/livepick",
        mail_server="smtp.example.com:25",
        mail_from="pick@example.com",
        mail_to="staff@example.com",
        **more,
    )


def ran(*command):
    """Run a program to its end; return its status and its output."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_every_file_of_deploy_is_deployed_or_has_a_reason():
    """A new file would otherwise be missing in the wheel."""
    known = {*DEPLOYED, *NOT_DEPLOYED}
    listed = ran("git", "-C", ROOT, "ls-files", "deploy")[1].split()
    names = [name.removeprefix("deploy/") for name in listed]
    unknown = [
        name
        for name in names
        if not any(name == one or name.startswith(f"{one}/") for one in known)
    ]

    assert names
    assert unknown == []


def test_the_wheel_gets_what_is_deployed():
    """The build takes the files from where the repository has them."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    included = build["targets"]["wheel"]["force-include"]

    assert included == {
        "config.example.yaml": "livepick/shipped/config.example.yaml",
        **{f"deploy/{name}": f"livepick/shipped/deploy/{name}" for name in DEPLOYED},
    }


def test_missing_files_are_named(monkeypatch, tmp_path):
    """As those of a package that was copied by hand."""
    monkeypatch.setattr(shipped_files.livepick, "__file__", str(tmp_path / "a" / "b" / "x.py"))

    with pytest.raises(LivepickError, match="Install livepick again"):
        deploy_files()


def test_every_replacement_finds_its_text(program):
    """A file whose text has changed would keep the address of the example."""
    for one in replacements(site_of(program)):
        files = [path for name, path in deploy_files().items() if one.concerns(name)]
        assert any(one.old in path.read_text() for path in files), one


def test_no_example_is_left(program):
    """Units, rules and configs name this site only."""
    files = filled_files(site_of(program))
    for name, file in files.items():
        if name.endswith((".service", "alerts/livepick.yml", "prometheus.yml", "alertmanager.yml")):
            lines = [line for line in file.text.splitlines() if not line.lstrip().startswith("#")]
            text = "\n".join(lines)
            for example in (
                "/opt/livepick", "=livepick\n", "/etc/livepick", "127.0.0.1:9", "localhost",
                "example.org", "krios1",
            ):  # fmt: skip
                if example != "=livepick\n" or name.endswith(".service"):
                    assert example not in text.replace("StateDirectory=livepick\n", ""), name


def test_the_scrape_config_has_the_page_and_the_alertmanager(program):
    config = yaml.safe_load(filled_files(site_of(program))["prometheus/prometheus.yml"].text)

    assert config["scrape_configs"] == [
        {
            "job_name": "livepick",
            "scheme": "https",
            "metrics_path": "/live/metrics",
            "static_configs": [
                {"targets": ["glacios2.example.com:443"], "labels": {"instrument": "glacios2"}}
            ],
        }
    ]
    assert config["alerting"]["alertmanagers"] == [
        {
            "scheme": "https",
            "path_prefix": "/am",
            "static_configs": [{"targets": ["alerts.example.com:443"]}],
        }
    ]


def test_links_of_alerts_lead_to_this_site(program):
    (group,) = yaml.safe_load(filled_files(site_of(program))["alerts/livepick.yml"].text)["groups"]

    alerts = [rule for rule in group["rules"] if "alert" in rule]
    assert len(alerts) > 30
    for rule in alerts:
        notes = rule["annotations"]
        assert notes["runbook_url"].startswith("https://wiki.example.com/livepick#livepick")
        assert notes["dashboard_url"].startswith("https://grafana.example.com/d/livepick-")


def test_grafana_finds_the_dashboards_in_a_container_and_without(program):
    """The folder has the same path in both."""
    files = filled_files(site_of(program))
    provider = yaml.safe_load(files["grafana/provisioning/dashboards/livepick.yml"].text)
    grafana = yaml.safe_load(files["compose.yaml"].text)["services"]["grafana"]
    folder = "/srv/livepick-files/grafana/dashboards"

    assert provider["providers"][0]["options"]["path"] == folder
    assert f"./grafana/dashboards:{folder}:ro" in grafana["volumes"]
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{folder}/session.json"
    assert {json.loads(files[name].text)["uid"] for name in files if "dashboards/" in name
            and name.endswith(".json")} == {
        "livepick-session", "livepick-pipeline", "livepick-training",
    }  # fmt: skip


def test_alerts_have_no_links_that_lead_nowhere_by_default(deploy):
    """Neither to a file of this machine nor to localhost; the page's own URL is in all of them."""
    call, folder = deploy
    assert call()[0] == 0

    rules = (folder / "alerts" / "livepick.yml").read_text()
    assert not re.search(r"file://|localhost|runbook_url|dashboard_url", rules)
    assert "page_url" in rules


def test_the_command_says_three_steps(deploy, program):
    call, folder = deploy

    status, said, faults = call("--user", "cryoem")

    assert (status, faults) == (0, "")
    head, *steps = said.splitlines()
    assert head == f"{len(filled_files(site_of(program))) - 2} files are in {folder}. Next:"
    assert [step[:5] for step in steps] == ["  1. ", "  2. ", "  3. "]
    assert f"cp -r {folder}/livepick*.service* /etc/systemd/system/" in steps[0]
    assert "the user cryoem must exist" in steps[0]


def test_programs_stay_executable(deploy):
    call, folder = deploy
    call()

    assert os.access(folder / "dask" / "make-certificates.sh", os.X_OK)
    assert not os.access(folder / "README.md", os.X_OK) or os.geteuid() == 0
    assert (folder / "README.md").stat().st_mode & 0o111 == 0


def test_other_options_replace_what_was_written(deploy):
    """As after a move, or an upgrade."""
    call, folder = deploy
    call("--user", "one")

    status, _, _ = call("--user", "two")

    assert status == 0
    assert "User=two" in (folder / "livepick.service").read_text()


def test_options_of_the_last_call_are_kept(deploy):
    """After an upgrade nobody remembers them. One that is given changes, also to its default."""
    call, folder = deploy
    call("--user", "one", "--page-url", "https://a.example.com", "--output-folder", "/data/a")

    call("--user", "livepick")

    assert "User=livepick\n" in (folder / "livepick.service").read_text()
    assert "a.example.com:443" in (folder / "prometheus" / "prometheus.yml").read_text()
    drop_in = folder / "livepick.service.d" / "folders.conf"
    assert "ReadWritePaths=/data/a\n" in drop_in.read_text()
    call("--output-folder", "/data/b")
    assert "ReadWritePaths=/data/b\n" in drop_in.read_text()


@pytest.mark.parametrize("options", ["[]", '{"user": 1, "output_folder": "x", "other": "y"}'])
def test_a_damaged_record_of_options_is_passed_over(deploy, options):
    call, folder = deploy
    call()
    record = json.loads((folder / RECORD).read_text())
    (folder / RECORD).write_text(json.dumps({**record, "options": json.loads(options)}))

    assert call()[0] == 0
    assert "User=livepick\n" in (folder / "livepick.service").read_text()


def test_an_edited_file_is_not_replaced(deploy):
    """And nothing else is written."""
    call, folder = deploy
    call("--user", "one")
    (folder / "alertmanager" / "alertmanager.yml").write_text("route: {receiver: mine}\n")

    status, _, faults = call("--user", "two")

    assert status == 1
    assert "were edited, or that livepick did not write: alertmanager/alertmanager.yml" in faults
    assert "--force" in faults
    assert "User=one" in (folder / "livepick.service").read_text()


def test_force_replaces_an_edited_file(deploy):
    call, folder = deploy
    call()
    (folder / "livepick.service").write_text("mine\n")

    status, _, _ = call("--force")

    assert status == 0
    assert "ExecStart=" in (folder / "livepick.service").read_text()


@pytest.mark.parametrize("record", [None, "", "[]", '{"sha256": []}'])
def test_without_its_record_a_different_file_counts_as_edited(deploy, record):
    call, folder = deploy
    call("--user", "one")
    (folder / RECORD).unlink()
    if record is not None:
        (folder / RECORD).write_text(record)

    assert call("--user", "one")[0] == 0
    if record is not None:
        (folder / RECORD).write_text(record)
    else:
        (folder / RECORD).unlink()
    assert call("--user", "two")[0] == 1


def test_a_folder_that_cannot_be_written_is_named(deploy, tmp_path):
    (tmp_path / "deployed").write_text("a file\n")

    status, _, faults = deploy[0]()

    assert status == 1
    assert "deployed" in faults
    assert "Name a folder that you may write" in faults


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--user", "a b", "has another form"),
        ("--page-url", "krios1:9476", "is not a URL"),
        ("--page-url", "http://user:pass@host/", "is not a URL"),
        ("--prometheus-url", "http://host:99999", "is not a URL"),
        ("--grafana-url", "ftp://host/", "is not a URL"),
        ("--alertmanager-url", 'http://ho"st/', "is not a URL"),
        ("--instrument", "krios: 1", "has another form"),
        ("--mail-to", "staff", "has another form"),
        ("--mail-server", "mail", "has another form"),
        ("--output-folder", "/data/my picks", "cannot stand in a unit"),
        ("--output-folder", "picks", "cannot stand in a unit"),
        ("--config-folder", "/etc/%i", "cannot stand in a unit"),
        ("--program", "/no/livepick", "there is no"),
    ],
)
def test_a_value_that_would_break_a_file_is_refused(deploy, option, value, said):
    call, folder = deploy

    status, _, faults = call(option, value)

    assert status == 1
    assert said in faults
    assert not folder.exists()


def test_a_program_in_a_home_is_reported(tmp_path, capsys, monkeypatch):
    """The unit hides the homes, and the service would not start."""
    program = tmp_path / "livepick"
    program.write_text("")
    monkeypatch.setattr("livepick.commands.deploy._PRIVATE", (tmp_path,))

    status = cli.main(["deploy", str(tmp_path / "d"), "--program", str(program)])

    assert status == 0
    assert f"{tmp_path} is not visible to the service" in capsys.readouterr().err


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is missing")
def test_systemd_takes_the_units(deploy, tmp_path):
    """With the drop-in of the output folders."""
    call, folder = deploy
    call("--output-folder", tmp_path, "--user", "root")

    for unit in ("livepick.service", "livepick@.service"):
        status, said = ran("systemd-analyze", "verify", folder / unit)
        assert (status, said) == (0, ""), said
        drop_in = (folder / f"{unit}.d" / "folders.conf").read_text()
        assert f"ReadWritePaths={tmp_path}\n" in drop_in
        assert f"RequiresMountsFor={tmp_path}\n" in drop_in


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is missing")
def test_prometheus_takes_the_files(deploy):
    """With an address of every kind."""
    call, folder = deploy
    call("--page-url", "https://a.example.com/x", "--alertmanager-url", "https://b.example.com/y")

    status, said = ran("promtool", "check", "config", folder / "prometheus" / "prometheus.yml")

    assert status == 0, said
    assert "rules found" in said


@pytest.mark.skipif(shutil.which("amtool") is None, reason="amtool is missing")
def test_alertmanager_takes_the_file(deploy):
    call, folder = deploy
    call("--mail-server", "m:25", "--mail-from", "a@b.org", "--mail-to", "c@d.org")
    file = folder / "alertmanager" / "alertmanager.yml"

    status, said = ran("amtool", "check-config", file)

    assert status == 0, said
    assert "example.org" not in re.sub(r"#.*", "", file.read_text())
