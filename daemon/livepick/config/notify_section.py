"""Section of the configuration about notices: short messages about events of the session.

The address of a service holds its password, and the config is shown in the report and by livepick
doctor. So the config names where the address is, and never contains it.
"""

from typing import Any, Self

from pydantic import Field, field_validator, model_validator

from livepick.config.error_messages import contradiction
from livepick.config.setting import LIVE, Folder, Section

__all__ = ["Notify", "NotifyTarget"]


NOT_IN_CONFIG = (
    "notify contains an address, which would be shown wherever the config is; write it into a file"
    " and name that ([{url_file: PATH}]), or into an environment variable ([{url: ${NAME}}])"
)
"""Error that does not repeat the address."""


class NotifyTarget(Section):
    """Where one address is kept."""

    url: str | None = Field(default=None, json_schema_extra=LIVE)
    """``${NAME}``: environment variable of the service that holds the address."""

    url_file: Folder | None = Field(default=None, json_schema_extra=LIVE)
    """File that holds the address in its first line; only the service should be able to read it."""

    @field_validator("url")
    @classmethod
    def _is_variable(cls, url: str | None) -> str | None:
        """Refuse an address, without repeating it."""
        name = "" if url is None else url.removeprefix("${").removesuffix("}")
        if url is not None and (url != f"${{{name}}}" or not name.isidentifier()):
            raise contradiction(NOT_IN_CONFIG)
        return url

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        """Refuse an entry without an address, or with two."""
        if (self.url is None) == (self.url_file is None):
            raise contradiction("each entry of notify needs either url_file or url: ${NAME}")
        return self

    @property
    def name(self) -> str:
        """The setting, as the user wrote it: it may be shown."""
        return self.url or str(self.url_file)


class Notify(Section):
    """Notices by mail, chat or webhook, without an Alertmanager. Each is sent once a session."""

    to: list[NotifyTarget] = Field(default=[], json_schema_extra=LIVE)
    """Addresses, in the form of the library apprise. ``notify: [...]`` is a short form."""

    @model_validator(mode="before")
    @classmethod
    def _from_list(cls, values: Any) -> Any:
        """Accept a list of addresses in place of the section; refuse an address itself."""
        values = {"to": values} if isinstance(values, list | str) else values
        targets = values.get("to") if isinstance(values, dict) else None
        if isinstance(targets, str) or (
            isinstance(targets, list) and any(isinstance(each, str) for each in targets)
        ):
            raise contradiction(NOT_IN_CONFIG)
        return values
