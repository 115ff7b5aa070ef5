"""Is maximum likelihood the right w for logistic regression?

Tumours are benign (y = 1) or malignant (y = 0); x are 30 measurements, standardised. Logistic regression maximises

    LL(w, b) = 1/N Σ_i log P(y_i | x_i; w, b) - ½ l2 |w|²,    P(y=1 | x; w, b) = σ(w·x + b)

Four things would make its maximum the right one, and each is measured. There is one, and others find the same: Newton's
method, with its bound on what is missing, and scikit-learn's solver on the same objective. No other hill hides it:
along random lines (w, b) = a + t d the second difference (LL(t + h) + LL(t - h) - 2 LL(t)) / h² is never positive,
where that of a network with one hidden layer is. The gradient vanishes there, so the mean of P(y=1) is the share of
y = 1. And the probabilities are calibrated on tumours not learnt from: of those said to be benign with 80 %, 80 % are.
Over random splits into train, hold-out and test, l2 is picked on the hold-out; the calibration error (Guo et al. 2017)
is held against that of labels drawn with the very probabilities the model gives: even a perfect model has some.

Expected, before the run: the solvers agree to 1e-5 in w; no line has a positive second difference, most lines through a
network's parameters do somewhere. Without a penalty the 30 measurements separate the classes in every split, so there
is no maximum and w grows without end (Albert & Anderson 1984): plain maximum likelihood is *not* the right w, and a
penalty of about 1e-2 is. With it the model is calibrated; with next to none it is far too sure of itself.

Found (20 splits, seeds 0 to 19): the solvers agree to 1.1e-6 in w, where the largest is 2.5; all of 1,000 lines are
concave, of those through networks one in four. The classes are separated in all 20 splits: without a penalty there is
no maximum, and next to none (1e-7) costs 0.9 nats on test. The best penalty is smaller than expected, 3e-3, and the
hold-out picks anything from 1e-4 to 1e-2. Calibrated: the error of 0.033 (95 %, allowing for the tumours that splits
share: 0.019 to 0.046) cannot be told from the 0.032 of a perfect model on so few examples. It is a blunt test: also
the model without a penalty has no more than 0.041. What a model claims of its errors tells more: next to no penalty,
2,205 predictions claim 5 errors in a million, and 62 are wrong. Also the picked one is too sure of its surest, ten
times: it claims 0.02 %, and 2 of 1,040 are wrong, though two errors do not prove it. Of 241 doubtful predictions it
claims 25 %, and 16 % are wrong; but they are of 110 tumours, and of these 22 %.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import scipy.stats
from jax.flatten_util import ravel_pytree

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE, new_figure
from experiments._report import in_columns, interval, track

D = 30
BINS = 15
CLAIMS = (0, 1e-3, 1e-2, 1e-1, 2e-1, 0.51)  # edges, of the probability of being wrong
SHARES = (0.6, 0.2, 0.2)  # train, hold-out, test
OVERLAP = SHARES[2] / SHARES[0]  # splits share tumours
LEAST = 3e-4  # share of errors that is drawn
ROUNDING = 1e-9  # of a second difference, in float64


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      num_splits: how many random splits.
      l2s: penalties that are tried.
      l2: the penalty at which the solvers are compared, on all of the data.
      num_lines: random lines along which concavity is looked at.
      num_points: points on each of them.
      hidden: units of the network that is looked at for comparison.
      num_draws: of labels, to see how calibrated a perfect model would look.
      seed: of the first split; the lines have seed + 1, the draws of labels seed + 2. The objective is concave: there
        are no seeds of parameters or order.
    """

    num_splits: int = 20
    l2s: tuple[float, ...] = (1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1)
    l2: float = 1e-3
    num_lines: int = 1000
    num_points: int = 41
    hidden: int = 8
    num_draws: int = 500
    seed: int = 0


QUICK = Config(num_splits=4, l2s=(1e-7, 1e-3, 1e-2, 1e-1), num_lines=50, num_draws=100)


def objective(l2: float = 0.0) -> Any:
    """Return the penalised log likelihood of logistic regression."""
    return jaxnn.LogLikelihood(jaxnn.Linear(D, 1), jaxnn.bernoulli, l2)


def run(config: Config) -> dict[str, Any]:
    """Compare solvers and look along lines on the first split, then go through all splits and penalties."""
    everything = jaxnn.data.load("breast_cancer")
    first, *_ = parts(everything, config.seed)
    network = jaxnn.LogLikelihood(jaxnn.Mlp((D, config.hidden, 1)), jaxnn.bernoulli)
    return {
        "solvers": solvers(config, first),
        "concave": {
            "linear": along_lines(config, objective(), first.batch),
            "network": along_lines(config, network, first.batch),
        },
        "splits": over_splits(config, everything),
    }


def parts(everything: Any, seed: int) -> tuple[Any, ...]:
    """Return train, hold-out and test of one random split, standardised by train."""
    return jaxnn.data.standardise(*jaxnn.data.split(everything, SHARES, seed=seed))


def rows_of_test(everything: Any, seed: int) -> np.ndarray:
    """Return which rows of the data are the test examples of a split."""
    row = np.arange(len(everything.batch.y))[:, None]
    numbered = jaxnn.data.dataset(row, everything.batch.y, num_classes=2)
    *_, test = jaxnn.data.split(numbered, SHARES, seed=seed)
    return np.asarray(test.batch.x)[:, 0].astype(int)


def solvers(config: Config, train: Any) -> dict[str, Any]:
    """Return how two solvers differ, and what is true of the maximum."""
    from sklearn.linear_model import LogisticRegression

    x, y = np.asarray(train.batch.x, np.float64), np.asarray(train.batch.y)
    goal = objective(config.l2)
    found = jaxnn.optimum.newton(goal, goal.model.init(0), train)
    peer = LogisticRegression(C=1 / (len(y) * config.l2), solver="newton-cholesky", tol=1e-12).fit(x, y)
    w, w_peer = np.asarray(found.params[0].kernel, np.float64)[:, 0], peer.coef_[0]
    z = x @ w_peer + peer.intercept_[0]
    value = -np.logaddexp(0, np.where(y == 1, -z, z)).mean() - 0.5 * config.l2 * w_peer @ w_peer
    p = np.asarray(jaxnn.predict_proba(goal, found.params, train), np.float64)[:, 1]
    return {
        "value": found.value,
        "above_peer": found.value - value,
        "largest_w": np.abs(w).max(),
        "difference": np.abs(w - w_peer).max(),
        "gap": found.gap,
        "gradient_norm": found.history["gradient_norm"],
        "mean_p": p.mean(),
        "share_of_ones": y.mean(),
    }


def along_lines(config: Config, goal: Any, batch: Any) -> dict[str, Any]:
    """Return log likelihoods along random lines a + t d, in float64, and their largest second difference.

    a and d are drawn as the first kernel of a network is: of length about 1 a unit.
    """
    with jax.enable_x64(True):
        flat, unravel = ravel_pytree(jax.tree.map(lambda a: np.asarray(a, np.float64), goal.model.init(0)))
        data = jaxnn.Batch(np.asarray(batch.x, np.float64), np.asarray(batch.y))
        a, d = np.random.default_rng(config.seed + 1).normal(size=(2, config.num_lines, flat.size)) / D**0.5
        t = np.linspace(-3, 3, config.num_points)

        def line(a_and_d: Any) -> Any:
            a, d = a_and_d
            return jax.vmap(lambda t: goal(unravel(a + t * d), data))(t)

        values = np.asarray(jax.jit(lambda lines: jax.lax.map(line, lines))((a, d)))
    second = (values[:, 2:] + values[:, :-2] - 2 * values[:, 1:-1]) / (t[1] - t[0]) ** 2
    return {
        "largest": second.max(),
        "share_of_lines_with_positive": (second.max(axis=1) > ROUNDING).mean(),
        "t": t,
        "lines": values[:6],
    }


def over_splits(config: Config, everything: Any) -> dict[str, Any]:
    """Return what each penalty reaches over random splits, and what the one picked on the hold-out does."""
    start = jaxnn.Linear(D, 1).init(0)
    # One number a tumour and a draw: splits that share a tumour share its label.
    drawn = np.random.default_rng(config.seed + 2).random((config.num_draws, len(everything.batch.y)))
    value = {part: np.empty((config.num_splits, len(config.l2s))) for part in ("train", "hold_out", "test")}
    separated, picked, smallest, picks, perfect = 0, [], [], [], []
    for i in track(range(config.num_splits), "splits"):
        by_part = dict(zip(value, parts(everything, config.seed + i), strict=True))
        train, test = by_part["train"], by_part["test"]
        separated += jaxnn.optimum.newton(objective(), start, train).status == jaxnn.Status.DIVERGED
        found = [jaxnn.optimum.newton(objective(l2), start, train).params for l2 in config.l2s]
        for part, ds in by_part.items():
            value[part][i] = [jaxnn.evaluate(objective(), params, ds).log_likelihood for params in found]
        best = int(value["hold_out"][i].argmax())
        picks.append(config.l2s[best])
        rows = rows_of_test(everything, config.seed + i)
        picked.append((*judged(found[best], test), rows))
        smallest.append((*judged(found[0], test), rows))
        perfect.append(calibration_errors_of_a_perfect_model(picked[-1][1], drawn[:, rows]))
    return {
        "separated_without_penalty": int(separated),
        "picked_l2": picks,
        "value": {part: [interval(column, OVERLAP) for column in a.T] for part, a in value.items()},
        "picked": figures(picked),
        "smallest_l2": figures(smallest),
        # Of the mean over the splits, as that of the model is.
        "perfect": {"mean": np.mean(perfect), "most": np.quantile(np.mean(perfect, axis=0), 0.975)},
    }


def judged(params: Any, test: Any) -> tuple[Any, np.ndarray, np.ndarray]:
    """Return the evaluation on test, and P(y=1) and y of every example."""
    p = np.asarray(jaxnn.predict_proba(objective(), params, test), np.float64)[:, 1]
    return jaxnn.evaluate(objective(), params, test), p, np.asarray(test.batch.y)


def figures(found: list[tuple[Any, np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, Any]:
    """Return the test figures of one model a split; and of all predictions, how sure it was and how often wrong.

    A tumour is in the test set of several splits: `tumours` says how many different ones there are.
    """
    evaluations, *parts = zip(*found, strict=True)
    p, y, tumour = (np.concatenate(part) for part in parts)
    claimed, wrong = np.minimum(p, 1 - p), (p >= 0.5) != y
    inside = [(claimed >= low) & (claimed < high) for low, high in itertools.pairwise(CLAIMS)]
    inside = [rows for rows in inside if rows.any()]
    names = ("log_likelihood", "accuracy", "brier", "calibration_error")
    return {name: interval([getattr(e, name) for e in evaluations], OVERLAP) for name in names} | {
        "count": [int(rows.sum()) for rows in inside],
        "tumours": [len(np.unique(tumour[rows])) for rows in inside],
        "claimed": [claimed[rows].mean() for rows in inside],
        "wrong": [int(wrong[rows].sum()) for rows in inside],
        "wrong_tumours": [len(np.unique(tumour[rows & wrong])) for rows in inside],
    }


def calibration_errors_of_a_perfect_model(p: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    """Return the calibration errors for labels with P(y=1) = p, from numbers `[num_draws, N]` between 0 and 1."""
    confidence = np.maximum(p, 1 - p)
    right = (drawn < p) == (p >= 0.5)
    in_bin = np.minimum((BINS * confidence).astype(int), BINS - 1)[:, None] == np.arange(BINS)
    return np.abs((confidence - right) @ in_bin).sum(axis=1) / len(p)


def table(report: dict[str, Any]) -> str:
    """Return the log likelihood of every penalty, and how solvers agree."""
    at, splits = report["solvers"], report["splits"]
    rows = [["l2", "train", "hold-out", "test"]]
    for i, l2 in enumerate(report["config"]["l2s"]):
        rows += [[f"{l2:g}", *(f"{splits['value'][part][i]['mean']:.4f}" for part in splits["value"])]]
    return (
        f"{in_columns(rows)}\nno maximum without a penalty in {splits['separated_without_penalty']} splits\n"
        f"w: {at['difference']:.1e} from scikit-learn's; gap at most {at['gap']:.1e} nats, gradient "
        f"{at['gradient_norm'][-1]:.1e}\n"
        f"calibration error on test: {splits['picked']['calibration_error']['mean']:.4f}; of a perfect model "
        f"{splits['perfect']['mean']:.4f}, at most {splits['perfect']['most']:.4f}; with next to no penalty "
        f"{splits['smallest_l2']['calibration_error']['mean']:.4f}"
    )


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    at, splits = report["solvers"], report["splits"]
    error = splits["picked"]["calibration_error"]["mean"]
    return (
        f"With a penalty, yes: two solvers agree on w to {at['difference']:.0e}, nothing is convex along "
        f"{report['config']['num_lines']:,} random lines, the gradient ends at {at['gradient_norm'][-1]:.0e}, and the "
        f"test calibration error of {error:.3f} is that of a perfect model ({splits['perfect']['mean']:.3f}); without "
        f"one, no: in {splits['separated_without_penalty']} of {report['config']['num_splits']} splits the classes are "
        f"separated and there is no maximum."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: lines through both landscapes, the penalty, and how far probabilities can be trusted."""
    figure, axes = new_figure(10, 7, 2, 2)
    (linear, network), (penalty, trust) = axes
    lines = report["config"]["num_lines"]
    for ax, name, what in ((linear, "linear", "Logistic regression"), (network, "network", "A network")):
        at = report["concave"][name]
        for i, line in enumerate(at["lines"]):
            ax.plot(at["t"], line, color=(DARK, BLUE, ORANGE)[i % 3], linestyle="-" if i < 3 else "--", linewidth=1.4)
        ax.set(xlabel="t, along (w, b) = a + t d", ylabel="log likelihood (nats per example)")
        concave = round(lines * (1 - at["share_of_lines_with_positive"]))
        ax.set_title(f"{what}: {concave:,} of {lines:,} random lines are concave", fontsize=10)

    l2s, splits = report["config"]["l2s"], report["splits"]
    for part, colour, style, marker in (("train", GREY, "--", "s"), ("test", BLUE, "-", "o")):
        at = splits["value"][part]
        penalty.plot(
            l2s, [a["mean"] for a in at], color=colour, linestyle=style, marker=marker, markersize=4, label=part
        )
        penalty.fill_between(l2s, [a["low"] for a in at], [a["high"] for a in at], color=colour, alpha=0.2, linewidth=0)
    penalty.set_xscale("log")
    penalty.set(xlabel="penalty l2 (nats)", ylabel="log likelihood (nats per example)")
    penalty.legend(loc="lower center", frameon=False, fontsize=9, title="mean over splits, 95 %", title_fontsize=9)
    penalty.set_title("Too small a penalty learns to be certain", fontsize=10)

    trust.plot([1e-6, 0.5], [1e-6, 0.5], color=GREY, linewidth=1, linestyle=":")
    trust.text(0.0011, 0.0016, "calibrated", rotation=48, color="0.35", fontsize=9, ha="center", va="center")
    for name, label, colour, style, marker in (
        ("picked", "l2 picked on the hold-out", BLUE, "-", "o"),
        ("smallest_l2", f"l2 = {l2s[0]:g}", ORANGE, "--", "^"),
    ):
        _draw_trust(trust, splits[name], {"color": colour, "linestyle": style, "marker": marker, "label": label})
    trust.set(xlabel="probability of being wrong, as claimed", ylabel="share of test examples that are wrong")
    trust.set(xscale="log", yscale="log", xlim=(0.8e-6, 0.7), ylim=(LEAST, 1))
    trust.legend(loc="upper left", frameon=False, fontsize=9, title="95 %; arrows: upper limits", title_fontsize=9)
    trust.set_title("What the probabilities are worth", fontsize=10)
    return figure


def _draw_trust(ax: Any, at: dict[str, Any], look: dict[str, Any]) -> None:
    """Draw how often a model is wrong; where it may be never, an upper limit. Tumours count once, not predictions."""
    count, wrong, tumours, claimed = (np.array(at[k]) for k in ("count", "wrong", "tumours", "claimed"))
    share, claimed = wrong / count, np.maximum(claimed, 1e-6)
    low, high = scipy.stats.beta.ppf([[0.025], [0.975]], share * tumours + 0.5, (1 - share) * tumours + 0.5)  # Jeffreys
    limit = low < LEAST
    error = np.abs([share - np.minimum(low, share), np.maximum(high, share) - share])
    ax.errorbar(claimed[~limit], share[~limit], error[:, ~limit], **look, capsize=2, markersize=5)
    ax.errorbar(claimed[limit], high[limit], 0.6 * high[limit], uplims=True, fmt="none", color=look["color"])


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    at, concave, splits = report["solvers"], report["concave"], report["splits"]
    assert at["difference"] < 1e-5 * at["largest_w"], "scikit-learn finds the same w"
    assert at["gap"] <= 1e-9, "the maximum is proven to be at most 1e-9 nats above"
    assert abs(at["above_peer"]) < 1e-9, "the peer's value is the same"
    assert at["gradient_norm"][-1] < 1e-6 * at["gradient_norm"][0], "the gradient vanishes"
    assert abs(at["mean_p"] - at["share_of_ones"]) < 1e-5, "the mean probability is the share of ones"
    assert concave["linear"]["largest"] < ROUNDING, "no line is convex anywhere"
    assert concave["network"]["share_of_lines_with_positive"] > 0.5, "a network's are"
    assert splits["separated_without_penalty"] == report["config"]["num_splits"], "no maximum without a penalty"
    test = [value["mean"] for value in splits["value"]["test"]]
    assert max(test) > test[0] + 0.1, "the right penalty is worth more than 0.1 nats"
    assert splits["picked"]["calibration_error"]["mean"] < splits["perfect"]["most"], "as calibrated as can be seen"
    sure = splits["smallest_l2"]
    assert sure["calibration_error"]["mean"] > splits["perfect"]["most"], "next to no penalty is not calibrated"
    assert sure["wrong"][0] > 100 * sure["claimed"][0] * sure["count"][0], "it is wrong far more often than it claims"
