"""When should learning stop? An over-sized network on 60 noisy examples, with and without an eye on the hold-out.

The classes are a disc and the ring around it, and one label in five is flipped, at random, for each seed anew. So the
best that anyone can do is known: with ρ = 0.2 the mean log likelihood of new examples is at most

    ρ log ρ + (1 - ρ) log(1 - ρ) = -0.500 nats

and their accuracy at most 1 - ρ. A network 2-64-64-1 of ReLUs (4,417 parameters) learns from 60 examples; 60 others are
the hold-out, and 2,000 that neither learning nor stopping sees judge the parameters. `jaxnn.ascend`, a pure function,
runs under `vmap` over 20 seeds, each with data, initial parameters and data order of its own; `state.best` has the
parameters of the best epoch on the hold-out (Morgan and Bourlard 1990; Prechelt 1998).

Expected, before the run: the training log likelihood rises on towards 0, that of the hold-out rises, then falls far
below where it began (-0.69, a coin's). Stopping saves more than 0.5 nats per example, and a few percent of accuracy.
With a patience of 20 epochs most of the epochs are saved, too, at no loss that can be measured.

Found (20 seeds; the flips have a seed of their own since a review, they shared one with the points): the curves are as
expected, from -0.71 to -0.12 on the training data, and from -0.72 to -0.61 to -1.40 on the hold-out; they are medians,
for one run falls to -16.5. Stopping saves 1.56 nats of a new example, in the median 0.97, at least 0.34 in each run;
but of accuracy only 0.5 points, with an interval that holds 0: a network that has learnt the noise by heart is not so
often wrong as it is sure. A hold-out of 60 is noisy, too. Four of the runs have their best epoch within three of the
start, for no reason but luck, and lose 11 to 19 points of accuracy by stopping there. A patience of 20 epochs saves
88 % of the epochs; each of the 20 had had its best epoch by then.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE, new_figure
from experiments._report import in_columns, interval


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      num_train, num_hold_out, num_test: examples of each part.
      flipped: ρ, the probability that a label is the other one.
      hidden: units of each of the two hidden layers.
      learning_rate, batch_size, max_epochs: of Adam.
      patience: epochs without a gain after which learning would have stopped.
      num_seeds: how many runs.
      seed: the data have seed, seed + 1 ...; the initial parameters 1,000 more, the data order 2,000 more, the flips
        3,000 more.
    """

    num_train: int = 60
    num_hold_out: int = 60
    num_test: int = 2000
    flipped: float = 0.2
    hidden: int = 64
    learning_rate: float = 3e-3
    batch_size: int = 20
    max_epochs: int = 400
    patience: int = 20
    num_seeds: int = 20
    seed: int = 0


QUICK = Config(num_test=500, hidden=32, learning_rate=6e-3, max_epochs=200, num_seeds=6)
SIDE, EXTENT = 48, 1.1  # of a map: points along an edge, and half its length
EVERY = 4  # epochs between two points of a single run's curve


def run(config: Config) -> dict[str, Any]:
    """Learn with every seed to the last epoch, and with patience; judge what each would have handed over."""
    model = jaxnn.Mlp((2, config.hidden, config.hidden, 1), activation=jaxnn.relu)
    objective = jaxnn.LogLikelihood(model, jaxnn.bernoulli)
    seeds = [config.seed + i for i in range(config.num_seeds)]
    train, hold_out, test = jax.tree.map(lambda *leaves: np.stack(leaves), *(noisy_discs(config, s) for s in seeds))

    one = jax.jit(jax.vmap(partial(climb, config, objective)))
    state, history = one(jnp.array(seeds), train, hold_out)

    handed_over = {"best": state.best.params, "last": state.params}
    judge = jax.jit(jax.vmap(partial(judge_one, objective)))
    scores = {name: [np.asarray(a, float) for a in judge(params, test)] for name, params in handed_over.items()}
    held = np.asarray(history.hold_out_log_likelihood, float)
    stops = np.array([stops_after(values, config.patience) for values in held])
    reached = [values[: stop + 1].max() for values, stop in zip(held, stops, strict=True)]
    rho = config.flipped
    return {
        "best_possible": rho * np.log(rho) + (1 - rho) * np.log(1 - rho),
        "num_params": sum(leaf[0].size for leaf in jax.tree.leaves(state.params)),
        "train": np.median(np.asarray(history.log_likelihood, float), axis=0),
        "hold_out": np.median(held, axis=0),
        "each": held[:, ::EVERY],
        "best_epoch": state.best.epoch,
        "best_value": state.best.value,
        "test": {name: {"log_likelihood": found[0], "accuracy": found[1]} for name, found in scores.items()},
        "saved": {
            name: interval(scores["best"][k] - scores["last"][k])
            for k, name in enumerate(("log_likelihood", "accuracy"))
        },
        "patience": {
            "stops_after": stops,
            "epochs_saved": interval(1 - stops / config.max_epochs),
            "hold_out_lost": interval(held.max(axis=1) - reached),
        },
        "map": {
            name: chances(objective, jax.tree.map(lambda leaf: leaf[0], params)) for name, params in handed_over.items()
        },
        "shown": {"x": train.x[0], "y": train.y[0]},
    }


def stops_after(values: np.ndarray, patience: int) -> int:
    """Return the first epoch that is the `patience`-th in a row without a gain; the last epoch, if there is none."""
    best = np.maximum.accumulate(values)
    last_gain = np.maximum.accumulate(np.where(np.diff(best, prepend=-np.inf) > 0, np.arange(len(values)), 0))
    waited = np.arange(len(values)) - last_gain
    return int(np.argmax(waited == patience)) if (waited == patience).any() else len(values) - 1


def noisy_discs(config: Config, seed: int) -> tuple[jaxnn.Batch, ...]:
    """Return examples to learn from, a hold-out and a test, in units of the ring's radius; some labels flipped."""
    sizes = np.array([config.num_train, config.num_hold_out, config.num_test])
    x, y, _ = jaxnn.data.load("circle", num_examples=int(sizes.sum()), noise=0.0, seed=seed).batch
    flips = np.random.default_rng(seed + 3000).random(len(y)) < config.flipped
    x, y = np.asarray(x) / 5, np.where(flips, 1 - np.asarray(y), y)
    cuts = np.cumsum(sizes)[:-1]
    return tuple(jaxnn.Batch(*part) for part in zip(np.split(x, cuts), np.split(y, cuts), strict=True))


def climb(config: Config, objective: Any, seed: Any, train: Any, hold_out: Any) -> tuple[jaxnn.State, jaxnn.History]:
    """Return state and history of one run, which goes on to the last epoch; `state.best` is where it was best."""
    params = objective.model.init(jax.random.key(seed + 1000))
    order = jax.random.key(seed + 2000)
    state = jaxnn.init_state(objective, optax.adam, params, order, learning_rate=config.learning_rate)
    plan = jaxnn.MiniBatch(config.batch_size)
    return jaxnn.ascend(objective, optax.adam, state, train, plan, config.max_epochs, hold_out=hold_out)


def judge_one(objective: Any, params: Any, test: jaxnn.Batch) -> tuple[jax.Array, jax.Array]:
    """Return log likelihood and accuracy of one run's parameters on its test examples."""
    right = jax.vmap(objective.predict, (None, 0))(params, test.x) == test.y
    return objective(params, test), right.mean()


def chances(objective: Any, params: Any) -> np.ndarray:
    """Return P(y = 1 | x), in percent, on a square of points around the ring."""
    along = np.linspace(-EXTENT, EXTENT, SIDE)
    x = np.stack(np.meshgrid(along, along), axis=-1).reshape(-1, 2)
    return np.rint(100 * np.asarray(jaxnn.predict_proba(objective, params, x))[:, 1]).astype(int)


def table(report: dict[str, Any]) -> str:
    """Return what the parameters of each kind are worth on new examples."""
    rows = [["parameters of", "test log likelihood", "test accuracy"]]
    names = {"best": "the best epoch on the hold-out", "last": "the last epoch"}
    for name, words in names.items():
        scores = report["test"][name]
        rows.append([words, np.mean(scores["log_likelihood"]), np.mean(scores["accuracy"])])
    rows.append(["the best possible", report["best_possible"], 1 - report["config"]["flipped"]])
    return in_columns(rows)


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    test, saved = report["test"], report["saved"]["log_likelihood"]
    accuracy, patience = report["saved"]["accuracy"], report["patience"]
    means = {name: np.mean(test[name]["log_likelihood"]) for name in test}
    median = np.median(np.subtract(test["best"]["log_likelihood"], test["last"]["log_likelihood"]))
    return (
        f"Where the hold-out is best, here after a median of {np.median(report['best_epoch']):.0f} epochs: it saves "
        f"{saved['mean']:.2f} nats per new example ({saved['low']:.2f} to {saved['high']:.2f}; median {median:.2f}; "
        f"{means['best']:.2f} in place of {means['last']:.2f}), but only {100 * accuracy['mean']:.1f} points of "
        f"accuracy ({100 * accuracy['low']:.1f} to {100 * accuracy['high']:.1f}), and a patience of "
        f"{report['config']['patience']} epochs saves {patience['epochs_saved']['mean']:.0%} of the epochs."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: the curves, and what one network believes where it should have stopped and at the end."""
    figure, axes = new_figure(10.5, 4.2, 1, 3, width_ratios=(1.55, 1, 1))
    curves, *maps = axes[0]
    train, hold_out, each = (np.array(report[name], float) for name in ("train", "hold_out", "each"))
    epochs, at = np.arange(len(train)), np.array(report["best_epoch"])
    curves.plot(epochs[::EVERY], each.T, color=GREY, linewidth=0.5, alpha=0.6)
    curves.plot(epochs, train, color=DARK, linewidth=1.8, label="training, median of the seeds")
    curves.plot(epochs, hold_out, color=BLUE, linestyle="--", linewidth=1.8, label="hold-out, median")
    curves.plot([], [], color=GREY, linewidth=0.8, label="hold-out, each seed")
    curves.plot(at, report["best_value"], "o", color=ORANGE, markersize=4, label="where it is best")
    curves.axhline(report["best_possible"], color=DARK, linestyle=":", linewidth=1)
    curves.text(
        epochs[-1], report["best_possible"], "the best possible on new examples", ha="right", va="bottom", fontsize=8
    )
    deepest = each[each[:, -1].argmin()]
    low = 1.05 * np.sort(each[:, -1])[1]  # one may fall so far that no other can be told
    curves.set_ylim(low, 0.05)
    if deepest[-1] < low:
        left = epochs[::EVERY][deepest < low][0]
        curves.text(left, low, f"  one falls to {deepest[-1]:.1f}", va="bottom", fontsize=8)
    curves.set_xlabel("epoch")
    curves.set_ylabel("log likelihood (nats per example)")
    curves.legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.16))

    x, y = np.array(report["shown"]["x"]), np.array(report["shown"]["y"])
    for ax, name, epoch in zip(maps, ("best", "last"), (at[0], epochs[-1]), strict=True):
        chance = np.array(report["map"][name]).reshape(SIDE, SIDE)
        image = ax.imshow(chance, vmin=0, vmax=100, cmap="Greys", origin="lower", extent=(-EXTENT, EXTENT) * 2)
        for label, marker, color in ((0, "o", "white"), (1, "^", ORANGE)):
            look = {"marker": marker, "color": color, "edgecolor": "black", "linewidth": 0.7}
            ax.scatter(*x[y == label].T, s=22, **look, label=f"y = {label}")
        seed = report["config"]["seed"]
        ax.set_title(f"Seed {seed} after epoch {epoch}{' (its best)' if name == 'best' else ''}", fontsize=10)
        ax.set_xticks([-1, 0, 1])
        ax.set_yticks([-1, 0, 1])
        ax.set_xlabel("$x_1$")
    maps[0].set_ylabel("$x_2$")
    maps[0].legend(frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    figure.colorbar(image, ax=maps, shrink=0.75, label="P(y = 1 | x), %")
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert that the hold-out falls while training rises on, and that stopping saves log likelihood and epochs."""
    train, hold_out = (np.array(report[name]) for name in ("train", "hold_out"))
    half = len(train) // 2
    assert train[-1] > train[half] > train[1], "training rises on"
    assert hold_out.max() > hold_out[0], "the hold-out rises first"
    assert hold_out[-1] < hold_out[half] < hold_out.max() - 0.1, "and then it falls and falls"
    assert hold_out[-1] < -np.log(2), "below a coin's"
    assert report["saved"]["log_likelihood"]["low"] > 0, "stopping saves log likelihood"
    assert report["patience"]["epochs_saved"]["low"] > 0.5, "patience saves most of the epochs"
    best, last = (np.array(report["test"][name]["log_likelihood"]) for name in ("best", "last"))
    assert -np.log(2) < best.mean() < report["best_possible"], (
        "stopped, it beats a coin, and nobody beats the best possible"
    )
    assert (best - last).min() > 0.2, "in each run it saves some"
