"""Which way each parameter leaf goes, and what it costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from jaxnn._errors import said
from jaxnn._types import Params, num_examples, one_example
from jaxnn.per_example._analysis import analyse
from jaxnn.per_example._chunks import factor_shapes
from jaxnn.per_example._forms import Explicit, Lookup
from jaxnn.per_example._given import checked
from jaxnn.per_example._sites import ProductSite


@dataclass(frozen=True)
class Leaf:
    """One parameter leaf in an `Explanation`.

    Attributes:
      name, shape: of the leaf.
      way: "product", "look-up", "tied" (several of them), "unused", or "explicit".
      reason: why it is explicit, None where it is not.
      rows: T, how often an example uses it; 1 for an explicit one.
      num_bytes: what is held of it for the whole batch.
      materialised_bytes: what its gradients themselves would take.
      flops: floating-point operations of the norms and of one weighted sum, for the whole batch.
      materialised_flops: of the same from the gradients themselves, once they are there.
    """

    name: str
    shape: tuple[int, ...]
    way: str
    reason: str | None
    rows: int
    num_bytes: int
    materialised_bytes: int
    flops: int
    materialised_flops: int


@dataclass(frozen=True)
class Explanation:
    """A row for every parameter leaf; prints as a table.

    Attributes:
      leaves: the rows.
      num_examples: N of the batch.
    """

    leaves: tuple[Leaf, ...]
    num_examples: int

    def __str__(self) -> str:
        rows: list[tuple[str, ...]] = [("parameter", "shape", "way", "T", "held", "in full", "FLOPs", "in full")]
        for leaf in self.leaves:
            way = f"{leaf.way}: {leaf.reason}" if leaf.reason else leaf.way
            rows.append((leaf.name, str(leaf.shape), way, str(leaf.rows), *self._costs([leaf])))
        rows.append((f"{self.num_examples:,} examples", "", "", "", *self._costs(self.leaves)))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        aligned = [
            [cell.ljust(w) if i < 3 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True))]
            for row in rows
        ]
        return "\n".join("  ".join(row) for row in aligned)

    @staticmethod
    def _costs(leaves: Sequence[Leaf]) -> list[str]:
        """Return bytes held and in full, and FLOPs, of these leaves together."""
        total = {name: sum(getattr(leaf, name) for leaf in leaves) for name in _COSTS}
        return [said(n) if "bytes" in name else f"{n:,}" for name, n in total.items()]


_COSTS = ("num_bytes", "materialised_bytes", "flops", "materialised_flops")


def explain(objective: Any, params: Params, batch: Any) -> Explanation:
    """Return, for every parameter leaf, in which form its gradients are kept and what that costs.

    Nothing is computed: only shapes are looked at. A leaf that log P reads through matrix products or look-ups of rows
    is kept in factors; every other is *explicit*, as by `vmap(grad)`, and the reason is given. For a bias that is
    nothing to worry about; for a convolution it may be large.

    Args:
      objective, params, batch: as for `factors`.

    Example:
      >>> import jax.numpy as jnp, jaxnn
      >>> objective = jaxnn.LogLikelihood(jaxnn.Mlp((784, 128, 10)), jaxnn.categorical)
      >>> batch = jaxnn.Batch(jnp.zeros((128, 784)), jnp.zeros(128, int))
      >>> print(jaxnn.per_example.explain(objective, objective.model.init(0), batch))
      parameter     shape       way                 T       held    in full       FLOPs     in full
      0.kernel      (784, 128)  product             1  456.0 KiB   49.0 MiB  25,939,968  51,380,224
      0.bias        (128,)      explicit: is added  1   64.0 KiB   64.0 KiB      65,536      65,536
      1.kernel      (128, 10)   product             1   69.0 KiB  640.0 KiB     364,288     655,360
      1.bias        (10,)       explicit: is added  1    5.0 KiB    5.0 KiB       5,120       5,120
      128 examples                                     594.0 KiB   49.7 MiB  26,374,912  52,106,240
    """
    objective, params, batch = checked("explain", objective, params, batch)
    analysis = analyse(objective, params, one_example(batch.x), one_example(batch.y))
    factors = factor_shapes(objective, params, batch)
    leaves = []
    for way, form in zip(analysis.ways, factors.forms, strict=True):
        sites = [analysis.sites[n] for n in way.sites]
        kinds = ["product" if isinstance(site, ProductSite) else "look-up" for site in sites]
        kind = "explicit" if way.reason else "unused" if not kinds else kinds[0] if len(kinds) == 1 else "tied"
        size = num_examples(batch) * int(np.prod(way.shape, dtype=int))
        leaves.append(
            Leaf(
                name=way.name,
                shape=way.shape,
                way=kind,
                reason=way.reason,
                rows=1 if isinstance(form, Explicit) else form.v.shape[1],
                num_bytes=sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(form)),
                materialised_bytes=size * way.dtype.itemsize,
                flops=_flops(form),
                materialised_flops=4 * size,
            )
        )
    return Explanation(tuple(leaves), num_examples(batch))


def _flops(form: Any) -> int:
    """Return the operations of the norms and of one weighted sum: two for each product that is summed."""
    if isinstance(form, Explicit):
        return 4 * form.g.size
    n, rows, q = form.v.shape
    if isinstance(form, Lookup):
        return n * rows * q * (4 if rows == 1 else 2 * rows + 2)
    p = form.u.shape[2]
    norms = 2 * (p + q) if rows <= 1 else 2 * rows * rows * (p + q)
    return n * (norms * (rows > 0) + rows * (2 * p * q + min(p, q)))
