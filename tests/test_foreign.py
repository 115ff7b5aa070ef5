"""Models from elsewhere train unchanged: Flax, Equinox, tied weights, a convolution, embedded tokens."""

import equinox as eqx
import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

import jaxnn
from jaxnn import Batch, MiniBatch, categorical, from_function

_rng = np.random.default_rng(3)
KEY = jax.random.key(0)
X = _rng.normal(size=(96, 4)).astype(np.float32)
Y = (np.hypot(X[:, 0], X[:, 1]) > 1.2).astype(np.int32) + (X[:, 2] > 0.8)  # 3 classes that no line separates
IMAGES = _rng.normal(size=(96, 6, 6)).astype(np.float32)
IMAGES[::2, 2:4, :] += 1.5  # a bar across
IMAGES[1::2, :, 2:4] += 1.5  # a bar down
TOKENS = _rng.integers(0, 7, size=(96, 5)).astype(np.int32)


class LinenMlp(linen.Module):
    hidden: int = 8

    @linen.compact
    def __call__(self, x):
        return linen.Dense(3)(jnp.tanh(linen.Dense(self.hidden)(x)))


class NnxMlp(nnx.Module):
    def __init__(self, rngs):
        self.first, self.second = nnx.Linear(4, 8, rngs=rngs), nnx.Linear(8, 3, rngs=rngs)

    def __call__(self, x):
        return self.second(jnp.tanh(self.first(x)))


def flax_linen():
    model = LinenMlp()

    def log_prob(params, x, y):
        return categorical.log_prob(model.apply(params, x), y)

    return log_prob, model.init(KEY, X[0]), Batch(X, Y)


def flax_nnx():
    graph, params = nnx.split(NnxMlp(nnx.Rngs(0)))

    def log_prob(params, x, y):
        return categorical.log_prob(nnx.merge(graph, params)(x), y)

    return log_prob, params, Batch(X, Y)


def equinox():
    params, static = eqx.partition(eqx.nn.MLP(4, 3, 8, 1, key=KEY), eqx.is_inexact_array)

    def log_prob(params, x, y):
        return categorical.log_prob(eqx.combine(params, static)(x), y)

    return log_prob, params, Batch(X, Y)


def tied_weights():
    """An autoencoder that reads and writes through one kernel: no classes, the Gaussian density of x itself."""

    def log_prob(params, x, y):
        code = jnp.tanh(x @ params["kernel"] + params["code"])
        return jaxnn.gaussian.log_prob(code @ params["kernel"].T + params["mean"], y)

    params = {"kernel": 0.1 * jax.random.normal(KEY, (4, 3)), "code": jnp.zeros(3), "mean": jnp.zeros(4)}
    low = (X[:, :2] @ _rng.normal(size=(2, 4)) * 0.7).astype(np.float32)
    return log_prob, params, Batch(low, low)


def convolutional():
    def log_prob(params, x, y):
        z = jax.lax.conv(x[None, None], params["filters"], (1, 1), "VALID")[0]  # [4, 4, 4]
        return categorical.log_prob(jnp.max(jax.nn.relu(z), (1, 2)) @ params["kernel"] + params["bias"], y)

    filters = 0.3 * jax.random.normal(KEY, (4, 1, 3, 3))
    params = {"filters": filters, "kernel": 0.1 * jnp.ones((4, 2)), "bias": jnp.zeros(2)}
    return log_prob, params, Batch(IMAGES, np.arange(96, dtype=np.int32) % 2)


def token_embedding():
    def log_prob(params, x, y):
        return categorical.log_prob(jnp.mean(params["table"][x], 0) @ params["kernel"], y)

    params = {"table": jax.random.normal(KEY, (7, 4)), "kernel": jnp.zeros((4, 2))}
    return log_prob, params, Batch(TOKENS, (TOKENS < 3).sum(1).astype(np.int32) // 3)


def two_inputs():
    """x is a pytree: features and a per-example offset."""

    def log_prob(params, x, y):
        return jaxnn.bernoulli.log_prob(x["features"] @ params + x["offset"][None], y)

    x = {"features": X, "offset": X[:, 3] * 0.5}
    return log_prob, jnp.zeros((4, 1)), Batch(x, (X[:, 0] + X[:, 3] * 0.5 > 0.1).astype(np.int32))


MODELS = [flax_linen, flax_nnx, equinox, tied_weights, convolutional, token_embedding, two_inputs]


@pytest.mark.parametrize("build", MODELS, ids=lambda build: build.__name__)
def test_it_trains_unchanged_and_its_gradient_is_that_of_the_hand_written_mean(build):
    log_prob, params, batch = build()
    objective = from_function(log_prob)

    def mean(params):
        return jnp.mean(jax.vmap(lambda x, y: log_prob(params, x, y))(jax.tree.map(jnp.asarray, batch.x), batch.y))

    by_hand = jax.jit(jax.value_and_grad(mean))
    before, gradient = by_hand(params)

    state = jaxnn.init_state(objective, optax.adam, params, key=1, learning_rate=0.03)
    run = jax.jit(lambda s: jaxnn.ascend(objective, optax.adam, s, batch, MiniBatch(32), 30))
    end, history = run(state)
    assert by_hand(end.params)[0] - before > 0.25
    np.testing.assert_allclose(history.log_likelihood[0], before, rtol=1e-5)
    assert jax.tree.structure(end.params) == jax.tree.structure(params)
    ours = jax.jit(jax.grad(objective))(params, batch)
    for a, b in zip(*map(jax.tree.leaves, (ours, gradient)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


def test_a_flax_module_is_a_model_of_a_log_likelihood():
    model = LinenMlp()
    objective = jaxnn.LogLikelihood(model, categorical, l2=1e-3)
    params = model.init(KEY, X[0])
    result = jaxnn.fit(
        objective, optax.adam, params, Batch(X[:64], Y[:64]), Batch(X[64:], Y[64:]),
        plan=MiniBatch(16), max_epochs=40, learning_rate=0.03,
    )  # fmt: skip
    found = jaxnn.evaluate(objective, result.params, Batch(X[64:], Y[64:]))
    assert result.history.hold_out_log_likelihood.max() - result.history.hold_out_log_likelihood[0] > 0.15
    np.testing.assert_allclose(found.log_likelihood, result.history.hold_out_log_likelihood.max(), rtol=1e-5)
    kernels = [params["params"][layer]["kernel"] for layer in ("Dense_0", "Dense_1")]  # and no bias
    np.testing.assert_allclose(objective.penalty(params), 0.5e-3 * sum((k**2).sum() for k in kernels), rtol=1e-5)
    assert jaxnn.predict_proba(objective, params, X[:5]).shape == (5, 3)


def test_integer_inputs_stay_integers_for_any_model_but_an_mlp():
    seen = []

    def log_prob(params, x, y):
        seen.append(x.dtype)
        return jnp.sum(params[x]) * 0.0

    jaxnn.evaluate(from_function(log_prob, num_classes=2), jnp.ones(7), Batch(TOKENS, TOKENS[:, 0] % 2))
    assert seen and set(seen) == {jnp.dtype("int32")}
    mlp = jaxnn.LogLikelihood(jaxnn.Linear(5, 2), categorical)
    counts = Batch(TOKENS.astype(np.uint8), TOKENS[:, 0] % 2)
    found = jaxnn.evaluate(mlp, jax.tree.map(jnp.ones_like, mlp.model.init(0)), counts)
    np.testing.assert_allclose(found.log_likelihood, -np.log(2), rtol=1e-6)


def test_a_log_prob_that_says_one_class_for_all_does_not_pass_for_training():
    def log_prob(params, x, y):
        return categorical.log_prob(params["bias"], y)

    objective, params = from_function(log_prob), {"bias": jnp.zeros(3)}
    state = jaxnn.init_state(objective, optax.adam, params, learning_rate=0.03)
    end, _ = jax.jit(lambda s: jaxnn.ascend(objective, optax.adam, s, Batch(X, Y), MiniBatch(32), 30))(state)
    assert objective(end.params, Batch(X, Y)) - objective(params, Batch(X, Y)) < 0.25
