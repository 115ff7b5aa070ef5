"""What does a gradient cost, in evaluations of the function itself, as the number of parameters grows?

g(w) is the log likelihood of a batch under a network of L layers of n tanh units each, P = L (n² + n) numbers in w.
What the compiler counts for g (FLOPs: additions and multiplications; exp and tanh are counted apart) is compared with
what it counts for g and ∂g/∂w together, in reverse mode; and so are the seconds of both, the shortest of several runs.
The method of finite differences evaluates g at P + 1 points; where that takes seconds it is run and timed, too.

A product z = a W costs 2Bn² forward, and as much again backward for each of ∂g/∂W = aᵀ δ and ∂g/∂a = δ Wᵀ. The
first layer needs no ∂g/∂a. So the products alone have the ratio 3 - 1/L: below 3, whatever P. In general reverse mode
takes at most four to five evaluations: W. Baur, V. Strassen, The Complexity of Partial Derivatives (1983); A. Griewank,
On Automatic Differentiation (1989); A. Griewank, A. Walther, Evaluating Derivatives (2008), chapter 3.

Expected, before the run: with L = 3 the ratio of FLOPs is 3 - 1/3 = 2.67 within 2 % from P = 1e4 on, and within 10 % of
it at P = 1e2, where biases and activations are a larger share. By depth it follows 3 - 1/L from 2 towards 3. In time
the ratio is between 2 and 4 from P = 1e5 on, and nearer to 1 below, where both are the cost of a call. Finite
differences cost P + 1 evaluations: at P = 1e7, ten million forward passes, days for what reverse mode does in a tenth
of a second.

Found (L = 3, B = 32): 2.47 at P = 90, 2.62 at 1e4, 2.65 at 1e7: below 3, and flat, as expected. It levels off at 2.65
and not at 2.67, as g has a penalty, of strength 0 here: two FLOPs for every weight, four in the gradient, where the
products in g have 2B = 64. By depth 3 - 1/L is met within 2 %. Seconds are those of one machine, and of what else it
does: they are drawn, and nothing is asserted of them. The ratio of seconds was not always within the 2 to 4 expected
from P = 1e5 on: one run gave 1.7 there. At small P a call costs more than its arithmetic. Differences evaluate many
points in one call, which saves some of that, and at P = 1e4 they are slower than reverse mode by orders of magnitude,
as the evaluations say. Not foreseen: their error. In float32 it grows from 0.4 % of the gradient at P = 90 to 4 % at
1e4, for each derivative becomes smaller and the rounding of g does not.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments._figure import STYLES, new_figure
from experiments._report import in_columns, track


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      parameters: about how many numbers w has; the width n follows.
      layers: L, where P varies.
      depths: the L that are compared, at `parameters_by_depth` numbers.
      parameters_by_depth: about how many numbers w has, where L varies.
      batch_size: B, examples in g.
      differences_up_to: the largest P at which finite differences are run.
      repeats: of which the shortest time counts.
      seed: of the data; the parameters have seed + 1.
    """

    parameters: tuple[int, ...] = (10**2, 10**3, 10**4, 10**5, 10**6, 10**7)
    layers: int = 3
    depths: tuple[int, ...] = (1, 2, 3, 5, 8, 12)
    parameters_by_depth: int = 10**5
    batch_size: int = 32
    differences_up_to: int = 10**4
    repeats: int = 20
    seed: int = 0


QUICK = Config(parameters=(100, 900), depths=(2,), parameters_by_depth=900, differences_up_to=100, repeats=3)


def run(config: Config) -> dict[str, Any]:
    """Count and time g, its gradient and its differences, by number of parameters; count by depth."""
    by_parameters = [measured(config, parameters) for parameters in track(config.parameters, "parameters")]
    by_depth = []
    for layers in track(config.depths, "depths"):
        _, counts = compiled(*problem(config, layers, config.parameters_by_depth))
        by_depth.append({"layers": layers, **counts})
    return {"by_parameters": by_parameters, "by_depth": by_depth}


def compiled(objective: Any, params: Any, batch: jaxnn.Batch) -> tuple[list[Callable[..., Any]], dict[str, Any]]:
    """Return the programs of g and of g with its gradient, and what the compiler counts of them."""
    programs = [jax.jit(f).lower(params, batch).compile() for f in (objective, jax.value_and_grad(objective))]
    flops = [program.cost_analysis()["flops"] for program in programs]
    size = sum(leaf.size for leaf in jax.tree.leaves(params))
    return programs, {"parameters": size, "flops": dict(zip(("value", "gradient"), flops, strict=True))}


def measured(config: Config, parameters: int) -> dict[str, Any]:
    """Return FLOPs and seconds of one network, and those of finite differences where they are affordable."""
    objective, params, batch = problem(config, config.layers, parameters)
    (value, gradient), found = compiled(objective, params, batch)
    seconds = shortest((lambda: value(params, batch), lambda: gradient(params, batch)), config.repeats)
    found["seconds"] = dict(zip(("value", "gradient"), seconds, strict=True))
    if found["parameters"] <= config.differences_up_to:

        def g(w: Any) -> jax.Array:
            return objective(w, batch)

        difference = jaxnn.search.derivative(g, params, "one_sided")
        exact = gradient(params, batch)[1]
        found["differences"] = {
            "evaluations": difference.evaluations,
            "seconds": shortest((lambda: jaxnn.search.derivative(g, params, "one_sided").gradient,), 3)[0],
            "relative_error": norm(jax.tree.map(np.subtract, difference.gradient, exact)) / norm(exact),
        }
    return found


def width_of(layers: int, parameters: int) -> int:
    """Return n, so that layers * (n² + n) is about so many parameters."""
    return round((0.25 + parameters / layers) ** 0.5 - 0.5)


def problem(config: Config, layers: int, parameters: int) -> tuple[jaxnn.LogLikelihood, Any, jaxnn.Batch]:
    """Return the log likelihood of a network of equal layers, its parameters, and a batch of random numbers."""
    n = width_of(layers, parameters)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((n,) * (layers + 1), activation=jaxnn.tanh), jaxnn.categorical)
    rng = np.random.default_rng(config.seed)
    x, y = rng.normal(size=(config.batch_size, n)), rng.integers(n, size=config.batch_size)
    return objective, objective.model.init(config.seed + 1), jaxnn.Batch(jnp.float32(x), jnp.int32(y))


def shortest(calls: tuple[Callable[[], Any], ...], repeats: int) -> list[float]:
    """Return the seconds of the quickest run of each call, in turns, after one that does not count."""
    seconds = np.empty((repeats + 1, len(calls)))
    for i, j in np.ndindex(seconds.shape):
        start = time.perf_counter()
        jax.block_until_ready(calls[j]())
        seconds[i, j] = time.perf_counter() - start
    return seconds[1:].min(axis=0).tolist()


def norm(tree: Any) -> float:
    """Return the Euclidean norm of all leaves together."""
    return float(np.linalg.norm(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])))


def ratio(row: dict[str, Any], of: str = "flops") -> float:
    """Return the cost of value and gradient over that of the value."""
    return row[of]["gradient"] / row[of]["value"]


def table(report: dict[str, Any]) -> str:
    """Return a row for each number of parameters, and the ratio by depth."""
    rows = [["P", "FLOPs of g", "gradient / g", "ms of g", "gradient / g", "differences / g", "their error"]]
    for row in report["by_parameters"]:
        seconds, differences = row["seconds"], row.get("differences")
        rows.append(
            [f"{row['parameters']:,}", row["flops"]["value"], ratio(row), 1e3 * seconds["value"], ratio(row, "seconds")]
            + ([differences["seconds"] / seconds["value"], differences["relative_error"]] if differences else ["", ""])
        )
    depths = [["layers", "gradient / g", "3 - 1/L"]]
    depths += [[str(row["layers"]), ratio(row), 3 - 1 / row["layers"]] for row in report["by_depth"]]
    return f"{in_columns(rows)}\n\n{in_columns(depths)}"


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    rows = report["by_parameters"]
    ratios, last = [ratio(row) for row in rows], rows[-1]
    return (
        f"Less than three evaluations: {min(ratios):.2f} to {max(ratios):.2f} times the FLOPs of the function, from "
        f"{rows[0]['parameters']:,} to {last['parameters']:,} parameters; at the last, finite differences would take "
        f"{last['parameters'] + 1:,} evaluations."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: cost in evaluations and in seconds by P, and the ratio by depth."""
    figure, axes = new_figure(11, 3.8, 1, 3)
    figure.get_layout_engine().set(wspace=0.05, w_pad=0.08)
    by_evaluations, by_seconds, by_depth = axes[0]
    rows = report["by_parameters"]
    P = np.array([row["parameters"] for row in rows])
    seconds = {name: np.array([row["seconds"][name] for row in rows]) for name in ("value", "gradient")}
    one, two, three = ({**style, "markersize": 5} for style in STYLES[:3])

    by_evaluations.loglog(P, P + 1, **three, label="finite differences: P + 1")
    ratios = [ratio(row) for row in rows]
    by_evaluations.loglog(P, ratios, **two, label=f"gradient: {min(ratios):.2f} to {max(ratios):.2f}")
    by_evaluations.loglog(P, np.ones(len(P)), **one, label="g: 1")
    by_evaluations.set(xlabel="parameters P", ylabel="FLOPs, in evaluations of g")
    by_evaluations.set_title("Counted", fontsize=10)

    by_seconds.loglog(P, (P + 1) * seconds["value"], color=three["color"], linestyle=":", label="P + 1 times g")
    took = [row["differences"]["seconds"] for row in rows if "differences" in row]
    by_seconds.loglog(P[: len(took)], took, **three, label="finite differences")
    by_seconds.loglog(P, seconds["gradient"], **two, label="gradient")
    by_seconds.loglog(P, seconds["value"], **one, label="g")
    days = (P[-1] + 1) * seconds["value"][-1] / 86_400
    by_seconds.text(P[-1] / 2, 86_400 * days, f"{days:.2g} days", ha="right", va="center", fontsize=9)
    by_seconds.set(xlabel="parameters P", ylabel="seconds")
    by_seconds.set_title("Measured", fontsize=10)

    L = np.array([row["layers"] for row in report["by_depth"]])
    smooth = np.linspace(1, L.max(), 100)
    by_depth.plot(smooth, 3 - 1 / smooth, color=one["color"], label="3 - 1/L")
    by_depth.plot(L, [ratio(row) for row in report["by_depth"]], **two | {"linestyle": ""}, label="counted")
    by_depth.axhline(3, color="0.55", linestyle=":")
    by_depth.set(
        xlabel="layers L",
        ylabel="FLOPs of the gradient / FLOPs of g",
        ylim=(1, 3.2),
        xticks=L,
        yticks=(1, 1.5, 2, 2.5, 3),
    )
    by_depth.set_title(f"Why below 3 (P = {report['config']['parameters_by_depth']:,})", fontsize=10)
    for ax in axes[0]:
        ax.legend(frameon=False, fontsize=9)
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert the answer, as it was found."""
    ratios = [ratio(row) for row in report["by_parameters"]]
    assert max(ratios) < 3, "fewer FLOPs than three evaluations, whatever P"
    assert max(ratios) / min(ratios) < 1.1, "flat in P"
    for row in report["by_depth"]:
        assert abs(ratio(row) / (3 - 1 / row["layers"]) - 1) < 0.05, "by depth it is 3 - 1/L"
    for row in report["by_parameters"]:
        if "differences" in row:
            differences = row["differences"]
            assert differences["evaluations"] == row["parameters"] + 1, "finite differences take P + 1 evaluations"
            assert differences["relative_error"] < 0.1, "it is the same gradient"
