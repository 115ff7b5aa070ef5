"""Tests the experiment on single examples: what it reports is what vmap of grad finds."""

import jax
import numpy as np
import optax
import pytest
from trials import must_fail, quick

import jaxnn
from experiments import _report, per_example

SMALL = per_example.QUICK


@pytest.fixture(scope="module")
def report():
    return quick("per_example")


def test_the_largest_gradients_and_the_most_influential_images_are_those_of_vmap_of_grad(report):
    everything, test = jaxnn.data.split(jaxnn.data.load("digits"), (0.85, 0.15), seed=SMALL.seed)
    train, hold_out = jaxnn.data.split(everything, (0.9, 0.1), seed=SMALL.seed)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((64, 16, 10)), jaxnn.categorical)
    first = objective.model.init(1)
    params = jaxnn.fit(
        objective, optax.adam, first, train, hold_out,
        plan=jaxnn.MiniBatch(32), max_epochs=SMALL.max_epochs, learning_rate=5e-3, key=2,
    ).params  # fmt: skip
    gradients = jax.jit(jax.vmap(jax.grad(objective.per_example), (None, 0, 0)))
    g, h, at_first = (
        np.concatenate([np.asarray(a, float).reshape(len(a), -1) for a in jax.tree.leaves(tree)], 1)
        for tree in (gradients(w, d.batch.x, d.batch.y) for w, d in ((params, train), (params, test), (first, train)))
    )
    norms = np.linalg.norm(g, axis=1)
    np.testing.assert_allclose(report["norms"]["largest"], np.sort(norms)[::-1][: SMALL.largest], rtol=1e-4)
    np.testing.assert_allclose(norms[report["largest"]["index"]], report["norms"]["largest"], rtol=1e-4)
    assert report["largest"]["label"] == np.asarray(train.batch.y)[report["largest"]["index"]].tolist()
    top = np.sort(norms**2)[-round(0.01 * len(norms)) :].sum() / np.sum(norms**2)
    np.testing.assert_allclose(report["shares"][0], top, rtol=1e-4)

    # tr(Σ) is the variance with N - 1, and |G|² the squared mean less what the variance adds to it.
    trace = at_first.var(axis=0, ddof=1).sum()
    square = np.sum(at_first.mean(axis=0) ** 2) - trace / len(at_first)
    watched = report["watched"][0]
    np.testing.assert_allclose(watched["noise_scale"][0], trace / square, rtol=1e-3)
    at_first = np.linalg.norm(at_first, axis=1)
    np.testing.assert_allclose(watched["median"][0], np.median(at_first), rtol=1e-4)
    np.testing.assert_allclose(watched["largest"][0], at_first.max(), rtol=1e-4)

    largest, labels = report["largest"], report["labels"][0]
    assert labels["largest_misread"] == np.sum(np.array(largest["label"]) != largest["read_as"])
    for name, end in (("helpful_true", "helpful"), ("harmful_true", "harmful")):
        assert labels[name] == report[end]["label"].count(report["mistake"]["label"])

    mistake = report["mistake"]
    assert mistake["probability"] < 0.5 and mistake["label"] != mistake["read_as"]
    scores = g @ h[mistake["test_index"]]
    np.testing.assert_allclose(report["helpful"]["score"], np.sort(scores)[::-1][:4], rtol=1e-3)
    np.testing.assert_allclose(report["harmful"]["score"], np.sort(scores)[:4], rtol=1e-3)


def test_a_claim_on_norms_and_noise_that_does_not_hold_fails(report):
    flat = [1.0] * (SMALL.max_epochs + 1)
    must_fail("per_example", {"shares.1": 0.1}, "outweighs its share")
    must_fail("per_example", {"watched.1.noise_scale": flat}, "the noise scale rises")
    must_fail("per_example", {"watched.0.median": flat}, "most gradients vanish")
    must_fail("per_example", {"watched.0.largest": flat}, "a few do not")


def test_a_claim_on_the_images_that_does_not_hold_fails():
    """On the committed report, which claims more than the quick one."""
    good = _report.read("per_example")
    per_example.check(good)
    last = good["labels"][-1]
    for name, value, match in (
        ("largest_misread", 9, "the largest are misread"),
        ("helpful_true", 6, "the true digit helps"),
        ("harmful_read", 0, "the digit it was taken for hurts"),
        ("harmful_true", 1, "the true digit does not"),
    ):
        with pytest.raises(AssertionError, match=match):
            per_example.check(good | {"labels": [*good["labels"][:-1], last | {name: value}]})
    scales = [60.0] * len(good["watched"][0]["noise_scale"])
    flat = good | {"watched": [one | {"noise_scale": [15.0, *scales[1:]]} for one in good["watched"]]}
    with pytest.raises(AssertionError, match="rises tenfold"):
        per_example.check(flat)
