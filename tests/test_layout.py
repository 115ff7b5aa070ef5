"""Kernels turned inside the compiled loop: nobody outside can tell, and only what cannot tell is turned."""

import functools
import itertools
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from small import bits

import jaxnn
from jaxnn import Batch, LogLikelihood, MiniBatch, Mlp, _optimizer
from jaxnn._layout import ColumnsLogLikelihood, TurnedMlp, can_turn, turned, turned_objective
from jaxnn._models import Dense, kernel_mask
from jaxnn._optimizer import ELEMENTWISE, as_optimizer
from jaxnn._types import Objective

SIZES, SQUARE = (4, 3), (4, 4, 3)  # with a square kernel, shapes alone would not betray a wrong turn
RNG = np.random.default_rng(0)
# no zeros to start from: they are their own transpose
START = {
    sizes: tuple(Dense(RNG.normal(size=s), RNG.normal(size=s[1])) for s in itertools.pairwise(sizes))
    for sizes in (SIZES, SQUARE)
}
X, Y = RNG.normal(size=(20, 4)), RNG.integers(0, 3, 20).astype(np.int32)


@jax.tree_util.register_static
@dataclass(frozen=True)
class MyMlp(Mlp):
    """The same network as a class of a user's, which is left as it is."""


def name(optimizer):
    return getattr(optimizer, "__name__", "nadam")


def run(kind, sizes, optimizer):
    """Three epochs with ragged batches, from the same parameters."""
    objective = LogLikelihood(kind(sizes), jaxnn.categorical, l2=0.01)
    state = jaxnn.init_state(objective, optimizer, START[sizes], learning_rate=0.01)
    return jax.jit(lambda s: jaxnn.ascend(objective, optimizer, s, Batch(X, Y), MiniBatch(8), 3))(state)


def assert_same_run(optimizer, sizes=SIZES):
    (turned_state, turned_rows), (state, rows) = run(Mlp, sizes, optimizer), run(MyMlp, sizes, optimizer)
    assert jax.tree.structure(turned_state) == jax.tree.structure(state)
    keep = lambda s: s._replace(key=jax.random.key_data(s.key))  # noqa: E731
    for got, want in zip(jax.tree.leaves(keep(turned_state)), jax.tree.leaves(keep(state)), strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(turned_rows.gradient_norm, rows.gradient_norm, rtol=1e-8)
    np.testing.assert_allclose(turned_rows.update_ratio, rows.update_ratio, rtol=1e-6)


@pytest.mark.parametrize("optimizer", [optax.nadam, *sorted(ELEMENTWISE, key=lambda f: f.__name__)], ids=name)
def test_turned_kernels_give_the_same_run(x64, optimizer):
    assert as_optimizer("test", optimizer).is_elementwise
    assert_same_run(optimizer)


@pytest.mark.parametrize("optimizer", [optax.sgd, optax.adam], ids=name)
def test_a_square_kernel_is_turned_back(x64, optimizer):
    assert_same_run(optimizer, SQUARE)


def test_options_that_do_not_look_at_shapes_may_stay(x64):
    optimizer = functools.partial(optax.adamw, mask=kernel_mask, weight_decay=0.1)
    assert as_optimizer("test", optimizer).is_elementwise
    assert_same_run(optimizer)


def test_an_optimiser_that_looks_at_axes_would_be_caught(x64, monkeypatch):
    monkeypatch.setattr(_optimizer, "ELEMENTWISE", ELEMENTWISE | {optax.sm3})  # it keeps one number a row and a column
    with pytest.raises((AssertionError, TypeError, ValueError)):
        assert_same_run(optax.sm3)


def test_turning_twice_changes_nothing():
    state = jaxnn.init_state(
        LogLikelihood(Mlp(SIZES), jaxnn.categorical), optax.adam, Mlp(SIZES).init(1), learning_rate=0.1
    )
    once = turned(state, state.params)
    assert once.params[0].kernel.shape == once.best.params[0].kernel.shape == (3, 4)
    assert once.opt_state[0].mu[0].kernel.shape == (3, 4)
    assert bits(turned(once, once.params)) == bits(state)


def test_the_turned_model_is_the_same_function():
    params, x = jax.tree.map(jnp.float32, START[SIZES]), jnp.float32(X[0])
    objective = turned_objective(LogLikelihood(Mlp(SIZES, features=lambda x: 2 * x), jaxnn.categorical))
    assert isinstance(objective, Objective) and isinstance(objective.model, TurnedMlp)
    np.testing.assert_allclose(
        objective.model.apply(turned(params, params), x), Mlp(SIZES).apply(params, 2 * x), rtol=1e-5, atol=1e-6
    )


def rank(z):
    """An activation of a whole layer, not of each number: its columns must not be mixed."""
    return z - jnp.mean(z)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Smoothed(jaxnn.Categorical):
    """A likelihood of a user's: one part in ten goes to all classes alike."""

    def log_prob(self, outputs, y):
        return 0.9 * super().log_prob(outputs, y) + 0.1 * jnp.mean(jax.nn.log_softmax(outputs))


COLUMNS = {
    "a likelihood of a user's": (Mlp((4, 5, 3)), Smoothed(), Y),
    "softmax": (Mlp((4, 5, 3)), jaxnn.categorical, Y),
    "no hidden layer, features": (Mlp(SIZES, features=lambda x: x**2), jaxnn.categorical, Y),
    "an activation over the layer": (Mlp((4, 5, 6, 3), activation=(rank, jaxnn.tanh)), jaxnn.categorical, Y),
    "labels that are no class": (Mlp((4, 5, 3)), jaxnn.categorical, np.where(np.arange(20) % 3, Y, -1)),
    "logistic": (Mlp((4, 5, 1), activation=jaxnn.sigmoid), jaxnn.bernoulli, Y % 2),
    "targets": (Mlp((4, 5, 2), activation=jaxnn.tanh), jaxnn.gaussian, X[:, :2]),
}


@pytest.mark.parametrize("case", COLUMNS)
def test_columns_give_what_vmap_of_one_example_gives(x64, case):
    model, likelihood, y = COLUMNS[case]
    objective = turned_objective(LogLikelihood(model, likelihood), ColumnsLogLikelihood)
    params = jax.tree.map(lambda a: a + 0.1, model.init(3))
    params = turned(params, params)

    def rows(params):
        return jax.vmap(objective.per_example, (None, 0, 0))(params, X, y)

    def columns(params):
        return objective.log_probs(params, jnp.asarray(X), jnp.asarray(y))

    for f, g in ((rows, columns), (jax.jacrev(rows), jax.jacrev(columns))):
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-14), f(params), g(params))
    guesses = jax.vmap(objective.predict, (None, 0))(params, X)
    np.testing.assert_allclose(objective.predictions(params, jnp.asarray(X)), guesses, rtol=1e-12)


@pytest.mark.parametrize("likelihood", [jaxnn.categorical, Smoothed()])
@pytest.mark.parametrize(
    "model",
    [
        Mlp((4, 5, 3), features=lambda x: jnp.sin(x.astype(jnp.float32))),
        Mlp((4, 5, 3), activation=lambda a: jnp.tanh(a.astype(jnp.float32))),
    ],
)
def test_columns_take_features_and_activations_of_another_dtype(model, likelihood):
    params = jax.tree.map(lambda a: a + jnp.float16(0.1), model.init(3, "float16"))
    objective = LogLikelihood(model, likelihood)
    columns = turned_objective(objective, ColumnsLogLikelihood)
    x = jnp.asarray(X, jnp.float16)
    want = jax.grad(lambda p: jnp.sum(jax.vmap(objective.per_example, (None, 0, 0))(p, x, Y)))(params)
    got = jax.grad(lambda p: jnp.sum(columns.log_probs(p, x, jnp.asarray(Y))))(turned(params, params))
    for a, b in zip(jax.tree.leaves(turned(got, got)), jax.tree.leaves(want), strict=True):
        assert a.dtype == b.dtype == jnp.float16
        np.testing.assert_allclose(np.float32(a), np.float32(b), rtol=0.02, atol=0.02)


def my_mask(params):
    return jax.tree.map(lambda w: w.shape[0] == 4, params)


@pytest.mark.parametrize(
    ("model", "optimizer"),
    [
        (MyMlp(SIZES), optax.sgd),
        (Mlp(SIZES), optax.adam(0.1)),  # who built it cannot be seen
        (Mlp(SIZES), optax.adafactor),
        (Mlp(SIZES), optax.contrib.muon),
        (Mlp(SIZES), optax.lbfgs),
        (Mlp(SIZES), functools.partial(optax.adamw, mask=my_mask)),
        (Mlp(SIZES), functools.partial(optax.adadelta, weight_decay_mask=my_mask)),
    ],
)
def test_what_could_tell_is_not_turned(model, optimizer):
    assert not can_turn(LogLikelihood(model, jaxnn.categorical), as_optimizer("test", optimizer))


def test_any_function_is_not_turned():
    assert not can_turn(jaxnn.from_function(lambda w, x, y: w @ x), as_optimizer("test", optax.sgd))


def test_the_loop_does_hold_turned_kernels():
    def updates(model, shape):
        objective = LogLikelihood(model, jaxnn.categorical)
        state = jaxnn.init_state(objective, optax.sgd, Mlp(SIZES).init(1), learning_rate=0.1)
        go = jax.make_jaxpr(lambda s: jaxnn.ascend(objective, optax.sgd, s, Batch(X, Y), MiniBatch(8), 1))
        return f"f32[{shape}] = add " in str(go(state))

    assert updates(Mlp(SIZES), "3,4") and not updates(Mlp(SIZES), "4,3")
    assert updates(MyMlp(SIZES), "4,3") and not updates(MyMlp(SIZES), "3,4")
