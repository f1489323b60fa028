"""Names under which a browser may ask for a page."""

import socket
from collections.abc import Callable

from livepick.config.web_section import Web
from livepick.host.loopback import is_address, is_loopback
from livepick.web.protection import Protection

__all__ = ["accepted_hosts"]


def accepted_hosts(settings: Web, host: str, protection: Protection) -> Callable[[str], bool]:
    """Return a function that returns True for a name that a browser may use for this machine.

    A foreign page can give its own name any address, and then read the answers. TLS and passwords
    prevent that by themselves.

    Parameters
    ----------
    settings
        Settings of the page.
    host
        Address that is listened on.
    protection
        TLS and passwords in force.
    """
    known = {name.lower() for name in (settings.host, settings.external_host) if name}
    loopback = is_loopback(host)
    if not loopback and settings.insecure:  # else it is not asked for
        known |= {socket.gethostname().lower(), socket.getfqdn().lower()}

    def accepts(given: str) -> bool:
        if not loopback and not protection.insecure:
            return True
        name = given.lower().removesuffix(".")
        return name in known or is_loopback(given) or (not loopback and is_address(given))

    return accepts
