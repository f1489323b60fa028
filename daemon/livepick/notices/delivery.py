"""Delivery of a notice by the library apprise, in a process of its own.

The only module that uses apprise. A server that hangs holds up nothing but that process, which is
killed after a minute. What apprise says about a failure may contain the address, so it is dropped.
"""

from livepick.host.isolated_call import ProcessDiedError, call_isolated

__all__ = ["SEND_SECONDS", "deliver"]

SEND_SECONDS = 60.0
"""Time limit of one delivery."""


def deliver(
    address: str, title: str, body: str, *, is_bad: bool, seconds: float = SEND_SECONDS
) -> str:
    """Send a notice; return why it was not sent, or an empty text.

    Parameters
    ----------
    address
        Address in the form of apprise.
    title, body
        The notice.
    is_bad
        True if it is about a problem: some services show it in red.
    seconds
        Time limit.
    """
    try:
        return call_isolated(
            _send, address, title, body, is_bad, timeout_seconds=seconds, log=False
        )
    except TimeoutError:
        return f"the server did not answer within {seconds:g} s"
    except ProcessDiedError:
        return "the sending process was killed or crashed"
    except OSError:
        return "no process can be started to send it"


def _send(address: str, title: str, body: str, is_bad: bool) -> str:  # noqa: FBT001 - by position
    try:
        import apprise  # noqa: PLC0415 - only in this process
    except ImportError:
        return "the library apprise is not installed (pip install apprise)"
    try:
        sender = apprise.Apprise(asset=apprise.AppriseAsset(secure_logging=True))
        if not sender.add(address):
            return "apprise does not know such an address; its form is wrong"
        kind = apprise.NotifyType.FAILURE if is_bad else apprise.NotifyType.INFO
        if sender.notify(body=body, title=title, notify_type=kind):
            return ""
    except Exception as error:  # noqa: BLE001 - its text may contain the address
        return f"apprise failed ({type(error).__name__})"
    return "the server refused it, or cannot be reached"
