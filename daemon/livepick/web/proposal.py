"""A change that a person has asked for on the page, before it is made."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from livepick.config.proposed_edit import DiffLine
from livepick.errors import LivepickError
from livepick.web.forms import Form

__all__ = ["Action", "ActionError", "ConflictError", "Proposal", "one", "whole_number"]

MOST_DIGITS = 18
"""Maximum number of digits of a number in a form, so that it fits into 64 bits."""


class ActionError(LivepickError):
    """What was asked for is not possible."""


class ConflictError(ActionError):
    """It was possible when the page was shown, and is not any more."""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A change, and all that a person should see before it is made."""

    title: str
    """Description, as a clause that begins with a verb."""
    digest: str
    """Digest of the state that is changed. Another one means that somebody else changed it."""
    make: Callable[[], str]
    """Function that makes the change, and returns what happens next."""
    file: str = ""
    """Config file that is edited; empty if none is."""
    diff: tuple[DiffLine, ...] = ()
    """Changed lines of the config file; empty if the change is not an edit of it."""
    effects: tuple[str, ...] = ()
    """What the change does, as sentences."""
    ends_run: int | None = None
    """Training run that the change ends, which needs a consent of its own; None: it ends none."""
    ended: str = ""
    """Description of that run."""
    back: str = ""
    """Address of what was changed, to go on from there; empty: only the page of the session."""


class Action(Protocol):
    """A kind of change."""

    template: str
    """Template of its form; empty if it has none of its own."""

    def form(self, given: Form) -> dict[str, object]:
        """Return the values that its template needs, from the fields given so far."""

    def propose(self, given: Form, by: str) -> Proposal:
        """Return the change that the fields of a form ask for, for the person with a name.

        Raises
        ------
        ActionError
            It is not possible.
        ConfigError
            The config cannot be edited in this way.
        """


def one(given: Form, name: str) -> str:
    """Return the only value of a field; empty if there is none.

    Raises
    ------
    ActionError
        There are several.
    """
    values = given.get(name, [])
    if len(values) > 1:
        raise ActionError(f"The form has {name} {len(values)} times", "Send it once.")
    return values[0].strip() if values else ""


def whole_number(text: str, what: str) -> int:
    """Return the whole number in a field.

    Raises
    ------
    ActionError
        It is not one; ``what`` says what it should be the number of.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS):
        raise ActionError(f"{text[:40]!r} is not the number of {what}", "Go back and choose one.")
    return int(text)
