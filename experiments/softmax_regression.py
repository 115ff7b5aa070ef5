"""Is softmax regression with two classes logistic regression, and what do its weights look like with ten?

Softmax regression gives every class a linear score and normalises:

    z_k = w_k·x + b_k        P(y=k | x) = e^{z_k} / Σ_j e^{z_j}

With K = 2 only z_1 - z_0 counts, and P(y=1 | x) = σ(z_1 - z_0): logistic regression with w = w_1 - w_0. At the maximum
w_1 = -w_0 = w / 2, so a penalty ½ l2 (|w_0|² + |w_1|²) is one of ½ (l2 / 2) |w|². And a step of gradient ascent with
rate α moves w_1 and w_0 in opposite directions, w_1 - w_0 by twice as much: softmax regression with α and l2 takes the
path of logistic regression with 2 α and l2 / 2, which is tried on breast_cancer.

With more classes: iris (3 classes, from the two measurements of the petals) and digits (10), over random splits. The
weights of each digit are drawn as an image, next to the mean image of that digit (both less their mean over the
classes, which changes no probability). If w_k were a template, it would be the class mean: the nearest-mean classifier
takes these templates at their word.

Expected, before the run: the two are one, to rounding: probabilities at the maximum within 1e-5, the log likelihoods
of 200 steps within 1e-6. Iris is right in 96 % of the test flowers, digits in 96 %. The weight image of a digit looks
like its mean image (a correlation of about 0.6) with more detail where it must be told from others; the templates alone
are right in 90 %.

Found (10 splits, seeds 0 to 9): the two are one. Along 200 steps w_1 - w_0 differs from w by 2e-7, the log
likelihoods by 2e-8, and the probabilities after them by 2e-7; at the maxima, which Newton's method proves to within
1e-9 nats, w_1 - w_0 is w to the last digit, and the probabilities differ by 2e-7. Iris 0.960 (95 %: 0.92 to 1.00),
digits 0.960 (0.948 to 0.972), the templates 0.899 (0.887 to 0.911); the intervals allow for the flowers and images
that splits share. The weights look more like the class means than expected, a correlation of 0.87: what makes them
better are small differences.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE, show_image
from experiments._report import in_columns, interval, track

SHARES = (0.7, 0.3)  # train, test
OVERLAP = SHARES[1] / SHARES[0]  # splits share examples


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      l2: penalty of softmax regression.
      num_steps: of gradient ascent on all of the tumours.
      learning_rate: α of softmax regression.
      num_splits: random splits of iris and of digits, 70 % to learn from.
      seed: of the first split. The objective is concave and every step reads all of the data: there are no seeds of
        parameters or order.
    """

    l2: float = 1e-3
    num_steps: int = 200
    learning_rate: float = 0.25
    num_splits: int = 10
    seed: int = 0


QUICK = Config(num_splits=3)


def softmax(num_features: int, num_classes: int, l2: float) -> Any:
    """Return the penalised log likelihood of softmax regression."""
    return jaxnn.LogLikelihood(jaxnn.Linear(num_features, num_classes), jaxnn.categorical, l2)


def run(config: Config) -> dict[str, Any]:
    """Compare two classes with logistic regression, then learn iris and digits."""
    return {
        "two_classes": two_classes(config),
        "iris": iris(config),
        "digits": digits(config),
    }


def two_classes(config: Config) -> dict[str, Any]:
    """Return how softmax and logistic regression differ on their way uphill, and at the maximum."""
    (ds,) = jaxnn.data.standardise(jaxnn.data.load("breast_cancer"))
    of_softmax = softmax(30, 2, config.l2)
    of_logistic = jaxnn.LogLikelihood(jaxnn.Linear(30, 1), jaxnn.bernoulli, config.l2 / 2)

    def climb(objective: Any, learning_rate: float) -> Any:
        return jaxnn.search.gradient_ascent(
            lambda w: objective(w, ds.batch),
            objective.model.init(0),
            optax.sgd,
            learning_rate=learning_rate,
            num_steps=config.num_steps,
        )

    def p_difference(of_two: Any, of_one: Any) -> float:
        p, p_logistic = (
            np.asarray(jaxnn.predict_proba(objective, found.params, ds))
            for objective, found in ((of_softmax, of_two), (of_logistic, of_one))
        )
        return float(np.abs(p - p_logistic).max())

    two, one = climb(of_softmax, config.learning_rate), climb(of_logistic, 2 * config.learning_rate)
    top, top_logistic = (jaxnn.optimum.newton(o, o.model.init(0), ds) for o in (of_softmax, of_logistic))
    top_kernel, top_w = (np.asarray(found.params[0].kernel) for found in (top, top_logistic))
    kernels, w = np.asarray(two.path[0].kernel), np.asarray(one.path[0].kernel)[:, :, 0]  # [steps + 1, 30, 2], [.., 30]
    shown = np.unique(np.geomspace(1, config.num_steps, 40).astype(int))
    return {
        "p_difference": p_difference(two, one),
        "w_difference": np.abs(kernels[..., 1] - kernels[..., 0] - w).max(),
        "w_sum": np.abs(kernels.sum(axis=-1)).max(),
        "value_difference": np.abs(np.asarray(two.values) - np.asarray(one.values)).max(),
        "at_the_maximum": {
            "p_difference": p_difference(top, top_logistic),
            "w_difference": np.abs(top_kernel[:, 1] - top_kernel[:, 0] - top_w[:, 0]).max(),
            "largest_w": np.abs(top_w).max(),
            "w": top_w[:, 0],
            "gap": max(top.gap, top_logistic.gap),
        },
        "w": w[-1],
        "step": shown,
        "softmax": np.asarray(two.values)[shown],
        "logistic": np.asarray(one.values)[shown],
    }


def iris(config: Config) -> dict[str, Any]:
    """Return test figures over splits, from the two measurements of the petals; and the first classifier."""
    flowers = jaxnn.data.load("iris")
    names, found, first = flowers.schema.class_names, [], {}
    petals = jaxnn.data.dataset(np.asarray(flowers.batch.x)[:, 2:], flowers.batch.y, num_classes=3)
    for train, test in splits(config, petals, "iris"):
        objective = softmax(2, 3, config.l2)
        params = jaxnn.optimum.newton(objective, objective.model.init(0), train).params
        found.append(jaxnn.evaluate(objective, params, test).accuracy)
        (layer,) = params
        first = first or {"x": train.batch.x, "y": train.batch.y, "kernel": layer.kernel, "bias": layer.bias}
    return {"accuracy": interval(found, OVERLAP), "first": first | {"names": list(names)}}


def digits(config: Config) -> dict[str, Any]:
    """Return test accuracies of weights and of templates over splits, and the images of both in the first."""
    accuracy, of_templates, alike, images = [], [], [], {}
    for train, test in splits(config, jaxnn.data.load("digits"), "digits"):
        objective = softmax(64, 10, config.l2)
        params = jaxnn.optimum.newton(objective, objective.model.init(0), train).params
        accuracy.append(jaxnn.evaluate(objective, params, test).accuracy)
        x, y = np.asarray(train.batch.x), np.asarray(train.batch.y)
        means = np.stack([x[y == k].mean(axis=0) for k in range(10)])
        # |x - m_k|² is smallest where x·m_k - |m_k|² / 2 is largest: a linear classifier whose weights are templates.
        scores = np.asarray(test.batch.x) @ means.T - 0.5 * (means**2).sum(axis=1)
        of_templates.append((scores.argmax(axis=1) == np.asarray(test.batch.y)).mean())
        weights, templates = _about_the_mean(np.asarray(params[0].kernel).T), _about_the_mean(means)
        alike.append([np.corrcoef(w, m)[0, 1] for w, m in zip(weights, templates, strict=True)])
        images = images or {"weights": weights, "templates": templates}
    return {
        "accuracy": interval(accuracy, OVERLAP),
        "accuracy_of_templates": interval(of_templates, OVERLAP),
        "correlation": interval(np.mean(alike, axis=1), OVERLAP),
        "correlation_by_digit": np.mean(alike, axis=0),
        **images,
    }


def splits(config: Config, ds: Any, what: str) -> Any:
    """Give train and test, 70 and 30 %, of every random split."""
    for i in track(range(config.num_splits), what):
        yield jaxnn.data.split(ds, SHARES, seed=config.seed + i)


def _about_the_mean(a: np.ndarray) -> np.ndarray:
    return a - a.mean(axis=0)


def table(report: dict[str, Any]) -> str:
    """Return test accuracies, and how two classes agree."""
    two, numbers = report["two_classes"], report["digits"]
    rows = [["test accuracy", "mean", "low", "high"]]
    for name, at in (
        ("iris", report["iris"]["accuracy"]),
        ("digits", numbers["accuracy"]),
        ("digits, class means as templates", numbers["accuracy_of_templates"]),
    ):
        rows += [[name, *(f"{at[k]:.4f}" for k in ("mean", "low", "high"))]]
    return (
        f"{in_columns(rows)}\ntwo classes: P differs by {two['p_difference']:.1e} at most, w by "
        f"{two['w_difference']:.1e}, log likelihood on the way by {two['value_difference']:.1e}\n"
        f"at the maximum P differs by {two['at_the_maximum']['p_difference']:.1e} at most, w by "
        f"{two['at_the_maximum']['w_difference']:.1e}\n"
        f"correlation of weights and class means: {numbers['correlation']['mean']:.3f}"
    )


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    two, numbers = report["two_classes"], report["digits"]
    return (
        f"It is: along {report['config']['num_steps']} steps of ascent w_1 - w_0 is the w of logistic regression to "
        f"{two['w_difference']:.0e}, at the maximum P is to {two['at_the_maximum']['p_difference']:.0e}; with ten "
        f"classes each digit's weights look like the mean image of the digit (correlation "
        f"{numbers['correlation']['mean']:.2f}), but are right in {numbers['accuracy']['mean']:.1%} of "
        f"the test images, where these means as templates are right in {numbers['accuracy_of_templates']['mean']:.1%}."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: weights and means of the digits; two classes; the regions of iris; what is right."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 6.6), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1, 1.25))
    numbers = report["digits"]
    axes = top.subplots(2, 10)
    for row, name, what in ((axes[0], "weights", "weights"), (axes[1], "templates", "mean image")):
        most = np.abs(numbers[name]).max()
        for k, ax in enumerate(row):
            show_image(ax, numbers[name][k], f"{what}\nof {k}" if k == 0 else str(k), vmin=-most, vmax=most)
    top.suptitle(
        "Softmax regression on digits, less the mean over the classes: dark is for the digit, light against it",
        x=0.01, ha="left", fontsize=10,
    )  # fmt: skip

    paths, regions, right = bottom.subplots(1, 3, width_ratios=(1, 1.1, 0.9))
    for ax in (paths, regions, right):
        ax.spines[["top", "right"]].set_visible(False)
    two = report["two_classes"]
    paths.plot(two["step"], two["logistic"], color=DARK, linewidth=1.5, label="logistic, rate x 2, penalty / 2")
    paths.plot(
        two["step"][::2],
        two["softmax"][::2],
        "o",
        markerfacecolor="none",
        color=ORANGE,
        label="softmax, K = 2",
    )
    paths.set_xscale("log")
    paths.set(xlabel="steps of gradient ascent", ylabel="penalised log likelihood (nats per example)")
    paths.set_title("Two classes: one and the same ascent", fontsize=10)
    paths.legend(frameon=False, fontsize=8, loc="lower right")
    _draw_petals(regions, report["iris"]["first"])
    _draw_accuracies(right, report)
    return figure


def _draw_petals(ax: Any, at: dict[str, Any]) -> None:
    x, y, kernel, bias = (np.array(at[name]) for name in ("x", "y", "kernel", "bias"))
    across, up = np.meshgrid(np.linspace(0.7, 7.2, 160), np.linspace(-0.1, 2.7, 160))
    z = np.stack([across, up], axis=-1) @ kernel + bias
    p = np.exp(z - z.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    ax.contourf(across, up, p.max(axis=-1), levels=(1 / 3, 0.5, 0.7, 0.9, 1), colors=("0.62", "0.74", "0.86", "0.97"))
    for k in range(3):
        lead = p[..., k] - np.delete(p, k, axis=-1).max(axis=-1)
        ax.contour(across, up, lead, levels=[0], colors=DARK, linewidths=1.5)
        colour, marker = ((DARK, "o"), (ORANGE, "^"), (BLUE, "s"))[k]
        ax.scatter(
            *x[y == k].T, s=14, marker=marker, color=colour, edgecolor="white", linewidth=0.4, label=at["names"][k]
        )
    ax.set(xlabel="petal length (cm)", ylabel="petal width (cm)")
    ax.legend(loc="upper left", fontsize=8, handletextpad=0.2)
    ax.set_title("Three classes: straight borders (darker: less sure)", fontsize=10)


def _draw_accuracies(ax: Any, report: dict[str, Any]) -> None:
    rows = (
        ("iris,\nsoftmax", report["iris"]["accuracy"], BLUE, "o"),
        ("digits,\nsoftmax", report["digits"]["accuracy"], BLUE, "o"),
        ("digits, mean\nimages as\ntemplates", report["digits"]["accuracy_of_templates"], GREY, "s"),
    )
    for i, (_, at, colour, marker) in enumerate(rows):
        ax.errorbar(
            i, at["mean"], [[at["mean"] - at["low"]], [at["high"] - at["mean"]]], color=colour, marker=marker, capsize=4
        )
        ax.text(i + 0.14, at["mean"], f"{at['mean']:.3f}", va="center", fontsize=9)
    ax.set_xticks(range(3), [row[0] for row in rows])
    ax.set(xlim=(-0.5, 2.7), ylabel="test accuracy (mean over splits, 95 %)")
    ax.set_title("Right on test examples", fontsize=10)


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    two, numbers = report["two_classes"], report["digits"]
    assert two["p_difference"] < 1e-5, "softmax with two classes gives the probabilities of logistic regression"
    assert two["w_difference"] < 1e-5, "its weights differ by those of logistic regression"
    assert two["w_sum"] < 1e-5, "w_1 = -w_0"
    assert two["value_difference"] < 1e-5, "gradient ascent takes the same path"
    top = two["at_the_maximum"]
    assert top["gap"] <= 1e-9, "both maxima are proven to be at most 1e-9 nats above"
    assert top["p_difference"] < 1e-4, "at the maximum the probabilities are the same"
    assert top["w_difference"] < 1e-4 * top["largest_w"], "and the weights"
    assert report["iris"]["accuracy"]["mean"] > 0.94, "iris is right in more than 94 %"
    assert numbers["accuracy"]["mean"] > 0.95, "digits in more than 95 %"
    assert numbers["accuracy"]["low"] > numbers["accuracy_of_templates"]["high"], "weights are better than templates"
    assert 0.7 < numbers["correlation"]["mean"] < 0.95, "and look like them, but are not the same"
