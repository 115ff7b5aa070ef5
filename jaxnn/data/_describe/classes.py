"""The label column as `describe` sees it: which classes there are, and which option of `read` makes them so."""

from typing import Any

from jaxnn.data._describe.facts import Facts
from jaxnn.data._describe.wording import count, listed, number, percent, quoted
from jaxnn.data._files.labels import lookalikes, number_of, word_of, words_of

FEW = 20  # different numbers that may well be classes, whole or not


def classes_of(label: Facts) -> tuple[dict[str, int] | None, list[str]]:
    """Return how many examples each class has, None if the label is no class, and what `read` would say."""
    column, counts = label.column, [int(n) for n in label.counts]
    values = label.values.tolist() if column.kind == "number" else list(label.values)
    what = f"the label {quoted(column.name)}"
    if column.distinct is None or not values:
        return None, [f"{what} holds no classes ({column.type}); choose another column with label=..."]
    if column.kind == "number":
        return _numbers(what, column, values, counts)

    numbers = [number_of(value) for value in values]
    ordered = None not in numbers  # categories of numbers: "10" comes after "9"
    words = words_of(values)
    order = sorted(range(len(values)), key=lambda i: (numbers[i] if ordered else 0, words[i]))
    classes: dict[str, int] = {}
    for i in order:  # a dictionary may hold a word twice
        classes[words[i]] = classes.get(words[i], 0) + counts[i]
    mixed = not ordered and any(one is not None for one in numbers)
    if len(classes) < 2:
        return classes, [_one_class(what, values)]
    if mixed and label.strays is None:
        some = next(value for value, one in zip(values, numbers, strict=True) if one is not None)
        return classes, [
            f"{what} holds words and numbers such as {quoted(str(some))}; pass labels='names' to make all words"
        ]
    alike = lookalikes(classes)
    if alike:
        return classes, [
            f"{what} has classes that differ only in case or in white space around them: "
            f"{listed([quoted(word) for word in alike])}; if they mean one, write it in one way"
        ]
    return classes, []


def _numbers(what: str, column: Any, values: list[Any], counts: list[int]) -> tuple[dict[str, int] | None, list[str]]:
    """Return the same for a label of numbers, given its distinct values in order."""
    low, high, k = values[0], values[-1], len(values)
    whole = not column.infinite and all(value == int(value) for value in values)
    if k > FEW and (not whole or k > sum(counts) / 10):
        span = f"{k:,} different numbers from {number(low)} to {number(high)}"
        return None, [f"{what} looks like a quantity, no class: {span}; pass regression=True"]
    classes = {word_of(value): n for value, n in zip(values, counts, strict=True)}
    if k < 2:
        return classes, [_one_class(what, values)]
    if not whole:
        some = listed([number(value) for value in values if value in (low, high) or value != int(value)], 3)
        advice = "pass labels='names' if each names a class, regression=True if they are quantities"
        return classes, [f"{what} is not always a whole number: {some}; {advice}"]
    if (low, high) == (0, k - 1):
        return classes, []
    if values == [-1, 1]:
        return classes, [f"{what} is -1 or 1; pass labels='pm1' to make them classes 0 and 1"]
    if (low, high) == (1, k):
        return classes, [f"{what} counts from 1 to {k}, classes from 0; pass labels='names' to renumber them"]
    absent = f", num_classes={int(high) + 1} or more if the others only do not occur here" if low >= 0 else ""
    return classes, [
        f"{what} has {k} different whole numbers from {number(low)} to {number(high)}, not 0 to {k - 1}; "
        f"pass labels='names' to renumber them{absent}"
    ]


def _one_class(what: str, values: list[Any]) -> str:
    return f"{what} is always {quoted(word_of(values[0]))}: nothing to tell apart; choose another column, or more data"


def balance_remarks(classes: dict[str, int]) -> list[str]:
    """Return what to say about classes without examples, with one, or with far fewer than others."""
    if len(classes) < 2:
        return []
    found = []
    absent = [quoted(name) for name, n in classes.items() if n == 0]
    if absent:
        some = f"no example is of class {listed(absent)}"
        found.append(f"{some}; it cannot be learnt or tested here")
    singles = [quoted(name) for name, n in classes.items() if n == 1]
    if len(singles) > len(classes) / 2:
        some = "all" if len(singles) == len(classes) else f"{len(singles):,} of"
        found.append(f"{some} {len(classes):,} classes have one example; is it the right label?")
    elif singles:
        verb = "has" if len(singles) == 1 else "have"
        found.append(
            f"{listed(singles)} {verb} one example, which cannot be in both a training and a test part; "
            "collect more, or merge classes"
        )
    held = {name: n for name, n in classes.items() if n}
    if held and 10 * min(held.values()) < max(held.values()):
        few, many = min(held, key=held.__getitem__), max(held, key=held.__getitem__)
        found.append(
            f"classes are unequal: {count(held[few], 'example')} of {quoted(few)}, {held[many]:,} of {quoted(many)}. "
            f"Always answering {quoted(many)} is right for {percent(held[many], sum(held.values()))}: compare accuracy "
            "with that, and weight the classes with data.class_weights"
        )
    return found
