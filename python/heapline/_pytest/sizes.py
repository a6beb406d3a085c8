"""Sizes as they are written in options and markers, and as they are shown."""

from __future__ import annotations

import re

_UNITS = {
    "": 1,
    "b": 1,
    "k": 10**3,
    "kb": 10**3,
    "m": 10**6,
    "mb": 10**6,
    "g": 10**9,
    "gb": 10**9,
    "t": 10**12,
    "tb": 10**12,
    "kib": 2**10,
    "mib": 2**20,
    "gib": 2**30,
    "tib": 2**40,
}
_NUMBER = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*([a-z]*)\s*", re.IGNORECASE)
_MEMRAY = re.compile(r"(\+?\d*\.\d+|\+?\d+)\s*([KMGTP]B|B)", re.IGNORECASE)


def size(text: object, what: str) -> int:
    """Bytes, as heapline's commands read them: "24MB" is 24 * 10^6, "24MiB" 24 * 2^20. ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    found = _NUMBER.fullmatch(text) if isinstance(text, str) else None
    if not found or found[2].lower() not in _UNITS:
        raise ValueError(f'{what}: {text!r} is no size, such as "24 MB" or "24 MiB"')
    return round(float(found[1]) * _UNITS[found[2].lower()])


def count(text: object, what: str) -> int:
    """ValueError."""
    if isinstance(text, int) and not isinstance(text, bool) and text >= 0:
        return text
    plain = text.replace(",", "").replace("_", "") if isinstance(text, str) else ""
    if not plain.isdigit():
        raise ValueError(f"{what}: {text!r} is no number")
    return int(plain)


def memray_size(text: object, what: str) -> float:
    """Bytes, as pytest-memray reads them: a number and B, KB, MB .., where KB is 1024 B. ValueError."""
    found = _MEMRAY.match(text) if isinstance(text, str) else None
    if not found:
        raise ValueError(f"{what}: Invalid memory size format: {text}")
    power = "BKMGTP".index(found[2][0].upper())
    return float(found[1]) * 1024.0**power


def shown(bytes: float) -> str:
    """As heapline's reports show it: "117 B", "1.02 MB", "24.0 MB"."""
    sign, value = ("-", -bytes) if bytes < 0 else ("", bytes)
    if value < 1000:
        return f"{sign}{value:.0f} B"
    unit = ""
    for unit in ("kB", "MB", "GB", "TB"):  # noqa: B007
        value /= 1000
        if value < 999.95:
            break
    return f"{sign}{value:.2f} {unit}" if value < 9.995 else f"{sign}{value:.1f} {unit}"


def counted(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def cut(text: str, width: int) -> str:
    """Its beginning, in `width` columns."""
    return text if len(text) <= width else text[: max(0, width - 3)] + "..."


def cut_front(text: str, width: int) -> str:
    """Its end: of a path the file's name."""
    return text if len(text) <= width else "..." + text[len(text) - max(0, width - 3) :]
