"""The labels of a file become classes 0..K-1: numbers as they are, words in sorted order; nothing is guessed."""

import warnings
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import numpy as np

from jaxnn._checks import check_integer
from jaxnn._errors import ConfigError, LabelError, brief, suggest
from jaxnn.data._files.raw import MISSING, WHO, Distinct

KINDS = ("index", "names", "pm1")
BOOLEANS = ["false", "true"]
Fault = Callable[[int, str, str], LabelError]  # from the number of a value, the rule and the hint


class Classes(NamedTuple):
    """Labels `int32[N]` in [0, K), their number K, their names or None, and how the file spells them."""

    y: np.ndarray
    num_classes: int
    names: tuple[str, ...] | None
    kind: str


def as_classes(
    found: Distinct, *, labels: str, num_classes: int | None, class_names: Any, column: str, where: Callable[[int], str]
) -> Classes:
    """Return the classes of the labels found; raise `LabelError` for the first value that is no label.

    Text that reads as a number is a number, in every format, unless labels="names".
    """
    names = _given_names(class_names, num_classes)
    counts = np.bincount(found.codes, minlength=len(found.values))
    values = {i: found.values[i] for i in np.flatnonzero(counts).tolist()}  # a categorical may list more than occur
    numbers = {i: number_of(value) for i, value in values.items()}

    def fault(i: int, rule: str, hint: str) -> LabelError:
        place = where(int(np.argmax(found.codes == i)))
        return LabelError(f"{WHO}: {rule}; got {brief(values[i])} in {column!r} at {place}; {hint}")

    words = dict(zip(values, words_of(values.values(), names), strict=True))
    for i, text in words.items():
        if values[i] is None or values[i] != values[i]:  # NaN, which only text can mean as a name
            raise fault(i, "every example has a label", "drop the row")
        if text.strip() == "" or (labels != "names" and text.strip().lower() in MISSING):
            raise fault(i, "every example has a label", "drop the row, or if it names a class pass labels='names'")
        if "\n" in text or "\r" in text:
            raise fault(i, "a class name is one line", "a quotation mark is probably never closed")
    if labels == "pm1":
        codes, count, kind = _signs(numbers, fault), _count(2, num_classes, "labels under 'pm1'", column), "pm1"
    elif labels == "names" or all(number is None for number in numbers.values()):
        if names is None:
            _warn_of_lookalikes(set(words.values()), column)
        codes, names = _words(words, numbers, names, fault)
        count, kind = _count(len(names), num_classes, "distinct names", column), "names"
    else:
        codes, count = _whole(numbers, len(names) if names is not None else num_classes, column, fault)
        kind = "index"
    code_of = np.zeros(len(found.values), np.int32)
    code_of[list(codes)] = list(codes.values())
    return Classes(code_of[found.codes], count, names, kind)


def _signs(numbers: dict[int, Any], fault: Fault) -> dict[int, int]:
    """Return 0 for -1 and 1 for +1."""
    for i, number in numbers.items():
        if number not in (-1, 1):
            raise fault(i, "labels='pm1' are exactly -1 and +1", "use labels='index' for 0..K-1, or 'names'")
    return {i: int(number == 1) for i, number in numbers.items()}


def _words(
    texts: dict[int, str], numbers: dict[int, Any], names: tuple[str, ...] | None, fault: Fault
) -> tuple[dict[int, int], tuple[str, ...]]:
    """Return the place of every word among the names; by default the words sorted, as numbers if all of them are."""
    if names is None:
        number_of = {texts[i]: number for i, number in numbers.items()}
        ordered = None not in number_of.values()  # so that "10" comes after "9"
        names = tuple(sorted(number_of, key=lambda text: (number_of[text] if ordered else 0, text)))
    index = {name: k for k, name in enumerate(names)}
    for i, text in texts.items():
        if text not in index:
            hint = f"{suggest(text, names)}; without class_names= and like= the names are taken from the file"
            raise fault(i, f"labels are among the {len(names)} class_names", hint)
    return {i: index[text] for i, text in texts.items()}, names


def _whole(numbers: dict[int, Any], count: int | None, column: str, fault: Fault) -> tuple[dict[int, int], int]:
    """Return labels that are whole numbers in [0, K), and K: as given, or from labels that leave no gap."""
    whole: dict[int, int] = {}
    for i, number in numbers.items():
        if number is None:
            raise fault(i, "labels are all numbers or all words", "repair it, or pass labels='names' to make all words")
        if number in (np.inf, -np.inf) or number != int(number):
            hint = "for real targets pass regression=True; if every value names a class, labels='names'"
            raise fault(i, "labels are whole numbers 0..K-1", hint)
        whole[i] = int(number)
    count = _complete(sorted(set(whole.values())), column) if count is None else count
    for i, k in whole.items():
        if not 0 <= k < count:
            raise fault(i, f"labels lie in [0, {count})", "raise num_classes, or pass labels='names' to number them")
    return whole, count


def _complete(distinct: list[int], column: str) -> int:
    """Return K if the labels are exactly 0..K-1, K >= 2; else say which option fits what they are."""
    count, low, high = len(distinct), distinct[0], distinct[-1]
    if count >= 2 and (low, high) == (0, count - 1):
        return count
    if distinct == [-1, 1]:
        hint = "for -1 and +1 pass labels='pm1'"
    elif count >= 2 and low == 1 and high == count:
        hint = f"for labels 1..{high} pass labels='names', which makes every distinct value a class"
    else:
        hint = (
            "pass num_classes=K if some classes do not occur in this file, labels='names' if every distinct value "
            "names a class, regression=True if they are quantities"
        )
    raise LabelError(
        f"{WHO}: labels are 0..K-1 without a gap, K >= 2; got {count} distinct from {low} to {high} in {column!r}; "
        f"{hint}"
    )


def _given_names(class_names: Any, num_classes: Any) -> tuple[str, ...] | None:
    """Return class_names as a tuple, checked together with num_classes."""
    if num_classes is not None:
        check_integer(WHO, "num_classes", num_classes, at_least=2, at_most=2**31 - 1)
    if class_names is None:
        return None
    is_sequence = isinstance(class_names, Iterable) and not isinstance(class_names, str)
    names = tuple(str(name) for name in class_names) if is_sequence else ()
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConfigError(
            f"{WHO}: class_names are two different words or more; got class_names={brief(class_names)}; "
            "pass a sequence, such as train.schema.class_names"
        )
    _count(len(names), num_classes, "class_names", "class_names")
    return names


def _count(count: int, num_classes: int | None, what: str, column: str) -> int:
    """Return the number of classes found; raise where it is 1, or another than was given."""
    if count < 2:
        raise LabelError(
            f"{WHO}: there are at least two classes; got {count} {what} in {column!r}; "
            "pass class_names=... if the others do not occur in this file"
        )
    if num_classes not in (None, count):
        raise ConfigError(
            f"{WHO}: num_classes is the number of names; got num_classes={num_classes}, {count} {what} in {column!r}; "
            "leave num_classes out, or pass class_names=... with every class"
        )
    return count


def words_of(values: Iterable[Any], names: tuple[str, ...] | None = None) -> list[str]:
    """Return the names of the classes of values; true and false in any case are one pair of names.

    Each format writes booleans in its own way, pandas as True and False; the data are the same.
    """
    words = [word_of(value) for value in values]
    spelt = {name.lower(): name for name in names or BOOLEANS}
    if sorted(spelt) == BOOLEANS and (names is not None or all(word.lower() in spelt for word in words)):
        return [spelt.get(word.lower(), word) for word in words]
    return words


def lookalikes(words: Iterable[str]) -> list[str]:
    """Return the first words that differ only in case or in white space around them; none if there are no such."""
    alike: dict[str, list[str]] = {}
    for word in sorted(words):
        alike.setdefault(word.strip().casefold(), []).append(word)
    return next((some for some in alike.values() if len(some) > 1), [])


def _warn_of_lookalikes(words: set[str], column: str) -> None:
    alike = lookalikes(words)
    if alike:
        warnings.warn(
            f"{WHO}: class names differ in more than case and white space around them; got "
            f"{' and '.join(brief(word) for word in alike[:2])} in {column!r}; they are two classes: if they mean one, "
            "write it in one way",
            UserWarning,
            stacklevel=5,
        )


def number_of(value: Any) -> int | float | None:
    """Return the number that a value is or spells, else None, also for NaN."""
    if isinstance(value, bool) or (isinstance(value, str) and "_" in value):  # Python reads 1_0 as 10
        return None
    for convert in (int, float) if isinstance(value, str) else (lambda number: number,):
        try:
            number = convert(value)
            return number if number == number else None
        except ValueError:
            pass
    return None


def word_of(value: Any) -> str:
    """Return the name of a class: text as it stands, 2.0 as "2", booleans in small letters."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)
