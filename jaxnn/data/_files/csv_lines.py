"""The slow second reading of a CSV file, by Python's csv module: in which line the fault is, and what it is."""

import csv
from collections.abc import Iterator
from pathlib import Path

from jaxnn._errors import DataFormatError
from jaxnn.data._files.raw import MISSING, WHO

BOOLEANS = ("true", "false")
LONGEST_LINE = 2**26  # characters


def records(path: Path, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield every record that is not an empty line, with the number of its first line, from 1.

    Raises:
      DataFormatError: bytes that are not UTF-8, or what the csv module refuses.
    """
    line = 1
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        lines = iter(lambda: file.readline(LONGEST_LINE), "")
        reader = csv.reader(lines, delimiter=delimiter)
        try:
            for record in reader:
                if any("\udc80" <= mark <= "\udcff" for cell in record if not cell.isascii() for mark in cell):
                    raise _bad(path, line, "text is UTF-8", "other bytes", "save the file as UTF-8")
                if record:
                    yield line, record
                line = reader.line_num + 1
        except csv.Error as error:
            raise _bad(path, line, "the file is CSV", str(error), "repair the line") from error


def line_of(path: Path, delimiter: str, header: bool | None, example: int) -> int:
    """Return the line of an example, counted from 0 below the header."""
    skipped = 0 if header is False else 1
    for i, (line, _) in enumerate(records(path, delimiter)):
        if i == example + skipped:
            return line
    return 0


def explain(
    path: Path, delimiter: str, names: list[str], header: bool | None, numbers: list[str]
) -> DataFormatError | None:
    """Return what is wrong with the first line that has not a cell a column, or no number in a column of numbers."""
    columns = [names.index(name) for name in numbers]
    boolean: dict[int, bool] = {}
    try:
        for i, (line, record) in enumerate(records(path, delimiter)):
            if len(record) != len(names):
                got = f"{len(record)} cells for {len(names)} columns"
                return _bad(path, line, "every line has one cell a column", got, "repair the line, or pass delimiter=")
            if i == 0 and header is not False:
                continue
            for j in columns:
                cell = record[j].strip()
                boolean.setdefault(j, cell.lower() in BOOLEANS)  # the first line says what the column holds
                if (cell.lower() in BOOLEANS) if boolean[j] else is_number(cell):
                    continue
                if cell.lower() in MISSING:
                    got = f"{cell!r} in column {names[j]!r}"
                    return _bad(path, line, "every cell has a value", got, "drop the line or fill the value first")
                what = "booleans" if boolean[j] else "numbers"
                got = f"{record[j][:60]!r} in column {names[j]!r}"
                hint = "repair it, or choose the columns with features=[...]"
                return _bad(path, line, f"the column holds {what}", got, hint)
    except DataFormatError as error:
        return error
    return None


def is_number(cell: str) -> bool:
    """Return whether a cell reads as a number, infinity included, NaN not."""
    try:
        number = float(cell)
    except ValueError:
        return False
    return number == number and "_" not in cell


def _bad(path: Path, line: int, rule: str, got: str, hint: str) -> DataFormatError:
    return DataFormatError(f"{WHO}: {rule}; got {got} on line {line} of {path}; {hint}")
