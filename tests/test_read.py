"""`data.read`: what every kind of file may hold, what it says about one that is wrong, and that no bytes break it.

Oracles: Python's csv module and float(), NumPy, and tables as pyarrow was given them. The IDX format itself is tested
in test_data.py.
"""

import csv
import gzip
import hashlib
import io
import re
import struct
import sys
import time
import tracemalloc
import warnings
import zipfile
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from small_files import idx

from jaxnn import data
from jaxnn._errors import ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError
from jaxnn.data._files import csv as csv_reader
from jaxnn.data._files import csv_lines
from jaxnn.data._files.arrow_size import unpacked_size
from jaxnn.data._files.columns import Typed

TYPED = (ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError)
FUZZ = settings(derandomize=True, database=None, deadline=None, max_examples=200)
LONG_FUZZ = settings(derandomize=False, database=None, deadline=None, max_examples=10_000)
FLOWERS = "length,width,species\n1.5,0.25,setosa\n4.75,1.5,versicolor\n6.0,2.5,setosa\n"


# --- what is read -----------------------------------------------------------------------------------------


def test_a_csv_gives_numbers_names_and_classes_in_sorted_order(put):
    ds = data.read(put("flowers.csv", FLOWERS), label="species")
    assert repr(ds) == "Dataset('flowers', 3 examples, 2 features, 2 classes)"
    assert ds.schema.feature_names == ("length", "width") and ds.schema.class_names == ("setosa", "versicolor")
    assert ds.batch.x.tolist() == [[1.5, 0.25], [4.75, 1.5], [6.0, 2.5]] and ds.batch.y.tolist() == [0, 1, 0]
    assert ds.batch.x.dtype == jnp.float32 and ds.batch.y.dtype == jnp.int32 and ds.batch.weight is None


@pytest.mark.parametrize(
    "text, options",
    [
        (FLOWERS, {"label": 2}),
        (FLOWERS, {"label": -1}),
        (FLOWERS.replace("\n", "\r\n"), {}),
        (FLOWERS.replace("\n", "\r"), {}),
        ("\ufeff" + FLOWERS, {}),
        (FLOWERS.rstrip("\n"), {}),
        ("\n" + FLOWERS.replace("\n4", "\n\n4"), {}),
        (FLOWERS.replace("setosa", '"setosa"').replace("1.5", '"1.5"').replace("length", '"length"'), {}),
        (FLOWERS.replace(",", ";"), {"delimiter": ";"}),
        (FLOWERS.replace(",", "\t"), {"delimiter": "\t"}),
        (re.sub(r"(?m)^", "a note,", FLOWERS).rstrip("a note,"), {"features": ["length", 2]}),
        (re.sub(r"(?m)^", '"two\nlines",', FLOWERS.rstrip()), {"features": ["length", "width"]}),
        (FLOWERS.replace("1.5", " 1.5 ").replace("6.0", "6e0").replace("4.75", "+475e-2"), {}),
    ],
    ids="index last CRLF CR BOM unterminated blank quotes semicolon tab chosen multi-line spelling".split(),
)
def test_every_spelling_of_a_csv_gives_the_same_data(put, text, options):
    want = data.read(put("flowers.csv", FLOWERS), label="species")
    ds = data.read(put("flowers.csv", text), **{"label": "species", **options})
    np.testing.assert_array_equal(ds.batch.x, want.batch.x)
    np.testing.assert_array_equal(ds.batch.y, want.batch.y)
    assert ds.schema == want.schema


def test_the_header_rule(put):
    numbers = put("n.csv", "1,2\n3,0\n5,1\n")
    ds = data.read(numbers, label="column_1", header=False, num_classes=3)
    assert ds.schema.feature_names == ("column_0",) and ds.batch.x.tolist() == [[1], [3], [5]]
    assert data.read(numbers, label="2", header=True).batch.y.tolist() == [0, 1]
    with pytest.raises(ConfigError, match=r"got the numbers '1,2'.*header=False"):
        data.read(numbers, label=1)
    words = put("w.csv", "5.1,3.5,setosa\n4.9,3.0,virginica\n")  # an example, though one cell is a word
    for verb in (data.read, data.describe):
        with pytest.raises(ConfigError, match=r"the number '5.1' in '5.1,3.5,setosa', .* header=False if .*=True if"):
            verb(words, label=-1)
    assert len(data.read(words, label=-1, header=False)) == 2
    years = put("years.csv", "2019,2020,y\n1,2,0\n3,4,1\n")  # names, though some are numbers
    with pytest.raises(ConfigError, match=r"got the number '2019' in .*header=True if they are names"):
        data.read(years, label="y")
    assert data.read(years, label="y", header=True).schema.feature_names == ("2019", "2020")
    assert data.read(put("inf.csv", "inf,nan,y\n1,2,0\n3,4,1\n"), label="y").schema.feature_names == ("inf", "nan")


def test_an_int_is_a_position_and_text_a_name_even_where_columns_are_named_by_numbers(put):
    text = "id,0,1,2\n7,1,2,0\n8,3,4,1\n"
    table = pa.table({"id": [7, 8], "0": [1, 3], "1": [2, 4], "2": [0, 1]})
    for source, options in ((put("t.csv", text), {"header": True}), (table, {}), (put("t.parquet", table), {})):
        assert data.read(source, label="2", features=["1", "0"], **options).batch.x.tolist() == [[2, 1], [4, 3]]
        assert data.read(source, label=-1, features=["id"], **options).batch.x.tolist() == [[7], [8]]
        assert data.read(source, label=np.int64(3), features=["1"], **options).batch.y.tolist() == [0, 1]
        assert data.read(source, label="2", features=[np.int64(-2)], **options).batch.x.tolist() == [[2], [4]]
        said = r"int is the position .*, and '2' is the name of column 3 of .*label=2; pass '2' .*, or '1' for column 2"
        for verb in (data.read, data.describe):
            with pytest.raises(ConfigError, match=said):
                verb(source, label=2, **options)
            with pytest.raises(ConfigError, match=r"'0' is the name of column 1 .*features=0; pass '0' .* or 'id'"):
                verb(source, label="2", features=[0], **options)
    one = pa.table({"1": [5, 6], "2": [0, 1], "y": [0, 1]})
    with pytest.raises(ConfigError, match=r"'1' is the name of column 0"):
        data.read(one, label=1)
    assert data.read(pa.table({"0": [5, 6], "1": [0, 1]}), label=1).batch.y.tolist() == [0, 1]  # both say the same


def test_a_typed_column_is_a_name_or_else_a_position(put):
    path, years = put("t.csv", FLOWERS), put("y.csv", "1,2,3\n5,0,1\n6,1,0\n")
    for typed, name in (("species", "species"), ("2", "species"), ("-1", "species")):
        assert data.read(path, label=Typed(typed)).schema.label_name == name
    assert data.read(years, label=Typed("2"), header=True).schema.label_name == "2"
    assert data.read(years, label=Typed("0"), num_classes=7, header=True).schema.label_name == "1"
    assert [c.name for c in data.describe(path, label=Typed("-1"), features=[Typed("1")]).columns] == ["width"]
    with pytest.raises(ConfigError, match=r"label='spices'; did you mean 'species'"):
        data.read(path, label=Typed("spices"))
    with pytest.raises(ConfigError, match=r"label='2'; the columns are"):  # text is a name in Python
        data.read(path, label="2")


def test_booleans_and_categories(put):
    assert data.read(put("b.csv", "on,y\nTrue,0\nfalse,1\n"), label="y").batch.x.tolist() == [[1], [0]]
    table = pa.table(
        {
            "size": pa.array([1, 2, 3], pa.uint8()),
            "price": pa.array(["1.25", "2.50", "3.00"]).cast(pa.decimal128(5, 2)),
            "colour": pa.DictionaryArray.from_arrays([2, 0, 2], ["blue", "green", "red"]),
            "on": [True, False, True],
            "y": ["no", "yes", "no"],
        }
    )
    for name in ("t.parquet", "t.feather", "t.arrow"):
        ds = data.read(put(name, table), label="y")
        names = [n for n in ds.schema.feature_names if n != "colour=green"]  # Parquet keeps no unused category
        assert names == ["size", "price", "colour=blue", "colour=red", "on"]
        assert ds.schema.class_names == ("no", "yes") and ds.batch.y.tolist() == [0, 1, 0]
        x = {n: ds.batch.x[:, j].tolist() for j, n in enumerate(ds.schema.feature_names)}
        assert x == {
            "size": [1, 2, 3],
            "price": [1.25, 2.5, 3],
            "colour=blue": [0, 1, 0],
            "colour=red": [1, 0, 1],
            "on": [1, 0, 1],
            **({"colour=green": [0, 0, 0]} if "colour=green" in x else {}),
        }


@pytest.mark.parametrize("kind", ["parquet", "feather"])
def test_many_pieces_with_their_own_dictionaries_are_one_table(put, tmp_path, kind):
    words = np.array(["c", "a", "b"])
    parts = [
        pa.table(
            {"v": np.arange(20_000.0) + i, "w": pa.array(words[: i + 1].repeat(20_000)[:20_000]).dictionary_encode()}
        )
        for i in range(3)
    ]
    path = put(f"t.{kind}", pa.concat_tables(parts))
    ds = data.read(path, label="w", class_names=("a", "b", "c"))
    np.testing.assert_array_equal(ds.batch.x[:, 0], np.concatenate([np.arange(20_000.0) + i for i in range(3)]))
    want = np.concatenate([p.column("w").to_pylist() for p in parts])
    np.testing.assert_array_equal(np.array(["a", "b", "c"])[np.asarray(ds.batch.y)], want)


def test_columns_with_dots_are_names(put):
    table = pa.table({"sepal.length": [1.0, 2.0], "sepal": [3.0, 4.0], "y": [0, 1]})
    for name in ("t.parquet", "t.feather"):
        assert data.read(put(name, table), label="y", features=["sepal.length"]).batch.x.tolist() == [[1], [2]]


@pytest.mark.parametrize("compressed", [False, True])
def test_npz(tmp_path, compressed):
    x, y = np.arange(6.0).reshape(3, 2), np.array([1, 0, 1])
    path = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, x=x, y=y, other=x.T, words=np.array(["b", "a", "b"]))
    for options in ({}, {"label": "y", "features": "x"}, {"label": "words"}):
        ds = data.read(path, **options)
        np.testing.assert_array_equal(ds.batch.x, x)
        assert ds.batch.y.tolist() == [1, 0, 1]
    assert ds.schema.class_names == ("a", "b")
    ds = data.read(path, label="x", regression=True)
    assert ds.schema.num_classes is None and ds.batch.y.shape == (3, 2)


@pytest.mark.parametrize("name", ["train-images-idx3-ubyte", "a.idx3-ubyte.gz", "a.idx"])
def test_idx_images(put, tmp_path, name):
    images = np.random.default_rng(0).integers(0, 256, (40, 3, 2), np.uint8)
    zipped = gzip.compress if name.endswith("gz") else bytes
    labels = put("l", idx((np.arange(40) % 3 + 1).astype(np.uint8)))
    ds = data.read(put(name, zipped(idx(images))), label=labels, labels="names")
    np.testing.assert_array_equal(ds.batch.x, images.reshape(40, 6).astype(np.float32) / np.float32(255))
    assert ds.schema.image_shape == (3, 2) and ds.schema.class_names == ("1", "2", "3")
    assert ds.batch.y.tolist() == [i % 3 for i in range(40)] and ds.schema.name == name.split(".")[0]


# --- labels -----------------------------------------------------------------------------------------------


def column(values):
    return "x,y\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values))


@pytest.mark.parametrize(
    "values, options, codes, names",
    [
        ("0 2 1", {}, [0, 2, 1], None),
        ("0.0 1 01", {}, [0, 1, 1], None),
        ("0 2 0", {"num_classes": 3}, [0, 2, 0], None),
        ("0 1 0", {"class_names": ["no", "yes", "maybe"]}, [0, 1, 0], ("no", "yes", "maybe")),
        ("-1 1 -1", {"labels": "pm1"}, [0, 1, 0], None),
        ("1 3 2", {"labels": "names"}, [0, 2, 1], ("1", "2", "3")),
        ("10 9 -2.5", {"labels": "names"}, [2, 1, 0], ("-2.5", "9", "10")),  # as numbers; as text "10" is before "9"
        ("10 9 x", {"labels": "names"}, [0, 1, 2], ("10", "9", "x")),
        ("b a é", {}, [1, 0, 2], ("a", "b", "é")),
        ("b b b", {"class_names": ("c", "b")}, [1, 1, 1], ("c", "b")),
        ("2 3 3", {"labels": "names", "class_names": ("1", "2", "3")}, [1, 2, 2], ("1", "2", "3")),
        ("NA EU NA", {"labels": "names"}, [1, 0, 1], ("EU", "NA")),
        ("True False True", {}, [1, 0, 1], ("false", "true")),
        ("9007199254740993 9007199254740992 9007199254740993", {"labels": "names"}, [1, 0, 1], ...),  # above 2**53
    ],
)
def test_labels_become_classes(put, values, options, codes, names):
    values = values.split()
    tables = [put("t.csv", column(values))]
    if values[0] != "True":
        tables += [put("t.parquet", pa.table({"x": [1, 2, 3], "y": values}))]
        tables += [put("t.npz", {"x": np.ones((3, 1)), "y": np.array(values)})]
    for path in tables:
        ds = data.read(path, label="y", **options)
        assert ds.batch.y.tolist() == codes
        assert ds.schema.class_names == (names if names is not ... else tuple(sorted(set(values))))


BOOLEANS = {"True": ("True", "False"), "TRUE": ("TRUE", "FALSE"), "mixed": ("True", "false")}


@pytest.mark.parametrize("yes, no", [*BOOLEANS.values(), (True, False), (np.True_, np.False_)])
def test_booleans_are_one_pair_of_classes_in_every_format_and_case(put, yes, no):
    sources = [put("t.npz", {"x": np.ones((3, 1)), "y": np.array([yes, no, yes])})]
    if not isinstance(yes, np.bool_):
        sources += [
            put("t.csv", column([yes, no, yes])),
            put("t.parquet", pa.table({"x": [1, 2, 3], "y": [yes, no, yes]})),
        ]
    for source in sources:
        ds = data.read(source, label="y")
        assert ds.schema.class_names == ("false", "true") and ds.batch.y.tolist() == [1, 0, 1]
        named = ds.schema if ds.schema.feature_names else replace(ds.schema, feature_names=("x",))  # NPZ has none
        again = data.read(put("again.csv", "x,y\n1,tRUE\n2,False\n"), like=named, label="y")
        assert again.batch.y.tolist() == [1, 0]
    old = data.Schema(num_classes=2, feature_names=("x",), class_names=("False", "True"), label_name="y")
    assert data.read(put("t.csv", column([yes, no])), like=old).batch.y.tolist() == [1, 0]
    assert data.read(put("w.csv", column(["True", "no"])), label="y").schema.class_names == ("True", "no")


def test_text_is_text_however_it_is_laid_out():
    for kind in (pa.string(), pa.large_string(), pa.string_view()):
        words = pa.array(["b", "a", "b"], kind)
        category = pa.DictionaryArray.from_arrays([1, 0, 1], pa.array(["u", "v"], kind))
        table = pa.table({"c": category, "y": words})
        ds = data.read(table, label="y")
        assert ds.schema.feature_names == ("c=u", "c=v") and ds.batch.y.tolist() == [1, 0, 1]
        assert data.read(pa.table({"c": pa.array(["v"], kind), "y": words[:1]}), like=ds).batch.x.tolist() == [[0, 1]]
        found = data.describe(table, label="y")
        assert [c.kind for c in (*found.columns, *found.labels)] == ["category", "text"]
        assert found.classes == {"a": 1, "b": 2}


def test_class_names_that_look_alike_are_pointed_out(put):
    for values, said in (
        (["a", "a ", "b"], r"'a' and 'a ' in 'y'"),
        (["a\t", "a", "b"], r"'a' and 'a\\t'"),
        ("Aab", "'A' and 'a'"),
    ):
        path = put("t.csv", column(values))
        with pytest.warns(UserWarning, match=said) as caught:
            ds = data.read(path, label="y")
        assert caught[0].filename == __file__ and ds.schema.num_classes == 3
        data.read(path, like=ds)  # told once
        page = data.describe(path, label="y")
        assert any("differ only in case or in white space" in one for one in page.remarks)
        assert ("\n'a '  " in str(page)) == ("a " in values)  # a line of the classes
    assert not data.describe(put("t.csv", column("abc")), label="y").remarks[2:]


def test_targets_beyond_2_to_the_53_are_rounded_as_numbers_are(put):
    y = [2**53 + 1, 2**62 + 3, 5]
    table = pa.table({"x": [1, 2, 3], "y": y})
    for source in (put("t.csv", column(y)), put("t.parquet", table), table):
        ds = data.read(source, label="y", regression=True)
        np.testing.assert_array_equal(ds.batch.y, np.array(y, np.float32))


def test_a_target_beyond_float32_is_named_by_its_line(put):
    path = put("t.csv", "x,k\n1,1\n2,5\n3,1e300\n4,7\n")
    with pytest.raises(NonFiniteError, match=r"finite as float32; got inf in column 'k' at line 4, in"):
        data.read(path, label="k", regression=True)


def test_messages_do_not_list_everything(put):
    names = [f"class {i} of many" for i in range(3000)]
    path = put("t.csv", column(["x" * 5000, names[0]]))
    with pytest.raises(LabelError, match=r"\(3,000 in all\)") as caught:
        data.read(path, label="y", class_names=names)
    assert len(str(caught.value)) < 700
    with pytest.raises(ConfigError) as caught:
        data.read(path, label="y" * 5000)
    assert len(str(caught.value)) < 400


def test_regression_is_asked_for_and_kept_exact(put):
    values = [3.5, -1.0, 2.0]
    for path in (
        put("t.csv", column(values)),
        put("t.parquet", pa.table({"x": [1, 2, 3], "y": values})),
        put("t.npz", {"x": np.ones((3, 1)), "y": np.array(values)}),
    ):
        ds = data.read(path, label="y", regression=True)
        assert ds.schema.num_classes is None and ds.batch.y.tolist() == values
        with pytest.raises(LabelError, match="regression=True"):
            data.read(path, label="y")


# --- what is refused --------------------------------------------------------------------------------------

X, Y = np.ones((3, 1)), np.array([0, 1, 0])
TABLE = pa.table({"a": [1.0, 2.0], "y": [0, 1]})
NESTED = pa.array([[1.0], [2.0]])
BEYOND = pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), ["u", "v"], safe=False)
EXTENSION = pa.ExtensionArray.from_storage(pa.uuid(), pa.array([b"0" * 16, b"1" * 16], pa.binary(16)))
PIXELS, LABELS = np.zeros((2, 2, 2), np.uint8), np.array([0, 1], np.uint8)

FAULTS = [  # the bug it would catch, file, content, options, error, text
    ("a short row is padded", "t.csv", "a,b,y\n1,2,0\n1,0\n", {}, DataFormatError, r"2 cells for 3 columns on line 3"),
    ("a long row is cut", "t.csv", "a,y\n1,0\n1,0,7\n", {}, DataFormatError, r"3 cells for 2 columns on line 3"),
    ("lines are counted without blank ones", "t.csv", "a,y\n\n1,0\n\n1\n", {}, DataFormatError, r"on line 5 "),
    (
        "lines inside quotes are not counted",
        "t.csv",
        'n,a,y\n"p\nq",1,0\n1\n',
        {"features": [1]},
        DataFormatError,
        r"on line 4 ",
    ),
    ("an empty cell becomes NaN or 0", "t.csv", "a,y\n1,0\n,1\n", {}, DataFormatError, r"got '' in .*'a' on line 3"),
    ("NA becomes NaN", "t.csv", "a,y\n1,0\nNA,1\n", {}, DataFormatError, r"has a value; got 'NA' .*line 3.*fill"),
    ("nan is a number", "t.csv", "a,y\nnan,0\n1,1\n", {}, DataFormatError, r"got 'nan' in column 'a' on line 2"),
    ("a column of nothing", "t.csv", "a,y\n,0\n,1\n", {}, DataFormatError, r"got '' in column 'a' on line 2"),
    ("inf is a number", "t.csv", "a,y\n1,0\ninf,1\n", {}, NonFiniteError, r"got inf in column 'a' at line 3"),
    ("1e400 becomes infinite", "t.csv", "a,y\n1e400,0\n1,1\n", {}, NonFiniteError, r"'a' at line 2"),
    ("1e39 is infinite in float32", "t.csv", "a,y\n1,0\n1e39,1\n", {}, NonFiniteError, r"float32; got inf .*line 3"),
    ("text becomes a category", "t.csv", "a,y\n1,0\nx,1\n", {}, DataFormatError, r"numbers; got 'x' in .* on line 3"),
    ("a decimal comma splits", "t.csv", 'a,y\n1,0\n"1,5",1\n', {}, DataFormatError, r"got '1,5' in .* on line 3"),
    ("1_0 is 10", "t.csv", "a,y\n1,0\n1_0,1\n", {}, DataFormatError, r"got '1_0' in column 'a' on line 3"),
    ("a date is a number", "t.csv", "a,y\n2020-01-01,0\n", {}, DataFormatError, r"got '2020-01-01' .* on line 2"),
    ("true is mixed with numbers", "t.csv", "a,y\ntrue,0\n5,1\n", {}, DataFormatError, r"booleans; got '5' .* line 3"),
    ("two columns of a name", "t.csv", "a,a,y\n1,2,0\n", {}, DataFormatError, r"got 'a' for columns 0 and 1 .*rename"),
    ("pandas' row numbers are learnt", "t.csv", ",a,y\n0,1,0\n", {}, DataFormatError, r"'' for column 0 .*index=False"),
    ("Latin-1 is guessed", "t.csv", b"a,y\n1,u\n2,\xe9\n", {}, DataFormatError, r"UTF-8; got other bytes on line 3"),
    ("UTF-16 is guessed", "t.csv", FLOWERS.encode("utf-16"), {}, DataFormatError, r"UTF-8; got other .* line 1"),
    ("an empty file has no rows", "t.csv", "", {}, DataFormatError, r"at least one line; got an empty file"),
    ("empty lines are rows", "t.csv", "\n\n", {}, DataFormatError, r"at least one line; got an empty file"),
    ("a header alone has no rows", "t.csv", "a,y\n", {}, DataFormatError, r"at least one row; got none"),
    ("an open quote swallows rows", "t.csv", 'a,y\n1,u\n1,"v\n2,u\n', {}, LabelError, r"one line; got 'v.*line 3"),
    ("a misspelt label", "t.csv", FLOWERS, {"label": "specis"}, ConfigError, r"'specis'; did you mean 'species'\?"),
    ("no label", "t.csv", FLOWERS, {"label": None}, ConfigError, r"label=None; .* 'length', 'width', 'species'"),
    ("a label out of range", "t.csv", FLOWERS, {"label": 3}, ConfigError, r"label=3; columns are numbered 0 to 2"),
    ("True is column 1", "t.csv", FLOWERS, {"label": True}, ConfigError, r"label=True"),
    ("another delimiter", "t.csv", "a;y\n1;0\n", {}, ConfigError, r"pass delimiter=';'"),
    ("the label alone", "t.csv", "y\n0\n1\n", {}, ConfigError, r"at least one feature; .*delimiter"),
    ("the label is a feature", "t.csv", FLOWERS, {"label": 2, "features": [0, 2]}, ConfigError, r"'species' twice"),
    ("text is a list of letters", "t.csv", FLOWERS, {"label": 2, "features": "length"}, ConfigError, r"\['length'\]"),
    (
        "labels from 1",
        "t.csv",
        column([1, 2, 3]),
        {},
        LabelError,
        r"1 to 3 in 'y'; for labels 1..3 pass labels='names'",
    ),
    ("labels with a gap", "t.csv", column([0, 2]), {}, LabelError, r"2 distinct from 0 to 2 .*num_classes=K"),
    ("one label", "t.csv", column([0, 0]), {}, LabelError, r"got 1 distinct from 0 to 0"),
    ("one word", "t.csv", column("aa"), {}, LabelError, r"at least two classes; got 1 distinct names"),
    ("-1 and +1", "t.csv", column([1, -1]), {}, LabelError, r"pass labels='pm1'"),
    ("0 under pm1", "t.csv", column([1, 0]), {"labels": "pm1"}, LabelError, r"exactly -1 and \+1; got '0' .*line 3"),
    ("a quantity is a class", "t.csv", column([1, 3.7]), {}, LabelError, r"'3.7' in 'y' at line 3; .*regression=True"),
    ("inf is a class", "t.csv", column([0, "inf"]), {}, LabelError, r"got 'inf' in 'y' at line 3"),
    ("one stray word makes words of numbers", "t.csv", column([0, 1, "x"]), {}, LabelError, r"all words; got 'x' .*4"),
    ("a missing label is a class", "t.csv", column(["a", "", "b"]), {}, LabelError, r"got '' in 'y' at line 3"),
    ("NA is a class", "t.csv", column(["a", "b", "NA"]), {}, LabelError, r"got 'NA' in 'y' at line 4; .*'names'"),
    ("K is exceeded", "t.csv", column([0, 5]), {"num_classes": 5}, LabelError, r"\[0, 5\); got '5' .*line 3"),
    ("a new word", "t.csv", column("ab"), {"class_names": "ac"}, ConfigError, r"two different words or more"),
    ("a new word in a test file", "t.csv", column("ab"), {"class_names": ["a", "c"]}, LabelError, r"got 'b' .*line 3"),
    ("a wrong K", "t.csv", column("ab"), {"num_classes": 3}, ConfigError, r"num_classes=3, 2 distinct names"),
    ("a target of text", "t.csv", column("ab"), {"regression": True}, DataFormatError, r"got 'a' in .* on line 2"),
    ("a boolean target", "t.csv", column(["true"]), {"regression": True}, DataFormatError, r"'y' of type bool"),
    ("an infinite target", "t.csv", column([1, "inf"]), {"regression": True}, NonFiniteError, r"'y' at line 3"),
    ("classes in regression", "t.csv", FLOWERS, {"regression": True, "num_classes": 2}, ConfigError, "no classes"),
    ("regression by accident", "t.csv", FLOWERS, {"regression": 1}, ConfigError, r"regression=1"),
    ("a long delimiter", "t.csv", FLOWERS, {"delimiter": ", "}, ConfigError, r"one character; got delimiter=', '"),
    ("a misspelt option", "t.csv", FLOWERS, {"labels": "name"}, ConfigError, r"did you mean 'names'"),
    (
        "a header of another format",
        "t.npz",
        {"x": X, "y": Y},
        {"header": True},
        ConfigError,
        r"npz files take no header",
    ),
    ("a file above the limit", "t.csv", FLOWERS, {"max_bytes": 10}, DataFormatError, r"max_bytes=10; got a text of"),
    ("no limit", "t.csv", FLOWERS, {"max_bytes": 0}, ConfigError, r"max_bytes=0"),
    ("an unknown suffix", "t.txt", FLOWERS, {}, ConfigError, r"files end in .csv, .npz"),
    ("an array not there", "t.npz", {"x": X, "t": Y}, {}, ConfigError, r"label='y'; choose one of t, x"),
    ("pickles are loaded", "t.npz", {"x": X, "y": Y.astype(object)}, {}, DataFormatError, r"objects in y.npy.*never"),
    ("images are not rows", "t.npz", {"x": np.ones((3, 2, 2)), "y": Y}, {}, ShapeError, r"x.shape=\(3, 2, 2\)"),
    ("y is a column", "t.npz", {"x": X, "y": Y[:, None]}, {"num_classes": 2}, ShapeError, r"y.shape=\(3, 1\)"),
    ("y is shorter", "t.npz", {"x": X, "y": Y[:2]}, {}, ShapeError, r"x.shape=\(3, 1\), y.shape=\(2,\)"),
    ("complex numbers", "t.npz", {"x": X * 1j, "y": Y}, {}, DtypeError, r"integers or floats"),
    (
        "a NaN is a name",
        "t.npz",
        {"x": X, "y": Y * np.nan},
        {"labels": "names"},
        LabelError,
        r"got nan in .*; drop the",
    ),
    (
        "the same in a table",
        "t.parquet",
        pa.table({"a": [1, 2, 3], "y": [0.0, np.nan, 1.0]}),
        {"labels": "names"},
        LabelError,
        r"every example has a label; got nan in 'y' at row 1",
    ),
    (
        "a null in a dictionary is a name",
        "t.feather",
        pa.table({"a": [1, 2], "y": pa.DictionaryArray.from_arrays([0, 1], ["u", None])}),
        {},
        LabelError,
        r"every example has a label; got None in 'y' at row 1",
    ),
    (
        "a null in a dictionary is a category",
        "t.feather",
        pa.table({"a": pa.DictionaryArray.from_arrays([0, 1], ["u", None]), "y": [0, 1]}),
        {},
        DataFormatError,
        r"got null in column 'a' at row 1",
    ),
    (
        "codes beyond the dictionary are no category",
        "t.feather",
        pa.table({"a": BEYOND, "y": [0, 1]}),
        {},
        DataFormatError,
        r"whole Arrow file; got .*out of bounds",
    ),
    ("a number of names", "t.csv", column("ab"), {"class_names": 5}, ConfigError, r"class_names=5; pass a sequence"),
    ("an array of columns", "t.csv", column("ab"), {"features": X[0]}, ConfigError, r"features=ndarray.*pass a list"),
    ("classes of targets", "t.csv", FLOWERS, {"regression": True, "class_names": Y}, ConfigError, "no classes"),
    ("NaN in an array", "t.npz", {"x": X * np.nan, "y": Y}, {}, NonFiniteError, r"x\[0, 0\]=nan"),
    ("a NaN label", "t.npz", {"x": X, "y": Y * np.nan}, {}, LabelError, r"got nan in 'y' at y\[0\]"),
    ("an archive above the limit", "t.npz", {"x": X, "y": Y}, {"max_bytes": 99}, DataFormatError, "max_bytes=99"),
    ("no archive at all", "t.npz", b"PK\3\4", {}, DataFormatError, r"whole .npz; got .*get the file again"),
    (
        "a null is 0",
        "t.parquet",
        pa.table({"a": [1, None], "y": [0, 1]}),
        {},
        DataFormatError,
        r"'a' at row 1 \(from 0",
    ),
    ("a null label", "t.feather", pa.table({"a": [1, 2], "y": ["u", None]}), {}, DataFormatError, r"'y' at row 1"),
    ("a nested column", "t.parquet", TABLE.append_column("n", NESTED), {}, DataFormatError, r"'n' of type list<"),
    ("a time", "t.feather", TABLE.append_column("n", pa.array([1, 2], pa.date32())), {}, DataFormatError, "date32"),
    ("text is a category", "t.parquet", TABLE.append_column("n", [["u", "v"]]), {}, DataFormatError, "type string"),
    ("an extension type", "t.feather", TABLE.append_column("n", EXTENSION), {}, DataFormatError, "'n' of type"),
    ("the same in Parquet", "t.parquet", TABLE.append_column("n", EXTENSION), {}, DataFormatError, "'n' of type"),
    ("a nested label", "t.feather", pa.table({"a": [1, 2], "y": NESTED}), {}, DataFormatError, "label is a column of"),
    (
        "an infinity in a table",
        "t.feather",
        pa.table({"a": [1, np.inf], "y": Y[:2]}),
        {},
        NonFiniteError,
        "'a' at row 1",
    ),
    ("a table above the limit", "t.parquet", TABLE, {"max_bytes": 15}, DataFormatError, r"max_bytes=15; got a table"),
    ("a batch above the limit", "t.feather", TABLE, {"max_bytes": 15}, DataFormatError, r"max_bytes=15; got a table"),
    ("a table of no rows", "t.parquet", TABLE[:0], {}, DataFormatError, r"at least one row; got none"),
    ("CSV called Parquet", "t.parquet", FLOWERS, {}, DataFormatError, r"whole Parquet file; got .*get the file again"),
    ("CSV called Arrow", "t.arrow", FLOWERS, {}, DataFormatError, r"whole Arrow file; got .*get the file again"),
    (
        "images without labels",
        "t.idx",
        idx(PIXELS),
        {"label": None},
        ConfigError,
        r"file of their labels; got label=None",
    ),
    ("options for images", "t.idx", idx(PIXELS), {"regression": True}, ConfigError, r"idx files take no regression"),
]


@pytest.mark.parametrize("bug, name, content, options, error, text", FAULTS, ids=[row[0] for row in FAULTS])
def test_faults(put, bug, name, content, options, error, text):
    path = put(name, content)
    if "header" not in options and ("y" in str(content)) and isinstance(content, bytes | str):
        options = {"label": "species" if content is FLOWERS else "y", **options}
    elif not name.endswith("npz"):
        options = {"label": "y", **options}
    with pytest.raises(error) as caught:
        data.read(path, **options)
    assert type(caught.value) is error and re.search(text, str(caught.value).replace("\n", " ")), str(caught.value)
    assert re.match(r"data\.(read|dataset): [^;]+; .+; .+", str(caught.value), re.DOTALL)


@pytest.mark.parametrize("path", ["nowhere.csv", ".", "a\0b.csv", 3, None, b"bytes"])
def test_a_path_that_is_no_file(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=r"^data.read: source is [^;]+; got source=.+; .+"):
        data.read(path, label=0)


def test_missing_label_file_and_mismatched_counts_of_images(put):
    images = put("a.idx", idx(PIXELS))
    with pytest.raises(ConfigError, match=r"label is a file that can be read; got label='nowhere': No such file"):
        data.read(images, label="nowhere")
    with pytest.raises(DataFormatError, match=r"as many as images; got 3 for 2, in .*labels at byte 4"):
        data.read(images, label=put("labels", idx(np.zeros(3, np.uint8))))
    with pytest.raises(DataFormatError, match=r"^data.read: images have pixels; got 0x2, in .*b.idx at byte 8; get"):
        data.read(put("b.idx", idx(PIXELS[:, :0])), label=put("two", idx(LABELS)))
    with pytest.raises(LabelError, match=r"1 to 2 in 'labels'; for labels 1..2 pass labels='names'"):
        data.read(images, label=put("labels", idx(LABELS + 1)))


def test_pyarrow_missing_or_old(put, monkeypatch):
    path = put("t.csv", FLOWERS)
    monkeypatch.setattr(pa, "__version__", "14.0.0")
    with pytest.raises(ConfigError, match=r"14.0.1 or newer.*got 14.0.0"):
        data.read(path, label=2)
    monkeypatch.setattr(pa, "__version__", "14.0.1")
    assert len(data.read(path, label=2)) == 3
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for name in ("t.csv", "t.parquet", "t.arrow"):
        with pytest.raises(ConfigError, match=r"pip install 'jaxnn\[data\]'"):
            data.read(put(name, FLOWERS), label=2)
    assert len(data.read(put("t.npz", {"x": X, "y": Y}))) == 3


# --- exactness, against Python's own csv module -----------------------------------------------------------


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_repr_of_every_float_comes_back_to_the_bit(put, request, dtype):
    if dtype == "float64":
        request.getfixturevalue("x64")
    rng = np.random.default_rng(0)
    kind = np.dtype(dtype)
    bits = rng.integers(0, 2 ** (8 * kind.itemsize), (4000, 3), f"u{kind.itemsize}", endpoint=False).view(kind)
    x = np.where(np.isfinite(bits), bits, kind.type(0.1))
    text = "".join(f"{a!s},{b!s},{c!s},{i % 2}\n" for i, (a, b, c) in enumerate(x))
    ds = data.read(put("t.csv", "a,b,c,y\n" + text), label="y")
    assert ds.batch.x.dtype == dtype
    np.testing.assert_array_equal(
        np.asarray(ds.batch.x).view(bits.dtype.str.replace("f", "u")), x.view(f"u{kind.itemsize}")
    )


def test_a_big_file_of_many_blocks_equals_pythons_reading(put, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK", 1000)
    rng = np.random.default_rng(1)
    rows = [[repr(float(v)) for v in rng.normal(size=4)] + [str(rng.choice(["up", "down"]))] for _ in range(3000)]
    text = io.StringIO()
    csv.writer(text).writerows([["a", "b", "c", "d", "y"], *rows])
    path = put("t.csv", text.getvalue())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    ds = data.read(path, label="y")
    want = list(csv.DictReader(io.StringIO(text.getvalue())))
    np.testing.assert_array_equal(ds.batch.x, np.array([[float(r[k]) for k in "abcd"] for r in want], np.float32))
    assert [ds.schema.class_names[k] for k in ds.batch.y.tolist()] == [r["y"] for r in want]
    assert hashlib.sha256(path.read_bytes()).hexdigest() == digest
    lines = text.getvalue().splitlines()
    lines[2000] = lines[2000].replace("down", "up").replace("up", "up,")
    with pytest.raises(DataFormatError, match=r"6 cells for 5 columns on line 2001 "):
        data.read(put("t.csv", "\n".join(lines)), label="y")


def test_a_line_of_names_may_be_longer_than_a_block(put, monkeypatch):
    monkeypatch.setattr(csv_reader, "BLOCK", 64)
    names = [f"a long name of column {i}" for i in range(20)]
    text = ",".join([*names, "y"]) + "\n" + "".join(f"{'1,' * 20}{i % 2}\n" for i in range(5))
    assert data.read(put("t.csv", text), label="y").batch.x.shape == (5, 20)
    assert data.describe(put("t.csv", text), label="y").num_examples == 5


@pytest.mark.parametrize("block", [64, 300])
def test_lines_inside_quotes_never_become_rows(put, monkeypatch, block):
    """pyarrow cuts a file into blocks at line ends; here most of them are inside a quoted note that looks like rows."""
    monkeypatch.setattr(csv_reader, "BLOCK", block)
    rng = np.random.default_rng(block)
    for trial in range(60):
        parts = ["\n", "9,9\n", '""', "\n9,,9\n9,", "\r\n", "text", ","]
        notes = ["".join(rng.choice(parts, rng.integers(0, 6))) for _ in range(40)]
        order = ["x", "note", "y"] if trial % 2 else ["note", "x", "y"]
        rows = [{"x": str(i), "note": f'"{note}"', "y": str(i % 2)} for i, note in enumerate(notes)]
        path = put(
            "t.csv", "\n".join(",".join(row[k] for k in order) for row in [dict(zip(order, order, strict=True)), *rows])
        )
        ds = data.read(path, label="y", features=["x"])
        assert ds.batch.x[:, 0].tolist() == list(range(40)) and ds.batch.y.tolist() == [0, 1] * 20


# --- bombs ------------------------------------------------------------------------------------------------


def npz_claiming(shape, content=b"\0" * 64, claimed=None):
    """An archive whose x has a header of this shape, and a zip directory that claims so many bytes."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", header.getvalue() + content)
        y = io.BytesIO()
        np.save(y, Y)
        archive.writestr("y.npy", y.getvalue())
    raw = out.getvalue()
    if claimed is not None:  # the size in the central directory, which is what readers go by
        at = raw.index(b"PK\1\2") + 24
        raw = raw[:at] + struct.pack("<I", claimed) + raw[at + 4 :]
    return raw


def parquet_of_one_value():
    out = io.BytesIO()
    with pa.parquet.ParquetWriter(out, pa.schema([("a", pa.int64()), ("y", pa.int8())])) as writer:
        part = pa.table({"a": np.zeros(10**6, np.int64), "y": np.zeros(10**6, np.int8)})
        for _ in range(3):
            writer.write_table(part)
    return out.getvalue()


def lying_footer():
    """A Parquet file that says it has 5e9 rows in place of 2e6: the number stands in the footer as a varint."""

    def varint(n):
        n, out = n * 2, []
        while n >= 128:
            out.append(n % 128 + 128)
            n //= 128
        return bytes([*out, n])

    out = io.BytesIO()
    pa.parquet.write_table(pa.table({"a": np.zeros(2_000_001, np.int64), "y": np.zeros(2_000_001, np.int8)}), out)
    raw = out.getvalue()
    size = struct.unpack("<I", raw[-8:-4])[0]
    footer = raw[-8 - size : -8].replace(varint(2_000_001), varint(5_000_000_000))
    return raw[: -8 - size] + footer + struct.pack("<I", len(footer)) + b"PAR1"


def lying_buffer():
    """A Feather file whose compressed column of 8e5 bytes says that it unpacks to 40e9."""
    out = io.BytesIO()
    pa.feather.write_feather(pa.table({"a": np.zeros(10**5), "y": np.zeros(10**5, np.int8)}), out, chunksize=10**5)
    raw = out.getvalue()
    assert raw.count(struct.pack("<q", 800_000) + b"\x04\x22\x4d\x18") == 1  # the length, then an LZ4 frame
    return raw.replace(struct.pack("<q", 800_000), struct.pack("<q", 40_000_000_000))


@pytest.mark.parametrize("compression", ["zstd", "lz4", "uncompressed"])
@pytest.mark.parametrize("rows", [1000, 100_000])
def test_an_arrow_file_is_measured_without_unpacking_it(put, tmp_path, compression, rows):
    words = pa.array([f"word {i} of many" for i in range(50_000)] * 2)
    table = pa.table({"a": np.arange(1e5), "c": words.dictionary_encode(), "n": [1, None] * 50_000, "t": words})
    path = tmp_path / "t.feather"
    pa.feather.write_feather(table, path, compression=compression, chunksize=rows)
    with pa.ipc.open_file(path) as file:
        batches = [file.get_batch(i) for i in range(file.num_record_batches)]
    dictionary = batches[0].column(1).dictionary.nbytes
    want = sum(batch.nbytes - dictionary for batch in batches) + dictionary
    assert 0 <= unpacked_size(path) - want <= 64 * len(batches)  # padding
    if (compression, rows) == ("lz4", 100_000):  # a buffer that would not have become smaller is kept, and marked by -1
        raw, mark = path.read_bytes(), struct.pack("<q", 800_000) + b"\x04\x22\x4d\x18"
        kept = put("kept.feather", raw.replace(mark, struct.pack("<q", -1) + mark[8:], 1))
        assert raw.count(mark) == 2 and 0 < unpacked_size(kept) - (unpacked_size(path) - 800_000) < 800_000


def feather_of_one_value():
    """A Feather file whose one batch of 160 MB takes 20 kB."""
    out = io.BytesIO()
    zeros = pa.table({"a": np.zeros(10**7), "y": np.zeros(10**7, np.int64)})
    pa.feather.write_feather(zeros, out, compression="zstd", chunksize=10**7)
    return out.getvalue()


@pytest.mark.parametrize(
    "name, content, options, text",
    [
        ("t.feather", lying_buffer(), {}, "got a table of 40,"),
        ("t.feather", feather_of_one_value(), {"max_bytes": 10**6}, "got a table of 160,000,000 bytes"),
        ("t.npz", npz_claiming((10**10, 1)), {}, "40,000,000,000 bytes"),
        ("t.npz", npz_claiming((2**62, 2**62)), {}, "whole .npz"),
        ("t.npz", npz_claiming((10**9, 1), claimed=4 * 10**9 + 128), {}, "whole .npz"),
        ("t.npz", npz_claiming((10, 1), b"\0" * 10_000_000), {}, "whole .npz"),
        ("t.npz", npz_claiming((2_500_000, 1), b"\0" * 10_000_000), {"max_bytes": 10**6}, "max_bytes=1,000,000"),
        ("t.parquet", parquet_of_one_value(), {"max_bytes": 10**7}, "got a table of 24,000,000 bytes"),
        ("t.parquet", lying_footer(), {}, "got a table of 40,000,000,000 bytes"),
        (
            "t.idx.gz",
            gzip.compress(idx(PIXELS)[:4] + struct.pack(">3I", 10**4, 2000, 2000), mtime=0),
            {},
            "take 40000000000 bytes",
        ),
        ("t.idx.gz", gzip.compress(idx(PIXELS) + bytes(10**7), mtime=0), {}, "got more"),
        (
            "t.idx.gz",
            gzip.compress(idx(np.zeros((10, 1000, 1000), np.uint8)), mtime=0),
            {"max_bytes": 10**6},
            "max_bytes=1,000,",
        ),
    ],
)
def test_a_small_file_that_claims_much_fails_fast_and_small(put, name, content, options, text):
    path, labels = put(name, content), put("labels", idx(LABELS))
    assert path.stat().st_size < 200_000
    pool, start = pa.total_allocated_bytes(), time.perf_counter()
    tracemalloc.start()
    with pytest.raises(DataFormatError, match=text):
        data.read(path, label=labels if "idx" in name else "y", **options)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert time.perf_counter() - start < 1 and peak < 10_000_000 and pa.total_allocated_bytes() - pool < 10_000_000


# --- any bytes: a typed error or a data set ---------------------------------------------------------------


def small_files():
    """A small valid file of every kind: name -> (content, options)."""
    table = pa.table({"a": [1.5, 2.5, 3.5], "c": pa.array(["u", "v", "u"]).dictionary_encode(), "y": ["p", "q", "p"]})
    files = {"t.csv": (FLOWERS.encode(), {"label": 2})}
    for name, write in (("t.parquet", pa.parquet.write_table), ("t.feather", pa.feather.write_feather)):
        out = io.BytesIO()
        write(table, out)
        files[name] = (out.getvalue(), {"label": "y"})
    for name, save in (("t.npz", np.savez), ("deflated.npz", np.savez_compressed)):
        out = io.BytesIO()
        save(out, x=X, y=Y)
        files[name] = (out.getvalue(), {})
    images = idx(np.arange(12, dtype=np.uint8).reshape(2, 2, 3))
    files |= {"t.idx": (images, {"label": "labels"}), "t.idx.gz": (gzip.compress(images), {"label": "labels"})}
    return files


FILES = small_files()
WHOLE = {"t.parquet", "t.feather", "t.npz", "deflated.npz", "t.idx", "t.idx.gz"}  # no prefix of these is a file


def attempt(folder, name, content, options):
    """Read and return a data set that keeps its promises, or None after a typed error of the right form."""
    (folder / name).write_bytes(content)
    if "label" in options and options["label"] == "labels":
        (folder / "labels").write_bytes(idx(LABELS))
        options = {"label": folder / "labels"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # one damaged letter makes class names that look alike
            ds = data.read(folder / name, **options)
    except TYPED as error:
        assert re.match(r"data\.(read|dataset): ", str(error)), str(error)
        return None
    assert np.isfinite(ds.batch.x).all() and ds.batch.x.shape == (len(ds), ds.num_features) and len(ds) > 0
    assert ds.schema.num_classes is None or 0 <= ds.batch.y.min() <= ds.batch.y.max() < ds.schema.num_classes
    return ds


@pytest.mark.parametrize("name", FILES)
def test_every_prefix_is_refused_or_valid(tmp_path, name):
    content, options = FILES[name]
    assert attempt(tmp_path, name, content, options) is not None
    step = max(1, len(content) // 500)
    for n in [*range(0, len(content), step), *range(max(0, len(content) - 40), len(content))]:
        ds = attempt(tmp_path, name, content[:n], options)
        assert ds is None or name not in WHOLE


def test_every_byte_of_an_arrow_footer_may_be_wrong(tmp_path):
    """Offsets in it are followed before pyarrow looks at them."""
    content, options = FILES["t.feather"]
    for at in range(max(0, len(content) - 500), len(content), 2):
        for byte in (0x7F, 0xFF):
            attempt(tmp_path, "t.feather", content[:at] + bytes([byte]) + content[at + 1 :], options)
    moved = content[8:]  # everything is somewhere else, and in part twice
    for at in range(0, len(moved), 8):
        twice = moved[:at] + moved[at : at + 30] + moved[at:]
        assert attempt(tmp_path, "t.feather", twice, options) is None


def damaged(data_of, content):
    """Draw a valid file with some bytes changed, removed, doubled or inserted."""
    out = bytearray(content)
    for _ in range(data_of.draw(st.integers(1, 4))):
        at = data_of.draw(st.integers(0, len(out)))
        what = data_of.draw(st.sampled_from(["set", "cut", "insert", "double"]))
        if what == "set" and at < len(out):
            out[at] = data_of.draw(st.integers(0, 255))
        elif what == "cut":
            del out[at : at + data_of.draw(st.integers(1, 20))]
        elif what == "insert":
            out[at:at] = data_of.draw(st.binary(max_size=8))
        else:
            out[at:at] = out[at : at + 30]
    return bytes(out)


CELLS = st.one_of(
    st.sampled_from(
        ["1", "-2.5", "1e5", "inf", "nan", "NA", "", " ", "true", "x", '"', '"a,b"', '"a\nb"', "\ufeff", "é", "\0"]
    ),
    st.floats().map(repr),
    st.integers().map(str),
    st.text(max_size=3),
)
CSVS = st.tuples(
    st.lists(st.lists(CELLS, max_size=4).map(",".join), max_size=6), st.sampled_from(["\n", "\r\n", "\r", "\n\n"])
).map(lambda parts: parts[1].join(parts[0]).encode("utf-8", "surrogatepass"))


def fuzz(draw, tmp_path_factory, name):
    content, options = FILES[name]
    kind = draw.draw(st.sampled_from(["damaged", "damaged", "any", "csv"]))
    if kind == "csv" and name == "t.csv":
        header = draw.draw(st.sampled_from([None, True, False]))
        return attempt(tmp_path_factory.getbasetemp(), name, draw.draw(CSVS), {"label": -1, "header": header})
    content = draw.draw(st.binary(max_size=200)) if kind == "any" else damaged(draw, content)
    return attempt(tmp_path_factory.getbasetemp(), name, content, options)


@pytest.mark.parametrize("name", FILES)
@FUZZ
@given(draw=st.data())
def test_any_bytes_give_a_typed_error_or_a_data_set(tmp_path_factory, name, draw):
    fuzz(draw, tmp_path_factory, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
@LONG_FUZZ
@given(draw=st.data())
def test_ten_thousand_files_a_reader(tmp_path_factory, name, draw):
    fuzz(draw, tmp_path_factory, name)


def test_the_slow_reading_agrees_with_the_fast_one_about_lines(put):
    path = put("t.csv", '\ufeff\na,b\r\n\r\n1,"x\n\ny"\n2,z\r3,w\n')
    assert [line for line, _ in csv_lines.records(path, ",")] == [2, 4, 7, 8]
    assert csv_lines.line_of(path, ",", None, 2) == 8
