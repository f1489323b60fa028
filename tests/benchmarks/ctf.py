"""Compare CTF fits with the truth on simulated micrographs, and count false fits on noise.

    python tests/benchmarks/ctf.py [--each 10] [--noise 200] [--data FOLDER] [--seed 1000]

Four engines make the micrographs, and each has its own formula of the CTF:

- ``shared``: the multislice and weak-phase simulations of the data folder. The defocus of abTEM
  counts from the surface at which the electrons leave the box, and what is imaged lies above it;
  the files do not tell the height of the box: these are listed, and not counted. For the two
  without contamination, ``t1`` less the mean ``z_A`` of the particles is 152 and 247 Å, and fits
  without amplitude contrast, which they do not have, are 175 and 256 Å below ``defocus``.
- ``relion``: the CTF of ``relion_ctf_toolbox``, applied to a specimen of ``livepick simulate``.
- ``torch-ctf``: that of the package of this name (``pip install torch-ctf``).
- ``livepick``: the full wave of ``livepick simulate``.

Defocus 0.4 to 3.5 µm, astigmatism up to 1,500 Å, 1.0 to 2.1 Å a pixel, 200 and 300 kV; fields with
particles, without particles, with carbon film and with crystals of ice. An engine that is not
installed is left out, and said so.

``--noise`` adds images without Thon rings: white and coloured noise, gradients, ramps and edges as
of carbon, particles without a CTF, rings of ice, filters, eight-bit values. Each trusted fit on one
of them is a false alarm.

The limits of ``core.imaging.ctf_fit`` were chosen with ``--seed 0``; figures are reported with
others.
"""

import argparse
import importlib.util
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import mrcfile
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import fft, ndimage

from livepick.core.imaging.ctf import CtfFit
from livepick.core.imaging.ctf_fit import fit_ctf
from livepick.simulate.field import Junk, Session, lay_out
from livepick.simulate.optics import Optics, image_intensity
from livepick.simulate.species import specimen
from livepick.simulate.specimen_plane import specimen_plane

DEFAULT_DATA = Path(__file__).parents[3] / "shared" / "data"
SIDE_PX = 2048
KINDS = ("particles", "empty", "carbon", "crystals")
DOSE = 35.0
"""Electrons per square ångström."""

FloatArray = NDArray[np.float32]
Transfer = Callable[[tuple[int, int], float, Optics], FloatArray]
"""Returns the CTF at the frequencies of ``fft2``, -sin χ, for a shape and a pixel size."""


@dataclass(frozen=True, slots=True)
class Case:
    """A micrograph and the truth about it."""

    name: str
    image: NDArray[Any]
    pixel_size_angstrom: float
    optics: Optics
    counts: bool = True
    """False if the truth is not known well enough."""


def _print(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def with_relion(shape: tuple[int, int], pixel: float, optics: Optics) -> FloatArray:
    """Return the CTF that RELION computes."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ctf.mrc"
        values = {
            "simulate": path,
            "angpix": pixel,
            "box": shape[0],
            "kV": optics.voltage_kv,
            "Q0": optics.amplitude_contrast,
            "Cs": optics.spherical_aberration_mm,
            "defU": optics.defocus_u_angstrom,
            "defV": optics.defocus_v_angstrom,
            "defAng": math.degrees(optics.astigmatism_angle_rad),
        }
        words = [word for key, value in values.items() for word in (f"--{key}", str(value))]
        subprocess.run(["relion_ctf_toolbox", *words], check=True, capture_output=True)  # noqa: S607
        found = np.array(mrcfile.read(path), dtype=np.float32)
    # RELION's file has the lowest frequency in the middle.
    return -np.asarray(np.fft.ifftshift(found))


def with_torch_ctf(shape: tuple[int, int], pixel: float, optics: Optics) -> FloatArray:
    """Return the CTF that torch-ctf computes."""
    import torch_ctf  # type: ignore[import-not-found, unused-ignore]  # noqa: PLC0415

    mean = 0.5e-4 * (optics.defocus_u_angstrom + optics.defocus_v_angstrom)
    half = 0.5e-4 * (optics.defocus_u_angstrom - optics.defocus_v_angstrom)
    found = torch_ctf.calculate_ctf_2d(
        defocus=mean,
        astigmatism=half,
        # From x towards y, although its documentation says that angle 0 places U along y.
        astigmatism_angle=math.degrees(optics.astigmatism_angle_rad),
        voltage=optics.voltage_kv,
        spherical_aberration=optics.spherical_aberration_mm,
        amplitude_contrast=optics.amplitude_contrast,
        phase_shift=0.0,
        pixel_size=pixel,
        image_shape=shape,
        rfft=False,
        fftshift=False,
    )
    return -np.asarray(found.numpy(), dtype=np.float32)


def engines() -> dict[str, Transfer | None]:
    """Return the engines that are installed; None: livepick's own full wave."""
    found: dict[str, Transfer | None] = {}
    if shutil.which("relion_ctf_toolbox"):
        found["relion"] = with_relion
    if importlib.util.find_spec("torch_ctf"):
        found["torch-ctf"] = with_torch_ctf
    for name in {"relion", "torch-ctf"} - found.keys():
        _print(f"{name} is not installed, and left out")
    return {**found, "livepick": None}


def simulated(engine: str, transfer: Transfer | None, number: int, seed: int) -> Case:
    """Return a micrograph of an engine."""
    # The same series of conditions for each engine, with other values.
    rng = np.random.default_rng([seed, number, len(engine)])
    kind = KINDS[number % len(KINDS)]
    pixel = float(rng.uniform(1.0, 2.1))
    defocus = 4000 * (35_000 / 4000) ** ((number + rng.uniform()) / 10 % 1)
    astigmatism = min(float(rng.uniform(0, 1500)), 0.4 * defocus)
    optics = Optics(
        defocus_u_angstrom=defocus + astigmatism / 2,
        defocus_v_angstrom=defocus - astigmatism / 2,
        astigmatism_angle_rad=float(rng.uniform(-math.pi / 2, math.pi / 2)),
        voltage_kv=float(rng.choice([200.0, 300.0])),
        b_factor_angstrom2=float(rng.uniform(60, 150)),
    )
    junk = replace(
        Junk.none(),
        carbon_probability=float(kind == "carbon"),
        crystal_probability=float(kind == "crystals"),
        empty_probability=float(kind == "empty"),
    )
    session = Session(
        species=("apoferritin", "proteasome", "spike")[number % 3],
        shape_px=(SIDE_PX, SIDE_PX),
        pixel_size_angstrom=pixel,
        junk=junk,
        seed=seed,
    )
    molecule = specimen(session.species)
    field = replace(lay_out(session, molecule.diameter_angstrom, 0.0, rng), optics=optics)
    phase, transmission = specimen_plane(field, session, molecule, 0, rng)
    if transfer is None:
        seen: NDArray[Any] = image_intensity(phase, pixel_size_angstrom=pixel, optics=optics)
    else:
        g2 = sum(each**2 for each in np.meshgrid(*(np.fft.fftfreq(n, pixel) for n in phase.shape)))
        spectrum = fft.fft2(phase - phase.mean())
        spectrum *= transfer(phase.shape, pixel, optics)
        spectrum *= np.exp(-0.25 * optics.b_factor_angstrom2 * g2)
        seen = 1 + 2 * fft.ifft2(spectrum).real
    counts = np.maximum(seen * transmission, 0.01) * DOSE * pixel**2
    image = rng.poisson(counts).astype(np.float32)
    name = f"{engine} {number} {kind} {pixel:.2f} Å {optics.voltage_kv:.0f} kV"
    return Case(name, image, pixel, optics)


def shared(data: Path) -> Iterator[Case]:
    """Yield the simulations of the data folder."""
    for path in sorted((data / "simulated").glob("*.mrc")):
        meta = json.loads(path.with_name(f"{path.stem}_meta.json").read_text())
        settings = meta.get("args", {})
        defocus = settings.get("defocus") or meta["defocus_A"]
        if isinstance(defocus, list):
            defocus = sum(defocus) / 2
        half = settings.get("astig", 0.0)
        pixel = settings.get("px") or meta["pixel_size"]
        optics = Optics(defocus_u_angstrom=defocus + half, defocus_v_angstrom=defocus - half)
        # A fit of one defocus to particles at 1.7 to 2.3 µm has no single truth either.
        counts = meta["generator"].startswith("cryojax")
        yield Case(f"shared {path.stem}", mrcfile.read(path), pixel, optics, counts)


def noises(count: int, seed: int) -> Iterator[Case]:
    """Yield images without Thon rings."""
    for number in range(count):
        rng = np.random.default_rng([seed, 77, number])
        side = (1024, 2048)[number % 2]
        pixel = float(rng.uniform(0.8, 2.1))
        name, image = noise(number % len(NOISES), side, pixel, rng)
        kv = float(rng.choice([200.0, 300.0]))
        optics = Optics(defocus_u_angstrom=0.0, defocus_v_angstrom=0.0, voltage_kv=kv)
        yield Case(f"{name} {number} {side} px {pixel:.2f} Å", image, pixel, optics)


NOISES = (
    *("white", "pink", "brown and white", "detector", "gradient", "edge", "discs", "ice ring"),
    *("band", "low-pass", "eight bits", "jpeg", "steps", "lattice"),
)


def noise(  # noqa: C901, PLR0912 - one short line for each kind
    kind: int, side: int, pixel: float, rng: np.random.Generator
) -> tuple[str, FloatArray]:
    """Return an image of one of ``NOISES``, and its name."""
    name = NOISES[kind]
    image = rng.standard_normal((side, side)).astype(np.float32)
    g = np.hypot(np.fft.fftfreq(side, pixel)[:, None], np.fft.rfftfreq(side, pixel)[None, :])
    y, x = np.indices((side, side), dtype=np.float32) / side
    shape = None
    if name == "pink":
        shape = np.maximum(g, 1 / 2000) ** -float(rng.uniform(0.3, 1.0))
    elif name == "brown and white":
        shape = 1 + (np.maximum(g, 1 / 2000) * float(rng.uniform(20, 100))) ** -2
    elif name == "detector":
        shape = np.exp(-((g * pixel / float(rng.uniform(0.2, 0.5))) ** 2)) + 0.3
    elif name == "gradient":
        image += float(rng.uniform(1, 20)) * (x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1))
    elif name == "edge":
        outside = np.hypot(x - rng.uniform(-0.3, 0.3), y - 0.5) > rng.uniform(0.6, 0.9)
        image = np.where(outside, float(rng.uniform(0.5, 2)) * image - 3, image)
        image = ndimage.gaussian_filter(image, 0.6).astype(np.float32)
    elif name == "discs":
        places = np.zeros((side, side))
        places[rng.integers(0, side, 300), rng.integers(0, side, 300)] = 1
        radius = float(rng.uniform(40, 90)) / pixel
        disc = ndimage.gaussian_filter((np.hypot(x - 0.5, y - 0.5) * side < radius) * 1.0, 1)
        image -= fft.irfft2(fft.rfft2(places) * fft.rfft2(fft.ifftshift(disc))).astype(np.float32)
    elif name == "ice ring":
        shape = 1 + float(rng.uniform(0.5, 3)) * np.exp(-(((g - 1 / 3.7) / 0.01) ** 2))
    elif name == "band":
        shape = 0.05 + np.exp(-(((g - rng.uniform(0.05, 0.2)) / rng.uniform(0.01, 0.1)) ** 2))
    elif name == "low-pass":
        shape = 1 / (1 + (g * float(rng.uniform(4, 12))) ** 8) + 0.01
    elif name == "eight bits":
        image = np.round(image * 4 + 128).clip(0, 255)
        image = ndimage.zoom(image, 0.5, order=1).repeat(2, 0).repeat(2, 1)[:side, :side]
    elif name == "steps":
        shape = 1 + 0.5 * (np.sin(g * float(rng.uniform(60, 400))) > 0)
    elif name == "lattice":
        period = float(rng.uniform(8, 60)) / pixel
        image += 0.3 * np.sin(2 * np.pi * (x + 0.3 * y) * side / period).astype(np.float32)
    if shape is not None:
        image = fft.irfft2(fft.rfft2(image) * shape).astype(np.float32)
    if name == "jpeg":
        image = _as_jpeg(ndimage.gaussian_filter(image, 1.0), int(rng.integers(40, 95)))
    return name, np.asarray(image, dtype=np.float32)


def _as_jpeg(image: FloatArray, quality: int) -> FloatArray:
    grey = np.clip(128 + 30 * image / image.std(), 0, 255).astype(np.uint8)
    with tempfile.NamedTemporaryFile(suffix=".jpg") as file:
        Image.fromarray(grey).save(file.name, quality=quality)
        return np.array(Image.open(file.name), dtype=np.float32)


def fitted(case: Case) -> tuple[CtfFit, float]:
    """Return the fit of a micrograph, and its CPU seconds."""
    start = time.process_time()
    fit = fit_ctf(
        case.image,
        pixel_size_angstrom=case.pixel_size_angstrom,
        voltage_kv=case.optics.voltage_kv,
        spherical_aberration_mm=case.optics.spherical_aberration_mm,
        amplitude_contrast=0.07,
    )
    return fit, time.process_time() - start


def errors_angstrom(fit: CtfFit, optics: Optics) -> tuple[float, float]:
    """Return the errors of the mean defocus, and of the astigmatism as a vector."""
    assert fit.ctf is not None
    mean = (fit.ctf.defocus_u_angstrom + fit.ctf.defocus_v_angstrom) / 2
    truth = (optics.defocus_u_angstrom + optics.defocus_v_angstrom) / 2
    vectors = [
        (u - v) * np.exp(2j * angle)
        for u, v, angle in (
            (
                fit.ctf.defocus_u_angstrom,
                fit.ctf.defocus_v_angstrom,
                math.radians(fit.ctf.astigmatism_angle_degrees),
            ),
            (optics.defocus_u_angstrom, optics.defocus_v_angstrom, optics.astigmatism_angle_rad),
        )
    ]
    return mean - truth, float(abs(vectors[0] - vectors[1]))


def compare(cases: Iterator[Case]) -> list[tuple[float, float]]:
    """Print a line for each micrograph, and return the errors of the trusted fits that count."""
    found = []
    for case in cases:
        fit, seconds = fitted(case)
        truth = 0.5e-4 * (case.optics.defocus_u_angstrom + case.optics.defocus_v_angstrom)
        astigmatism = case.optics.defocus_u_angstrom - case.optics.defocus_v_angstrom
        line = f"{case.name:42} {truth:5.2f} µm, astigmatism {astigmatism:5.0f} Å: "
        if fit.ctf is None:
            line += f"not trusted, {fit.reason}"
        else:
            errors = errors_angstrom(fit, case.optics)
            line += f"error {errors[0]:+5.0f} Å, astigmatism {errors[1]:4.0f} Å"
            line += f", holds to {fit.ctf.fit_resolution_angstrom:.1f} Å"
            if case.counts:
                found.append(errors)
        _print(f"{line}, score {fit.score or 0:.2f}, {seconds:.2f} s")
    return found


def main() -> None:
    """Print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--each", type=int, default=10, help="micrographs of each engine")
    parser.add_argument("--noise", type=int, default=200, help="images without Thon rings")
    parser.add_argument("--data", type=Path, default=DEFAULT_DATA)
    parser.add_argument("--seed", type=int, default=1000)
    options = parser.parse_args()
    by_engine = {"shared": compare(shared(options.data))}
    for name, transfer in engines().items():
        by_engine[name] = compare(
            simulated(name, transfer, number, options.seed) for number in range(options.each)
        )
    for name, errors in by_engine.items():
        summary(name, errors)
    summary("all", [error for errors in by_engine.values() for error in errors])
    false, total = 0, 0
    for case in noises(options.noise, options.seed):
        fit, _ = fitted(case)
        total += 1
        if fit.ctf is not None:
            false += 1
            _print(f"false alarm: {case.name}: {fit}")
    _print(f"trusted fits on {total} images without Thon rings: {false}")


def summary(name: str, errors: list[tuple[float, float]]) -> None:
    """Print the median and the largest error."""
    if errors:
        table = np.abs(np.array(errors))
        (middle, astigmatism), (most, worst) = np.median(table, axis=0), table.max(axis=0)
        _print(
            f"{name}: {len(errors)} trusted fits; defocus within {middle:.0f} Å in the median,"
            f" {most:.0f} Å at most; astigmatism {astigmatism:.0f} Å, {worst:.0f} Å at most"
        )


if __name__ == "__main__":
    main()
