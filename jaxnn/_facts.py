"""What a run is, in words that another process can compare: its facts, its environment, how to rebuild its model."""

import contextlib
import functools
import hashlib
import os
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxnn._aggregates import Plain
from jaxnn._errors import brief
from jaxnn._optimizer import Optimizer
from jaxnn._program import Run
from jaxnn._spec import spec_of
from jaxnn._state import State
from jaxnn._types import num_examples
from jaxnn._version import __version__
from jaxnn.checkpoint._format import as_bytes
from jaxnn.checkpoint._tree import flatten
from jaxnn.data import Dataset

WHO = "fit"
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_LONG = 400  # characters of a description; what is longer is compared by its digest
_FLAGS = ("jax_enable_x64", "jax_default_matmul_precision", "jax_default_prng_impl", "jax_threefry_partitionable")


def about_run(run: Run, state: State, train: Any, limits: dict[str, Any], *, anew: bool) -> dict[str, Any]:
    """Return what is saved beside a run: what it is, on what, where, and how far it is to go.

    Args:
      run: as it is compiled.
      state: that it starts from.
      train: the training data as they were passed: a `Dataset` knows its schema.
      limits: `max_epochs`, `patience`, `min_delta`: a run may go on with others.
      anew: whether the state is that of a run that has not begun; another is a fact by itself.
    """
    return {
        "what": "run",
        "facts": {
            "objective": _text(_plain_numbers(run.objective)),
            "optimizer": _text(run.optimizer) if run.optimizer.is_factory else _built(run.optimizer),
            "learning_rate": str(np.asarray(state.learning_rate)),
            "plan": _text(run.plan),
            "monitor": run.monitor,
            "aggregate": run.aggregate.name
            if isinstance(run.aggregate, Plain)
            else _text(_plain_numbers(run.aggregate)),
            "train": _data(run.train),
            "hold_out": _data(run.hold_out),
            "params": digest(state.params),
            "opt_state": digest(state.opt_state),
            "key": digest(state.key),
            "begins": "anew" if anew else f"in epoch {int(state.epoch) + 1}, {digest(state)}",
        },
        "environments": [environment()],
        "spec": spec_of(run.objective, state.params),
        "schema": train.schema.to_dict() if isinstance(train, Dataset) else None,
        "limits": limits,
    }


def _plain_numbers(value: Any) -> Any:
    """Return a pytree with Python's numbers in place of arrays, and digests in place of large ones."""

    def plain(leaf: Any) -> Any:
        is_real = np.ndim(leaf) == 0 and jax.numpy.issubdtype(jax.numpy.result_type(leaf), np.floating)
        return float(str(leaf)) if is_real else digest(leaf)

    return jax.tree.map(plain, value)


def environment() -> dict[str, str]:
    """Return what the bits of a run depend on besides what it is: versions, device, processor, flags."""
    device = jax.devices()[0]
    return {
        "jaxnn": __version__,
        **{name: version(name) for name in ("jax", "jaxlib", "optax")},
        "device": f"{device.platform}, {device.device_kind}",
        "processor": _processor(),
        "processors": str(_num_processors()),  # XLA splits sums by them
        **{flag: str(getattr(jax.config, flag)) for flag in _FLAGS},
        "XLA_FLAGS": os.environ.get("XLA_FLAGS", ""),
    }


def _num_processors() -> int | None:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except (OSError, ValueError):
        pass
    return platform.processor() or platform.machine()


def _text(value: Any) -> str:
    """Return a value in words that are the same in every process."""
    text = _ADDRESS.sub("", repr(value))
    inside = _inside(value)
    text += f" ({', '.join(inside)})" if inside else ""
    return _short(text)


def _built(optimizer: Optimizer) -> str:
    """Return an optimiser that was built, with the numbers it was built with."""
    return _short(f"{optimizer.name}: {', '.join(_inside(optimizer))}")


def _short(text: str) -> str:
    return text if len(text) <= _LONG else f"{brief(text)} ({hashlib.sha256(text.encode()).hexdigest()[:16]})"


def _inside(value: Any, depth: int = 0) -> list[str]:
    """Return what the functions in a value have closed over: the rate in `optax.sgd(0.1)`, the functions of a chain."""
    if depth > 8:
        return []
    if isinstance(value, Optimizer):
        return _inside(value.make, depth)
    if isinstance(value, tuple | list):
        return [text for item in value for text in _inside(item, depth)]
    if isinstance(value, bool | int | float | str | None):
        return [repr(value)]
    if isinstance(value, np.ndarray | np.generic | jax.Array):
        return [digest(value)]
    if isinstance(value, functools.partial):
        return _inside([value.func, *value.args, *sorted(value.keywords.items())], depth)
    found = []
    for cell in getattr(value, "__closure__", None) or ():
        with contextlib.suppress(ValueError):  # a cell that is still empty
            found += _inside(cell.cell_contents, depth + 1)
    name = getattr(value, "__qualname__", None)
    return [f"{name}({', '.join(found)})" if found else f"{name}"] if name and depth else found


def _data(batch: Any) -> str:
    return "none" if batch is None else f"{num_examples(batch):,} examples, {digest(batch)}"


def digest(tree: Any) -> str:
    """Return the beginning of the SHA-256 of names, dtypes, shapes and numbers of a tree."""
    named, keys = flatten(WHO, tree)
    sha256 = hashlib.sha256(repr(sorted(keys.items())).encode())
    for name, array in named.items():
        sha256.update(f"{name} {array.dtype} {array.shape} ".encode())
        sha256.update(as_bytes(array))
    return f"SHA-256 {sha256.hexdigest()[:16]}"
