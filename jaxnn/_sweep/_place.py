"""How many lanes run together, on which devices, and which of them go on in a smaller program."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxnn._errors import MemoryBudgetError, said
from jaxnn._program import BLOCK_INDICES, Run
from jaxnn._state import State
from jaxnn._sweep._program import Few, state_axes
from jaxnn._types import as_jax, num_examples, one_example, scalar
from jaxnn.per_example._analysis import analyse

FEWEST = 8  # lanes: a smaller program takes hardly less time
# Bytes that one step of all lanes on a CPU may read and write. With a cache of 32 MB, 64 lanes of 784-32-10 with Adam,
# 26 MB, took 1.4 times the CPU seconds of two groups of 32.
CACHE = 2**24
WORTH = 3e10  # FLOPs that dropping half of the lanes may save at most: below, compiling a program costs more


def group_size(
    run: Run, state: State, row_bytes: int, total: int, memory: int, *, own_orders: bool, folds: bool
) -> int:
    """Return how many lanes run together: all of them, or as many as fit in memory, and on a CPU in its cache, in
    groups of equal size.

    An estimate, from above where scoring keeps less than every value of the model. Of `state`, that of one run, only
    shapes are looked at; `row_bytes` are those of its history.
    """
    n, devices = num_examples(run.train), len(jax.devices())
    values = analyse(run.objective, state.params, one_example(run.train.x), one_example(run.train.y)).num_bytes
    judged = max(n, 0 if run.hold_out is None else num_examples(run.hold_out))
    examples = max(2 * run.plan.batch_size(n), min(run.chunk_size, judged))
    params, opt_state = map(_bytes_of, (state.params, state.opt_state))
    # Parameters, the best ones, both from before the round, and a gradient and an update; the optimiser's state twice.
    one = 6 * params + 2 * opt_state + 3 * row_bytes + examples * values
    one += 8 * 4 * n if folds else 0  # the weights of a lane, and what is made of them
    one += 4 * 4 * min(n, BLOCK_INDICES) if own_orders else 0
    memory *= devices
    if one > memory:
        raise MemoryBudgetError(
            f"sweep: one run fits in memory; got memory={said(memory)} where it takes {said(one)}; raise memory"
        )
    most = memory // one
    if jax.default_backend() == "cpu":
        most = min(most, max(2 * FEWEST * devices, CACHE // (2 * params + opt_state)))  # so many can still be halved
    groups = -(-total // most)
    return -(-total // groups // devices) * devices


def _bytes_of(tree: Any) -> int:
    return sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(tree))


def few_of(run: Run, numbers: int, size: int, max_epochs: int) -> Few:
    """Return when half of the lanes should be dropped: while that saves more than it costs to compile."""
    an_epoch = 6 * max(1, numbers) * num_examples(run.train) * size / 2  # FLOPs: two a number forwards, four backwards
    half = size // 2 if size >= 2 * FEWEST * len(jax.devices()) else 0
    return Few(scalar(half, jnp.int32), scalar(int(max(0, max_epochs - WORTH / an_epoch)), jnp.int32))


def those_left(running: np.ndarray) -> np.ndarray:
    """Return the lanes of the next program: those running, and some that have ended to fill up its size."""
    size, devices = len(running), len(jax.devices())
    while size >= 2 * FEWEST * devices and running.sum() <= size // 2:
        size = -(-((size + 1) // 2) // devices) * devices
    return np.sort(np.argsort(~running, kind="stable")[:size])


def lanes_at(state: State, lanes: Any, left: np.ndarray) -> tuple[State, Any]:
    """Return the states and the settings of some of the lanes. On the host: nothing is compiled for each new size."""

    def take(axis, part):
        return part if axis is None else jax.tree.map(partial(_rows_at, left=left), part)

    axes = state_axes(state.key.ndim == 0)
    state = jax.tree.map(take, axes, state, is_leaf=lambda axis: axis is None)
    return state, jax.tree.map(partial(_rows_at, left=left), lanes)


def _rows_at(a: Any, left: np.ndarray) -> Any:
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(as_jax(np.asarray(jax.random.key_data(a))[left]), impl=jax.random.key_impl(a))
    return as_jax(np.asarray(a)[left])


def everywhere(tree: Any) -> Any:
    """Return what all lanes share on every device there is."""
    return tree if len(jax.devices()) == 1 else jax.device_put(tree, NamedSharding(_mesh(), PartitionSpec()))


def spread(state: State, lanes: Any, rows: Any) -> tuple[State, Any, Any]:
    """Return lanes spread over the devices there are."""
    if len(jax.devices()) == 1:
        return state, lanes, rows
    apart = NamedSharding(_mesh(), PartitionSpec("lanes"))

    def put(axis, part):
        return everywhere(part) if axis is None else jax.device_put(part, apart)

    state = jax.tree.map(put, state_axes(state.key.ndim == 0), state, is_leaf=lambda axis: axis is None)
    return state, *jax.device_put((lanes, rows), apart)


def _mesh() -> Mesh:
    return Mesh(np.asarray(jax.devices()), ("lanes",))
