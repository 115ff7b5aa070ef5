"""The contracts between the rooms: public names, the Protocols and who keeps them, specs as values."""

import importlib
import inspect
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import optax
import pytest

import jaxnn
from jaxnn import _types

NAMES = """
Mlp Linear sigmoid tanh relu identity Bernoulli Categorical Gaussian bernoulli categorical gaussian LogLikelihood
from_function Batch FullBatch Stochastic MiniBatch init_state ascent_step ascend fit evaluate predict predict_proba
load_run summary kernel_mask ShapeError DtypeError LabelError NonFiniteError ConfigError DataFormatError DownloadError
CheckpointError MemoryBudgetError clipped sweep verdict ensemble learning_rate_range __version__
""".split()
MODULES = ["data", "per_example", "search", "optimum", "checkpoint", "plotting"]


@pytest.mark.parametrize("name", NAMES + MODULES)
def test_a_public_name_of_the_design_is_there(name):
    assert hasattr(jaxnn, name) or importlib.import_module(f"jaxnn.{name}")


def test_nothing_else_is_public():
    records = {
        "State",
        "History",
        "Status",
        "Evaluation",
        "FitResult",
        "SavedRun",
        "Runs",
        "Verdict",
        "RateRange",
        "Ensemble",
        "cli",
    }  # what the verbs return; the command line
    public = {name for name in vars(jaxnn) if not name.startswith("_")} - {
        "jaxtyping"
    }  # left by the tests' type checker
    assert public - records == {*NAMES, *MODULES} - {"__version__"}


def test_the_package_is_typed_and_has_a_version():
    assert (Path(jaxnn.__file__).parent / "py.typed").exists()
    assert [int(part) for part in jaxnn.__version__.split(".")[:2]]


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith("Error")])
def test_an_error_is_a_value_error_or_a_type_error(name):
    error = getattr(jaxnn, name)
    assert issubclass(error, ValueError) != issubclass(error, TypeError)


class OwnModel:
    def apply(self, params, x):
        return x @ params


class OwnPlan:
    def batch_size(self, num_examples):
        return 1

    def num_steps(self, num_examples):
        return num_examples

    def indices(self, key, epoch, step, num_examples):
        return jnp.asarray(step)[None], None


def log_prob(params, x, y):
    return -jnp.sum((y - x @ params) ** 2)


OBJECTIVE = jaxnn.LogLikelihood(jaxnn.Linear(2, 3), jaxnn.categorical)
KEEPERS = {
    _types.Model: [jaxnn.Mlp((2, 3)), jaxnn.Linear(2, 1), OwnModel()],
    _types.Likelihood: [jaxnn.bernoulli, jaxnn.categorical, jaxnn.gaussian, jaxnn.Gaussian(scale=2.0)],
    _types.Objective: [OBJECTIVE, jaxnn.from_function(log_prob)],
    _types.Plan: [jaxnn.FullBatch(), jaxnn.MiniBatch(4), jaxnn.Stochastic(), OwnPlan()],
}


@pytest.mark.parametrize("protocol", KEEPERS, ids=lambda p: p.__name__)
def test_the_built_in_values_keep_their_contract(protocol):
    assert all(isinstance(value, protocol) for value in KEEPERS[protocol])


@pytest.mark.parametrize("protocol", KEEPERS, ids=lambda p: p.__name__)
def test_a_value_that_lacks_one_method_does_not_keep_it(protocol):
    methods = [name for name, value in vars(protocol).items() if inspect.isfunction(value) and not name.startswith("_")]
    assert isinstance(types.SimpleNamespace(**{name: print for name in methods}), protocol)
    for missing in methods:
        assert not isinstance(types.SimpleNamespace(**{n: print for n in methods if n != missing}), protocol)


@pytest.mark.parametrize(
    "spec",
    [v for vs in KEEPERS.values() for v in vs if not type(v).__name__.startswith("Own")],
    ids=lambda v: type(v).__name__,
)
def test_a_spec_is_a_value_that_prints_and_a_pytree(spec):
    assert type(spec).__name__.replace("Function", "") in repr(spec) or "Mlp" in repr(spec)
    leaves, structure = jax.tree.flatten(spec)
    assert jax.tree.unflatten(structure, leaves) == spec
    with pytest.raises(AttributeError):
        spec.new = 1


def test_static_parts_compare_by_value_and_numbers_worth_sweeping_are_leaves():
    one, two = (jaxnn.LogLikelihood(jaxnn.Mlp((2, 4, 3)), jaxnn.categorical, l2=v) for v in (0.1, 0.2))
    assert jax.tree.structure(one) == jax.tree.structure(two) and jax.tree.leaves(one) == [0.1]
    assert jax.tree.leaves(jaxnn.Gaussian(scale=2.0)) == [2.0]
    assert hash(jaxnn.Mlp((2, 4, 3))) == hash(jaxnn.Mlp((2, 4, 3))) and jaxnn.Mlp((2, 4, 3)) != jaxnn.Mlp(
        (2, 4, 3), jaxnn.relu
    )
    assert jaxnn.MiniBatch(4) == jaxnn.MiniBatch(4) != jaxnn.MiniBatch(4, replacement=True)
    assert jaxnn.Stochastic() == jaxnn.MiniBatch(1, replacement=True)
    assert jaxnn.Linear(2, 3) == jaxnn.Mlp((2, 3))


def test_a_plan_of_ones_own_is_read_as_it_stands():
    params = jnp.zeros(2)
    objective = jaxnn.from_function(log_prob)
    batch = jaxnn.Batch(jnp.eye(2), jnp.array([1.0, 2.0]))
    state = jaxnn.init_state(objective, optax.sgd, params, learning_rate=0.5)
    end, history = jaxnn.ascend(objective, optax.sgd, state, batch, OwnPlan(), 1, aggregate="sum")
    assert end.params.tolist() == [1.0, 2.0] and end.epoch == 1
    assert history.log_likelihood[1] == -2.5  # the mean of what the steps saw: -1 and -4
