"""Each watcher of `side_effects` can fail: a fake verb that does what it should not is caught."""

import os
import pathlib
import signal
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from side_effects import side_effects

import jaxnn

FAKES = {  # what a verb must not do before an error, as a function of two arguments, and what is found
    "a compilation": (lambda x, j: jax.jit(lambda a: a * 3.25)(x), "Compiling jit"),
    "an operation on its own": (lambda x, j: j * 7.5, "Compiling jit"),
    "a trace of a program": (lambda x, j: jax.eval_shape(jax.jit(named("advance")), x), "traced advance"),
    "a draw": (lambda x, j: jax.random.bits(jax.random.key(0)), "drew with bits"),
    "a split": (lambda x, j: jax.random.split(jax.random.key(0)), "drew with split"),
    "a file": (lambda x, j: pathlib.Path("left").write_text("x"), "wrote left"),
    "a folder": (lambda x, j: os.mkdir("left"), "wrote left"),
    "a number written into an argument": (lambda x, j: x.__setitem__(0, 7.0), "changed arguments"),
    "an argument made read-only": (lambda x, j: x.setflags(write=False), "changed arguments"),
    "an argument given to a program": (lambda x, j: j.delete(), "changed arguments"),
    "a setting of JAX": (lambda x, j: jax.config.update("jax_enable_x64", True), "changed jax.config"),
    "a setting of NumPy": (lambda x, j: np.seterr(over="ignore"), "changed np.geterr"),
    "a number of NumPy's global generator": (lambda x, j: np.random.rand(), "changed np.random"),  # noqa: NPY002
    "a filter of warnings": (lambda x, j: warnings.simplefilter("ignore"), "changed warnings.filters"),
    "a variable of the environment": (lambda x, j: os.environ.update(LEFT="x"), "changed os.environ"),
    "a handler of Ctrl-C": (lambda x, j: signal.signal(signal.SIGINT, signal.SIG_IGN), "changed Ctrl-C"),
}


def named(name):
    def function(x):
        return x

    function.__name__ = name
    return function


@pytest.fixture
def world(monkeypatch, tmp_path):
    """Put everything global back after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("LEFT", raising=False)
    x64, errors, numpy_state = jax.config.jax_enable_x64, np.geterr(), np.random.get_state()  # noqa: NPY002
    handler = signal.getsignal(signal.SIGINT)
    with warnings.catch_warnings():
        yield
    jax.config.update("jax_enable_x64", x64)
    np.seterr(**errors)
    np.random.set_state(numpy_state)  # noqa: NPY002
    signal.signal(signal.SIGINT, handler)
    os.environ.pop("LEFT", None)


@pytest.mark.parametrize("fake", FAKES)
def test_a_verb_that_did_it_would_be_caught(world, fake):
    does, finding = FAKES[fake]
    given = {"x": np.zeros(3), "j": jnp.ones(1009)}  # a size for which nothing was compiled before
    _, found = side_effects(lambda: does(**given), given)
    assert any(line.startswith(finding) for line in found), found


def test_an_idle_call_does_nothing():
    ds = jaxnn.data.dataset(np.zeros((2, 1)), [0, 1], num_classes=2)
    given = {"x": np.zeros(3), "path": pathlib.Path(__file__), "seed": 3, "data": ds}
    assert side_effects(lambda: 5, given) == (5, [])
