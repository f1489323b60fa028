"""Check of what people need to change settings on the page (``web.actions``)."""

import os
from pathlib import Path

from livepick.config.web_config import read_protection
from livepick.config.web_section import Web
from livepick.config.web_token import check_actions, read_token
from livepick.errors import ConfigError
from livepick.monitoring.preflight.check import Check

__all__ = ["page_actions"]

NAME = "actions on the page"


def page_actions(web: Web, config_file: Path | None) -> Check:
    """Check the token, and that the service can edit the config file.

    The result is that of the user who runs the check; the service may be another one. None: there
    is no config file yet, such as that of the next session of an instrument.
    """
    if web.token_file is None:
        return Check(NAME, "ok", "off (web.actions)")
    try:
        check_actions(web, read_protection(web), host=web.host)
        read_token(web.token_file)
    except ConfigError as error:
        return Check(NAME, "fault", error.what, error.remedy)
    place = None if config_file is None else config_file.resolve()
    for path in (place, place.parent) if place is not None else ():
        if not os.access(path, os.W_OK):
            return Check(
                NAME,
                "warning",
                f"{path} cannot be written, so that no setting can be changed on the page",
                "Give the service's user a folder of its own for the config, and add it to"
                " ReadWritePaths= of the unit.",
            )
    return Check(NAME, "ok", f"for people who know the token in {web.token_file}")
