"""The gradients of a batch, one an example, as a value: factors from one backward pass, and what follows from them."""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxnn._errors import ShapeError
from jaxnn._types import Batch, Params, num_examples, one_example
from jaxnn.per_example._analysis import Analysis, analyse
from jaxnn.per_example._forms import Explicit, Form, together
from jaxnn.per_example._given import check_smoothing, checked_direction, checked_max_norm, checked_numbers
from jaxnn.per_example._lookup import Lookup
from jaxnn.per_example._matrix import Layout
from jaxnn.per_example._noise import NoiseScale, noise_of
from jaxnn.per_example._product import Product
from jaxnn.per_example._rows import rows_like, wide
from jaxnn.per_example._sites import ProductSite


class Clipping(NamedTuple):
    """What clipping met: every norm before it (0 for absent examples), and how many were clipped, or not finite.

    Attributes:
      norms: `float[N]`; of sequences rounded up by what they can be wrong, a few eps of the sum of their terms.
      clipped: `int32[]`, examples longer than max_norm.
      non_finite: `int32[]`, examples that contribute zero because their gradient is not finite.
    """

    norms: Array
    clipped: Array
    non_finite: Array


@partial(
    jax.tree_util.register_dataclass,
    data_fields=("forms", "log_likelihoods", "weight"),
    meta_fields=("structure",),
)
@dataclass(frozen=True)
class Factors:
    """The gradients of log P(y_i | x_i; w), one an example, in factored form; made by `per_example.factors`.

    A pytree: pass it through `jit`, `vmap`, `scan`, shard it, hand it to functions of your own.

    Attributes:
      forms: for every parameter leaf its gradients: what the layer read and the derivative of its outcome, or the
        gradients themselves where they do not come apart (biases, scales, convolutions).
      log_likelihoods: `float[N]`, log P of every example, nats; 0 for absent ones.
      weight: `float[N]` of the batch, or None for ones. A weight k acts as k equal examples, 0 as an absent one, in
        `mean`, `second_moment`, `variance`, `clipped_sum` and `fisher_vector_product`; to `noise_scale` it is one
        example that counts k times. What is told of each example (norms, inner products, the gradients) is as if its
        weight were 1, or zero where it is absent.
      structure: of the parameters.

    Example:
      >>> import jax, jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 3), jaxnn.categorical)
      >>> params, batch = objective.model.init(0), jaxnn.Batch(jnp.ones((5, 2)), jnp.array([0, 1, 2, 0, 1]))
      >>> factors = jax.jit(jaxnn.per_example.factors)(objective, params, batch)
      >>> [round(norm, 4) for norm in factors.norms()[:2].tolist()]  # |(x, 1)| |onehot(y) - p| = sqrt(3) sqrt(2/3)
      [1.4142, 1.4142]
      >>> factors.weighted_sum(jnp.ones(5))[0].kernel.shape
      (2, 3)
    """

    forms: tuple[Form, ...]
    log_likelihoods: Any
    weight: Any
    structure: Any

    def norms(self) -> Float[Array, " N"]:
        """Return |g_i|, over all leaves together; 0 for absent examples."""
        return self._present(self._lengths())

    def _lengths(self, up: bool = False) -> Array:
        """Return |g_i|; of an absent example, that of the row in its place times 0."""
        squares: Any = sum(form.squares(up) for form in self.forms)
        zero = squares == 0  # there the root has no derivative, and that of absent examples must not be NaN
        return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, squares)))

    def weighted_sum(self, c: Any) -> Params:
        """Return Σ_i c_i g_i, a gradient; c is `float[N]`, and the weights of the batch are not looked at.

        A gradient that is not finite makes the sum so, also where its c is 0; `clipped_sum` leaves it out.
        """
        return self.as_gradient(self.wide_sum(checked_numbers("weighted_sum", c, len(self.log_likelihoods))))

    def wide_sum(self, c: Any, keep: Any = None) -> Params:
        """Return Σ_i c_i g_i in float32 or wider, over the examples to keep; the others may hold anything."""
        forms = [form.times(wide(c), keep) for form in self.forms]

        def total(keep: Any = None) -> Params:
            return self._tree([form.total(keep) for form in forms])

        return total() if keep is None else jax.lax.cond(jnp.all(keep), total, lambda: total(keep))

    def as_gradient(self, tree: Params) -> Params:
        """Return a tree like the parameters in their dtypes."""
        leaves = self.structure.flatten_up_to(tree)
        return self._tree([leaf.astype(form.dtype) for leaf, form in zip(leaves, self.forms, strict=True)])

    def clipped_sum(self, max_norm: Any) -> tuple[Params, Clipping]:
        """Return Σ_i weight_i g_i min(1, C / |g_i|) for C = max_norm, and what was clipped.

        An example whose gradient is not finite contributes zero, and is counted.
        """
        total, clipping = self.wide_clipped_sum(checked_max_norm("clipped_sum", max_norm))
        return self.as_gradient(total), clipping

    def wide_clipped_sum(self, max_norm: Array, over: Any = 1) -> tuple[Params, Clipping]:
        """Return `clipped_sum` in float32 or wider, over a number: here that costs no pass over the parameters."""
        norms = self._lengths(up=True)
        finite = jnp.isfinite(norms)
        max_norm = jnp.where(max_norm >= 0, max_norm, jnp.nan).astype(norms.dtype)  # a traced one may be anything
        long = finite & ~(norms <= max_norm)  # also where the limit is NaN: nothing passes unseen
        scale = jnp.where(long, max_norm / jnp.where(long, norms, 1), finite.astype(norms.dtype))
        total = self.wide_sum(self._present(scale * (self.weights() / over)), finite)
        clipped, broken = (jnp.sum(self._present(which), dtype=jnp.int32) for which in (long, ~finite))
        return total, Clipping(self._present(norms), clipped, broken)

    def mean(self) -> Params:
        """Return Σ_i weight_i g_i / Σ_i weight_i; NaN where all weights are 0."""
        return self.as_gradient(self._mean())

    def second_moment(self) -> Params:
        """Return Σ_i weight_i g_i² / Σ_i weight_i, elementwise: the diagonal of the empirical Fisher matrix."""
        squares, weight = self.sum_of_squares(), jnp.sum(self.weights())
        return jax.tree.map(lambda total: total / weight, squares)

    def sum_of_squares(self) -> Params:
        """Return Σ_i weight_i g_i², elementwise, in float32 or wider."""
        weight = self.weights()
        return self._tree([form.sum_of_squares(weight) for form in self.forms])

    def variance(self) -> Params:
        """Return the variance of every component of the gradient over the batch: E g² - (E g)², not below 0."""
        return variance_of(self.second_moment(), self._mean())

    def gram(self, other: "Factors | None" = None) -> Float[Array, "N M"]:
        """Return <g_i, g'_j> for the examples of this batch and another (by default itself), same parameters."""
        other = self if other is None else other
        if not isinstance(other, Factors) or [f.shape for f in other.forms] != [f.shape for f in self.forms]:
            raise ShapeError("gram: both are factors of the same parameters; got others; pass per_example.factors(...)")
        pairs: Any = zip(self.forms, other.forms, strict=True)
        products: Any = sum(
            a.gram(b) if type(a) is type(b) else Explicit(a.each()).gram(Explicit(b.each())) for a, b in pairs
        )
        return other._present(self._present(products).T).T

    def inner(self, direction: Params) -> Float[Array, " N"]:
        """Return <g_i, direction>: how fast each log P grows when the parameters move that way."""
        return self._inner("inner", direction)

    def _inner(self, who: str, direction: Params) -> Array:
        like = self._tree([jax.ShapeDtypeStruct(form.shape, form.dtype) for form in self.forms])
        leaves = jax.tree.leaves(checked_direction(who, like, direction))
        return self._present(sum(form.inner(leaf) for form, leaf in zip(self.forms, leaves, strict=True)))

    def fisher_vector_product(self, direction: Params) -> Params:
        """Return F v = Σ_i weight_i g_i <g_i, v> / Σ_i weight_i; F is the empirical Fisher matrix: labels as given."""
        along = self._inner("fisher_vector_product", direction)
        return self.as_gradient(self._mean(along))

    def noise_scale(self, previous: NoiseScale | None = None, decay: float = 0.9) -> NoiseScale:
        """Return the gradient noise scale of the batch, smoothed with what was known before (a share of `decay`)."""
        check_smoothing("noise_scale", previous, decay)
        weight, mean = self.weights(), self._mean()
        weights = jnp.sum(weight), jnp.sum(weight * weight)
        return noise_of(jnp.sum(weight * jnp.square(self.norms())), mean, *weights, previous, decay)

    def materialise(self) -> Params:
        """Return the gradients themselves, every leaf [N, *leaf]: N times the memory of the parameters."""
        return self._tree([self._present(form.each()) for form in self.forms])

    def weights(self) -> Float[Array, " N"]:
        """Return the weights of the batch, ones where it has none."""
        if self.weight is None:
            return jnp.ones_like(wide(self.log_likelihoods))
        return jnp.maximum(wide(self.weight), 0)

    def _present(self, rows: Any) -> Array:
        """Return rows with zeros for absent examples, whatever stands in their place."""
        return rows if self.weight is None else jnp.where(rows_like(self.weight > 0, rows), rows, 0)

    def _mean(self, c: Any = 1) -> Params:
        """Return Σ_i weight_i c_i g_i / Σ_i weight_i, in float32 or wider."""
        weight = self.weights()
        total = jnp.sum(weight)
        return jax.tree.map(lambda leaf: leaf / total, self.wide_sum(weight * c))

    def _tree(self, leaves: list[Any]) -> Params:
        return jax.tree.unflatten(self.structure, leaves)


def variance_of(square: Params, mean: Params) -> Params:
    """Return E g² - (E g)², elementwise, not below 0."""
    return jax.tree.map(lambda s, m: jnp.maximum(s - m * m, 0), square, mean)


def make_factors(objective: Any, params: Params, batch: Batch) -> Factors:
    """Return the factors of a batch that has been checked and is `without_absent`: one forward and one backward pass,
    without the products that make a gradient of them.
    """
    leaves, structure = jax.tree.flatten(params)
    analysis = analyse(objective, params, one_example(batch.x), one_example(batch.y))
    explicit = [leaf for leaf, way in zip(leaves, analysis.ways, strict=True) if not way.is_factored]

    def one(x, y, present):
        def log_prob(probes, explicit):
            given = iter(explicit)
            mixed = [leaf if way.is_factored else next(given) for leaf, way in zip(leaves, analysis.ways, strict=True)]
            value, operands = analysis.evaluate([*mixed, *map(jnp.asarray, jax.tree.leaves((objective, x, y)))], probes)
            return value if present is None else jnp.where(present, value, 0), operands

        probes = [jnp.zeros(aval.shape, aval.dtype) for aval in analysis.probes]
        (value, operands), (d, gradients) = jax.value_and_grad(log_prob, (0, 1), has_aux=True)(probes, explicit)
        factors = [site.factors(o, e) for site, o, e in zip(analysis.sites, operands, d, strict=True)]
        return value, factors, gradients

    present = None if batch.weight is None else batch.weight > 0
    axes = (0, 0, None if present is None else 0)
    values, factors, gradients = jax.vmap(one, axes)(batch.x, batch.y, present)
    return Factors(tuple(_forms(analysis, num_examples(batch), factors, gradients)), values, batch.weight, structure)


def _forms(analysis: Analysis, n: int, factors: list[Any], gradients: list[Array]) -> Any:
    """Yield the form of every leaf."""
    given = iter(gradients)
    for way in analysis.ways:
        if not way.is_factored:
            yield Explicit(next(given))
            continue
        forms: list[Any] = []
        for number in way.sites:
            site, (first, v) = analysis.sites[number], factors[number]
            if isinstance(site, ProductSite):
                forms.append(Product(first, v, site.layout, way.dtype, site.precision))
            else:
                forms.append(Lookup(first, v, site.layout, way.dtype))
        if not forms:  # log P does not depend on it: a sum of no products
            layout = Layout(way.shape).reshaped((int(np.prod(way.shape, dtype=int)), 1))
            none = jnp.zeros((n, 0, layout.view[0]), way.dtype), jnp.zeros((n, 0, 1), way.dtype)
            forms.append(Product(*none, layout, way.dtype))
        yield together(forms)
