"""Tests the experiments on MNIST and on ensembles: what they report is what NumPy and scikit-learn find."""

import copy
import itertools

import numpy as np
import optax
import pytest
import scipy.special
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss
from trials import quick

import jaxnn
from experiments import _report, ensembles, mnist


def logits(params, x):
    """Return the outputs of a network of ReLUs, in double precision."""
    a = np.asarray(x, float)
    for kernel, bias in params[:-1]:
        a = np.maximum(a @ np.asarray(kernel, float) + np.asarray(bias, float), 0)
    return a @ np.asarray(params[-1][0], float) + np.asarray(params[-1][1], float)


def calibration_error(p, y):
    """Return the mean distance of confidence and accuracy over 15 bins, one example after the other."""
    gaps = np.zeros(15)
    for p_i, y_i in zip(p, y, strict=True):
        gaps[int(np.ceil(p_i.max() * 15)) - 1] += p_i.max() - (p_i.argmax() == y_i)
    return np.abs(gaps).sum() / len(y)


@pytest.fixture(scope="module")
def networks():
    """The networks of the quick form of `mnist`, trained again: what each says of the test digits, `[runs, N, K]`."""
    small = mnist.QUICK
    everything, test = jaxnn.data.split(jaxnn.data.load("digits"), (0.7, 0.3), seed=0)
    said = {}
    for hidden in ((), (32,)):
        objective = jaxnn.LogLikelihood(jaxnn.Mlp((64, *hidden, 10), activation=jaxnn.relu), jaxnn.categorical)
        for seed in (0, 3):
            train, hold_out = jaxnn.data.split(everything, (11 / 12, 1 / 12), seed=seed)
            params = jaxnn.fit(
                objective, optax.adam, objective.model.init(seed + 1), train, hold_out,
                plan=jaxnn.MiniBatch(32), max_epochs=small.max_epochs, patience=3, learning_rate=5e-3, key=seed + 2,
            ).params  # fmt: skip
            p = scipy.special.softmax(logits(params, test.batch.x), axis=1)
            said.setdefault(len(hidden), []).append(p)
    return np.array(list(said.values())), np.asarray(test.batch.y)


def test_the_networks_read_and_misread_what_numpy_and_scikit_learn_say(networks):
    report, (p, y) = quick("mnist"), networks
    guess = p.argmax(-1)
    for found, guesses, said in zip(report["networks"], guess, p, strict=True):
        accuracies = [accuracy_score(y, g) for g in guesses]
        np.testing.assert_allclose(found["accuracies"], accuracies, rtol=1e-5)
        np.testing.assert_allclose(found["log_likelihood"]["mean"], -np.mean([log_loss(y, s) for s in said]), rtol=1e-4)
        wrong = guesses != y
        assert found["wrong_always"] == wrong.all(0).sum() and found["wrong_ever"] == wrong.any(0).sum()
    gains = np.diff((guess == y).mean((1, 2)))
    np.testing.assert_allclose([gain["mean"] for gain in report["gains"]], gains, atol=1e-5)
    assert report["wrong_by_all_networks"] == (guess != y).all((0, 1)).sum()
    np.testing.assert_array_equal(report["confusion"], sum(confusion_matrix(y, g) for g in guess[-1]))
    shown, average = report["shown"], p[-1].mean(0)
    at = shown["test_index"]
    assert shown["label"] == y[at].tolist() and shown["read_as"] == average[at].argmax(-1).tolist()
    np.testing.assert_allclose(shown["probability"], average[at].max(-1), rtol=1e-4)


def test_parameters_are_counted():
    for found, sizes in zip(quick("mnist")["networks"], ((64, 10), (64, 32, 10)), strict=True):
        assert found["parameters"] == sum((a + 1) * b for a, b in itertools.pairwise(sizes))


def test_an_ensemble_is_the_average_of_what_numpy_makes_of_its_networks():
    report, small = quick("ensembles"), ensembles.QUICK
    train, hold_out, test = jaxnn.data.split(jaxnn.data.load("digits"), (400 / 1797, 200 / 1797, 1197 / 1797), seed=0)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((64, 16, 10), activation=jaxnn.relu), jaxnn.categorical)
    x, y = np.asarray(test.batch.x), np.asarray(test.batch.y)
    ways = {
        "stopped": {"hold_out": hold_out, "max_epochs": small.max_epochs, "patience": small.patience},
        "trained_on": {"max_epochs": small.epochs},
    }
    for way, stops in ways.items():
        runs = jaxnn.sweep(
            objective, optax.adam, train, plan=jaxnn.MiniBatch(small.batch_size), **stops,
            grid={"learning_rate": small.learning_rate, "order": 1, "seed": range(2, 6)},
        )  # fmt: skip
        p = np.array([scipy.special.softmax(logits(one.params, x), axis=1) for one in runs])
        for size, found in report[way]["sizes"].items():
            together = p.reshape(-1, int(size), *p.shape[1:]).mean(axis=1)
            np.testing.assert_allclose(found["accuracy"], [accuracy_score(y, t.argmax(1)) for t in together], rtol=1e-5)
            np.testing.assert_allclose(found["log_likelihood"], [-log_loss(y, t) for t in together], rtol=1e-4)
            np.testing.assert_allclose(found["confidence"], together.max(-1).mean(-1), rtol=1e-4)
            np.testing.assert_allclose(
                found["calibration_error"], [calibration_error(t, y) for t in together], rtol=1e-3, atol=1e-5
            )


def fails(module, report, changes, match):
    """Assert that a claim fails, with this message, once the report has other numbers at these paths."""
    report = copy.deepcopy(report)
    for path, value in changes.items():
        part = report
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
    with pytest.raises(AssertionError, match=match):
        module.check(report)


def test_a_claim_on_mnist_that_does_not_hold_fails():
    """On the committed report, which claims more than the quick one."""
    report = _report.read("mnist")
    mnist.check(report)
    none, one = (("networks", i, "accuracy", "mean") for i in (0, 1))
    for changes, match in (
        ({("networks", 2, "wrong_always"): 30}, "seeds share their mistakes"),
        ({("shown", "read_as", 0): report["shown"]["label"][0]}, "all are misread"),
        ({one: 0.92}, "a hidden layer reads better than none"),
        ({none: 0.93}, "784-10 reads as well"),
        ({one: 0.9745}, "784-128-10 reads as well"),
        ({none: 0.928, one: 0.9755}, "two mistakes in three"),
        ({("gains", 0, "low"): -0.01}, "two mistakes in three"),
        ({("gains", 1, "low"): 0.001}, "three hidden layers are not surely better"),
        ({("confusion",): [[1] * 10] * 10}, "ten of the 90"),
        ({("shown", "probability", 0): 0.9}, "great confidence"),
    ):
        fails(mnist, report, changes, match)


def test_a_claim_on_ensembles_that_does_not_hold_fails():
    report = _report.read("ensembles")
    ensembles.check(report)
    for way, size, figure, value, match in (
        ("stopped", 64, "log_likelihood", -0.33, "at least the average"),
        ("stopped", 64, "confidence", 0.93, "at most as sure"),
        ("stopped", 64, "accuracy", 0.90, "an ensemble reads more"),
        ("stopped", 1, "log_likelihood", -0.3, "better than the best"),  # one of 64
        ("stopped", 64, "calibration_error", 0.009, "too unsure"),
        ("trained_on", 64, "calibration_error", 0.010, "mended in part"),
        ("trained_on", 64, "calibration_error", 0.050, "mended in part"),
        ("trained_on", 64, "log_likelihood", -0.34, "more than company"),
        ("trained_on", 64, "accuracy", 0.909, "read better"),
    ):
        fails(ensembles, report, {(way, "sizes", str(size), figure, 0): value}, match)
