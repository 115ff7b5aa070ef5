"""How the compiled loop keeps the kernels of an `Mlp`: turned, `[out, in]`, where XLA on a CPU is mostly faster.

The time of a step against `[in, out]` (benchmarks/kernel_layout.py): softmax regression 784-10 takes 0.45 at one
example a step, 0.66 at eight, 0.88 at 128; networks 0.8 to 1.03; one output 1.01 to 1.06. Nobody outside the program
sees it: parameters come in and go out as `[in, out]`. An optimiser that treats every number by itself cannot tell the
difference; with any other, nothing is turned. The lanes of a sweep also keep their examples on the last axis.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Num

from jaxnn._activations import ACTIVATIONS
from jaxnn._likelihoods import Categorical, log_softmax_at
from jaxnn._models import Dense, Mlp
from jaxnn._objectives import InBatches, LogLikelihood
from jaxnn._optimizer import Optimizer
from jaxnn._types import Params


@jax.tree_util.register_static
@dataclass(frozen=True)
class TurnedMlp(Mlp):
    """The same network, with kernels `[out, in]`."""

    @staticmethod
    def _affine(layer: Dense, a: Float[Array, " in"]) -> Float[Array, " out"]:
        """Return W a + b."""
        return layer.kernel @ a + layer.bias


@partial(jax.tree_util.register_dataclass, data_fields=("likelihood", "l2"), meta_fields=("model",))
@dataclass(frozen=True)
class ColumnsLogLikelihood(InBatches, LogLikelihood):
    """The log likelihood of turned parameters, with the examples along the last axis of everything between x and log P.

        a <- g(W a + b),        a [units, N]

    It is what `vmap` of one example computes; but `vmap` moves the examples to the front in every layer, and in a sweep
    that leaves XLA with products and sums over short last axes. Several lanes of [units, N] need no transpose at all.
    A single run is not quicker so (0.94 to 1.05 of the time of a step), and keeps to `vmap`. Derivatives are those of
    reverse mode only (`_product`).
    """

    def log_probs(self, params: Params, x: Num[Array, "N ..."], y: Any) -> Float[Array, " N"]:
        """Return log P(y_i | x_i; w) of every example."""
        z = self._outputs(params, x)
        if type(self.likelihood) is Categorical:  # of a subclass, log_prob may be another
            return log_softmax_at(z, y)
        return jax.vmap(self.likelihood.log_prob, (1, 0))(z, y)

    def predictions(self, params: Params, x: Num[Array, "N ..."]) -> Array:
        """Return the most probable y_i of every example."""
        z = self._outputs(params, x)
        if type(self.likelihood) is Categorical:
            return jnp.argmax(z, axis=0).astype(jnp.int32)
        return jax.vmap(self.likelihood.predict, 1)(z)

    def _outputs(self, params: Params, x: Num[Array, "N ..."]) -> Float[Array, "K N"]:
        x = jnp.asarray(x).astype(params[0].kernel.dtype)
        a = (x if self.model.features is None else jax.vmap(self.model.features)(x)).T
        for layer, g in zip(params, (*self.model.activations, None), strict=True):
            dtype = jnp.result_type(layer.kernel, a)  # features and activations may widen
            a = _product(layer.kernel.astype(dtype), a.astype(dtype)) + layer.bias[:, None]
            if g is not None:
                a = g(a) if g in ACTIVATIONS.values() else jax.vmap(g, 1, 1)(a)
        return a


@jax.custom_vjp
def _product(kernel: Float[Array, "out in"], a: Float[Array, "in N"]) -> Float[Array, "out N"]:
    """Return W a, both of one dtype; backwards Wᵀ is made first.

    XLA would read W across, which in a profile took 0.6 of the 3 ms of a step of 256 lanes, most of all operations. The
    barrier keeps it from taking the transpose back into the product.
    """
    return kernel @ a


def _product_forward(kernel: Array, a: Array) -> tuple[Array, tuple[Array, Array]]:
    return kernel @ a, (kernel, a)


def _product_back(kept: tuple[Array, Array], g: Array) -> tuple[Array, Array]:
    kernel, a = kept
    return g @ a.T, jax.lax.optimization_barrier(kernel.T) @ g


_product.defvjp(_product_forward, _product_back)


def can_turn(objective: Any, optimizer: Optimizer) -> bool:
    """Return whether turned kernels give the same run."""
    return type(objective) is LogLikelihood and type(objective.model) is Mlp and optimizer.is_elementwise


def turned_objective(objective: LogLikelihood, kind: type[LogLikelihood] = LogLikelihood) -> LogLikelihood:
    """Return the same objective for turned parameters."""
    return kind(**vars(objective) | {"model": TurnedMlp(**vars(objective.model))})


def turned(tree: Any, params: Params) -> Any:
    """Return a tree with the kernels in every copy of the parameters in it (best, momentum, ...) turned."""
    structure = jax.tree.structure(params)

    def is_copy(node: Any) -> bool:
        return jax.tree.structure(node) == structure

    def turn(node: Any) -> Any:
        return jax.tree.map(lambda w: w.T if w.ndim == 2 else w, node) if is_copy(node) else node

    return jax.tree.map(turn, tree, is_leaf=is_copy)
