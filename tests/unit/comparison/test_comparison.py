"""``make compare``: running, judging and publishing."""

import os
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import mrcfile
import numpy as np
import pytest

from comparison import compare
from comparison.compare import Comparison, installed
from comparison.measured import Cost, ProgramFailedError, run_measured
from comparison.program import Task
from comparison.relion_log import RelionLog
from comparison.report import BEGIN, END, about, publish, summary, write_report
from comparison.result import Result, SampleResult, scored
from comparison.samples import Sample
from comparison.topaz import Topaz
from livepick.core.evaluation.matching import match
from livepick.core.imaging.picks import Picks

CORE = max(os.sched_getaffinity(0))
CENTRES = ((60.0, 50.0), (60.0, 120.0))


def picks(*found: tuple[float, float, float]) -> Picks:
    x, y, score = np.array(found, dtype=np.float32).reshape(-1, 3).T
    return Picks.sorted(x, y, score)


def results_of(name: str, origin: str, results: list[Result]) -> SampleResult:
    return SampleResult(
        name=name,
        origin=origin,
        micrographs=1,
        particles=2,
        shape_px=(128, 192),
        pixel_size_angstrom=1.5,
        diameter_angstrom=30,
        learned=0,
        training_cpu_seconds=0,
        results=results,
    )


def python(text: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", text]


@dataclass(frozen=True)
class Stub:
    """A program that "picks" both particles, and below its threshold a wrong place."""

    name: str = "stub"
    missing: str | None = None
    ranks_separately: bool = True
    is_quick: bool = True
    exit_status: int = 0

    def commands(self, task: Task, *, ranking: bool = False) -> list[list[str]]:
        assert all((task.folder / file).is_file() for file in task.files)
        word = "all" if ranking else "few"
        return [python(f"open('done', 'w').write('{word}'); raise SystemExit({self.exit_status})")]

    def picks(self, task: Task) -> list[Picks]:
        right = [(x, y, 5.0) for y, x in CENTRES]
        all_of_them = (task.folder / "done").read_text() == "all"
        wrong = [(85.0, 60.0, -3.0)] if all_of_them else []
        return [picks(*right, *wrong) for _ in task.names]


@pytest.fixture
def sample(tmp_path: Path) -> Sample:
    """One micrograph with two particles."""
    path = tmp_path / "two.mrc"
    with mrcfile.new(path, np.zeros((128, 192), dtype=np.float32)) as mrc:
        mrc.voxel_size = 1.5
    return Sample(
        name="two",
        origin="simulated by others",
        micrographs=[path],
        truth=[picks(*((x, y, 1.0) for y, x in CENTRES))],
        pixel_size_angstrom=1.5,
        diameter_angstrom=30,
        radius_angstrom=7.5,
        most_compared=4,
    )


def test_a_program_that_is_not_installed_is_named_and_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    stub = Stub()
    assert installed([RelionLog(), Topaz("resnet8_u64", tmp_path), stub]) == [stub]
    said = capsys.readouterr().out
    assert "RELION LoG: skipped: relion_autopick is not installed" in said
    assert "Topaz resnet8: skipped: topaz is not installed" in said


def test_candidates_are_ranked_and_the_default_threshold_is_judged(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wrong candidate counts for neither: it is below the threshold, and behind both hits."""
    monkeypatch.setattr(compare, "PLACE", tmp_path / "place")
    found = Comparison([Stub()], CORE).compare(sample)
    result = found.of("stub")
    assert result is not None
    assert (result.average_precision, result.best_f1, result.f1) == (1, 1, 1)
    assert (result.picks, found.particles, found.micrographs) == (2, 2, 1)
    assert (tmp_path / "place/work/two/stub/default/mics/mic_0010.mrc").exists()


def test_the_time_is_that_of_one_micrograph_without_the_start(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A quick program picks the micrograph ten times; the ranking takes no part."""
    monkeypatch.setattr(compare, "PLACE", tmp_path / "place")
    costs = iter([1.0, 21.0, 100.0])

    def measured(commands: list[list[str]], *, folder: Path, core: int) -> Cost:
        run_measured(commands, folder=folder, core=core)
        return Cost(cpu_seconds=next(costs), peak_bytes=10**6)

    monkeypatch.setattr(compare, "run_measured", measured)
    result = Comparison([Stub()], CORE).compare(sample).of("stub")
    assert result is not None
    assert (result.cpu_seconds, result.start_cpu_seconds) == (2, 1)


def test_a_program_that_fails_leaves_the_others_alone(
    tmp_path: Path,
    sample: Sample,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(compare, "PLACE", tmp_path / "place")
    comparison = Comparison([Stub("broken", exit_status=3), Stub()], CORE)
    found = comparison.compare(sample)
    assert [one.program for one in found.results] == ["stub"]
    assert comparison.failed
    assert "broken failed" in capsys.readouterr().out


def test_f1_at_the_default_threshold_is_not_the_best_one() -> None:
    """Three of four written picks are wrong, and the best one is right."""
    truth = picks((10, 10, 1))
    ranked = picks((10, 10, 9), (50, 10, 3), (50, 50, 2), (10, 50, 1))
    matches = [match(ranked, truth, radius_px=3)]
    result = scored(
        "x", matches, matches, matches, cpu_seconds=1, start_cpu_seconds=1, peak_bytes=1
    )
    assert result.best_f1 == 1
    assert result.f1 == pytest.approx(2 / 5)
    assert result.average_precision == 1


def test_a_pick_beside_the_particle_is_right_within_half_a_diameter(
    tmp_path: Path, sample: Sample, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that is off by a third of the diameter is wrong by the usual measure."""
    monkeypatch.setattr(compare, "PLACE", tmp_path / "place")
    off = [picks(*((x + 6.7, y, 1.0) for y, x in CENTRES))]
    monkeypatch.setattr(Stub, "picks", lambda *_: off)
    result = Comparison([Stub()], CORE).compare(sample).of("stub")
    assert result is not None
    assert (result.average_precision, result.average_precision_half) == (0, 1)


def test_the_cost_is_that_of_the_program_alone(tmp_path: Path) -> None:
    """The memory of the process that asks does not count, the CPU time of child processes does."""
    ours = bytearray(128 << 20)
    ours[::4096] = b"x" * len(ours[::4096])  # resident
    burn = "import time\nwhile time.process_time() < 0.1: pass"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-I', '-S', '-c', {burn!r}])"
    cost = run_measured([python(child)], folder=tmp_path, core=CORE)
    assert cost.cpu_seconds >= 0.1
    assert 0 < cost.peak_bytes < 100e6


def test_the_error_of_a_program_has_its_last_words(tmp_path: Path) -> None:
    command = python("import sys; print('no such micrograph'); sys.exit(7)")
    with pytest.raises(ProgramFailedError, match="status 7: no such micrograph"):
        run_measured([command], folder=tmp_path, core=CORE)


def test_a_program_without_a_result_has_a_dash() -> None:
    """A mean over samples needs all of them; cost is that of the largest micrographs."""
    one = scored("Topaz resnet8", [], [], [], cpu_seconds=7, start_cpu_seconds=1, peak_bytes=10**8)
    one = replace(one, average_precision=0.625, average_precision_half=0.75, best_f1=0.5, f1=0.25)
    both = [replace(one, program="a"), replace(one, program="b")]
    about = results_of("small", "simulated by others", both)
    real = replace(about, name="real one", origin="real", shape_px=(256, 256), results=both[:1])
    heading, _, first, second, *_ = summary([real, about])
    assert heading.startswith(
        "|  | AP, real one (1) | AP, 1 simulated by others (1) | AP in d/2 | F1 (best) | CPU s, 256"
    )
    assert first == "| a | .62 | .62 | .75 | .25 (.50) | 7.00 | 1.0 | 100 |"
    assert second == "| b | - | .62 | - | - | - | - | - |"


def test_it_is_said_where_livepick_loses() -> None:
    """Each figure by itself, for every program and sample."""
    ours = scored(
        "livepick, first picker", [], [], [], cpu_seconds=7, start_cpu_seconds=1, peak_bytes=10**8
    )
    ours = replace(ours, average_precision=0.6, best_f1=0.5, f1=0.5)
    other = replace(ours, program="RELION LoG", average_precision=0.7, f1=0.4, peak_bytes=10**7)
    sample = results_of("hard", "real", [ours, other])
    lines = summary([sample])
    assert "- a higher AP: RELION LoG (hard)" in lines
    assert "- less memory: RELION LoG (hard)" in lines
    assert "- a higher F1 at its default threshold: nowhere" in lines
    assert "- less CPU time: nowhere" in lines


def test_a_result_is_kept_between_runs(tmp_path: Path, sample: Sample) -> None:
    one = scored("x", [], [], [], cpu_seconds=7, start_cpu_seconds=1, peak_bytes=10**8)
    one = replace(
        one,
        average_precision=0.5,
        average_precision_half=1,
        best_f1=0.5,
        f1=0.5,
        precision=1,
        recall=1,
    )
    found = replace(results_of("two", "real", [one]), finished="2026-11-29 23:51", load=10.0)
    found.write(tmp_path / "two.json")
    assert SampleResult.read(tmp_path / "two.json") == found


def test_each_sample_has_the_time_and_load_of_its_own_run() -> None:
    """Not those of the moment at which the table is written from kept results."""
    early = replace(results_of("a", "real", []), finished="2026-11-29 23:51", load=10.0)
    late = replace(early, name="b", finished="2026-11-30 00:10", load=13.0, remark="two of six")
    line, remark = about([early, late])
    assert "a 2026-11-29 23:51, load 10; b 2026-11-30 00:10, load 13" in line
    assert remark.strip() == "b: two of six"


def test_the_results_are_published_between_the_marks(tmp_path: Path) -> None:
    """The rest of the page stays."""
    write_report([], tmp_path)
    page, picture = tmp_path / "page.md", tmp_path / "picture.png"
    page.write_text(f"above\n{BEGIN}old\n{END}below\n")
    (tmp_path / "comparison.png").write_bytes(b"a plot")
    publish(tmp_path, page=page, picture=picture, details=tmp_path / "details.md")
    above, _, rest = page.read_text().partition(BEGIN)
    between, _, below = rest.partition(END)
    assert (above, below) == ("above\n", "below\n")
    assert between.startswith("No result.\n")
    assert picture.read_bytes() == b"a plot"
