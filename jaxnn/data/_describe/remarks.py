"""What `describe` remarks: each thing that `read` or training would trip over, and what to do about it."""

import math
from collections.abc import Callable, Sequence

import numpy as np

from jaxnn.data._describe.description import Column
from jaxnn.data._describe.facts import Facts
from jaxnn.data._describe.wording import count, listed, number, percent, quoted
from jaxnn.data._files.columns import UNNAMED

Places = Callable[[list[int]], dict[int, str]]  # from rows to what a file calls them, such as "line 7"
LARGEST = float(np.finfo(np.float32).max)
UNLIKE = 100  # deviations so many times apart make ascent slow
BEYOND_CHANCE = 10  # times as many equal rows as chance makes are copies
COARSE = 10  # steps of float32 to a deviation at least


def cell_remarks(
    features: Sequence[Facts], labels: Sequence[Facts], num_rows: int, num_complete: int, places: Places
) -> list[str]:
    """Return remarks on cells that `read` refuses: missing ones, stray words, infinities."""
    found = []
    columns = [f.column for f in (*features, *labels)]
    gaps = sorted((c for c in columns if 0 < c.missing < num_rows), key=lambda c: -c.missing)
    if gaps:
        some = listed([f"{quoted(c.name)} {c.missing:,} ({percent(c.missing, num_rows)})" for c in gaps])
        if num_complete:
            advice = f"{num_complete:,} of {num_rows:,} examples are complete. read refuses the others: fill the values"
            advice += ", or drop the rows"
        else:
            advice = "no example is complete, and read refuses gaps: fill the values, or leave out columns"
        found.append(f"missing values: {some}; {advice}")
    empty = [quoted(c.name) for c in columns if c.missing == num_rows]
    if empty:
        found.append(f"no value at all: {listed(empty)}; leave such columns out")

    place = places([row for f in (*features, *labels) if f.strays for _, row in f.strays.found])
    found += [_on_strays(f, place, ", or pass labels='names' to make all words") for f in labels if f.strays]
    found += [_on_strays(f, place, "") for f in features if f.strays]
    infinite = [f"{quoted(c.name)} {c.infinite:,}" for c in columns if c.infinite]
    if infinite:
        found.append(f"infinite values: {listed(infinite)}; read refuses them: repair the cells, or drop the rows")
    return found


def _on_strays(facts: Facts, place: dict[int, str], otherwise: str) -> str:
    assert facts.strays is not None
    name, (of, cells, strays, commas) = quoted(facts.column.name), facts.strays
    some = ", ".join(f"{quoted(word)} ({place[row]})" for word, row in strays)
    which = f"{count(cells, 'cell')}{':' if cells == len(strays) else ' such as'} {some}"
    if commas:
        return f"{name} has decimal commas in {which}; write 12.5, not 12,5"
    if cells:
        return f"{name} is {of} but for {which}; repair {'it' if cells == 1 else 'them'}{otherwise}"
    return f"{name} is text, though every cell spells a number; write it as numbers"


def column_remarks(
    features: Sequence[Facts], num_rows: int, *, leave_out: str, from_file: bool, labelled: bool
) -> list[str]:
    """Return remarks on whole columns: text, dates, row numbers, constants, numbers float32 cannot keep, scales."""
    found = []
    columns = [f.column for f in features]
    words = [f.column for f in features if f.column.kind == "text" and not f.strays and f.column.distinct]
    if words:
        label = "" if labelled else ", though one can be the label"
        found.append(
            f"text: {listed([_with_words(c) for c in words])}; read refuses text as a feature{label}. Give each of a "
            f"few words a column of 0 and 1, or {leave_out}"
        )
    others = [f"{quoted(c.name)} ({c.type})" for c in columns if c.kind == "other" and c.missing < num_rows]
    if others:
        found.append(f"no numbers: {listed(others)}; read refuses them: turn them into numbers, or {leave_out}")
    found += _name_remarks(features, leave_out, from_file)
    constants = [quoted(c.name) for c in columns if c.constant and num_rows - c.missing > 1]
    if constants:
        found.append(f"always the same value: {listed(constants)}; nothing can be learnt from that: {leave_out}")
    if from_file:
        found += _float32_remarks(columns)
    return found + _scale_remarks([f.column for f in features if not f.row_number])


def duplicate_remarks(num_rows: int, num_duplicates: int | None, match: Sequence[float]) -> list[str]:
    """Return a remark on repeated rows, unless rows of such columns repeat by chance.

    From the share of equal pairs of cells in each column follows how many pairs of rows would be equal if columns knew
    nothing of each other.
    """
    by_chance = num_rows * (num_rows - 1) / 2 * math.prod(match)
    if not num_duplicates or num_duplicates < BEYOND_CHANCE * by_chance:
        return []
    rows = "1 example repeats" if num_duplicates == 1 else f"{num_duplicates:,} examples repeat"
    return [f"{rows} an earlier one; drop copies, or one may train and another test, which flatters the score"]


def _with_words(column: Column) -> str:
    """Return the name of a column and its words, if they are few."""
    if (column.distinct or 0) <= len(column.common):
        return f"{quoted(column.name)} ({', '.join(sorted(quoted(word) for word, _ in column.common))})"
    return f"{quoted(column.name)} ({column.distinct:,} different)"


def _name_remarks(features: Sequence[Facts], leave_out: str, from_file: bool) -> list[str]:
    """Return remarks on columns without a name of their own, of one name, and on row numbers."""
    found = []
    names = [f.column.name for f in features]
    unnamed = [i for i, name in enumerate(names) if name in UNNAMED] if from_file else []
    if unnamed:
        found.append(
            f"{listed([f'column {i}' for i in unnamed])} without a name, as pandas writes row numbers; read refuses "
            f"that: write the file with index=False, or {leave_out}"
        )
    repeated = sorted({quoted(name) for i, name in enumerate(names) if name in names[:i]}) if from_file else []
    if repeated:
        found.append(f"more than one column of a name: {listed(repeated)}; read refuses that: rename them")
    counting = [quoted(f.column.name) for i, f in enumerate(features) if f.row_number and i not in unnamed]
    if counting:
        found.append(f"row numbers, it seems: {listed(counting)}; they say nothing of a new example: {leave_out}")
    return found


def _float32_remarks(columns: Sequence[Column]) -> list[str]:
    """Return remarks on numbers that float32, in which `read` keeps them, cannot hold or tell apart."""
    found = []
    beyond, coarse = [], []
    for c in columns:
        if c.minimum is None or c.maximum is None or c.deviation is None:
            continue
        top = max(abs(c.minimum), abs(c.maximum))
        if top > LARGEST:
            beyond.append(f"{quoted(c.name)} up to {number(top)}")
        elif 0 < c.deviation < COARSE * (step := 2.0 ** (math.frexp(top)[1] - 24)):  # of float32 at top
            coarse.append(f"{quoted(c.name)}, near {number(top)}, in steps of {number(step)}")
    if beyond:
        found.append(f"beyond float32: {listed(beyond)}; read refuses them: divide the column")
    if coarse:
        found.append(f"too fine for float32, which keeps {listed(coarse)}; subtract the mean of the column in the file")
    return found


def _scale_remarks(columns: Sequence[Column]) -> list[str]:
    """Return a remark on columns whose deviations lie far apart."""
    spread = [(c.deviation, c.name) for c in columns if c.deviation and math.isfinite(c.deviation)]
    (low, narrow), (high, wide) = min(spread, default=(1.0, "")), max(spread, default=(1.0, ""))
    if high < UNLIKE * low:
        return []
    return [
        f"scales differ: deviation {number(low)} of {quoted(narrow)}, {number(high)} of {quoted(wide)}; ascent is far "
        "faster after data.standardise"
    ]
