"""Where `describe` gets its columns from: one function a kind of file, all giving a `Source`."""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn._errors import ConfigError, DataFormatError, ShapeError
from jaxnn.data._dataset import Dataset
from jaxnn.data._describe.csv import csv_lines, csv_table
from jaxnn.data._files.columns import no_list, place_of
from jaxnn.data._files.idx import read_idx
from jaxnn.data._files.npz import read_npz
from jaxnn.data._files.parquet import arrow_table, open_arrow, open_parquet
from jaxnn.data._files.raw import Wanted
from jaxnn.data._files.readers import IDX_NAME, file_at

WHO = "data.describe"
COLUMNS_AT_A_TIME = 16  # columns of an array are copied together: one by one, each would read all of its memory


class Source(NamedTuple):
    """What is described, whatever it came from: the seam for more kinds of sources.

    Attributes:
      name: what the data are called.
      num_rows: N.
      features, labels: name and values of each column, a NumPy array `[N]` or a `pyarrow.ChunkedArray`; features are
        asked for once, one after the other, so that they need not be in memory together.
      leave_out: how to do without a column, for remarks.
      from_file: whether `read` is still to take it, so that its rules and options matter.
      spelled: whether text may spell numbers and missing values, as in a CSV file.
      places: from rows to what the source calls them.
      class_names: of labels that are classes 0..K-1 already.
      image_shape: where a row is a flattened image.
    """

    name: str
    num_rows: int
    features: Iterable[tuple[str, Any]]
    labels: list[tuple[str, Any]]
    leave_out: str = "leave such columns out with features=[...]"
    from_file: bool = True
    spelled: bool = False
    places: Callable[[list[int]], dict[int, str]] = lambda rows: {row: f"row {row} (from 0)" for row in rows}
    class_names: tuple[str, ...] | None = None
    image_shape: tuple[int, int] | None = None


def dataset_source(ds: Dataset) -> Source:
    """Return the columns of a data set, rows of weight 0 left out."""
    x, y, s = np.asarray(ds.batch.x), np.asarray(ds.batch.y), ds.schema
    if ds.batch.weight is not None:
        held = np.asarray(ds.batch.weight) > 0
        x, y = (x, y) if held.all() else (x[held], y[held])
    names = s.class_names or tuple(str(k) for k in range(s.num_classes)) if s.num_classes else None
    return Source(
        s.name,
        len(x),
        _columns("x", x, s.feature_names),
        list(_columns("class" if s.num_classes else "y", y)),
        leave_out="leave such columns out of x",
        from_file=False,
        class_names=names,
        image_shape=s.image_shape,
    )


def csv_source(path: Path, label: Any, features: Any, header: bool | None, delimiter: str, max_bytes: int) -> Source:
    """Return the columns of a CSV file, in which text may spell numbers; rows are lines."""

    def places(rows: list[int]) -> dict[int, str]:
        return {row: f"line {line}" for row, line in csv_lines(path, delimiter, header, rows).items()}

    table = csv_table(path, label, header, delimiter, max_bytes)
    return from_table(table, path, label, features)._replace(spelled=True, places=places)


def table_source(path: Path, label: Any, features: Any, max_bytes: int) -> Source:
    """Return the columns of a Parquet or Arrow file."""
    if path.suffix.lower() == ".parquet":
        with open_parquet(path, max_bytes) as file:
            table = file.read()
            table.validate(full=True)  # text that is not UTF-8
            return from_table(table, path, label, features)
    with open_arrow(path, max_bytes) as file:
        return from_table(arrow_table(file), path, label, features)


def from_table(table: Any, path: Path | str, label: Any, features: Any) -> Source:
    """Return the columns of a `pyarrow.Table`: chosen by position, so that two may have one name."""
    if not table.num_rows:
        raise DataFormatError(f"{WHO}: there is at least one row; got none, in {path}; is the file complete?")
    names = table.column_names
    at = None if label is None else place_of(names, "label", label, path)
    if features is None:
        chosen = [i for i in range(len(names)) if i != at]
    elif isinstance(features, list | tuple):
        chosen = [place_of(names, "features", feature, path) for feature in features]
    else:
        raise ConfigError(no_list(features))
    return Source(
        path.stem if isinstance(path, Path) else "table",
        table.num_rows,
        ((names[i], table.column(i)) for i in chosen),
        [] if at is None else [(names[at], table.column(at))],
    )


def npz_source(path: Path, label: Any, features: Any, max_bytes: int) -> Source:
    """Return the columns of an array `[N, D]`, and of the labels if there are any."""
    x_name, y_name = features or "x", label or "y"
    wanted = Wanted(label, features, True, True, None, (), max_bytes)
    try:
        raw = read_npz(path, wanted)
    except ConfigError:  # no such array: only labels that nobody asked for may be missing
        if label is not None:
            raise
        raw = read_npz(path, wanted._replace(labelled=False))
    y = None if raw.y is None else np.asarray(raw.y)
    x = np.asarray(raw.x)
    if x.ndim != 2 or not len(x):
        raise ShapeError(
            f"{WHO}: x is [N, D], one row an example, N >= 1; got {x_name}.shape={x.shape}, in {path}; "
            "use x.reshape(len(x), -1), which also flattens images"
        )
    if y is not None and (y.ndim not in (1, 2) or len(y) != len(x)):
        raise ShapeError(
            f"{WHO}: x and y have one row an example; got {x_name}.shape={x.shape}, {y_name}.shape={y.shape}, in "
            f"{path}; make the first axes equal"
        )
    labels = [] if y is None else list(_columns(y_name, y))
    return Source(path.stem, len(x), _columns(x_name, x), labels, leave_out=f"leave such columns out of {x_name}")


def idx_source(path: Path, label: Any, features: Any, max_bytes: int) -> Source:
    """Return the pixels of IDX images, in [0, 1] as `read` gives them, and their labels if a file of them is named."""
    del features  # IDX files have no columns to choose; the door has refused it
    images = read_idx(path, ndim=3, max_bytes=max_bytes, who=WHO)
    labels = []
    if label is not None:
        if isinstance(label, int):
            raise ConfigError(
                f"{WHO}: for IDX images label is the file of their labels; got label={label!r}; pass its path"
            )
        labels_path = file_at("label", label)
        y = read_idx(labels_path, ndim=1, max_bytes=max_bytes, who=WHO)
        if len(y) != len(images):
            raise DataFormatError(
                f"{WHO}: labels are as many as images; got {len(y)} for {len(images)}, in {labels_path} at byte 4; "
                "get the file again"
            )
        labels = [("labels", y)]
    if not images.size:
        raise DataFormatError(f"{WHO}: there is at least one pixel; got {images.shape}, in {path}; get the file again")
    pixels = _columns("x", images.reshape(len(images), -1))
    return Source(
        path.name.split(".")[0] if IDX_NAME.search(path.name) else path.stem,
        len(images),
        ((name, column / 255) for name, column in pixels),
        labels,
        image_shape=images.shape[1:],
    )


def _columns(name: str, array: np.ndarray, names: tuple[str, ...] | None = None) -> Iterator[tuple[str, np.ndarray]]:
    """Yield the columns of an array `[N, D]`, or the only one of `[N]`, called as NumPy would index them."""
    if array.dtype.kind == "V" and array.dtype.names is None:
        array = array.astype(np.float64)  # bfloat16, which NumPy does not know
    if array.ndim == 1:
        yield name, array
        return
    for first in range(0, array.shape[1], COLUMNS_AT_A_TIME):
        block = np.ascontiguousarray(array[:, first : first + COLUMNS_AT_A_TIME].T)
        for j, column in enumerate(block, first):
            yield names[j] if names else f"{name}[:, {j}]", column
