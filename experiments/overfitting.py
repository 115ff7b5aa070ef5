"""Can a network learn what has no rule? It memorises random labels as well as true ones; only the hold-out tells.

Of 300 digits to learn from and 300 to be judged by, a share c has its label drawn anew, uniformly from the ten classes
(Zhang, Bengio, Hardt, Recht and Vinyals 2017, "Understanding deep learning requires rethinking generalization"; Arpit
et al. 2017). Both parts are treated alike, as a split of the data at hand would be. So new examples can be read
rightly with probability at most

    1 - c + c / 10

and with c = 1, where the labels have nothing to do with the images, by 1 in 10; their mean log likelihood is at most
-log 10 = -2.30, reached by those who know nothing and say so. A network 64-512-10 of ReLUs (38,410 parameters) learns
with Adam, in mini-batches, without penalty or early stopping. All shares and 20 seeds (labels, initial parameters, data
order) run at once: `jaxnn.ascend` under `vmap`.

Expected, before the run: each network reads all its training examples as labelled, whatever the share, and its training
log likelihood comes within 0.01 of 0; random labels take a few times as many epochs as true ones (Zhang et al.: a small
constant factor). On the hold-out the accuracy is below the ceiling except for c = 0, and 1 in 10 for c = 1; the
log likelihood there is far below -2.30: the network is sure, and wrong.

Found (20 seeds; the labels are drawn by NumPy since a review): it memorises, all 300 labels in all 100 runs. But it is
not within 0.01 nats of 0 everywhere: after 120 epochs it is at -0.0004 with true labels, at -0.019 with random ones.
Random labels take 66 epochs to come within 0.1 nats where true ones take 8, a factor of 8. The hold-out reads 96 % of
true labels, between the two less than the ceiling (35 % of 55 % with every second label random: memorised noise drowns
a part of the rule), and 9.9 % of random ones. Its log likelihood is -5.9 then, and already -2.8 with one label in four
random, below that of knowing nothing, although 64 % are read rightly.
"""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, DARK, GREY, ORANGE, STYLES, new_figure
from experiments._report import in_columns, interval


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      num_train, num_hold_out: examples of each part.
      shares: the values of c.
      hidden: units of the hidden layer.
      learning_rate, batch_size, max_epochs: of Adam.
      arrived: a training log likelihood (nats per example); how many epochs it takes is counted.
      num_seeds: runs for each share.
      seed: of the choice of the examples; training labels, initial parameters, data order and hold-out labels have
        1000, 2000, 3000 and 4000 more, and one more for each run.
    """

    num_train: int = 300
    num_hold_out: int = 300
    shares: tuple[float, ...] = (0.0, 0.25, 0.5, 0.75, 1.0)
    hidden: int = 512
    learning_rate: float = 3e-3
    batch_size: int = 30
    max_epochs: int = 120
    arrived: float = -0.1
    num_seeds: int = 20
    seed: int = 0


QUICK = Config(
    num_train=60, num_hold_out=200, shares=(0.0, 0.5, 1.0), hidden=128, learning_rate=0.01, max_epochs=70, num_seeds=4
)


def run(config: Config) -> dict[str, Any]:
    """Learn with every share of random labels and every seed, to the last epoch."""
    digits = jaxnn.data.load("digits")
    share = np.array([config.num_train, config.num_hold_out]) / len(digits)
    train, hold_out, _ = jaxnn.data.split(digits, (*share, 1 - share.sum()), seed=config.seed)
    model = jaxnn.Mlp((64, config.hidden, 10), activation=jaxnn.relu)
    objective = jaxnn.LogLikelihood(model, jaxnn.categorical)

    seeds = config.seed + np.arange(config.num_seeds)
    train_y, hold_out_y = (
        np.array([[relabelled(part.batch.y, c, seed + more) for seed in seeds] for c in config.shares])
        for part, more in ((train, 1000), (hold_out, 4000))
    )

    def one(y: jax.Array, y_hold_out: jax.Array, params: Any, order: Any) -> dict[str, jax.Array]:
        parts = train.batch._replace(y=y), hold_out.batch._replace(y=y_hold_out)
        state = jaxnn.init_state(objective, optax.adam, params, order, learning_rate=config.learning_rate)
        plan = jaxnn.MiniBatch(config.batch_size)
        state, history = jaxnn.ascend(
            objective, optax.adam, state, parts[0], plan, config.max_epochs, hold_out=parts[1]
        )
        read_as = jax.vmap(objective.predict, (None, 0))(state.params, parts[0].x)
        return {
            "train": history.log_likelihood,
            "hold_out": history.hold_out_log_likelihood,
            "train_accuracy": (read_as == y).mean(),
            "hold_out_accuracy": history.hold_out_accuracy[-1],
            "last": objective(state.params, parts[0]),
        }

    keys = jax.vmap(jax.random.key)
    params, orders = jax.vmap(model.init)(keys(seeds + 2000)), keys(seeds + 3000)
    every_run = jax.jit(jax.vmap(jax.vmap(one), (0, 0, None, None)))  # [shares, seeds]
    found = jax.device_get(every_run(train_y, hold_out_y, params, orders))
    arrived = found["train"] >= config.arrived
    epochs = np.where(arrived.any(axis=-1), arrived.argmax(axis=-1), np.nan)
    return {
        "num_params": sum(leaf.size for leaf in jax.tree.leaves(model.init(0))),
        "curves": {name: found[name].mean(axis=1) for name in ("train", "hold_out")},  # [shares, epochs]
        "train_accuracy": found["train_accuracy"],
        "hold_out_accuracy": found["hold_out_accuracy"],
        "last": {"train": found["last"], "hold_out": found["hold_out"][..., -1]},
        "epochs_to_arrive": epochs,
    }


def relabelled(y: np.ndarray, share: float, seed: int) -> np.ndarray:
    """Return the labels, each with probability `share` drawn anew, uniformly from the ten classes."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(len(y)) < share, rng.integers(10, size=len(y)), y)


def table(report: dict[str, Any]) -> str:
    """Return a row for each share of random labels."""
    rows = [
        [
            "random labels",
            "training accuracy",
            "log likelihood",
            "epochs",
            "hold-out accuracy",
            "ceiling",
            "log likelihood",
        ]
    ]
    for k, share in enumerate(report["config"]["shares"]):
        last = {name: np.mean(values[k]) for name, values in report["last"].items()}
        accuracy = [np.mean(report[f"{name}_accuracy"][k]) for name in ("train", "hold_out")]
        epochs = np.mean(np.array(report["epochs_to_arrive"][k], float))
        rows.append([f"{share:.0%}", accuracy[0], last["train"], epochs, accuracy[1], ceiling(share), last["hold_out"]])
    return in_columns(rows)


def ceiling(share: float) -> float:
    """Return the largest probability of reading a new example as it is labelled."""
    return 1 - share + share / 10


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    train, hold_out = (interval(report[f"{name}_accuracy"][-1]) for name in ("train", "hold_out"))
    held = interval(report["last"]["hold_out"][-1])
    return (
        f"Yes, all of it: with labels that are pure chance it reads {train['mean']:.2%} of its "
        f"{report['config']['num_train']} training examples as labelled, and {hold_out['mean']:.1%} "
        f"({hold_out['low']:.1%} to {hold_out['high']:.1%}) of new ones, at a log likelihood of {held['mean']:.2f} "
        f"nats, where knowing nothing has {-np.log(10):.2f}."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: true labels, random labels, and the accuracy at every share between."""
    figure, axes = new_figure(10.5, 3.9, 1, 3)
    shares = np.array(report["config"]["shares"])
    train, hold_out = (np.array(report["curves"][name], float) for name in ("train", "hold_out"))
    low = 1.08 * hold_out.min()
    for ax, k, title in ((axes[0, 0], 0, "True labels"), (axes[0, 1], -1, "Random labels")):
        ax.plot(train[k], color=DARK, linewidth=1.8, label="training")
        ax.plot(hold_out[k], color=BLUE, linestyle="--", linewidth=1.8, label="hold-out")
        ax.axhline(-np.log(10), color=GREY, linestyle=":", linewidth=1.2, label="knowing nothing, -log 10")
        ax.set_ylim(low, -0.04 * low)
        ax.set_xlabel("epoch")
        ax.set_title(title, fontsize=10)
    axes[0, 0].set_ylabel("log likelihood (nats per example)")
    axes[0, 0].legend(frameon=False, fontsize=8, loc="lower left")

    ax = axes[0, 2]
    for name, words, style in (("train", "training", STYLES[0]), ("hold_out", "hold-out", STYLES[1])):
        values = np.array(report[f"{name}_accuracy"])
        ax.errorbar(100 * shares, 100 * values.mean(axis=1), 100 * values.std(axis=1, ddof=1), **style, label=words)
    ax.plot(100 * shares, 100 * ceiling(shares), color=ORANGE, linestyle="-.", label="most that is possible")
    ax.axhline(10, color=GREY, linestyle=":", linewidth=1.2, label="one in ten")
    ax.set_ylim(0, 105)
    ax.set_xlabel("random labels (%)")
    ax.set_ylabel("accuracy after the last epoch (%)\n(bars: standard deviation of the seeds)")
    ax.legend(frameon=False, fontsize=8, loc="center", bbox_to_anchor=(0.65, 0.79))
    ax.set_title("Any share of random labels", fontsize=10)
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert that the network memorises whatever it is told, and that the hold-out tells."""
    shares, read = np.array(report["config"]["shares"]), np.mean(report["hold_out_accuracy"], axis=1)
    assert np.min(np.mean(report["train_accuracy"], axis=1)) > 0.99, "it memorises, whatever the share"
    assert np.min(np.mean(report["last"]["train"], axis=1)) > -0.1, "and it is sure of it"
    assert (np.diff(read) < 0).all() and (read[1:-1] < ceiling(shares[1:-1])).all(), (
        "the hold-out tells how much is chance"
    )
    assert np.allclose(read[-1], 0.1, atol=0.03), "of random labels it reads one in ten"
    assert (np.mean(report["last"]["hold_out"], axis=1)[1:] < -np.log(10)).all(), (
        "surely wrong: worse than knowing nothing"
    )
    epochs = np.array(report["epochs_to_arrive"], float).mean(axis=1)
    assert epochs[-1] > 2 * epochs[0], "memorising takes longer than learning"
