"""Short human-readable formats for times and sizes."""

import time

__all__ = ["clock", "size", "span", "zone"]


def clock(at: float) -> str:
    """Return a time (unix seconds) as text, in the time zone of this machine, with its name."""
    return f"{time.strftime('%d %b %H:%M', time.localtime(at))} {zone(at)}"


def zone(at: float) -> str:
    """Return the time zone of this machine at a time (unix seconds), as ``UTC+5:30``."""
    offset_seconds = time.localtime(at).tm_gmtoff
    hours, minutes = divmod(abs(offset_seconds) // 60, 60)
    sign = "-" if offset_seconds < 0 else "+"
    return f"UTC{sign}{hours}{f':{minutes:02d}' if minutes else ''}" if offset_seconds else "UTC"


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
