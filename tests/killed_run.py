"""A run of `fit` in a process of its own, for tests that end it from outside: `killed_run.py OPTIONS`, a JSON object.

It writes lines to standard output: `inside` once signals are taken, `training` after the first piece, `at EPOCH STEP`
after every piece, `saved NAME` for every new checkpoint it sees, and `done STATUS DIGEST` at the end.
"""

import hashlib
import json
import os
import sys
import time

import jax
import numpy as np
import optax

import jaxnn
from jaxnn import _fit
from jaxnn.checkpoint import Checkpoints

NUM_EXAMPLES, BATCH = 80, 16
STEPS = NUM_EXAMPLES // BATCH


def problem(sizes):
    """Return objective, initial parameters and data of a run with layers of these sizes."""
    rng = np.random.default_rng(3)
    x = rng.normal(size=(NUM_EXAMPLES + 20, sizes[0])).astype(np.float32)
    y = rng.integers(0, sizes[-1], len(x))
    model = jaxnn.Mlp(tuple(sizes))
    batches = jaxnn.Batch(x[:NUM_EXAMPLES], y[:NUM_EXAMPLES]), jaxnn.Batch(x[NUM_EXAMPLES:], y[NUM_EXAMPLES:])
    return jaxnn.LogLikelihood(model, jaxnn.categorical), model.init(1), *batches


def train(sizes, epochs, **options):
    """Run or go on with the run of this problem."""
    objective, params, train, hold_out = problem(sizes)
    return jaxnn.fit(
        objective, optax.adam, params, train, hold_out, plan=jaxnn.MiniBatch(BATCH), max_epochs=epochs, patience=None,
        learning_rate=1e-4, **options,
    )  # fmt: skip


def digest(result):
    """Return a text that is the same where and only where state, parameters and history (but the clock) are."""
    state = result.state._replace(key=jax.random.key_data(result.state.key))
    sha256 = hashlib.sha256()
    for leaf in map(np.asarray, jax.tree.leaves((state, result.params, result.history._replace(seconds=None)))):
        sha256.update(f"{leaf.dtype} {leaf.shape}".encode() + leaf.tobytes())
    return sha256.hexdigest()


class Pace:
    """Pieces of one step."""

    steps = 1

    def update(self, taken, now):
        """Keep to one step."""


class Reporter:
    """Says how far the run is, and which checkpoints are there; waits after every piece."""

    def __init__(self, checkpoints, pause):
        self.checkpoints, self.pause, self.seen = checkpoints, pause, None

    def __call__(self, progress):
        lines = ["training"] if self.seen is None else []
        lines.append(f"at {int(progress.epoch + 1e-6)} {round(progress.epoch % 1 * STEPS) % STEPS}")
        names = [path.name for path in self.checkpoints.paths()] if self.checkpoints else []
        newest = names[-1] if names else ""
        if newest not in ("", self.seen):
            lines.append(f"saved {newest}")
        self.seen = newest
        os.write(1, "".join(f"{line}\n" for line in lines).encode())  # at once, in one piece
        time.sleep(self.pause)


class Loud(_fit.Interrupts):
    """Says when it begins to take signals."""

    def __enter__(self):
        entered = super().__enter__()
        os.write(1, b"inside\n")
        return entered


def main(sizes, epochs, folder=None, every=0.0, keep=2, pause=0.0, one_step=True, cache=None):
    """Run, and say how it ended."""
    if cache:
        jax.config.update("jax_compilation_cache_dir", cache)
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    if one_step:
        _fit.Pace = Pace
    _fit.Interrupts = Loud
    checkpoints = folder and Checkpoints(folder, every=every, keep=keep)
    result = train(sizes, epochs, checkpoint=checkpoints, progress=Reporter(checkpoints, pause))
    os.write(1, f"done {result.status} {digest(result)}\n".encode())


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
