"""What one column holds, looked at once: numbers by NumPy, everything else as codes of its distinct values.

Numbers take one path whatever file they come from, so that the same data give the same description. One sort gives the
distinct values, both ends and the infinities; it is twenty times as fast as counting with a hash table (1e6 floats:
15 ms against 290 ms of `pyarrow.compute.count_distinct`).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxnn.data._describe.description import Column, Kind
from jaxnn.data._files.arrow import is_text, pyarrow
from jaxnn.data._files.csv_lines import BOOLEANS, is_number
from jaxnn.data._files.labels import word_of
from jaxnn.data._files.raw import MISSING

MISSING_KEY = np.uint64(0x7FF8_0BAD_0BAD_0BAD)  # the key of a missing cell: the bits of one NaN, so of no number
FEWEST_ROWS = 5  # so many whole numbers in a row are row numbers, not chance
MOST_COMMON = 5
STRAYS_NAMED = 3
SAMPLE = 1000  # words that are tried before all of them are


class Strays(NamedTuple):
    """The cells that make text of a column of numbers or booleans.

    Attributes:
      of: "numbers" or "booleans", what the other cells are.
      cells: how many.
      found: the first few different ones, each with its row.
      commas: whether each would be a number with a point for its comma.
    """

    of: str
    cells: int
    found: list[tuple[str, int]]
    commas: bool


class Facts(NamedTuple):
    """A column and what remarks, classes and whole rows need to know of it besides.

    Attributes:
      column: what is shown.
      present: `bool[N]`, which cells have a value; None for all.
      keys: `uint64[N]`, equal where cells are; None where they cannot be compared.
      values, counts: the distinct values, sorted if numbers, and how often each occurs.
      row_number: whether it looks like one.
      strays: see there; None if there are none, or if too many.
    """

    column: Column
    present: np.ndarray | None
    keys: np.ndarray | None
    values: Any = ()
    counts: Any = ()
    row_number: bool = False
    strays: Strays | None = None


def facts_of(name: str, values: Any, *, spelled: bool = False) -> Facts:
    """Return the facts of a column, a NumPy array `[N]` or a `pyarrow.ChunkedArray`; N >= 1.

    With spelled, text is read as in a CSV file: words such as NA are missing cells, and if all others spell numbers the
    column is one of numbers.
    """
    if not isinstance(values, np.ndarray):
        return _arrow_facts(name, values, spelled)
    if values.dtype.kind in "iuf":
        return number_facts(name, values, None, str(values.dtype))
    words, codes = np.unique(values, return_inverse=True)
    kind: Kind = "boolean" if values.dtype.kind == "b" else "text" if values.dtype.kind == "U" else "other"
    return _word_facts(name, codes, words.tolist(), kind, str(values.dtype), spelled)


def number_facts(name: str, values: np.ndarray, present: np.ndarray | None, type_name: str) -> Facts:
    """Return the facts of numbers; NaN is a missing value, as it is in a CSV file."""
    real = values.dtype.kind == "f"
    if real:
        values = values.astype(np.float64, copy=False)
        absent = np.isnan(values)
        if absent.any():
            present = ~absent if present is None else present & ~absent
    ordered = np.sort(values if present is None else values[present])
    first = np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])
    finite = ordered
    if real:
        finite = ordered[np.searchsorted(ordered, -np.inf, "right") : np.searchsorted(ordered, np.inf, "left")]
    low, mean, deviation, high = _moments(finite)
    column = Column(
        name,
        "number",
        type_name,
        missing=len(values) - len(ordered),
        distinct=len(first),
        minimum=low,
        mean=mean,
        deviation=deviation,
        maximum=high,
        infinite=len(ordered) - len(finite),
    )
    # + 0.0 makes one zero of two; the bits of a whole number and of a real one need not agree: a column has one type.
    keys = (values + 0.0).view(np.uint64) if real else values.astype(np.int64).view(np.uint64)
    if present is not None:
        keys = np.where(present, keys, MISSING_KEY)
    counts = np.diff(np.append(first, len(ordered)))
    return Facts(column, present, keys, ordered[first], counts, _counts_rows(values, column))


def _moments(finite: np.ndarray) -> tuple[Any, ...]:
    """Return minimum, mean, deviation and maximum of sorted finite numbers, None for each if there are none."""
    if not len(finite):
        return None, None, None, None
    low, high = finite[0].item(), finite[-1].item()
    if low == high:  # exact, where sums would be rounded
        return low, float(low), 0.0, high
    with np.errstate(over="ignore", invalid="ignore"):
        mean = np.mean(finite, dtype=np.float64)
        deviation = np.sqrt(np.mean((finite - mean) ** 2))
    return low, float(mean), float(deviation), high


def _counts_rows(values: np.ndarray, column: Column) -> bool:
    """Return whether values are whole, all different, and 1, 2, 3... in any order, or in order with some left out."""
    n, low, high = len(values), column.minimum, column.maximum
    if column.distinct != n or n < FEWEST_ROWS or column.infinite or low is None or high is None:
        return False
    if values.dtype.kind == "f" and not (values == np.floor(values)).all():
        return False
    span = int(high) - int(low)
    return span == n - 1 or (span < 2 * n and bool((values[1:] > values[:-1]).all()))


def _arrow_facts(name: str, column: Any, spelled: bool) -> Facts:
    """Return the facts of a column of a table."""
    pa = pyarrow()
    types, kind = pa.types, column.type
    type_name = str(kind)
    if types.is_decimal(kind) or types.is_float16(kind):
        column = column.cast(pa.float64() if types.is_decimal(kind) else pa.float32())
        kind = column.type
    if types.is_integer(kind) or types.is_floating(kind):
        present = column.is_valid().to_numpy() if column.null_count else None
        return number_facts(name, column.fill_null(0).to_numpy(), present, type_name)
    try:
        # Encoded here, all chunks share one dictionary, and to unify them would take minutes; those of a file need it.
        whole = column.unify_dictionaries() if types.is_dictionary(kind) else column.dictionary_encode()
        chunks = [chunk for chunk in whole.chunks if len(chunk)]
        codes = np.concatenate([chunk.indices.cast(pa.int64()).fill_null(-1).to_numpy() for chunk in chunks])
        words = chunks[0].dictionary.to_pylist()
    except pa.ArrowException:  # lists, maps and what else cannot be compared
        present = column.is_valid().to_numpy() if column.null_count else None
        return Facts(Column(name, "other", type_name, missing=column.null_count), present, None)
    if types.is_dictionary(kind):
        shown = "category"
    elif types.is_boolean(kind):
        shown = "boolean"
    else:
        shown = "text" if is_text(kind) else "other"
    return _word_facts(name, codes, words, shown, type_name, spelled)


def _word_facts(name: str, codes: np.ndarray, words: list[Any], kind: Kind, type_name: str, spelled: bool) -> Facts:
    """Return the facts of a column whose cell i is `words[codes[i]]`, or missing where the code is -1."""
    absent = [i for i, word in enumerate(words) if _is_missing(word, spelled)]
    if absent:
        codes = np.where(np.isin(codes, absent), -1, codes)
    present = None if codes.min() >= 0 else codes >= 0
    counts = np.bincount(codes[codes >= 0], minlength=len(words))
    held = np.flatnonzero(counts)  # a category may list more than occur
    strays = None
    if kind == "text" or (spelled and kind == "category"):
        odd = _except(is_number, words, held)
        if spelled and len(held) and odd == []:
            table = _numbers(words, held)
            return number_facts(name, table[codes], present, str(table.dtype))
        strays = _strays(words, held, codes, counts)
    common = held[np.argsort(-counts[held], kind="stable")][:MOST_COMMON]
    column = Column(
        name,
        kind,
        type_name,
        missing=int(len(codes) - counts.sum()),
        distinct=len(held),
        common=tuple((word_of(words[i]), int(counts[i])) for i in common) if type_name != "null" else (),
    )
    keys = np.where(codes >= 0, codes.astype(np.uint64), MISSING_KEY)
    return Facts(column, present, keys, [words[i] for i in held], counts[held], False, strays)


def _is_missing(word: Any, spelled: bool) -> bool:
    return word is None or word != word or (spelled and isinstance(word, str) and word.strip().lower() in MISSING)


def _except(is_one: Callable[[str], bool], words: list[Any], held: np.ndarray) -> list[int] | None:
    """Return which words are not of a kind; None if most are not, which a sample shows of a long list."""
    odd: list[int] = []
    for some in (held[:SAMPLE], held):
        odd = [i for i in some.tolist() if not (isinstance(words[i], str) and is_one(words[i].strip()))]
        if len(odd) > max(len(some) / 2, 1):
            return None
    return odd


def _numbers(words: list[Any], held: np.ndarray) -> np.ndarray:
    """Return the number each word spells, whole if all are and fit; 0 for a word that does not occur."""
    try:
        table = np.zeros(len(words), np.int64)
        table[held] = [int(words[i]) for i in held.tolist()]
    except (ValueError, OverflowError):
        table = np.zeros(len(words))
        table[held] = [float(words[i]) for i in held.tolist()]
    return table


def _strays(words: list[Any], held: np.ndarray, codes: np.ndarray, counts: np.ndarray) -> Strays | None:
    """Return the cells for which a column is text; None if it is text indeed."""
    total = int(counts.sum())
    for of, is_one in (("numbers", is_number), ("booleans", lambda cell: cell.lower() in BOOLEANS)):
        odd = _except(is_one, words, held)
        if odd is not None and len(odd) < len(held):
            cells = int(counts[odd].sum())
            few = cells <= total / 10 or (len(odd) == 1 and total - cells >= max(2, cells))
            if few and (odd or of == "numbers"):
                commas = bool(odd) and all(_has_comma(words[i]) for i in odd)
                return Strays(of, cells, _places(odd, words, codes), commas)
    odd = _except(lambda cell: is_number(cell) or _has_comma(cell), words, held)
    if odd == [] and len(held):
        odd = [i for i in held.tolist() if _has_comma(words[i])]
        return Strays("numbers", int(counts[odd].sum()), _places(odd, words, codes), True)
    return None


def _has_comma(cell: str) -> bool:
    return "," in cell and is_number(cell.strip().replace(",", "."))


def _places(odd: list[int], words: list[Any], codes: np.ndarray) -> list[tuple[str, int]]:
    """Return the first few words in the order of the rows they first stand in, with these rows."""
    first = sorted((int(np.argmax(codes == i)), words[i]) for i in odd[:SAMPLE])
    return [(word, row) for row, word in first[:STRAYS_NAMED]]
