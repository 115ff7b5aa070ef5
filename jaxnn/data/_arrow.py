"""pyarrow where it is used, and one step for all tables: columns of numbers, booleans and categories to rows."""

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._checks import ConfigError, DataFormatError
from jaxnn.data._memory import empty
from jaxnn.data._raw import WHO, Distinct, Raw, check_size, size_of

OLDEST = (14, 0, 1)  # before, a Parquet file could run code (CVE-2023-47248)
ROWS_AT_A_TIME = 16384  # columns are turned into rows piece by piece, so that the pieces stay in the cache


def pyarrow() -> Any:
    """Return the module pyarrow; raise `ConfigError` where it is missing or too old to be safe."""
    try:
        import pyarrow
    except ImportError as error:
        raise ConfigError(
            f"{WHO}: tables are read with pyarrow; got no module pyarrow; pip install 'jaxnn[data]'"
        ) from error
    version = tuple(int(n) for n in re.findall(r"\d+", pyarrow.__version__)[:3])
    if version < OLDEST:
        raise ConfigError(
            f"{WHO}: pyarrow is 14.0.1 or newer, older ones run code from files; got {pyarrow.__version__}; "
            "pip install --upgrade pyarrow"
        )
    return pyarrow


def check_types(schema: Any, label: str, features: list[str], regression: bool, path: Path) -> None:
    """Raise `DataFormatError` for a column that holds no numbers, booleans or categories (as a label: or text)."""
    types = pyarrow().types
    for name in (*features, label):
        field = schema.field(name)
        kind = field.type
        inner = kind.value_type if types.is_dictionary(kind) else kind
        text = types.is_string(inner) or types.is_large_string(inner)
        number = types.is_integer(inner) or types.is_floating(inner) or types.is_decimal(inner)
        is_categorical, is_extension = inner is not kind, b"ARROW:extension:name" in (field.metadata or {})
        if name == label and regression:
            legal, rule = number and not is_categorical, "a column of numbers where regression=True"
        elif name == label:
            legal, rule = number or text or types.is_boolean(inner), "a column of whole numbers, words or booleans"
        else:
            legal = number or types.is_boolean(inner) or (text and is_categorical)
            rule = "columns of numbers, booleans or categories"
        if not legal or is_extension:
            what = "label is" if name == label else "features are"
            raise DataFormatError(
                f"{WHO}: {what} {rule}; got column {name!r} of type {kind}{' (extension)' if is_extension else ''} "
                f"in {path}; convert it first, or choose the columns with features=[...]"
            )


def from_table(
    table: Any,
    label: str,
    features: list[str],
    *,
    regression: bool,
    max_bytes: int,
    path: Path,
    where: Callable[[int], str],
) -> Raw:
    """Return the rows of a table whose types were checked; raise `DataFormatError` for a null or for no rows."""
    pa = pyarrow()
    if not table.num_rows:
        raise DataFormatError(f"{WHO}: there is at least one row; got none, in {path}; is the file complete?")
    for name in (*features, label):
        column = table.column(name)
        if column.null_count:
            i = int(np.argmax(column.is_null().to_numpy()))
            raise DataFormatError(
                f"{WHO}: every cell has a value; got null in column {name!r} at {where(i)} ({column.null_count} in "
                f"all), in {path}; drop the row or fill the value first"
            )
    x, names = _rows(pa, table.select(features), max_bytes, path)
    column = table.column(label)
    if regression:
        y = column.cast(pa.float64()).to_numpy()
    else:
        whole = column.dictionary_encode().unify_dictionaries().combine_chunks()
        whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole  # by version of pyarrow
        y = Distinct(whole.indices.to_numpy(), whole.dictionary.to_pylist())
    return Raw(x, y, label=label, where=where, feature_names=names)


def _rows(pa: Any, table: Any, max_bytes: int, path: Path) -> tuple[jax.Array, tuple[str, ...]]:
    """Return x `[N, D]` and D names: a column of numbers gives one feature, a categorical one gives one a category."""
    for i, field in enumerate(table.schema):
        if pa.types.is_decimal(field.type):
            table = table.set_column(i, field.name, table.column(i).cast(pa.float64()))
    table = table.unify_dictionaries()
    categories = {
        name: table.column(name).chunk(0).dictionary.to_pylist()
        for name in table.column_names
        if pa.types.is_dictionary(table.schema.field(name).type)
    }
    names = tuple(
        itertools.chain.from_iterable(
            [f"{name}={value}" for value in categories[name]] if name in categories else [name]
            for name in table.column_names
        )
    )
    dtype = jnp.result_type(float)
    check_size(path, "features", size_of((table.num_rows, len(names)), dtype.itemsize), max_bytes)
    x = empty((table.num_rows, len(names)), dtype)
    first = 0
    with np.errstate(over="ignore"):  # found by the door
        for batch in table.to_batches(max_chunksize=ROWS_AT_A_TIME):
            rows, j = x[first : first + batch.num_rows], 0
            for name, column in zip(table.column_names, batch.columns, strict=True):
                if name in categories:
                    width = len(categories[name])
                    rows[:, j : j + width] = column.indices.to_numpy()[:, None] == np.arange(width)
                    j += width
                else:
                    rows[:, j] = column.to_numpy(zero_copy_only=False)
                    j += 1
            first += batch.num_rows
    return jax.device_put(x), names
