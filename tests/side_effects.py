"""What a call did besides its answer: compiled, drew from a key, wrote a file, changed an argument or a setting."""

import contextlib
import os
import pathlib
import signal
import sys
import warnings

import jax
import numpy as np
from compiles import jax_log

PROGRAMS = ("advance", "evaluation_sums", "_mapped")  # what computes; others are traced to ask for shapes alone
NOT_DRAWING = {"key", "PRNGKey", "wrap_key_data", "key_impl", "key_dtype"}  # makes or describes a key
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT


def side_effects(call, given):
    """Return the result of a call or the error it raised, and a list of what else it did.

    A program that was compiled before runs unseen: call `jax.clear_caches()` first.
    """
    with jax_log() as log, drawn_keys() as drawn, written_files() as written:
        before = state_of_the_world(given)
        try:
            outcome = call()
        except Exception as error:
            outcome = error
        after = state_of_the_world(given)
    found = [f"changed {name}" for name in before if before[name] != after[name]]
    found += [line.split(" with ")[0] for line in log if line.startswith("Compiling")]
    found += [f"traced {name}" for name in PROGRAMS if log.traced(name)]
    found += [f"drew with {name}" for name in drawn] + [f"wrote {name}" for name in written]
    return outcome, found


def state_of_the_world(given):
    """Return what no call may change, by name: its arguments, and everything global."""
    return {
        "arguments": [content(leaf) for leaf in jax.tree.leaves(given)],
        "jax.config": dict(jax.config.values),
        "np.geterr": np.geterr(),
        "np.random": [content(part) for part in np.random.get_state()],  # noqa: NPY002
        "warnings.filters": list(warnings.filters),
        "os.environ": dict(os.environ),
        "Ctrl-C": signal.getsignal(signal.SIGINT),
    }


def content(leaf):
    """Return what tells whether an argument has changed: the bytes of an array or a file, else its text."""
    if hasattr(leaf, "batch"):  # a Dataset
        return [content(part) for part in jax.tree.leaves(leaf.batch)]
    if isinstance(leaf, pathlib.Path):
        return leaf.read_bytes() if leaf.is_file() else "no file"
    if isinstance(leaf, jax.Array):
        if leaf.is_deleted():
            return "deleted"
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return repr(leaf)
        leaf = np.asarray(leaf)
    if isinstance(leaf, np.ndarray):
        return leaf.dtype, leaf.shape, leaf.strides, leaf.flags.writeable, leaf.tobytes()
    return repr(leaf)


@contextlib.contextmanager
def drawn_keys():
    """Collect the names of the functions of `jax.random` that are called inside the block."""
    drawn, originals = [], {}

    def spy(name, function):
        def wrapper(*args, **kwargs):
            if not any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves((args, kwargs))):  # else: shapes alone
                drawn.append(name)
            return function(*args, **kwargs)

        return wrapper

    for name, function in vars(jax.random).items():
        if callable(function) and not name.startswith("_") and name not in NOT_DRAWING:
            originals[name] = function
    for name, function in originals.items():
        setattr(jax.random, name, spy(name, function))
    try:
        yield drawn
    finally:
        for name, function in originals.items():
            setattr(jax.random, name, function)


_written = None  # where the hook below puts names while somebody listens; Python cannot take a hook away again


def _audit(event, args):
    if _written is None:
        return
    writes = event == "open" and isinstance(args[2], int) and args[2] & WRITES
    if writes or event in ("os.mkdir", "os.rename", "os.remove", "os.link", "os.symlink", "os.truncate"):
        if "__pycache__" not in str(args[0]):  # Python's own, when a module is first imported
            _written.append(str(args[0]))


sys.addaudithook(_audit)


@contextlib.contextmanager
def written_files():
    """Collect the names of the files that Python opens for writing, makes or removes inside the block."""
    global _written
    _written = written = []
    try:
        yield written
    finally:
        _written = None
