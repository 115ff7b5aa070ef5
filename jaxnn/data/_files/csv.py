"""CSV files: pyarrow reads them, fast; what it cannot read is looked for line by line, slowly."""

import mmap
from pathlib import Path

from jaxnn._checks import ConfigError, DataFormatError
from jaxnn.data._files.arrow import from_table, pyarrow
from jaxnn.data._files.columns import choose
from jaxnn.data._files.csv_lines import explain, is_number, line_of, records
from jaxnn.data._files.raw import WHO, Raw, Wanted, check_size

BLOCK = 2**20  # bytes pyarrow parses at a time; a line must fit in


def read_csv(path: Path, wanted: Wanted, header: bool | None, delimiter: str) -> Raw:
    """Return the chosen columns of a CSV file; see `read` for the rules."""
    check_size(path, "a text", path.stat().st_size, wanted.max_bytes)
    lines = records(path, delimiter)
    _, first = next(lines, (0, None))
    if first is None:
        raise DataFormatError(f"{WHO}: there is at least one line; got an empty file, {path}; is it complete?")
    if header is None and all(is_number(cell) for cell in first):
        raise ConfigError(
            f"{WHO}: the first line of a CSV file names the columns; got the numbers {','.join(first)[:60]!r}, in "
            f"{path}; pass header=False if they are the first example, header=True if they are names"
        )
    names = [f"column_{i}" for i in range(len(first))] if header is False else first
    columns = choose(names, wanted, path)
    label = columns.label
    numbers, words = columns.numbers, [*columns.categorical, *columns.keep]
    if wanted.regression and label is not None:
        numbers = [*numbers, label]
    elif label is not None:
        words = [*words, label]  # a label that is a class is read as text, to keep its spelling
    # pyarrow finds out what a column holds by trying; told that it is numbers, it takes a quarter less time.
    _, example = (0, first) if header is False else next(lines, (0, names))
    told = [name for name in numbers if is_number(dict(zip(names, example, strict=False)).get(name, ""))]
    pa, find = pyarrow(), lambda columns: explain(path, delimiter, names, header, columns)
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
                include_columns=columns.names,
                column_types={name: pa.dictionary(pa.int32(), pa.string()) for name in words if name not in numbers}
                | dict.fromkeys(told, pa.float64()),
            ),
        )
    except (pa.ArrowException, ValueError, OSError, MemoryError, KeyError) as error:
        raise find(numbers) or DataFormatError(
            f"{WHO}: the file is CSV; got {str(error).splitlines()[0]}, in {path}; repair the file"
        ) from error
    for name in numbers if table.num_rows else ():
        kind = table.column(name).type
        legal = pa.types.is_integer(kind) or pa.types.is_floating(kind)
        legal = legal or (pa.types.is_boolean(kind) and name != label)
        if not legal or table.column(name).null_count:
            raise find(numbers) or DataFormatError(
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
