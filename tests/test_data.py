"""The room `data`: what the door accepts and refuses; what splitting, scaling, loading and reading promise.

Oracles: NumPy in float64, exact fractions, scikit-learn. Not here: that training ignores rows of weight 0.
"""

import gzip
import hashlib
import json
import math
import re
import struct
import tracemalloc
import warnings
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import datasets as sklearn_datasets
from sklearn.preprocessing import StandardScaler
from sklearn.utils.class_weight import compute_class_weight

from jaxnn import data
from jaxnn._errors import ConfigError, DataFormatError, DtypeError, LabelError, NonFiniteError, ShapeError
from jaxnn._types import Batch
from jaxnn.data._files.idx import read_idx

PROFILE = settings(derandomize=True, database=None, deadline=None, max_examples=60)
X = np.arange(12, dtype=np.float32).reshape(4, 3) / 7
Y = np.array([0, 1, 2, 1])


def labelled(y, weight=None, num_classes=None):
    """A data set whose x is the number of the row, so that rows can be told apart afterwards."""
    y = np.asarray(y)
    num_classes = num_classes or max(int(y.max()) + 1, 2)
    return data.dataset(np.arange(len(y))[:, None], y, num_classes=num_classes, weight=weight)


def rows(ds):
    batch = ds.batch if isinstance(ds, data.Dataset) else ds
    return np.asarray(batch.x)[:, 0].astype(int)


# --- the door: what comes in ------------------------------------------------------------------------------


def memmap(tmp_path):
    m = np.memmap(tmp_path / "x.bin", np.float32, "w+", shape=X.shape)
    m[:] = X
    return m


def read_only(_):
    a = X.copy()
    a.setflags(write=False)
    return a


@pytest.mark.parametrize(
    "make",
    [
        lambda _: X,
        lambda _: X.tolist(),
        lambda _: np.asfortranarray(X),
        lambda _: np.repeat(np.repeat(X, 2, 0), 3, 1)[::2, ::3],
        lambda _: X[::-1, ::-1].copy()[::-1, ::-1],
        lambda _: X.astype(">f4"),
        lambda _: X.astype(np.float64),
        lambda _: jnp.asarray(X),
        read_only,
        memmap,
    ],
    ids="C lists Fortran strided reversed big-endian float64 jax read-only memmap".split(),
)
def test_every_make_of_array_gives_the_same_bits(make, tmp_path):
    ds = data.dataset(make(tmp_path), Y, num_classes=3)
    assert ds.batch.x.dtype == jnp.float32 and ds.batch.y.dtype == jnp.int32 and ds.batch.weight is None
    np.testing.assert_array_equal(ds.batch.x, X)
    np.testing.assert_array_equal(ds.batch.y, Y)


@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i4", "i8", "u8", "f2", "bfloat16"])
def test_narrow_and_integer_inputs_become_floats_exactly(dtype):
    x = jnp.array([[0, 100], [64, 3]], "bfloat16") if dtype == "bfloat16" else np.array([[0, 100], [64, 3]], dtype)
    ds = data.dataset(x, [0, 1], num_classes=2)
    np.testing.assert_array_equal(ds.batch.x, np.array([[0, 100], [64, 3]], np.float32))


def test_bytes_do_not_wrap():
    ds = data.dataset(np.array([[255], [1]], np.uint8), [0, 1], num_classes=2)
    assert float(ds.batch.x.sum()) == 256.0


@pytest.mark.parametrize(
    "y",
    [[0, 1, 1], [0.0, 1.0, 1.0], [False, True, True], np.array([0, 1, 1], np.uint8), jnp.array([0, 1, 1])],
    ids="int float bool uint8 jax".split(),
)
def test_whole_labels_of_any_dtype_are_the_same_labels(y):
    ds = data.dataset(np.zeros((3, 1)), y, num_classes=2)
    assert ds.batch.y.dtype == jnp.int32 and ds.batch.y.tolist() == [0, 1, 1]


@pytest.mark.parametrize("make", [list, np.array, jnp.array, lambda y: np.array(y, float)])
def test_pm1_labels_become_0_and_1(make):
    ds = data.dataset(np.zeros((3, 1)), make([-1, 1, -1]), labels="pm1")
    assert ds.batch.y.tolist() == [0, 1, 0] and ds.schema.num_classes == 2


def test_a_class_without_examples_keeps_its_place():
    ds = data.dataset(np.zeros((2, 1)), [0, 2], num_classes=3)
    assert ds.schema.num_classes == 3 and ds.batch.y.tolist() == [0, 2]


def test_num_classes_is_inferred_only_if_asked_and_says_so():
    with pytest.warns(UserWarning, match="num_classes=3 inferred"):
        assert data.dataset(X, Y, num_classes="infer").schema.num_classes == 3


@pytest.mark.parametrize("y", [np.array([0.5, -1.0, 2.0, 3.0]), np.arange(8.0).reshape(4, 2)], ids=["[N]", "[N, K]"])
def test_without_num_classes_real_targets_are_kept(y):
    ds = data.dataset(X, y)
    assert ds.schema.num_classes is None and ds.batch.y.dtype == jnp.float32
    np.testing.assert_array_equal(ds.batch.y, y)


def test_no_features_are_legal():
    ds = data.dataset(np.zeros((3, 0)), [0, 1, 1], num_classes=2)
    assert ds.num_features == 0 and len(ds) == 3


def test_absent_rows_may_hold_anything_and_it_is_stored_as_0():
    x = np.array([[1, 2], [np.nan, 4], [np.inf, 6], [7, 1e300]])
    ds = data.dataset(x, [1.0, np.nan, 9.0, 1.0], num_classes=2, weight=[1, 0, 0.0, 0])
    np.testing.assert_array_equal(ds.batch.x, [[1, 2], [0, 4], [0, 6], [7, 0]])
    assert ds.batch.y.tolist() == [1, 0, 0, 1]  # what is legal is kept
    assert data.dataset(x, [1, 7, -1, 0], labels="pm1", weight=[1, 0, 0, 0]).batch.y.tolist() == [1, 0, 0, 0]
    targets = data.dataset(x, [0.5, np.nan, np.inf, 2.5], weight=[1, 0, 0, 0]).batch.y
    assert targets.tolist() == [0.5, 0.0, 0.0, 2.5]


def test_absent_rows_do_not_raise_the_inferred_number_of_classes():
    with pytest.warns(UserWarning, match="num_classes=2"):
        data.dataset(X, [0, 1, 8, 1], num_classes="infer", weight=[1, 1, 0, 1])


def test_x64_gives_float64_and_the_dtype_asked_for_is_given():
    assert data.dataset(X, Y, num_classes=3, dtype="bfloat16").batch.x.dtype == jnp.bfloat16
    with jax.enable_x64(True):
        wide = data.dataset([[0.1]], [0.2], weight=[0.3])
        assert [a.dtype.name for a in wide.batch] == ["float64"] * 3 and wide.batch.x[0, 0] == 0.1
        assert data.dataset([[0.1]], [0.2], dtype=np.float32).batch.x.dtype == jnp.float32


def test_jax_arrays_of_the_right_dtype_are_not_copied_and_numpy_arrays_are_not_aliased():
    x = jnp.asarray(X)
    assert data.dataset(x, Y, num_classes=3).batch.x is x
    # 64-byte alignment is where jnp.asarray would alias NumPy's memory
    raw = np.zeros(4096 + 16, np.float32)
    start = (-raw.ctypes.data % 64) // 4
    aligned, targets = raw[start : start + 2048].reshape(1024, 2), raw[start + 2048 : start + 3072]
    ds = data.dataset(aligned, targets, weight=targets + 1)
    raw[:] = 5
    assert not ds.batch.x.any() and not ds.batch.y.any() and (ds.batch.weight == 1).all()


# --- the door: what is refused ----------------------------------------------------------------------------

BAD_CELL = X.copy()
BAD_CELL[2, 1] = np.nan
BOTH_INFINITIES = np.zeros((4, 3))
BOTH_INFINITIES[1, 2], BOTH_INFINITIES[3, 0] = np.inf, -np.inf
K3 = dict(num_classes=3)

FAULTS = [
    # (the bug it would catch, x, y, options, error, text)
    ("one example without an axis", X[0], Y, K3, ShapeError, r"x is \[N, D\].*\(3,\).*reshape"),
    ("images not flattened", np.zeros((4, 2, 2)), Y, K3, ShapeError, r"x\.shape=\(4, 2, 2\).*flatten"),
    ("rows do not match", X, Y[:3], K3, ShapeError, r"\(4, 3\).*\(3,\)"),
    ("a column broadcasts to [N, N]", X, Y[:, None], K3, ShapeError, r"\(4, 3\).*\(4, 1\).*ravel"),
    ("a target column broadcasts", X, np.ones((4, 1)), {}, ShapeError, r"\(4, 3\).*\(4, 1\).*ravel"),
    ("one-hot labels", X, np.eye(3)[Y], K3, ShapeError, r"\(4, 3\).*argmax"),
    ("targets of three axes", X, np.zeros((4, 2, 2)), {}, ShapeError, r"\(4, 2, 2\)"),
    ("a scalar y", X, 1, K3, ShapeError, r"y\.shape=\(\)"),
    ("no examples", X[:0], Y[:0], K3, ShapeError, "at least one example"),
    ("ragged lists become objects", [[1, 2], [3]], [0, 1], K3, ShapeError, "x is one rectangular"),
    ("ragged y", X, [[1, 2], [3]], K3, ShapeError, "y is one rectangular"),
    ("weights of another length", X, Y, K3 | {"weight": [1, 2]}, ShapeError, r"weight\.shape=\(2,\), N=4"),
    ("boolean x", X > 0, Y, K3, DtypeError, "x holds integers or floats.*bool"),
    ("object x", X.astype(object), Y, K3, DtypeError, "object"),
    ("None in x", [[1, None]] * 4, Y, K3, DtypeError, "None"),
    ("text x", X.astype(str), Y, K3, DtypeError, "<U"),
    ("bytes x", X.astype("S"), Y, K3, DtypeError, r"\|S"),
    ("complex x loses its imaginary part", X.astype(complex), Y, K3, DtypeError, "complex128"),
    ("datetime x", X.astype("M8[s]"), Y, K3, DtypeError, "datetime64"),
    ("timedelta x is an integer to NumPy", X.astype("m8[s]"), Y, K3, DtypeError, "timedelta64"),
    ("a mask is dropped", np.ma.masked_array(X, X > 1), Y, K3, DtypeError, "MaskedArray"),
    ("complex y", X, Y.astype(complex), K3, DtypeError, "y holds.*complex"),
    ("text labels are ordered by chance", X, list("abca"), K3, DtypeError, "np.unique.*class_names"),
    ("text weights", X, Y, K3 | {"weight": list("abcd")}, DtypeError, "weight holds"),
    ("NaN in x", BAD_CELL, Y, K3, NonFiniteError, r"x\[2, 1\]=nan"),
    ("NaN under positive weight", BAD_CELL, Y, K3 | {"weight": [0, 1, 1, 1]}, NonFiniteError, r"x\[2, 1\]"),
    ("infinities cancel in a sum", BOTH_INFINITIES, Y, K3, NonFiniteError, r"x\[1, 2\]=inf"),
    ("float64 overflows float32", X.astype(float) * 1e300, Y, K3, NonFiniteError, r"float32\[0, 1\]=inf"),
    ("integers overflow float16", X + 70000, Y, K3 | {"dtype": "float16"}, NonFiniteError, "float16"),
    ("NaN label", X, [0, np.nan, 1, 2], K3, NonFiniteError, r"y\[1\]=nan"),
    ("NaN target", X, [0, 1, np.nan, 2], {}, NonFiniteError, r"y\[2\]=nan"),
    ("NaN weight", X, Y, K3 | {"weight": [1, 1, 1, np.nan]}, NonFiniteError, r"weight\[3\]=nan"),
    ("label K is read as class K-1", X, [0, 3, 1, 2], K3, LabelError, r"\[0, 3\).*y\[1\]=3.*num_classes"),
    ("label -1 is read as the last class", X, [0, 1, -1, 2], K3, LabelError, r"y\[2\]=-1.*labels='pm1'"),
    ("-1 and +1 guessed", X, [1, -1, 1, -1], {"num_classes": 2}, LabelError, r"y\[1\]=-1.*labels='pm1'"),
    ("-1 with inferred classes", X, [1, -1, 1, -1], {"num_classes": "infer"}, LabelError, "labels='pm1'"),
    (
        "0 mixed into -1 and +1",
        X,
        [1, -1, 0, 1],
        {"labels": "pm1"},
        LabelError,
        r"exactly -1 and \+1.*y\[2\]=0",
    ),
    ("a half label truncates to 0", X, [0, 0.5, 1, 2], K3, LabelError, r"y\[1\]=0\.5"),
    ("an int64 label wraps in int32", X, [0, 1, 2**32, 1], K3, LabelError, r"y\[2\]=4294967296"),
    ("int32 wraps under a huge K", X, [0, 1, 2**32, 1], {"num_classes": 2**40}, LabelError, r"y\[2\]"),
    (
        "an illegal label under positive weight",
        X,
        [9, 1, 9, 1],
        K3 | {"weight": [0, 1, 1, 1]},
        LabelError,
        r"y\[2\]=9",
    ),
    ("classes taken for targets", X, Y, {}, ConfigError, "num_classes=K or num_classes='infer'.*regression"),
    ("booleans taken for targets", X, Y > 0, {}, ConfigError, "num_classes=K"),
    ("text without classes", X, list("abca"), {}, ConfigError, "num_classes=K.*np.unique"),
    (
        "one class",
        X,
        Y * 0,
        {"num_classes": 1},
        ConfigError,
        "num_classes is a whole number >= 2.*num_classes=1",
    ),
    ("one class inferred", X, Y * 0, {"num_classes": "infer"}, ConfigError, "num_classes=1"),
    ("num_classes is True", X, Y, {"num_classes": True}, ConfigError, "num_classes=True"),
    ("num_classes is a float", X, Y, {"num_classes": 3.0}, ConfigError, "num_classes=3.0"),
    ("three classes of -1 and +1", X, [1, -1, 1, 1], K3 | {"labels": "pm1"}, ConfigError, "num_classes=3"),
    ("misspelt labels", X, Y, K3 | {"labels": "pm"}, ConfigError, "did you mean 'pm1'"),
    ("negative weight", X, Y, K3 | {"weight": [1, -1, 1, 1]}, ConfigError, r"weight\[1\]=-1"),
    ("no weight at all", X, Y, K3 | {"weight": [0, 0, 0, 0]}, ConfigError, "some weight is positive"),
    ("weights vanish in float32", X, Y, K3 | {"weight": [1e-60] * 4}, ConfigError, "some weight is positive"),
    (
        "too few feature names",
        X,
        Y,
        K3 | {"feature_names": ["a", "b"]},
        ConfigError,
        "got 2 feature_names.*of 3",
    ),
    ("a text taken for three names", X, Y, K3 | {"feature_names": "abc"}, ConfigError, "feature_names"),
    (
        "too many class names",
        X,
        Y,
        K3 | {"class_names": "a b c d".split()},
        ConfigError,
        "got 4 class_names.*of 3",
    ),
    ("class names for targets", X, Y * 0.5, {"class_names": ["a"]}, ConfigError, "class_names"),
    ("float64 silently narrowed", X, Y, K3 | {"dtype": "float64"}, ConfigError, "jax_enable_x64"),
    ("integer dtype", X, Y, K3 | {"dtype": int}, ConfigError, "floating-point"),
    ("a dtype that is none", X, Y, K3 | {"dtype": "float31"}, ConfigError, "float31"),
]


@pytest.mark.parametrize("bug, x, y, options, error, text", FAULTS, ids=[f[0] for f in FAULTS])
def test_the_door_refuses(bug, x, y, options, error, text):
    with pytest.raises(error, match=f"^data.dataset: .*{text}") as caught:
        data.dataset(x, y, **options)
    _, got, _ = str(caught.value).split("; ", 2)
    assert got.startswith("got "), "a message reads: who: rule; got name=value; what to do"


@PROFILE
@given(st.integers(1, 40), st.integers(1, 8), st.data())
def test_one_bad_cell_is_always_found(n, d, draw):
    row, column = draw.draw(st.integers(0, n - 1)), draw.draw(st.integers(0, d - 1))
    x = np.ones((n, d), draw.draw(st.sampled_from([np.float32, np.float64])))
    x[row, column] = draw.draw(st.sampled_from([np.nan, np.inf, -np.inf]))
    with pytest.raises(NonFiniteError, match=rf"x\[{row}, {column}\]"):
        data.dataset(x, np.ones(n))


def test_finite_numbers_whose_sum_overflows_are_accepted():
    x = np.full((1000, 2), np.finfo(np.float32).max)
    assert data.dataset(x, np.ones(1000)).batch.x[0, 0] == x[0, 0]
    with jax.enable_x64(True):
        assert jnp.isfinite(data.dataset(np.full((9, 2), 1e308), np.ones(9)).batch.x).all()


# --- Dataset and Schema -----------------------------------------------------------------------------------


def test_a_dataset_prints_on_one_line():
    ds = data.load("digits")
    assert repr(ds) == "Dataset('digits', 1797 examples, 64 features, 10 classes, images 8x8)"
    ds = data.class_weights(*data.standardise(data.dataset(X, Y, num_classes=3, name="mine")))
    assert repr(ds) == "Dataset('mine', 4 examples, 3 features, 3 classes, standardised, weighted)"
    assert repr(data.dataset(X, Y * 0.5)) == "Dataset('data', 4 examples, 3 features, regression)"


def test_a_schema_survives_json_and_compares_by_value():
    for name in ("digits", "iris"):
        schema = data.standardise(data.load(name))[0].schema
        again = data.Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
        assert again == schema and hash(again) == hash(schema)
    with pytest.raises(ConfigError, match="did you mean 'class_names'"):
        data.Schema.from_dict({"class_name": ["a", "b"]})


DAMAGE = [  # field, value, text
    ("name", 5, "name is text; got name=5"),
    ("num_classes", 1, "num_classes is a whole number >= 2"),
    ("num_classes", 2.0, "num_classes is a whole number"),
    ("num_classes", 4, "one entry a class; got 3 class_names for num_classes=4"),
    ("num_classes", None, "one entry a class; got 3 class_names for num_classes=0"),
    ("num_features", 5, "one entry a feature; got 4 feature_names, 4 mean, 4 scale for num_features=5"),
    ("num_features", "4", "num_features is a whole number"),
    ("feature_names", "abcd", "feature_names is None or a tuple of text"),
    ("feature_names", ["a", "b", 3, "d"], "feature_names is None or a tuple of text"),
    ("feature_names", ["a", "b", "c"], "one entry a feature; got 3 feature_names"),
    ("class_names", ["a", "b"], "one entry a class; got 2 class_names for num_classes=3"),
    ("class_names", {"a": 1}, "class_names is None or a tuple of text"),
    ("mean", None, "scale is None where mean is"),
    ("scale", None, "scale is None where mean is"),
    ("mean", [0.0] * 3, "one entry a feature"),
    ("mean", 0.0, "mean is None or a tuple of finite numbers"),
    ("mean", [0.0, 1.0, None, 2.0], "mean is None or a tuple of finite numbers"),
    ("mean", [0.0, 1.0, True, 2.0], "mean is None or a tuple of finite numbers"),
    ("mean", [0.0, 1.0, math.nan, 2.0], "mean is None or a tuple of finite numbers"),
    ("scale", [1.0, 1.0, math.inf, 2.0], "scale is None or a tuple of finite numbers"),
    ("scale", [1.0, 1.0, 0.0, 2.0], "scale is positive"),
    ("scale", [1.0, 1.0, -1.0, 2.0], "scale is positive"),
    ("image_shape", [4], "image_shape is None or"),
    ("image_shape", [2, 0], "image_shape is None or"),
    ("image_shape", [2, 2.0], "image_shape is None or"),
    ("label_name", 3, "label_name is text or None"),
    ("labels", "nams", "labels is one of index, names, pm1; got labels='nams'; did you mean 'names'"),
    ("labels", None, "labels is text"),
]


@pytest.mark.parametrize("field, value, text", DAMAGE)
def test_a_damaged_schema_says_what_is_wrong(field, value, text):
    whole = json.loads(json.dumps(data.standardise(data.load("iris"))[0].schema.to_dict()))
    data.Schema.from_dict(whole)
    with pytest.raises(ConfigError, match=rf"^Schema: [^;]*{re.escape(text)}"):
        data.Schema.from_dict(whole | {field: value})


def test_a_field_of_a_schema_that_is_missing_is_not_the_default():
    whole = data.standardise(data.load("iris"))[0].schema.to_dict()
    for field in set(whole) - {"num_features"}:
        with pytest.raises(ConfigError, match=f"^Schema.from_dict: .*; got no '{field}'"):
            data.Schema.from_dict({k: v for k, v in whole.items() if k != field})
    del whole["num_features"]  # files of before there was one
    assert data.Schema.from_dict(whole).num_features is None
    with pytest.raises(ConfigError, match=r"^Schema.from_dict: values are a dict; got \[\]"):
        data.Schema.from_dict([])


def test_names_become_text():
    ds = data.dataset(X, Y, num_classes=3, feature_names=np.array(["a", "b", "c"]), class_names=[1, 2, 3])
    assert ds.schema.feature_names == ("a", "b", "c") and ds.schema.class_names == ("1", "2", "3")
    json.dumps(ds.schema.to_dict())


def test_transform_treats_new_rows_like_the_training_data():
    (ds,) = data.standardise(data.load("wine"))
    raw = sklearn_datasets.load_wine().data.astype(np.float32)
    np.testing.assert_array_equal(ds.schema.transform(raw), ds.batch.x)
    assert ds.schema.transform(raw[:0]).shape == (0, 13)
    assert data.Schema(mean=(1.5,), scale=(2.0,)).transform(np.array([[2]])).dtype == np.float32
    with pytest.raises(ShapeError, match="13 columns of 'wine'"):
        ds.schema.transform(raw[:, :12])


# --- split and take ---------------------------------------------------------------------------------------

FRACTIONS = [(0.7, 0.15, 0.15), (0.5, 0.5), (0.8, 0.2), (0.6, 0.3, 0.1), (1 / 3, 1 / 3, 1 / 3), (0.29, 0.71)]


def exact_sizes(total, fractions):
    """Largest-remainder sizes in exact arithmetic; the decimals as they were written."""
    shares = [Fraction(f).limit_denominator(1000) for f in fractions]
    sizes = [math.floor(total * s) for s in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (sizes[i] - total * shares[i], i))
    for i in by_remainder[: total - sum(sizes)]:
        sizes[i] += 1
    return sizes


@st.composite
def splits(draw):
    y = draw(st.lists(st.integers(0, draw(st.integers(1, 6))), min_size=2, max_size=120))
    fractions = draw(st.sampled_from(FRACTIONS))
    assume(min(exact_sizes(len(y), fractions)) > 0)
    return np.array(y), fractions, draw(st.integers(0, 2**40)), draw(st.booleans())


@PROFILE
@given(splits())
@pytest.mark.filterwarnings("ignore:data.split")
def test_split_is_disjoint_complete_stratified_and_repeatable(case):
    y, fractions, seed, stratify = case
    ds = labelled(y, weight=np.arange(1.0, len(y) + 1))
    parts = data.split(ds, fractions, seed=seed, stratify=stratify)
    assert [len(p) for p in parts] == exact_sizes(len(y), fractions)
    np.testing.assert_array_equal(np.sort(np.concatenate([rows(p) for p in parts])), np.arange(len(y)))
    for part, fraction in zip(parts, fractions, strict=True):
        np.testing.assert_array_equal(part.batch.y, y[rows(part)])
        np.testing.assert_array_equal(part.batch.weight, rows(part) + 1)
        assert part.schema == ds.schema
        if stratify:
            share = np.bincount(y) * fraction
            assert np.all(np.abs(np.bincount(part.batch.y, minlength=len(share)) - share) <= 1 + 1e-6)
    again = data.split(Batch(np.arange(len(y))[:, None], y), fractions, seed=seed, stratify=stratify)
    for a, b in zip(parts, again, strict=True):  # a Batch of other x and weights: only seed, labels, fractions count
        np.testing.assert_array_equal(rows(a), rows(b))


def test_split_shuffles_and_follows_the_seed():
    ds = labelled(np.arange(300) % 3)
    first, second = (data.split(ds, (0.5, 0.5), seed=s)[0] for s in (0, 1))
    assert set(rows(first)) != set(rows(second))
    assert np.any(np.diff(rows(first)) < 0) and len(set(np.asarray(first.batch.y)[:50])) == 3


def test_real_targets_and_trees_of_inputs_split_too():
    parts = data.split(data.dataset(np.arange(10)[:, None], np.arange(10.0)), (0.5, 0.5))
    assert sorted(np.concatenate([p.batch.y for p in parts])) == list(range(10))
    batch = Batch({"a": np.arange(10), "b": np.arange(20).reshape(10, 2)}, np.arange(10) % 2)
    for part in data.split(batch, (0.5, 0.5)):
        assert isinstance(part, Batch)
        np.testing.assert_array_equal(part.x["b"][:, 0], 2 * part.x["a"])


def test_split_warns_when_a_part_cannot_hold_every_class():
    with pytest.warns(UserWarning, match="5 classes are more than the 2 examples of a part"):
        data.split(labelled(np.arange(20) % 5), (0.9, 0.1))


@pytest.mark.parametrize(
    "fractions",
    [
        (0.7, 0.2),
        (0.7, 0.4),
        (1.0,),
        (1.0, 0.0),
        (1.5, -0.5),
        (0.5, np.nan),
        (),
        0.8,
        ("a", "b"),
        (True, False),
    ],
    ids=str,
)
def test_split_refuses_fractions_that_are_no_shares(fractions):
    with pytest.raises(ConfigError, match=r"data.split: fractions lie in \(0, 1\) and sum to 1; got"):
        data.split(labelled([0, 1, 0, 1]), fractions)


def test_split_refuses_empty_parts_and_bad_seeds_and_other_data():
    with pytest.raises(ConfigError, match=r"4 examples in parts of \[4, 0\]"):
        data.split(labelled([0, 1, 0, 1]), (0.95, 0.05))
    for seed in (-1, 0.5, None, True):
        with pytest.raises(ConfigError, match="seed is a whole number"):
            data.split(labelled([0, 1, 0, 1]), (0.5, 0.5), seed=seed)
    with pytest.raises(ConfigError, match="Dataset or a Batch; got ndarray"):
        data.split(X, (0.5, 0.5))


def test_take_keeps_order_and_repeats():
    assert rows(data.take(labelled([0, 1, 0, 1]), np.array([3, 0, 3], np.uint8))).tolist() == [3, 0, 3]
    assert rows(data.take(Batch(np.arange(4)[:, None], Y), [2])).tolist() == [2]


@pytest.mark.parametrize(
    "indices, text",
    [
        ([4], r"\[0, 4\); got 4"),  # JAX would clamp it to the last row
        ([-1], "got -1"),  # NumPy would wrap it
        ([0.0], "whole numbers"),
        ([], "whole numbers"),
        ([True, False, True, False], r"flatnonzero\(mask\)"),  # would read rows 1, 0, 1, 0
        (1, "whole numbers"),
        ([0], "some weight is positive"),
    ],
)
def test_take_refuses(indices, text):
    with pytest.raises(ConfigError, match=f"^data.take: .*{text}"):
        data.take(labelled([0, 1, 0, 1], weight=[0, 1, 1, 1]), indices)


# --- standardise and class_weights ------------------------------------------------------------------------


@PROFILE
@given(
    arrays(np.float32, (17, 4), elements=st.floats(-100, 100, width=32, allow_subnormal=False)),
    arrays(np.float32, 17, elements=st.sampled_from([0.0, 0.5, 1.0, 3.0])),
    st.booleans(),
)
def test_standardise_equals_scikit_learn(x, weight, weighted):
    weight[0] = 1
    weight = weight if weighted else None
    train, test = data.dataset(x, np.ones(17), weight=weight), data.dataset(2 * x + 1, np.ones(17))
    train_s, test_s = data.standardise(train, test)
    oracle = StandardScaler().fit(x.astype(np.float64), sample_weight=weight)
    spread = np.ptp(x[weight > 0] if weighted else x, axis=0)
    clear = (spread == 0) | (spread > 1e-3)  # between, when a column counts as constant is a matter of taste
    np.testing.assert_allclose(np.array(train_s.schema.mean), oracle.mean_, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(np.array(train_s.schema.scale)[clear], oracle.scale_[clear], rtol=1e-7)
    for raw, ds in ((x, train_s), (2 * x + 1, test_s)):
        want = (raw.astype(np.float64) - train_s.schema.mean) / train_s.schema.scale
        np.testing.assert_array_equal(ds.batch.x, want.astype(np.float32))
    assert test_s.schema.mean == train_s.schema.mean and test_s.batch.weight is None


def test_standardise_survives_large_offsets_long_columns_and_constants():
    rng = np.random.default_rng(0)
    x = np.stack([1e6 + rng.normal(size=20000), np.full(20000, 0.1), rng.normal(size=20000) * 1e-30], 1)
    (ds,) = data.standardise(data.dataset(x, np.ones(20000)))
    z = np.asarray(ds.batch.x, np.float64)
    np.testing.assert_allclose(z.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(z.std(axis=0), [1, 0, 1], atol=1e-6)
    assert ds.schema.scale[1] == 1.0 and not z[:, 1].any()


def test_standardise_does_not_see_absent_rows_or_other_parts():
    with_garbage = data.dataset([[0.0], [2.0], [1e30]], np.ones(3), weight=[1, 1, 0])
    hold_out = data.dataset([[100.0]], np.ones(1))
    assert data.standardise(with_garbage, hold_out)[1].schema.mean == (1.0,)
    assert data.standardise(with_garbage, hold_out)[1].schema.scale == (1.0,)


def test_standardise_refuses_twice_other_columns_and_other_data():
    (ds,) = data.standardise(labelled([0, 1, 1]))
    with pytest.raises(ConfigError, match="standardised once"):
        data.standardise(ds)
    with pytest.raises(ShapeError, match="got 1 and 3"):
        data.standardise(labelled([0, 1, 1]), data.dataset(X, Y, num_classes=3))
    with pytest.raises(ConfigError, match="data are a Dataset; got Batch"):
        data.standardise(labelled([0, 1]).batch)


@PROFILE
@given(st.lists(st.integers(0, 3), min_size=4, max_size=60))
def test_balanced_weights_equal_scikit_learn(y):
    y = np.array([0, 1, 2, 3, *y])
    want = compute_class_weight("balanced", classes=np.arange(4), y=y)[y]
    np.testing.assert_allclose(data.class_weights(labelled(y)).batch.weight, want, rtol=1e-6)


def test_class_weights_multiply_and_absent_classes_get_0():
    ds = data.class_weights(labelled([0, 0, 2], num_classes=4))
    np.testing.assert_allclose(ds.batch.weight, [3 / 8, 3 / 8, 3 / 4])
    weighted = data.class_weights(labelled([0, 0, 1, 1], weight=[1, 0, 1, 2]))  # an absent row is not counted
    np.testing.assert_allclose(weighted.batch.weight, [2, 0, 2 / 3, 4 / 3], rtol=1e-6)
    twice = data.class_weights(data.class_weights(labelled([0, 1, 1]), (1, 3)), (5, 2))
    assert twice.batch.weight.tolist() == [5, 6, 6] and twice.batch.weight.dtype == jnp.float32


@pytest.mark.parametrize(
    "weights, error, text",
    [
        ((1, 2, 3), ShapeError, "one number a class.*pass 2"),
        ((1, -1), ConfigError, r"not negative.*weight\[1\]"),
        ((1, np.nan), NonFiniteError, "finite"),
        ((0, 0), ConfigError, "some weight is positive"),
        ("balance", ConfigError, "did you mean 'balanced'"),
        ({0: 1, 1: 2}, DtypeError, "weights holds"),
    ],
)
def test_class_weights_refuse(weights, error, text):
    with pytest.raises(error, match=f"^data.class_weights: .*{text}"):
        data.class_weights(labelled([0, 1, 1]), weights)


def test_class_weights_need_classes():
    with pytest.raises(ConfigError, match=r"regression.*weight="):
        data.class_weights(data.dataset(X, np.ones(4)))


# --- load: generated and bundled --------------------------------------------------------------------------

PLANES = ["circle", "xor", "gauss", "spiral"]


@pytest.mark.parametrize("name", PLANES)
@pytest.mark.parametrize("num_examples", [2, 501])
def test_generated_sets_are_balanced_in_the_plane_and_follow_their_seed(name, num_examples):
    make = lambda seed: data.load(name, num_examples=num_examples, noise=0, seed=seed).batch  # noqa: E731
    batch = make(1)
    assert batch.x.shape == (num_examples, 2) and jnp.abs(batch.x).max() < 6
    assert abs(np.bincount(batch.y, minlength=2) - num_examples / 2).max() <= 0.5
    np.testing.assert_array_equal(batch.x, make(1).x)
    assert num_examples == 2 or np.any(np.asarray(batch.x) != make(2).x)


def test_noise_free_sets_have_the_playgrounds_geometry():
    points = {name: data.load(name, num_examples=1000, noise=0.0).batch for name in PLANES}
    x, y = (np.asarray(a) for a in points["circle"][:2])
    radius = np.hypot(*x.T)
    assert radius[y == 1].max() < 2.5 and radius[y == 0].min() > 3.5 and radius.max() <= 5
    x, y = (np.asarray(a) for a in points["xor"][:2])
    np.testing.assert_array_equal(x[:, 0] * x[:, 1] > 0, y == 1)
    assert np.abs(x).min() >= 0.3 and np.abs(x).max() <= 5.3
    assert set(zip(*(np.sign(x).T), strict=True)) == {(1, 1), (1, -1), (-1, 1), (-1, -1)}
    x, y = (np.asarray(a) for a in points["gauss"][:2])
    for label, centre in ((1, 2.0), (0, -2.0)):
        np.testing.assert_allclose(x[y == label].mean(axis=0), centre, atol=5 * math.sqrt(0.5 / 500))
        np.testing.assert_allclose(x[y == label].var(axis=0), 0.5, rtol=0.3)
    x, y = (np.asarray(a) for a in points["spiral"][:2])
    for label, start in ((1, 0.0), (0, np.pi)):
        arm = x[y == label]
        arm = arm[np.argsort(np.hypot(*arm.T))]
        along = np.arange(500) / 500
        turn = 3.5 * np.pi * along + start
        np.testing.assert_allclose(arm, (5 * along * np.stack([np.sin(turn), np.cos(turn)])).T, atol=1e-5)


def test_noise_moves_gauss_and_spiral_and_only_relabels_circle_and_xor():
    for name in PLANES:
        clean, noisy = (data.load(name, num_examples=2000, noise=n).batch for n in (0.0, 0.5))
        moved, relabelled = bool(jnp.any(clean.x != noisy.x)), bool(jnp.any(clean.y != noisy.y))
        assert (moved, relabelled) == ((False, True) if name in ("circle", "xor") else (True, False))
    variance = np.var(np.asarray(data.load("gauss", num_examples=4000, noise=0.5).batch.x[:, 0])) - 4  # centres
    assert abs(variance - 4) < 0.6


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast_cancer"])
def test_bundled_sets_equal_scikit_learns(name):
    ds, bunch = data.load(name), getattr(sklearn_datasets, f"load_{name}")()
    x = bunch.data / 16 if name == "digits" else bunch.data
    np.testing.assert_array_equal(ds.batch.x, x.astype(np.float32))
    np.testing.assert_array_equal(ds.batch.y, bunch.target)
    assert ds.schema.feature_names == tuple(bunch.feature_names)
    assert ds.schema.class_names == tuple(str(n) for n in bunch.target_names)
    assert ds.schema.image_shape == ((8, 8) if name == "digits" else None)


def test_without_scikit_learn_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "sklearn", None)
    with pytest.raises(ConfigError, match=r"pip install 'jaxnn\[data\]'"):
        data.load("iris")


@pytest.mark.parametrize(
    "name, options, text",
    [
        ("digit", {}, "did you mean 'digits'"),
        ("nothing", {}, "choose one of breast_cancer"),
        ("iris", {"seed": 0}, "'iris' takes no options; got seed=0; leave it out"),
        (
            "circle",
            {"nois": 0.1},
            "'circle' takes num_examples, noise, seed; got nois=0.1; did you mean 'noise'",
        ),
        ("circle", {"noise": -0.1}, r"data.load\('circle'\): noise is a finite number >= 0 and <= 1"),
        ("circle", {"noise": 1.5}, "noise"),
        ("xor", {"num_examples": 1}, "num_examples is a whole number >= 2"),
        ("gauss", {"seed": -1}, "seed is a whole number >= 0"),
        ("mnist", {"part": "validation"}, "part is one of train, test"),
    ],
)
def test_load_refuses(name, options, text):
    with pytest.raises(ConfigError, match=text):
        data.load(name, **options)


def test_names_lists_a_line_for_every_set():
    names = data.names()
    assert set(names) == {"digits", "iris", "wine", "breast_cancer", "mnist", "fashion_mnist", *PLANES}
    assert all(line and "\n" not in line for line in names.values())


# --- MNIST and IDX ----------------------------------------------------------------------------------------


def idx_bytes(array):
    """The IDX format, written anew: 0, 0, type code 8, the number of axes, big-endian sizes, the bytes."""
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder, num=5, part="train", zipped=True, labels=None):
    rng = np.random.default_rng(num)
    images = rng.integers(0, 256, (num, 28, 28), np.uint8)
    labels = rng.integers(0, 10, num, np.uint8) if labels is None else labels
    stem = {"train": "train", "test": "t10k"}[part]
    for kind, array in (("images-idx3", images), ("labels-idx1", labels)):
        content = idx_bytes(array)
        path = folder / f"{stem}-{kind}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(content) if zipped else content)
    return images, labels


@pytest.mark.parametrize("part", ["train", "test"])
@pytest.mark.parametrize("zipped", [True, False])
def test_mnist_is_read_from_a_folder_or_the_variable(tmp_path, monkeypatch, part, zipped):
    images, labels = write_mnist(tmp_path, part=part, zipped=zipped)
    monkeypatch.setenv("JAXNN_MNIST", str(tmp_path))
    for ds in (data.load("mnist", part=part), data.load("mnist", folder=tmp_path, part=part)):
        want = images.reshape(5, 784).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(ds.batch.x, want)
        np.testing.assert_array_equal(ds.batch.y, labels)
        assert ds.schema.image_shape == (28, 28) and ds.schema.num_classes == 10
        assert ds.schema.class_names == tuple("0123456789")


def test_pixels_take_256_values_from_0_to_1(tmp_path):
    images, _ = write_mnist(tmp_path, num=40)
    x = np.asarray(data.load("mnist", folder=tmp_path).batch.x)
    assert len(np.unique(x)) == 256 == len(np.unique(images)) and x.min() == 0 and x.max() == 1


def test_missing_mnist_names_files_option_and_variable(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXNN_MNIST", str(tmp_path))
    for options in ({}, {"folder": tmp_path}, {"folder": tmp_path / "nowhere"}):
        with pytest.raises(ConfigError) as caught:
            data.load("mnist", **options)
        for word in ("train-images-idx3-ubyte", "t10k-labels-idx1-ubyte", "folder=", "JAXNN_MNIST"):
            assert word in str(caught.value)


def test_image_and_label_counts_must_agree(tmp_path):
    write_mnist(tmp_path, labels=np.zeros(4, np.uint8))
    with pytest.raises(DataFormatError, match=r"got 4 for 5, in .*train-labels-idx1-ubyte.gz at byte 4"):
        data.load("mnist", folder=tmp_path)


def test_images_of_another_size_are_not_mnist(tmp_path):
    write_mnist(tmp_path)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(idx_bytes(np.zeros((5, 14, 56), np.uint8)))
    with pytest.raises(DataFormatError, match="28x28; got 14x56"):
        data.load("mnist", folder=tmp_path)


def test_label_bytes_above_9_are_refused(tmp_path):
    write_mnist(tmp_path, labels=np.array([0, 1, 10, 2, 3], np.uint8))
    with pytest.raises(LabelError, match=r"y\[2\]=10"):
        data.load("mnist", folder=tmp_path)


@PROFILE
@given(arrays(np.uint8, st.lists(st.integers(0, 5), min_size=1, max_size=4).map(tuple)), st.booleans())
def test_idx_round_trip(tmp_path_factory, array, zipped):
    path = tmp_path_factory.getbasetemp() / ("round.gz" if zipped else "round")
    path.write_bytes(gzip.compress(idx_bytes(array)) if zipped else idx_bytes(array))
    again = read_idx(path, array.ndim)
    np.testing.assert_array_equal(again, array)
    assert again.shape == array.shape and again.dtype == np.uint8


SMALL = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)


@pytest.mark.parametrize("zipped", [True, False])
def test_every_truncated_prefix_and_every_trailing_byte_is_refused(tmp_path, zipped):
    path = tmp_path / ("small.gz" if zipped else "small")
    whole = gzip.compress(idx_bytes(SMALL)) if zipped else idx_bytes(SMALL)
    damaged = [whole[:n] for n in range(len(whole))] + [whole + b"\1"]
    damaged += [gzip.compress(idx_bytes(SMALL)[:n]) for n in range(40)] if zipped else []
    damaged += [gzip.compress(idx_bytes(SMALL) + b"\0")] if zipped else []
    for content in damaged:
        path.write_bytes(content)
        with pytest.raises(DataFormatError, match=r"^data.read: .*; got .*small.* at byte \d+; get"):
            read_idx(path, 3)


def test_a_flipped_bit_in_a_gzip_is_refused_or_harmless(tmp_path):
    path, whole = tmp_path / "small.gz", gzip.compress(idx_bytes(SMALL))
    harmless = 0
    for place in range(len(whole) * 8):
        content = bytearray(whole)
        content[place // 8] ^= 1 << place % 8
        path.write_bytes(content)
        try:
            np.testing.assert_array_equal(read_idx(path, 3), SMALL)
            harmless += 1
        except DataFormatError:
            pass
    assert harmless < 100  # the time stamp and such: 10 bytes of header at most


@pytest.mark.parametrize(
    "place, value, text",
    [
        (0, 1, "start 00000803; got '01000803', in .* at byte 0"),
        (2, 0x0D, "got '00000d03'"),  # floats: would be read as bytes
        (3, 1, "got '00000801'"),  # a label file given for images
        (7, 3, r"\(3, 3, 4\) take 36 bytes; got 24, in .* at byte 40"),
        (7, 1, r"\(1, 3, 4\) take 12 bytes; got more, in .* at byte 28"),
    ],
)
def test_idx_headers_are_not_trusted(tmp_path, place, value, text):
    content = bytearray(idx_bytes(SMALL))
    content[place] = value
    (tmp_path / "small").write_bytes(content)
    with pytest.raises(DataFormatError, match=text):
        read_idx(tmp_path / "small", 3)


def test_a_bomb_is_not_unpacked(tmp_path):
    claims_much = bytes([0, 0, 8, 3]) + struct.pack(">3I", *[2**32 - 1] * 3) + bytes(10)  # 8e28 bytes
    holds_much = idx_bytes(SMALL) + bytes(50_000_000)
    for content in (gzip.compress(claims_much), gzip.compress(holds_much, 1)):
        path = tmp_path / "bomb.gz"
        path.write_bytes(content)
        tracemalloc.start()
        with pytest.raises(DataFormatError):
            read_idx(path, 3)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 2_000_000


# --- nothing else is touched ------------------------------------------------------------------------------


def test_inputs_and_the_global_generator_are_left_alone(tmp_path):
    x, y, weight = X.copy(), Y.copy(), np.array([1.0, 0.0, 2.0, 1.0])
    x[1, 1] = np.nan  # absent
    digest = lambda: hashlib.sha256(x.tobytes() + y.tobytes() + weight.tobytes()).hexdigest()  # noqa: E731
    before, state = digest(), str(np.random.get_state())  # noqa: NPY002
    ds = data.dataset(x, y, num_classes=3, weight=weight)
    kept = [np.array(a) for a in ds.batch]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        data.split(ds, (0.5, 0.5))
    data.class_weights(*data.standardise(data.take(ds, [0, 2])))
    data.standardise(ds)
    for name in PLANES:
        data.load(name)
    write_mnist(tmp_path)
    data.load("mnist", folder=tmp_path)
    assert digest() == before and str(np.random.get_state()) == state  # noqa: NPY002
    for a, b in zip(ds.batch, kept, strict=True):
        np.testing.assert_array_equal(a, b)
