"""pyarrow where it is used, and one step for all tables: columns of numbers, booleans and categories to rows."""

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._errors import ConfigError, DataFormatError, brief, suggest
from jaxnn.data._files.columns import Columns
from jaxnn.data._files.raw import WHO, Distinct, Raw, Wanted, check_size, size_of
from jaxnn.data._memory import empty

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


def as_table(source: Any) -> Any | None:
    """Return a table in memory as pyarrow's: pandas' or what has `__arrow_c_stream__`; None for anything else."""
    if not (hasattr(source, "__arrow_c_stream__") or hasattr(source, "__dataframe__")):
        return None
    pa = pyarrow()
    if getattr(source, "ndim", 2) == 1 or isinstance(source, pa.Array | pa.ChunkedArray):
        raise ConfigError(
            f"{WHO}: source is the path of a file or a table; got source={type(source).__name__}, a single column; "
            "pass a table with a column for the label, too"
        )
    with converted("the table"):
        if type(source).__module__.partition(".")[0] == "pandas":
            table = pa.Table.from_pandas(source, preserve_index=False)
        else:
            table = source if isinstance(source, pa.Table) else pa.table(source)
        table.validate(full=True)  # codes beyond a dictionary, text that is not UTF-8
        return table


@contextlib.contextmanager
def converted(path: Path | str) -> Iterator[None]:
    """Turn what pyarrow raises for values that it cannot convert into a `DataFormatError`."""
    try:
        yield
    except (ConfigError, DataFormatError):
        raise
    except (pyarrow().ArrowException, ValueError, TypeError, OverflowError) as error:
        reason = error.args[0] if isinstance(error, pyarrow().ArrowException) and error.args else error
        text = (str(reason).splitlines() or [type(error).__name__])[0]
        raise DataFormatError(
            f"{WHO}: columns hold whole values of one kind; got {text}, in {path}; convert them first"
        ) from error


def is_text(kind: Any) -> bool:
    """Return whether a type is text, however it is laid out."""
    types = pyarrow().types
    views = getattr(types, "is_string_view", lambda _: False)  # since pyarrow 16
    return types.is_string(kind) or types.is_large_string(kind) or views(kind)


def check_types(schema: Any, columns: Columns, regression: bool, path: Path | str) -> None:
    """Raise `DataFormatError` for a column that holds no numbers, booleans or categories (as a label: or text)."""
    types = pyarrow().types
    for name in columns.names:
        if name in columns.keep and name != columns.label and name not in dict(columns.features):
            continue
        field = schema.field(name)
        kind = field.type
        inner = kind.value_type if types.is_dictionary(kind) else kind
        text = is_text(inner)
        number = types.is_integer(inner) or types.is_floating(inner) or types.is_decimal(inner)
        is_categorical, is_extension = inner is not kind, b"ARROW:extension:name" in (field.metadata or {})
        is_known = dict(columns.features).get(name) is not None
        if name == columns.label and regression:
            legal, rule = number and not is_categorical, "a column of numbers where regression=True"
        elif name == columns.label:
            legal, rule = number or text or types.is_boolean(inner), "a column of whole numbers, words or booleans"
        else:
            legal = number or types.is_boolean(inner) or (text and (is_categorical or is_known))
            rule = "columns of numbers, booleans or categories"
        if not legal or is_extension:
            what = "label is" if name == columns.label else "features are"
            raise DataFormatError(
                f"{WHO}: {what} {rule}; got column {name!r} of type {kind}{' (extension)' if is_extension else ''} "
                f"in {path}; convert it first, or choose the columns with features=[...]"
            )


def from_table(table: Any, columns: Columns, wanted: Wanted, path: Path | str, where: Callable[[int], str]) -> Raw:
    """Return the rows of a table whose types were checked; raise `DataFormatError` for a null or for no rows."""
    pa = pyarrow()
    label = columns.label
    if not table.num_rows:
        raise DataFormatError(f"{WHO}: there is at least one row; got none, in {path}; is the file complete?")
    for name in [*dict(columns.features), *([] if label is None else [label])]:
        column = table.column(name)
        if column.null_count:
            i = int(np.argmax(column.is_null().to_numpy()))
            raise DataFormatError(
                f"{WHO}: every cell has a value; got null in column {name!r} at {where(i)} ({column.null_count} in "
                f"all), in {path}; drop the row or fill the value first"
            )
    with converted(path):
        kept = {name: table.column(name).to_pylist() for name in columns.keep}
        x, names = _rows(pa, table, columns, wanted.max_bytes, path, where)
        if label is None:
            y = None
        elif wanted.regression:  # not safe: whole numbers beyond 2**53 are rounded, as all numbers are
            y = table.column(label).cast(pa.float64(), safe=False).to_numpy()
        else:
            y = Distinct(*_encoded(pa, table.column(label)))
    return Raw(x, y, label or "", where, feature_names=names, unused=columns.unused, kept=kept)


def _encoded(pa: Any, column: Any) -> tuple[np.ndarray, list[Any]]:
    """Return the codes of a column and the distinct values they stand for."""
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()  # in others one dictionary is made for all chunks; comparing is slow
    whole = column.dictionary_encode().combine_chunks()
    whole = whole.combine_chunks() if isinstance(whole, pa.ChunkedArray) else whole  # by version of pyarrow
    return whole.indices.to_numpy(), whole.dictionary.to_pylist()


def _rows(
    pa: Any, table: Any, columns: Columns, max_bytes: int, path: Path | str, where: Callable[[int], str]
) -> tuple[jax.Array, tuple[str, ...]]:
    """Return x `[N, D]` and D names: a column of numbers gives one feature, a categorical one gives one a category."""
    codes: dict[str, tuple[np.ndarray, list[str]]] = {}  # of the categorical columns
    for name in dict(columns.features):
        kind = table.schema.field(name).type
        if pa.types.is_decimal(kind):
            table = table.set_column(table.schema.get_field_index(name), name, table.column(name).cast(pa.float64()))
        if pa.types.is_dictionary(kind) or name in columns.categorical:
            found, values = _encoded(pa, table.column(name))
            if None in values and (found == values.index(None)).any():  # in the dictionary, where pyarrow counts none
                i = int(np.argmax(found == values.index(None)))
                raise DataFormatError(
                    f"{WHO}: every cell has a value; got null in column {name!r} at {where(i)}, in {path}; drop the "
                    "row or fill the value first"
                )
            codes[name] = found, [str(value) for value in values]
    features = [
        (name, tuple(codes[name][1]) if categories is None and name in codes else categories)
        for name, categories in columns.features
    ]
    for name in columns.categorical:
        _check_known(name, *codes[name], {c for n, known in features if n == name for c in known or ()}, path, where)
    names = tuple(
        itertools.chain.from_iterable(
            [name] if categories is None else [f"{name}={category}" for category in categories]
            for name, categories in features
        )
    )
    dtype = jnp.result_type(float)
    check_size(path, "features", size_of((table.num_rows, len(names)), dtype.itemsize), max_bytes)
    x = empty((table.num_rows, len(names)), dtype)
    numbers, j = {}, 0
    for name, categories in features:
        if categories is None:
            numbers[name] = j
            j += 1
            continue
        found, values = codes[name]
        places = np.array([values.index(category) if category in values else -1 for category in categories])
        for i in range(0, len(x), ROWS_AT_A_TIME):
            x[i : i + ROWS_AT_A_TIME, j : j + len(places)] = found[i : i + ROWS_AT_A_TIME, None] == places
        j += len(places)
    first = 0
    with np.errstate(over="ignore"):  # found by the door
        for batch in table.select(list(numbers)).to_batches(max_chunksize=ROWS_AT_A_TIME):
            rows = x[first : first + batch.num_rows]
            for j, column in zip(numbers.values(), batch.columns, strict=True):
                rows[:, j] = column.to_numpy(zero_copy_only=False)
            first += batch.num_rows
    return jax.device_put(x), names


def _check_known(
    name: str, codes: np.ndarray, values: list[str], known: set[str], path: Path | str, where: Callable[[int], str]
) -> None:
    """Raise `DataFormatError` for the first row with a category the schema has not."""
    for k, value in enumerate(values):
        if value not in known and (codes == k).any():
            raise DataFormatError(
                f"{WHO}: categories are those the model was trained on; got {brief(value)} in column {name!r} at "
                f"{where(int(np.argmax(codes == k)))}, in {path}; {suggest(value, known)}"
            )
