"""``make chaos``: a session whose service, workers and trainer are killed again and again.

Micrographs land in two folders while SIGKILL hits a process every few seconds, at seeded random
moments: half of the kills while new micrographs are picked, half while all are picked again for
another model. Meanwhile each folder is lost and comes back (one is renamed; the other is a bindfs
mount, if that is possible here, and is unmounted), and the output folder is emptied once. Some
trainers are real and are killed too. A service that is gone is started again, as systemd does.

In the end every micrograph must be picked by the last model, without a failure on the way, and
ledger, coordinate files and lists must agree (``chaos_check``). The account is printed; the status
is 1 if anything is wrong.
"""

import argparse
import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import mrcfile
import numpy as np
import psutil
import yaml

from chaos_check import digests, faults_of
from factories import promote, publish_bundle
from livepick.config.yaml_loader import load_config
from livepick.core.imaging.blob_detector import blob_graph
from livepick.core.imaging.preprocess import DIAMETER_PX
from livepick.errors import LivepickError
from livepick.ledger.database import LEDGER, Database
from livepick.ledger.reader import LedgerReader
from livepick.ledger.rows import Counts
from livepick.ledger.session_config import session_config
from livepick.models.registry import MODELS, Models

__all__ = ["Chaos", "ChaosError", "Plan"]

LIVEPICK = Path(sys.executable).with_name("livepick")
MARK = "LIVEPICK_CHAOS"
"""Environment variable by which all processes of a run are found, whoever started them."""

DIAMETER_ANGSTROM, PIXEL_SIZE_ANGSTROM, SIDE_PX = 160, 4.0, 320
WAIT_SECONDS = 180.0
"""Longest wait for anything, on a busy machine."""

BLOCK = 10
"""Most kills in a row of the same kind: of first picks, or of micrographs picked again."""

TRAINED_ON = 8
"""Micrographs of a training."""

TRAINER_SECONDS = 30.0
"""Longest wait for a trainer to start."""

OTHER_MODELS = (1, 2)
"""Models that pick in turn; they are blob pickers that count as trained."""


class ChaosError(Exception):
    """The run cannot go on."""


@dataclass(frozen=True, slots=True)
class Plan:
    """Extent and order of a run."""

    kills: int = 200
    micrographs: int = 300
    seed: int = 1
    trainers: bool = True
    """True to start real trainers, and to kill them."""
    mount: bool = True
    """True to use bindfs for one of the folders, if it works here."""


@dataclass(slots=True)
class Account:
    """Events of a run."""

    kills: Counter[str] = field(default_factory=Counter)
    """By victim, and by what was going on."""
    losses: Counter[str] = field(default_factory=Counter)
    ended: int = 0
    """Ends of the service that nobody asked for."""


class Chaos:
    """A session in a folder of its own, and everything that is done to it."""

    def __init__(self, place: Path, plan: Plan) -> None:
        self.place = place.resolve()
        self.plan = plan
        self.account = Account()
        self.config = self.place / "session.yaml"
        self.log = self.place / "log"
        self.output = self.place / "out"
        self.folders = (self.place / "one", self.place / "two")
        self.micrographs: list[Path] = []
        self.foreign: dict[Path, str] = {}
        self._random = random.Random(plan.seed)  # noqa: S311 - the same moments at each run
        self._store = self.place / "store"
        self._away: dict[Path, int] = {}
        self._generation = 1
        self._model = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._prepare()

    # --- the session ----------------------------------------------------------------------------

    def _prepare(self) -> None:
        for folder in (*self.folders, self._store, self.output):
            folder.mkdir(parents=True)
        self._save_config()
        config = load_config(self.config)
        for version in OTHER_MODELS:
            publish_bundle(
                config.state.directory / MODELS,
                blob_graph(DIAMETER_PX),
                config=config,
                version=version,
                threshold=0.4 + 0.05 * version,
                fingerprint=f"chaos-{version}",
            )
        self._mounted = self.plan.mount and self._mount()
        self._plant()

    def _save_config(self) -> None:
        training = {"epochs": 2, "minibatch_size": 4, "auto_remedy": False, "device": "cpu"}
        settings = {
            "session": {"name": "chaos"},
            "watch": {
                "directories": [folder.name for folder in self.folders],
                "settle_seconds": 0.2,
                "rescan_seconds": 0.5,
            },
            "particle": {"diameter_angstrom": DIAMETER_ANGSTROM},
            "bootstrap": {
                "micrographs": TRAINED_ON if self.plan.trainers else 5000,
                "minimum_picks": 40,
                "picks": "blob",
            },
            "training": {**training, "generation": self._generation},
            "retrain": {"gate": "off"},
            "picking": {"device": "cpu", "workers": 2, "repick": "all"},
            "output": {"directory": "out", "formats": ["relion", "star", "csv"]},
            "state": {"directory": "state"},
            "web": {"listen": "127.0.0.1:0"},
        }
        draft = self.place / ".session.yaml"
        draft.write_text(yaml.safe_dump(settings))
        draft.replace(self.config)

    def _plant(self) -> None:
        """Write files that livepick must leave alone."""
        for folder in (*self.folders, self.output):
            for name in ("notes.txt", "movie_autopick.star", ".hidden", "autopick.star.old"):
                (folder / name).write_text(f"{name} of somebody else\n")
                self.foreign[folder / name] = ""
        self.foreign = digests(list(self.foreign))

    def _mount(self) -> bool:
        """Mount the second folder with bindfs; return False if that does not work here."""
        if shutil.which("bindfs") is None:
            return False
        command = ["bindfs", str(self._store), str(self.folders[1])]
        return subprocess.run(command, check=False, capture_output=True).returncode == 0

    def start(self) -> None:
        """Start the service, and wait until it has answered."""
        with self.log.open("ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(
                [LIVEPICK, "run", self.config], stderr=log, env=os.environ | {MARK: str(self.place)}
            )
        self.until(lambda: ": ready" in self._log_from(before), "the start of the service")

    def stop(self) -> None:
        """Stop the service as systemd does."""
        process = self._service()
        process.send_signal(signal.SIGTERM)
        if process.wait(timeout=WAIT_SECONDS) != 0:
            raise ChaosError(f"the service ended with status {process.returncode}")

    def end(self) -> None:
        """Kill everything that is left, and unmount."""
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                process.kill()
        if self._mounted:
            self._unmount()

    def _service(self) -> "subprocess.Popen[bytes]":
        if self._process is None:
            raise ChaosError("the service was not started")
        return self._process

    def _log_from(self, offset: int) -> str:
        with self.log.open("rb") as log:
            log.seek(offset)
            return log.read().decode(errors="replace")

    def _processes(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if process.environ().get(MARK) == str(self.place):
                    found.append(process)
        return found

    def counts(self) -> Counts:
        """Return the number of micrographs in each state."""
        try:
            with Database.read_only(self.place / "state" / LEDGER) as database:
                return LedgerReader(database).counts()
        except LivepickError:
            return Counts()

    def _described(self) -> str:
        counts = self.counts()
        return (
            f"{counts.picked + counts.stale} of {counts.total} micrographs have picks,"
            f" {counts.stale} wait to be picked again"
        )

    def until(
        self, condition: Callable[[], object], what: str, *, seconds: float = WAIT_SECONDS
    ) -> None:
        """Wait for a condition; start the service again if it ends by itself."""
        give_up = time.monotonic() + seconds
        while not condition():
            if self._service().poll() is not None:
                self.account.ended += 1
                if self.account.ended > 20:
                    raise ChaosError(f"the service ends again and again; waited for {what}")
                self.start()
            if time.monotonic() > give_up:
                raise ChaosError(f"waited in vain for {what}: {self.counts()}")
            time.sleep(0.05)

    # --- what happens ---------------------------------------------------------------------------

    def run(self) -> list[str]:
        """Do all of it; return what is wrong in the end."""
        self.start()
        for number in range(self.plan.kills):
            self._disturb(number)
            again = number // self._block % 2 == 1
            if number % self._block == 0:
                self._catch_up()
            if again:
                self._pick_again()
            else:
                self._land()
            self._kill(number, "again" if again else "first")
        return self.conclude()

    @property
    def _block(self) -> int:
        return max(1, min(BLOCK, self.plan.kills // 4))

    def _catch_up(self) -> None:
        """Wait until what has landed is picked, so that each block of kills meets other work."""
        for folder in list(self._away):
            self._bring_back(folder)
        total = len(self.micrographs)
        self.until(
            lambda: (counts := self.counts()).picked == counts.total == total,
            "the micrographs to be picked",
        )

    def _land(self) -> None:
        """Let some micrographs land."""
        count = -(-self.plan.micrographs // max(1, self.plan.kills // 2))
        for _ in range(min(count, self.plan.micrographs - len(self.micrographs))):
            self._write_micrograph()

    def _write_micrograph(self) -> None:
        number = len(self.micrographs)
        folder = self.folders[number % 2]
        name = f"mic_{number:04d}.mrc"
        behind = self._store if self._mounted and number % 2 else self._place_of(folder)
        write_discs(behind / name, seed=number)
        self.micrographs.append(folder / name)

    def _place_of(self, folder: Path) -> Path:
        return folder.with_name(f"{folder.name}-lost") if folder in self._away else folder

    def _pick_again(self) -> None:
        """Make sure that micrographs are being picked again, for another model."""
        if self.counts().stale:
            return
        self._promote()
        self.until(
            lambda: self.counts().stale or not self.counts().picked or self._has_picked_again(),
            "micrographs to pick again",
        )

    def _has_picked_again(self) -> bool:
        """Return True if the model in use has picks: a fast machine may have picked all again."""
        with Database.read_only(self.place / "state" / LEDGER) as database:
            rows = LedgerReader(database).recent(-1)
        return any(row.model_version == self._model for row in rows)

    def _promote(self) -> None:
        self._model = OTHER_MODELS[self._model % len(OTHER_MODELS)]
        config = session_config(load_config(self.config))
        models = Models(config.state.directory / MODELS)
        promote(models, self._model, fingerprint=config.training_fingerprint())

    def _kill(self, number: int, when: str) -> None:
        """Kill a process at a random moment, and start the service again if it was that."""
        wanted = self._random.choice(("service", "worker"))
        if self.plan.trainers and when == "first" and number % self._block % 3 == 2:
            wanted = "trainer"
            self._train()
        time.sleep(self._random.uniform(0, 0.8))
        victim = "service" if wanted == "service" else self._kill_one(wanted)
        if victim == "service":
            self._service().kill()
            self._service().wait()
        self.account.kills[victim] += 1
        self.account.kills[when] += 1
        if (number + 1) % 10 == 0:
            say(f"{number + 1} kills; {self._described()}")
        if victim == "service":
            self.start()

    def _kill_one(self, wanted: str) -> str:
        """Kill a worker or a trainer; return what was killed: the service if there is no worker."""
        found: dict[str, list[psutil.Process]] = {"worker": [], "trainer": []}
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                line = " ".join(process.cmdline())
                if "livepick_trainer" in line:
                    found["trainer"].append(process)
                elif "spawn_main" in line:
                    found["worker"].append(process)
        for kind in (wanted, "worker"):
            if found[kind]:
                with contextlib.suppress(psutil.Error):
                    self._random.choice(found[kind]).kill()
                return kind
        return "service"

    def _train(self) -> None:
        """Have a trainer run; start another training if the last has ended."""
        if not self._is_training() and self.counts().picked > TRAINED_ON:
            self._generation += 1
            self._save_config()
            with contextlib.suppress(ChaosError):  # the service may find too few first picks
                self.until(self._is_training, "a trainer", seconds=TRAINER_SECONDS)
        if self._is_training():
            time.sleep(self._random.uniform(0, 5))

    def _is_training(self) -> bool:
        return any("livepick_trainer" in line for line in self._lines())

    def _lines(self) -> list[str]:
        lines = []
        for process in self._processes():
            with contextlib.suppress(psutil.Error):
                lines.append(" ".join(process.cmdline()))
        return lines

    def _disturb(self, number: int) -> None:
        """Lose a folder, bring it back after three kills, and empty the output once."""
        for folder in [folder for folder, since in self._away.items() if number >= since + 3]:
            self._bring_back(folder)
        step = max(self.plan.kills // 8, 4)
        if number % step == step - 2 and not self._away:
            self._lose(self.folders[number // step % 2], number)
        if number == self.plan.kills * 5 // 8:
            self._empty_output()

    def _lose(self, folder: Path, number: int) -> None:
        if folder == self.folders[1] and self._mounted:
            self._unmount()
            self.account.losses["unmounted"] += 1
        else:
            folder.rename(folder.with_name(f"{folder.name}-lost"))
            self.account.losses["renamed"] += 1
        self._away[folder] = number

    def _unmount(self) -> None:
        subprocess.run(["umount", "-l", str(self.folders[1])], check=False, capture_output=True)  # noqa: S607

    def _bring_back(self, folder: Path) -> None:
        del self._away[folder]
        if folder == self.folders[1] and self._mounted:
            if not self._mount():
                raise ChaosError(f"{folder} cannot be mounted again")
        else:
            folder.with_name(f"{folder.name}-lost").rename(folder)

    def _empty_output(self) -> None:
        """Delete everything that livepick wrote."""
        self.account.losses["output emptied"] += 1
        for path in self.output.iterdir():
            if path in self.foreign:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)

    def conclude(self) -> list[str]:
        """Let the session come to its end, and return what is wrong."""
        for folder in list(self._away):
            self._bring_back(folder)
        while len(self.micrographs) < self.plan.micrographs:
            self._write_micrograph()
        total = len(self.micrographs)
        self.until(lambda: self.counts().total == total, "all micrographs to land")
        self._promote()
        self.until(self._is_done, "all micrographs to be picked by the last model", seconds=600)
        self.stop()
        return self.faults()

    def _is_done(self) -> bool:
        with Database.read_only(self.place / "state" / LEDGER) as database:
            rows = LedgerReader(database).recent(-1)
        if any(row.model_version != self._model for row in rows) and not self.counts().stale:
            current = Models(self.place / "state" / MODELS).last_promotion()
            if current is not None and current.version != self._model:  # a trainer's model
                self._promote()
        return all(row.state == "picked" and row.model_version == self._model for row in rows)

    def faults(self) -> list[str]:
        """Return what is wrong after the service has ended, as sentences."""
        faults = faults_of(
            self.config, set(self.micrographs), model=self._model, untouched=self.foreign
        )
        if self.account.ended:
            faults.append(f"the service ended by itself {self.account.ended} times")
        log = self.log.read_text(errors="replace")
        faults += [line for line in log.splitlines() if ".mrc: failed" in line]
        psutil.wait_procs(self._processes(), timeout=WAIT_SECONDS)  # they end a moment later
        faults += [f"left running: {line}" for line in self._lines()]
        return faults


def write_discs(path: Path, *, seed: int) -> None:
    """Write a micrograph with dark discs in noise, and rename it into place."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIDE_PX, :SIDE_PX]
    radius_px = DIAMETER_ANGSTROM / PIXEL_SIZE_ANGSTROM / 2
    image = rng.normal(0, 1, (SIDE_PX, SIDE_PX)).astype(np.float32)
    for centre in [(i, j) for i in range(50, 290, 75) for j in range(50, 290, 75)]:
        i, j = centre + rng.uniform(-8, 8, 2)
        image -= 1.5 / (1 + np.exp(np.hypot(y - i, x - j) - radius_px))
    draft = path.with_suffix(".part")
    with mrcfile.new(draft, image.astype(np.float32), overwrite=True) as mrc:
        mrc.voxel_size = PIXEL_SIZE_ANGSTROM
    draft.rename(path)


def say(sentence: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{time.strftime('%H:%M:%S')} {sentence}\n")
    sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; return the exit status."""
    parser = argparse.ArgumentParser(description="Kill livepick again and again.")
    parser.add_argument("--kills", type=int, default=Plan().kills)
    parser.add_argument("--micrographs", type=int, default=Plan().micrographs)
    parser.add_argument("--seed", type=int, default=Plan().seed)
    parser.add_argument("--place", type=Path, help="an empty folder; the default is temporary")
    given = parser.parse_args(arguments)
    place = given.place or Path(tempfile.mkdtemp(prefix="livepick-chaos-"))
    chaos = Chaos(place, Plan(given.kills, given.micrographs, given.seed))
    begun = time.monotonic()
    try:
        faults = chaos.run()
    except ChaosError as error:
        faults = [str(error)]
    finally:
        chaos.end()
    account = chaos.account
    say(f"kills: {dict(account.kills)}; losses: {dict(account.losses)}")
    say(f"{len(chaos.micrographs)} micrographs, {time.monotonic() - begun:.0f} s, in {place}")
    for fault in faults[:30]:
        say(f"WRONG: {fault}")
    say(f"{len(faults)} faults" if faults else "nothing was lost")
    if not faults and given.place is None:
        shutil.rmtree(place)
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
