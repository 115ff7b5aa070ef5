"""Tests the host-side checks: a table of faults with the bug each row would catch, and what must pass.

Not tested here: that every public verb calls them (test_contracts and the test of each room).
"""

import re
from fractions import Fraction
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxnn
from jaxnn import _errors
from jaxnn._checks import (
    as_key,
    as_numbers,
    check_choice,
    check_finite,
    check_integer,
    check_key,
    check_labels,
    check_leading_axis,
    check_number,
    check_positive,
    check_same_tree,
    check_weight,
    is_traced,
)
from jaxnn._errors import (
    CheckpointError,
    ConfigError,
    DataFormatError,
    DownloadError,
    DtypeError,
    LabelError,
    MemoryBudgetError,
    NonFiniteError,
    ShapeError,
    suggest,
)
from jaxnn._models import Dense

X, Y = np.zeros((3, 2), np.float32), np.zeros(3, np.int32)
PARAMS = (Dense(np.zeros((2, 3)), np.zeros(3)),)


class Fault(NamedTuple):
    bug: str
    check: object  # called with ("who", *args)
    args: tuple
    error: type
    text: str  # the whole message after "who: "


def integer(who, value):
    return check_integer(who, "size", value, at_least=1)


def number(who, value, at_most=np.inf):
    return check_number(who, "l2", value, at_most=at_most)


def positive(who, value):
    return check_positive(who, "scale", value)


def finite(who, value, *absent):
    return check_finite(who, "x", value, *absent)


def numeric(who, value):
    return as_numbers(who, "x", value)


def with_entry(shape, where, value):
    a = np.zeros(shape)
    a[where] = value
    return a


WHOLE = "size is a whole number >= 1; got size={}; pass an int, 1 or more"
REAL = "l2 is a finite number >= 0; got l2={}; pass such a number"
WIDTH = "scale is a finite number > 0, in float32, too; got scale={}; pass such a number"
KEY = "key is an int seed or a typed key; got key={}; pass 0, or jax.random.key(0)"
SEED = "a seed lies in [0, 2**32); got key={}; pass one of these: others would wrap"
NUMBERS = "x holds integers or floats; got x={}; encode it as numbers first, e.g. with .astype('float32')"
ROW = "x holds one row an example; got x={}; pass an array of shape [N, D], or [1, D] for one example"
PAIR = "x and y have one row an example; got x.shape={}, y.shape={}; make the first axes equal"
LABELS = "labels lie in [0, 3); got y[{}]={}; renumber the labels from 0, or raise num_classes"
TREE = "parameters fit the model; got {}; build them with model.init(key)"
MISSING = "x is finite; got x[{}]={}; drop the row or fill the value first"

FAULTS = [
    Fault("an epoch without steps", integer, (0,), ConfigError, WHOLE.format("0")),
    Fault("a loop that runs backwards", integer, (-3,), ConfigError, WHOLE.format("-3")),
    Fault("32.0 used as an index, 32.5 rounded", integer, (32.0,), ConfigError, WHOLE.format("32.0")),
    Fault("True taken for 1", integer, (True,), ConfigError, WHOLE.format("True")),
    Fault("a flag's text never parsed", integer, ("32",), ConfigError, WHOLE.format("'32'")),
    Fault("an option left None", integer, (None,), ConfigError, WHOLE.format("None")),
    Fault("a penalty that rewards large kernels", number, (-0.1,), ConfigError, REAL.format("-0.1")),
    Fault("NaN compares false with every bound", number, (np.nan,), ConfigError, REAL.format("nan")),
    Fault("an infinite rate", number, (np.inf,), ConfigError, REAL.format("inf")),
    Fault("True taken for 1.0", number, (True,), ConfigError, REAL.format("True")),
    Fault("text where a rate belongs", number, ("0.1",), ConfigError, REAL.format("'0.1'")),
    Fault("a complex rate", number, (1j,), ConfigError, REAL.format("1j")),
    Fault("an array that would broadcast", number, (np.ones(1),), ConfigError, REAL.format("array([1.])")),
    Fault("a boolean array scalar", number, (np.True_,), ConfigError, REAL.format("np.True_")),
    Fault(
        "a fraction above one",
        number,
        (1.5, 1.0),
        ConfigError,
        "l2 is a finite number >= 0 and <= 1; got l2=1.5; pass such a number",
    ),
    Fault(
        "infinite once the program computes with it",
        number,
        (1e39,),
        ConfigError,
        "l2 is finite in float32, too; got l2=1e+39; pass a smaller one",
    ),
    Fault("a width of 0", positive, (0.0,), ConfigError, WIDTH.format("0.0")),
    Fault("0 once the program divides by it", positive, (1e-39,), ConfigError, WIDTH.format("1e-39")),
    Fault(
        "a misspelt option ignored",
        check_choice,
        ("aggregate", "maen", ("mean", "sum")),
        ConfigError,
        "aggregate is one of mean, sum; got aggregate='maen'; did you mean 'mean'?",
    ),
    Fault(
        "an option of another type",
        check_choice,
        ("aggregate", None, ("mean", "sum")),
        ConfigError,
        "aggregate is one of mean, sum; got aggregate=None; choose one of mean, sum",
    ),
    Fault("seeds s and s + 2**32 give the same run", check_key, (2**32,), ConfigError, SEED.format(2**32)),
    Fault("a negative seed wraps", check_key, (-1,), ConfigError, SEED.format(-1)),
    Fault("True taken for seed 1", check_key, (True,), ConfigError, KEY.format("True")),
    Fault("0.5 taken for seed 0", check_key, (0.5,), ConfigError, KEY.format("0.5")),
    Fault("a run without a seed", check_key, (None,), ConfigError, KEY.format("None")),
    Fault(
        "raw bits split as if typed",
        check_key,
        (np.zeros(2, np.uint32),),
        ConfigError,
        KEY.format("ndarray[2] of uint32"),
    ),
    Fault("any array taken for a key", check_key, (jnp.zeros(2),), ConfigError, KEY.format("ArrayImpl[2] of float32")),
    Fault(
        "a batch of keys draws a batch of orders",
        check_key,
        (jax.random.split(jax.random.key(0), 3),),
        ShapeError,
        "key is a single key; got key.shape=(3,); pass one of them, or use jax.vmap",
    ),
    Fault("no examples at all", check_leading_axis, ((), Y), ShapeError, ROW.format("()")),
    Fault("one number for x", check_leading_axis, (np.float32(1), Y), ShapeError, ROW.format("float32[] of float32")),
    Fault(
        "nested lists read as a tree of numbers", check_leading_axis, ([[1, 2]], Y), ShapeError, ROW.format("[[1, 2]]")
    ),
    Fault("labels of another split", check_leading_axis, (X, Y[:2]), ShapeError, PAIR.format("(3, 2)", "(2,)")),
    Fault("one label for all", check_leading_axis, (X, np.int32(1)), ShapeError, PAIR.format("(3, 2)", "()")),
    Fault(
        "labels as a list of other length", check_leading_axis, (X, [0, 1]), ShapeError, PAIR.format("(3, 2)", "(2,)")
    ),
    Fault(
        "labels forgotten",
        check_leading_axis,
        (X, None),
        ShapeError,
        "y holds one label or target an example; got y=None; pass an array of shape [N]",
    ),
    Fault(
        "second target of other length", check_leading_axis, (X, (Y, Y[:2])), ShapeError, PAIR.format("(3, 2)", "(2,)")
    ),
    Fault(
        "parts of x out of step",
        check_leading_axis,
        ((X, X[:2]), Y),
        ShapeError,
        "all arrays of x have the same number of rows; got shapes (3, 2), (2, 2); align them",
    ),
    Fault(
        "a column of weights broadcasts to [N, N]",
        check_leading_axis,
        (X, Y, np.ones((3, 1))),
        ShapeError,
        "weight is one number an example; got weight.shape=(3, 1), N=3; pass shape (3,)",
    ),
    Fault(
        "a mean over nothing is NaN",
        check_leading_axis,
        (X[:0], Y[:0]),
        ShapeError,
        "there is at least one example; got x.shape=(0, 2); pass some rows",
    ),
    Fault(
        "one NaN weight makes every sum NaN",
        check_weight,
        (np.array([1, np.nan, np.inf]),),
        NonFiniteError,
        "weights are finite; got weight[1]=nan; remove or repair that row",
    ),
    Fault(
        "learning to be wrong about an example",
        check_weight,
        (np.array([1.0, 2.0, -1.0]),),
        ConfigError,
        "weights are not negative; got weight[2]=-1.0; use 0 for an absent row",
    ),
    Fault(
        "0 / 0 in the mean",
        check_weight,
        (np.zeros(3),),
        ConfigError,
        "some weight is positive; got all 3 weights 0; give some row a weight",
    ),
    Fault(
        "0 / 0 where XLA flushes what is subnormal",
        check_weight,
        (np.full(3, 1e-40, np.float32),),
        ConfigError,
        "weights sum to a number that can be divided by; got a sum of 3e-40, the largest 9.99994610111476e-41; scale "
        "them: only their ratios count",
    ),
    Fault(
        "inf / inf in the mean",
        check_weight,
        (np.full(3, 3e38, np.float32),),
        ConfigError,
        "weights sum to a number that can be divided by; got a sum of 9e+38, the largest 3.0000000054977558e+38; "
        "scale them: only their ratios count",
    ),
    Fault(
        "a NaN among the features",
        finite,
        (with_entry((4, 3), (2, 1), np.nan),),
        NonFiniteError,
        MISSING.format("2, 1", "nan"),
    ),
    Fault(
        "an infinity among them",
        finite,
        (with_entry((4, 3), (0, 2), -np.inf),),
        NonFiniteError,
        MISSING.format("0, 2", "-inf"),
    ),
    Fault(
        "two infinities that cancel in a sum",
        finite,
        (np.array([0, np.inf, -np.inf]),),
        NonFiniteError,
        MISSING.format("1", "inf"),
    ),
    Fault(
        "a NaN in half precision",
        finite,
        (np.array([1, np.nan], jnp.bfloat16),),
        NonFiniteError,
        MISSING.format("1", "nan"),
    ),
    Fault(
        "a NaN beside an absent row",
        finite,
        (np.array([np.nan, 1, np.nan]), np.array([True, False, False])),
        NonFiniteError,
        MISSING.format("2", "nan"),
    ),
    Fault("text columns", numeric, (["a", "b"],), DtypeError, NUMBERS.format("['a', 'b']")),
    Fault("a table with None in it", numeric, ([1.0, None],), DtypeError, NUMBERS.format("[1.0, None]")),
    Fault(
        "the imaginary part dropped",
        numeric,
        (np.ones(2, complex),),
        DtypeError,
        NUMBERS.format("ndarray[2] of complex128"),
    ),
    Fault(
        "a comparison passed for features",
        numeric,
        (np.ones(2, bool),),
        DtypeError,
        NUMBERS.format("ndarray[2] of bool"),
    ),
    Fault(
        "dates as nanoseconds",
        numeric,
        (np.zeros(1, "M8[s]"),),
        DtypeError,
        NUMBERS.format("ndarray[1] of datetime64[s]"),
    ),
    Fault(
        "durations as counts",
        numeric,
        (np.zeros(1, "m8[s]"),),
        DtypeError,
        NUMBERS.format("ndarray[1] of timedelta64[s]"),
    ),
    Fault("raw bytes", numeric, (np.zeros(1, "V4"),), DtypeError, NUMBERS.format("ndarray[1] of |V4")),
    Fault("a mask that is lost", numeric, (np.ma.ones(2),), DtypeError, NUMBERS.format("MaskedArray[2] of float64")),
    Fault(
        "rows of different lengths",
        numeric,
        ([[1, 2], [3]],),
        ShapeError,
        "x is one rectangular array; got rows of different lengths; make them equally long",
    ),
    Fault("label K read as class K - 1", check_labels, (np.array([0, 3, 1]), 3), LabelError, LABELS.format(1, 3)),
    Fault("label -1 read as the last class", check_labels, (np.array([0, 1, -1]), 3), LabelError, LABELS.format(2, -1)),
    Fault("2**32 narrowed to 0", check_labels, (np.array([2**32]), 3), LabelError, LABELS.format(0, 2**32)),
    Fault(
        "a column of labels broadcasts to [N, N]",
        check_labels,
        (np.zeros((3, 1), int), 3),
        ShapeError,
        "y is one label an example; got y.shape=(3, 1); pass shape (3,)",
    ),
    Fault(
        "one label without an axis",
        check_labels,
        (np.int32(0), 3),
        ShapeError,
        "y is one label an example; got y.shape=(); pass shape (1,)",
    ),
    Fault(
        "probabilities or regression targets as labels",
        check_labels,
        (np.array([0.0, 0.5]), 3),
        DtypeError,
        "y holds integer labels; got y.dtype=float64; cast with y.astype('int32')",
    ),
    Fault(
        "a layer left out",
        check_same_tree,
        ("parameters", PARAMS, PARAMS * 2),
        ShapeError,
        TREE.format("[1].kernel missing; [1].bias missing"),
    ),
    Fault(
        "the parameters of a deeper model",
        check_same_tree,
        ("parameters", PARAMS * 2, PARAMS),
        ShapeError,
        TREE.format("[1].kernel not expected; [1].bias not expected"),
    ),
    Fault(
        "a kernel transposed, a bias that broadcasts",
        check_same_tree,
        ("parameters", (Dense(np.zeros((3, 2)), np.zeros(())),), PARAMS),
        ShapeError,
        TREE.format("[0].kernel has shape (3, 2), not (2, 3); [0].bias has shape (), not (3,)"),
    ),
]


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.bug)
def test_a_fault_is_refused_with_the_whole_message(wrong_types, fault):
    with pytest.raises(fault.error) as raised:
        fault.check("who", *fault.args)
    assert type(raised.value) is fault.error
    assert str(raised.value) == f"who: {fault.text}"


def test_every_message_says_who_the_rule_what_was_given_and_what_to_do(wrong_types):
    for fault in FAULTS:
        assert re.fullmatch(r"[^;]+; got .+; [^;]+", fault.text), fault.text


PASSES = [
    (integer, 1),
    (integer, np.int64(7)),
    (integer, np.uint8(7)),
    (number, 0),
    (number, 0.0),
    (number, -0.0),
    (number, np.float32(0.5)),
    (number, np.array(0.5)),
    (number, jnp.asarray(0.5)),
    (number, jnp.asarray(0.5, jnp.bfloat16)),
    (number, np.int8(3)),
    (number, 3e38),
    (finite, np.zeros((0, 3))),
    (finite, np.array([1e308, 1e308, 1e308])),  # the sum overflows, no entry does
    (finite, np.full(3, 3e38, np.float32)),
    (finite, np.array([2**62])),
    (finite, np.ones(2, jnp.bfloat16)),
    (numeric, [[1, 2], [3, 4]]),
    (numeric, np.ones(2, np.float16)),
    (numeric, np.ones(2, ">f8")),
    (numeric, jnp.ones(2, jnp.bfloat16)),
    (check_weight, None),
    (check_weight, np.array([0, 0, 1])),
    (check_weight, np.array([1e-40, 1], np.float32)),
    (check_weight, np.full(3, 1e-40)),  # in double precision a number like any other
    (check_weight, np.array([True, False])),
]


@pytest.mark.parametrize(("check", "value"), PASSES, ids=lambda v: getattr(v, "__name__", repr(v)))
def test_what_is_right_passes(wrong_types, check, value):
    check("who", value)


def test_a_check_hands_back_what_its_caller_needs():
    assert type(check_integer("who", "size", np.int64(7), at_least=1)) is int
    assert check_leading_axis("who", X, Y, np.ones(3)) == 3
    assert check_leading_axis("who", {"a": X, "b": Y}, np.zeros((3, 2))) == 3
    key = jax.random.key(3)
    for seed in (3, np.int64(3), np.uint32(3), key):
        assert as_key("who", seed) == key
    assert as_key("who", 2**32 - 1).shape == ()
    a = np.ones((2, 3), np.float32)
    assert as_numbers("who", "x", a) is a  # not copied


def test_absent_rows_may_hold_anything():
    check_finite("who", "x", np.array([[np.nan, 1.0], [2.0, 3.0]]), np.array([True, False]))


def test_labels_of_every_integer_dtype_pass():
    for dtype in (np.int8, np.uint8, np.int16, np.int32, np.int64, np.uint64, ">i4"):
        check_labels("who", np.array([0, 2, 1], dtype), 3)
    check_labels("who", jnp.array([0, 2]), 3)
    check_labels("who", np.zeros(0, int), 3)


def test_matching_parameters_pass_as_arrays_or_shapes():
    check_same_tree("who", "parameters", PARAMS, PARAMS)
    check_same_tree("who", "parameters", PARAMS, jax.eval_shape(lambda: PARAMS))


def test_tracers_pass_where_values_are_checked():
    @jax.jit
    def traced(l2, weight, y, key):
        assert is_traced(l2)
        assert is_traced({"a": (1, weight)})
        check_number("who", "l2", l2)
        check_weight("who", weight)
        check_labels("who", y, 3)
        assert as_key("who", key) is key
        return check_leading_axis("who", weight[:, None], y, weight)

    assert traced(-1.0, -np.ones(3), np.full(3, 7), jax.random.key(0)) == 3
    assert not is_traced(1, np.ones(2), jnp.ones(2), None)


def test_near_misses_are_suggested_and_others_listed():
    assert suggest("cateogrical", ["categorical", "bernoulli"]) == "did you mean 'categorical'?"
    assert suggest("xyz", ["b", "a"]) == "choose one of a, b"
    assert suggest(7, ["b", "a"]) == "choose one of a, b"
    many = [f"n{i:04}" for i in range(3000)]
    assert suggest("xyz", many) == f"choose one of {', '.join(many[:10])}, ... (3,000 in all)"
    assert len(suggest("x" * 900, ["x" * 901])) < 90 and len(suggest("xyz", ["a" * 900])) < 90


def test_every_error_is_a_value_error_or_a_type_error_and_public():
    errors = [ShapeError, DtypeError, LabelError, NonFiniteError, ConfigError, DataFormatError]
    errors += [DownloadError, CheckpointError, MemoryBudgetError]
    found = [e for e in vars(_errors).values() if isinstance(e, type) and issubclass(e, Exception)]
    assert set(found) == set(errors)
    for error in errors:
        assert issubclass(error, ValueError) != issubclass(error, TypeError)
        assert getattr(jaxnn, error.__name__) is error


def test_a_number_is_a_number_whatever_its_type():
    check_number("who", "l2", Fraction(1, 2) + 0.0)
    with pytest.raises(ConfigError, match=re.escape("got l2=Fraction(1, 2)")):
        check_number("who", "l2", Fraction(1, 2))  # JAX has no fractions
    with pytest.raises(ConfigError, match="got l2=1000"):
        check_number("who", "l2", 10**400)  # no float holds it
