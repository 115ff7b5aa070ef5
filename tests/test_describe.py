"""`data.describe`: its figures against plain Python, what it remarks and when it does not, the page, what it lets in.

Oracle: Python's csv module, float() and math.fsum, which share nothing with pyarrow and NumPy. What `read` refuses is
tested in test_read.py; here, that `describe` lets it in, and that its advice makes `read` take it.
"""

import collections
import csv
import datetime
import gzip
import hashlib
import io
import json
import math
import re
import sys

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import idx

from jaxnn import data
from jaxnn._errors import ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError
from jaxnn.data._describe import csv as csv_source
from jaxnn.data._describe import facts, wording
from jaxnn.data._describe.describe import _hashed

FUZZ = settings(derandomize=True, database=None, deadline=None, max_examples=150)


def by_name(found):
    return {column.name: column for column in (*found.columns, *found.labels)}


def checked(found):
    """Return a description after what holds of every one: a page of at most 100 columns, and JSON."""
    assert max(map(len, str(found).splitlines())) <= 100
    assert all(line.isprintable() for line in str(found).splitlines())
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False))["num_examples"] == found.num_examples
    for column in (*found.columns, *found.labels):
        assert 0 <= column.missing <= found.num_examples
        assert column.distinct is None or column.distinct <= found.num_examples - column.missing
    assert 0 <= found.num_complete <= found.num_examples
    return found


# --- the figures ------------------------------------------------------------------------------------------

MISSING = {"", "na", "n/a", "#n/a", "#na", "nan", "-nan", "null", "?"}


def plain(path, label):
    """Return the figures of every column by name, the number of rows, complete ones and duplicates."""
    with path.open(newline="") as file:
        head, *rows = list(csv.reader(file))
    rows = [tuple(None if cell.strip().lower() in MISSING else cell for cell in row) for row in rows]
    columns = {}
    for j, name in enumerate(head):
        cells = [row[j] for row in rows if row[j] is not None]
        try:
            numbers = [float(cell) for cell in cells]
        except ValueError:
            numbers = None
        facts = {"missing": len(rows) - len(cells), "distinct": len(set(cells))}
        if numbers is not None and numbers:
            finite = [x for x in numbers if math.isfinite(x)]
            mean = math.fsum(finite) / len(finite)
            facts |= {"kind": "number", "distinct": len(set(numbers)), "infinite": len(numbers) - len(finite)}
            facts |= {"minimum": min(finite), "maximum": max(finite), "mean": mean}
            facts |= {"deviation": math.sqrt(math.fsum((x - mean) ** 2 for x in finite) / len(finite))}
        else:
            booleans = {cell.lower() for cell in cells} <= {"true", "false"}
            facts |= {"kind": "boolean" if booleans and name != label else "text"}
            spelled = [cell.lower() if booleans and name != label else cell for cell in cells]
            facts |= {"distinct": len(set(spelled)), "most": max(collections.Counter(spelled).values())}
        columns[name] = facts
    complete = sum(None not in row for row in rows)
    return columns, len(rows), complete, len(rows) - len(set(rows))


def mixed_csv(seed, n=400):
    """Return a CSV of every kind of column with holes in it."""
    rng = np.random.default_rng(seed)
    holes = ["", "NA", "n/a", "NaN", "-nan", "NULL", "?", "#N/A", "nA"]

    def spoilt(cells, share):
        return [rng.choice(holes) if rng.random() < share else cell for cell in cells]

    columns = {
        "whole": rng.integers(-9, 9, n),
        "holed": spoilt(rng.integers(10**6, 10**9, n), 0.2),
        "real": spoilt(rng.normal(100, 3, n).round(3), 0.1),
        "infinite": [rng.choice(["inf", "-inf", "1.5", "2"]) for _ in range(n)],
        "word": spoilt(rng.choice(["red", "green", "blå"], n), 0.1),
        "flag": spoilt(rng.choice(["true", "False", "TRUE"], n), 0.1),
        "only": [7] * n,
        "key": [f"k{i}" for i in rng.integers(0, 99, n)],
        "y": spoilt(rng.choice(["no", "yes", "maybe"], n, p=[0.5, 0.3, 0.2]), 0.02),
    }
    rows = list(zip(*columns.values(), strict=True))
    rows[5] = rows[6] = rows[7]
    return "\n".join([",".join(columns), *(",".join(map(str, row)) for row in rows)]) + "\n"


@pytest.mark.parametrize("seed", range(4))
def test_the_figures_of_a_csv_are_those_of_plain_python(put, seed):
    path = put("t.csv", mixed_csv(seed))
    found = checked(data.describe(path, label="y"))
    columns, rows, complete, duplicates = plain(path, "y")
    assert (found.num_examples, found.num_complete, found.num_duplicates) == (rows, complete, duplicates)
    assert [c.name for c in found.columns] == list(columns)[:-1] and [c.name for c in found.labels] == ["y"]
    for name, column in by_name(found).items():
        want = columns[name]
        for field in ("kind", "missing", "distinct", "minimum", "maximum"):
            assert getattr(column, field) == want.get(field), (name, field)
        assert column.infinite == want.get("infinite", 0)
        assert column.constant == (want["distinct"] == 1)
        if column.kind == "number":
            scale = max(abs(want["minimum"]), abs(want["maximum"]))
            assert abs(column.mean - want["mean"]) <= 8 * 2**-53 * scale  # pairwise sums of 400 terms
            assert abs(column.deviation - want["deviation"]) <= 16 * 2**-53 * scale
        else:
            assert column.common[0][1] == want["most"] and len(column.common) == min(5, want["distinct"])


def test_the_same_table_gives_the_same_description_in_every_format(put):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(50, 3)).round(2), rng.integers(0, 3, 50)
    x[3, 1], x[4, 2], x[7] = np.nan, np.inf, x[8]
    y[7] = y[8]
    table = pa.table({f"x[:, {j}]": x[:, j] for j in range(3)} | {"y": y})
    text = ",".join(f'"x[:, {j}]"' for j in range(3)) + ",y\n"
    text += "".join(",".join(map(str, [*row, k])) + "\n" for row, k in zip(x.tolist(), y.tolist(), strict=True))
    found = [data.describe(put("t.csv", text), label="y"), data.describe(put("t.npz", {"x": x, "y": y}))]
    found += [data.describe(put(f"t.{kind}", table), label="y") for kind in ("parquet", "arrow", "feather")]
    pages = {re.sub(" out (of x|with features=.*)$", "", str(checked(one))) for one in found}
    assert len(pages) == 1
    assert found[0].columns[1].missing == 1 and found[0].columns[2].infinite == 1 and found[0].num_duplicates == 1
    assert found[0].classes == {str(k): int((y == k).sum()) for k in range(3)}


def test_statistics_are_those_of_standardise(put):
    ds = data.load("digits")
    (scaled,) = data.standardise(ds)
    found = checked(data.describe(ds))
    np.testing.assert_allclose([c.mean for c in found.columns], scaled.schema.mean, rtol=1e-13)
    scale = [c.deviation or 1.0 for c in found.columns]  # a constant column gets scale 1
    np.testing.assert_allclose(scale, scaled.schema.scale, rtol=1e-13)


def test_numbers_beyond_2_to_the_53_stay_exact_and_a_constant_has_deviation_0(put):
    table = pa.table({"a": pa.array([2**60 + 1, None, 2**60 + 3]), "u": pa.array([2**64 - 1, 5, 5], pa.uint64())})
    table = table.append_column("c", pa.array([0.1] * 3)).append_column(
        "d", pa.array(["1.25", "2.50", None]).cast(pa.decimal128(5, 2))
    )
    a, u, c, d = checked(data.describe(put("t.parquet", table))).columns
    assert (a.minimum, a.maximum, a.distinct, u.minimum, u.maximum) == (2**60 + 1, 2**60 + 3, 2, 5, 2**64 - 1)
    assert (c.mean, c.deviation) == (0.1, 0.0)
    assert (d.kind, d.minimum, d.mean, d.missing) == ("number", 1.25, 1.875, 1)


def test_all_types_of_a_parquet_file(put):
    words = ["u", "v", "u"]
    table = pa.table(
        {
            "list": [[1], [2], None],
            "day": [datetime.date(2020, 1, 1), None, None],
            "category": pa.DictionaryArray.from_arrays(pa.array([2, 0, None]), ["a", "never", "c"]),
            "nothing": pa.nulls(3),
            "on": [True, None, False],
            "half": pa.array(np.array([1.5, 2, 2], np.float16)),
            "large": pa.array(words, pa.large_string()),
        }
    )
    for kind in ("parquet", "feather"):
        table = table.drop_columns("half").append_column("half", table["half"])
        found = checked(data.describe(put(f"t.{kind}", table)))
        got = {c.name: (c.kind, c.missing, c.distinct) for c in found.columns}
        assert got == {
            "list": ("other", 1, None),
            "day": ("other", 2, 1),
            "category": ("category", 1, 2),
            "nothing": ("other", 3, 0),
            "on": ("boolean", 1, 2),
            "large": ("text", 0, 2),
            "half": ("number", 0, 2),
        }
        assert found.num_duplicates is None and found.num_complete == 0
    many = pa.chunked_array([pa.array(part).dictionary_encode() for part in (["b", "a"], ["c", "a"])])
    (column,) = data.describe(put("m.feather", pa.table({"many": many}))).columns
    assert column.common[0] == ("a", 2) and column.distinct == 3


def test_a_data_set_is_described_without_its_rows_of_weight_0():
    x = [[1.0, 2.0], [3.0, 2.0], [99.0, 99.0]]
    ds = data.dataset(x, [0, 2, 1], num_classes=3, weight=[1, 5, 0], class_names=list("abc"), name="few")
    found = checked(data.describe(ds))
    assert found.name == "few" and found.num_examples == 2 and found.classes == {"a": 1, "b": 0, "c": 1}
    assert [c.maximum for c in found.columns] == [3.0, 2.0] and found.labels[0].name == "class"
    found = checked(data.describe(data.dataset(x, [0.5, 1.5, 2.5], dtype=jnp.bfloat16)))
    assert found.classes is None and found.labels[0].mean == 1.5 and found.columns[1].kind == "number"
    found = checked(data.describe(data.dataset(x, x)))
    assert [c.name for c in found.labels] == ["y[:, 0]", "y[:, 1]"] and "2 real targets" in str(found)


def test_images(put):
    rng = np.random.default_rng(1)
    images = rng.integers(0, 256, (30, 4, 3), np.uint8)
    images[:, 0] = 0
    labels = put("l", idx((np.arange(30) % 3 + 1).astype(np.uint8)))
    path = put("t-images-idx3-ubyte", idx(images))
    found = checked(data.describe(path, label=labels))
    assert found.image_shape == (4, 3) and len(found.columns) == 12 and found.classes == {"1": 10, "2": 10, "3": 10}
    pixels = images / 255
    p = found.pixels
    assert (p.minimum, p.maximum) == (pixels.min(), pixels.max())
    np.testing.assert_allclose([p.mean, p.deviation], [pixels.mean(), pixels.std()], rtol=1e-13)
    assert "constant pixels: 3 of 12" in str(found) and str(found).count("\n") < 12
    ds = checked(data.describe(data.read(path, label=labels, labels="names")))
    assert ds.image_shape == (4, 3) and "constant pixels: 3 of 12" in str(ds)
    found = checked(data.describe(put("t.idx.gz", gzip.compress(idx(images)))))
    assert found.classes is None and found.labels == () and "no label given" in str(found)


def test_npz_without_labels_and_with_names_of_its_own(put):
    x, y = np.arange(6.0).reshape(3, 2), np.array(["b", "a", "b"])
    found = checked(data.describe(put("t.npz", {"x": x})))
    assert found.labels == () and found.classes is None
    found = checked(data.describe(put("t.npz", {"train": x, "target": y}), features="train", label="target"))
    assert found.classes == {"a": 1, "b": 2} and found.columns[0].name == "train[:, 0]"


def test_chosen_columns_and_a_label_by_position(put):
    path = put("t.csv", "a,b,c,y\n1,2,x,0\n3,4,z,1\n")
    found = checked(data.describe(path, label=-1, features=["b", 0]))
    assert [c.name for c in found.columns] == ["b", "a"] and found.labels[0].name == "y"


# --- leniency ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", [*sorted(MISSING), "Na", "NULL", "nULL", "N/A", "#Na", " na ", "  "])
def test_a_word_that_means_missing_does(put, word):
    path = put("t.csv", f"a,w,y\n1,u,0\n{word},{word},1\n2.5,v,1\n")
    a, w = checked(data.describe(path, label="y")).columns
    assert (a.kind, a.missing, a.maximum, w.kind, w.missing, w.distinct) == ("number", 1, 2.5, "text", 1, 2)


@pytest.mark.parametrize("word", ["None", "-", "missing", "nil", "0x", "1_0", "12,5", "1 2"])
def test_a_word_that_means_nothing_is_a_stray(put, word):
    column, _ = checked(data.describe(put("t.csv", f'a,y\n1,0\n"{word}",1\n2.5,1\n'))).columns
    assert (column.kind, column.missing) == ("text", 0)


def test_a_file_that_read_refuses_in_every_way_is_described_at_once(put):
    text = ",a,a,w,d,inf,y\n0,1,5,u,2020-01-01,1,yes\n1,,5,v,2020-01-02,inf,\n2,x1,5,u,,2,no\n3,4,5,,2020-01-03,3,no\n"
    found = checked(data.describe(put("t.csv", text + "4,6,5,u,2021-01-01,3,no\n"), label="y"))
    remarks = "\n".join(found.remarks)
    for said in (
        "missing values:",
        "stray|'x1'",
        "infinite values:",
        "text: 'w'",
        "date32",
        "column 0",
        "of a name: 'a'",
    ):
        assert re.search(said, remarks), said


def test_the_file_is_only_read(put):
    path = put("t.csv", mixed_csv(0))
    before = (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mtime_ns, sorted(path.parent.iterdir()))
    data.describe(path)
    assert before == (
        hashlib.sha256(path.read_bytes()).hexdigest(),
        path.stat().st_mtime_ns,
        sorted(path.parent.iterdir()),
    )


# --- remarks ----------------------------------------------------------------------------------------------


def table(**columns):
    rows = zip(*columns.values(), strict=True)
    return ",".join(columns) + "\n" + "".join(",".join(map(str, row)) + "\n" for row in rows)


N = 40
NOISE = [round(math.sin(i * i), 6) for i in range(N)]
HALF = [i % 2 for i in range(N)]


def labelled(y, **more):
    return table(**({"x": NOISE[: len(y)]} | more), y=y)


def with_cell(i, value, of=NOISE):
    return [*of[:i], value, *of[i + 1 :]]


REMARKS = [  # id, file that has it, the closest that has not, what is said
    (
        "missing",
        labelled(HALF, x=with_cell(3, "")),
        labelled(HALF, x=with_cell(3, 0)),
        r"missing values: 'x' 1 \(2\.5 %\); 39 of 40 examples are complete\. read refuses the others: fill",
    ),
    ("missing label", labelled(with_cell(0, "?", HALF)), labelled(HALF), r"missing values: 'y' 1 \(2\.5 %\)"),
    (
        "never complete",
        labelled(HALF, x=[""] * 20 + NOISE[:20], z=NOISE[:20] + [""] * 20),
        labelled(HALF, x=[""] * 19 + NOISE[:21], z=NOISE[:20] + [""] * 20),
        r"no example is complete",
    ),
    ("empty", labelled(HALF, z=[""] * N), labelled(HALF, z=[""] * 38 + [1, 2]), r"no value at all: 'z'"),
    (
        "stray",
        labelled(HALF, x=with_cell(5, "abc")),
        labelled(HALF, x=with_cell(5, "1e3")),
        r"'x' is numbers but for 1 cell: 'abc' \(line 7\); repair it$",
    ),
    (
        "few strays",
        labelled(HALF, x=with_cell(9, "b", with_cell(5, "a"))),
        labelled(HALF, x=["a", "b", "c", "d", "e", *NOISE[5:]]),
        r"'x' is numbers but for 2 cells: 'a' \(line 7\), 'b' \(line 11\); repair them$",
    ),
    (
        "one word for nothing",
        labelled(HALF, x=["unknown"] * 15 + NOISE[15:]),
        labelled(HALF, x=["unknown"] * 25 + NOISE[25:]),
        r"'x' is numbers but for 15 cells such as 'unknown' \(line 2\)",
    ),
    (
        "stray boolean",
        labelled(HALF, z=with_cell(0, "yes", ["true", "false"] * 20)),
        labelled(HALF, z=["true", "false"] * 20),
        r"'z' is booleans but for 1 cell: 'yes' \(line 2\)",
    ),
    (
        "decimal commas",
        labelled(HALF, z=[f'"{i // 2},5"' for i in range(N)]),
        labelled(HALF, z=[f"{i // 2}.5" for i in range(N)]),
        r"'z' has decimal commas in 40 cells such as '0,5' \(line 2\).*write 12\.5, not 12,5",
    ),
    (
        "infinite",
        labelled(HALF, x=with_cell(1, "-inf")),
        labelled(HALF, x=with_cell(1, 1e6)),
        r"infinite values: 'x' 1; read refuses them",
    ),
    (
        "text",
        labelled(HALF, z=["u", "v"] * 20),
        labelled(HALF, z=HALF),
        r"text: 'z' \('u', 'v'\); read refuses text as a feature\. .*features=\[\.\.\.\]",
    ),
    (
        "much text",
        labelled(HALF, z=[f"w{i}" for i in range(N)]),
        labelled(HALF, z=["u", "v"] * 20),
        r"text: 'z' \(40 different\)",
    ),
    (
        "dates",
        labelled(HALF, z=["2020-01-01", "2020-01-02"] * 20),
        labelled(HALF, z=[20200101, 20200102] * 20),
        r"no numbers: 'z' \(date32\[day\]\)",
    ),
    (
        "no name",
        labelled(HALF).replace("x", ""),
        labelled(HALF),
        r"column 0 without a name, as pandas writes row numbers.*index=False",
    ),
    ("one name", labelled(HALF, z=NOISE).replace("z", "x", 1), labelled(HALF, z=NOISE), r"column of a name: 'x'"),
    (
        "row number",
        labelled(HALF, z=range(1, N + 1)),
        labelled(HALF, z=[1, *range(1, N)]),
        r"row numbers, it seems: 'z'",
    ),
    (
        "row number with gaps",
        labelled(HALF, z=[i + i // 3 for i in range(N)]),
        labelled(HALF, z=[3 * i for i in range(N)]),
        r"row numbers, it seems: 'z'",
    ),
    (
        "row number in another order",
        labelled(HALF, z=[*range(20, N), *range(20)]),
        labelled(HALF, z=[*range(20, N), *range(19), 40]),
        r"row numbers, it seems: 'z'",
    ),
    (
        "constant",
        labelled(HALF, z=[7] * N),
        labelled(HALF, z=[7] * 39 + [8]),
        r"always the same value: 'z'.*features=\[\.\.\.\]",
    ),
    (
        "beyond float32",
        labelled(HALF, x=with_cell(0, "3.5e38")),
        labelled(HALF, x=with_cell(0, "3.4e38")),
        r"beyond float32: 'x' up to 3\.5e\+38",
    ),
    (
        "too fine",
        labelled(HALF, z=[1_700_000_000 + i % 9 for i in range(N)]),
        labelled(HALF, z=[1_700_000 + i % 9 for i in range(N)]),
        r"too fine for float32, which keeps 'z', near 1\.7e\+09, in steps of 128",
    ),
    (
        "scales",
        labelled(HALF, z=[101 * v for v in NOISE]),
        labelled(HALF, z=[99 * v for v in NOISE]),
        r"scales differ: deviation .* of 'x', .* of 'z'; .*data\.standardise",
    ),
    (
        "quantity",
        labelled([v * 3 for v in NOISE]),
        labelled(HALF),
        r"the label 'y' looks like a quantity, no class: \d+ different numbers .*regression=True",
    ),
    (
        "whole quantity",
        labelled([i * 7 % 23 * 10 for i in range(N)]),
        labelled([i % 20 for i in range(N)]),
        r"looks like a quantity, no class: 23 different numbers from 0 to 220",
    ),
    (
        "a few fractions",
        labelled([0.5 * (i % 3) for i in range(N)]),
        labelled([1.0 * (i % 3) for i in range(N)]),
        r"not always a whole number: .*0\.5.*labels='names'.*regression=True",
    ),
    (
        "-1 and +1",
        labelled([2 * k - 1 for k in HALF]),
        labelled(HALF),
        r"the label 'y' is -1 or 1; pass labels='pm1'",
    ),
    (
        "from 1",
        labelled([k + 1 for k in HALF]),
        labelled(HALF),
        r"the label 'y' counts from 1 to 2, classes from 0; pass labels='names'",
    ),
    (
        "a gap",
        labelled([3 * k for k in HALF]),
        labelled(HALF),
        r"2 different whole numbers from 0 to 3, not 0 to 1; pass labels='names' .*num_classes=4 or more",
    ),
    (
        "numbers and words",
        labelled((["a", 1, "b", "c"]) * 10),
        labelled((["a", "x1", "b", "c"]) * 10),
        r"holds words and numbers such as '1'; pass labels='names'",
    ),
    (
        "a stray label",
        labelled(with_cell(4, "abc", HALF)),
        labelled(HALF),
        r"'y' is numbers but for 1 cell: 'abc' \(line 6\); repair it, or pass labels='names'",
    ),
    (
        "one class",
        labelled(["a"] * N),
        labelled(["a", "b"] * 20),
        r"the label 'y' is always 'a': nothing to tell apart",
    ),
    ("one number", labelled([1] * N), labelled(HALF), r"the label 'y' is always '1'"),
    (
        "unequal classes",
        table(x=[math.sin(i * i) for i in range(123)], y=["a"] * 112 + ["b"] * 11),
        table(x=[math.sin(i * i) for i in range(121)], y=["a"] * 110 + ["b"] * 11),
        r"classes are unequal: 11 examples of 'b', 112 of 'a'\. Always .* right for 91\.1 %.*data\.class_weights",
    ),
    (
        "one example",
        labelled(["a"] * 20 + ["b"] * 19 + ["c"]),
        labelled(["a"] * 20 + ["b"] * 18 + ["c"] * 2),
        r"'c' has one example, which cannot be in both",
    ),
    (
        "names for classes",
        labelled([f"id{i}" for i in range(N)]),
        labelled([f"id{i // 2}" for i in range(N)]),
        r"all 40 classes have one example; is it the right label\?",
    ),
    (
        "duplicates",
        labelled(HALF, x=with_cell(2, NOISE[0]), z=with_cell(2, NOISE[0])),
        labelled(HALF, x=with_cell(1, NOISE[0]), z=with_cell(1, NOISE[0])),
        r"1 example repeats an earlier one; drop copies",
    ),
    (
        "duplicates, but not by chance",
        labelled(HALF, x=[*NOISE[:20], *NOISE[:20]], z=[*NOISE[:20], *NOISE[:20]]),
        labelled(HALF, x=[i // 2 % 2 for i in range(N)], z=[i // 4 % 2 for i in range(N)]),
        r"20 examples repeat an earlier one",
    ),
]


@pytest.mark.parametrize("with_it, without, said", [row[1:] for row in REMARKS], ids=[row[0] for row in REMARKS])
def test_a_remark_is_made_and_not_in_the_closest_case_without(put, with_it, without, said):
    remarks = checked(data.describe(put("t.csv", with_it), label="y")).remarks
    assert sum(bool(re.search(said, remark)) for remark in remarks) == 1, remarks
    remarks = checked(data.describe(put("t.csv", without), label="y")).remarks
    assert not any(re.search(said, remark) for remark in remarks), remarks


def test_nothing_is_remarked_on_good_data(put):
    assert data.describe(put("t.csv", labelled(HALF, z=[v**2 for v in NOISE])), label="y").remarks == ()
    assert data.describe(data.load("digits")).remarks == ()
    assert data.describe(data.load("circle")).remarks == ()


def test_a_data_set_hears_of_no_rules_of_read():
    x = [[i, 1_700_000_000 + i % 3, 5] for i in range(9)]
    remarks = data.describe(data.dataset(x, [0, 1, 0, 1, 0, 1, 0, 1, 2], num_classes=4)).remarks
    text = "\n".join(remarks)
    assert "read" not in text and "features=" not in text
    assert re.findall(r"row numbers, it seems: 'x\[:, 0\]'", text) and "leave such columns out of x" in text
    assert "no example is of class '3'" in text and "'2' has one example" in text


def test_a_parquet_column_of_numbers_written_as_text(put):
    path = put("t.parquet", pa.table({"a": ["1.5", "2"], "b": ["1.5", "u"], "y": [0, 1]}))
    remarks = "\n".join(data.describe(path, label="y").remarks)
    assert "'a' is text, though every cell spells a number" in remarks and "text: 'b'" in remarks
    path = put("t.parquet", pa.table({"a": [str(i) for i in range(9)] + ["x"], "y": [0, 1] * 5}))
    assert "'a' is numbers but for 1 cell: 'x' (row 9 (from 0))" in "\n".join(data.describe(path, label="y").remarks)


@pytest.mark.parametrize(
    "y, error, options",
    [
        ([1, 2, 3] * 5, LabelError, {"labels": "names"}),
        ([-1, 1, -1] * 5, LabelError, {"labels": "pm1"}),
        ([0, 4, 2] * 5, LabelError, {"num_classes": 5}),
        ([0, 4, 2] * 5, LabelError, {"labels": "names"}),
        ([0.5, 1.5, 1] * 5, LabelError, {"regression": True}),
        ([v * 3 for v in NOISE], LabelError, {"regression": True}),
        (["a", "1", "b", "c"] * 5, LabelError, {"labels": "names"}),
        ([0, 1, "abc"] * 5, LabelError, {"labels": "names"}),
    ],
)
def test_the_option_that_is_advised_makes_read_take_the_label(put, y, error, options):
    path = put("t.csv", labelled(y))
    with pytest.raises(error):
        data.read(path, label="y")
    ((option, value),) = options.items()
    assert any(f"{option}={value!r}" in remark for remark in data.describe(path, label="y").remarks)
    assert len(data.read(path, label="y", **options)) == len(y)


@pytest.mark.parametrize("y", [["b", "a", "c"] * 4, [0, 1, 2] * 4, ["0.0", "1", "02"] * 4, ["True", "False"] * 6])
def test_classes_are_those_of_read(put, y):
    path = put("t.csv", labelled(y))
    ds, found = data.read(path, label="y"), data.describe(path, label="y")
    names = ds.schema.class_names or [str(k) for k in range(ds.schema.num_classes)]
    assert found.classes == dict(zip(names, np.bincount(ds.batch.y).tolist(), strict=True))
    assert list(found.classes) == list(names)


def test_lines_are_counted_as_read_counts_them(put):
    for text, line in [
        ("a,y\n1,0\nx,1\n2,0\n", 3),
        ("\n\na,y\n\n1,0\n\nx,1\n2,0\n", 7),
        ('a,y\n1,"u\nv"\nx,1\n2,0\n', 4),
        ("a,y\r\n1,0\r\n\r\nx,1\r\n2,0", 4),
        ("a,y\r1,0\rx,1\r2,0", 3),
        ("\ufeff\na,y\n1,0\nx,1\n2,0\n", 4),
    ]:
        found = data.describe(put("t.csv", text))
        assert any(f"'x' (line {line})" in remark for remark in found.remarks), (text, found.remarks)
    assert csv_source.csv_lines(put("t.csv", "1,2\nx,3\n4,5\n"), ",", False, [1]) == {1: 2}


# --- the page ---------------------------------------------------------------------------------------------

PASSENGERS = """passenger,survived,class,sex,age,fare,cabin
1,no,3,male,22,7.25,
2,yes,1,female,38,71.2833,C85
3,yes,3,female,26,7.925,
4,yes,1,female,35,53.1,C123
5,no,3,male,,8.05,
6,no,3,male,,8.4583,
7,no,1,male,54,51.8625,E46
8,no,3,male,2,21.O75,
9,yes,3,female,27,11.1333,
10,yes,2,female,14,30.0708,
"""

PAGE = """\
passengers: 10 examples (7 with missing values), 6 features, 2 classes

feature    kind      missing  distinct        min       mean  deviation        max
passenger  number          0        10          1        5.5     2.8723         10
class      number          0         3          1        2.3        0.9          3
sex        text            0         2    male: 5, female: 5
age        number          2         8          2      27.25      14.72         54
fare       text            0        10    each once, such as 7.25
cabin      text            7         3    each once, such as C85

survived    examples    share
no                 5   50.0 %  ##############################
yes                5   50.0 %  ##############################

remarks
- missing values: 'cabin' 7 (70.0 %) and 'age' 2 (20.0 %); 3 of 10 examples are complete. read
  refuses the others: fill the values, or drop the rows
- 'fare' is numbers but for 1 cell: '21.O75' (line 9); repair it
- text: 'sex' ('female', 'male') and 'cabin' ('C123', 'C85', 'E46'); read refuses text as a feature.
  Give each of a few words a column of 0 and 1, or leave such columns out with features=[...]
- row numbers, it seems: 'passenger'; they say nothing of a new example: leave such columns out with
  features=[...]"""


def test_the_page_of_a_small_file(put):
    assert str(data.describe(put("passengers.csv", PASSENGERS), label="survived")) == PAGE


def test_wide_tables_show_the_first_dozen_and_those_remarked_on():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 500))
    x[:, 321] = 5
    found = checked(data.describe(data.dataset(x, np.arange(20) % 2, num_classes=2)))
    lines = str(found).splitlines()
    assert [line.split("  ")[0] for line in lines[3:17]] == [f"x[:, {j}]" for j in (*range(12), 321)] + [
        "... and 487 more"
    ]
    shown = str(data.describe(data.dataset(x[:, :40], np.arange(20) % 2, num_classes=2)))
    assert "more" not in shown and "x[:, 39]" in shown


def test_many_classes_are_cut_and_long_names_too(put):
    text = labelled([f"class {'x' * (i % 7) * 9} {i // 2}" for i in range(N)], **{"n" * 70: NOISE, "\x1b[31m": NOISE})
    page = str(checked(data.describe(put("t.csv", text), label="y")))
    assert "... and 28 more, of 1 to 1 example" in page and "n" * 23 + "..." in page
    assert "\\x1b[31m" in page


def test_to_dict_holds_every_field_as_json(put):
    found = data.describe(put("passengers.csv", PASSENGERS), label="survived")
    values = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert set(values) == {
        *("name", "num_examples", "columns", "labels", "classes", "num_complete", "num_duplicates"),
        *("image_shape", "pixels", "remarks"),
    }
    assert values["classes"] == {"no": 5, "yes": 5} and values["remarks"] == list(found.remarks)
    assert values["columns"][3] == {
        "name": "age",
        "kind": "number",
        "type": "int64",
        "missing": 2,
        "distinct": 8,
        "minimum": 2,
        "mean": 27.25,
        "deviation": found.columns[3].deviation,
        "maximum": 54,
        "infinite": 0,
        "common": [],
        "constant": False,
    }
    values["classes"]["no"] = 0
    assert found.classes["no"] == 5
    huge = checked(data.describe(put("t.csv", "a\n1.7e308\n1.7e308\n-1e308\n")))
    assert huge.to_dict()["columns"][0]["deviation"] is None


@pytest.mark.parametrize(
    "value, text",
    [
        *((None, "-"), (0, "0"), (0.0, "0"), (-3, "-3"), (9_999_999, "9999999"), (12_345_678, "1.2346e+07")),
        *((5.84333, "5.8433"), (0.000123456, "0.00012346"), (-0.000648594, "-0.0006486"), (2.0, "2")),
        *((-3.96912e-07, "-3.969e-07"), (-1.23456e-100, "-1.23e-100"), (float("inf"), "inf")),
    ],
)
def test_how_numbers_are_written(value, text):
    assert wording.number(value) == text


@pytest.mark.parametrize("part, text", [(0, "0.0 %"), (1, "< 0.1 %"), (9_999, "> 99.9 %"), (10_000, "100.0 %")])
def test_how_shares_are_written(part, text):
    assert wording.percent(part, 10_000) == text


# --- errors -----------------------------------------------------------------------------------------------

FLOWERS = "length,width,species\n1.5,0.25,setosa\n4.75,1.5,versicolor\n6.0,2.5,setosa\n"
X, Y = np.ones((3, 1)), np.array([0, 1, 0])
FAULTS = [  # file, content, options, error, text
    ("t.csv", FLOWERS, {"label": "specis"}, ConfigError, r"label='specis'; did you mean 'species'\?"),
    ("t.csv", FLOWERS, {"label": 3}, ConfigError, r"label=3; columns are numbered 0 to 2"),
    ("t.csv", FLOWERS, {"label": True}, ConfigError, r"label=True"),
    ("t.csv", FLOWERS, {"features": ["lenght"]}, ConfigError, r"features='lenght'; did you mean 'length'\?"),
    ("t.csv", FLOWERS, {"features": "length"}, ConfigError, r"a list of names.*pass \['length'\]"),
    ("t.csv", FLOWERS, {"delimiter": "ab"}, ConfigError, r"one character; got delimiter='ab'"),
    ("t.csv", FLOWERS, {"header": 1}, ConfigError, r"got header=1"),
    ("t.csv", FLOWERS, {"max_bytes": 10}, DataFormatError, r"max_bytes=10; got a text of"),
    ("t.csv", FLOWERS, {"max_bytes": 0}, ConfigError, r"max_bytes=0"),
    ("t.csv", "1,2\n3,4\n", {}, ConfigError, r"got the numbers '1,2'.*header=False"),
    ("t.csv", "a;y\n1;0\n", {"label": "y"}, ConfigError, r"pass delimiter=';'"),
    ("t.csv", "a,b,y\n1,2,0\n1,0\n", {}, DataFormatError, r"2 cells for 3 columns on line 3"),
    ("t.csv", "a,y\n1,0\n1,0,7\n", {}, DataFormatError, r"3 cells for 2 columns on line 3"),
    ("t.csv", b"a,y\n1,u\n2,\xe9\n", {}, DataFormatError, r"UTF-8; got other bytes on line 3"),
    ("t.csv", b"a,y\n1,u\n2,\xe9\n", {"label": "y"}, DataFormatError, r"UTF-8; got other bytes on line 3"),
    ("t.csv", b"a\xe9,y\n1,u\n", {}, DataFormatError, r"UTF-8; got other bytes on line 1"),
    ("t.csv", "", {}, DataFormatError, r"at least one line; got an empty file"),
    ("t.csv", "a,y\n", {}, DataFormatError, r"at least one row; got none"),
    ("t.txt", FLOWERS, {}, ConfigError, r"files end in .csv, .npz.*source='.*t.txt'; rename it"),
    ("t.npz", {"x": X, "y": Y}, {"header": True}, ConfigError, r"npz files take no header"),
    ("t.npz", {"a": X, "y": Y}, {}, ConfigError, r"features='x'; choose one of a, y"),
    ("t.npz", {"x": X, "y": Y}, {"label": "z"}, ConfigError, r"label='z'; choose one of x, y"),
    ("t.npz", {"x": np.ones((3, 2, 2))}, {}, ShapeError, r"x is \[N, D\].*x.shape=\(3, 2, 2\).*reshape"),
    ("t.npz", {"x": X, "y": Y[:2]}, {}, ShapeError, r"x.shape=\(3, 1\), y.shape=\(2,\)"),
    ("t.npz", {"x": X, "y": Y.astype(object)}, {}, DataFormatError, r"Python objects in y.npy"),
    ("t.npz", b"PK\3\4", {}, DataFormatError, r"whole .npz; got .*get the file again"),
    ("t.parquet", b"PAR1", {}, DataFormatError, r"whole Parquet file"),
    ("t.parquet", pa.table({"a": [1]}), {"label": "b"}, ConfigError, r"label='b'; the columns are 'a'"),
    ("t.parquet", pa.table({"a": [1] * 99}), {"max_bytes": 99}, DataFormatError, r"max_bytes=99"),
    ("t.parquet", pa.table({"a": pa.array([], pa.int64())}), {}, DataFormatError, r"at least one row"),
    ("t.feather", b"ARROW1", {}, DataFormatError, r"whole Arrow file"),
    ("t.idx", idx(np.zeros((2, 2, 2), np.uint8)), {"label": 1}, ConfigError, r"label is the file of their labels"),
    ("t.idx", idx(np.zeros((2, 2, 2), np.uint8)), {"features": [0]}, ConfigError, r"idx files take no features"),
    ("t.idx", idx(np.zeros((2, 2, 2), np.uint8))[:-1], {}, DataFormatError, r"take 8 bytes; got 7"),
    ("t.idx", idx(np.zeros((0, 2, 2), np.uint8)), {}, DataFormatError, r"at least one pixel"),
]


@pytest.mark.parametrize("name, content, options, error, text", FAULTS)
def test_a_fault_is_named_in_the_name_of_describe(put, name, content, options, error, text):
    with pytest.raises(error, match=text) as caught:
        data.describe(put(name, content), **options)
    assert str(caught.value).startswith("data.describe: ") and "data.read" not in str(caught.value)


def test_what_is_no_file_and_no_data_set(tmp_path):
    with pytest.raises(
        ConfigError, match=r"^data.describe: source is a file that can be read; got source='.*none.csv'"
    ):
        data.describe(tmp_path / "none.csv")
    with pytest.raises(
        ConfigError, match=r"^data.describe: source is .* or a table; got source=ndarray\[3, 1\] of float64;"
    ):
        data.describe(X)
    with pytest.raises(ConfigError, match=r"^data.describe: a Dataset takes no label; got label='y'; leave it out"):
        data.describe(data.load("circle"), label="y")


def test_arrays_and_images_need_no_pyarrow(put, monkeypatch):
    paths = [put("t.npz", {"x": X, "y": Y}), put("t.idx", idx(np.zeros((2, 2, 2), np.uint8))), put("t.csv", FLOWERS)]
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for source in (data.load("circle"), *paths[:2]):
        checked(data.describe(source))
    with pytest.raises(ConfigError, match=r"^data.describe: .*no module pyarrow; pip install 'jaxnn\[data\]'"):
        data.describe(paths[2])


def test_labels_of_images_are_as_many(put):
    labels = put("l", idx(np.zeros(3, np.uint8)))
    with pytest.raises(DataFormatError, match=r"^data.describe: labels are as many as images; got 3 for 2"):
        data.describe(put("t.idx", idx(np.zeros((2, 2, 2), np.uint8))), label=labels)


# --- any bytes --------------------------------------------------------------------------------------------

TYPED = (ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError)
CELLS = st.one_of(
    st.sampled_from(
        ["1", "0", "-2.5", "inf", "NA", "", " ", "true", "x", '"', '"a,b"', '"a\nb"', "\ufeff", "é", "1,5"]
    ),
    st.floats().map(repr),
    st.integers().map(str),
    st.text(max_size=3),
)
ROWS = st.integers(1, 3).flatmap(lambda d: st.lists(st.lists(CELLS, min_size=d, max_size=d), min_size=2, max_size=7))
CSVS = st.tuples(ROWS, st.sampled_from(["\n", "\r\n", "\r", "\n\n"])).map(
    lambda parts: parts[1].join(map(",".join, parts[0])).encode("utf-8", "surrogatepass")
)


@FUZZ
@given(content=CSVS, header=st.sampled_from([None, True, False]), label=st.sampled_from([None, -1]))
def test_any_csv_gives_a_typed_error_or_a_description_and_what_read_takes_is_described(
    tmp_path_factory, content, header, label
):
    path = tmp_path_factory.getbasetemp() / "fuzz.csv"
    path.write_bytes(content)
    try:
        found = checked(data.describe(path, label=label, header=header))
    except TYPED as error:
        assert str(error).startswith("data.describe: "), str(error)
        found = None
    try:
        ds = data.read(path, label=-1, header=header)
    except TYPED:
        return
    assert found is not None and found.num_examples == len(ds)
    assert label is None or not any("refuses" in remark for remark in found.remarks)
    if found.classes is not None:
        names = ds.schema.class_names or map(str, range(ds.schema.num_classes))
        assert found.classes == dict(zip(names, np.bincount(ds.batch.y).tolist(), strict=True))


def small_files():
    """A small valid file of the other kinds: name -> (content, options)."""
    table = pa.table(
        {
            "a": [1.5, None, 3.5],
            "c": pa.array(["u", "v", "u"]).dictionary_encode(),
            "t": ["x", "1", None],
            "d": [datetime.date(2020, 1, 1)] * 3,
            "l": [[1], None, [2, 3]],
            "y": ["p", "q", "p"],
        }
    )
    files = {}
    for name, write in (("t.parquet", pa.parquet.write_table), ("t.feather", pa.feather.write_feather)):
        out = io.BytesIO()
        write(table, out)
        files[name] = (out.getvalue(), {"label": "y"})
    out = io.BytesIO()
    np.savez(out, x=np.array([[1.5, np.nan], [2, 3]]), y=np.array(["a", "b"]))
    images = idx(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    return files | {"t.npz": (out.getvalue(), {}), "t.idx": (images, {}), "t.idx.gz": (gzip.compress(images), {})}


FILES = small_files()


@pytest.mark.parametrize("name", FILES)
@FUZZ
@given(changes=st.lists(st.tuples(st.integers(0, 10**6), st.binary(max_size=8), st.integers(0, 9)), max_size=4))
def test_a_damaged_file_gives_a_typed_error_or_a_description(tmp_path_factory, name, changes):
    content, options = FILES[name]
    damaged = bytearray(content)
    for at, inserted, cut in changes:
        at %= len(damaged) + 1
        damaged[at : at + cut] = inserted
    path = tmp_path_factory.getbasetemp() / name
    path.write_bytes(damaged)
    try:
        checked(data.describe(path, **options))
    except TYPED as error:
        assert changes and str(error).startswith("data.describe: "), str(error)


def test_a_cell_of_bits_0_counts_in_the_hash_of_a_row():
    nothing = np.zeros(1, np.uint64)
    assert _hashed(nothing, nothing)[0] != 0


def test_rows_are_hashed_as_python_counts_them():
    rng = np.random.default_rng(3)
    for high in (2, 5, 1000):
        x = rng.integers(-high, high, (300, 3)) * rng.choice([1, 0.5], (300, 1))
        found = data.describe(data.dataset(x, np.zeros(300, int), num_classes=2))
        assert found.num_duplicates == 300 - len({(*row, 0) for row in x.tolist()})
    zeros = data.dataset([[0.0], [-0.0]], [0, 0], num_classes=2)
    assert data.describe(zeros).num_duplicates == 1


def test_number_facts_of_nothing_but_nan():
    column = facts.facts_of("a", np.array([np.nan, np.nan])).column
    assert (column.missing, column.distinct, column.minimum, column.mean) == (2, 0, None, None)


def test_tables_in_memory_are_described_like_files(put):
    text = "a,b,y\n1.5,u,0\n,v,1\n2.5,u,1\n"
    frame = pd.read_csv(io.StringIO(text))
    want = data.describe(put("t.csv", text), label="y")
    for table in (frame, pa.Table.from_pandas(frame)):
        found = data.describe(table, label="y")
        assert found.name == "table" and found.classes == want.classes == {"0": 1, "1": 2}
        assert [(c.name, c.missing, c.distinct, c.maximum) for c in found.columns] == [
            (c.name, c.missing, c.distinct, c.maximum) for c in want.columns
        ]
