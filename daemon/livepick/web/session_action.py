"""The action that ends a session, or reopens it."""

from livepick.config.proposed_edit import EditedKey
from livepick.config.schema import WrittenConfig
from livepick.ledger.session_end import read_session_end, remove_session_end
from livepick.web.config_action import ConfigAction, Wish
from livepick.web.forms import Form
from livepick.web.proposal import Proposal, one
from livepick.web.recorded_change import record_change

__all__ = ["EndSession"]


class EndSession(ConfigAction):
    """Sets ``session.ended``; a session that ended by itself is reopened without an edit."""

    template = "actions_session.html"

    def form(self, given: Form) -> dict[str, object]:  # noqa: ARG002 - as in Action
        """Return the state of the session."""
        config = self.config()
        end = read_session_end(config.state.directory, config.session.name)
        return {"is_ended": config.session.ended, "end": end}

    def propose(self, given: Form, by: str) -> Proposal:
        """Return the edit, or the removal of the end that livepick itself has recorded."""
        config = self.config()
        end = read_session_end(config.state.directory, config.session.name)
        if not one(given, "reopen") or config.session.ended or end is None:
            return super().propose(given, by)

        def make() -> str:
            remove_session_end(config.state.directory)
            key = EditedKey("end of the session", "by itself", "reopened")
            record_change(config.state.directory, by, "reopen the session", key)
            return "The service goes on within seconds."

        return Proposal(
            title="reopen the session",
            digest=f"idle-{end.at}",
            make=make,
            effects=(
                (
                    "The session ended by itself: no micrograph came. It goes on picking, and"
                    " ends again after session.end_after_hours without one."
                ),
            ),
        )

    def wish(self, given: Form, config: WrittenConfig, by: str) -> Wish:  # noqa: ARG002
        """Return the settings that end the session or reopen it."""
        if one(given, "reopen"):
            return Wish("reopen the session", {"session.ended_by": None, "session.ended": False})
        return Wish(
            "end the session",
            {"session.ended_by": f"{by}, on the page", "session.ended": True},
        )
