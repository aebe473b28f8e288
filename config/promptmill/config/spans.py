"""Spans of time as people write and read them: ``90s``, ``12h``, ``1h30m``."""

import re

_UNITS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86_400}
_SPAN = re.compile(r"(?:\d+(?:\.\d+)?[smhd])+|\d+(?:\.\d+)?")
_PIECE = re.compile(r"(\d+(?:\.\d+)?)([smhd]?)")


def parse(text: str) -> float:
    """Return the seconds of a span; a number alone is seconds. Raises ValueError."""
    if not _SPAN.fullmatch(text.strip()):
        raise ValueError(f"{text!r} is not a span of time such as 90s, 30m, 12h or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in _PIECE.findall(text.strip()))


def show(seconds: float) -> str:
    """Return ``seconds`` for people to read."""
    if seconds < 10:
        return f"{max(seconds, 0):.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{int(seconds // 60)} min {int(seconds % 60):02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes < 48 * 60 else f"{minutes / 1440:.1f} days"
