"""How `describe` writes numbers, names and lists: short, on one line, without control characters."""

from collections.abc import Sequence

LONGEST = 10  # characters of a number


def count(n: int, one: str, many: str | None = None) -> str:
    """Return "1 example", "2 examples"."""
    return f"{n:,} {one if n == 1 else many or one + 's'}"


def number(value: float | int | None) -> str:
    """Return all digits of a whole number below 10 million, five of others or as many as fit; "-" for none."""
    if value is None:
        return "-"
    if abs(value) < 1e7 and value == int(value):
        return str(int(value))
    return next(text for digits in (5, 4, 3, 2) if len(text := f"{value:.{digits}g}") <= LONGEST or digits == 2)


def percent(part: int, whole: int) -> str:
    """Return a share with one decimal; never 0.0 or 100.0 for a share that is neither none nor all."""
    share = 100 * part / whole
    if 0 < share < 0.1:
        return "< 0.1 %"
    return "> 99.9 %" if 99.9 < share < 100 else f"{share:.1f} %"


def brief(text: str, width: int) -> str:
    """Return a name or a cell, cut to a width; what a terminal would obey or not show is written as an escape."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= width else text[: width - 3] + "..."


def quoted(name: str) -> str:
    """Return a name or a cell in quotation marks, cut to 40 characters."""
    return f"'{brief(name, 40)}'"


def listed(items: Sequence[str], most: int = 5) -> str:
    """Return "a, b and c"; of more than `most` items the first and how many there are besides."""
    if len(items) > most:
        return f"{', '.join(items[:most])} and {len(items) - most:,} more"
    return " and ".join([", ".join(items[:-1]), items[-1]] if len(items) > 1 else items)
