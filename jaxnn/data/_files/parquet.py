"""Parquet, Arrow and Feather files, and tables in memory: size and types are looked at before a column is read."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxnn._errors import ConfigError, DataFormatError
from jaxnn.data._files.arrow import check_types, from_table, pyarrow
from jaxnn.data._files.arrow_size import unpacked_size
from jaxnn.data._files.columns import choose
from jaxnn.data._files.raw import WHO, Raw, Wanted, check_size

MEMORY = "the table"  # in messages, where files have a path


def read_parquet(path: Path, wanted: Wanted) -> Raw:
    """Return the chosen columns of a Parquet file."""
    with open_parquet(path, wanted.max_bytes) as file:
        columns = choose(file.schema_arrow.names, wanted, path)
        check_types(file.schema_arrow, columns, wanted.regression, path)
        return from_table(file.read(columns=columns.names), columns, wanted, path, _row)


@contextlib.contextmanager
def open_parquet(path: Path, max_bytes: int) -> Iterator[Any]:
    """Open a `pyarrow.parquet.ParquetFile` that does not claim to unpack to more than max_bytes."""
    pyarrow()
    from pyarrow import parquet

    with explained(path, "Parquet"), parquet.ParquetFile(path) as file:
        meta = file.metadata
        claimed = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        check_size(path, "a table", max(claimed, 8 * meta.num_rows), max_bytes)  # a constant column takes no room
        yield file


def read_arrow(path: Path, wanted: Wanted) -> Raw:
    """Return the chosen columns of an Arrow IPC file, which Feather version 2 is too."""
    with open_arrow(path, wanted.max_bytes) as source:
        schema = pyarrow().ipc.open_file(source).schema
        columns = choose(schema.names, wanted, path)
        check_types(schema, columns, wanted.regression, path)
        fields = sorted(schema.get_field_index(name) for name in columns.names)
        return from_table(arrow_table(source, fields), columns, wanted, path, _row)


@contextlib.contextmanager
def open_arrow(path: Path, max_bytes: int) -> Iterator[Any]:
    """Open an Arrow IPC file that does not unpack to more than max_bytes."""
    with explained(path, "Arrow"), pyarrow().OSFile(str(path)) as source:
        check_size(path, "a table", unpacked_size(path), max_bytes)
        yield source


def arrow_table(source: Any, fields: list[int] | None = None) -> Any:
    """Return these columns of an opened Arrow IPC file, all by default."""
    pa = pyarrow()
    file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
    batches = [file.get_batch(i) for i in range(file.num_record_batches)]
    for batch in batches:
        batch.validate(full=True)  # offsets and codes of an Arrow file are used as they stand
    return pa.Table.from_batches(batches, file.schema)


def read_table(table: Any, wanted: Wanted) -> Raw:
    """Return the chosen columns of a pyarrow Table."""
    columns = choose(table.column_names, wanted, MEMORY)
    check_types(table.schema, columns, wanted.regression, MEMORY)
    return from_table(table, columns, wanted, MEMORY, _row)


def write_parquet(path: Path, columns: dict[str, Any]) -> None:
    """Write columns, lists or arrays of one length, to a Parquet file."""
    pa = pyarrow()
    from pyarrow import parquet

    parquet.write_table(pa.table(columns), path)


def _row(i: int) -> str:
    return f"row {i} (from 0)"


@contextlib.contextmanager
def explained(path: Path, kind: str) -> Iterator[None]:
    """Turn what pyarrow raises for a damaged file into a `DataFormatError`."""
    try:
        yield
    except (ConfigError, DataFormatError):
        raise
    except (pyarrow().ArrowException, OSError, ValueError, MemoryError, KeyError, OverflowError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataFormatError(
            f"{WHO}: the file is a whole {kind} file; got {text}, in {path}; get the file again"
        ) from error
