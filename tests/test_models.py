"""Tests the multi-layer perceptron: outputs against NumPy, initial parameters, symmetries, texts and errors.

The oracle multiplies matrices in float64 (`oracles.mlp`). The symmetries of a network (scaling, permuting or flipping
its hidden units) need no oracle. Not tested here: likelihoods on top, and gradients (test_objectives).
"""

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
import scipy.stats
from cases import CASES, by_name, outputs, problems, random_params
from hypothesis import given
from hypothesis import strategies as st

import jaxnn
from jaxnn._activations import initial_gain
from jaxnn._models import Dense
from jaxnn._types import Model

F32, F64 = np.finfo(np.float32).eps, np.finfo(np.float64).eps
CENTRE = by_name["relu_tanh_mlp"]  # 5 features, 4 ReLUs, 3 tanhs, 2 outputs


# -------------------------------------------------------------------------------------------------------------- outputs


@given(problem=problems())
def test_outputs_equal_the_numpy_oracle_in_float64(x64, problem):
    case, params, batch = problem
    got = outputs(case.model, params, batch.x)
    scale = oracles.mlp_scale(params, batch.x, case.activations)[-1][1]
    oracles.assert_close(got, oracles.mlp(params, batch.x, case.activations), scale, F64, what=case.name)


@given(problem=problems(dtype=np.float32))
def test_outputs_equal_the_numpy_oracle_in_float32(problem):
    case, params, batch = problem
    got = outputs(case.model, params, batch.x)
    assert got.dtype == jnp.float32
    scale = oracles.mlp_scale(params, batch.x, case.activations)[-1][1]
    oracles.assert_close(got, oracles.mlp(params, batch.x, case.activations), scale, F32, what=case.name)


@pytest.mark.parametrize(
    "mutant", ["bias forgotten", "activation on the output", "activations swapped", "layer left out"]
)
def test_a_wrong_network_would_be_caught(x64, mutant):
    rng = np.random.default_rng(0)
    x, params = rng.normal(size=(CENTRE.n, 5)), random_params(CENTRE, rng)
    want, names = oracles.mlp(params, x, CENTRE.activations), CENTRE.activations
    got = {
        "bias forgotten": lambda: oracles.mlp(
            [(k, 0 * b if i == 1 else b) for i, (k, b) in enumerate(params)], x, names
        ),
        "activation on the output": lambda: np.tanh(want),
        "activations swapped": lambda: oracles.mlp(params, x, names[::-1]),
        "layer left out": lambda: oracles.mlp(params, x, ("relu", "identity")),
    }[mutant]()
    scale = oracles.mlp_scale(params, x, names)[-1][1]
    oracles.assert_close(outputs(CENTRE.model, params, x), want, scale, F64)
    with pytest.raises(AssertionError):
        oracles.assert_close(outputs(CENTRE.model, params, x), got, scale, F64)


def test_a_model_works_on_one_example_and_vmap_adds_the_batch():
    case = by_name["tanh_mlp"]
    params, x = case.model.init(0), jnp.ones((case.n, 3))
    one = case.model.apply(params, x[0])
    assert one.shape == (3,)
    np.testing.assert_allclose(outputs(case.model, params, x)[0], one, rtol=16 * F32, atol=16 * F32)


def test_features_come_first_and_may_change_the_number_of_features():
    def square_and_product(x):
        return jnp.stack([x[0], x[1], x[0] * x[1]])

    model = jaxnn.Mlp((3, 2), features=square_and_product)
    kernel, bias = np.arange(6.0).reshape(3, 2), np.array([0.5, -0.5])
    params = (Dense(jnp.asarray(kernel, jnp.float32), jnp.asarray(bias, jnp.float32)),)
    np.testing.assert_allclose(model.apply(params, jnp.array([2.0, 3.0])), np.array([2, 3, 6.0]) @ kernel + bias)
    assert jaxnn.Linear(3, 2, features=square_and_product) == model != jaxnn.Linear(3, 2)
    image = jaxnn.Mlp((6, 2), features=jnp.ravel)
    assert image.apply(image.init(0), jnp.ones((2, 3))).shape == (2,)


def test_inputs_are_cast_to_the_dtype_of_the_parameters():
    model = jaxnn.Linear(2, 1)
    params = (Dense(jnp.ones((2, 1)), jnp.zeros(1)),)
    assert model.apply(params, jnp.array([255, 1], jnp.uint8)) == 256.0  # not 0, as uint8 would have it
    half = jax.tree.map(lambda a: a.astype(jnp.bfloat16), params)
    assert model.apply(half, jnp.ones(2, jnp.float32)).dtype == jnp.bfloat16


# ----------------------------------------------------------------------------------------------------------- symmetries


def pair(rng, activation="tanh"):
    """A case with one hidden layer worth permuting, as NumPy arrays: x, (W1, b1, W2, b2)."""
    case = by_name["tanh_mlp"]
    (w1, b1), (w2, b2) = random_params(case, rng)
    return case, rng.normal(size=(case.n, 3)), (w1, b1, w2, b2)


def as_params(*arrays):
    return tuple(Dense(*arrays[i : i + 2]) for i in range(0, len(arrays), 2))


@given(seed=st.integers(0, 2**32 - 1))
def test_a_network_of_identities_is_a_linear_model(x64, seed):
    case, x, (w1, b1, w2, b2) = pair(np.random.default_rng(seed))
    deep = outputs(jaxnn.Mlp(case.sizes, jaxnn.identity), as_params(w1, b1, w2, b2), x)
    flat = outputs(jaxnn.Linear(3, 3), as_params(w1 @ w2, b1 @ w2 + b2), x)
    scale = (np.abs(x) @ np.abs(w1) + np.abs(b1)) @ np.abs(w2) + np.abs(b2)
    oracles.assert_close(deep, flat, scale, F64)


@given(seed=st.integers(0, 2**32 - 1), power=st.integers(-20, 20))
def test_a_relu_layer_scaled_by_a_power_of_two_and_the_next_by_its_inverse_change_no_bit(seed, power):
    case, x, arrays = pair(np.random.default_rng(seed))
    w1, b1, w2, b2 = (a.astype(np.float32) for a in arrays)
    x, alpha = x.astype(np.float32), np.float32(2.0**power)
    model = jaxnn.Mlp(case.sizes, jaxnn.relu)
    before = outputs(model, as_params(w1, b1, w2, b2), x)
    np.testing.assert_array_equal(outputs(model, as_params(alpha * w1, alpha * b1, w2 / alpha, b2), x), before)


@given(seed=st.integers(0, 2**32 - 1), order=st.permutations(range(4)))
def test_hidden_units_can_be_permuted_and_tanh_units_flipped(x64, seed, order):
    rng = np.random.default_rng(seed)
    case, x, (w1, b1, w2, b2) = pair(rng)
    signs = rng.choice([-1.0, 1.0], 4)
    before = outputs(case.model, as_params(w1, b1, w2, b2), x)
    scale = oracles.mlp_scale(as_params(w1, b1, w2, b2), x, case.activations)[-1][1]
    permuted = as_params(w1[:, order], b1[order], w2[order], b2)
    oracles.assert_close(outputs(case.model, permuted, x), before, scale, F64)
    flipped = as_params(w1 * signs, b1 * signs, w2 * signs[:, None], b2)
    oracles.assert_close(outputs(case.model, flipped, x), before, scale, F64)
    if not np.all(signs == 1):
        half_flipped = as_params(w1 * signs, b1 * signs, w2, b2)
        assert np.any(np.abs(outputs(case.model, half_flipped, x) - before) > 1e-6)


@given(seed=st.integers(0, 2**32 - 1))
def test_a_linear_model_does_not_care_in_which_basis_its_features_are_given(x64, seed):
    rng = np.random.default_rng(seed)
    case = by_name["softmax"]
    x, ((w, b),) = rng.normal(size=(case.n, 4)), random_params(case, rng)
    u, _, v = np.linalg.svd(rng.normal(size=(4, 4)))
    a = u * np.geomspace(1, rng.uniform(1, 1000), 4) @ v
    condition = np.linalg.cond(a)
    scale = np.abs(x) @ np.abs(w) + np.abs(b) + np.linalg.norm(x, axis=1, keepdims=True) * np.linalg.norm(w)
    got = outputs(case.model, as_params(np.linalg.solve(a, w), b), x @ a)
    oracles.assert_close(got, outputs(case.model, as_params(w, b), x), condition * scale, F64)


# --------------------------------------------------------------------------------------------------- initial parameters


def test_linear_is_the_mlp_without_hidden_layers():
    assert jaxnn.Linear(4, 3) == jaxnn.Mlp((4, 3))
    assert hash(jaxnn.Linear(4, 3)) == hash(jaxnn.Mlp((4, 3)))


def test_without_hidden_layers_the_initial_parameters_are_zeros():
    (layer,) = jaxnn.Linear(4, 3).init(0)
    assert layer.kernel.shape == (4, 3)
    assert layer.bias.shape == (3,)
    assert not np.any(layer.kernel)
    assert not np.any(layer.bias)


def test_initial_parameters_depend_on_the_key_and_on_nothing_else():
    model = jaxnn.Mlp((5, 4, 3, 2))
    first = model.init(jax.random.key(7))
    for again in (model.init(7), model.init(np.int64(7)), jax.jit(model.init)(jax.random.key(7))):
        jax.tree.map(np.testing.assert_array_equal, again, first)
    other = model.init(8)
    for (k1, _), (k2, _) in zip(first, other, strict=True):
        assert not np.any(k1 == k2)
    flat = np.concatenate([k.ravel() for k, _ in first])
    assert len(np.unique(flat)) == len(flat)  # no layer is drawn with the key of another


def test_kernels_are_normal_with_the_gain_of_the_activation_they_read_and_biases_are_zero():
    model = jaxnn.Mlp((50, 200, 100, 50, 10), (jaxnn.relu, jaxnn.sigmoid, jaxnn.identity))
    gains = (1.0, initial_gain(jaxnn.relu), initial_gain(jaxnn.sigmoid), 1.0)
    for (kernel, bias), gain in zip(model.init(3), gains, strict=True):
        assert not np.any(bias)
        z = np.asarray(kernel, np.float64).ravel() * np.sqrt(kernel.shape[0]) / gain
        assert scipy.stats.kstest(z, "norm").pvalue > 1e-3
        assert abs(np.mean(z**2) - 1) < 4 * np.sqrt(2 / z.size)


@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16", jnp.float16])
def test_parameters_have_the_dtype_asked_for(dtype):
    with jax.enable_x64(dtype == "float64"):
        for model in (jaxnn.Linear(2, 1), jaxnn.Mlp((2, 3, 1))):
            params = jax.eval_shape(lambda model=model: model.init(0, dtype))
            assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(dtype)}
            x = jax.ShapeDtypeStruct((2,), jnp.float32)
            assert jax.eval_shape(model.apply, params, x).dtype == jnp.dtype(dtype)


def test_parameters_are_float32_or_float64_where_x64_is_on():
    model = jaxnn.Mlp((5, 4, 3, 2))
    assert model.init(0)[0].kernel.dtype == jnp.float32
    with jax.enable_x64(True):
        assert model.init(0)[0].kernel.dtype == jnp.float64


def test_one_call_of_init_serves_many_keys():
    many = jax.vmap(jaxnn.Mlp((5, 4, 3, 2)).init)(jax.random.split(jax.random.key(0), 5))
    assert many[0].kernel.shape == (5, 5, 4)
    assert len(np.unique(many[0].kernel)) == 100


# ----------------------------------------------------------------------------------------------------- values and texts


def test_models_compare_and_hash_by_value_and_keep_the_contract(wrong_types):
    a, b = jaxnn.Mlp((2, 3, 1), jaxnn.relu), jaxnn.Mlp([2, np.int64(3), 1], jaxnn.relu)
    assert a == b
    assert hash(a) == hash(b)
    assert b.sizes == (2, 3, 1)
    assert jaxnn.Mlp(size for size in (2, 3, 1)).sizes == (2, 3, 1)
    assert a != jaxnn.Mlp((2, 3, 1), jaxnn.tanh)
    assert a != jaxnn.Mlp((2, 4, 1), jaxnn.relu)
    assert jaxnn.Mlp((2, 3, 1), [jaxnn.relu]).activations == a.activations
    assert repr(a) == "Mlp(sizes=(2, 3, 1), activation=relu, features=None)"
    for case in CASES:
        assert isinstance(case.model, Model)
        assert jax.tree.leaves(case.model) == []


def test_kernel_mask_is_true_for_kernels_only():
    params = jaxnn.Mlp((2, 3, 1)).init(0)
    assert jaxnn.kernel_mask(params) == (Dense(True, False), Dense(True, False))
    other = {"conv": jnp.zeros((3, 3, 1, 4)), "scale": jnp.zeros(4), "temperature": jnp.zeros(())}
    assert jaxnn.kernel_mask(other) == {"conv": True, "scale": False, "temperature": False}


def test_summary_is_a_table_of_every_leaf():
    params = {"embed": jnp.zeros((1000, 2)), "head": Dense(jnp.zeros((2, 1), jnp.bfloat16), jnp.zeros(1))}
    assert jaxnn.summary(params) == (
        "parameter    shape      dtype     count\n"
        "embed        (1000, 2)  float32   2,000\n"
        "head.kernel  (2, 1)     bfloat16      2\n"
        "head.bias    (1,)       float32       1\n"
        "total                             2,003"
    )


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: jaxnn.Mlp((4,)), r"Mlp: sizes are inputs, hidden units, outputs; got sizes=\(4,\); pass at least two"),
        (lambda: jaxnn.Mlp(4), r"got sizes=4; pass at least two"),
        (lambda: jaxnn.Mlp(None), r"got sizes=None"),
        (lambda: jaxnn.Mlp(()), r"got sizes=\(\)"),
        (lambda: jaxnn.Mlp((4, 0, 2)), r"Mlp: sizes\[1\] is a whole number >= 1; got sizes\[1\]=0"),
        (lambda: jaxnn.Mlp((4, 2.0)), r"got sizes\[1\]=2\.0; pass an int"),
        (lambda: jaxnn.Mlp((True, 2)), r"got sizes\[0\]=True"),
        (lambda: jaxnn.Mlp("ab"), r"got sizes\[0\]='a'"),
        (
            lambda: jaxnn.Mlp((4, 3, 2), ()),
            r"Mlp: one activation a hidden layer; got 0 activations for 1 hidden layers",
        ),
        (lambda: jaxnn.Mlp((4, 2), [jaxnn.tanh]), r"got 1 activations for 0 hidden layers; pass a single one"),
        (
            lambda: jaxnn.Mlp((4, 3, 2), "tanh"),
            r"Mlp: an activation is a function; got activation='tanh'; pass jaxnn\.tanh",
        ),
        (lambda: jaxnn.Mlp((4, 3, 2), [None]), r"got activation=None"),
        (lambda: jaxnn.Linear(-1, 2), r"sizes\[0\] is a whole number >= 0; got sizes\[0\]=-1"),
        (lambda: jaxnn.Linear(0, 0), r"sizes\[1\] is a whole number >= 1; got sizes\[1\]=0"),
        (lambda: jaxnn.Mlp((4, 2)).init("0"), r"Mlp\.init: key is an int seed or a typed key; got key='0'"),
        (lambda: jaxnn.Mlp((4, 2)).init(-1), r"Mlp\.init: a seed lies in \[0, 2\*\*32\); got key=-1"),
    ],
)
def test_a_model_that_means_nothing_is_refused(wrong_types, make, message):
    with pytest.raises(jaxnn.ConfigError, match=message):
        make()


@pytest.mark.parametrize("dtype", ["int32", bool, jnp.complex64])
def test_parameters_that_are_no_floats_are_refused(dtype):
    with pytest.raises(
        jaxnn.DtypeError, match=r"Mlp\.init: parameters are floating point; got dtype=.*; pass 'float32'"
    ):
        jaxnn.Mlp((2, 1)).init(0, dtype)


@pytest.mark.parametrize("shape", [(), (3,), (5,), (2, 4), (4, 1)])
def test_an_example_of_the_wrong_shape_is_refused_and_never_broadcast(shape):
    model = jaxnn.Mlp((4, 2))
    with pytest.raises(jaxnn.ConfigError, match=r"an elementwise function .*IndexError on one number"):
        jaxnn.Mlp((4, 5, 3), activation=lambda z: z[:2]).init(0)
    with pytest.raises(jaxnn.DtypeError, match="parameters are floating point; got dtype=junk"):
        jaxnn.Mlp((4, 3)).init(0, dtype="junk")
    rule = r"Mlp\.apply: one example has D=4 features; got shape \(.*\); pass one row, and use jax\.vmap for many"
    with pytest.raises(jaxnn.ShapeError, match=rule):
        model.apply(model.init(0), jnp.ones(shape))
