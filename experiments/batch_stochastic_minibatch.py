"""Batch, stochastic or mini-batch: how many examples should a step read? The same data in steps of 1 to N examples.

Softmax regression on N handwritten digits with a small penalty, so that the objective has one maximum, and
`jaxnn.optimum.newton` proves where it is. Three plans of gradient ascent climb towards it,

    w <- w + α ∇ objective(w, batch of B examples)

with B = N (batch, `jaxnn.FullBatch`), B = 1 (stochastic, `jaxnn.Stochastic`) and between (`jaxnn.MiniBatch`), each
epoch in a fresh order without replacement, by `jaxnn.ascent_step` in a loop that is compiled once for each B. No rate α
is best for all budgets, so a curve shows, after every epoch, the mean over data orders of the rate that is best for
just so many epochs. Seconds are those of the same compiled loop without its scoring, the best of three runs.

The gradient of B examples drawn with replacement has the noise E |g_B - g|² = tr(Σ) / B, where g is the gradient of all
examples and Σ the covariance of one example's; that of a batch without replacement, as the climbs draw them, is
(N - B) / (N - 1) times that (Cochran 1977, section 2.6). Both are measured over many draws, from
`jaxnn.per_example.gradients`, at the start and at the maximum (Bottou, Curtis and Nocedal 2018, section 4, tell what
the noise means for a constant rate).

Expected, before the run: for each example read, the smaller the batch the farther up, until close to the maximum,
where the noise of B = 1 costs it the lead. For each step, the larger the batch the farther up. In seconds a mini-batch
of some tens of examples wins, for a step of 32 costs little more than one of 1. The noise falls with slope -1.

Found (four orders; the rates go up to 64 since a review: up to 4, B = N took the largest on offer): the noise has slope
-1.000 at the start and -1.002 at the maximum, where it is a sixth of what it was, but not gone. By examples read one at
a time leads, but 4 at a time are as good and 16 nearly so; after the first epoch 0.06, 0.06, 0.09, 0.23 and 0.80 nats
are missing, from B = 1 to 256. The whole batch, against expectation, misses only 0.13 after its one step, at a rate of
16: a great step from zero sets the weights of each class along its mean less the mean of all, which is a good
classifier. But it leads nowhere. Two steps of one rate miss 0.59 at best, and from then on B = N is last, until it
meets B = 256 after some 55 epochs. Nor does B = 1 fall behind the whole batch in 100 epochs, as was expected: it only
has to go slower, its best rate falls from 1/16 to 1/256, while the batch keeps a rate of 2 (0.0021 and 0.0024 nats in
the end). None comes within 0.001, which was a target at first. After as many steps, where 100 epochs have as many, the
whole batch is ahead of all others. By the clock mini-batches win, of some tens on two cores of a CPU, against single
examples and the whole batch; but that hangs on the machine, so it is told and not asserted.
"""

import time
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from experiments._figure import BLUE, GREY, STYLES, new_figure
from experiments._report import in_columns, track
from jaxnn import per_example

MIDDLE = (  # lines of the plans between
    {"color": BLUE, "linestyle": "-", "marker": ""},
    {"color": BLUE, "linestyle": "--", "marker": "s"},
    {"color": GREY, "linestyle": "-", "marker": "D"},
    {"color": GREY, "linestyle": ":", "marker": ""},
)


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      num_examples: N.
      sizes: the values of B, divisors of N, from 1 to N.
      l2: of the penalty.
      max_epochs: how often each plan may read all N examples.
      rates: α, the smallest and the largest; num_rates of them, evenly spaced on a logarithmic scale.
      num_rates: how many.
      num_orders: orders of the data, over which a rate's mean is taken.
      num_draws: batches over which the noise is measured.
      targets: how far below the maximum (nats per example) a plan has to come.
      seed: of the choice of N examples; orders have seed + 1, seed + 2 ..., the draws seed + 100.
    """

    num_examples: int = 1024
    sizes: tuple[int, ...] = (1, 4, 16, 64, 256, 1024)
    l2: float = 0.01
    max_epochs: int = 100
    rates: tuple[float, float] = (2.0**-9, 2.0**6)
    num_rates: int = 16
    num_orders: int = 4
    num_draws: int = 2000
    targets: tuple[float, ...] = (0.1, 0.03, 0.01)
    seed: int = 0


QUICK = Config(
    num_examples=256, sizes=(1, 16, 256), max_epochs=20, num_rates=6, num_orders=2, num_draws=1000, targets=(0.3,)
)


def run(config: Config) -> dict[str, Any]:
    """Climb with every B, and measure the noise of its gradient."""
    digits = jaxnn.data.load("digits")
    share = config.num_examples / len(digits)
    train, _ = jaxnn.data.split(digits, (share, 1 - share), seed=config.seed)
    objective = jaxnn.LogLikelihood(jaxnn.Linear(64, 10), jaxnn.categorical, l2=config.l2)
    start = objective.model.init(0)
    top = jaxnn.optimum.newton(objective, start, train)

    climbs = [climb(config, objective, start, train.batch, B) for B in track(config.sizes, "batch sizes")]
    values, rates, seconds = (np.array(column) for column in zip(*climbs, strict=True))
    gaps = top.value - values
    epochs = np.array([[first_at(gap, target) for target in config.targets] for gap in gaps])
    noises = {"start": noise(config, objective, start, train), "maximum": noise(config, objective, top.params, train)}
    return {
        "maximum": {"status": str(top.status), "value": top.value, "gap": top.gap},
        "gap": gaps,
        "rate": rates,
        "seconds_per_epoch": seconds,
        "epochs_to_target": epochs,
        "seconds_to_target": epochs * seconds[:, None],
        "noise": noises,
    }


def climb(
    config: Config, objective: Any, start: Any, train: jaxnn.Batch, B: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Return, after every epoch, the objective at the rate that is best by then, and that rate; seconds of an epoch."""
    N = config.num_examples
    plan = jaxnn.FullBatch() if B == N else jaxnn.Stochastic(replacement=False) if B == 1 else jaxnn.MiniBatch(B)
    steps = jnp.arange(plan.num_steps(N))

    @jax.jit
    def ascend(rate: Any, order: Any, scored: Any) -> tuple[jax.Array, Any]:
        state = jaxnn.init_state(objective, optax.sgd, start, order, learning_rate=rate)

        def step(state: jaxnn.State, i: Any) -> tuple[jaxnn.State, None]:
            batch = train if i is None else jaxnn.Batch(train.x[i], train.y[i])
            return jaxnn.ascent_step(objective, optax.sgd, state, batch)[0], None

        def epoch(state: jaxnn.State, number: Any) -> tuple[jaxnn.State, jax.Array]:
            indices, _ = jax.vmap(plan.indices, (None, None, 0, None))(state.key, number, steps, N)
            state, _ = jax.lax.scan(step, state, indices, length=len(steps))
            return state, jax.lax.cond(scored, objective, lambda *_: jnp.nan, state.params, train)

        state, values = jax.lax.scan(epoch, state, jnp.arange(config.max_epochs))
        return values, state.params

    rates = np.geomspace(*config.rates, config.num_rates)
    orders = [jax.random.key(config.seed + 1 + i) for i in range(1 if B == N else config.num_orders)]
    found = np.array([[ascend(rate, order, True)[0] for order in orders] for rate in rates], float)
    found = np.insert(found, 0, float(objective(start, train)), axis=2)
    means = np.nan_to_num(found.mean(axis=1), nan=-np.inf)  # [rates, epochs]; one that diverged is never the best
    seconds = []
    for _ in range(3):
        begin = time.perf_counter()
        jax.block_until_ready(ascend(rates[0], orders[0], False))
        seconds.append(time.perf_counter() - begin)
    return means.max(axis=0), rates[means.argmax(axis=0)], min(seconds) / config.max_epochs


def first_at(gap: np.ndarray, target: float) -> float:
    """Return the first epoch after which so little is missing, NaN if none."""
    return float(np.argmax(gap <= target)) if (gap <= target).any() else np.nan


def noise(config: Config, objective: Any, params: Any, train: Any) -> dict[str, Any]:
    """Return E |g_B - g|² for every B, the mean over many batches; its slope on logarithmic axes, and tr(Σ)."""
    leaves = jax.tree.leaves(per_example.gradients(objective, params, train))
    each = np.concatenate([np.reshape(leaf, (config.num_examples, -1)) for leaf in leaves], axis=1)  # [N, P]
    g, rng = each.mean(axis=0), np.random.default_rng(config.seed + 100)
    ones = np.ones(config.num_examples, int)

    def mean_square(counts: np.ndarray, B: int) -> float:
        """Return the mean over draws; counts says how often each example is in a batch."""
        return float(np.mean(np.sum((counts.astype(np.float32) @ each / B - g) ** 2, axis=1)))

    replaced, kept_out = [], []
    for B in config.sizes:
        replaced.append(mean_square(rng.multinomial(B, ones / config.num_examples, config.num_draws), B))
        kept_out.append(mean_square(rng.multivariate_hypergeometric(ones, B, config.num_draws), B))
    return {
        "with_replacement": replaced,
        "without_replacement": kept_out,
        "slope": np.polyfit(np.log(config.sizes), np.log(replaced), 1)[0],
        "trace": each.var(axis=0).sum(),
    }


def table(report: dict[str, Any]) -> str:
    """Return what each B costs: epochs and milliseconds to every target."""
    heading = ["B", "ms an epoch"]
    for target in report["config"]["targets"]:
        heading += [f"epochs to {target:g}", f"ms to {target:g}"]
    rows = [heading]
    for k, B in enumerate(report["config"]["sizes"]):
        row = [str(B), 1e3 * report["seconds_per_epoch"][k]]
        for epochs, seconds in zip(report["epochs_to_target"][k], report["seconds_to_target"][k], strict=True):
            row += ["-", "-"] if epochs is None else [epochs, 1e3 * seconds]
        rows.append(row)
    slopes = ", ".join(f"{report['noise'][at]['slope']:.3f} at the {at}" for at in ("start", "maximum"))
    return f"{in_columns(rows)}\nslope of the noise: {slopes}"


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    sizes, target = report["config"]["sizes"], report["config"]["targets"][-1]
    epochs, seconds = (np.array(report[f"{what}_to_target"], float)[:, -1] for what in ("epochs", "seconds"))
    first = int(np.nanargmin(seconds))
    return (
        f"By the clock {sizes[first]}, on this machine: to within {target:g} nats of the maximum such steps take "
        f"{1e3 * seconds[first]:.2g} ms, of one example {1e3 * seconds[0]:.2g}, of all {sizes[-1]:,} "
        f"{1e3 * seconds[-1]:.2g}; counted in examples read, one at a time is first ({epochs[0]:.0f} epochs against "
        f"{epochs[-1]:.0f} of the whole batch), and the noise of the gradient falls as B to the power "
        f"{report['noise']['start']['slope']:.3f}."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: the climb by examples and by seconds, the time to each target, and the noise."""
    figure, axes = new_figure(10, 7.6, 2, 2)
    (by_examples, by_seconds), (to_target, noisy) = axes
    N, sizes = report["config"]["num_examples"], np.array(report["config"]["sizes"])
    gap = np.array(report["gap"], float)
    epochs = np.arange(gap.shape[1])
    marks = list(np.unique(np.geomspace(1, epochs[-1], 7).astype(int)) - 1)
    names = {1: "B = 1, stochastic", N: f"B = N = {N:,}, batch"}
    for k, B in enumerate(sizes):
        style = STYLES[0] if B == 1 else STYLES[2] if B == N else MIDDLE[(k - 1) % len(MIDDLE)]
        for ax, x in ((by_examples, epochs), (by_seconds, 1e3 * epochs * report["seconds_per_epoch"][k])):
            ax.plot(x[1:], gap[k, 1:], **style, markevery=marks, markersize=4, label=names.get(B, f"B = {B}"))
    for ax, x in ((by_examples, f"examples read, in epochs of N = {N:,}"), (by_seconds, "milliseconds")):
        ax.set_xlabel(x)
        ax.set_ylabel("below the maximum (nats per example)")
    by_examples.set_title("By examples read, at the rate best for so many", fontsize=10)
    by_seconds.set_title("The same by the clock", fontsize=10)
    by_examples.legend(frameon=False, fontsize=8)

    milliseconds = 1e3 * np.array(report["seconds_to_target"], float)
    for target, column, style in zip(report["config"]["targets"], milliseconds.T, STYLES, strict=False):
        to_target.plot(sizes, column, **style, markersize=4, label=f"{target:g} nats below the maximum")
    to_target.set_ylabel("milliseconds to come so near")
    to_target.set_title("Who is first, by the clock", fontsize=10)
    to_target.legend(frameon=False, fontsize=8)

    B = np.geomspace(1, N, 200)
    for name, style in (("start", STYLES[0]), ("maximum", STYLES[2])):
        found, color = report["noise"][name], style["color"]
        without = np.where(sizes < N, found["without_replacement"], np.nan)  # all N, once each: no noise but rounding
        noisy.plot(B, found["trace"] / B, color=color, linewidth=1)
        noisy.plot(B[:-1], found["trace"] / B[:-1] * (N - B[:-1]) / (N - 1), color=color, linewidth=1, linestyle=":")
        marker = {"color": color, "marker": style["marker"], "linestyle": "none", "markersize": 5}
        noisy.plot(sizes, found["with_replacement"], **marker, label=f"at the {name}, with replacement")
        noisy.plot(sizes, without, **marker, markerfacecolor="white", label=f"at the {name}, without")
    noisy.set_ylabel("noise of the gradient, E $|g_B - g|^2$")
    noisy.set_title("Noise (lines: tr(Σ) / B; dotted: without replacement)", fontsize=10)
    noisy.legend(frameon=False, fontsize=8)
    for ax in (to_target, noisy):
        ax.set_xlabel("B, examples a step")
    for ax in axes.flat:
        ax.set_xscale("log")
        ax.set_yscale("log")
    to_target.set_ylim(0.7 * np.nanmin(milliseconds), 6 * np.nanmax(milliseconds))  # room for the legend
    to_target.yaxis.set_major_formatter("{x:g}")
    to_target.yaxis.set_minor_formatter(lambda x, _: f"{x:g}" if f"{x:.0e}"[0] in "25" else "")
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert what hangs on no clock: the noise, and who is ahead by examples and by steps."""
    sizes, gap = np.array(report["config"]["sizes"]), np.array(report["gap"], float)
    assert report["maximum"]["status"] == "converged" and (gap > 0).all(), "the maximum is proven, nobody is above it"
    for at, found in report["noise"].items():
        assert abs(found["slope"] + 1) < 0.05, f"the noise at the {at} falls as 1/B"
        measured = np.array(found["with_replacement"]) * sizes
        assert np.allclose(measured, found["trace"], rtol=0.15), f"it is tr(Σ) / B at the {at}"
        assert found["without_replacement"][-1] < 1e-6 * found["trace"], f"all N, once each, have none at the {at}"
    (lowest, highest), rate = report["config"]["rates"], np.array(report["rate"])[:, 1:]
    assert (rate > 1.01 * lowest).all() and (rate < 0.99 * highest).all(), "no best rate is at an edge of the grid"
    assert (np.diff(gap[:-1, 1]) > 0).all(), "after one epoch, the smaller the mini-batch the farther up"
    assert gap[-1, 1] < gap[-2, 1], "but the whole batch is ahead of the largest of them, by one great step"
    assert gap[0, -1] < gap[-1, -1], "after the last epoch single examples are ahead of the whole batch"
    steps = sizes[-1] // sizes  # of one epoch
    reached = [(gap[k, 1], gap[-1, steps[k]]) for k in range(len(sizes) - 1) if steps[k] < gap.shape[1]]
    assert reached and all(whole < part for part, whole in reached), "after as many steps, the whole batch is"
