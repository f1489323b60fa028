"""The table and the plot of a comparison, and their place in the documentation."""

import math
import statistics
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from comparison.livepick_command import BLOB, FIRST, TRAINED
from comparison.result import BY_LIVEPICK, BY_OTHERS, REAL, Result, SampleResult

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "daemon" / "accuracy.md"
PICTURE = ROOT / "deploy" / "pictures" / "comparison.png"
ALL_FIGURES = Path(__file__).with_name("RESULTS.md")
SUMMARY, DETAILS, PLOT = "summary.md", "table.md", "comparison.png"
BEGIN, END = "<!-- make compare: begin -->\n", "<!-- make compare: end -->\n"

_ORIGINS = (REAL, BY_OTHERS, BY_LIVEPICK)
OURS = "livepick"
ORDER = (
    FIRST,
    BLOB,
    TRAINED,
    "RELION LoG",
    "Topaz resnet8",
    "Topaz resnet16",
)
NOTHING = "-"
"""Text of a cell without a figure."""

LEARNED = """*Learned*: number of other micrographs that the trained model learned from, and the CPU
time of that session."""


def write_report(samples: Sequence[SampleResult], place: Path) -> None:
    """Write both tables and the plot of results, in any order, into a folder."""
    ordered = sorted(samples, key=lambda one: (_ORIGINS.index(one.origin), one.name))
    lines = about(ordered)
    (place / SUMMARY).write_text("\n".join([*summary(ordered), "", *lines, ""]))
    (place / DETAILS).write_text("\n".join([*lines, "", *details_of(ordered), ""]))
    if ordered:
        from comparison.plot import draw  # noqa: PLC0415 - matplotlib takes a second to load

        draw(ordered, _programs(ordered), place / PLOT)


def publish(
    place: Path, *, page: Path = PAGE, picture: Path = PICTURE, details: Path = ALL_FIGURES
) -> None:
    """Copy the summary into the page, between its marks; the plot and the details to files."""
    text = page.read_text()
    before, found, rest = text.partition(BEGIN)
    _, ends, after = rest.partition(END)
    if not (found and ends):
        sys.exit(f"{page} has no lines {BEGIN.strip()} and {END.strip()}")
    page.write_text(before + BEGIN + (place / SUMMARY).read_text() + END + after)
    picture.write_bytes((place / PLOT).read_bytes())
    details.write_text(
        "# Figures of `make compare`\n\ndaemon/accuracy.md explains them.\n\n"
        + (place / DETAILS).read_text()
    )


def about(samples: Sequence[SampleResult]) -> list[str]:
    """Return when and under which load each sample was run, and the remarks on them."""
    runs = "; ".join(f"{one.name} {one.finished}, load {one.load:.0f}" for one in samples)
    line = (
        f"Run on one core of {_processor()} (end of each sample, UTC: {runs or 'none'}). Other work"
        " makes CPU times longer, so their ratios count. A dash: not run, or no model to run."
    )
    return [
        line,
        *(f"\n{one.name}: {one.remark}" for one in samples if one.remark),
    ]


def _processor() -> str:
    """Return the name of the processor."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return "unknown processor"


# --- tables --------------------------------------------------------------------------------------


def summary(samples: Sequence[SampleResult]) -> list[str]:
    """Return a table with a row for each program."""
    groups = _groups(samples)
    judged = [one for one in samples if one.origin == REAL] or samples
    largest = max(samples, key=lambda one: math.prod(one.shape_px), default=None)
    if largest is None:
        return ["No result."]
    size = " x ".join(str(side) for side in largest.shape_px)
    heading = ["", *(f"AP, {name}" for name, _ in groups)]
    heading += ["AP in d/2", "F1 (best)", f"CPU s, {size}", "start, CPU s", "MB"]
    rows = []
    for program in _programs(samples):
        cells = [program]
        cells += [_mean(group, program, lambda one: one.average_precision) for _, group in groups]
        cells.append(_mean(judged, program, lambda one: one.average_precision_half))
        f1 = _mean(judged, program, lambda one: one.f1)
        best = _mean(judged, program, lambda one: one.best_f1)
        cells.append(f1 if f1 == NOTHING else f"{f1} ({best})")
        found = largest.of(program)
        if found is None:
            cells += [NOTHING] * 3
        else:
            cells += [
                f"{found.cpu_seconds:.2f}",
                f"{found.start_cpu_seconds:.1f}",
                f"{found.peak_bytes / 1e6:.0f}",
            ]
        rows.append(cells)
    where = "the real micrographs" if judged[0].origin == REAL else "all micrographs"
    legend = (
        "AP is a mean over the samples of a column, with the number of micrographs in brackets; F1,"
        f" and AP if half a diameter is near enough (d/2), are means over {where}. CPU time"
        " (without the start of the program) and memory are those of the largest micrographs"
        f" ({largest.name})."
    )
    return [
        *_table(heading, rows),
        "",
        legend,
        "",
        *_losses(samples),
    ]


def _losses(samples: Sequence[SampleResult]) -> list[str]:
    """Return sentences that say where another program is better than each of livepick's pickers."""
    others = [name for name in _programs(samples) if not name.startswith(OURS)]
    lines = []
    for what, is_better in (
        ("a higher AP", lambda one, best: one.average_precision > best.average_precision),
        (
            "a higher AP within half a diameter",
            lambda one, best: one.average_precision_half > best.average_precision_half,
        ),
        ("a higher F1 at its default threshold", lambda one, best: one.f1 > best.f1),
        ("less CPU time", lambda one, best: one.cpu_seconds < best.cpu_seconds),
        ("less memory", lambda one, best: one.peak_bytes < best.peak_bytes),
    ):
        cases = [
            f"{other} ({', '.join(where)})"
            for other in others
            if (where := _better(samples, other, is_better))
        ]
        lines.append(f"- {what}: {'; '.join(cases) if cases else 'nowhere'}")
    return ["What other programs do better than livepick's first picker:", "", *lines]


def _better(
    samples: Sequence[SampleResult], other: str, is_better: Callable[[Result, Result], bool]
) -> list[str]:
    """Return the names of the samples in which a program is better than livepick's first picker."""
    pairs = [(sample.name, sample.of(other), sample.of(FIRST)) for sample in samples]
    return [name for name, one, ours in pairs if one and ours and is_better(one, ours)]


def details_of(samples: Sequence[SampleResult]) -> list[str]:
    """Return a table with a row for each program and sample."""
    heading = [
        "sample", "program", "AP", "AP in d/2", "best F1", "F1", "precision", "recall", "picks",
        "CPU s", "MB",
    ]  # fmt: skip
    rows = []
    for sample in samples:
        for one in sample.results:
            ratios = [one.average_precision, one.average_precision_half]
            ratios += [one.best_f1, one.f1, one.precision, one.recall]
            rows.append(
                [
                    sample.name,
                    f"{one.program} ({one.note})" if one.note else one.program,
                    *(_ratio(ratio) for ratio in ratios),
                    f"{one.picks} of {sample.particles}",
                    f"{one.cpu_seconds:.2f}",
                    f"{one.peak_bytes / 1e6:.0f}",
                ]
            )
    heads = ["sample", "micrographs", "pixels", "Å per pixel", "diameter, Å", "learned", "CPU s"]
    about = [
        [
            f"{one.name} ({one.origin})",
            f"{one.micrographs}",
            " x ".join(str(side) for side in one.shape_px),
            f"{one.pixel_size_angstrom:.2f}",
            f"{one.diameter_angstrom:g}",
            f"{one.learned or NOTHING}",
            f"{one.training_cpu_seconds:.0f}" if one.learned else NOTHING,
        ]
        for one in samples
    ]
    return [
        *_table(heading, rows, left=2),
        "",
        LEARNED,
        "",
        *_table(heads, about),
    ]


def _groups(samples: Sequence[SampleResult]) -> list[tuple[str, list[SampleResult]]]:
    """Return the columns: each real sample, and the simulations by their origin."""
    groups = [(f"{one.name} ({one.micrographs})", [one]) for one in samples if one.origin == REAL]
    for origin in (BY_OTHERS, BY_LIVEPICK):
        same = [one for one in samples if one.origin == origin]
        if same:
            total = sum(one.micrographs for one in same)
            groups.append((f"{len(same)} {origin} ({total})", same))
    return groups


def _programs(samples: Sequence[SampleResult]) -> list[str]:
    there = {one.program for sample in samples for one in sample.results}
    return [*(name for name in ORDER if name in there), *sorted(there - set(ORDER))]


def _mean(samples: Sequence[SampleResult], program: str, figure: Callable[[Result], float]) -> str:
    """Return the mean of a figure; a dash if the program has no result in one of the samples."""
    found = [one.of(program) for one in samples]
    values = [figure(one) for one in found if one is not None]
    return _ratio(statistics.fmean(values)) if values and len(values) == len(found) else NOTHING


def _ratio(value: float) -> str:
    return NOTHING if math.isnan(value) else f"{value:.2f}".removeprefix("0")


def _table(heading: Sequence[str], rows: Sequence[Sequence[str]], left: int = 1) -> list[str]:
    """Return the lines of a Markdown table; all but the first columns are aligned to the right."""
    marks = ["---"] * left + ["---:"] * (len(heading) - left)
    return [f"| {' | '.join(cells)} |" for cells in (heading, marks, *rows)]
