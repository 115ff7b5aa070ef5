"""`read` and `read_inputs`: what a file or table holds goes through the checked door, on its own or like other data."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from jaxnn._checks import check_finite
from jaxnn._errors import ConfigError, DataFormatError, NonFiniteError, ShapeError, brief, in_the_name_of
from jaxnn.data._dataset import Dataset, dataset
from jaxnn.data._files.labels import as_classes
from jaxnn.data._files.raw import WHO, Distinct, Raw, Wanted
from jaxnn.data._files.readers import MAX_BYTES, raw_of, told_twice
from jaxnn.data._schema import Schema


class Inputs(NamedTuple):
    """What `read_inputs` found in a file.

    Attributes:
      x: `dtype[M, D]`, on the scale of the schema.
      unused: names of the columns that were not looked at.
      kept: the columns asked for with `keep`, a list of M values each.
    """

    x: jax.Array
    unused: tuple[str, ...]
    kept: Mapping[str, list[Any]]


def read(
    source: Any,
    *,
    label: str | int | PathLike[str] | None = None,
    labels: Literal["index", "names", "pm1"] = "index",
    regression: bool = False,
    num_classes: int | None = None,
    class_names: Any = None,
    features: Any = None,
    header: bool | None = None,
    delimiter: str | None = None,
    like: Dataset | Schema | None = None,
    max_bytes: int = MAX_BYTES,
) -> Dataset:
    """Read examples from a file (CSV, NPZ, Parquet, Arrow, Feather, IDX images) or from a table in memory.

    Args:
      source: the path of a file. Its suffix says what it is: `.csv`, `.npz`, `.parquet`, `.arrow` and `.feather` (the
        Arrow IPC file format), `-idx3-ubyte`, `.idx3-ubyte` or `.idx`, also with `.gz`. Or a table: a pandas
        DataFrame, a pyarrow Table, or another with `__arrow_c_stream__`, such as polars'.
      label: the column to learn: text is its name, an int its position (-1 is the last). In an NPZ file the name of an
        array `[N]`, by default "y". For IDX images, the path of the IDX file of their labels.
      labels: "index": whole numbers in [0, K), or words, which become 0..K-1 in sorted order and are kept in
        `schema.class_names`. "names": every distinct value names a class, numbers too (sorted as numbers if all
        are), so labels 1..K or 10, 20, 50 become 0..K-1. "pm1": exactly -1 and +1, stored as 0 and 1.
      regression: the label is a real target, not a class. Never guessed: without it 3.7 is an error.
      num_classes: K >= 2. Without it, labels that are numbers must be 0..K-1 with none left out.
      class_names: K names in the order of the classes.
      features: the feature columns, a list of names or positions; by default all but the label. In an NPZ file the
        name of an array `[N, D]`, by default "x".
      header: of a CSV file. None: the first line names the columns, and one with a number in it is refused. True: it
        names them whatever it holds. False: there is no such line, columns are named column_0, column_1, ...
      delimiter: of a CSV file, by default a comma.
      like: data, or their schema, that this file has to fit, as a hold-out or test file fits the training file: the
        same features, found by name in whatever order, the same classes, the same scale if they are standardised.
        Other columns are left alone. Without names of features there, columns are taken in their order, with a
        warning. label is then by default what it was there, and no other option about labels and features is needed
        or allowed, but for the names of arrays of an NPZ file.
      max_bytes: what a file may unpack to with all its columns, looked up in its headers first; 8 GiB by default.

    Returns:
      A `Dataset` named after the file, or "table"; its schema keeps the names of label, features and classes. A column
      of booleans gives 0 and 1; labels of booleans are the classes "false" and "true", in whatever case they are
      spelt. A categorical (dictionary) column gives a feature of 0 and 1 for each category it lists, named
      "column=category". Pixels of IDX images are divided by 255, nothing else is scaled.

    Raises:
      ConfigError: no such file, column, array or option; pyarrow is missing (`pip install 'jaxnn[data]'`); options that
        contradict each other or mean nothing for this kind of file.
      DataFormatError: a damaged file, a missing value, text where numbers are; says the line, or row and column.
      LabelError: a label that is no class; says where and which option would make it one.
      NonFiniteError: an infinity, or a number beyond the range of float32.
      ShapeError, DtypeError: arrays of an NPZ file that are not `[N, D]` and `[N]`, or not numbers.

    Warns:
      UserWarning: class names that differ only in case or in white space around them; columns taken in their order.

    Notes:
      Every number passes `data.dataset`. Python objects in an NPZ file are never unpickled. CSV is UTF-8, with or
      without a byte-order mark; empty lines are skipped; an empty label is refused, and so are NA, NaN, null and ? as
      words, unless labels="names". A CSV file is read a second time, slowly, to find the line of a fault. Parquet pages
      may expand beyond what their file says, by at most 2 GiB each; read files you do not trust elsewhere.

    Example:
      >>> import pathlib, tempfile
      >>> from jaxnn import data
      >>> folder = tempfile.TemporaryDirectory()
      >>> path = pathlib.Path(folder.name, "flowers.csv")
      >>> _ = path.write_text("length,width,species\\n1.4,0.2,setosa\\n4.7,1.4,versicolor\\n")
      >>> ds = data.read(path, label="species")
      >>> ds, ds.schema.class_names, ds.batch.y.tolist()
      (Dataset('flowers', 2 examples, 2 features, 2 classes), ('setosa', 'versicolor'), [0, 1])
      >>> data.read(path, label="specie")  # doctest: +ELLIPSIS
      Traceback (most recent call last):
      jaxnn._errors.ConfigError: data.read: label is a column of ...; got label='specie'; did you mean 'species'?
      >>> folder.cleanup()
    """
    schema = _schema(like)
    options = {"labels": labels, "regression": regression, "num_classes": num_classes, "class_names": class_names}
    options |= {"features": features}
    if schema is not None:
        for option, value in options.items():  # features may be the name of an array: the kind of file will tell
            is_default = value is None or value is False or (isinstance(value, str) and value == "index")
            if not is_default and not (option == "features" and isinstance(value, str)):
                raise ConfigError(told_twice(option, value))
        regression, label = schema.num_classes is None, schema.label_name if label is None else label
    wanted = Wanted(label, features, regression, True, schema, (), max_bytes)
    raw, name, path = raw_of(source, wanted, labels, num_classes, class_names, header, delimiter)
    if schema is not None:
        labels, num_classes, class_names = schema.labels, schema.num_classes, schema.class_names
    ds = _through_the_door(raw, path, name, labels, num_classes, class_names)
    return ds if schema is None else _on_scale(ds, schema, path)


def read_inputs(
    source: Any,
    *,
    like: Dataset | Schema,
    keep: Sequence[str] = (),
    features: str | None = None,
    header: bool | None = None,
    delimiter: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Inputs:
    """Read the features of a file or table to predict from; its labels are not looked at, if it has any.

    Args:
      source: as in `read`.
      like: the data a model was trained on, or their schema, as `jaxnn.load_run(folder).schema`: says which features
        there are, what they are called and on which scale the model wants them.
      keep: columns to hand on as they stand, such as an "id".
      features: in an NPZ file the name of the array `[M, D]`, by default "x".
      header, delimiter, max_bytes: as in `read`. Where neither the training data nor this file has a header, lines may
        come with their label or without it, wherever it stood.

    Returns:
      `Inputs`: x on the scale of `like`, the names of the columns not used, the columns kept.

    Raises:
      ConfigError, DataFormatError, NonFiniteError, ShapeError, DtypeError: as `read`; every missing feature is named.

    Example:
      >>> import pathlib, tempfile
      >>> from jaxnn import data
      >>> folder = tempfile.TemporaryDirectory()
      >>> path = pathlib.Path(folder.name, "new.csv")
      >>> _ = path.write_text("id,width,length\\na7,0.5,1.5\\n")
      >>> schema = data.Schema("flowers", 2, feature_names=("length", "width"), mean=(1.0, 0.0), scale=(0.5, 1.0))
      >>> found = data.read_inputs(path, like=schema)
      >>> found.x.tolist(), found.unused
      ([[1.0, 0.5]], ('id',))
      >>> folder.cleanup()
    """
    with in_the_name_of("data.read_inputs"):
        schema = _schema(like)
        if schema is None:
            raise ConfigError(f"{WHO}: like is the data a model knows; got like=None; pass train.schema")
        keep = [keep] if isinstance(keep, str) else keep
        if not isinstance(keep, list | tuple):
            raise ConfigError(
                f"{WHO}: keep is a list of columns; got keep={brief(keep)}; pass their names, or leave it out"
            )
        wanted = Wanted(None, features, False, False, schema, tuple(keep), max_bytes)
        raw, name, path = raw_of(source, wanted, "index", None, None, header, delimiter)
        if not len(raw.x):
            raise DataFormatError(f"{WHO}: there is at least one row; got none, in {path}; is the file complete?")
        y = np.zeros(len(raw.x))  # the door wants targets
        ds = _through_the_door(raw._replace(y=y), path, name, "index", None, None)
        return Inputs(_on_scale(ds, schema, path).batch.x, raw.unused, raw.kept)


def _schema(like: Any) -> Schema | None:
    """Return the schema that `like` is or has."""
    schema = like.schema if isinstance(like, Dataset) else like
    if not isinstance(schema, Schema | None):
        raise ConfigError(
            f"{WHO}: like is a Dataset or a Schema; got like={type(like).__name__}; pass the training data, or "
            "their .schema"
        )
    return schema


def _through_the_door(
    raw: Raw, path: Path | str, name: str, labels: Any, num_classes: Any, class_names: Any
) -> Dataset:
    """Return what was read as a `Dataset`; a number that is not finite is named by its place in the file."""
    y, names, kind = raw.y, None, "index"
    if isinstance(y, Distinct):
        y, num_classes, names, kind = as_classes(
            y, labels=labels, num_classes=num_classes, class_names=class_names, column=raw.label, where=raw.where
        )
    try:
        ds = dataset(raw.x, y, num_classes=num_classes, feature_names=raw.feature_names, class_names=names, name=name)
    except NonFiniteError as error:
        x = np.asarray(raw.x)
        if raw.feature_names is None:
            raise
        with np.errstate(over="ignore"):
            y = np.asarray(y).astype(x.dtype)  # 1e300 is finite before
        bad = np.argwhere(~np.isfinite(x))
        i, column = (
            (int(bad[0, 0]), raw.feature_names[bad[0, 1]]) if len(bad) else (int(np.argmin(np.isfinite(y))), raw.label)
        )
        value = x[tuple(bad[0])] if len(bad) else y[i]
        raise NonFiniteError(
            f"{WHO}: numbers are finite as {x.dtype}; got {value} in column {column!r} at {raw.where(i)}, in {path}; "
            "drop the row or fill the value first"
        ) from error
    is_column = raw.feature_names is not None  # arrays of an NPZ file and IDX files are no names to look for elsewhere
    label_name = raw.label if is_column and raw.label else None
    return Dataset(ds.batch, replace(ds.schema, image_shape=raw.image_shape, labels=kind, label_name=label_name))


def _on_scale(ds: Dataset, schema: Schema, path: Path | str) -> Dataset:
    """Return the data with names and scale of a schema; raise `ShapeError` where they have other features."""
    names, size = schema.feature_names, schema.image_shape
    known = (len(one) for one in (names, schema.mean) if one is not None)  # of files without num_features
    want = schema.num_features if schema.num_features is not None else next(known, ds.num_features)
    if ds.num_features != want or (size and ds.schema.image_shape and ds.schema.image_shape != size):
        what = f"images of {size[0]}x{size[1]}" if size else f"the {want} features"
        got = ds.schema.image_shape or ds.num_features
        raise ShapeError(f"{WHO}: a file has {what} of {schema.name!r}; got {got}, in {path}; choose another file")
    x = schema.transform(ds.batch.x)
    check_finite(WHO, f"x on the scale of {schema.name!r}", x)
    return Dataset(ds.batch._replace(x=jax.device_put(x)), replace(schema, name=ds.schema.name))
