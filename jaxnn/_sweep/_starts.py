"""Where the runs of a sweep begin: the settings of some of the lanes as arrays, and their first states."""

from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxnn._program import Run
from jaxnn._state import State
from jaxnn._sweep._grid import OWN
from jaxnn._sweep._program import Lanes, begin_lanes, state_axes
from jaxnn._types import Params, as_jax


@dataclass(frozen=True)
class Starts:
    """Where R runs begin: their settings, the parameters of every seed, stacked, and the place of each run's."""

    lanes: list[dict[str, Any]]
    params: Params
    places: np.ndarray
    dtype: Any

    @cached_property
    def shares_order(self) -> bool:
        """Whether all lanes read their batches in one order: of the whole sweep, so that groups are one program."""
        return len({lane.get("order", 0) for lane in self.lanes}) == 1

    def column(self, name: str, ids: np.ndarray, dtype: Any, default: Any = None) -> Any:
        """Return the values of one setting as an array; None where the grid does not have it and nothing else is."""
        if name not in self.lanes[0] and default is None:
            return None
        return as_jax(np.asarray([self.lanes[i].get(name, default) for i in ids]), dtype)

    def settings(self, ids: np.ndarray) -> Lanes:
        """Return what differs between these lanes, but for their states."""
        options = {name: self.column(name, ids, self.dtype) for name in self.lanes[0] if name not in OWN}
        number = jax.dtypes.canonicalize_dtype(float)
        columns = (self.column("l2", ids, number), self.column("max_norm", ids, number))
        return Lanes(*columns, self.column("fold", ids, jnp.int32), options)

    def state(self, run: Run, ids: np.ndarray) -> State:
        """Return the states of these runs before they begin."""
        return begin_lanes(run, *self._first(ids))

    def shapes(self, run: Run) -> State:
        """Return the shapes of the state of one run; nothing is computed."""
        shapes = begin_lanes.eval_shape(run, *self._first(np.zeros(1, int)))
        one = partial(jax.tree.map, lambda a: jax.ShapeDtypeStruct(a.shape[1:], a.dtype))
        axes = state_axes(self.shares_order)
        return jax.tree.map(
            lambda axis, part: part if axis is None else one(part), axes, shapes, is_leaf=lambda axis: axis is None
        )

    def _first(self, ids: np.ndarray) -> tuple[Lanes, Params, Any, Any]:
        """Return settings, parameters, rates and keys of these runs."""
        rates = self.column("learning_rate", ids, self.dtype, default=np.nan)
        orders = np.asarray([self.lanes[i].get("order", 0) for i in ids])
        apart = jax.vmap(jax.random.key)
        key = jax.random.key(int(orders[0])) if self.shares_order else apart(as_jax(orders, jnp.uint32))
        params = jax.tree.map(lambda leaf: as_jax(leaf[self.places[ids]]), self.params)
        return self.settings(ids), params, rates, key
