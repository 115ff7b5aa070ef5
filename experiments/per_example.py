"""Which examples shape the model? The digits with the largest gradients, and the training images behind one mistake.

A network 784-128-10 learns MNIST (or the smaller digits). Then g_i = ∇ log P(y_i | x_i; w) of every training image is
asked for its norm, and its inner product with the gradient of the test image that the network gets most wrong.

Expected, before the run: the ten largest gradients belong to images the network still reads as another digit, many of
them mislabelled or hard for people, too. The images that would help the mistake most carry its true label, those that
would hurt it most the label it was mistaken for.

Expected, before the second run (it adds the noise scale tr(Σ) / |G|² of McCandlish, Kaplan & Amodei 2018, and seeds):
through training the noise scale rises, at least tenfold, since the mean G of the gradients vanishes and their variance
Σ does not. The median norm falls, and the largest rises. The share of the one percent largest differs little by seed.

Found (MNIST, seeds 0, 3, 6; a first design had one seed and no noise scale): all thirty of the largest are misread, and
25 of the 27 images that would help most carry the true label. Those that hurt most never do, but of one seed more than
half are of a second digit that looks like it, not of the one the mistake was read as. The median over seeds of the
noise scale is 53 examples before training and 830 after one epoch; later it wanders between 670 and 6,700, for |G|² is
then too small to be told well from 2,048 images. The median norm falls from 12 to 0.04. The largest of the 2,048 hardly
rises, from 20 to 24. The share of the one percent largest is 55 %, interval 54 to 57 over hold-out, initial
parameters and order. On the smaller digits, with mistakes that are closer calls, neither ranking is so pure.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, DARK, ORANGE, grey, show_image
from experiments._report import finished, in_columns, interval, track
from jaxnn import per_example


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      data: "mnist" or "digits".
      hidden: units of the hidden layer.
      max_epochs, learning_rate, batch_size: of Adam.
      num_seeds: repetitions; the images shown are those of the first.
      seed: of the hold-out; the initial parameters have seed + 1, the data order seed + 2, and the next repetition
        begins at seed + 3.
      largest: how many of the largest gradients are shown.
      top: how many training images at each end of the ranking.
    """

    data: str = "mnist"
    hidden: int = 128
    max_epochs: int = 8
    learning_rate: float = 1e-3
    batch_size: int = 128
    num_seeds: int = 3
    seed: int = 0
    largest: int = 10
    top: int = 9


QUICK = Config(
    data="digits", hidden=16, max_epochs=12, learning_rate=5e-3, batch_size=32, largest=5, top=4, num_seeds=2
)


def run(config: Config) -> dict[str, Any]:
    """Train with every seed, rank the training images by their gradients, and those behind one mistake."""
    if config.data == "mnist":
        everything, test = (jaxnn.data.load("mnist", part=part) for part in ("train", "test"))
    else:
        everything, test = jaxnn.data.split(jaxnn.data.load(config.data), (0.85, 0.15), seed=config.seed)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((everything.num_features, config.hidden, 10)), jaxnn.categorical)
    seeds = range(config.seed, config.seed + 3 * config.num_seeds, 3)
    runs = [_one_run(config, objective, everything, test, seed) for seed in track(seeds, "seeds")]
    shares = [one.pop("share") for one in runs]
    return {
        "share": interval(shares),  # over hold-out, initial parameters and order; nine images in ten are the same
        "shares": shares,
        **{name: [one.pop(name) for one in runs] for name in ("test_accuracy", "watched", "labels")},
        **runs[0],
    }


def _one_run(config: Config, objective: Any, everything: Any, test: Any, seed: int) -> dict[str, Any]:
    """Train with one seed, and return what single examples make of its history and of its end."""
    train, hold_out = jaxnn.data.split(everything, (0.9, 0.1), seed=seed)
    x, y = np.asarray(train.batch.x), np.asarray(train.batch.y)
    result = finished(
        jaxnn.fit(
            objective,
            optax.adam,
            objective.model.init(seed + 1),
            train,
            hold_out,
            plan=jaxnn.MiniBatch(config.batch_size),
            max_epochs=config.max_epochs,
            learning_rate=config.learning_rate,
            key=seed + 2,
            watch_gradients=True,
        )
    )
    params, history = result.params, result.history

    norms = np.asarray(per_example.norms(objective, params, train))
    largest = np.argsort(-norms, kind="stable")[: config.largest]
    read_as = np.asarray(jaxnn.predict(objective, params, x[largest]))

    log_probs = np.asarray(per_example.log_likelihoods(objective, params, test))
    mistake = int(log_probs.argmin())
    one = jax.tree.map(lambda a: a[mistake : mistake + 1], test.batch)
    found = jax.device_get(per_example.influence(objective, params, train, one, top=config.top))
    taken_for, label = int(jaxnn.predict(objective, params, one.x)[0]), int(one.y[0])
    helpful, harmful = found.helpful[0], found.harmful[0]

    return {
        "test_accuracy": float(jaxnn.evaluate(objective, params, test).accuracy),
        "share": _share_of_top(norms**2, 0.01),
        "watched": {
            "noise_scale": history.noise_scale,
            "median": history.norm_median,
            "largest": history.norm_max,
            "best_epoch": result.best_epoch,
        },
        # How many of those shown are misread, and carry the true label or the one the mistake was read as.
        "labels": {
            "largest_misread": int((y[largest] != read_as).sum()),
            "helpful_true": int((y[helpful] == label).sum()),
            "harmful_true": int((y[harmful] == label).sum()),
            "harmful_read": int((y[harmful] == taken_for).sum()),
        },
        "norms": {"median": float(np.median(norms)), "largest": norms[largest].tolist()},
        "largest": {"index": largest, "label": y[largest], "read_as": read_as, "image": grey(x[largest])},
        "mistake": {
            "test_index": mistake,
            "label": label,
            "read_as": taken_for,
            "probability": float(np.exp(log_probs[mistake])),
            "image": grey(one.x)[0],
        },
        "helpful": _ranked(helpful, found.helpful_scores[0], x, y),
        "harmful": _ranked(harmful, found.harmful_scores[0], x, y),
    }


def _share_of_top(squares: np.ndarray, fraction: float) -> float:
    """Return the share of a sum that the largest of its terms make up."""
    count = max(1, round(fraction * len(squares)))
    return float(np.sort(squares)[-count:].sum() / squares.sum())


def _ranked(index: np.ndarray, score: np.ndarray, x: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    return {"index": index, "score": score, "label": labels[index], "image": grey(x[index])}


def table(report: dict[str, Any]) -> str:
    """Return what changes by epoch, and the labels at both ends of the rankings."""
    watched = {name: _by_epoch(report, name) for name in ("noise_scale", "median", "largest")}
    rows = [["epoch", "noise scale", "median norm", "largest norm"]]
    rows += [[str(epoch), *values] for epoch, values in enumerate(zip(*map(_typical, watched.values()), strict=True))]
    at, share = report["largest"], report["share"]
    labels = [["training images", "labels"]]
    labels += [["largest gradients", " ".join(f"{a}->{b}" for a, b in zip(at["label"], at["read_as"], strict=True))]]
    labels += [[f"most {name}", " ".join(map(str, report[name]["label"]))] for name in ("helpful", "harmful")]
    return (
        f"{in_columns(rows)}\n\n{in_columns(labels)}\n"
        f"test accuracy {np.mean(report['test_accuracy']):.4f}, median norm {report['norms']['median']:.3g}; "
        f"the 1 % largest make up {share['mean']:.0%} ({share['low']:.0%} to {share['high']:.0%}) of the sum of squares"
        f"\nby seed: {report['labels']}"
    )


def _by_epoch(report: dict[str, Any], name: str) -> np.ndarray:
    """Return what was watched as `float[seeds, epochs]`; a noise scale without a signal, None, is infinite."""
    values = np.array([one[name] for one in report["watched"]], float)
    return np.where(np.isnan(values), np.inf, values)


def _typical(values: np.ndarray) -> np.ndarray:
    """Return the median over seeds."""
    return np.median(values, axis=0)


def _noise_scales(report: dict[str, Any]) -> np.ndarray:
    """Return the noise scale of every seed before training, and its median over the later half, `float[seeds, 2]`."""
    of = _by_epoch(report, "noise_scale")
    return np.stack([of[:, 0], np.median(of[:, of.shape[1] // 2 :], axis=1)], axis=1)


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    norms, share, config = report["norms"], report["share"], report["config"]
    before, later = (float(f"{scale:.2g}") for scale in np.median(_noise_scales(report), axis=0))
    helpful = sum(one["helpful_true"] for one in report["labels"])
    return (
        f"Few: one percent of the images makes up {share['mean']:.0%} (±{share['high'] - share['mean']:.0%} over "
        f"{config['num_seeds']} seeds) of the sum of squared gradient norms, and the noise scale rises from "
        f"{before:,.0f} examples to {later:,.0f}; the longest gradient, {norms['largest'][0]:.0f} against a median of "
        f"{norms['median']:.2g}, belongs to an image that is still read as another digit, and of the "
        f"{config['num_seeds'] * config['top']} images that would most help the worst test mistake of a seed, "
        f"{helpful} carry its true label."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: noise scale and norms by epoch, the largest gradients, and two rows about the mistake."""
    from matplotlib.figure import Figure

    top, columns = len(report["helpful"]["index"]), max(report["config"]["largest"], report["config"]["top"] + 1)
    figure = Figure(figsize=(max(8, 1.05 * columns), 7.8), layout="constrained")
    curves, *rows = figure.subfigures(4, 1, height_ratios=(1.9, 1.25, 1, 1))
    _draw_curves(*curves.subplots(1, 2), report)

    def show(row: Any, heading: str, images: list[Any], captions: list[str]) -> None:
        row.suptitle(heading, x=0.01, ha="left", fontsize=10)
        for ax in (axes := row.subplots(1, columns)):
            ax.set_axis_off()
        for ax, image, caption in zip(axes, images, captions, strict=False):
            show_image(ax, image, caption, vmin=0, vmax=255)

    at = report["largest"]
    captions = [
        f"label {label}\nread as {read}\n|g| = {norm:.0f}"
        for label, read, norm in zip(at["label"], at["read_as"], report["norms"]["largest"], strict=True)
    ]
    median = report["norms"]["median"]
    show(
        rows[0],
        f"The training images with the largest gradients (first seed; half of all norms are below {median:.2g})",
        at["image"],
        captions,
    )
    wrong = report["mistake"]
    for row, name, verb in ((rows[1], "helpful", "help"), (rows[2], "harmful", "hurt")):
        images = [wrong["image"], *report[name]["image"]]
        label = f"label {wrong['label']}\nread as {wrong['read_as']}"
        show(
            row,
            f"A test image that is misread, and the {top} training images that would {verb} it most",
            images,
            [label, *(f"label {k}" for k in report[name]["label"])],
        )
    return figure


def _draw_curves(noise: Any, norms: Any, report: dict[str, Any]) -> None:
    """Show the noise scale, and median and largest norm, after every epoch: each seed, and the seeds' median."""
    for ax, name, color, line in (
        (noise, "noise_scale", DARK, "o-"),
        (norms, "largest", ORANGE, "^-."),
        (norms, "median", BLUE, "s--"),
    ):
        values = _by_epoch(report, name)
        epochs = np.arange(values.shape[1])
        ax.plot(epochs, values.T, color=color, linewidth=0.7, alpha=0.5)
        ax.plot(epochs, _typical(values), line, color=color, markersize=4, label=name)
    for ax, label in ((noise, "noise scale (examples)"), (norms, "|g| of one image")):
        ax.set_yscale("log")
        ax.set_xlabel("epoch")
        ax.set_ylabel(label)
        ax.spines[["top", "right"]].set_visible(False)
    norms.legend(frameon=False, fontsize=8)
    seeds = report["config"]["num_seeds"]
    noise.set_title(f"Noise scale: {seeds} seeds, and their median", fontsize=10, loc="left")
    norms.set_title("Norms, of 2,048 images at most", fontsize=10, loc="left")


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found of every seed: all of it on MNIST, on digits that of norms and noise."""
    config, (before, later) = report["config"], _noise_scales(report).T
    assert min(report["shares"]) > 0.2, "one percent of the images outweighs its share"
    assert np.all(later > 3 * before), "the noise scale rises"
    median, largest = _by_epoch(report, "median"), _by_epoch(report, "largest")
    assert np.all(median[:, -1] < median[:, 0] / 10), "most gradients vanish"
    assert np.all(largest[:, -1] > largest[:, 0]), "a few do not"
    if config["data"] == "digits":
        return
    assert np.all(later > 10 * before), "the noise scale rises tenfold"
    for labels in report["labels"]:
        assert labels["largest_misread"] == config["largest"], "the largest are misread"
        assert labels["helpful_true"] > 0.75 * config["top"], "the true digit helps"
        assert labels["harmful_read"] > 0, "the digit it was taken for hurts"
        assert labels["harmful_true"] == 0, "the true digit does not"
