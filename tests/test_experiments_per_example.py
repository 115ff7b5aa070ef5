"""Tests the experiment on single examples: what it reports is what vmap of grad finds."""

import jax
import numpy as np
import optax
import pytest
from trials import quick

import jaxnn
from experiments import per_example

SMALL = per_example.QUICK


@pytest.fixture(scope="module")
def report():
    return quick("per_example")


def test_the_largest_gradients_and_the_most_influential_images_are_those_of_vmap_of_grad(report):
    train, hold_out, test = jaxnn.data.split(jaxnn.data.load("digits"), (0.7, 0.15, 0.15), seed=SMALL.seed)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((64, 16, 10)), jaxnn.categorical)
    params = jaxnn.fit(
        objective, optax.adam, objective.model.init(1), train, hold_out,
        plan=jaxnn.MiniBatch(32), max_epochs=20, learning_rate=5e-3, key=2,
    ).params  # fmt: skip
    gradients = jax.jit(jax.vmap(jax.grad(objective.per_example), (None, 0, 0)))
    g, h = (
        np.concatenate([np.asarray(a, float).reshape(len(a), -1) for a in jax.tree.leaves(tree)], 1)
        for tree in (gradients(params, d.batch.x, d.batch.y) for d in (train, test))
    )
    norms = np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(report["norms"]["largest"], np.sort(norms)[::-1][: SMALL.largest], rtol=1e-4)
    np.testing.assert_allclose(norms[report["largest"]["index"]], report["norms"]["largest"], rtol=1e-4)
    assert report["largest"]["label"] == np.asarray(train.batch.y)[report["largest"]["index"]].tolist()
    top = np.sort(norms**2)[-round(0.01 * len(norms)) :].sum() / np.sum(norms**2)
    np.testing.assert_allclose(report["share_of_squares_of_the_top_percent"], top, rtol=1e-4)

    mistake = report["mistake"]
    assert mistake["probability"] < 0.5 and mistake["label"] != mistake["read_as"]
    scores = g @ h[mistake["test_index"]]
    np.testing.assert_allclose(report["helpful"]["score"], np.sort(scores)[::-1][:4], rtol=1e-3)
    np.testing.assert_allclose(report["harmful"]["score"], np.sort(scores)[:4], rtol=1e-3)


def test_a_claim_that_does_not_hold_fails(report):
    def changed(**parts):
        return report | parts

    true = {"label": 3, "read_as": 5}
    good = changed(
        config={"data": "mnist"},
        largest={"label": [1, 2], "read_as": [7, 3]},
        mistake=true,
        helpful={"label": [3, 3]},
        harmful={"label": [5, 5]},
    )
    per_example.check(good)
    for part, value in (
        ("share_of_squares_of_the_top_percent", 0.1),
        ("largest", {"label": [1, 2], "read_as": [7, 2]}),
        ("helpful", {"label": [3, 5]}),
        ("harmful", {"label": [4, 4]}),
        ("harmful", {"label": [5, 3]}),
    ):
        with pytest.raises(AssertionError):
            per_example.check(good | {part: value})
