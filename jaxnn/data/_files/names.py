"""What the columns of a file are called, looked up before the file is read."""

from collections.abc import Sequence
from pathlib import Path

from jaxnn.data._files.arrow import pyarrow
from jaxnn.data._files.csv_lines import records


def column_names(path: Path, header: bool | None = None, delimiter: str | None = None) -> Sequence[str]:
    """Return the names of the columns of a CSV, Parquet or Arrow file; none for what cannot be read or has none.

    No error: who reads the file next says what is wrong with it.
    """
    try:
        if path.suffix.lower() == ".csv":
            _, first = next(records(path, delimiter or ","))
            return () if header is False else first
        if path.suffix.lower() == ".parquet":
            from pyarrow import parquet

            return parquet.read_schema(path).names
        if path.suffix.lower() in (".arrow", ".feather"):
            pa = pyarrow()
            with pa.OSFile(str(path)) as source:
                return pa.ipc.open_file(source).schema.names
    except Exception:  # anything at all: it is met again where it can be explained
        pass
    return ()
