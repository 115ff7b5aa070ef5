"""What do 64 networks know together that one does not: more right answers, and better probabilities?

The networks differ by their initial parameters alone. An ensemble of M of them says P(y | x) = 1/M Σ_m P_m(y | x)
(Hansen & Salamon 1990; Lakshminarayanan, Pritzel & Blundell 2017). The 64 are paired, the pairs are paired, and so on,
which gives 64 ensembles of one network, 32 of two ... and one of 64. All read the 10,000 test images of MNIST; two
thousand others were learnt from, in two ways: stopped early, at the best log likelihood of a hold-out, and trained on
for a fixed number of epochs, until they no longer misread any.

    calibration error = Σ_b n_b/N |confidence_b - accuracy_b|      over 15 bins b of the largest probability (Guo 2017)

Expected, before the run: the logarithm is concave, so the log likelihood of an average is never below the average of
the log likelihoods (Jensen), whatever the networks; and its largest probability is never above the average of theirs.
So an ensemble is less sure than its members. Trained on, one network is far too sure: calibration error falls to a
third or less. Stopped early, it is about as sure as it is right: then the ensemble is not sure enough, and its
calibration error rises (Rahaman & Thiery 2021). Accuracy gains one to two points, most of it with eight networks.
Training 64 at once takes half the time of one after the other.

Found (data of seed 0, networks of seeds 2 to 65; standard deviations are over the ensembles of one size, so over
initial parameters alone: for 32 networks they are of two values, and for 64 there is none): the theorems hold. Accuracy
gains less than expected, 0.7 of a point stopped early (90.2 to 90.9 %) and 0.6 trained on (90.8 to 91.4 %), nearly all
of it with eight. The 64 stopped early have a higher log likelihood than the best of them; of those trained on, one
reads more digits right than all together. Calibration error of those stopped early rises as expected, from 1.0 to 1.6
%. Trained on, it falls from 5.6 to 3.7 %, not to a third: networks that learnt from the same examples are wrong
together, and 64 of them are still too sure, with a lower log likelihood than one that was stopped early (-0.388,
-0.352) though they read more digits right. Half the time was not reached: on two cores 64 at once take longer than one
after the other, probably for their parameters and moments leave the cache between two steps, as those of one do not.
The last panel has the seconds of the run shown, compiling included, and asserts nothing.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE, STYLES, new_figure
from experiments._report import finished, in_columns, track


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      data: "mnist" or "digits".
      num_train, num_hold_out: how many images are learnt from, and how many stop a run.
      hidden: units of the hidden layer.
      num_networks: a power of two.
      learning_rate, batch_size: of Adam.
      max_epochs, patience: of the runs that a hold-out stops.
      epochs: of those that are trained on.
      seed: of the split; the data order, which all networks share, has seed + 1, the initial parameters have seed + 2
        and the numbers after it.
    """

    data: str = "mnist"
    num_train: int = 2000
    num_hold_out: int = 1000
    hidden: int = 32
    num_networks: int = 64
    learning_rate: float = 3e-3
    batch_size: int = 50
    max_epochs: int = 50
    patience: int = 5
    epochs: int = 50
    seed: int = 0


QUICK = Config(data="digits", num_train=400, num_hold_out=200, hidden=16, num_networks=4, learning_rate=0.01, epochs=40)

FIGURES = ("accuracy", "log_likelihood", "calibration_error", "confidence")
WAYS = {"stopped": "stopped early", "trained_on": "trained on"}


def run(config: Config) -> dict[str, Any]:
    """Train all networks in both ways, at once and one after the other; evaluate the ensembles of every size."""
    train, hold_out, test = _parts(config)
    sizes = (train.num_features, config.hidden, train.schema.num_classes)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp(sizes, activation=jaxnn.relu), jaxnn.categorical)
    plan, order = jaxnn.MiniBatch(config.batch_size), config.seed + 1
    seeds = range(config.seed + 2, config.seed + 2 + config.num_networks)
    grid = {"learning_rate": config.learning_rate, "order": order, "seed": seeds}
    stops = {"plan": plan, "max_epochs": config.max_epochs, "patience": config.patience}

    start = time.perf_counter()
    stopped = finished(jaxnn.sweep(objective, optax.adam, train, hold_out, grid=grid, **stops))
    at_once = time.perf_counter() - start

    start = time.perf_counter()
    for seed in track(seeds, "one after the other"):
        params = objective.model.init(seed)
        finished(
            jaxnn.fit(
                objective, optax.adam, params, train, hold_out, learning_rate=config.learning_rate, key=order, **stops
            )
        )
    in_turn = time.perf_counter() - start

    trained_on = finished(jaxnn.sweep(objective, optax.adam, train, grid=grid, plan=plan, max_epochs=config.epochs))
    return {
        "num_test": len(test),
        "seconds": {"at_once": at_once, "in_turn": in_turn},
        "best_epochs": stopped.best_epoch,
        **{way: _of_every_size(runs, train, test) for way, runs in zip(WAYS, (stopped, trained_on), strict=True)},
    }


def _parts(config: Config) -> tuple[Any, Any, Any]:
    """Return what is learnt from, what stops a run, and the test part."""
    of_mnist = config.data == "mnist"
    everything = jaxnn.data.load("mnist", part="train") if of_mnist else jaxnn.data.load(config.data)
    shares = config.num_train / len(everything), config.num_hold_out / len(everything)
    train, hold_out, rest = jaxnn.data.split(everything, (*shares, 1 - sum(shares)), seed=config.seed)
    return train, hold_out, jaxnn.data.load("mnist", part="test") if of_mnist else rest


def _of_every_size(runs: Any, train: Any, test: Any) -> dict[str, Any]:
    """Return the figures of all ensembles of 1, 2, 4 ... networks, and the confidence bins of one and of all."""
    found = {}
    for size in track(2 ** np.arange(len(runs).bit_length()), "ensembles"):
        groups = np.arange(len(runs)).reshape(-1, size)
        found[int(size)] = [jaxnn.evaluate(*jaxnn.ensemble(runs, members), test) for members in groups]
    singles, (together,) = found[1], found[len(runs)]
    return {
        "train_accuracy": np.mean([jaxnn.evaluate(runs.objective, one.params, train).accuracy for one in runs]),
        "sizes": {
            size: {name: [_figures(of)[name] for of in evaluations] for name in FIGURES}
            for size, evaluations in found.items()
        },
        "bins": {"one": sum(singles[1:], singles[0]).bins, "together": together.bins},
    }


def _figures(found: jaxnn.Evaluation) -> dict[str, float]:
    """Return the figures of one ensemble; confidence is the mean of its largest probabilities."""
    figures = {name: getattr(found, name) for name in FIGURES[:-1]}
    return figures | {"confidence": float(found.bins[:, 1].sum() / found.weight)}


def _mean(report: dict[str, Any], way: str, size: int, name: str) -> float:
    return float(np.mean(report[way]["sizes"][str(size)][name]))


def table(report: dict[str, Any]) -> str:
    """Return the figures of ensembles of every size, mean and standard deviation over those of one size."""
    rows = [["ensembles", "accuracy", "log likelihood", "calibration error", "confidence - accuracy"]]
    for way, name in WAYS.items():
        for size, figures in report[way]["sizes"].items():
            cells = []
            for figure in FIGURES[:-1]:
                spread = f" ± {np.std(figures[figure], ddof=1):.4f}" if len(figures[figure]) > 1 else " " * 9
                cells.append(f"{np.mean(figures[figure]):.4f}{spread}")
            gap = np.mean(figures["confidence"]) - np.mean(figures["accuracy"])
            rows.append([f"{len(figures['accuracy']):>2} of {size:>2}, {name}", *cells, f"{gap:+.4f}"])
    seconds, best = report["seconds"], report["best_epochs"]
    return (
        f"{in_columns(rows)}\nstopped at epochs {min(best)} to {max(best)}; trained on, a network reads "
        f"{report['trained_on']['train_accuracy']:.2%} of the training images right\n"
        f"stopped early, all at once {seconds['at_once']:.1f} s, one after the other {seconds['in_turn']:.1f} s"
    )


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    count = report["config"]["num_networks"]

    def change(way: str, name: str, form: str) -> str:
        return f"{_mean(report, way, 1, name):{form}} to {_mean(report, way, count, name):{form}}"

    return (
        f"From one network to {count}, accuracy goes from {change('trained_on', 'accuracy', '.1%')} and log likelihood "
        f"from {change('trained_on', 'log_likelihood', '.3f')} where they are trained on "
        f"({change('stopped', 'accuracy', '.1%')} and {change('stopped', 'log_likelihood', '.3f')} where they are "
        f"stopped early), but calibration error from {change('trained_on', 'calibration_error', '.1%')} in the "
        f"one case and from {change('stopped', 'calibration_error', '.1%')} in the other."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: error, log likelihood and calibration error by size, reliability, and the two times."""
    figure, ((error, value, calibration), (early, late, times)) = new_figure(10.5, 6.6, 2, 3)
    percent = {"accuracy": lambda a: 100 * (1 - a), "calibration_error": lambda a: 100 * a}
    for ax, name, label in (
        (error, "accuracy", "test error (%)"),
        (value, "log_likelihood", "log likelihood (nats per example)"),
        (calibration, "calibration_error", "calibration error (%)"),
    ):
        for (way, words), style, aside in zip(WAYS.items(), STYLES, (1, 1.06), strict=False):
            by_size = report[way]["sizes"]
            figures = [percent.get(name, np.asarray)(np.array(of[name])) for of in by_size.values()]
            mean, spread = [a.mean() for a in figures], [a.std(ddof=1) if len(a) > 1 else 0 for a in figures]
            at = [aside * int(size) for size in by_size]  # so that one spread does not hide the other
            ax.errorbar(at, mean, spread, label=words, capsize=3, markersize=5, **style)
        ax.set_xscale("log", base=2)
        ax.set_xticks([int(size) for size in by_size], list(by_size))
        ax.set_xticks([], minor=True)
        ax.set_xlabel("networks in the ensemble")
        ax.set_ylabel(label)
    error.legend(frameon=False, fontsize=9)
    count = report["config"]["num_networks"]
    over = f"the ensembles of one size (of {count // 2} networks there are two, of {count} one)"
    figure.suptitle(f"Mean and standard deviation over {over}", x=0.01, ha="left", fontsize=10)
    for ax, (way, words) in zip((early, late), WAYS.items(), strict=True):
        _draw_reliability(ax, report, way)
        ax.set_title(f"{words.capitalize()}: is it as right as it is sure?", fontsize=10, loc="left")
    seen = [ax.dataLim.get_points() for ax in (early, late)]
    low, high = np.min(seen, axis=0)[0], np.max(seen, axis=0)[1]
    for ax in (early, late):
        ax.set_xlim(low[0] - 3, high[0] + 3)
        ax.set_ylim(low[1] - 4, high[1] + 4)
        for y, words, va in ((low[1] - 3, "too sure", "bottom"), (high[1] + 3, "not sure enough", "top")):
            ax.text(low[0], y, words, fontsize=9, color="0.4", va=va)
    late.legend(frameon=False, fontsize=9)
    _draw_times(times, report)
    return figure


def _draw_reliability(ax: Any, report: dict[str, Any], way: str) -> None:
    """Show how far the accuracy is above the confidence, in every bin that holds a hundredth of the images."""
    ax.axhline(0, color=GREY, linewidth=1)
    for which, words, color, marker, line in (
        ("one", "one network", DARK, "o", "-"),
        ("together", f"all {report['config']['num_networks']} together", ORANGE, "^", "--"),
    ):
        weight, confidence, correct = np.array(report[way]["bins"][which]).T
        weight, confidence, correct = (a[weight / weight.sum() >= 0.01] for a in (weight, confidence, correct))
        gap = 100 * (correct - confidence) / weight
        ax.plot(100 * confidence / weight, gap, line, color=color, marker=marker, label=words)
    ax.set_xlabel("confidence (%), in bins")
    ax.set_ylabel("accuracy - confidence (% points)")


def _draw_times(ax: Any, report: dict[str, Any]) -> None:
    """Show what training the networks that are stopped early takes, compiling included."""
    count, seconds = report["config"]["num_networks"], report["seconds"]
    names = (f"{count} at once\n(sweep)", "one by one\n(fit)")
    bars = ax.bar(names, [seconds["at_once"], seconds["in_turn"]], color=(BLUE, GREY), width=0.5)
    ax.bar_label(bars, fmt="%.1f s", padding=3, fontsize=9)
    ax.set_ylim(0, 1.12 * max(seconds.values()))
    ax.set_ylabel("seconds, compiling included")
    ax.set_title(f"Training {count} networks, stopped early", fontsize=10, loc="left")


def check(report: dict[str, Any]) -> None:
    """Assert the two theorems of averages, and on MNIST what was found; on digits that accuracy gains."""
    count = report["config"]["num_networks"]
    sizes = 2 ** np.arange(count.bit_length())
    one, all_of = ({way: {f: _mean(report, way, m, f) for f in FIGURES} for way in WAYS} for m in (1, count))
    for way in WAYS:
        values, sure = ([_mean(report, way, m, name) for m in sizes] for name in ("log_likelihood", "confidence"))
        assert np.all(np.diff(values) > -1e-5), "the log likelihood of an average is at least the average"
        assert np.all(np.diff(sure) < 1e-5), "an average is at most as sure as its members"
        assert all_of[way]["accuracy"] > one[way]["accuracy"], "an ensemble reads more digits right"
    if report["config"]["data"] == "digits":
        return
    singles = report["stopped"]["sizes"]["1"]
    assert all_of["stopped"]["log_likelihood"] > max(singles["log_likelihood"]), "together better than the best"
    assert all_of["stopped"]["calibration_error"] > one["stopped"]["calibration_error"], "those stopped are too unsure"
    falls = all_of["trained_on"]["calibration_error"] / one["trained_on"]["calibration_error"]
    assert 1 / 3 < falls < 0.8, "calibration of those trained on is mended in part"
    assert all_of["trained_on"]["log_likelihood"] < one["stopped"]["log_likelihood"], "stopping helps more than company"
    assert all_of["trained_on"]["accuracy"] > all_of["stopped"]["accuracy"], "though those trained on read better"
