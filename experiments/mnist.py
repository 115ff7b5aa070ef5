"""How well do layers of growing depth read MNIST, at what price, and which images does every network get wrong?

Softmax regression, P(y | x; w) = softmax(x W + b), one hidden layer, 784-128-10, and three of them climb the mean log
likelihood of 55,000 images by Adam (Kingma & Ba 2015) on mini-batches; 5,000 others pick the epoch. Everything is done
for five seeds: each has a hold-out, initial parameters and a data order of its own. The 10,000 test images (LeCun,
Bottou, Bengio & Haffner 1998) are read once, at the end.

Expected, before the run: 0.925 to 0.928 for softmax regression, 0.976 to 0.978 for one hidden layer (0.9268 and 0.9770
in up to 20 epochs, benchmarks/mnist_accuracy.py), 0.978 to 0.981 for three, their interval above that of one. An epoch
costs as the number of parameters, 1 : 13 : 17, softmax regression somewhat more than that. Mistakes are of a few pairs:
4 and 9, 7 and 2, 3 and 5. Networks of the same sizes share them: at least a third of those of one network are made
by all five, and with great confidence.

Found (seeds 0, 3, 6, 9, 12; up to 20 epochs, since of 10, the first design, one hidden layer took all): softmax
regression 0.9272 and one hidden layer 0.9778, as expected, which leaves fewer than a third of the errors. Three are no
better: 0.9759, best at epochs 4 to 8 where one is at 10 to 14, so the limit of epochs does not decide. The difference,
-0.0019, has the interval -0.0045 to +0.0007. Intervals are over hold-out, initial parameters and order, for these test
images. Epochs cost about 1 : 5 : 5 (two cores), so it is not the parameters that are paid for. The pairs are those
expected; the ten most frequent of 90 mistakes make up 36 %. What all five seeds misread is 87 % of one network's
mistakes without a hidden layer, 43 % with one, and 24 % with three, which is below the expected third; 38 images are
misread by all fifteen runs.
"""

import itertools
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

import jaxnn
from experiments._figure import DARK, GREY, STYLES, grey, show_image
from experiments._report import finished, in_columns, interval, track


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      data: "mnist" or "digits".
      hidden_layers: how many, of each network.
      width: units of a hidden layer.
      max_epochs, patience, learning_rate, batch_size: of Adam.
      num_seeds: repetitions.
      seed: of the hold-out; the initial parameters have seed + 1, the data order seed + 2, and the next repetition
        begins at seed + 3.
      shown: how many misread images are shown.
    """

    data: str = "mnist"
    hidden_layers: tuple[int, ...] = (0, 1, 3)
    width: int = 128
    max_epochs: int = 20
    patience: int = 3
    learning_rate: float = 1e-3
    batch_size: int = 128
    num_seeds: int = 5
    seed: int = 0
    shown: int = 16


QUICK = Config(
    data="digits",
    hidden_layers=(0, 1),
    width=32,
    max_epochs=10,
    learning_rate=5e-3,
    batch_size=32,
    num_seeds=2,
    shown=8,
)

BENCHMARKS = (0.9268, 0.9770)  # softmax regression and one hidden layer, up to 20 epochs: benchmarks/mnist_accuracy.py


def run(config: Config) -> dict[str, Any]:
    """Train every network on every seed; count what they misread."""
    if config.data == "mnist":
        everything, test = (jaxnn.data.load("mnist", part=part) for part in ("train", "test"))
    else:
        everything, test = jaxnn.data.split(jaxnn.data.load(config.data), (0.7, 0.3), seed=config.seed)
    runs = [[] for _ in config.hidden_layers]
    for seed in track(range(config.seed, config.seed + 3 * config.num_seeds, 3), "seeds"):
        train, hold_out = jaxnn.data.split(everything, (11 / 12, 1 / 12), seed=seed)
        for of_network, layers in zip(runs, config.hidden_layers, strict=True):
            of_network.append(_one_run(config, layers, seed, train, hold_out, test))

    x, y = np.asarray(test.batch.x), np.asarray(test.batch.y)
    p = np.array([[one["p"] for one in of_network] for of_network in runs])  # [networks, seeds, N, K]
    wrong = p.argmax(-1) != y
    deepest = p[-1].mean(axis=0)  # what the seeds say on average
    read_as = deepest.argmax(-1)
    always = np.flatnonzero(wrong[-1].all(axis=0) & (read_as != y))
    shown = always[np.argsort(-deepest[always, read_as[always]], kind="stable")][: config.shown]
    return {
        "num_test": len(y),
        "networks": [_of_network(of_network, misread) for of_network, misread in zip(runs, wrong, strict=True)],
        "gains": [
            interval([deep["accuracy"] - flat["accuracy"] for flat, deep in zip(*pair, strict=True)])
            for pair in itertools.pairwise(runs)
        ],
        "wrong_by_all_networks": int(wrong.all(axis=(0, 1)).sum()),
        "confusion": sum(one["confusion"] for one in runs[-1]),
        "shown": {
            "test_index": shown,
            "label": y[shown],
            "read_as": read_as[shown],
            "probability": deepest[shown, read_as[shown]],
            "image": grey(x[shown]),
        },
    }


def _one_run(config: Config, layers: int, seed: int, train: Any, hold_out: Any, test: Any) -> dict[str, Any]:
    """Train one network with one seed, and return what it makes of the test images."""
    sizes = (train.num_features, *(config.width,) * layers, train.schema.num_classes)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp(sizes, activation=jaxnn.relu), jaxnn.categorical)
    params = objective.model.init(seed + 1)
    result = finished(
        jaxnn.fit(
            objective,
            optax.adam,
            params,
            train,
            hold_out,
            plan=jaxnn.MiniBatch(config.batch_size),
            max_epochs=config.max_epochs,
            patience=config.patience,
            key=seed + 2,
            learning_rate=config.learning_rate,
        )
    )
    found = jaxnn.evaluate(objective, result.params, test)
    return {
        "name": "-".join(map(str, sizes)),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
        "accuracy": found.accuracy,
        "log_likelihood": found.log_likelihood,
        "confusion": found.confusion,
        "best_epoch": result.best_epoch,
        # The first epoch compiles.
        "seconds_per_epoch": float(np.median(np.diff(result.history.seconds)[1:])),
        "hold_out_accuracy": np.asarray(result.history.hold_out_accuracy, float),
        "p": np.asarray(jaxnn.predict_proba(objective, result.params, test)),
    }


def _of_network(runs: list[dict[str, Any]], wrong: np.ndarray) -> dict[str, Any]:
    """Return the figures of one network over its seeds; `wrong` is `bool[seeds, N]`.

    Intervals are over hold-out, initial parameters and data order, for these test images: every seed reads the same.
    """
    return {
        "name": runs[0]["name"],
        "parameters": runs[0]["parameters"],
        "accuracies": [one["accuracy"] for one in runs],
        "accuracy": interval(one["accuracy"] for one in runs),
        "log_likelihood": interval(one["log_likelihood"] for one in runs),
        "best_epochs": [one["best_epoch"] for one in runs],
        "seconds_per_epoch": float(np.median([one["seconds_per_epoch"] for one in runs])),
        "hold_out_accuracies": [one["hold_out_accuracy"] for one in runs],
        "wrong_on_average": float(wrong.sum(axis=1).mean()),
        "wrong_ever": int(wrong.any(axis=0).sum()),
        "wrong_always": int(wrong.all(axis=0).sum()),
    }


def _mistakes(report: dict[str, Any]) -> list[tuple[float, int, int]]:
    """Return the mistakes of the deepest network, the most frequent first: how many a run, the digit, what it reads."""
    counts = np.array(report["confusion"]) / report["config"]["num_seeds"]
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")
    return [(float(counts.flat[k]), *divmod(int(k), len(counts))) for k in order if counts.flat[k]]


def _share_of_top(report: dict[str, Any], count: int = 10) -> float:
    """Return the share of all mistakes that are one of the most frequent."""
    often = [mistake[0] for mistake in _mistakes(report)]
    return sum(often[:count]) / sum(often)


def _span(epochs: list[int]) -> str:
    return f"{min(epochs)} to {max(epochs)}"


def table(report: dict[str, Any]) -> str:
    """Return accuracy, log likelihood, time and shared mistakes of each network."""
    rows = [
        [
            "network",
            "parameters",
            "accuracy",
            "95 %",
            "log likelihood",
            "best epochs",
            "s/epoch",
            "misread",
            "by all seeds",
        ]
    ]
    for of in report["networks"]:
        accuracy = of["accuracy"]
        rows.append(
            [
                of["name"],
                f"{of['parameters']:,}",
                f"{accuracy['mean']:.4f}",
                f"{accuracy['low']:.4f}..{accuracy['high']:.4f}",
                f"{of['log_likelihood']['mean']:.4f}",
                _span(of["best_epochs"]),
                f"{of['seconds_per_epoch']:.2f}",
                f"{of['wrong_on_average']:.0f}",
                str(of["wrong_always"]),
            ]
        )
    often = ", ".join(f"{label} as {read} ({count:.0f})" for count, label, read in _mistakes(report)[:6])
    gains = ", ".join(f"{g['mean']:+.4f} ({g['low']:+.4f}..{g['high']:+.4f})" for g in report["gains"])
    return (
        f"{in_columns(rows)}\ngains of each network over the one above: {gains}\n"
        f"the deepest misreads {often}; the ten most frequent mistakes are {_share_of_top(report):.0%} of all; "
        f"{report['wrong_by_all_networks']} images are misread by every run of every network"
    )


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    networks = ", ".join(
        f"{of['name']} reads {of['accuracy']['mean']:.2%} right "
        f"(±{(of['accuracy']['high'] - of['accuracy']['mean']):.2%}; best at epochs {_span(of['best_epochs'])}, "
        f"{of['seconds_per_epoch']:.2g} s each)"
        for of in report["networks"]
    )
    deepest = report["networks"][-1]
    _, label, read = _mistakes(report)[0]
    return (
        f"On average over {report['config']['num_seeds']} seeds, {networks}; of the {deepest['wrong_on_average']:.0f} "
        f"images that a run of the last misreads, {deepest['wrong_always']} are misread by every seed, and no digit is "
        f"taken for another as often as {label} for {read}."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: test errors, learning curves, the confusion of the deepest network, and what it misreads."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10.5, 7.3), layout="constrained")
    top, bottom = figure.subfigures(2, 1, height_ratios=(1.25, 1))
    errors, curves, confusion = top.subplots(1, 3, width_ratios=(1.25, 1, 1.1))
    for ax in (errors, curves):
        ax.spines[["top", "right"]].set_visible(False)
    _draw_errors(errors, report["networks"])
    _draw_curves(curves, report["networks"])
    _draw_confusion(confusion, report)

    at = report["shown"]
    columns = 8
    bottom.suptitle(
        f"Misread by every seed of {report['networks'][-1]['name']}, those it is surest of first (P: mean over seeds)",
        x=0.01,
        ha="left",
        fontsize=10,
    )
    axes = bottom.subplots(-(-len(at["label"]) // columns) or 1, columns, squeeze=False)
    for ax in axes.flat:
        ax.set_axis_off()
    for ax, image, label, read, p in zip(
        axes.flat, at["image"], at["label"], at["read_as"], at["probability"], strict=False
    ):
        show_image(ax, image, f"{label} read as {read}\nP = {p:.3f}", vmin=0, vmax=255)
    return figure


def _draw_errors(ax: Any, networks: list[dict[str, Any]]) -> None:
    """Show every seed's test error, and the interval of their mean."""
    for i, (of, style) in enumerate(zip(networks, STYLES, strict=False)):
        mean, half = of["accuracy"]["mean"], of["accuracy"]["high"] - of["accuracy"]["mean"]
        seeds = 100 * (1 - np.array(of["accuracies"]))
        ax.plot(np.full(len(seeds), i), seeds, "o", color=GREY, markersize=4, fillstyle="none", clip_on=False)
        ax.errorbar(
            i + 0.18, 100 * (1 - mean), 100 * half, color=style["color"], marker=style["marker"], capsize=4, zorder=3
        )
        ax.annotate(
            f"{100 * (1 - mean):.2f} ± {100 * half:.2f} %\n{of['seconds_per_epoch']:.2g} s an epoch",
            (i + 0.09, max(100 * (1 - mean + half), seeds.max())),
            xytext=(0, 6),
            textcoords="offset points",
            ha="center",
            fontsize=8,
        )
    ax.set_xticks(range(len(networks)), [_in_two(of["name"]) for of in networks], fontsize=8)
    ax.set_xlim(-0.5, len(networks) - 0.3)
    ax.set_ylim(0, ax.get_ylim()[1] * 1.12)
    ax.set_ylabel("test error (%)")
    ax.set_title("Each seed, and the mean's 95 % interval", fontsize=10, loc="left")


def _in_two(name: str) -> str:
    """Return a long name in two lines."""
    parts = name.split("-")
    return name if len(parts) < 4 else "-".join(parts[: len(parts) // 2]) + "-\n" + "-".join(parts[len(parts) // 2 :])


def _draw_curves(ax: Any, networks: list[dict[str, Any]]) -> None:
    """Show the error of every seed on its hold-out after each epoch, and their mean while none has stopped."""
    for of, style in zip(networks, STYLES, strict=False):
        seeds = [100 * (1 - np.array(accuracy)) for accuracy in of["hold_out_accuracies"]]
        for error in seeds:
            ax.plot(np.arange(1, len(error)), error[1:], color=style["color"], linewidth=0.7, alpha=0.45)
        mean = np.mean([error[: min(map(len, seeds))] for error in seeds], axis=0)
        ax.plot(np.arange(1, len(mean)), mean[1:], label=of["name"], markersize=4, **style)
    ax.set_yscale("log")
    ticks = [1, 2, 3, 5, 10, 20, 50]
    ax.set_yticks(ticks, map(str, ticks))
    ax.set_yticks([], minor=True)
    seen = np.concatenate([100 * (1 - np.array(a[1:])) for of in networks for a in of["hold_out_accuracies"]])
    ax.set_ylim(0.85 * seen.min(), 1.15 * seen.max())
    ax.set_xlabel("epoch")
    ax.set_ylabel("hold-out error (%), logarithmic")
    ax.legend(frameon=False, fontsize=8)
    ax.set_title("Each seed; the mean until the first stops", fontsize=10, loc="left")


def _draw_confusion(ax: Any, report: dict[str, Any]) -> None:
    """Show how many images of a digit the deepest network reads as another, on average over seeds."""
    counts = np.array(report["confusion"]) / report["config"]["num_seeds"]
    np.fill_diagonal(counts, 0)
    ax.imshow(
        np.sqrt(counts), cmap="Greys", vmin=0, vmax=1.25 * counts.max() ** 0.5
    )  # the root: rare ones stay visible
    for (label, read), count in np.ndenumerate(counts):
        if round(count):
            color = "white" if count > 0.45 * counts.max() else DARK
            ax.text(read, label, f"{count:.0f}", ha="center", va="center", fontsize=8, color=color)
    ax.set_xticks(range(len(counts)))
    ax.set_yticks(range(len(counts)))
    ax.tick_params(length=0)
    ax.set_xlabel("read as")
    ax.set_ylabel("label")
    ax.set_title("Misread by the deepest, images a run", fontsize=10, loc="left")


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found: all of it on MNIST, on digits that mistakes are shared."""
    networks, shown = report["networks"], report["shown"]
    assert all(of["wrong_always"] > 0.15 * of["wrong_on_average"] for of in networks), "seeds share their mistakes"
    assert all(label != read for label, read in zip(shown["label"], shown["read_as"], strict=True)), "all are misread"
    assert networks[1]["accuracy"]["mean"] > networks[0]["accuracy"]["mean"], "a hidden layer reads better than none"
    if report["config"]["data"] == "digits":
        return
    for of, benchmark in zip(networks, BENCHMARKS, strict=False):
        assert abs(of["accuracy"]["mean"] - benchmark) < 0.002, f"{of['name']} reads as well as in the benchmark"
    hidden, depth = report["gains"]
    errors = [1 - of["accuracy"]["mean"] for of in networks]
    assert hidden["low"] > 0 and errors[1] < errors[0] / 3, "a hidden layer saves two mistakes in three"
    assert depth["low"] < 0, "three hidden layers are not surely better than one"
    assert _share_of_top(report) > 0.3, "ten of the 90 mistakes make up a third"
    assert shown["probability"][0] > 0.99, "some mistakes are made with great confidence"
