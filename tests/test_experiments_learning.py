"""Tests the experiments on learning: what they report is what other code finds, and a claim that fails is told."""

import jax
import numpy as np
import optax
import pytest
from trials import must_fail, quick

import jaxnn
from experiments import batch_stochastic_minibatch, early_stopping, learning_rate, overfitting


def log_softmax(z):
    z = z - z.max(axis=-1, keepdims=True)
    return z - np.log(np.exp(z).sum(axis=-1, keepdims=True))


def network(params, x):
    """Return the outputs of layers of ReLUs, in float64."""
    a = np.asarray(x, float)
    layers = [(np.asarray(layer.kernel, float), np.asarray(layer.bias, float)) for layer in params]
    for kernel, bias in layers[:-1]:
        a = np.maximum(a @ kernel + bias, 0)
    return a @ layers[-1][0] + layers[-1][1]


class TestBatchStochasticMinibatch:
    """The noise, the maximum and one climb, by hand."""

    config = batch_stochastic_minibatch.QUICK

    def data(self):
        n = self.config.num_examples / 1797
        train, _ = jaxnn.data.split(jaxnn.data.load("digits"), (n, 1 - n), seed=self.config.seed)
        return np.asarray(train.batch.x, float), np.eye(10)[np.asarray(train.batch.y)]

    def test_the_maximum_is_that_of_scikit_learn_and_nobody_is_above(self):
        from sklearn.linear_model import LogisticRegression

        report, (x, y) = quick("batch_stochastic_minibatch"), self.data()
        labels, config = y.argmax(axis=1), self.config
        found = LogisticRegression(C=1 / (len(x) * config.l2), tol=1e-9, max_iter=2000).fit(x, labels)
        value = np.mean(found.predict_log_proba(x)[range(len(x)), labels]) - 0.5 * config.l2 * np.sum(found.coef_**2)
        np.testing.assert_allclose(report["maximum"]["value"], value, atol=2e-6)

    def test_the_whole_batch_climbs_as_numpy_does(self):
        report, (x, y) = quick("batch_stochastic_minibatch"), self.data()
        config, climbs = self.config, []
        for rate in np.geomspace(*config.rates, config.num_rates):
            kernel, bias, values = np.zeros((64, 10)), np.zeros(10), []
            for _ in range(config.max_epochs + 1):
                log_p = log_softmax(x @ kernel + bias)
                values.append(np.mean(np.sum(y * log_p, axis=1)) - 0.5 * config.l2 * np.sum(kernel**2))
                d = (y - np.exp(log_p)) / len(x)
                kernel, bias = kernel + rate * (x.T @ d - config.l2 * kernel), bias + rate * d.sum(axis=0)
            climbs.append(values)
        gap = report["maximum"]["value"] - np.max(climbs, axis=0)
        np.testing.assert_allclose(report["gap"][-1], gap, rtol=1e-3)

    def test_the_noise_is_that_of_the_closed_form(self):
        report, (x, y) = quick("batch_stochastic_minibatch"), self.data()
        d = y - 0.1  # at the start all classes are equally likely
        g = np.concatenate([(x[:, :, None] * d[:, None, :]).reshape(len(x), -1), d], axis=1)
        noise, sizes = report["noise"]["start"], np.array(self.config.sizes)
        np.testing.assert_allclose(noise["trace"], g.var(axis=0).sum(), rtol=1e-4)
        n = len(x)
        kept_out = noise["trace"] / sizes * (n - sizes) / (n - 1)
        np.testing.assert_allclose(noise["with_replacement"], noise["trace"] / sizes, rtol=0.1)
        np.testing.assert_allclose(noise["without_replacement"][:-1], kept_out[:-1], rtol=0.1)

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"maximum.status": "max_epochs"}, "the maximum is proven"),
            ({"gap.0.-1": -1e-3}, "nobody is above it"),
            ({"noise.start.slope": -0.94}, "the noise at the start falls"),
            ({"noise.maximum.trace": 100.0}, "it is tr"),
            ({"noise.start.without_replacement.-1": 1.0}, "once each, have none at the start"),
            ({"rate.-1.1": 64.0}, "at an edge of the grid"),
            ({"gap.0.1": 1.0}, "the smaller the mini-batch"),
            ({"gap.-1.1": 1.0}, "the whole batch is ahead of the largest"),
            ({"gap.0.-1": 1.0}, "after the last epoch"),
            ({"gap.-1.16": 1.0}, "after as many steps"),
        ],
    )
    def test_a_claim_that_does_not_hold_fails(self, changes, match):
        must_fail("batch_stochastic_minibatch", changes, match)


class TestLearningRate:
    """One run of the sweep, by hand, and what is made of the runs."""

    def test_the_runs_of_one_rate_are_those_of_numpy(self):
        report, config = quick("learning_rate"), learning_rate.QUICK
        train, hold_out = jaxnn.data.split(jaxnn.data.load("digits"), (0.7, 0.3), seed=config.seed)
        x, y = np.asarray(train.batch.x, float), np.eye(10)[np.asarray(train.batch.y)]
        at = report["sgd"]["best"] - 2
        rate = report["sgd"]["learning_rate"][at]
        plan, n = jaxnn.MiniBatch(config.batch_size), len(train)
        steps = np.arange(plan.num_steps(n))
        params = jaxnn.Mlp((64, config.hidden, 10), activation=jaxnn.relu).init(config.seed + 1)
        (v, c), (w, b) = [(np.asarray(layer.kernel, float), np.asarray(layer.bias, float)) for layer in params]
        norm = np.sqrt(sum(np.sum(part**2) for part in (v, c, w, b)))
        np.testing.assert_allclose(report["sgd"]["norm_at_start"], norm, rtol=1e-5)
        values, ratios, draw = [], [], jax.jit(jax.vmap(plan.indices, (None, None, 0, None)), static_argnums=3)
        for epoch in range(config.max_epochs):
            for i, weight in zip(
                *map(np.asarray, draw(jax.random.key(config.seed + 1000), epoch, steps, n)), strict=True
            ):
                z = x[i] @ v + c
                a = np.maximum(z, 0)
                d = (y[i] - np.exp(log_softmax(a @ w + b))) * (weight / weight.sum())[:, None]
                e = (d @ w.T) * (z > 0)
                ups = [rate * up for up in (x[i].T @ e, e.sum(axis=0), a.T @ d, d.sum(axis=0))]
                before = [v, c, w, b]
                v, c, w, b = (old + up for old, up in zip(before, ups, strict=True))
            lengths = [np.sqrt(sum(np.sum(part**2) for part in parts)) for parts in (ups, before)]
            ratios.append(lengths[0] / lengths[1])
            h = np.maximum(np.asarray(hold_out.batch.x, float) @ v + c, 0) @ w + b
            values.append(log_softmax(h)[range(len(hold_out)), np.asarray(hold_out.batch.y)].mean())
        np.testing.assert_allclose(report["sgd"]["value"][at][0], max(values), rtol=1e-3)
        np.testing.assert_allclose(report["sgd"]["update_ratio"][at], np.median(ratios), rtol=0.2)  # of two seeds
        np.testing.assert_allclose(report["sgd"]["norm"][at], lengths[1], rtol=0.2)

    def test_good_rates_and_the_band_are_counted_as_the_text_says(self):
        for hill in (quick("learning_rate")[name] for name in ("sgd", "adam")):
            mean = np.mean(hill["value"], axis=1)
            np.testing.assert_allclose(hill["mean"], mean, rtol=1e-5)
            assert hill["good"] == ((mean >= mean.max() - 0.05) & (np.array(hill["lost"]) == 0)).tolist()
            assert hill["inside"] == [0.001 <= ratio <= 0.01 for ratio in hill["update_ratio"]]
            assert hill["edge"] == min(r for r, n in zip(hill["learning_rate"], hill["lost"], strict=True) if n)

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"sgd.mean.0": -0.5}, "sgd: a hill"),
            ({"adam.edge": 1e-5}, "adam: runs are lost above"),
            ({"sgd.lost.-1": 1}, "sgd: all of them"),
            ({"adam.good": [True] * 10}, "adam: most rates in the band are bad"),
            ({"adam.inside": [False] * 5 + [True] * 5, "adam.good": [False] * 4 + [True] + [False] * 5}, "Adam keeps"),
            ({"sgd.update_ratio": [0.005] * 10}, "plain ascent breaks the rule"),
        ],
    )
    def test_a_claim_that_does_not_hold_fails(self, changes, match):
        must_fail("learning_rate", changes, match)


class TestEarlyStopping:
    """One lane is the run of `fit`, scored in NumPy; the arithmetic of stopping is a loop."""

    def test_a_lane_is_the_run_of_fit_and_its_parameters_are_worth_what_numpy_says(self):
        report, config = quick("early_stopping"), early_stopping.QUICK
        train, hold_out, test = early_stopping.noisy_discs(config, config.seed)
        model = jaxnn.Mlp((2, config.hidden, config.hidden, 1), activation=jaxnn.relu)
        result = jaxnn.fit(
            jaxnn.LogLikelihood(model, jaxnn.bernoulli), optax.adam, model.init(1000), train, hold_out,
            plan=jaxnn.MiniBatch(config.batch_size), max_epochs=config.max_epochs, patience=config.patience, key=2000,
            learning_rate=config.learning_rate,
        )  # fmt: skip
        assert result.best_epoch == report["best_epoch"][0]
        assert int(result.state.epoch) == report["patience"]["stops_after"][0]
        sign = np.where(test.y == 1, 1.0, -1.0)
        margin = sign * network(result.params, test.x)[:, 0]
        found = report["test"]["best"]
        np.testing.assert_allclose(found["log_likelihood"][0], -np.logaddexp(0, -margin).mean(), rtol=1e-3)
        np.testing.assert_allclose(found["accuracy"][0], np.mean(margin > 0), atol=2e-3)

    def test_one_label_in_five_is_flipped_and_no_two_parts_share_an_example(self):
        config = early_stopping.QUICK
        parts = early_stopping.noisy_discs(config, 3)
        x, y = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
        wrong = (np.hypot(*x.T) < 0.5) != y
        assert abs(wrong.mean() - config.flipped) < 4 * np.sqrt(0.16 / len(y)) and len(np.unique(x, axis=0)) == len(x)

    def test_patience_is_counted_as_a_loop_counts_it(self):
        rng = np.random.default_rng(0)
        for patience in (1, 3, 8):
            values, best, misses, stop = rng.normal(size=40), -np.inf, -1, None
            for epoch, value in enumerate(values):
                best, misses = (value, 0) if value > best else (best, misses + 1)
                if misses == patience:
                    stop = epoch
                    break
            assert early_stopping.stops_after(values, patience) == (39 if stop is None else stop)

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"train.-1": -2.0}, "training rises on"),
            ({"hold_out.0": 0.0}, "the hold-out rises first"),
            ({"hold_out.-1": -0.6}, "it falls and falls"),
            ({"saved.log_likelihood.low": -0.1}, "stopping saves log likelihood"),
            ({"patience.epochs_saved.low": 0.4}, "most of the epochs"),
            ({"test.best.log_likelihood": [-0.8]}, "stopped, it beats a coin"),
            ({"test.best.log_likelihood": [-0.4]}, "nobody beats the best possible"),
            ({"test.last.log_likelihood": [-0.6]}, "in each run it saves"),
        ],
    )
    def test_a_claim_that_does_not_hold_fails(self, changes, match):
        must_fail("early_stopping", changes, match)


class TestOverfitting:
    """The labels are as random as it says, the runs begin as by hand, and another library fares alike."""

    def test_labels_are_drawn_anew_at_the_share_asked_for(self):
        labels = jaxnn.data.load("digits").batch.y
        for share in (0.0, 0.5, 1.0):
            y = overfitting.relabelled(labels, share, 0)
            same = np.mean(y == labels)
            assert (
                abs(same - overfitting.ceiling(share)) < 4 * np.sqrt(0.25 / len(y)) and (y >= 0).all() and y.max() == 9
            )

    def parts(self, seed):
        config = overfitting.QUICK
        share = np.array([config.num_train, config.num_hold_out]) / 1797
        parts = jaxnn.data.split(jaxnn.data.load("digits"), (*share, 1 - share.sum()), seed=config.seed)[:2]
        seeds = seed + 1000, seed + 4000
        return [
            part.batch._replace(y=overfitting.relabelled(part.batch.y, 1.0, s))
            for part, s in zip(parts, seeds, strict=True)
        ]

    def test_a_run_begins_where_numpy_does(self):
        report, config, values = quick("overfitting"), overfitting.QUICK, []
        model = jaxnn.Mlp((64, config.hidden, 10), activation=jaxnn.relu)
        for seed in range(config.num_seeds):
            _, hold_out = self.parts(seed)
            log_p = log_softmax(network(model.init(seed + 2000), hold_out.x))
            values.append(log_p[range(len(log_p)), np.asarray(hold_out.y)].mean())
        np.testing.assert_allclose(report["curves"]["hold_out"][-1][0], np.mean(values), rtol=1e-4)

    def test_scikit_learn_memorises_random_labels_too_and_fails_alike(self):
        from sklearn.neural_network import MLPClassifier

        report, (train, hold_out) = quick("overfitting"), self.parts(0)
        other = MLPClassifier((256,), alpha=0, learning_rate_init=3e-3, batch_size=20, max_iter=120, random_state=0)
        other.n_iter_no_change = 120
        with pytest.warns(UserWarning, match="Maximum iterations"):
            other.fit(train.x, train.y)
        assert other.score(train.x, train.y) == 1 == np.mean(report["train_accuracy"][-1])
        y = np.asarray(hold_out.y)
        value = np.log(np.maximum(other.predict_proba(hold_out.x)[range(len(y)), y], 1e-30)).mean()
        assert abs(other.score(hold_out.x, y) - 0.1) < 0.08 and value < -np.log(10)

    @pytest.mark.parametrize(
        ("changes", "match"),
        [
            ({"train_accuracy.0": [0.5] * 4}, "it memorises"),
            ({"last.train.0": [-0.5] * 4}, "it is sure of it"),
            ({"hold_out_accuracy.1": [0.9] * 4}, "how much is chance"),
            ({"hold_out_accuracy.-1": [0.2] * 4}, "one in ten"),
            ({"last.hold_out.-1": [-2.0] * 4}, "worse than knowing nothing"),
            ({"epochs_to_arrive.-1": [1.0] * 4}, "takes longer"),
        ],
    )
    def test_a_claim_that_does_not_hold_fails(self, changes, match):
        must_fail("overfitting", changes, match)
