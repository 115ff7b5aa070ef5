"""The optimum of softmax and logistic regression with L2 is scikit-learn's, on real data, in double precision."""

import functools

import jax
import numpy as np
import optax
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

import jaxnn

L2 = 1e-3


@functools.cache
def optimum(name, likelihood):
    """Return the objective, standardised data, the parameters where full-batch L-BFGS ends, and the last gradient."""
    (data,) = jaxnn.data.standardise(jaxnn.data.load(name))
    outputs = 1 if likelihood == jaxnn.bernoulli else data.schema.num_classes
    objective = jaxnn.LogLikelihood(jaxnn.Linear(data.num_features, outputs), likelihood, l2=L2)
    optimizer = optax.lbfgs()
    state = jaxnn.init_state(objective, optimizer, objective.model.init(0))
    end, history = jax.jit(lambda s: jaxnn.ascend(objective, optimizer, s, data, jaxnn.FullBatch(), 120))(state)
    return objective, data, end.best.params, history.gradient_norm[-1]


def scikit_learn(data, l2):
    x, y = np.asarray(data.batch.x), np.asarray(data.batch.y)
    return LogisticRegression(C=1 / (len(y) * l2), solver="newton-cg", tol=1e-10, max_iter=1000).fit(x, y)


def centred(kernel, bias):
    """Return kernel [D, K] and bias [K] with mean 0 over the classes: a constant on all logits changes nothing."""
    kernel, bias = np.asarray(kernel), np.asarray(bias)
    return (kernel - kernel.mean(1, keepdims=True), bias - bias.mean()) if len(bias) > 1 else (kernel, bias)


@pytest.mark.parametrize(
    "name, likelihood",
    [
        ("breast_cancer", jaxnn.bernoulli),
        ("iris", jaxnn.categorical),
        ("wine", jaxnn.categorical),
        ("digits", jaxnn.categorical),
    ],
    ids=["logistic on breast_cancer", "softmax on iris", "softmax on wine", "softmax on digits"],
)
def test_the_optimum_is_that_of_scikit_learn(name, likelihood, x64):
    objective, data, params, gradient = optimum(name, likelihood)
    peer = scikit_learn(data, L2)
    for ours, theirs in zip(centred(*params[0]), centred(peer.coef_.T, peer.intercept_), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-4, rtol=0)
    theirs = -log_loss(data.batch.y, peer.predict_proba(np.asarray(data.batch.x)))
    np.testing.assert_allclose(jaxnn.evaluate(objective, params, data).log_likelihood, theirs, atol=1e-6, rtol=0)
    assert np.abs(peer.coef_).max() > 0.5 and gradient < 1e-6  # the optimum is not trivial, and was reached


def test_half_the_penalty_is_another_optimum(x64):
    _, data, params, _ = optimum("iris", jaxnn.categorical)
    peer = scikit_learn(data, L2 / 2)
    assert np.abs(centred(*params[0])[0] - centred(peer.coef_.T, peer.intercept_)[0]).max() > 1e-2
