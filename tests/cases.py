"""What the tests share: eight small problems, so that shapes compile once, and strategies of finite numbers."""

from dataclasses import dataclass
from functools import partial

import jax
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import jaxnn

LIKELIHOODS = {"bernoulli": jaxnn.bernoulli, "categorical": jaxnn.categorical, "gaussian": jaxnn.gaussian}
ACTIVATIONS = {"sigmoid": jaxnn.sigmoid, "tanh": jaxnn.tanh, "relu": jaxnn.relu, "identity": jaxnn.identity}


@dataclass(frozen=True)
class Case:
    """N examples for a network of these sizes: D features, hidden units, K outputs."""

    name: str
    n: int
    sizes: tuple[int, ...]
    likelihood: str
    activations: tuple[str, ...] = ()

    def __str__(self):
        return self.name

    @property
    def model(self):
        return jaxnn.Mlp(self.sizes, tuple(ACTIVATIONS[name] for name in self.activations))

    def objective(self, l2=0.0):
        return jaxnn.LogLikelihood(self.model, LIKELIHOODS[self.likelihood], l2)

    @property
    def is_concave(self):
        return not self.activations and self.likelihood != "gaussian"


CASES = (
    Case("one_example", 1, (1, 1), "bernoulli"),
    Case("logistic", 7, (3, 1), "bernoulli"),
    Case("softmax", 6, (4, 3), "categorical"),
    Case("least_squares", 8, (2, 1), "gaussian"),
    Case("tanh_mlp", 5, (3, 4, 3), "categorical", ("tanh",)),
    Case("sigmoid_mlp", 6, (2, 3, 1), "bernoulli", ("sigmoid",)),
    Case("relu_tanh_mlp", 4, (5, 4, 3, 2), "categorical", ("relu", "tanh")),
    Case("deep_regression", 9, (3, 5, 4, 3, 2), "gaussian", ("sigmoid", "identity", "relu")),
)
by_name = {case.name: case for case in CASES}


def value_and_gradient(objective, params, batch):
    """The objective and its gradient as NumPy arrays; one compiled program for each case and dtype, whoever asks."""
    return jax.device_get(_value_and_gradient(objective, params, batch))


def per_example_gradients(objective, params, batch):
    """One gradient an example, as NumPy arrays: every leaf gains a leading axis N."""
    return jax.device_get(_per_example_gradients(objective, params, batch))


def outputs(model, params, x):
    """Outputs [N, K], as a NumPy array."""
    return jax.device_get(_outputs(model, params, x))


@jax.jit
def _value_and_gradient(objective, params, batch):
    return jax.value_and_grad(lambda p: objective(p, batch))(params)


@jax.jit
def _per_example_gradients(objective, params, batch):
    return jax.vmap(jax.grad(objective.per_example), (None, 0, 0))(params, batch.x, batch.y)


@partial(jax.jit, static_argnums=0)
def _outputs(model, params, x):
    return jax.vmap(model.apply, (None, 0))(params, x)


# --------------------------------------------------------------------------------------------------------- strategies


def floats(dtype=np.float64, magnitude=10.0):
    """Finite numbers of a dtype, |x| <= magnitude, none subnormal: XLA flushes those to zero."""
    width = np.dtype(dtype).itemsize * 8
    return st.floats(-magnitude, magnitude, width=width, allow_subnormal=False)


def arrays(shape, dtype=np.float64, magnitude=10.0):
    """Arrays of such numbers."""
    return hnp.arrays(dtype, shape, elements=floats(dtype, magnitude))


def edge_floats(dtype=np.float64):
    """Where log probabilities go wrong: both zeros, saturation of e^z and σ(z), 1e4, a quarter of the largest."""
    positive = [0.0, 1e-30, 1.0, 17.0, 40.0, 89.0, 104.0, 710.0, 746.0, 1e4, float(np.finfo(dtype).max) / 4]
    return st.sampled_from([sign * np.dtype(dtype).type(z) for z in positive for sign in (1, -1)])


def edge_arrays(shape, dtype=np.float64):
    """Arrays that mix ordinary and edge numbers."""
    return hnp.arrays(dtype, shape, elements=st.one_of(edge_floats(dtype), floats(dtype)))


def random_params(case, rng, size=1.0, dtype=np.float64):
    """Parameters of a case, normal about 0: ((kernel, bias), ...) in NumPy."""
    pairs = zip(case.sizes[:-1], case.sizes[1:], strict=True)
    return tuple(
        jaxnn._models.Dense((size * rng.normal(size=(i, o))).astype(dtype), (size * rng.normal(size=o)).astype(dtype))
        for i, o in pairs
    )


def random_labels(case, rng, dtype=np.float64):
    """Legal y for a case: labels, or targets of shape [N], or [N, K] where K > 1."""
    if case.likelihood == "gaussian":
        return rng.normal(size=(case.n,) if case.sizes[-1] == 1 else (case.n, case.sizes[-1])).astype(dtype)
    return rng.integers(0, max(2, case.sizes[-1]), case.n).astype(np.int32)


@st.composite
def problems(draw, which=CASES, dtype=np.float64, magnitude=10.0):
    """(case, params, batch): x and weights are drawn to shrink, the parameters normal, so no ReLU sits on its kink."""
    case = draw(st.sampled_from(which))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    params = random_params(case, rng, draw(st.sampled_from((0.1, 1.0, 3.0))), dtype)
    x = draw(arrays((case.n, case.sizes[0]), dtype, magnitude))
    weight = draw(hnp.arrays(dtype, case.n, elements=st.sampled_from(np.array([0.25, 0.5, 1, 1.5, 3, 7], dtype))))
    return case, params, jaxnn.Batch(x, random_labels(case, rng, dtype), weight)
