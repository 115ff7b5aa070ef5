"""CSV files: pyarrow reads them, fast; what it cannot read is looked for line by line, slowly."""

import math
import mmap
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jaxnn._errors import ConfigError, DataFormatError
from jaxnn.data._files.arrow import from_table, pyarrow
from jaxnn.data._files.columns import choose
from jaxnn.data._files.csv_lines import explain, is_number, line_of, records
from jaxnn.data._files.raw import WHO, Raw, Wanted, check_size

BLOCK = 2**20  # bytes pyarrow parses at a time; a line must fit in


class CsvFile(NamedTuple):
    """A CSV file of which the first lines were looked at.

    Attributes:
      path, header, delimiter: as in `read`.
      names: of the columns.
      example: the cells of the first line below the names; the names where there is none.
    """

    path: Path
    header: bool | None
    delimiter: str
    names: list[str]
    example: list[str]

    def table(self, numbers: Sequence[str] = (), **convert: Any) -> Any:
        """Return a `pyarrow.Table`, given `pyarrow.csv.ConvertOptions`; a fault names its line.

        Args:
          numbers: the columns that have to hold numbers, for `fault`.
        """
        pa = pyarrow()
        from pyarrow import csv

        first = self.example if self.header is False else self.names
        try:
            return csv.read_csv(
                self.path,
                read_options=csv.ReadOptions(
                    column_names=self.names if self.header is False else None,
                    block_size=min(max(BLOCK, 64 * sum(map(len, first))), 2**30),
                ),
                parse_options=csv.ParseOptions(
                    delimiter=self.delimiter, newlines_in_values=quotes_below_header(self.path)
                ),
                convert_options=csv.ConvertOptions(**convert),
            )
        except (pa.ArrowException, ValueError, OSError, MemoryError, KeyError) as error:
            raise self.fault(numbers) or DataFormatError(
                f"{WHO}: the file is CSV; got {str(error).splitlines()[0]}, in {self.path}; repair the file"
            ) from error

    def fault(self, numbers: Sequence[str] = ()) -> DataFormatError | None:
        """Return what is wrong with the first line that has not a cell a column, or no number in one of numbers."""
        return explain(self.path, self.delimiter, self.names, self.header, list(numbers))


def open_csv(path: Path, header: bool | None, delimiter: str, max_bytes: int) -> CsvFile:
    """Return a CSV file after a look at its first lines; raise where they are missing, or are no names."""
    check_size(path, "a text", path.stat().st_size, max_bytes)
    lines = records(path, delimiter)
    _, first = next(lines, (0, None))
    if first is None:
        raise DataFormatError(f"{WHO}: there is at least one line; got an empty file, {path}; is it complete?")
    numbers = [cell for cell in first if is_number(cell) and math.isfinite(float(cell))]  # "inf" may be a word
    if header is None and numbers:
        got = f"{','.join(first)[:60]!r}"
        got = f"the numbers {got}" if len(numbers) == len(first) else f"the number {numbers[0][:60]!r} in {got}"
        raise ConfigError(
            f"{WHO}: the first line of a CSV file names the columns; got {got}, in {path}; pass header=False if they "
            "are the first example, header=True if they are names"
        )
    if header is False:
        return CsvFile(path, header, delimiter, [f"column_{i}" for i in range(len(first))], first)
    return CsvFile(path, header, delimiter, first, next(lines, (0, first))[1])


def read_csv(path: Path, wanted: Wanted, header: bool | None, delimiter: str) -> Raw:
    """Return the chosen columns of a CSV file; see `read` for the rules."""
    file = open_csv(path, header, delimiter, wanted.max_bytes)
    columns = choose(file.names, wanted, path, named=header is not False)
    label = columns.label
    numbers, words = columns.numbers, [*columns.categorical, *columns.keep]
    if wanted.regression and label is not None:
        numbers = [*numbers, label]
    elif label is not None:
        words = [*words, label]  # a label that is a class is read as text, to keep its spelling
    # pyarrow finds out what a column holds by trying; told that it is numbers, it takes a quarter less time.
    cells = dict(zip(file.names, file.example, strict=False))
    told = [name for name in numbers if is_number(cells.get(name, ""))]
    pa = pyarrow()
    text = pa.dictionary(pa.int32(), pa.string())
    table = file.table(
        numbers,
        include_columns=columns.names,
        column_types={name: text for name in words if name not in numbers} | dict.fromkeys(told, pa.float64()),
    )
    for name in numbers if table.num_rows else ():
        kind = table.column(name).type
        legal = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        legal = legal or (pa.types.is_boolean(kind) and name != label)
        if not legal or table.column(name).null_count:
            raise file.fault(numbers) or DataFormatError(
                f"{WHO}: the column holds numbers; got {name!r} of type {kind}, in {path}; "
                "convert it first, or choose the columns with features=[...]"
            )
    return from_table(table, columns, wanted, path, lambda i: f"line {line_of(path, delimiter, header, i)}")


def quotes_below_header(path: Path) -> bool:
    """Return whether a quotation mark stands below the first line, so that a cell may hold line ends.

    Told that none does, pyarrow cuts the file into blocks at any line end and silently takes the rest of such a cell
    for rows; told that one may, it takes a quarter longer.
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
        first = len(content)
        for mark in (b"\n", b"\r"):  # the second is looked for in the first line only
            end = content.find(mark, 0, first)
            first = end if end >= 0 else first
        return content[:first].count(b'"') % 2 == 1 or content.find(b'"', first) >= 0
