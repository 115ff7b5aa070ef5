"""Can one hidden layer approximate any function, and how does the error fall with its width?

A network of width H is y(x) = c + Σ_k v_k g(z_k), z_k = a_k·x + b_k, on [-1, 1]^D. Wide enough, it comes as near as one
likes to any continuous f, in the largest error: for sigmoids (Cybenko 1989), with its derivatives where g has them
(Hornik 1991), for any continuous g that is no polynomial (Leshno, Lin, Pinkus & Schocken 1993). Networks of z² or z³
are polynomials of that degree. These are theorems about existence. Here widths 1, 2, 4 ... 1,024 meet a smooth, a
kinked, an oscillating and a discontinuous target in D = 1 and 2, in three ways, each a bound on the best network:

    constructed     H sigmoids in D = 1, nothing learnt: f(x_0) + Σ_k (f(x_k) - f(x_{k-1})) σ(s (x - m_k)), m_k between
                    the nodes x_k = -1 + k h, h = 2 / H, and s = 10 / h. It is the mean of f over random nodes, as far
                    as h / 2 + 2 log(2) / s from x in the mean, so its error is below 1.64 ω(f, h), ω(f, h) the largest
                    difference of f over a distance of h.
    output layer    a_k, b_k drawn at random, c and v the maximum of the Gaussian log likelihood: least squares in
                    float64, the best of some seeds, as existence is asked for.
    all layers      the same hidden units in D = 1, and then every parameter climbs that likelihood by Gauss-Newton
                    steps, up to 64 units; the best of the seeds again.

Errors are those on a fine grid with points at both sides of a jump: root mean square (L2) and largest (sup).

Expected, before the run: output layers alone take L2 down as H^-2 for ReLU on the smooth target (broken lines) and as
H^-1.5 on the kinked one; for sigmoid and tanh, the same functions of other parameters as σ(z) = (1 + tanh(z/2)) / 2,
faster than any power to 1e-8 on the smooth one. In D = 2 all need more units. L2 falls on the jump, too, as H^-1/2, the
sup error never below 1, half the jump. z² and z³ stay where the best polynomial is. The construction falls as 1 / H in
sup; its derivative does not come near at all, as it climbs stairs, while that of the least squares fits does, for ReLU
as 1 / H. Training all layers helps most where few units must do: ten times nearer at 8 or 16, nothing where rounding or
the ascent limits it, beyond 256.

Found (3 seeds): sigmoid, tanh and ReLU come nearer to every target with width, z² and z³ to none once they are all
polynomials of their degree. On the smooth target in D = 1 tanh falls to 1e-9 with 64 units, 1e-12 with 1,024 where
rounding ends it, ReLU as H^-1.9; on the kink ReLU as H^-1.1, less than expected, as few kinks drawn at random lie near
it. On the jump the fits gain a factor of two to three from 64 to 1,024, less than H^-1/2, for no unit is steeper than
100; in D = 2 they go as H^-1/4. The oscillating target shows what a dimension costs: 0.1 takes 16 units in D = 1 and
256 in D = 2. The construction stays nine times below its bound, and on the kink 1,024 placed sigmoids are nearer in sup
than 1,024 fitted ones. Its slope is off by as much at any width. That of fitted ReLU falls about as H^-0.8 in L2, but
in sup hardly, from 1.7 to 0.6, against what was expected: between kinks drawn close together it may be anything.
Training all layers wins by far more than expected where few units must do (4 tanh on the smooth target: 7e-4 against
2e-2; 2 ReLU find the kink, which is two of them, to 1e-11; 2 tanh the jump to 0.06, which 1,024 fitted ones do not much
better), and loses sooner, from 32 units on the smooth target: with 64 the ascent stops at 1e-4, where least squares
reach 1e-9. That a wide network can is no promise that ascent finds it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import jaxnn
from experiments._figure import PALE, STYLES, new_figure
from experiments._report import in_columns, track


class Power(NamedTuple):
    """The activation g(z) = z^n, which Leshno et al. exclude."""

    name: str
    n: int

    def __call__(self, z: Any) -> Any:
        return z**self.n

    def derivative(self, z: Any) -> Any:
        """Return dg/dz."""
        return self.n * z ** (self.n - 1)


ACTIVATIONS = {g.name: g for g in (jaxnn.sigmoid, jaxnn.tanh, jaxnn.relu, Power("square", 2), Power("cube", 3))}


# Targets f(x) of one x [D].
TARGETS: dict[str, Callable] = {
    "smooth": lambda x: jnp.exp(-4 * jnp.sum(x**2)),
    "kinked": lambda x: jnp.sqrt(jnp.sum(x**2)),
    "oscillating": lambda x: jnp.prod(jnp.sin(4 * jnp.pi * x)),
    "jump": lambda x: jnp.where(jnp.sum(x**2) < 0.25, 1.0, -1.0),
}
DIFFERENTIABLE = ("smooth", "oscillating")
NORMS = ("l2", "sup", "slope_l2", "slope_sup")
TRAINED = ("tanh", "relu")  # sigmoids are tanh
STEEP = 10.0  # s h of the construction
TRACE = 1e-9
LOWEST = (1e-12, 1e-15, 1e-12, 1e-2)  # of the axes of L2 errors


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      widths: H, ascending.
      points: of the training grid, in D = 1 and in D = 2.
      fine_points: of the grid that errors are measured on.
      num_seeds: hidden layers drawn, from `seed` on; the data are grids, without any chance.
      steepness: of the hidden units drawn: |a_k| between 1 and this, uniform in its logarithm; in D = 1 and in D = 2.
      trained: widths of which all layers are trained.
      trained_points: of the training grid there.
      max_steps, products: of Gauss-Newton.
      seed: of the first hidden layer.
    """

    widths: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
    points: tuple[int, int] = (4001, 10_000)
    fine_points: tuple[int, int] = (8001, 20_164)
    num_seeds: int = 3
    steepness: tuple[float, float] = (100.0, 20.0)
    trained: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    trained_points: int = 512
    max_steps: int = 100
    products: int = 50
    seed: int = 0


QUICK = Config(
    widths=(1, 4, 16, 64), points=(900, 900), fine_points=(2500, 2500), num_seeds=2,
    trained=(4,), trained_points=200, max_steps=50,
)  # fmt: skip


class Grid(NamedTuple):
    """Points `x [N, D]`, the values `y [N, 4]` of all targets there, and their derivatives `slope [N, 4]` along x_1."""

    x: np.ndarray
    y: np.ndarray
    slope: np.ndarray


def make_grid(dims: int, num_points: int, both_sides: bool = False) -> Grid:
    """Return about so many points, evenly spread over [-1, 1]^D; with neighbouring ones on both sides of the jump."""
    side = np.linspace(-1, 1, round(num_points ** (1 / dims)))
    x = np.stack(np.meshgrid(*[side] * dims, indexing="ij"), -1).reshape(-1, dims)
    if both_sides:
        ends = np.zeros((2, dims))
        ends[:, 0] = 0.5, np.nextafter(0.5, 0)
        x = np.concatenate([x, ends])
    return Grid(x, *map(np.asarray, _of_targets(x)))


@jax.jit
def _of_targets(x: Any) -> tuple[Any, Any]:
    """Return the values of all targets at x `[N, D]`, and their derivatives along x_1, both `[N, 4]`."""
    y, gradient = zip(*(jax.vmap(jax.value_and_grad(f))(x) for f in TARGETS.values()), strict=True)
    return jnp.stack(y, 1), jnp.stack(gradient, 2)[:, 0]


class Hidden(NamedTuple):
    """A hidden layer: `kernel [D, H]`, `bias [H]`."""

    kernel: Any
    bias: Any

    def units(self, g: Any, x: np.ndarray) -> np.ndarray:
        """Return g(z) `[N, H]`."""
        return np.asarray(g(x @ self.kernel + self.bias))

    def slopes(self, g: Any, x: np.ndarray) -> np.ndarray:
        """Return the derivative of g(z) along x_1 `[N, H]`."""
        return np.asarray(g.derivative(x @ self.kernel + self.bias)) * self.kernel[0]


def draw_hidden(config: Config, dims: int, seed: int) -> Hidden:
    """Return the widest hidden layer, z_k = s_k u_k·(x - t_k): directions u, steepness s and places t at random."""
    random, H = np.random.default_rng(seed), config.widths[-1]
    u = random.normal(size=(dims, H))
    u = u / np.linalg.norm(u, axis=0)
    s = config.steepness[dims - 1] ** random.uniform(size=H)
    t = random.uniform(-1, 1, (dims, H))
    return Hidden(s * u, -s * np.sum(u * t, 0))


def fit_outputs(units: np.ndarray, y: np.ndarray, widths: tuple[int, ...]) -> list[np.ndarray]:
    """Return for every width H the c and v `[1 + H, 4]` of the first H units that fit best, for every target.

    Columns in the order of their widths have one QR factorisation for all of them. Units are scaled to equal size, and
    a trace of a penalty keeps v from growing where they are alike to rounding.
    """
    import scipy.linalg

    columns = np.c_[np.ones(len(units)), units]
    size = np.linalg.norm(columns, axis=0)
    size[size == 0] = 1  # a ReLU that no point reaches
    penalty = np.c_[TRACE * np.eye(len(size)), np.zeros((len(size), y.shape[1]))]
    R = scipy.linalg.qr(np.r_[np.c_[columns / size, y], penalty], mode="r", overwrite_a=True, check_finite=False)[0]
    solved = (
        scipy.linalg.solve_triangular(R[: H + 1, : H + 1], R[: H + 1, len(size) : len(size) + y.shape[1]])
        for H in widths
    )
    return [v / size[: len(v), None] for v in solved]


def errors(units: np.ndarray, slopes: np.ndarray | None, output: np.ndarray, fine: Grid) -> np.ndarray:
    """Return the errors `[4, targets]` in all norms of the networks with these c and v; NaN for slopes of None."""
    off = output[0] + units @ output[1:] - fine.y
    slope_off = np.full_like(off, np.nan) if slopes is None else slopes @ output[1:] - fine.slope
    return np.concatenate([[np.sqrt(np.mean(e**2, 0)), np.abs(e).max(0)] for e in (off, slope_off)])


def _by_target(found: np.ndarray) -> dict[str, dict[str, Any]]:
    """Return errors `[widths, 4, 4]` by target and norm; those of slopes where the target has any and D = 1."""
    return {
        target: {
            norm: found[:, i, j]
            for i, norm in enumerate(NORMS)
            if "slope" not in norm or (target in DIFFERENTIABLE and np.isfinite(found[:, i, j]).all())
        }
        for j, target in enumerate(TARGETS)
    }


def run(config: Config) -> dict[str, Any]:
    """Measure the errors of all three kinds of network."""
    with jax.enable_x64(True):  # errors go far below the rounding of float32
        fine = {dims: make_grid(dims, n, both_sides=True) for dims, n in zip((1, 2), config.fine_points, strict=True)}
        return {
            "output_layer": {dims: _output_layers(config, dims, fine[dims]) for dims in fine},
            "constructed": _constructed(config, fine[1]),
            "all_layers": _all_layers(config, fine[1]),
        }


def _output_layers(config: Config, dims: int, fine: Grid) -> dict[str, Any]:
    """Return the errors with the best output layer, by activation; of every width the smallest over the seeds."""
    grid, found = make_grid(dims, config.points[dims - 1]), {name: [] for name in ACTIVATIONS}
    for seed in track(_seeds(config), f"output layers, D = {dims}"):
        hidden = draw_hidden(config, dims, seed)
        for name, g in ACTIVATIONS.items():
            units, slopes = hidden.units(g, fine.x), hidden.slopes(g, fine.x) if dims == 1 else None
            found[name].append(
                [
                    errors(units[:, :H], None if slopes is None else slopes[:, :H], output, fine)
                    for H, output in zip(
                        config.widths, fit_outputs(hidden.units(g, grid.x), grid.y, config.widths), strict=True
                    )
                ]
            )
    return {name: _by_target(np.min(every, axis=0)) for name, every in found.items()}


def _seeds(config: Config) -> range:
    return range(config.seed, config.seed + config.num_seeds)


def _all_layers(config: Config, fine: Grid) -> dict[str, Any]:
    """Return the errors after all parameters have climbed, by activation; of every width the smallest over seeds."""
    grid, found = make_grid(1, config.trained_points), {name: [] for name in TRAINED}
    for H in track(config.trained, "all layers"):
        for name in TRAINED:
            g = ACTIVATIONS[name]
            objective = jaxnn.LogLikelihood(jaxnn.Mlp((1, H, 1), activation=g), jaxnn.gaussian)
            every = []
            for seed in _seeds(config):
                drawn, (first, last) = draw_hidden(config, 1, seed), objective.model.init(seed)
                start = first._replace(kernel=drawn.kernel[:, :H], bias=drawn.bias[:H]), last
                each = []
                for j in range(len(TARGETS)):
                    top = jaxnn.optimum.gauss_newton(
                        objective, start, jaxnn.Batch(grid.x, grid.y[:, j]),
                        gradient_tolerance=1e-10, max_steps=config.max_steps, products=config.products,
                    )  # fmt: skip
                    hidden, (v, c) = Hidden(*map(np.asarray, top.params[0])), top.params[1]
                    one = fine._replace(y=fine.y[:, [j]], slope=fine.slope[:, [j]])
                    each.append(errors(hidden.units(g, fine.x), hidden.slopes(g, fine.x), np.r_[[c], v], one))
                every.append(np.concatenate(each, axis=1))
            found[name].append(np.min(every, axis=0))
    return {name: _by_target(np.array(every)) for name, every in found.items()}


def construct(H: int) -> tuple[Hidden, np.ndarray]:
    """Return the network of H sigmoids that climbs from node to node, for every target, without any learning."""
    nodes, s = np.linspace(-1, 1, H + 1), STEEP * H / 2
    y = np.asarray(_of_targets(nodes[:, None])[0])
    return Hidden(np.full((1, H), s), -s * (nodes[1:] + nodes[:-1]) / 2), np.r_[y[:1], np.diff(y, axis=0)]


def _constructed(config: Config, fine: Grid) -> dict[str, Any]:
    """Return the errors of the construction, and what its sup error is proven to be below."""
    from scipy.ndimage import maximum_filter1d, minimum_filter1d

    found, bounds = [], []
    even = fine.y[:-2]  # without the two next to the jump
    for H in config.widths:
        hidden, output = construct(H)
        found.append(errors(hidden.units(jaxnn.sigmoid, fine.x), hidden.slopes(jaxnn.sigmoid, fine.x), output, fine))
        window = round((len(even) - 1) / H) + 1  # points within h, both ends counted
        difference = maximum_filter1d(even, window, axis=0) - minimum_filter1d(even, window, axis=0)
        bounds.append((1.5 + 2 * np.log(2) / STEEP) * difference.max(0))
    by_target = _by_target(np.array(found))
    return {name: of | {"bound": np.array(bounds)[:, j]} for j, (name, of) in enumerate(by_target.items())}


def table(report: dict[str, Any]) -> str:
    """Return the L2 errors of every target and kind of network at every second width."""
    widths = report["config"]["widths"]
    shown = widths[::2]
    rows = [["L2 error, units:", *map(str, shown)]]
    kinds = [(f"D = {D}, output layer", D, report["output_layer"][D], widths) for D in ("1", "2")]
    kinds.append(("D = 1, all layers", "1", report["all_layers"], report["config"]["trained"]))
    for kind, _, by_name, at in kinds:
        for target in TARGETS:
            for name, of in by_name.items():
                values = dict(zip(at, of[target]["l2"], strict=True))
                rows.append([f"{target}, {kind}, {name}", *(f"{values[H]:.1e}" if H in values else "" for H in shown)])
    for target, of in report["constructed"].items():
        values = dict(zip(widths, of["l2"], strict=True))
        rows.append([f"{target}, D = 1, constructed", *(f"{values[H]:.1e}" for H in shown)])
    return in_columns(rows)


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    H, layer, built = report["config"]["widths"][-1], report["output_layer"], report["constructed"]
    ends = {D: {name: {t: of[t]["l2"][-1] for t in TARGETS} for name, of in layer[D].items()} for D in layer}
    return (
        f"Yes, unless its units are powers: from 1 to {H:,} tanh units, of which only the output layer is fitted, the "
        f"L2 error falls from {layer['1']['tanh']['smooth']['l2'][0]:.2f} to {ends['1']['tanh']['smooth']:.0e} on a "
        f"smooth target ({ends['2']['tanh']['smooth']:.0e} in two dimensions), to {ends['1']['tanh']['kinked']:.0e} on "
        f"a kink and {ends['1']['tanh']['jump']:.0e} on a jump, next to which half of it is always missed; z³ stays at "
        f"{ends['1']['cube']['smooth']:.2f}, and sigmoids placed without learning reach "
        f"{built['smooth']['l2'][-1]:.0e}, but never the slope (off by {built['smooth']['slope_l2'][-1]:.1f})."
    )


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: L2 error by width for every target in D = 1 and 2, then what other norms say."""
    figure, axes = new_figure(11, 8.8, 3, 4)
    widths, trained = report["config"]["widths"], report["config"]["trained"]
    labels = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU", "cube": "z³"}
    styles = {name: style | {"markersize": 4} for name, style in zip(labels, STYLES, strict=True)}

    def curves(ax: Any, D: str, target: str, norm: str, heading: str, lowest: float) -> None:
        if D == "1" and not (target, norm) == ("jump", "sup"):
            of = report["constructed"][target][norm]
            ax.loglog(widths, of, color=PALE, linewidth=5, zorder=0, label="constructed")
        for name, style in styles.items():
            ax.loglog(widths, report["output_layer"][D][name][target][norm], **style, label=labels[name])
        for name in TRAINED if D == "1" and norm == "l2" else ():
            hollow = styles[name] | {"linestyle": "none", "markerfacecolor": "none", "markersize": 7}
            label = f"{labels[name]}, all layers"
            ax.loglog(trained, report["all_layers"][name][target][norm], **hollow, label=label, zorder=3)
        ax.set_title(heading, loc="left", fontsize=10)
        ax.set_xlabel("units")
        ax.set_ylim(lowest, 4)

    for row, D in enumerate(("1", "2")):
        for ax, target, lowest in zip(axes[row], TARGETS, LOWEST, strict=True):
            curves(ax, D, target, "l2", f"{target}, D = {D}", lowest)
        axes[row, 0].set_ylabel("L2 error")

    ax, bound = axes[2, 0], report["constructed"]["kinked"]["bound"]
    curves(ax, "1", "kinked", "sup", "kinked, D = 1", 1e-4)
    ax.loglog(widths, bound, color="black", linewidth=0.8, zorder=0)
    ax.text(widths[-1], 2.5 * bound[-2], "bound", ha="right", fontsize=8)
    ax.set_ylabel("largest error")
    ax = axes[2, 1]
    curves(ax, "1", "jump", "sup", "jump, D = 1", 0.3)
    ax.set_yscale("linear")
    ax.set_ylim(0, 2)
    ax.axhline(1, color="black", linewidth=0.8, zorder=0)
    ax.text(widths[0], 0.95, "half the jump", va="top", fontsize=8)
    ax.set_ylabel("largest error")
    curves(axes[2, 2], "1", "smooth", "slope_l2", "smooth, D = 1", 1e-9)
    axes[2, 2].set_ylabel("L2 error of dy/dx")
    curves(axes[2, 3], "1", "oscillating", "slope_l2", "oscillating, D = 1", 1e-9)
    axes[2, 3].set_ylim(None, 40)
    for ax in axes.flat:
        ax.set_xticks([1, 10, 100, 1000], ["1", "10", "100", "1,000"])
    handles, names = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, names, loc="outside upper center", ncols=len(names), fontsize=9, frameon=False)
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    widths, trained = report["config"]["widths"], report["config"]["trained"]
    layer, built, climbed = report["output_layer"], report["constructed"], report["all_layers"]
    for D in layer:
        for target in TARGETS:
            for name in ("sigmoid", "tanh", "relu"):
                first, *_, last = layer[D][name][target]["l2"]
                assert last < 0.95 * first, f"L2 falls with width ({name}, {target}, D = {D})"
                assert last < layer[D]["cube"][target]["l2"][-1], f"{name} come nearer than cubes ({target}, D = {D})"
            for name in ("square", "cube"):
                l2 = layer[D][name][target]["l2"]
                assert l2[-1] > 0.999 * l2[widths.index(16)], f"powers do not, once they are all polynomials ({name})"
    assert layer["1"]["tanh"]["smooth"]["l2"][-1] < 1e-7, "tanh comes as near as rounding lets it to what is smooth"
    assert all(min(of["jump"]["sup"]) > 1 - 1e-6 for of in layer["1"].values()), "half a jump is always missed"
    for target in ("smooth", "kinked", "oscillating"):
        off = built[target]
        assert all(e <= bound for e, bound in zip(off["sup"], off["bound"], strict=True)), (
            "the construction has a bound"
        )
    assert built["smooth"]["slope_l2"][-1] > 0.5, "its slope does not come near"
    assert layer["1"]["tanh"]["smooth"]["slope_l2"][-1] < 1e-4, "that of a fit does"
    few, narrow = trained.index(4), widths.index(4)
    for name, target in (("tanh", "smooth"), ("relu", "kinked")):
        alone, together = layer["1"][name][target]["l2"][narrow], climbed[name][target]["l2"][few]
        assert together < 0.2 * alone, f"with four units all layers come much nearer ({name}, {target})"
