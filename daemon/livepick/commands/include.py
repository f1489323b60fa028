"""``livepick include``: the opposite of ``livepick exclude``."""

from typing import Annotated

import typer

from livepick.commands.exclude import Config, Micrographs, judge_by_hand
from livepick.commands.session_option import SessionOption, named_config

__all__ = ["include"]


def include(
    config: Config,
    micrographs: Micrographs,
    *,
    session: SessionOption = None,
    by_figures: Annotated[
        bool, typer.Option("--by-figures", help="Forget all verdicts of people on them instead.")
    ] = False,
) -> None:
    """Include micrographs in the lists of good ones, whatever their figures.

    With --by-figures, their figures decide again, as for all others.
    """
    judge_by_hand(named_config(config, session), micrographs, None if by_figures else "included")
