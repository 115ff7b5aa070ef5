"""`describe`: one look at a data set or a file of any kind, and all that is wrong with it at once."""

import itertools
from collections.abc import Sequence
from os import PathLike
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxnn._errors import ConfigError, in_the_name_of
from jaxnn.data._dataset import Dataset
from jaxnn.data._describe.classes import balance_remarks, classes_of
from jaxnn.data._describe.description import Column, Description
from jaxnn.data._describe.facts import Facts, facts_of
from jaxnn.data._describe.remarks import cell_remarks, column_remarks, duplicate_remarks
from jaxnn.data._describe.sources import (
    WHO,
    Source,
    csv_source,
    dataset_source,
    from_table,
    idx_source,
    npz_source,
    table_source,
)
from jaxnn.data._files.arrow import as_table
from jaxnn.data._files.parquet import MEMORY
from jaxnn.data._files.raw import WHO as READ
from jaxnn.data._files.raw import Wanted
from jaxnn.data._files.readers import MAX_BYTES, check_options, file_at, kind_of


def describe(
    source: Any,
    *,
    label: str | int | PathLike[str] | None = None,
    features: Any = None,
    header: bool | None = None,
    delimiter: str | None = None,
    max_bytes: int = MAX_BYTES,
) -> Description:
    """Say what is in a data set or a file, and what is wrong with it, all at once.

    Where `read` stops at the first cell it cannot take, `describe` goes on: missing values, text, dates, infinities,
    columns of one name are counted and remarked on, each with what to do.

    Args:
      source: a `Dataset`, or what `read` would take: the path of a file, by its suffix, or a table in memory.
      label: the column to learn, by name or position; in an NPZ file an array `[N]`, by default "y" if there is one;
        for IDX images the path of their labels. With it classes are counted. A `Dataset` has its own.
      features: the columns to look at, a list of names or positions; by default all but the label. In an NPZ file
        the name of an array `[N, D]`, by default "x".
      header, delimiter, max_bytes: as in `read`.

    Returns:
      A `Description`: print it, read its fields, or take its `to_dict()`.

    Raises:
      ConfigError: no such file, column, array or option, as in `read`.
      DataFormatError: a file that has no columns to speak of: damaged, empty, a line with another number of cells,
        bytes that are not UTF-8; says the line.
      ShapeError: arrays of an NPZ file that are not `[N, D]` and `[N]`.

    Notes:
      Missing are null, NaN, and in CSV files empty cells and words such as NA, N/A, null and ?, in any case. Minimum,
      maximum, mean and deviation are those of the finite numbers, in float64. Rows of weight 0 of a `Dataset` are left
      out, other weights do not count. Equal rows are found by a 64-bit hash of their cells. In memory are the file's
      columns, as `read` has them, and a few more; pixels of IDX images stay bytes. A CSV file is read a second time,
      slowly, where a remark names a line.

    Example:
      >>> import pathlib, tempfile
      >>> from jaxnn import data
      >>> folder = tempfile.TemporaryDirectory()
      >>> path = pathlib.Path(folder.name, "flats.csv")
      >>> _ = path.write_text("rooms,rent,let\\n2,910,no\\n3,?,yes\\n1,600,yes\\n4,12oo,no\\n3,1100,yes\\n")
      >>> print(data.describe(path, label="let"))
      flats: 5 examples (1 with missing values), 2 features, 2 classes
      <BLANKLINE>
      feature  kind      missing  distinct        min       mean  deviation        max
      rooms    number          0         4          1        2.6     1.0198          4
      rent     text            1         4    each once, such as 910
      <BLANKLINE>
      let    examples    share
      no            2   40.0 %  ####################
      yes           3   60.0 %  ##############################
      <BLANKLINE>
      remarks
      - missing values: 'rent' 1 (20.0 %); 4 of 5 examples are complete. read refuses the others: fill the
        values, or drop the rows
      - 'rent' is numbers but for 1 cell: '12oo' (line 5); repair it
      >>> folder.cleanup()
    """
    if isinstance(source, Dataset):
        options = {"label": label, "features": features, "header": header, "delimiter": delimiter}
        for option, value in options.items():
            if value is not None:
                raise ConfigError(f"{WHO}: a Dataset takes no {option}; got {option}={value!r}; leave it out")
        return describe_source(dataset_source(source))
    with in_the_name_of(WHO, READ):
        table = as_table(source)
        path = MEMORY if table is not None else file_at("source", source)
        kind = "table" if table is not None else kind_of(Path(path))
        wanted = Wanted(label, features, False, True, None, (), max_bytes)
        check_options(kind, "index", wanted, None, None, header, delimiter)
        if table is not None:
            return describe_source(from_table(table, path, label, features))
        path = Path(path)
        if kind == "csv":
            return describe_source(csv_source(path, label, features, header, delimiter or ",", max_bytes))
        reader = {"npz": npz_source, "idx": idx_source}.get(kind, table_source)
        return describe_source(reader(path, label, features, max_bytes))


def describe_source(source: Source) -> Description:
    """Return what is in a source, and what to remark on."""
    found = _look(source)
    split = len(found.facts) - len(source.labels)
    features, labels = found.facts[:split], found.facts[split:]
    n, columns = source.num_rows, tuple(f.column for f in features)
    classes, on_label = _classes(source, labels)
    remarks = cell_remarks(features, labels, n, found.num_complete, source.places)
    if source.image_shape is None:
        remarks += column_remarks(
            features, n, leave_out=source.leave_out, from_file=source.from_file, labelled=bool(labels)
        )
    remarks += [*on_label, *balance_remarks(classes or {}), *duplicate_remarks(n, found.num_duplicates, found.match)]
    return Description(
        source.name,
        n,
        columns,
        labels=tuple(f.column for f in labels),
        classes=classes,
        num_complete=found.num_complete,
        num_duplicates=found.num_duplicates,
        image_shape=source.image_shape,
        pixels=_pixels(columns) if source.image_shape else None,
        remarks=tuple(remarks),
    )


class Look(NamedTuple):
    """All columns looked at, and their rows.

    Attributes:
      facts: of each column; only the last, which may be the label, has kept its arrays.
      num_complete, num_duplicates: as in `Description`.
      match: for each column, the share of equal ones among all pairs of its cells.
    """

    facts: list[Facts]
    num_complete: int
    num_duplicates: int | None
    match: list[float]


def _look(source: Source) -> Look:
    """Look at one column after the other, each a short while in memory."""
    n = source.num_rows
    complete, rows, comparable = np.ones(n, bool), np.zeros(n, np.uint64), True
    facts, match = [], []
    columns = itertools.chain(
        ((name, values, source.spelled) for name, values in source.features),
        ((name, values, True) for name, values in source.labels),  # read takes numbers spelled in words for labels
    )
    for name, values, spelled in columns:
        if facts:
            facts[-1] = facts[-1]._replace(present=None, keys=None, values=(), counts=())
        f = facts_of(name, values, spelled=spelled)
        facts.append(f)
        if f.present is not None:
            complete &= f.present
        if f.keys is None:
            comparable = False
            continue
        rows = _hashed(rows, f.keys)
        cells = np.append(f.counts, f.column.missing).astype(float)
        match.append(float(cells @ (cells - 1)) / max(1, n * (n - 1)))
    rows.sort()
    duplicates = int(np.count_nonzero(rows[1:] == rows[:-1])) if comparable and facts else None
    return Look(facts, int(complete.sum()), duplicates, match)


def _hashed(rows: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """Return the hash of each row with one more cell in it: a multiplication, and high bits mixed into low ones.

    Two different rows of 1e6 agree with probability 3e-8.

    References:
      G. Steele, D. Lea and C. Flood, Fast Splittable Pseudorandom Number Generators (2014), section 4.
    """
    mixed = (rows + np.uint64(0x9E37_79B9_7F4A_7C15)) ^ keys  # so that a cell of bits 0 counts too
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58_476D_1CE4_E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D0_49BB_1331_11EB)
    return mixed ^ (mixed >> np.uint64(31))


def _classes(source: Source, labels: Sequence[Facts]) -> tuple[dict[str, int] | None, list[str]]:
    """Return how many examples each class has, and what to say about the label."""
    if source.class_names is not None:
        counts = dict(zip(labels[0].values.tolist(), labels[0].counts.tolist(), strict=True))
        return {name: counts.get(k, 0) for k, name in enumerate(source.class_names)}, []
    if len(labels) != 1 or not source.from_file:
        return None, []
    return classes_of(labels[0])


def _pixels(columns: Sequence[Column]) -> Column:
    """Return all pixels as one column: the variance of all is the mean of variances and the variance of means."""
    means, deviations = np.array([[c.mean, c.deviation] for c in columns], np.float64).T
    return Column(
        "pixels",
        "number",
        columns[0].type,
        minimum=min(c.minimum for c in columns if c.minimum is not None),
        mean=float(means.mean()),
        deviation=float(np.sqrt(np.mean(deviations**2) + means.var())),
        maximum=max(c.maximum for c in columns if c.maximum is not None),
    )
