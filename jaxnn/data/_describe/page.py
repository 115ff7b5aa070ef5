"""A `Description` as a page of plain text, at most 100 characters wide."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from jaxnn.data._describe.wording import brief, count, number, percent, quoted

if TYPE_CHECKING:  # the records print themselves with this file
    from jaxnn.data._describe.description import Column, Description

WIDTH = 100
MOST_ROWS, FIRST_ROWS = 40, 12  # a table of more columns shows the first dozen, and those that a remark names
MOST_CLASSES, FIRST_CLASSES = 20, 12
NAME_WIDTH, NUMBER_WIDTH, BAR_WIDTH = 26, 11, 30


def page(found: Description) -> str:
    """Return the text: a heading, the features, the classes or real targets, the remarks."""
    return "\n\n".join([_heading(found), *_features(found), *_labels(found), *_remarks(found)])


def _heading(found: Description) -> str:
    incomplete = found.num_examples - found.num_complete
    gaps = f" ({incomplete:,} with missing values)" if incomplete else ""
    if found.image_shape:
        height, width = found.image_shape
        facts = [f"{count(found.num_examples, 'image')} of {height}x{width} pixels{gaps}"]
    else:
        facts = [count(found.num_examples, "example") + gaps, count(len(found.columns), "feature")]
    if found.classes is not None:
        facts.append(count(len(found.classes), "class", "classes"))
    elif found.labels:
        facts.append(f"{count(len(found.labels), 'real target')}")
    else:
        facts.append("no label given")
    return "\n".join(textwrap.wrap(f"{brief(found.name, 60)}: {', '.join(facts)}", WIDTH))


def _features(found: Description) -> Iterator[str]:
    if found.pixels is not None:
        p, constant = found.pixels, sum(column.constant for column in found.columns)
        yield (
            f"pixels: {number(p.minimum)} to {number(p.maximum)}, mean {number(p.mean)}, "
            f"deviation {number(p.deviation)}\nconstant pixels: {constant:,} of {len(found.columns):,}"
        )
        return
    shown = list(found.columns)
    if len(shown) > MOST_ROWS:
        text = "\n".join(found.remarks)
        shown = [column for i, column in enumerate(shown) if i < FIRST_ROWS or quoted(column.name) in text][:MOST_ROWS]
    left = len(found.columns) - len(shown)
    if shown:
        yield "\n".join([*_table("feature", shown), *([f"... and {left:,} more"] if left else [])])


def _labels(found: Description) -> Iterator[str]:
    """Yield the classes with their counts, or the table of the real targets."""
    if found.classes is None:
        if found.labels:
            yield "\n".join(_table("target", found.labels[:FIRST_ROWS]))
        return
    classes = list(found.classes.items())
    shown = classes if len(classes) <= MOST_CLASSES else classes[:FIRST_CLASSES]
    total, largest = max(1, sum(found.classes.values())), max(1, *found.classes.values())
    title = brief(found.labels[0].name, NAME_WIDTH)
    width = max(len(title), *(len(_class(name)) for name, _ in shown))
    lines = [f"{title:<{width}}  {'examples':>10}{'share':>9}"]
    for name, n in shown:
        bar = "#" * round(BAR_WIDTH * n / largest)
        lines.append(f"{_class(name):<{width}}  {n:>10,}{percent(n, total):>9}  {bar}".rstrip())
    if len(shown) < len(classes):
        rest = [n for _, n in classes[len(shown) :]]
        lines.append(f"... and {len(rest):,} more, of {min(rest):,} to {count(max(rest), 'example')}")
    yield "\n".join(lines)


def _table(title: str, columns: Sequence[Column]) -> list[str]:
    """Return a line of headings and one line a column: its numbers, or the values most common in it."""
    width = max(len(title), *(len(_name(column)) for column in columns))
    heads = "".join(f"{head:>{NUMBER_WIDTH}}" for head in ("min", "mean", "deviation", "max"))
    lines = [f"{title:<{width}}  {'kind':<8}{'missing':>9}{'distinct':>10}{heads}"]
    for c in columns:
        distinct = "-" if c.distinct is None else f"{c.distinct:,}"
        line = f"{_name(c):<{width}}  {c.kind:<8}{c.missing:>9,}{distinct:>10}"
        if c.kind == "number":
            line += "".join(f"{number(v):>{NUMBER_WIDTH}}" for v in (c.minimum, c.mean, c.deviation, c.maximum))
        else:
            line += _common(c, len(lines[0]) - len(line))
        lines.append(line.rstrip())
    return lines


def _class(name: str) -> str:
    """Return the name of a class, in quotation marks where it has white space around it."""
    return brief(name, NAME_WIDTH) if name == name.strip() else f"'{brief(name, NAME_WIDTH - 2)}'"


def _name(column: Column) -> str:
    return brief(column.name, NAME_WIDTH) or "(no name)"


def _common(column: Column, room: int) -> str:
    """Return the most common values with their counts, as many as there is room for; the type where there are none."""
    if not column.common:
        return f"    ({brief(column.type, room - 6)})"
    if column.common[0][1] == 1:
        return f"    each once, such as {brief(column.common[0][0], room - 23)}"
    text, left = "   ", column.distinct or 0
    for word, n in column.common:
        one = f" {brief(word, 20)}: {n:,}" + ("," if left > 1 else "")
        if len(text) + len(one) + len(f" {left - 1:,} more") > room:
            break
        text, left = text + one, left - 1
    return text + (f" {left:,} more" if left else "")


def _remarks(found: Description) -> Iterator[str]:
    if found.remarks:
        wrapped = [textwrap.fill(one, WIDTH, initial_indent="- ", subsequent_indent="  ") for one in found.remarks]
        yield "\n".join(["remarks", *wrapped])
