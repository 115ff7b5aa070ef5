"""Tests per-example gradients of any pure function: what comes of each leaf equals `vmap(grad)`, and `explain` says
which leaves are kept in factors.

Each model names the leaves that are explicit. `explain` has to name the same ones, and so has the class of the form
that each leaf's gradients are in fact kept in: a leaf that falls back unseen fails. Double precision, so that what is
wrong in the tenth digit is wrong. Oracle: `vmap(grad)` on a row at a time, and NumPy for what is made of the gradients.
"""

from functools import partial

import equinox as eqx
import flax.linen as linen
import haiku as hk
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compiles import AS_FOR_USERS
from gradients import matrix, vector

import jaxnn
from jaxnn import Batch, bernoulli, categorical, gaussian, per_example
from jaxnn._errors import ShapeError
from jaxnn._objectives import without_absent
from jaxnn.per_example._factors import make_factors
from jaxnn.per_example._forms import Explicit, Lookup, Product

N = 5
WEIGHT = np.array([1, 2, 0, 0.5, 3])  # one is absent, and holds garbage
C = np.array([0.7, -1.3, 5, 0, 2.0])
KEY = jax.random.key(0)
X = jax.ShapeDtypeStruct((4,), jnp.float64)
MODELS = []


def explicit(*names, **options):
    """Register a model: log_prob, params, batch; these of its leaves, and no other, cannot be kept in factors."""

    def add(build):
        MODELS.append(pytest.param(build, set(names), options, id=build.__name__))
        return build

    return add


def normal(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape)


def labels(classes):
    return (np.arange(N) % classes).astype(np.int32)


def tokens(length, vocabulary):
    return np.random.default_rng(length).integers(0, vocabulary, (N, length)).astype(np.int32)


# ----------------------------------------------------------------------------------------------------- networks of ours


def ours(sizes, activations=(), likelihood=categorical):
    model = jaxnn.Mlp(sizes, activations)
    params = initial(lambda key: model.init(key))
    y = normal(N, sizes[-1]) if likelihood is gaussian else labels(max(2, sizes[-1]))
    return jaxnn.LogLikelihood(model, likelihood, l2=0.7), params, Batch(normal(N, sizes[0]), y)


@explicit("0.bias")
def logistic_regression():
    return ours((3, 1), likelihood=bernoulli)


@explicit("0.bias", "1.bias", "2.bias", "3.bias", full=True)
def mlp_of_each_activation():
    return ours((4, 3, 5, 4, 3), (jaxnn.sigmoid, jaxnn.tanh, jaxnn.relu))


@explicit("0.bias", "1.bias")
def mlp_with_identity_and_real_targets():
    return ours((3, 4, 2), (jaxnn.identity,), gaussian)


# ------------------------------------------------------------------------------------------------------- from elsewhere


def initial(init, *x):
    """Random parameters in the shapes that `init` would give: nothing is compiled."""
    return jax.tree.map(lambda a: 0.5 * normal(*a.shape), jax.eval_shape(init, KEY, *x))


class LinenMlp(linen.Module):
    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(linen.LayerNorm()(jnp.tanh(linen.Dense(6)(x))))


@explicit("params.Dense_0.bias", "params.Dense_1.bias", "params.LayerNorm_0.scale", "params.LayerNorm_0.bias")
def flax_with_a_layer_norm():
    model = LinenMlp()
    params = initial(model.init, X)
    return lambda p, x, y: categorical.log_prob(model.apply(p, x), y), params, Batch(normal(N, 4), labels(3))


class LinenTransformer(linen.Module):
    @linen.compact
    def __call__(self, tokens):
        embed = linen.Embed(40, 32, param_dtype=jnp.float64)
        h = embed(tokens)
        h = h + linen.MultiHeadDotProductAttention(2, param_dtype=jnp.float64)(h)
        return jnp.mean(embed.attend(h), 0)


@explicit(
    *(f"params.MultiHeadDotProductAttention_0.{name}.bias" for name in ("query", "key", "value", "out")), full=True
)
def flax_attention_with_the_embedding_tied_to_the_head():
    model = LinenTransformer()
    params = initial(model.init, jax.ShapeDtypeStruct((5,), jnp.int32))
    return lambda p, x, y: categorical.log_prob(model.apply(p, x), y), params, Batch(tokens(5, 40), labels(7))


@explicit("layers.0.bias", "layers.1.bias")
def equinox():
    model = eqx.filter_eval_shape(eqx.nn.MLP, 4, 3, 6, 1, key=KEY)
    params, static = eqx.partition(model, lambda a: isinstance(a, jax.ShapeDtypeStruct))

    def log_prob(p, x, y):
        return categorical.log_prob(eqx.combine(p, static)(x), y)

    return log_prob, jax.tree.map(lambda a: normal(*a.shape), params), Batch(normal(N, 4), labels(3))


@explicit("linear.b", "linear_1.b")
def haiku():
    net = hk.without_apply_rng(hk.transform(lambda x: hk.Linear(3)(jnp.tanh(hk.Linear(6)(x)))))
    params = initial(net.init, X)
    return lambda p, x, y: categorical.log_prob(net.apply(p, x), y), params, Batch(normal(N, 4), labels(3))


# ------------------------------------------------------------------------------------------------ products, by any name


def of_matrices(log_prob, shapes, x=4, y=3, **more):
    """A hand-written model of random parameters of these shapes."""
    shapes = shapes if isinstance(shapes, dict) else {"w": shapes}
    params = {name: 0.5 * normal(*shape, seed=3) for name, shape in shapes.items()} | more
    x = x if isinstance(x, np.ndarray | dict) else normal(N, *(x if isinstance(x, tuple) else (x,)))
    return log_prob, params, Batch(x, labels(y) if isinstance(y, int) else y)


@explicit()
def products_from_either_side():
    def log_prob(p, x, y):
        return categorical.log_prob(p["out"].T @ jnp.tanh(p["left"] @ x + x @ p["right"]), y)

    return of_matrices(log_prob, {"left": (6, 4), "right": (4, 6), "out": (6, 3)})


@explicit(full=True)
def einsum_and_tensordot_with_more_than_two_axes():
    def log_prob(p, x, y):  # x is [2, 3, 4]
        h = jnp.einsum("abc,dcb->ad", x, p["w"])
        h = jnp.tanh(h) + jnp.tensordot(x, p["v"], ((2, 1), (2, 0)))
        return categorical.log_prob(jnp.einsum("k,akd->d", jnp.ones(1), h[:, None]) @ p["out"], y)

    return of_matrices(log_prob, {"w": (5, 4, 3), "v": (3, 5, 4), "out": (5, 3)}, x=(2, 3, 4))


@explicit("w")
def einsum_with_a_batch_of_matrices():
    def log_prob(p, x, y):
        return categorical.log_prob(jnp.einsum("ti,tik->tk", x, p["w"]).sum(0), y)

    return of_matrices(log_prob, (2, 4, 3), x=(2, 4))


@explicit()
def inside_jit_and_checkpoint():
    @jax.jit
    def layer(w, x):
        return jax.checkpoint(lambda v, x: jnp.tanh(v @ x))(w.T, x)

    def log_prob(p, x, y):
        first = jax.checkpoint(jax.jit(lambda x: layer(p["w"], x)))
        return categorical.log_prob(jax.jit(lambda a, b: a @ b)(p["out"], first(x)), y)

    return of_matrices(log_prob, {"w": (4, 6), "out": (3, 6)})


@explicit()
def one_jitted_function_called_twice():
    layer = jax.jit(lambda w, x: x @ w)

    def log_prob(p, x, y):
        return categorical.log_prob(layer(p["w"], x[0]) * layer(p["w"], x[1]), y)

    return of_matrices(log_prob, (4, 6), x=(2, 4))


@explicit()
def tied_to_its_transpose():
    def log_prob(p, x, y):
        return gaussian.log_prob(jnp.tanh(x @ p["w"]) @ p["w"].T, y)

    return of_matrices(log_prob, (4, 6), y=normal(N, 4, seed=9))


@explicit("w")
def tied_through_a_reshape():
    def log_prob(p, x, y):
        return categorical.log_prob(jnp.tanh(x @ p["w"]) @ p["w"].reshape(6, 2), y)

    return of_matrices(log_prob, (2, 6), x=2, y=2)


@explicit()
def seen_through_transposes_and_reshapes_that_cancel():
    def log_prob(p, x, y):
        w = jnp.squeeze(p["w"].T.reshape(3, 4, 1).transpose(1, 0, 2)[None], (0, 3))
        return categorical.log_prob(jnp.tanh(x @ w) @ p["v"].reshape(12).reshape(3, 4), y)

    return of_matrices(log_prob, {"w": (4, 3), "v": (4, 3)}, y=4)


@explicit("w")
def sliced_before_use():
    return of_matrices(lambda p, x, y: categorical.log_prob(p["w"][:3] @ x, y), (5, 4))


@explicit("w", "v")
def a_leaf_that_meets_only_another_leaf():
    return of_matrices(lambda p, x, y: categorical.log_prob((p["w"] @ p["v"]) @ x, y), {"w": (3, 6), "v": (6, 4)})


@explicit("v")
def a_leaf_that_meets_a_constant():
    constant = normal(3, 5)

    def log_prob(p, x, y):  # once before it meets the example, once after
        return categorical.log_prob((constant @ p["v"]) @ x + constant @ (p["w"] @ x), y)

    return of_matrices(log_prob, {"w": (5, 4), "v": (5, 4)})


@explicit("w")
def in_a_product_and_in_a_sum():
    return of_matrices(lambda p, x, y: categorical.log_prob(p["w"] @ x + p["w"][:, 0], y), (3, 4))


@explicit("w")
def in_a_product_and_in_a_penalty_of_its_own():
    def log_prob(p, x, y):
        return categorical.log_prob(p["w"] @ x, y) - jnp.sum(p["w"] ** 2)

    return of_matrices(log_prob, (3, 4))


@explicit("w")
def through_an_activation_before_the_product():
    return of_matrices(lambda p, x, y: categorical.log_prob(jax.nn.relu(p["w"]) @ x, y), (3, 4))


@explicit("scale", "shift", full=True)
def scalar_leaves():
    def log_prob(p, x, y):
        return bernoulli.log_prob((p["scale"] * (p["w"] @ x) + p["shift"])[None], y)

    return of_matrices(log_prob, (4,), y=2, scale=np.float64(1.5), shift=np.float64(-0.3))


@explicit("rows", full=True)
def an_unused_leaf_and_one_behind_a_stop_gradient():
    def log_prob(p, x, y):
        fixed = jax.lax.stop_gradient(p["fixed"])
        return categorical.log_prob(p["w"] @ jnp.tanh(fixed @ x) + p["rows"] * jnp.max(fixed), y)

    return of_matrices(log_prob, {"w": (3, 5), "fixed": (5, 4), "rows": (3,), "unused": (2, 3, 4), "none": ()})


@explicit()
def x_and_y_are_trees():
    def log_prob(p, x, y):
        mean = p["a"] @ x["left"] + x["right"] @ p["b"]
        return gaussian.log_prob(mean, y["near"]) + 0.5 * gaussian.log_prob(2 * mean, y["far"])

    x = {"left": normal(N, 4), "right": normal(N, 2)}
    y = {"near": normal(N, 3), "far": normal(N, 3, seed=8)}
    return of_matrices(log_prob, {"a": (3, 4), "b": (2, 3)}, x=x, y=y)


@explicit()
def the_label_enters_a_product():
    def log_prob(p, x, y):
        return -jnp.sum((p["w"] @ x - p["v"] @ y) ** 2)

    return of_matrices(log_prob, {"w": (3, 4), "v": (3, 2)}, y=normal(N, 2))


@explicit()
def vmap_inside():
    def log_prob(p, x, y):  # x is [2, 4]
        h = jax.vmap(lambda row: p["w"] @ row)(x) + jax.vmap(lambda w: x @ w, out_axes=1)(p["heads"])[:, 0]
        return categorical.log_prob(jnp.max(jnp.tanh(h), 0) @ p["out"], y)

    return of_matrices(log_prob, {"w": (5, 4), "heads": (2, 4, 5), "out": (5, 3)}, x=(2, 4))


# ------------------------------------------------------------------------------------------------------------ sequences


def along_a_sequence(length, inputs, outputs):
    def log_prob(p, x, y):
        return categorical.log_prob(jnp.tanh(x @ p["w"]).mean(0) @ p["out"], y)

    return of_matrices(log_prob, {"w": (inputs, outputs), "out": (outputs, 3)}, x=(length, inputs))


@explicit(full=True)
def a_short_sequence_through_a_large_matrix():
    return along_a_sequence(2, 12, 15)


@explicit("w", full=True)
def a_long_sequence_through_a_small_matrix():
    return along_a_sequence(17, 3, 2)


@explicit("w")
def inside_a_scan():
    def log_prob(p, x, y):
        rows = x @ p["in"]
        h, _ = jax.lax.scan(lambda h, row: (jnp.tanh(h @ p["w"] + row), None), jnp.zeros(16), rows)
        return categorical.log_prob(h @ p["out"], y)

    return of_matrices(log_prob, {"in": (4, 16), "w": (16, 16), "out": (16, 3)}, x=(3, 4))


@explicit("w")
def inside_a_branch():
    def log_prob(p, x, y):
        h = jax.lax.cond(x[0] > 0, lambda: p["w"] @ x, lambda: x @ p["w"])
        return categorical.log_prob(h @ p["out"], y)

    return of_matrices(log_prob, {"w": (4, 4), "out": (4, 3)})


@explicit("w")
def behind_a_derivative_of_its_own():
    @jax.custom_vjp
    def dense(w, x):
        return w @ x

    dense.defvjp(lambda w, x: (w @ x, (w, x)), lambda kept, d: (2 * jnp.outer(d, kept[1]), d @ kept[0]))

    def log_prob(p, x, y):  # twice the derivative, on purpose: that is what has to come out
        return categorical.log_prob(dense(p["w"], jnp.tanh(x @ p["v"])), y)

    return of_matrices(log_prob, {"w": (3, 5), "v": (4, 5)})


@explicit("filters")
def a_convolution():
    def log_prob(p, x, y):
        z = jax.lax.conv(x[None, None], p["filters"], (1, 1), "VALID")[0]
        return categorical.log_prob(jnp.max(jnp.tanh(z), (1, 2)) @ p["w"], y)

    return of_matrices(log_prob, {"filters": (4, 1, 3, 3), "w": (4, 2)}, x=(6, 6), y=2)


# ------------------------------------------------------------------------------------------------------------- look-ups


def embedding(read, x, rows=7):
    def log_prob(p, x, y):
        h = read(p["table"], x)
        return categorical.log_prob(jnp.tanh(h.reshape(-1, 4).sum(0)) @ p["w"], y)

    return of_matrices(log_prob, {"table": (rows, 4), "w": (4, 3)}, x=x)


@explicit(full=True)
def repeated_tokens():
    return embedding(lambda table, x: table[x], np.array([[0, 0, 3, 0]] * 3 + [[1, 2, 3, 1], [6, 6, 6, 6]], np.int32))


@explicit(full=True)
def one_token():
    return embedding(lambda table, x: table[x], np.array([0, 6, -1, 3, 6], np.int32))


@explicit()
def tokens_from_the_end():
    return embedding(lambda table, x: table[x], np.array([[-1, 6], [-7, 0], [0, 0], [2, -5], [3, 3]], np.int32))


OUTSIDE = np.array([[0, 7], [100, 2], [0, 0], [3, 3], [-9, 6]], np.int32)


@explicit(full=True)
def tokens_out_of_range_that_read_nothing():
    return embedding(lambda table, x: jnp.take(table, x, axis=0, mode="fill", fill_value=0.5), OUTSIDE)


@explicit()
def tokens_out_of_range_that_read_the_nearest():
    return embedding(lambda table, x: jnp.take(table, x, axis=0, mode="clip"), OUTSIDE)


@explicit()
def tokens_out_of_range_by_plain_indexing():
    return embedding(lambda table, x: table[x] + jnp.stack([table[x[0]], table[x[1]]]), OUTSIDE)


@explicit()
def tokens_in_two_axes_and_rows_that_are_matrices():
    def log_prob(p, x, y):
        return categorical.log_prob(jnp.tanh(p["table"][x]).sum((0, 1, 2)) @ p["w"], y)

    return of_matrices(log_prob, {"table": (7, 2, 4), "w": (4, 3)}, x=tokens(6, 7).reshape(N, 2, 3))


@explicit(full=True)
def a_vector_read_by_index():
    def log_prob(p, x, y):
        return bernoulli.log_prob(jnp.sum(p["w"][x])[None] + p["v"][x[0]], y)

    return of_matrices(log_prob, {"w": (9,), "v": (9,)}, x=tokens(4, 7), y=2)


@explicit()  # a gather of its own kind, with a column of zeros beside the index
def look_ups_under_vmap():
    return embedding(lambda table, x: jax.vmap(lambda i: table[i])(x), tokens(4, 7))


@explicit()
def columns_read_by_index_through_a_transpose():
    def log_prob(p, x, y):
        return categorical.log_prob(p["table"].T[x].sum(0) @ p["w"], y)

    return of_matrices(log_prob, {"table": (4, 7), "w": (4, 3)}, x=tokens(3, 7))


@explicit("table")
def columns_read_by_index():
    def log_prob(p, x, y):
        return categorical.log_prob(p["table"][:, x].sum(1) @ p["w"], y)

    return of_matrices(log_prob, {"table": (4, 7), "w": (4, 3)}, x=tokens(3, 7))


@explicit("table")
def single_numbers_read_by_index():
    def log_prob(p, x, y):
        return categorical.log_prob(p["table"][x, :3][0] + p["table"][x[0], x[1]], y)

    return of_matrices(log_prob, {"table": (7, 4)}, x=tokens(2, 4))


@explicit("table")
def a_row_that_is_always_the_same():
    def log_prob(p, x, y):
        return categorical.log_prob(p["table"][1] + p["w"] @ x, y)

    return of_matrices(log_prob, {"table": (7, 3), "w": (3, 4)})


@explicit(full=True)
def embedding_tied_with_the_head():
    def log_prob(p, x, y):
        h = jnp.tanh(p["table"][x] @ p["w"])
        return jnp.mean(jax.vmap(categorical.log_prob)(h @ p["table"].T, jnp.roll(x, 1))) + 0 * y

    return of_matrices(log_prob, {"table": (40, 16), "w": (16, 16)}, x=tokens(5, 40))


@explicit("table", "w", full=True)
def embedding_tied_with_the_head_and_smaller_than_its_factors():
    def log_prob(p, x, y):
        h = jnp.tanh(p["table"][x] @ p["w"])
        return jnp.mean(jax.vmap(categorical.log_prob)(h @ p["table"].T, jnp.roll(x, 1))) + 0 * y

    return of_matrices(log_prob, {"table": (7, 4), "w": (4, 4)}, x=tokens(5, 7))


@explicit(full=True)
def two_tables_from_one():
    def log_prob(p, x, y):
        return categorical.log_prob(p["table"][x[:2]].sum(0) * p["table"][x[2]], y)

    return of_matrices(
        log_prob, {"table": (7, 3)}, x=np.array([[1, 2, 1], [0, 0, 0], [0, 1, 2], [6, 5, 4], [3, 3, 1]], np.int32)
    )


# ------------------------------------------------------------------------------------------------------ lower precision


def eps(dtype):
    return float(jnp.finfo(dtype).eps)


@explicit("b", dtype=jnp.bfloat16, tolerance=8 * eps(jnp.bfloat16))
def bfloat16_parameters():
    def log_prob(p, x, y):
        return categorical.log_prob(jnp.tanh(x @ p["w"] + p["b"]) @ p["out"], y)

    return of_matrices(log_prob, {"w": (4, 6), "b": (6,), "out": (6, 3)})


@explicit(dtype=jnp.bfloat16, tolerance=8 * eps(jnp.bfloat16), full=True)
def bfloat16_tokens_and_sequences():
    def log_prob(p, x, y):
        h = p["table"][x] @ p["table"].T @ p["table"]
        return categorical.log_prob(jnp.tanh(h.sum(0)) @ p["w"], y)

    return of_matrices(log_prob, {"table": (48, 16), "w": (16, 3)}, x=tokens(3, 48))


def mixed(dtype):
    def log_prob(p, x, y):
        h = jnp.tanh(x.astype(dtype) @ p["w"].astype(dtype))
        return categorical.log_prob((h @ p["out"].astype(dtype)).astype(p["w"].dtype), y)

    return of_matrices(log_prob, {"w": (4, 6), "out": (6, 3)})


@explicit(dtype=jnp.float32, tolerance=8 * eps(jnp.float16))
def weights_cast_to_float16_inside():
    return mixed(jnp.float16)


@explicit(dtype=jnp.float32, tolerance=8 * eps(jnp.bfloat16))
def weights_cast_to_bfloat16_inside():
    return mixed(jnp.bfloat16)


# ---------------------------------------------------------------------------------------------------------------- tests


def everything(objective, params, batch, c, direction, full):
    """The factors, what their methods say, and the oracle's gradients: one program for each model.

    In full for a model of each form and shape of a form; which form a gradient has, the rest show by its sum.
    """
    f = make_factors(objective, params, without_absent(batch))  # behind the door, which traces the model three times
    said = {"gradients": f.materialise(), "norms": f.norms(), "weighted_sum": f.weighted_sum(c)}
    if full:
        said |= {"second_moment": f.second_moment(), "inner": f.inner(direction), "gram": f.gram()}
    want = jax.vmap(jax.value_and_grad(objective.per_example), (None, 0, 0))(params, batch.x, batch.y)
    return f, said, want


def wide(dtype):
    return jnp.promote_types(dtype, jnp.float32)


def built(build, dtype=np.float64):
    """The objective, parameters and batch of a model, in a dtype."""
    log_prob, params, batch = build()
    objective = jaxnn.from_function(log_prob, l2=0.7) if not hasattr(log_prob, "per_example") else log_prob
    cast = lambda a: jnp.asarray(a, dtype) if np.issubdtype(np.asarray(a).dtype, np.floating) else a  # noqa: E731
    params, batch = jax.tree.map(cast, params), Batch(*jax.tree.map(cast, batch[:2]), np.asarray(WEIGHT, wide(dtype)))
    return objective, params, batch


def close(got, want, scale, tolerance, what):
    error = np.max(np.abs(got - want) / np.maximum(scale, 1e-30), initial=0)
    assert got.shape == want.shape and error <= tolerance, f"{what}: {error:.3g} of the scale, above {tolerance:.3g}"


@pytest.mark.parametrize(("build", "names", "options"), MODELS)
def test_the_gradients_of_any_function_are_those_of_vmap_of_grad(x64, build, names, options):
    dtype, tolerance = options.get("dtype", np.float64), options.get("tolerance", 1e-11)
    objective, params, batch = built(build, dtype)
    rng = np.random.default_rng(1)
    direction = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape), a.dtype), params)
    program = jax.jit(partial(everything, full="full" in options))
    f, got, (value, want) = jax.device_get(program(objective, params, batch, C, direction))

    explained = per_example.explain(objective, params, batch)
    assert {leaf.name for leaf in explained.leaves if leaf.way == "explicit"} == names
    kept = [isinstance(form, Explicit) for form in f.forms]
    assert {leaf.name for leaf, explicit in zip(explained.leaves, kept, strict=True) if explicit} == names
    assert all((leaf.reason is None) == (leaf.name not in names) for leaf in explained.leaves)
    assert [leaf.shape for leaf in explained.leaves] == [np.shape(leaf) for leaf in jax.tree.leaves(params)]
    assert [leaf.num_bytes for leaf in explained.leaves] == [
        sum(a.nbytes for a in jax.tree.leaves(form)) for form in f.forms
    ]

    present = WEIGHT > 0
    g = np.where(present[:, None], matrix(want), 0)
    assert np.all(np.isfinite(g)) and np.any(g)
    v, size = vector(direction), np.abs(g).max()
    length = np.sqrt(np.sum(g**2, 1))
    close(f.log_likelihoods, np.where(present, value, 0), 1 + np.abs(value), tolerance, "log likelihoods")
    close(matrix(got["gradients"]), g, size, tolerance, "gradients")
    assert not np.any(matrix(got["gradients"])[~present])
    close(got["norms"], length, length.max(), tolerance, "norms")
    close(vector(got["weighted_sum"]), C @ g, np.abs(C).sum() * size, tolerance, "weighted sum")
    if "full" in options:
        in_full(got, g, v, tolerance)
    for name in ("gradients", "weighted_sum"):
        assert jax.tree.structure(got[name]) == jax.tree.structure(params)
        assert all(a.dtype == b.dtype for a, b in zip(*map(jax.tree.leaves, (got[name], params)), strict=True))


def in_full(got, g, v, tolerance):
    """The quadratic ones."""
    size, long = np.abs(g).max(), np.max(np.sum(g**2, 1))
    close(vector(got["second_moment"]), WEIGHT @ g**2 / WEIGHT.sum(), size**2, tolerance, "second moment")
    close(got["inner"], g @ v, np.sqrt(long * (v @ v)), tolerance, "inner")
    close(got["gram"], g @ g.T, long, tolerance, "gram")


def test_the_ways_and_reasons_of_the_leaves_are_told(x64):
    def told(build):
        return {leaf.name: (leaf.way, leaf.reason, leaf.rows) for leaf in per_example.explain(*built(build)).leaves}

    def explained(build, name):
        return told(build)[name]

    assert explained(logistic_regression, "0.kernel") == ("product", None, 1)
    assert explained(logistic_regression, "0.bias") == ("explicit", "is added", 1)
    assert explained(a_short_sequence_through_a_large_matrix, "w") == ("product", None, 2)
    larger = "its factors, 17 rows, are larger"
    assert explained(a_long_sequence_through_a_small_matrix, "w") == ("explicit", larger, 1)
    assert explained(repeated_tokens, "table") == ("look-up", None, 4)
    assert explained(embedding_tied_with_the_head, "table") == ("tied", None, 10)
    assert explained(an_unused_leaf_and_one_behind_a_stop_gradient, "unused") == ("unused", None, 0)
    assert explained(an_unused_leaf_and_one_behind_a_stop_gradient, "fixed") == ("unused", None, 0)
    assert explained(tied_through_a_reshape, "w")[1] is not None
    assert explained(scalar_leaves, "scale")[1] == "scales"
    assert explained(inside_a_scan, "w")[1] == "enters a loop (scan)"
    assert explained(inside_a_branch, "w")[1] == "enters a branch (cond)"
    assert explained(a_convolution, "filters")[1] == "is the kernel of a convolution"
    assert explained(behind_a_derivative_of_its_own, "w")[1] == "enters custom_vjp_call"
    assert "another parameter" in explained(a_leaf_that_meets_only_another_leaf, "w")[1]


def test_an_explanation_prints_a_row_for_each_leaf_and_a_sum():
    objective, params, batch = built(logistic_regression, np.float32)
    lines = str(per_example.explain(objective, params, batch)).split("\n")
    assert [line.split()[0] for line in lines] == ["parameter", "0.kernel", "0.bias", "5"]
    assert "explicit: is added" in lines[2] and lines[3].startswith("5 examples")
    assert len({len(line) for line in lines}) == 1


def test_the_sequences_and_the_ties_reach_the_forms_they_are_there_for(x64):
    def forms(build):
        objective, params, batch = built(build)
        return dict(zip(params, jax.eval_shape(per_example.factors, objective, params, batch).forms, strict=True))

    short = forms(a_short_sequence_through_a_large_matrix)["w"]
    (_, t, p), q = short.u.shape, short.v.shape[2]
    assert isinstance(short, Product) and t * (p + q) <= p * q
    assert isinstance(forms(repeated_tokens)["table"], Lookup)
    assert isinstance(forms(embedding_tied_with_the_head)["table"], Product)


def test_a_model_written_for_a_batch_is_named_with_its_cause():
    objective = jaxnn.from_function(lambda p, x, y: categorical.log_prob(p["w"] @ x.T, y)[0])
    with pytest.raises(ShapeError, match=r"^factors: log_prob works on one example; got .*for shapes x \[\(4,\)\]"):
        per_example.factors(objective, {"w": np.ones((3, 4), np.float32)}, Batch(np.ones((N, 4)), labels(3)))


def test_unsigned_bytes_read_the_rows_beyond_the_reach_of_their_clipping():
    # p - 1 = 299 is 43 in a uint8. Without optimisation XLA gets the gradient wrong itself, of one example or of many.
    x = np.array([[0, 255], [255, 255], [7, 200]], np.uint8)

    def log_prob(table, x, y):
        first, second = (jax.lax.dynamic_index_in_dim(table, x[i], keepdims=False) for i in range(2))
        return categorical.log_prob(first + second, y)

    table, y = jnp.asarray(np.random.default_rng(0).normal(size=(300, 4)), jnp.float32), np.array([0, 1, 3], np.int32)
    gradient = jax.jit(jax.grad(log_prob), compiler_options=AS_FOR_USERS)
    want = [gradient(table, jnp.asarray(a), b) for a, b in zip(x, y, strict=True)]
    got = per_example.gradients(jaxnn.from_function(log_prob), table, Batch(x, y))
    np.testing.assert_allclose(got, np.stack(want), atol=1e-6)


def test_a_complex_product_is_kept_in_full():
    # The gradient is the real part of the product, and the norm that of the real part.
    def log_prob(w, x, y):
        return jnp.sum(jnp.abs(jnp.fft.fft(x) @ w) ** 2) - y

    rng = np.random.default_rng(0)
    w, x = jnp.asarray(rng.normal(size=(4, 3)), jnp.float32), rng.normal(size=(5, 4)).astype(np.float32)
    objective, batch = jaxnn.from_function(log_prob), Batch(x, np.zeros(5, np.float32))
    want = np.asarray(jax.vmap(jax.grad(log_prob), (None, 0, 0))(w, x, batch.y), np.float64).reshape(5, -1)
    assert per_example.explain(objective, w, batch).leaves[0].way == "explicit"
    np.testing.assert_allclose(per_example.norms(objective, w, batch), np.linalg.norm(want, axis=1), rtol=1e-5)
    np.testing.assert_allclose(per_example.gram(objective, w, batch), want @ want.T, rtol=1e-4, atol=1e-3)


def test_unsigned_words_out_of_range_are_clipped_before_they_are_narrowed():
    numbers = jax.lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))

    def log_prob(table, x, y):
        rows = jax.lax.gather(table, x[:, None], numbers, (1, 4), mode="clip")
        return categorical.log_prob(rows.sum(0), y)

    table = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    x, y = np.array([[2**32 - 1, 0], [3, 2**31]], np.uint32), np.array([0, 1], np.int32)
    want = [jax.grad(log_prob)(table, jnp.asarray(a), b) for a, b in zip(x, y, strict=True)]
    objective = jaxnn.from_function(log_prob)
    made = make_factors(objective, table, Batch(jnp.asarray(x), jnp.asarray(y)))  # the door takes no such integers
    np.testing.assert_allclose(made.materialise(), np.stack(want), atol=1e-6)


def test_batches_of_two_shapes_may_go_two_ways():
    def log_prob(w, x, y):  # one row is read as a product, several are read by a loop
        h = x[0] @ w if len(x) == 1 else jax.lax.map(lambda row: row @ w, x).sum(0)
        return categorical.log_prob(h, y)

    rng = np.random.default_rng(0)
    w, objective = jnp.asarray(rng.normal(size=(3, 4)), jnp.float32), jaxnn.from_function(log_prob)
    one, many = (
        Batch(rng.normal(size=(n, t, 3)).astype(np.float32), np.arange(n, dtype=np.int32)) for n, t in ((3, 1), (2, 2))
    )
    a, b = (per_example.gradients(objective, w, batch).reshape(len(batch.y), -1) for batch in (one, many))
    np.testing.assert_allclose(per_example.gram(objective, w, one, many), a @ b.T, atol=1e-5)
