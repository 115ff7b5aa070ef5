"""A CSV file as a table for `describe`: missing cells and stray words are let in, broken lines are not."""

import itertools
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from jaxnn._checks import ConfigError, DataFormatError
from jaxnn.data._files.arrow import pyarrow
from jaxnn.data._files.columns import find
from jaxnn.data._files.csv import BLOCK, quotes_below_header
from jaxnn.data._files.csv_lines import explain, is_number, records
from jaxnn.data._files.raw import MISSING, WHO, check_size

# pyarrow compares cells letter by letter, so "NA" needs "na", "Na" and "nA" beside it.
NULLS = sorted({"".join(cased) for word in MISSING for cased in itertools.product(*({c, c.upper()} for c in word))})


def csv_table(path: Path, label: Any, header: bool | None, delimiter: str, max_bytes: int) -> Any:
    """Return a `pyarrow.Table` of all columns, each of the type its cells have in common; the label is left text.

    Raises:
      ConfigError: a first line of numbers, a label that is no column.
      DataFormatError: an empty file, a line with another number of cells, bytes that are not UTF-8; says the line.
    """
    check_size(path, "a text", path.stat().st_size, max_bytes)
    _, first = next(records(path, delimiter), (0, None))
    if first is None:
        raise DataFormatError(f"{WHO}: there is at least one line; got an empty file, {path}; is it complete?")
    if header is None and all(is_number(cell) for cell in first):
        raise ConfigError(
            f"{WHO}: the first line of a CSV file names the columns; got the numbers {','.join(first)[:60]!r}, in "
            f"{path}; pass header=False if they are the first example, header=True if they are names"
        )
    names = [f"column_{i}" for i in range(len(first))] if header is False else first
    wanted = [] if label is None else [find(names, "label", label, path)]

    pa = pyarrow()
    from pyarrow import csv

    try:
        table = csv.read_csv(
            path,
            read_options=csv.ReadOptions(
                column_names=names if header is False else None,
                block_size=min(max(BLOCK, 64 * sum(map(len, first))), 2**30),
            ),
            parse_options=csv.ParseOptions(delimiter=delimiter, newlines_in_values=quotes_below_header(path)),
            convert_options=csv.ConvertOptions(
                column_types={name: pa.string() for name in wanted},  # 1 and 1.0 may be names
                null_values=NULLS,
                strings_can_be_null=True,
            ),
        )
    except (pa.ArrowException, ValueError, OSError, MemoryError, KeyError) as error:
        raise explain(path, delimiter, names, header, []) or DataFormatError(
            f"{WHO}: the file is CSV; got {str(error).splitlines()[0]}, in {path}; repair the file"
        ) from error
    if any(pa.types.is_binary(kind) or pa.types.is_large_binary(kind) for kind in table.schema.types):
        fault = explain(path, delimiter, names, header, [])
        if fault is not None:
            raise fault
    return table


def csv_lines(path: Path, delimiter: str, header: bool | None, rows: Iterable[int]) -> dict[int, int]:
    """Return the line of each of the rows, counted from 0 below the header."""
    wanted = {row + (header is not False): row for row in rows}
    if not wanted:
        return {}
    if _a_line_a_record(path):
        return {row: i + 1 for i, row in wanted.items()}
    lines = enumerate(itertools.islice(records(path, delimiter), max(wanted) + 1))
    return {wanted[i]: line for i, (line, _) in lines if i in wanted}


def _a_line_a_record(path: Path) -> bool:
    """Return whether no line is empty, quoted or ended by CR alone; told twenty times faster than lines are counted."""
    with path.open("rb") as file:
        return all(
            line.strip(b"\xef\xbb\xbf\r\n") and b'"' not in line and b"\r" not in line.removesuffix(b"\r\n")
            for line in file
        )
