"""Parquet, Arrow and Feather files: types are looked at in the schema before a column is read."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from jaxnn._checks import ConfigError, DataFormatError
from jaxnn.data._arrow import check_types, from_table, pyarrow
from jaxnn.data._columns import choose
from jaxnn.data._raw import WHO, Raw, check_size


def read_parquet(path: Path, label: Any, features: Any, regression: bool, max_bytes: int) -> Raw:
    """Return the chosen columns of a Parquet file."""
    pyarrow()
    from pyarrow import parquet

    with _explained(path, "Parquet"), parquet.ParquetFile(path) as file:
        label, features = choose(file.schema_arrow.names, label, features, path)
        check_types(file.schema_arrow, label, features, regression, path)
        meta = file.metadata
        claimed = sum(meta.row_group(i).total_byte_size for i in range(meta.num_row_groups))
        check_size(path, "a table", max(claimed, 8 * meta.num_rows), max_bytes)  # a constant column takes no room
        table = file.read(columns=[*features, label])
        return _rows(table, label, features, regression=regression, max_bytes=max_bytes, path=path)


def read_arrow(path: Path, label: Any, features: Any, regression: bool, max_bytes: int) -> Raw:
    """Return the chosen columns of an Arrow IPC file, which Feather version 2 is too."""
    pa = pyarrow()
    with _explained(path, "Arrow"), pa.OSFile(str(path)) as source:
        schema = pa.ipc.open_file(source).schema
        label, features = choose(schema.names, label, features, path)
        check_types(schema, label, features, regression, path)
        fields = sorted(schema.get_field_index(name) for name in (*features, label))
        file = pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields))
        batches, size = [], 0
        for i in range(file.num_record_batches):
            batches.append(file.get_batch(i))
            batches[-1].validate(full=True)  # offsets and codes of an Arrow file are used as they stand
            size += batches[-1].nbytes
            check_size(path, "a table", size, max_bytes)
        table = pa.Table.from_batches(batches, file.schema)
        return _rows(table, label, features, regression=regression, max_bytes=max_bytes, path=path)


def _rows(table: Any, label: str, features: list[str], **options: Any) -> Raw:
    return from_table(table, label, features, where=lambda i: f"row {i} (from 0)", **options)


@contextlib.contextmanager
def _explained(path: Path, kind: str) -> Iterator[None]:
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
