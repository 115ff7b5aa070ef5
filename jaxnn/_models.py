"""The multi-layer perceptron of any depth, as two pure functions of one example: `init` and `apply`."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Num

from jaxnn._activations import initial_gain, tanh
from jaxnn._checks import as_key, check_integer
from jaxnn._errors import ConfigError, DtypeError, ShapeError
from jaxnn._types import Params


class Dense(NamedTuple):
    """The parameters of one layer: `kernel` is `dtype[in, out]`, `bias` is `dtype[out]`."""

    kernel: Any
    bias: Any


@jax.tree_util.register_static
@dataclass(frozen=True)
class Mlp:
    """A multi-layer perceptron; with no hidden layer, a linear model.

        a_0 = f(x);  a_l = g_l(a_{l-1} W_l + b_l);  outputs = a_{L-1} W_L + b_L

    `Mlp((D, K))` with `categorical` is softmax regression and `Mlp((D, 1))` with `bernoulli` is logistic regression:
    the same code path, not special cases. The last layer has no activation: its outputs are logits, or means.

    Args:
      sizes: D, the hidden sizes, K; at least two whole numbers, D >= 0 (0: only the biases say anything), others >= 1.
      activation: g for every hidden layer, or a sequence with one for each. Any function of an array, elementwise.
      features: f, a fixed hand-made function put in front, from `dtype[...]` to `dtype[D]`; None for x itself.

    Raises:
      ConfigError: sizes or activations that make no network.

    Example:
      >>> import jax, jaxnn
      >>> model = jaxnn.Mlp((64, 128, 10), activation=jaxnn.relu)
      >>> params = model.init(jax.random.key(0))
      >>> params[0].kernel.shape, model.apply(params, jax.numpy.ones(64)).shape
      ((64, 128), (10,))
    """

    sizes: tuple[int, ...]
    activation: Callable | tuple[Callable, ...] = tanh
    features: Callable | None = None

    def __post_init__(self):
        who = "Mlp"
        sizes = tuple(self.sizes) if isinstance(self.sizes, Iterable) else ()
        if len(sizes) < 2:
            raise ConfigError(
                f"{who}: sizes are inputs, hidden units, outputs; got sizes={self.sizes!r}; pass at least two, as (64, "
                "128, 10)"
            )
        sizes = tuple(check_integer(who, f"sizes[{i}]", s, at_least=min(i, 1)) for i, s in enumerate(sizes))
        object.__setattr__(self, "sizes", sizes)
        if isinstance(self.activation, list | tuple):
            object.__setattr__(self, "activation", tuple(self.activation))
            if len(self.activation) != len(sizes) - 2:
                raise ConfigError(
                    f"{who}: one activation a hidden layer; got {len(self.activation)} activations for "
                    f"{len(sizes) - 2} hidden layers; pass a single one to use it everywhere"
                )
        if self.features is not None and not callable(self.features):
            raise ConfigError(
                f"{who}: features is a function; got features={self.features!r}; pass f, or None for x itself"
            )
        for g in self.activations:
            if not callable(g):
                raise ConfigError(f"{who}: an activation is a function; got activation={g!r}; pass jaxnn.tanh, say")

    @property
    def activations(self) -> tuple[Callable, ...]:
        """The activation of each hidden layer."""
        if isinstance(self.activation, tuple):
            return self.activation
        return (self.activation,) * (len(self.sizes) - 2)

    def init(self, key: Any, dtype: Any = None) -> tuple[Dense, ...]:
        """Return initial parameters.

        Without hidden layers all zeros: the objective is concave, so any start will do, and zeros say nothing.
        Otherwise biases are 0 and kernels are normal with standard deviation `gain / sqrt(in)`; the gain belongs to
        the activation the layer reads (`initial_gain`) and is 1 for the first, so gradients keep their
        size through layers of ReLU, tanh or identity (sigmoids shrink them, see there).

        Args:
          key: typed random key, or an int seed.
          dtype: of the parameters; None for float32, or float64 where x64 is on.

        Returns:
          One `Dense(kernel [in, out], bias [out])` a layer.
        """
        try:
            dtype = jnp.dtype(jax.dtypes.canonicalize_dtype(float) if dtype is None else dtype)
            is_float = jnp.issubdtype(dtype, jnp.floating)
        except TypeError:  # no dtype at all
            is_float = False
        if not is_float:
            raise DtypeError(f"Mlp.init: parameters are floating point; got dtype={dtype}; pass 'float32', say")
        key = as_key("Mlp.init", key)
        shapes = tuple(zip(self.sizes[:-1], self.sizes[1:], strict=True))
        if len(shapes) == 1:
            return (Dense(jnp.zeros(shapes[0], dtype), jnp.zeros(self.sizes[1], dtype)),)
        gains = (1.0, *map(initial_gain, self.activations))
        stds = tuple(g / math.sqrt(max(i, 1)) for g, (i, _) in zip(gains, shapes, strict=True))
        return _init(key, shapes, stds, dtype)

    def apply(self, params: Params, x: Num[Array, "..."]) -> Float[Array, " K"]:
        """Return the outputs `dtype[K]` of one example `dtype[D]`; add the batch axis with `jax.vmap`."""
        a = jnp.asarray(x).astype(params[0].kernel.dtype)
        a = a if self.features is None else self.features(a)
        if a.shape != self.sizes[:1]:
            raise ShapeError(
                f"Mlp.apply: one example has D={self.sizes[0]} features; got shape {a.shape}; "
                "pass one row, and use jax.vmap for many"
            )
        for layer, g in zip(params[:-1], self.activations, strict=True):
            a = g(self._affine(layer, a))
        return self._affine(params[-1], a)

    @staticmethod
    def _affine(layer: Dense, a: Float[Array, " in"]) -> Float[Array, " out"]:
        """Return a W + b, the part of a layer that is learnt."""
        return a @ layer.kernel + layer.bias


@partial(jax.jit, static_argnums=(1, 2, 3))
def _init(key: Any, shapes: tuple, stds: tuple, dtype: Any) -> tuple[Dense, ...]:
    """Draw all kernels at once and cut: one random draw compiles several times faster than one a layer."""
    ends = np.cumsum([math.prod(shape) for shape in shapes])
    normals = jnp.split(jax.random.normal(key, (int(ends[-1]),), dtype), ends[:-1])
    return tuple(
        Dense(std * z.reshape(shape), jnp.zeros(shape[1], dtype))
        for z, shape, std in zip(normals, shapes, stds, strict=True)
    )


def Linear(num_features: int, num_outputs: int, features: Callable | None = None) -> Mlp:
    """Return `Mlp((D, K))`: outputs x W + b. Logistic regression has K = 1, softmax regression K classes."""
    return Mlp((num_features, num_outputs), features=features)


def kernel_mask(params: Params) -> Params:
    """Return True for every leaf that is a kernel (two axes or more), False for biases and scales.

    What an L2 penalty or `optax.adamw(..., mask=kernel_mask)` should act on.
    """
    return jax.tree.map(lambda leaf: np.ndim(leaf) >= 2, params)


def summary(params: Params) -> str:
    """Return a table of the parameters: name, shape, dtype and count of every leaf, and the total.

    Example:
      >>> import jaxnn
      >>> print(jaxnn.summary(jaxnn.Mlp((2, 3, 1)).init(0)))
      parameter  shape   dtype    count
      0.kernel   (2, 3)  float32      6
      0.bias     (3,)    float32      3
      1.kernel   (3, 1)  float32      3
      1.bias     (1,)    float32      1
      total                          13
    """
    leaves = jax.tree_util.tree_flatten_with_path(params)[0]
    rows = [("parameter", "shape", "dtype", "count")]
    rows += [
        (leaf_name(path), str(np.shape(leaf)), str(jnp.result_type(leaf)), f"{np.size(leaf):,}")
        for path, leaf in leaves
    ]
    rows.append(("total", "", "", f"{sum(np.size(leaf) for _, leaf in leaves):,}"))
    widths = [max(len(row[i]) for row in rows) for i in range(4)]
    return "\n".join(f"{n:<{widths[0]}}  {s:<{widths[1]}}  {d:<{widths[2]}}  {c:>{widths[3]}}" for n, s, d, c in rows)


def leaf_name(path: tuple) -> str:
    """Return a pytree path as dotted text: `0.kernel`."""
    return jax.tree_util.keystr(path, simple=True, separator=".")
