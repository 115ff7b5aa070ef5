"""How large should a step be? Forty learning rates by eight seeds, the edge of divergence, and the rule of 0.1 to 1 %.

A network 64-32-10 of ReLUs reads the digits, by stochastic gradient ascent and by Adam (Kingma and Ba 2015), in
mini-batches. The runs of one optimiser are one program, `jaxnn.sweep`; each has early stopping's best epoch on the
hold-out. A rule of thumb says that the updates of a good rate are 0.1 to 1 % of the weights,

    0.001 <= |update| / |w| <= 0.01

(the notes of Stanford's course CS231n name 0.001). It is measured at the last step of every epoch; a rate has
the median over epochs and seeds. A rate is called good if none of its runs was lost and its mean hold-out log
likelihood is within 0.05 nats of the best mean; the 0.05 was fixed before the run.

Expected, before the run: a hill. Small rates have not arrived after 30 epochs, good ones span about a decade, and the
edge of divergence is less than a factor of 10 above the best rate. All good rates of both optimisers are in the band of
the rule, and at least half of the rates in the band are good.

Found (seeds 1 to 8): the hill, yes; as for the rule, it fails. The good rates of stochastic gradient ascent span a
decade, 0.084 to 0.89, and only the smallest of the nine has updates below 1 %; the best moves the weights by 1.4 % a
step. Adam's eleven good rates span a decade and a half and are all in the band. But being there promises little: of the
45 rates in the band (both optimisers) 12 are good. The others are too small, or so large that the weights have grown
huge, of which an update is a small part again (plain ascent at 12.7: |w| from 7 to 825, the median of the seeds). The
edge is a factor of 1.8 above the best rate, of Adam some tens. And no run "diverges" as a number that overflows would:
the slope of log softmax is bounded, so the weights are thrown far out instead, and runs end near where they began, or
below. A run is therefore called lost if it diverged or if its last epoch is below its first.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, DARK, GREY, PALE, new_figure
from experiments._report import finished, in_columns

OPTIMISERS = {"sgd": optax.sgd, "adam": optax.adam}
BAND = (1e-3, 1e-2)  # of |update| / |w|, the rule of thumb
GOOD = 0.05  # nats below the best mean


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      hidden: units of the hidden layer.
      batch_size, max_epochs: of every run.
      num_rates: how many rates, evenly spaced on a logarithmic scale.
      sgd_rates, adam_rates: the smallest and the largest of them.
      num_seeds: initial parameters for each rate.
      seed: of the split; the initial parameters have seed + 1, seed + 2 ..., the data order seed + 1000.
    """

    hidden: int = 32
    batch_size: int = 32
    max_epochs: int = 30
    num_rates: int = 40
    sgd_rates: tuple[float, float] = (1e-3, 100.0)
    adam_rates: tuple[float, float] = (1e-5, 10.0)
    num_seeds: int = 8
    seed: int = 0


QUICK = Config(hidden=16, max_epochs=10, num_rates=10, num_seeds=2)


def run(config: Config) -> dict[str, Any]:
    """Sweep the rates of both optimisers."""
    train, hold_out = jaxnn.data.split(jaxnn.data.load("digits"), (0.7, 0.3), seed=config.seed)
    network = jaxnn.Mlp((64, config.hidden, 10), activation=jaxnn.relu)
    objective = jaxnn.LogLikelihood(network, jaxnn.categorical)
    return {name: _hill(config, objective, name, train, hold_out) for name in OPTIMISERS}


def _hill(config: Config, objective: Any, name: str, train: Any, hold_out: Any) -> dict[str, Any]:
    """Return what every rate of one optimiser reached."""
    rates = np.geomspace(*getattr(config, f"{name}_rates"), config.num_rates)
    grid = {
        "learning_rate": rates.tolist(),
        "seed": [config.seed + 1 + i for i in range(config.num_seeds)],
        "order": [config.seed + 1000],
    }
    runs = finished(
        jaxnn.sweep(
            objective,
            OPTIMISERS[name],
            train,
            hold_out,
            grid=grid,
            plan=jaxnn.MiniBatch(config.batch_size),
            max_epochs=config.max_epochs,
            patience=None,
        )
    )
    found = jaxnn.verdict(runs)
    means, ratios = (np.array([getattr(rate, key) for rate in found.rates]) for key in ("mean", "update_ratio"))
    shape = config.num_rates, config.num_seeds  # of the grid the last names change fastest
    begin, end = (runs.history.hold_out_log_likelihood[:, epoch] for epoch in (0, -1))
    lost = (~runs.ended_well | ~(end >= begin)).reshape(shape).sum(axis=1)
    best = [rate.learning_rate for rate in found.rates].index(found.recommended)
    good = (lost == 0) & (means >= means[best] - GOOD)
    inside = (ratios >= BAND[0]) & (ratios <= BAND[1])
    hill = {
        "learning_rate": rates,
        "value": runs.value.reshape(shape),
        "start": float(begin.mean()),
        "mean": means,
        "spread": [rate.spread for rate in found.rates],
        "diverged": [rate.diverged for rate in found.rates],
        "lost": lost,
        "update_ratio": ratios,
        "good": good,
        "inside": inside,
        "best": best,
        "edge": rates[lost > 0].min() if lost.any() else np.nan,
        "accuracy": float(runs.accuracy[runs.where(learning_rate=found.recommended)].mean()),
        "verdict": found.why,
    }
    if name == "sgd":  # an update is α g, so |w| at the last step is α |g| over the ratio
        g, ratio = (np.asarray(a, float)[:, -1] for a in (runs.history.gradient_norm, runs.history.update_ratio))
        hill["norm"] = rates * np.median((g / ratio).reshape(shape), axis=1)
        leaves = jax.tree.leaves(objective.model.init(config.seed + 1))
        hill["norm_at_start"] = float(np.sqrt(sum(np.sum(np.square(leaf)) for leaf in leaves)))
    return hill


def table(report: dict[str, Any]) -> str:
    """Return a row for every second rate of each optimiser."""
    rows = [["learning rate", "diverged", "lost", "hold-out log likelihood", "spread", "update / w (%)", ""]]
    for name in OPTIMISERS:
        hill = report[name]
        rows += [[name, "", "", "", "", "", ""]]
        for i, rate in enumerate(hill["learning_rate"]):
            said = "best" if i == hill["best"] else "good" if hill["good"][i] else ""
            figures = [hill["mean"][i], hill["spread"][i], hill["update_ratio"][i]]
            mean, spread, ratio = (np.nan if figure is None else figure for figure in figures)
            rows.append(
                [f"{rate:.3g}", f"{hill['diverged'][i]}", f"{hill['lost'][i]}", mean, spread, 100 * ratio, said]
            )
    return in_columns(rows)


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    hills = {name: report[name] for name in OPTIMISERS}
    best = {name: hill["learning_rate"][hill["best"]] for name, hill in hills.items()}
    good = {name: sum(hill["good"]) for name, hill in hills.items()}
    good_inside = {name: _both(hill["good"], hill["inside"]) for name, hill in hills.items()}
    inside = sum(sum(hill["inside"]) for hill in hills.values())
    return (
        f"By trial, below the edge: plain ascent is best at {best['sgd']:.2g} and loses runs from "
        f"{hills['sgd']['edge']:.2g} on, Adam at {best['adam']:.2g} and from {hills['adam']['edge']:.2g} on; updates "
        f"of 0.1 to 1 % of the weights have {good_inside['adam']} of Adam's {good['adam']} good rates, but only "
        f"{good_inside['sgd']} of the {good['sgd']} of plain ascent, and of the {inside} rates with such updates "
        f"{sum(good_inside.values())} are good."
    )


def _both(a: list[bool], b: list[bool]) -> int:
    return sum(x and y for x, y in zip(a, b, strict=True))


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: the hill of each optimiser above, the size of its updates below."""
    figure, axes = new_figure(10, 6.2, 2, 2, sharex="col", height_ratios=(1.7, 1))
    for (top, bottom), name, title in zip(axes.T, OPTIMISERS, ("Stochastic gradient ascent", "Adam"), strict=True):
        hill = report[name]
        rate, value, mean, ratio = (
            np.array(hill[key], float) for key in ("learning_rate", "value", "mean", "update_ratio")
        )
        good, best = np.array(hill["good"]), hill["best"]
        for ax in (top, bottom):
            ax.axvspan(rate[good].min() / 1.1, rate[good].max() * 1.1, color=PALE, linewidth=0, label="good rates")
            if hill["edge"] is not None:
                ax.axvline(hill["edge"], color=DARK, linestyle=":", linewidth=1.2, label="first runs lost")
        top.plot(rate, value, "o", color=GREY, markersize=3, markerfacecolor="none", linestyle="none")
        top.plot([], [], "o", color=GREY, markersize=3, markerfacecolor="none", linestyle="none", label="a run")
        top.plot(rate, mean, color=BLUE, linewidth=1.8, label="mean")
        top.plot(rate[best], mean[best], "*", color=DARK, markersize=12, label="best")
        top.annotate(
            f"{rate[best]:.2g}", (rate[best], mean[best]), (0, -16), textcoords="offset points", ha="center", fontsize=9
        )
        top.set_title(title, fontsize=10)
        bottom.axhspan(*BAND, facecolor="none", edgecolor=GREY, hatch="//", linewidth=0.5)
        bottom.plot(rate, ratio, color=BLUE, linewidth=1.8)
        bottom.plot(rate[best], ratio[best], "*", color=DARK, markersize=12)
        bottom.set_xscale("log")
        bottom.set_yscale("log")
        bottom.set_xlabel("learning rate")
    axes[0, 0].set_ylabel("hold-out log likelihood\n(nats per example, best epoch)")
    axes[1, 0].set_ylabel("|update| / |w|\n(hatched: 0.1 to 1 %)")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="lower left", bbox_to_anchor=(0.24, 0))
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert the hill and its edge, and how the rule of thumb fares."""
    for name in OPTIMISERS:
        hill = report[name]
        mean, best, rate = np.array(hill["mean"], float), hill["best"], hill["learning_rate"]
        assert np.nanmax(mean[[0, -1]]) < mean[best] - 1, f"{name}: a hill, more than a nat above both its feet"
        assert rate[best] < hill["edge"], f"{name}: runs are lost above the best rate"
        assert hill["lost"][-1] == report["config"]["num_seeds"], f"{name}: all of them at the largest"
        assert _both(hill["good"], hill["inside"]) < sum(hill["inside"]) / 2, f"{name}: most rates in the band are bad"
    adam, sgd = report["adam"], report["sgd"]
    assert all(inside for inside, good in zip(adam["inside"], adam["good"], strict=True) if good), "Adam keeps the rule"
    assert sgd["update_ratio"][sgd["best"]] > BAND[1], "the best rate of plain ascent breaks the rule"
