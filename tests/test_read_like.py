"""`data.read(..., like=...)`, `data.read_inputs` and tables in memory: new data are treated as the old ones were."""

import io
import re
import struct
import warnings

import jax.numpy as jnp
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from jaxnn import data
from jaxnn._errors import ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError

TRAIN = "length,width,species\n1.5,0.25,setosa\n4.75,1.5,versicolor\n6.0,2.5,virginica\n"


@pytest.fixture
def flowers(put):
    return data.read(put("train.csv", TRAIN), label="species")


class Foreign:
    """A table of another library: all that is known of it is `__arrow_c_stream__`."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


# --- like -------------------------------------------------------------------------------------------------


def test_a_test_file_has_the_classes_and_the_order_of_columns_of_the_training_file(put, flowers):
    path = put("test.csv", "species,id,width,length\nvirginica,a,1,2\nvirginica,b,3,4\n")
    test = data.read(path, like=flowers)
    assert test.batch.x.tolist() == [[2, 1], [4, 3]] and test.batch.y.tolist() == [2, 2]
    assert test.schema == data.Schema.from_dict(flowers.schema.to_dict() | {"name": "test"})
    assert data.read(path, like=flowers.schema, label=0).batch.y.tolist() == [2, 2]


def test_the_schema_says_how_the_file_was_read(put, flowers):
    assert (flowers.schema.label_name, flowers.schema.labels) == ("species", "names")
    signs = data.read(put("s.csv", "a,y\n1,-1\n2,1\n"), label="y", labels="pm1")
    assert (signs.schema.label_name, signs.schema.labels) == ("y", "pm1")
    assert data.read(put("i.csv", "a,y\n1,0\n2,1\n"), label="y").schema.labels == "index"
    assert data.read(put("a.npz", {"x": np.ones((2, 1)), "y": np.array([0, 1])})).schema.label_name is None


def test_classes_are_spelt_as_the_data_spell_them(put, flowers):
    assert flowers.schema.spell(np.array([2, 0])) == ["virginica", "setosa"]
    assert data.dataset([[0.0], [1.0]], [-1, 1], labels="pm1").schema.spell([0, 1, 1]) == [-1, 1, 1]
    assert data.dataset([[0.0], [1.0]], [0, 1], num_classes=2).schema.spell(jnp.array([1, 0])) == [1, 0]
    assert data.load("iris").schema.spell([1]) == ["versicolor"]


@pytest.mark.parametrize("labels, values", [("index", "0 1 1"), ("names", "1 2 2"), ("pm1", "-1 1 1")])
def test_labels_of_every_kind_are_read_again(put, labels, values):
    text = "a,y\n" + "".join(f"{i},{v}\n" for i, v in enumerate(values.split()))
    train = data.read(put("train.csv", text), label="y", labels=labels)
    last = data.read(put("test.csv", f"y,a\n{values.split()[2]},7\n"), like=train)
    assert last.batch.y.tolist() == [1] and last.batch.x.tolist() == [[7]]
    assert str(last.schema.spell(last.batch.y)[0]) == values.split()[2]


def test_real_targets_are_read_again(put):
    train = data.read(put("train.csv", "a,y\n1,0.5\n2,1.5\n"), label="y", regression=True)
    assert data.read(put("test.csv", "y,a\n-3.5,7\n"), like=train).batch.y.tolist() == [-3.5]


def test_data_like_standardised_data_are_on_their_scale(put, flowers):
    train, *_ = data.standardise(flowers)
    path = put("again.csv", TRAIN)
    again = data.read(path, like=train)
    np.testing.assert_array_equal(again.batch.x, train.batch.x)
    assert again.schema.mean == train.schema.mean and "standardised" in repr(again)
    np.testing.assert_array_equal(data.read_inputs(path, like=train).x, train.batch.x)


def test_categories_are_those_of_the_training_file_in_every_format(put):
    colour = pa.DictionaryArray.from_arrays([2, 0, 2], ["blue", "green", "red"])
    train = data.read(put("t.feather", pa.table({"size": [1, 2, 3], "colour": colour, "y": [0, 1, 0]})), label="y")
    assert train.schema.feature_names == ("size", "colour=blue", "colour=green", "colour=red")
    for name, content in {
        "new.csv": "colour,size\ngreen,5\nred,6\n",
        "new.parquet": pa.table({"colour": ["green", "red"], "size": [5, 6]}),
        "new.feather": pa.table({"size": [5, 6], "colour": pa.array(["green", "red"]).dictionary_encode()}),
    }.items():
        assert data.read_inputs(put(name, content), like=train).x.tolist() == [[5, 0, 1, 0], [6, 0, 0, 1]], name
    with pytest.raises(DataFormatError, match=r"^data.read_inputs: categories are .*got 'grene' .*line 3.*'green'\?"):
        data.read_inputs(put("bad.csv", "colour,size\nred,1\ngrene,2\n"), like=train)
    only = data.read(put("c.feather", pa.table({"colour": colour, "y": [0, 1, 0]})), label="y")
    assert data.read_inputs(put("c.csv", "colour\nblue\n"), like=only).x.tolist() == [[1, 0, 0]]


def test_a_column_named_like_a_category_is_that_feature(put):
    schema = data.Schema("s", 2, feature_names=("a=b", "a"))
    assert data.read_inputs(put("new.csv", "a,a=b\n1,2\n"), like=schema).x.tolist() == [[2, 1]]
    longest = data.Schema("s", 2, feature_names=("a=b=c",))  # category c of "a=b", not b=c of "a"
    assert data.read_inputs(put("new.csv", "a,a=b\nx,c\n"), like=longest).x.tolist() == [[1]]


def test_categories_of_many_rows(put):
    words = np.array(["u", "v", "w"])[np.arange(40_000) % 3]
    table = pa.table({"c": pa.array(words).dictionary_encode(), "y": np.arange(40_000) % 2})
    ds = data.read(put("t.parquet", table), label="y")
    np.testing.assert_array_equal(ds.batch.x, words[:, None] == np.array(["u", "v", "w"]))


def test_arrays_and_images_fit_by_their_number_of_columns(put, flowers, tmp_path):
    archive = put("new.npz", {"x": np.array([[2.0, 1.0]]), "v": np.ones((1, 3))})
    assert data.read_inputs(archive, like=flowers).x.tolist() == [[2, 1]]
    with pytest.raises(ShapeError, match=r"^data.read_inputs: a file has the 2 features of 'train'; got 3, in .*npz"):
        data.read_inputs(archive, like=flowers, features="v")
    pixels = np.arange(8, dtype=np.uint8).reshape(2, 2, 2)
    idx = bytes([0, 0, 8, 3]) + struct.pack(">3I", 2, 2, 2) + pixels.tobytes()
    images = put("a.idx", idx)
    found = data.read_inputs(images, like=data.Schema("i", 2, image_shape=(2, 2)))
    np.testing.assert_array_equal(found.x, pixels.reshape(2, 4).astype(np.float32) / np.float32(255))
    with pytest.raises(ShapeError, match=r"images of 4x1 of 'i'; got \(2, 2\)"):
        data.read_inputs(images, like=data.Schema("i", 2, image_shape=(4, 1)))


def test_without_feature_names_columns_are_taken_in_their_order(put):
    train = data.read(put("t.npz", {"x": np.ones((2, 2)), "y": np.array([0, 1])}))
    said = r"the columns 'p', 'q' of .*csv are taken as the features in this order, as 't' has no names"
    with pytest.warns(UserWarning, match=said) as caught:
        assert data.read_inputs(put("new.csv", "p,q\n1,2\n"), like=train).x.tolist() == [[1, 2]]
    assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match=said):
        assert data.read(put("test.csv", "p,q,y\n1,2,1\n"), like=train, label="y").batch.x.tolist() == [[1, 2]]
    assert data.read_inputs(put("new.csv", "1,2\n"), like=train, header=False).x.tolist() == [[1, 2]]  # no names
    with pytest.raises(ShapeError, match=r"the 2 features of 't'; got 3"):  # without a warning
        data.read_inputs(put("new.csv", "p,q,r\n1,2,3\n"), like=train)


def test_the_label_is_no_feature_where_columns_are_taken_in_their_order(put):
    schema = data.Schema("s", 2, label_name="y", num_features=2)
    with pytest.warns(UserWarning, match=r"the columns 'p', 'q' of"):
        assert data.read_inputs(put("new.csv", "p,y,q\n1,9,2\n"), like=schema).x.tolist() == [[1, 2]]


def test_another_number_of_features_is_refused_without_names_and_scale(put):
    train = data.read(put("t.npz", {"x": np.ones((8, 2)), "y": np.arange(8) % 2}))
    other = put("u.npz", {"x": np.ones((2, 3)), "y": np.array([0, 1])})
    for like in (train, *data.split(train, (0.5, 0.5), seed=0), data.class_weights(train)):
        with pytest.raises(ShapeError, match=r"a file has the 2 features of 't'; got 3"):
            data.read(other, like=like)
    assert data.standardise(train)[0].schema.num_features == 2


def test_arrays_of_other_names_are_read_like_data(put):
    train = data.read(put("t.npz", {"x": np.ones((2, 2)), "y": np.array([0, 1])}))
    path = put("u.npz", {"X": np.eye(2), "t": np.array([1, 0])})
    assert data.read(path, like=train, features="X", label="t").batch.y.tolist() == [1, 0]
    for name, content in (("n.csv", "a,b,y\n1,2,0\n"), ("n.parquet", pa.table({"a": [1], "b": [2], "y": [0]}))):
        with pytest.raises(ConfigError, match=r"^data.read: like says .*; got features='X'; leave"):
            data.read(put(name, content), like=train, features="X", label="y")
        with pytest.raises(ConfigError, match=r"^data.read_inputs: like says .*; got features='X'; leave"):
            data.read_inputs(put(name, content), like=train, features="X")


@pytest.mark.parametrize("label", [0, 1, 2])
def test_lines_without_a_header_may_come_without_their_label(put, label):
    lines = [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    for i, line in enumerate(lines):
        line[label] = i % 2

    def text(rows):
        return "".join(",".join(map(str, row)) + "\n" for row in rows)

    train = data.read(put("t.csv", text(lines)), label=label, header=False)
    bare = [line[:label] + line[label + 1 :] for line in lines]
    for rows in (bare, lines):
        assert data.read_inputs(put("n.csv", text(rows)), like=train, header=False).x.tolist() == bare
    assert data.read(put("n.csv", text(lines)), like=train, header=False).batch.y.tolist() == [0, 1, 0]
    for wrong in ([[1]], [[1, 2, 3, 0]]):
        with pytest.raises(
            DataFormatError, match=rf"have the 3 columns of 't', or one less .*; got {len(wrong[0])}, in"
        ):
            data.read_inputs(put("n.csv", text(wrong)), like=train, header=False)
    with pytest.raises(DataFormatError, match="3 columns" if label < 2 else "label"):
        data.read(put("n.csv", text(bare)), like=train, header=False, label=0)


def test_chosen_columns_of_lines_without_a_header_are_found_by_position(put):
    train = data.read(put("t.csv", "9,1,2,0\n9,3,4,1\n"), label=3, features=[2, 1], header=False)
    assert data.read_inputs(put("n.csv", "9,5,6,7\n"), like=train, header=False).x.tolist() == [[6, 5]]
    with pytest.raises(DataFormatError, match=r"got no 'column_2'"):
        data.read_inputs(put("n.csv", "5,6\n"), like=train, header=False)


def test_a_file_without_header_is_read_like_one_without(put):
    train = data.read(put("t.csv", "1,2,0\n3,4,1\n"), label=-1, header=False)
    assert data.read_inputs(put("new.csv", "5,6\n"), like=train, header=False).x.tolist() == [[5, 6]]


# --- inputs -----------------------------------------------------------------------------------------------


def test_inputs_name_what_is_unused_and_keep_what_is_asked_for(put, flowers):
    text = "id,species,width,length\n007,?,1,2\n008,,3,4\n"
    for keep in ("id", ["id", "width"]):
        found = data.read_inputs(put("new.csv", text), like=flowers, keep=keep)
        assert found.x.tolist() == [[2, 1], [4, 3]] and found.unused == ("species",)
        assert found.kept["id"] == ["007", "008"]  # as it stands: no number
    assert found.kept["width"] == [1, 3]
    on = data.read_inputs(put("on.csv", "on\ntrue\nfalse\n"), like=data.Schema(feature_names=("on",)), keep="on")
    assert on.x.tolist() == [[1], [0]] and on.kept["on"] == [True, False]
    table = pa.table({"id": [7, None], "when": pa.array([1, 2], pa.date32()), "length": [2, 4], "width": [1, 3]})
    found = data.read_inputs(put("new.parquet", table), like=flowers, keep=["id", "when"])
    assert found.kept["id"] == [7, None] and str(found.kept["when"][0]) == "1970-01-02" and found.unused == ()


FAULTS = [  # the bug it would catch, file, content, options, error, text
    ("a column is learnt in place of another", "n.csv", "lenght,width\n1,2\n", {}, DataFormatError,
     r"has every feature of 'train'; got no 'length' in .*n.csv; did you mean 'lenght'\?"),
    ("only the first missing one is named", "n.csv", "a,b\n1,2\n", {}, DataFormatError,
     r"got no 'length', 'width' in .*; the columns are 'a', 'b'"),
    ("a column more shifts the rest", "n.csv", "length;width\n1;2\n", {}, DataFormatError, r"pass delimiter=';'"),
    ("a missing cell is 0", "n.csv", "length,width\n1,\n", {}, DataFormatError, r"has a value; got '' .*'width' on l"),
    ("text is a number", "n.csv", "length,width\n1,x\n", {}, DataFormatError, r"holds numbers; got 'x' in .*'width'"),
    ("infinities pass", "n.csv", "length,width\n1,inf\n", {}, NonFiniteError, r"got inf in column 'width' at line 2"),
    ("no rows", "n.csv", "length,width\n", {}, DataFormatError, r"at least one row; got none"),
    ("no rows in arrays", "n.npz", {"x": np.ones((0, 2))}, {}, DataFormatError, r"at least one row; got none"),
    ("NaN in arrays", "n.npz", {"x": np.full((1, 2), np.nan)}, {}, NonFiniteError, r"x is finite; got x\[0, 0\]=nan"),
    ("a vector is a matrix", "n.npz", {"x": np.ones(2)}, {}, ShapeError, r"x is \[N, D\]"),
    ("words in arrays", "n.npz", {"x": np.array([["a", "b"]])}, {}, DtypeError, r"x holds integers or floats"),
    ("an unknown column is kept", "n.csv", "length,width\n1,2\n", {"keep": ["lengt"]}, ConfigError,
     r"keep is a column of .*; got keep='lengt'; did you mean 'length'\?"),
    ("arrays have columns", "n.npz", {"x": np.ones((1, 2))}, {"keep": ["id"]}, ConfigError, r"npz files take no keep"),
    ("a header in arrays", "n.npz", {"x": np.ones((1, 2))}, {"header": True}, ConfigError, r"npz files take no header"),
    ("an array not there", "n.npz", {"y": np.ones((1, 2))}, {}, ConfigError, r"features='x'; .*choose one of y"),
    ("nothing to keep", "n.csv", "length,width\n1,2\n", {"keep": None}, ConfigError, r"keep is a list .* keep=None; "),
    ("a number to keep", "n.csv", "length,width\n1,2\n", {"keep": 1}, ConfigError, r"keep is a list of .* keep=1; "),
    ("like is forgotten", "n.csv", "length,width\n1,2\n", {"like": None}, ConfigError, r"got like=None; pass train"),
    ("like is a model", "n.csv", "length,width\n1,2\n", {"like": 3}, ConfigError, r"got like=int; pass the training"),
]  # fmt: skip


@pytest.mark.parametrize("bug, name, content, options, error, text", FAULTS, ids=[row[0] for row in FAULTS])
def test_inputs_that_do_not_fit(put, flowers, bug, name, content, options, error, text):
    with pytest.raises(error) as caught:
        data.read_inputs(put(name, content), **{"like": flowers, **options})
    assert type(caught.value) is error and re.search(text, str(caught.value)), str(caught.value)
    assert re.match(r"data\.read_inputs: [^;]+; .+; .+", str(caught.value)), str(caught.value)


def test_a_labelled_file_that_does_not_fit(put, flowers):
    def refused(error, text, content, **options):
        with pytest.raises(error, match=text):
            data.read(put("test.csv", content), **{"like": flowers, **options})

    refused(
        LabelError,
        r"among the 3 class_names; got 'setsa' .*line 2; did you mean 'setosa'",
        "length,width,species\n1,2,setsa\n",
    )
    refused(LabelError, r"among the 3 class_names; got '0' in", "length,width,species\n1,2,0\n")
    refused(ConfigError, r"label is no feature of 'train'; got label='width' in", TRAIN, label="width")
    refused(ConfigError, r"got label='species'; did you mean 'specie'", "length,width,specie\n1,2,setosa\n")
    for option, value in (
        ("labels", "names"),
        ("regression", True),
        ("num_classes", 3),
        ("class_names", "ab"),
        ("features", [0]),
        ("features", np.arange(2)),
        ("class_names", np.array(["a", "b"])),
        ("num_classes", 0),
    ):
        refused(ConfigError, rf"like says .*; got {option}=", TRAIN, **{option: value})
    near = data.dataset([[0.0], [1e-30]], [0, 1], num_classes=2)
    with pytest.raises(NonFiniteError, match=r"^data.standardise: x of 'data' on the scale of .* finite; got .*=inf"):
        data.standardise(near, data.dataset([[1e30]], [0], num_classes=2))
    standardised, *_ = data.standardise(data.dataset([[0.0], [1e-30]], [0, 1], num_classes=2, feature_names=["a"]))
    with pytest.raises(NonFiniteError, match=r"x on the scale of 'data' is finite; got .*=inf"):
        data.read_inputs(put("n.csv", "a\n1e30\n"), like=standardised)


# --- tables in memory -------------------------------------------------------------------------------------


def frame():
    return pd.DataFrame(
        {
            "length": [1.5, 4.75, 6.0],
            "on": [True, False, True],
            "size": pd.Categorical(["s", "l", "s"]),
            "species": ["setosa", "versicolor", "setosa"],
        },
        index=[7, 3, 9],
    )


@pytest.mark.parametrize(
    "make",
    [
        frame,
        lambda: pa.Table.from_pandas(frame(), preserve_index=False),
        lambda: Foreign(pa.Table.from_pandas(frame(), preserve_index=False)),
    ],
    ids=["pandas", "pyarrow", "foreign"],
)
def test_tables_in_memory_are_read_like_files(make):
    table = make()
    ds = data.read(table, label="species")
    assert repr(ds) == "Dataset('table', 3 examples, 4 features, 2 classes)"
    assert ds.schema.feature_names == ("length", "on", "size=l", "size=s")
    assert ds.batch.x.tolist() == [[1.5, 1, 0, 1], [4.75, 0, 1, 0], [6, 1, 0, 1]] and ds.batch.y.tolist() == [0, 1, 0]
    assert data.read_inputs(make(), like=ds, keep="species").kept["species"] == ["setosa", "versicolor", "setosa"]


@pytest.mark.parametrize(
    "columns, error, text",
    [
        ({"a": [1.0, np.nan], "y": [0, 1]}, DataFormatError, r"null in column 'a' at row 1 \(from 0\).*in the table"),
        ({"a": [1.0, np.inf], "y": [0, 1]}, NonFiniteError, r"'a' at row 1 .* in the table"),
        ({"a": ["u", "v"], "y": [0, 1]}, DataFormatError, r"numbers, booleans or categories; got column 'a' of type"),
        ({"a": [1, "v"], "y": [0, 1]}, DataFormatError, r"values of one kind; got .*, in the table"),
        ({"a": [1, 2], "y": [0, 2]}, LabelError, r"2 distinct from 0 to 2"),
        ({"a": [1, 2], "x": [0, 1]}, ConfigError, r"label is a column of the table; got label='y'"),
    ],
    ids="NaN inf text mixed gap label".split(),
)
def test_tables_with_faults(columns, error, text):
    with pytest.raises(error, match=text):
        data.read(pd.DataFrame(columns), label="y")


@pytest.mark.parametrize("verb", [data.read, data.describe])
@pytest.mark.parametrize("make", [lambda: frame()["length"], lambda: frame().index, lambda: pa.chunked_array([[1.0]])])
def test_a_single_column_is_no_table(verb, make):
    with pytest.raises(ConfigError, match=r"source is the path of a file or a table; got source=\w+"):
        verb(make(), label=0)


@pytest.mark.parametrize("verb", [data.read, data.describe])
@pytest.mark.parametrize(
    "column, text",
    [
        (pa.DictionaryArray.from_arrays(pa.array([0, 7], pa.int8()), ["u", "v"], safe=False), "out of bounds"),
        (
            pa.StringArray.from_buffers(2, pa.py_buffer(np.array([0, 1, 2], np.int32)), pa.py_buffer(b"\xff\xfe")),
            "UTF8",
        ),
    ],
)
def test_a_damaged_table_in_memory_is_refused(verb, column, text):
    for columns in ({"a": [1, 2], "y": column}, {"a": column, "y": [0, 1]}):
        for table in (pa.table(columns), Foreign(pa.table(columns))):
            with pytest.raises(
                DataFormatError, match=rf"columns hold whole values of one kind; got .*{text}.*in the tab"
            ):
                verb(table, label="y")


def test_values_that_pyarrow_cannot_convert_are_a_fault_of_the_table():
    table = pa.table({"a": [1, 2], "y": [0, 1], "when": pa.array([2**62, 0], pa.timestamp("s"))})
    with pytest.raises(DataFormatError, match=r"^data.read_inputs: columns hold whole values .*in the table"):
        data.read_inputs(table, like=data.Schema(feature_names=("a",)), keep=["when"])


def test_options_of_files_mean_nothing_for_tables():
    with pytest.raises(ConfigError, match=r"^data.read: table takes no header; got header=True; leave it out"):
        data.read(frame(), label="species", header=True)


def test_a_data_frame_is_left_alone():
    table = frame()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.read(table, label="species")
    pd.testing.assert_frame_equal(table, frame())


def test_without_pyarrow_a_table_names_the_extra(monkeypatch):
    table = frame()
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ConfigError, match=r"pip install 'jaxnn\[data\]'"):
        data.read(table, label="species")
    with pytest.raises(ConfigError, match=r"got source=<_io.BytesIO"):
        data.read(io.BytesIO(), label="species")
