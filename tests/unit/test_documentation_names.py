"""Commands, settings, metrics, alerts, files and make targets in the documentation exist."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer.main
from kept_names import names_in_type

from livepick import cli
from livepick.config.schema import Config
from livepick.config.sessions_section import Overview, Sessions
from livepick.instrument.metrics import InstrumentMetrics
from observability.alerts import ALERTS
from observability.documentation import exposed

ROOT = Path(__file__).parents[2]

PAGES = sorted(
    page
    for pattern in ("*.md", "daemon/*.md", "deploy/*.md", "config.example.yaml", "deploy/*.yaml")
    for page in ROOT.glob(pattern)
)

PRESENT = [page for page in PAGES if page.name != "CHANGELOG.md"]
"""Pages on what is there today. The changelog also names what was removed."""

each_page = pytest.mark.parametrize("page", PRESENT, ids=lambda page: str(page.relative_to(ROOT)))


def code_of(page: Path) -> Iterator[str]:
    """Yield what is set as code: spans, and the lines of blocks; continued lines are one."""
    text = page.read_text().replace("\\\n", " ")
    if page.suffix == ".yaml":
        yield from text.splitlines()
        return
    blocks = re.findall(r"^ *```.*?^ *```|^(?: {4}[^\n]*\n)+", text, flags=re.MULTILINE | re.DOTALL)
    for block in blocks:
        yield from block.splitlines()
        text = text.replace(block, "")
    yield from (re.sub(r"\s+", " ", span) for span in re.findall(r"`([^`]+)`", text))


def settings() -> set[str]:
    """Return all settings of sessions and instruments, as ``picking.threshold``."""
    instrument = {f"sessions.{name}" for name in names_in_type(Sessions)}
    instrument |= {f"overview.{name}" for name in names_in_type(Overview)}
    return set(names_in_type(Config)) | instrument


@each_page
def test_settings_exist(page: Path) -> None:
    """Each word with dots whose first part is a section of the config."""
    known = settings() | {f"watch.{name}" for name in ("yaml",)}
    sections = {name.partition(".")[0] for name in known}
    for code in code_of(page):
        for word in re.findall(r"(?<![\w./-])[a-z]+(?:\.[a-z_]+)+(?![\w/.(*-])", code):
            section, _, rest = word.partition(".")
            if section in sections and rest not in FILE_ENDS:
                assert word in known, f"{word} in: {code}"


FILE_ENDS = {"yaml", "yml", "json", "star", "csv", "log", "html", "md", "tar", "generated.yaml"}
"""``session.yaml`` is a file."""


@each_page
def test_commands_and_their_options_exist(page: Path) -> None:
    """Pattern of ``livepick COMMAND --option``, up to the next program on the line."""
    for code in code_of(page):
        for call in re.split(r"(?=(?<![\w@/.-])livepick )|[|;>]|&&", code):
            words = call.split()
            if len(words) < 2 or words[0] != "livepick" or not re.fullmatch(r"[a-z-]+", words[1]):
                continue
            if words[1] in READS_OTHERS:
                continue
            if words[1] in cli.COMMANDS:
                given = set(re.findall(r"(?<=\s)--[a-z][\w-]*", call))
                assert given <= options(words[1]) | {"--help"}, code
            else:
                assert words[1].startswith("-") or is_prose(code), code


READS_OTHERS = {"relion-job"}
"""Commands that read the options of RELION by themselves."""


def is_prose(code: str) -> bool:
    """Return True for a line of a block in which ``livepick`` is no call of the program."""
    return not re.match(r"(?: *\$ +|# (?=\S*/))?(?:\S*/)?livepick ", code)


def options(command: str) -> set[str]:
    """Return the options of a command and of its subcommands."""
    group = typer.main.get_command(cli._application([command]))
    (found,) = [each for name, each in group.commands.items() if name == command]  # type: ignore[attr-defined]
    commands = [found, *getattr(found, "commands", {}).values()]
    return {
        option
        for each in commands
        for parameter in each.params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }


@each_page
def test_metrics_exist(page: Path) -> None:
    """With or without the suffix of a counter, a histogram or an info."""
    families = [*exposed(), *InstrumentMetrics().registry.collect()]
    known = {family.name for family in families}
    known |= {sample.name for family in families for sample in family.samples}
    for name in re.findall(r"\blivepick_(?!trainer)[a-z_]+\b(?![./*{]*\.)", page.read_text()):
        stem = re.sub(r"_(total|bucket|count|sum|info)$", "", name)
        assert {name, stem} & known, name


@each_page
def test_alerts_exist(page: Path) -> None:
    known = {alert.name for alert in ALERTS}
    assert set(re.findall(r"\bLivepick[A-Z]\w+\b", page.read_text())) <= known


@each_page
def test_files_of_the_repository_exist(page: Path) -> None:
    """Paths that begin with one of its folders, relative to it or to the page."""
    for code in code_of(page):
        for path in re.findall(
            r"(?<![\w./~-])(?:\.ci|daemon|deploy|tests|trainer)/[\w./@-]*[\w/]", code
        ):
            assert (ROOT / path).exists() or (page.parent / path).exists(), f"{path} in: {code}"


@each_page
def test_make_targets_exist(page: Path) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for code in code_of(page):
        for target in re.findall(r"^[ $#]*make(?: \w+=\S+| \w+=\"[^\"]*\")* ([a-z]+)\b", code):
            assert target in targets, code
