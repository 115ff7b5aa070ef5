"""Tests per-example gradients over random architectures, batch sizes, weights and dtypes, three ways against each
other: factored, by `vmap(grad)`, and in a Python loop over single examples in float64.

Not tested here: named models, and which of their leaves come apart (test_per_example_models).
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracles
import pytest
from gradients import fits, like, matrix, methods, numpy_says, vector

import jaxnn
from jaxnn import Batch, categorical, gaussian, per_example
from jaxnn.per_example import _chunks

CLASSES = 3
SIZES = (1, 5, 0, 7)
DTYPES = (jnp.float64, jnp.float32, jnp.float64, jnp.bfloat16)
ACTIVATIONS = (jnp.tanh, jax.nn.relu, jnp.sin)
_C = {jnp.float64: 64, jnp.float32: 256, jnp.bfloat16: 16}  # eps of the network's own rounding that are allowed


class Architecture:
    """A random network: parameters by name, and the operations on the hidden values h, a vector or a sequence."""

    def __init__(self, seed):
        self.rng = np.random.default_rng(seed)
        self.params, self.operations, self.squares = {}, [], []
        self.kind = ("vector", "sequence", "tokens")[seed % 3]
        self.length, self.width = int(self.rng.integers(2, 5)), int(self.rng.integers(2, 12))
        if self.kind == "tokens":
            table = self.new(int(self.rng.integers(3, 20)), self.width)
            self.operations.append(lambda p, x: p[table][x])
        first = self.width if self.kind != "tokens" else len(self.params["0"])
        self.inputs = first
        for _ in range(int(self.rng.integers(2, 6))):
            layer = self.rng.choice(LAYERS)(self)
            self.operations.append(jax.jit(layer) if self.rng.random() < 0.3 else layer)
        self.outputs = CLASSES if self.rng.random() < 0.7 else self.width
        if self.outputs == CLASSES:
            dense(self, CLASSES)

    def new(self, *shape):
        """Add a parameter; return its name."""
        name = str(len(self.params))
        self.params[name] = self.rng.normal(size=shape) / np.sqrt(max(1, np.prod(shape[:-1])))
        return name

    @property
    def is_long(self):
        return self.kind != "vector"

    def log_prob(self, p, x, y):
        for operation in self.operations:
            x = operation(p, x)
        outputs = x.mean(0) if self.is_long else x
        return (categorical if self.outputs == CLASSES else gaussian).log_prob(outputs, y)

    def batch(self, n, weighted):
        rng = self.rng
        shape = (n, self.length) if self.is_long else (n,)
        x = rng.integers(0, self.inputs, shape) if self.kind == "tokens" else rng.normal(size=(*shape, self.inputs))
        y = rng.integers(0, CLASSES, n) if self.outputs == CLASSES else rng.normal(size=(n, self.outputs))
        weight = rng.choice([0, 0.5, 1, 3], n) if weighted else None
        return Batch(*(a.astype(np.int32) if a.dtype == int else a for a in (x, y)), weight)


def dense(net, width=None):
    """h W, from either side, with a bias or without; a square W is remembered."""
    width = int(net.rng.integers(1, 12)) if width is None else width
    turned, w = net.rng.random() < 0.3, None
    w = net.new(width, net.width) if turned else net.new(net.width, width)
    if not turned and width == net.width:
        net.squares.append(w)
    bias = net.new(width) if net.rng.random() < 0.5 else None
    net.width = width

    def layer(p, h):
        z = (p[w] @ h.T).T if turned else h @ p[w]
        return z if bias is None else z + p[bias]

    net.operations.append(layer)
    return activation(net)


def activation(net):
    f = net.rng.choice(ACTIVATIONS)
    return lambda p, h: f(h)


def scale(net):
    a = net.new(net.width)
    return lambda p, h: h * p[a] / jnp.sqrt(1 + jnp.sum(h * h, -1, keepdims=True))


def tied(net):
    """h + tanh(h W) Wᵀ."""
    w = net.new(net.width, int(net.rng.integers(1, 12)))
    return lambda p, h: h + jnp.tanh(h @ p[w]) @ p[w].T


def again(net):
    """A kernel that was used before, if there is one that fits."""
    fitting = [w for w in net.squares if net.params[w].shape[0] == net.width]
    return (lambda p, h: h @ p[fitting[0]]) if fitting else tied(net)


def heads(net):
    """Several projections at once, by a tensor of three axes."""
    w = net.new(net.width, 2, 3)
    net.width = 6
    return lambda p, h: jnp.einsum("...d,dhk->...hk", h, p[w]).reshape(*h.shape[:-1], 6)


def attention(net):
    if not net.is_long:
        return scale(net)
    w = net.new(net.width, net.width)
    return lambda p, h: jax.nn.softmax(h @ p[w] @ h.T) @ h


def convolution(net):
    if not net.is_long:
        return dense(net)
    w, width = net.new(net.width, net.width, 2), net.width
    return lambda p, h: jax.lax.conv(h.T[None], p[w], (1,), [(0, 1)])[0].T.reshape(-1, width)


LAYERS = (dense, dense, scale, tied, again, heads, attention, convolution)


@pytest.mark.parametrize("seed", [*range(10), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(10, 40))])
def test_three_ways_agree_on_a_random_architecture(x64, seed):
    net, n, dtype = Architecture(seed), SIZES[seed % 4], DTYPES[(seed + seed // 4) % 4]
    batch = net.batch(n, weighted=seed % 2)
    cast = lambda a: jnp.asarray(a, dtype) if np.issubdtype(a.dtype, np.floating) else jnp.asarray(a)  # noqa: E731
    params, x, y = jax.tree.map(cast, (net.params, batch.x, batch.y))
    objective, rng = jaxnn.from_function(net.log_prob, l2=0.3), np.random.default_rng(seed)
    exact = jax.tree.map(
        lambda a: np.asarray(a, np.float64) if jnp.issubdtype(a.dtype, jnp.floating) else a, (params, x, y)
    )

    one = jax.jit(jax.grad(net.log_prob))
    loop = [vector(one(exact[0], exact[1][i], exact[2][i])) for i in range(n)]
    g = np.stack(loop) if n else np.zeros((0, vector(params).size))
    weight = np.ones(n) if batch.weight is None else batch.weight
    g = np.where(weight[:, None] > 0, g, 0)
    assert np.all(np.isfinite(g)) and (n == 0 or not weight.any() or np.any(g))

    eps, c = float(jnp.finfo(dtype).eps), _C[dtype]
    size = np.abs(g).max(initial=0) * 4
    by_vmap = jax.jit(jax.vmap(jax.grad(net.log_prob), (None, 0, 0)))(params, x, y)
    oracles.assert_close(np.where(weight[:, None] > 0, matrix(by_vmap), 0), g, size, eps, c, "vmap(grad)")

    norms = np.sort(np.linalg.norm(g, axis=1))
    max_norm = norms[n // 2 - 1 : n // 2 + 1].mean() if n > 1 else 0.4
    numbers, v = rng.normal(size=n), rng.normal(size=g.shape[1])
    v = vector(like(params, v) if dtype == jnp.float64 else jax.tree.map(cast, like(params, v)))
    given = objective, params, Batch(x, y, batch.weight), numbers, jax.tree.map(cast, like(params, v)), max_norm
    want = numpy_says(g, batch.weight, numbers, v, max_norm)
    fits(jax.device_get(jax.jit(methods)(*given)), want, g, eps, numbers, v, c)
    ask = partial(per_example.clipped_sum, memory=2 * _chunks.example_bytes(*given[:3]))
    total, clipping = jax.jit(ask)(*given[:3], max_norm)
    oracles.assert_close(vector(total), want["clipped_sum"], n * 7 * size, eps, c, "in chunks of two")
    oracles.assert_close(clipping.norms, want["norms"], norms.max(initial=0), eps, c, "norms in chunks of two")
