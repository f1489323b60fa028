"""Files that programs make from a micrograph: power spectra, halves, masks, filtered versions.

They are images like the micrograph and would be picked. Some names cannot be that of a micrograph.
Others can: SIMPLE names the micrograph itself ``X_intg.mrc``. Those are products only beside a
micrograph with the shorter name. All rules are about the end of the stem, because a micrograph's
name ends in its number or time: a photosystem II named ``PSII`` and ``gain_of_function_001.mrc``
are micrographs. Case is ignored, except in short endings that would be too common.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from livepick.core.formats.image_names import IMAGE_SUFFIXES, stem_of_name

__all__ = ["is_product_folder_name", "may_be_product", "product_beside", "product_by_name"]

SPECTRUM = "power spectra or CTF fits"
UNWEIGHTED = "sums without dose weighting"
SOME_FRAMES = "sums of some frames"
FRAMES = "aligned frames"
REFERENCE = "gain references and defect maps"
OVERVIEW = "images at low magnification"
AUXILIARY = "masks, backgrounds and thumbnails"
VERSION = "other versions of a micrograph"
COPY = "copies of a micrograph"


def _each(kind: str, words: str) -> dict[str, str]:
    return dict.fromkeys(words.split(), kind)


_ENDINGS: Final = {
    # CTFFIND, Gctf, SIMPLE, cryoSPARC, Warp, IMOD, and scripts around them
    **_each(
        SPECTRUM,
        "ctf ctffind ctffind2 ctffind3 ctffind4 ctffind5 gctf forctf pspec psd ps2d powerspec"
        " powerspectrum powerspectra power_spec power_spectrum power_spectra avrot fft diag"
        " diagnostic ctf_2d ctf_avrot ctf_diag ctf_diag_2d ctf_diagnostic ctf_diagnostic_2d"
        " ctf_fit ctf_image ctf_plot ctf_ps ctf_spectrum ctf_spectra ctf_estimate_diag"
        " diagnostic_output thon_rings thonrings",
    ),
    # cryoSPARC
    **_each(UNWEIGHTED, "patch_aligned"),
    **_each(AUXILIARY, "background background_estimate mask thumb thumbnail thumb_@1x thumb_@2x"),
    # cameras, SerialEM, Leginon
    **_each(
        REFERENCE,
        "gain dark defect defects flatfield flat_field gainref darkref countref superref gain_ref"
        " dark_ref gain_reference gainreference dark_reference",
    ),
}
"""Kind of product by the last words of the stem, in lower case, with ``_`` between them."""

_EXACT_ENDINGS: Final = {
    # MotionCor2, MotionCor3 and RELION
    **_each(SPECTRUM, "PS"),
    **_each(UNWEIGHTED, "noDW"),
    **_each(SOME_FRAMES, "DWS ODD EVN EVEN"),
    **_each(FRAMES, "Stk"),
}
"""Kind of product by the last word of the stem, in the case of the program that writes it."""

_BESIDE_ENDINGS: Final = {
    **_each(
        VERSION,
        "intg raw uncorrected mic_avg deconv deconvolved denoise denoised topaz topaz_denoised dn"
        " filt filtered lowpass low_pass highpass high_pass bandpass band_pass lp binned bin bin1"
        " bin2 bin3 bin4 bin5 bin6 bin7 bin8 resized small norm normalized inv inverted flipped bg"
        " bgsub mag df flt lpf hp hpf phaseflip phaseflipped phase_flip phase_flipped ctfcorr"
        " ctf_corrected wiener preprocessed stdev stddev variance",
    ),
    **_each(SPECTRUM, "ps spectrum spectra pow power rotav rotavg ctffit ctf_rotav"),
    **_each(UNWEIGHTED, "nodw rigid_aligned full_aligned full_frame_aligned"),
    **_each(SOME_FRAMES, "dws odd evn even half1 half2"),
    **_each(FRAMES, "stk stack aligned_frames aligned_movie aligned_stack"),
    **_each(AUXILIARY, "seg segmented segmentation masked prob probability score scores fom"),
    **_each(COPY, "copy backup bak orig"),
}
"""The same for files that are products only beside a micrograph."""

_OVERVIEW = re.compile(
    r"GridSquare_(?!.*(FoilHole|Data)_)|(Atlas_\d+|Tile_\d+_\d+_\d+|FoilHole_\d+_\d{8}_\d{6})\Z"
)
"""Beginning of the stem of an image that EPU takes at low magnification."""

_REFERENCE = re.compile(r"(?i:(.*[._-])?(gain|dark)[_-]?ref(erence)?s?[._-])|(CountRef|SuperRef)_")
"""Beginning of the stem of a reference that has a date or a camera in its name."""

_COPY_WORDS: Final = "copy|kopie|copie|copia|kopia|cópia|コピー|副本"

_COPY = re.compile(
    rf"(?P<copied>.+?)( ?\(\d+\)| - ({_COPY_WORDS})( \(\d+\))?| ({_COPY_WORDS})( \d+)?"
    rf"| \(([^()]* )?({_COPY_WORDS})( \d+)?\)"
    r"|\.sync-conflict-\d{8}-\d{6}-\w+|_conflict-[\w-]+| \([^()]*conflict[^()]*\))",
    re.IGNORECASE,
)
"""Stem that Windows, macOS, GNOME, browsers, Syncthing, Nextcloud and Dropbox give a copy."""

_COPY_OF = re.compile(
    r"(Copy of|Kopie von|Copie de|Copia de|Copia di|Kopia) (?P<copied>.+)", re.IGNORECASE
)

_FOLDERS: Final = {
    **_each(SOME_FRAMES, "odd even evn half1 half2"),
    **_each(VERSION, "deconv deconvolved denoised denoise scaled"),
    **_each(AUXILIARY, "mask masks thumbs background"),
    **_each(SPECTRUM, "powerspectrum powerspectra power_spectra spectra ctf ctffind"),
}
"""Folder of products, in lower case, if it is beside the micrographs or beside Warp's averages."""

AVERAGES = "average"
"""Folder of Warp's micrographs."""

_MARKS = ("", "_DW", "_dw", "_doseweighted", "_patch_aligned_doseweighted")
"""Endings of the micrograph that a product may be beside."""

MOST_WORDS = 3
"""Largest number of words in an ending."""

_SEPARATORS = str.maketrans(".-", "__")
_LAST_TWO = frozenset(key[-2:] for key in (*_ENDINGS, *_BESIDE_ENDINGS))


def product_by_name(relative: str) -> str | None:
    """Return what kind of product a file is, in words; None if its name may be a micrograph's."""
    stem = stem_of_name(relative.rpartition("/")[2])
    for ending in _endings(stem):
        kind = _ENDINGS.get(ending)
        # A file that is only called gain.mrc is a reference; what ctf.mrc is, nobody knows.
        if kind is not None and (kind == REFERENCE or len(ending) < len(stem)):
            return kind
    exact = _EXACT_ENDINGS.get(stem.rpartition("_")[2])
    if exact is not None and "_" in stem:
        return exact
    if stem.startswith(("GridSquare_", "Atlas_", "Tile_", "FoilHole_")) and _OVERVIEW.match(stem):
        return OVERVIEW
    if "ref" in stem.lower() and _REFERENCE.match(stem):
        return REFERENCE
    return None


def product_beside(relative: str, is_beside: Callable[[str], bool]) -> str | None:
    """Return what kind of product a file is, by the micrographs beside it; None if it is not.

    Parameters
    ----------
    relative
        Path below the watched folder, with slashes.
    is_beside
        Function that returns True if a micrograph, or a folder, with this name is in the folder of
        the file; a name in the folder above begins with ``../``.
    """
    above, _, name = relative.rpartition("/")
    stem = stem_of_name(name)
    for ending in _endings(stem):
        base = stem[: -len(ending) - 1]
        kind = _BESIDE_ENDINGS.get(ending)
        if kind is not None and base and any(map(is_beside, _micrographs(base, name))):
            return kind
    if " " in stem or "(" in stem or "conflict" in stem:
        copy = _COPY.fullmatch(stem) or _COPY_OF.fullmatch(stem)
        if copy is not None and any(map(is_beside, _micrographs(copy["copied"], name))):
            return COPY
    in_folder = _FOLDERS.get(above.rpartition("/")[2].lower())
    if in_folder is not None:
        others = (f"../{other}" for other in _micrographs(stem, name))
        if is_beside(f"../{AVERAGES}") or any(map(is_beside, others)):
            return in_folder
    return None


def _endings(stem: str) -> Iterator[str]:
    """Yield the last words of a stem that may be an ending, the longest first."""
    if stem[-2:].lower() not in _LAST_TWO:  # nearly all micrographs end here
        return
    words = stem.lower().translate(_SEPARATORS).rsplit("_", MOST_WORDS)
    for count in range(min(MOST_WORDS, len(words)), 0, -1):
        yield "_".join(words[-count:])


def is_product_folder_name(name: str) -> bool:
    """Return True if a folder of this name may hold products."""
    return name.lower() in _FOLDERS


def may_be_product(name: str) -> bool:
    """Return True if a file is a product as soon as a micrograph appears beside it."""
    return any(ending in _BESIDE_ENDINGS for ending in _endings(stem_of_name(name)))


def _micrographs(stem: str, name: str) -> Iterator[str]:
    """Yield the possible names of the micrograph ``stem`` that the file ``name`` was made from."""
    own = name[len(stem_of_name(name)) :]
    for mark in _MARKS:
        for suffix in dict.fromkeys((own, *IMAGE_SUFFIXES)):
            if not suffix.lower().endswith(".mrcs"):
                yield f"{stem}{mark}{suffix}"
