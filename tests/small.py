"""One small problem that several test files share, so that its programs are compiled once; and equality of bits."""

import jax
import numpy as np
import optax

import jaxnn

_rng = np.random.default_rng(7)
X = _rng.normal(size=(30, 3)).astype(np.float32)
Y = (X @ [[2, 0, -1], [0, 1, -1], [-1, 2, 0]] + _rng.gumbel(size=(30, 3))).argmax(1).astype(np.int32)
TRAIN = jaxnn.Batch(X[:20], Y[:20])
HOLD_OUT = jaxnn.Batch(X[20:], Y[20:])
PLAN = jaxnn.MiniBatch(8)  # 8 + 8 + 4: a ragged epoch of 3 steps
STEPS = 3
MODEL = jaxnn.Mlp((3, 4, 3))
OBJECTIVE = jaxnn.LogLikelihood(MODEL, jaxnn.categorical)
PARAMS = MODEL.init(1)


def start(learning_rate=0.1, key=0, params=PARAMS, objective=OBJECTIVE):
    """Return the state of a run with Adam that has not begun."""
    return jaxnn.init_state(objective, optax.adam, params, key, learning_rate=learning_rate)


def ascend(state, num_epochs, hold_out=HOLD_OUT, train=TRAIN, objective=OBJECTIVE, plan=PLAN, **options):
    """Run the shared program: one compilation for every call with a hold-out, one for every call without."""
    return jaxnn.ascend(objective, optax.adam, state, train, plan, num_epochs, hold_out=hold_out, **options)


def fit(max_epochs, hold_out=HOLD_OUT, params=PARAMS, train=TRAIN, **options):
    """Run the shared program through `fit`."""
    options = {"learning_rate": 0.1, "plan": PLAN, "patience": None} | options
    return jaxnn.fit(OBJECTIVE, optax.adam, params, train, hold_out, max_epochs=max_epochs, **options)


def bits(tree):
    """Return every leaf as (dtype, shape, bytes): equal where and only where two trees hold the same bits."""
    leaves = [
        jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf
        for leaf in jax.tree.leaves(tree)
    ]
    return [(a.dtype.name, a.shape, a.tobytes()) for a in map(np.asarray, leaves)]


def rows_of(history):
    """Return the reached rows of a history without the clock."""
    table = np.stack([np.asarray(c, np.float64) for name, c in history._asdict().items() if name != "seconds"], 1)
    return table[np.asarray(history.epoch) >= 0]
