"""Options that the commands on single micrographs have in common."""

from typing import Annotated

import typer

from livepick.config.sections import Trust

__all__ = ["PixelSize", "TrustOfHeaders"]

PixelSize = Annotated[
    float | None,
    typer.Option(metavar="ANGSTROM", help="Pixel size; by default from the headers."),
]

TrustOfHeaders = Annotated[
    Trust | None,
    typer.Option(help="What counts if a header has another pixel size; by default an error."),
]
