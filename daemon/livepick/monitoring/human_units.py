"""Short human-readable formats for times and sizes."""

__all__ = ["size", "span"]


def span(seconds: float) -> str:
    """Return a duration as short text."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    if seconds < 172800:
        return f"{seconds / 3600:.0f} h"
    return f"{seconds / 86400:.0f} days"


def size(count_bytes: float) -> str:
    """Return an amount of data as short text, in powers of 1024 like ``df -h``."""
    amount = float(count_bytes)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if amount < 1000:
            return (
                f"{amount:.0f} {unit}"
                if amount >= 10 or unit == "bytes"
                else f"{amount:.1f} {unit}"
            )
        amount /= 1024
    return f"{amount:,.0f} TiB" if amount >= 10 else f"{amount:.1f} TiB"
