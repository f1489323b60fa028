"""The ``Host`` header of a request: its name, and URLs of other ports of the same host."""

from starlette.requests import Request

__all__ = ["host_name", "other_port"]


def host_name(host: str) -> str:
    """Return the name in a ``Host`` header: without its port, an IPv6 address without brackets."""
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def other_port(request: Request, port: int) -> str:
    """Return the URL of another port, for the browser that has sent a request."""
    name = host_name(request.headers.get("host", ""))
    shown = f"[{name}]" if ":" in name else name
    return f"{request.scope['scheme']}://{shown}:{port}/"
