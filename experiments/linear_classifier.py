"""What does a linear classifier decide, and with what probability?

A linear classifier of x in R^D computes an activation z. The perceptron (Rosenblatt 1958) decides its sign; logistic
regression (Cox 1958) puts it through the sigmoid:

    z = w·x + b        decision: +1 if z >= 0, else -1        P(y=1 | x) = σ(z) = 1 / (1 + e^-z)

Both are asked of random classifiers and points, and of activations next to 0. Then w and b are learnt by maximum
likelihood from two round clouds, centred on (2, 2) and (-2, -2), of variance s² in every direction. There the truth is
known, for by Bayes' rule the log odds of Gaussians with one covariance are linear in x (Bishop 2006, section 4.2.1):

    log P(y=1 | x) / P(y=0 | x) = w*·x + b*,    w* = (4 / s²) (1, 1),    b* = 0

Where P = p is looked for by bisection across the decision line, at several places along it; and (w, b) is multiplied
by c, from 1/10 to 10.

Expected, before the run: the decision is +1 where P >= 1/2 and nowhere else, in all of a million cases, and only next
to z = 0, where float32 cannot tell P from 1/2, do they part. The points where P = p lie on lines parallel to the
decision line, log(p / (1 - p)) / |w| away from it. The learnt w is w* within 10 %, its probabilities within 0.02 of the
true ones. No c changes a decision; the log likelihood is largest near c = 1.

Found (40 data sets of 500 examples, seeds 0 to 39): all of it. Sign and probability part only for -1.8e-7 <= z < 0,
where the sigmoid in float32 rounds P to 1/2: who decides should look at z. Neither the mean length of the learnt w,
1.03 times the true one (95 %: 1.00 to 1.06), nor that of the best c on test data, 0.97 (0.94 to 1.01), can be told
from 1. Probabilities are off by 0.014 on average; that costs 0.0009 in accuracy and 0.003 nats. Of the first data set,
which is drawn, the learnt b is 0.32 where the truth is 0: where it says 1/2, the true probability is 0.43, and the
share of y = 1 follows the truth, not the classifier.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.stats

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE, new_figure
from experiments._report import in_columns, interval, track

OBJECTIVE = jaxnn.LogLikelihood(jaxnn.Linear(2, 1), jaxnn.bernoulli)
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
ALONG = np.linspace(-4, 4, 9)  # places along the decision line
SCALES = np.logspace(-1, 1, 41)


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      num_examples: N, to learn from.
      num_test: examples to judge by.
      noise: of the clouds: s² = 0.5 + 7 noise.
      num_seeds: how many data sets.
      num_random: random classifiers, and as many random points for each.
      seed: of the first data set, and of the random classifiers; test sets have seed + 1000 and on. The objective is
        concave: there are no seeds of parameters or order.
    """

    num_examples: int = 500
    num_test: int = 5000
    noise: float = 0.5
    num_seeds: int = 40
    num_random: int = 1000
    seed: int = 0


QUICK = Config(num_test=2000, num_seeds=8)


def run(config: Config) -> dict[str, Any]:
    """Compare signs with probabilities, then learn from every data set and compare with the truth."""
    variance = 0.5 + 7 * config.noise
    start = OBJECTIVE.model.init(0)
    truth = parameters(np.full((2, 1), 4 / variance), np.zeros(1))
    report, rows = {"decisions": decisions(config), "true_w": 4 / variance}, []
    for seed in track(range(config.seed, config.seed + config.num_seeds), "data sets"):
        train, test = (
            jaxnn.data.load("gauss", num_examples=n, noise=config.noise, seed=s)
            for n, s in ((config.num_examples, seed), (config.num_test, seed + 1000))
        )
        found = jaxnn.optimum.newton(OBJECTIVE, start, train)
        learnt, exact = (jaxnn.evaluate(OBJECTIVE, params, test) for params in (found.params, truth))
        p, p_true = (np.asarray(jaxnn.predict_proba(OBJECTIVE, w, test))[:, 1] for w in (found.params, truth))
        values, changed = (np.asarray(a) for a in scaled(found.params, test.batch, SCALES))
        rows.append(
            {
                "w": np.mean(found.params[0].kernel),
                "error_of_p": np.abs(p - p_true).mean(),
                "accuracy": learnt.accuracy,
                "true_accuracy": exact.accuracy,
                "log_likelihood": learnt.log_likelihood,
                "true_log_likelihood": exact.log_likelihood,
                "best_scale": SCALES[values.argmax()],
                "changed": changed.max(),
                "by_scale": values,
            }
        )
        if seed == config.seed:
            report |= {"one": one_data_set(found, train, test, p, p_true)}
    names = ("w", "error_of_p", "accuracy", "true_accuracy", "log_likelihood", "true_log_likelihood", "best_scale")
    report |= {name: interval(row[name] for row in rows) for name in names}
    return report | {
        "scales": SCALES,
        "by_scale": np.mean([row["by_scale"] for row in rows], axis=0),
        "most_changed": max(row["changed"] for row in rows),
    }


def parameters(kernel: Any, bias: Any) -> Any:
    """Return parameters of a linear model, or of many."""
    (layer,) = OBJECTIVE.model.init(0)
    return (layer._replace(kernel=np.asarray(kernel, np.float32), bias=np.asarray(bias, np.float32)),)


def decisions(config: Config) -> dict[str, Any]:
    """Count where sign and probability disagree: random cases, and the largest |z|, z < 0, at which P rounds to 1/2."""
    n, rng = config.num_random, np.random.default_rng(config.seed)
    params = parameters(rng.normal(size=(n, 2, 1)), rng.normal(size=(n, 1)))
    sign, p = (np.asarray(a) for a in sign_and_probability(params, 3 * rng.normal(size=(n, 2))))
    z = np.r_[0, -np.geomspace(1e-9, 1e-3, 10_001)]  # x1 itself, with w = (1, 0) and b = 0
    just_x1 = parameters([[[1], [0]]], [[0]])
    sign_near, p_near = (np.asarray(a)[0] for a in sign_and_probability(just_x1, np.stack([z, 0 * z], axis=1)))
    return {
        "cases": sign.size,
        "disagree": int(((sign == 1) != (p >= 0.5)).sum()),
        "largest_z_that_parts": np.abs(z[(sign_near == -1) & (p_near >= 0.5)]).max(),
        "at_zero": [int(sign_near[0]), float(p_near[0])],
    }


@jax.jit
def sign_and_probability(params: Any, x: Any) -> tuple[Any, Any]:
    """Return decision and P(y=1) of many classifiers for every point, `[R, N]` each."""

    def one(params: Any, x: Any) -> tuple[Any, Any]:
        z = OBJECTIVE.model.apply(params, x)
        return jaxnn.bernoulli.decide(z), jaxnn.bernoulli.predict_proba(z)[1]

    return jax.vmap(jax.vmap(one, (None, 0)), (0, None))(params, x)


@jax.jit
def scaled(params: Any, batch: jaxnn.Batch, scales: Any) -> tuple[Any, Any]:
    """Return the log likelihood with c (w, b), and how many decisions differ from those with (w, b), for every c."""

    def decide(params: Any) -> Any:
        return jax.vmap(OBJECTIVE.predict, (None, 0))(params, batch.x)

    def at(c: Any) -> tuple[Any, Any]:
        larger = jax.tree.map(lambda leaf: c * leaf, params)
        return OBJECTIVE(larger, batch), jnp.sum(decide(larger) != decide(params))

    return jax.vmap(at)(scales)


def one_data_set(found: Any, train: Any, test: Any, p: np.ndarray, p_true: np.ndarray) -> dict[str, Any]:
    """Return what the picture shows of the first data set, and where its probabilities are p."""
    w, b = np.asarray(found.params[0].kernel)[:, 0], float(found.params[0].bias[0])
    z, y = np.log(p / (1 - p)), np.asarray(test.batch.y)
    edges = np.arange(-5.5, 6)
    bins = [(z >= low) & (z < high) for low, high in itertools.pairwise(edges)]
    away = np.asarray(distances(found.params, np.array(LEVELS), ALONG))
    expected = np.log(np.array(LEVELS) / (1 - np.array(LEVELS))) / np.linalg.norm(w)
    return {
        "w": w,
        "b": b,
        "gap": found.gap,
        "distance": away.mean(axis=1),
        "distance_error": np.abs(away - expected[:, None]).max(),
        "x": np.asarray(train.batch.x)[:300],
        "y": np.asarray(train.batch.y)[:300],
        "activation": [z[rows].mean() for rows in bins],
        "true_p": [p_true[rows].mean() for rows in bins],
        "count": [int(rows.sum()) for rows in bins],
        "ones": [int(y[rows].sum()) for rows in bins],
    }


@jax.jit
def distances(params: Any, levels: Any, along: Any) -> Any:
    """Return how far from the decision line P(y=1 | x) = p, [levels, along], by bisection between -20 and 20."""
    (w,), b = params[0].kernel.T, params[0].bias[0]
    normal = w / jnp.linalg.norm(w)
    foot, line = -b * w / (w @ w), jnp.array([-normal[1], normal[0]])

    def distance(p: Any, t: Any) -> Any:
        def halve(_: int, ends: Any) -> Any:
            middle = ends.mean()
            above = OBJECTIVE.predict_proba(params, foot + t * line + middle * normal)[1] > p
            return jnp.where(above, jnp.array([ends[0], middle]), jnp.array([middle, ends[1]]))

        return jax.lax.fori_loop(0, 30, halve, jnp.array([-20.0, 20.0])).mean()

    return jax.vmap(lambda p: jax.vmap(lambda t: distance(p, t))(along))(levels)


def table(report: dict[str, Any]) -> str:
    """Return the learnt classifier beside the true one."""
    rows = [["mean over data sets", "learnt", "truth"]]
    rows += [["w (each of the two)", report["w"]["mean"], report["true_w"]]]
    for name in ("accuracy", "log_likelihood"):
        rows += [[name.replace("_", " "), report[name]["mean"], report[f"true_{name}"]["mean"]]]
    at = report["decisions"]
    return (
        f"{in_columns(rows)}\nsign against P >= 1/2: {at['disagree']} of {at['cases']:,} differ; from |z| <= "
        f"{at['largest_z_that_parts']:.1e} on P rounds to 1/2\n|P - true P|: {report['error_of_p']['mean']:.4f}; "
        f"distances of the lines P = p are off by {report['one']['distance_error']:.1e} at most"
    )


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    at, cost = report["decisions"], max(report["by_scale"]) - report["by_scale"][-1]
    return (
        f"It decides on which side of the line w·x + b = 0 a point lies, +1 exactly where P(y=1) is at least 1/2 "
        f"({at['disagree']} of {at['cases']:,} random cases differ), and the length of w says how sure it is: on two "
        f"clouds whose truth is known its probabilities are off by {report['error_of_p']['mean']:.3f} on average, "
        f"while ten times the length changes no decision and costs {cost:.2f} nats per example."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: the plane with lines of one probability, the sigmoid over the sign, and the length of w."""
    figure, axes = new_figure(11, 3.9, 1, 3, width_ratios=(1.1, 1, 1))
    plane, across, length = axes[0]
    one = report["one"]
    w, b = np.array(one["w"]), one["b"]

    x, y = np.array(one["x"]), np.array(one["y"])
    plane.scatter(*x[y == 0].T, s=16, marker="o", facecolor="white", edgecolor=GREY, label="y = 0")
    plane.scatter(*x[y == 1].T, s=14, marker="s", color=BLUE, alpha=0.7, linewidth=0, label="y = 1")
    ends = np.array([-12.0, 12.0])
    unit = w / np.linalg.norm(w)
    foot, line = -b * w / (w @ w), np.array([-unit[1], unit[0]])
    for p, r in zip(LEVELS, one["distance"], strict=True):
        points = foot + r * unit + ends[:, None] * line
        plane.plot(*points.T, color=DARK, linewidth=2 if p == 0.5 else 0.9, linestyle="-" if p == 0.5 else "--")
        plane.text(*(foot + r * unit + 6.2 * line), f"{p:g}", ha="center", va="center", fontsize=8,
                   bbox={"facecolor": "white", "edgecolor": "none", "pad": 1})  # fmt: skip
    tail = foot - 5 * line
    plane.annotate("", tail + 2 * unit, tail, arrowprops={"arrowstyle": "-|>", "color": ORANGE, "linewidth": 2})
    plane.text(*(tail + 2.5 * unit), "w", color=ORANGE, fontsize=11, ha="center", va="center", weight="bold")
    plane.set(xlim=(-7, 7), ylim=(-7, 7), aspect="equal", xlabel="x1", ylabel="x2")
    plane.set_title("Lines of one probability P(y=1 | x)", fontsize=10)
    plane.legend(loc="lower left", fontsize=8, handletextpad=0.2)

    z = np.linspace(-5.5, 5.5, 200)
    across.plot(z, 1 / (1 + np.exp(-z)), color=BLUE, linewidth=2)
    across.step([-5.5, 0, 5.5], [0, 0, 1], where="pre", color=DARK, linestyle="--", linewidth=1.3)
    n, ones = np.array(one["count"]), np.array(one["ones"])
    share = ones / n
    across.plot(one["activation"], one["true_p"], color=DARK, linewidth=1.2, linestyle=":")
    across.text(2.1, 0.45, "true P (dotted)", fontsize=9)
    low, high = scipy.stats.beta.ppf([[0.025], [0.975]], [ones + 0.5, ones + 0.5], n - ones + 0.5)  # Jeffreys
    error = [share - np.minimum(low, share), np.maximum(high, share) - share]
    across.errorbar(one["activation"], share, error, fmt="o", ms=5, color=ORANGE, capsize=2)
    across.text(1.5, 0.66, r"probability $\sigma(z)$", color=BLUE, fontsize=9)
    across.text(5.5, 1.03, "decides +1", ha="right", fontsize=9)
    across.text(-5.5, -0.07, "decides -1", fontsize=9)
    across.text(0.4, 0.2, "share of y = 1 among\ntest examples (95 %)", color=ORANGE, fontsize=9)
    across.set(xlabel="activation z = w·x + b", ylabel="P(y=1 | x)", ylim=(-0.1, 1.1))
    across.set_title("The sigmoid softens the sign", fontsize=10)

    length.plot(report["scales"], report["by_scale"], color=BLUE, linewidth=2)
    length.axvline(1, color=GREY, linewidth=0.9, linestyle=":")
    length.set_xscale("log")
    length.set_xticks([0.1, 1, 10], ["0.1", "1", "10"])
    length.set(xlabel="c, the parameters are c (w, b)", ylabel="test log likelihood (nats per example)")
    length.text(1.1, min(report["by_scale"]), "as learnt", color="0.35", fontsize=9)
    accuracy = report["accuracy"]["mean"]
    length.text(0.1, min(report["by_scale"]), f"the same decisions\nfor every c\n(accuracy {accuracy:.3f})", fontsize=9)
    length.set_title("The length of w is the certainty", fontsize=10)
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    at, one = report["decisions"], report["one"]
    assert at["disagree"] == 0, "the sign and P >= 1/2 are one decision"
    assert at["at_zero"] == [1, 0.5], "an activation of 0 decides +1, with probability 1/2"
    assert 0 < at["largest_z_that_parts"] < 1e-6, "they part only where float32 rounds P to 1/2"
    assert one["distance_error"] < 1e-4, "where P = p is a line, log(p / (1 - p)) / |w| from the decision line"
    assert abs(report["w"]["mean"] / report["true_w"] - 1) < 0.1, "w is the true one within 10 %"
    assert report["error_of_p"]["mean"] < 0.02, "so are the probabilities, within 0.02"
    assert report["most_changed"] == 0, "no scale of (w, b) changes a decision"
    assert abs(np.log(report["best_scale"]["mean"])) < 0.15, "the log likelihood is largest near c = 1"
