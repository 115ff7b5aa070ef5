"""How deep can a network of sigmoids, tanh, ReLU or identities be and still learn, and what does the identity add?

The hidden layers of a network are a_l = g(z_l), z_l = a_{l-1} W_l + b_l. Its derivative dg/dz multiplies the gradient
once a layer on the way back, so with kernels of standard deviation gain / √in a layer shrinks it by gain √E[g'(z)²]
(Glorot & Bengio 2010; Schoenholz et al. 2017). Networks 64-32-...-32-10 with 1 to 8 hidden layers learn the digits by
stochastic gradient ascent from two starts: gain 1 for every g (LeCun et al. 1998), and the gain that jaxnn takes, 1 /
√E[g'(z)²] for z ~ N(0, 1). Each g, start and depth has the learning rate at which its hold-out log likelihood is
highest. With g the identity, all layers together are one affine map x W_1 W_2 ... + b, whatever the depth (Minsky &
Papert 1969, on what that cannot do): on eight principal components of the digits, where softmax regression has a
maximum that Newton's method certifies, Gauss-Newton climbs with identity layers.

Expected, before the run: with gain 1 each layer shortens the gradient by 4.7 for the sigmoid, 1.5 for tanh, 1.4 for
ReLU and not at all for the identity. Sigmoid networks stop learning at three or four hidden layers; all others learn
at 8. With a gain of its own the sigmoid goes one or two layers further, and still fails at 8. Tanh and ReLU gain two
points of test accuracy over softmax regression with one hidden layer, and nothing more with depth. Identity networks
keep the accuracy of softmax regression; their outputs are affine in x to rounding, and the deepest comes within 1e-4
nats of the certified maximum and never above, in many more steps.

Found (one split and order, means over five initial parameters): with gain 1 the gradient in the kernels shrinks
4.2-fold a layer for the sigmoid, and, not as expected, in no other network. On the way back it does shrink for tanh and
ReLU, but a_{l-1} shrinks as much on the way forth, and the gradient in W_l is their product: alike in all layers, if
small. So sigmoids learn with 1 and 2 hidden layers and stay at chance with 4 and 8, all others learn with 8, ReLU badly
(0.78, with wide spread). With gains of their own sigmoids reach 0.95 with 4 layers and 0.72 with 8, ReLU 0.95. Tanh and
ReLU are one to two points above the 0.95 of one identity layer, and depth adds nothing. Identities are affine to 1e-14
of the variance, and Gauss-Newton takes them to the certified maximum, to the rounding of float32, in 51 steps with one
layer and 67 with eight, not many more. Stochastic ascent is less kind: eight identity layers end three points below
one. Depth that adds nothing to what can be said still makes it harder to learn.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from experiments._figure import STYLES, new_figure
from experiments._report import finished, in_columns, interval, track

ACTIVATIONS = {g.name: g for g in (jaxnn.sigmoid, jaxnn.tanh, jaxnn.relu, jaxnn.identity)}
LABELS = {"sigmoid": "sigmoid", "tanh": "tanh", "relu": "ReLU", "identity": "identity"}
STARTS = {"one": "gain 1", "own": "gain of each g"}
KINDS = [(name, start) for name in ACTIVATIONS for start in STARTS]
LEARNS = 0.9  # test accuracy


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
      depths: numbers of hidden layers, ascending.
      hidden: units of every hidden layer.
      learning_rates: of stochastic gradient ascent, of which each activation and depth gets its best.
      num_seeds: initial parameters of each kind, the seeds from seed + 2 on.
      max_epochs, batch_size: of the ascent.
      components: principal components of the digits on which the identity is compared with softmax regression.
      max_steps: of Gauss-Newton there.
      seed: of the split; seed + 1 of the data order.
    """

    depths: tuple[int, ...] = (1, 2, 4, 8)
    hidden: int = 32
    learning_rates: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    num_seeds: int = 5
    max_epochs: int = 20
    batch_size: int = 64
    components: int = 8
    max_steps: int = 200
    seed: int = 0


QUICK = Config(depths=(4,), hidden=16, learning_rates=(0.1,), num_seeds=3, max_epochs=15, max_steps=60)


def run(config: Config) -> dict[str, Any]:
    """Train every depth from both starts, ask for the gradients at the start, and compare the identity's maximum."""
    parts = jaxnn.data.split(jaxnn.data.load("digits"), (0.7, 0.15, 0.15), seed=config.seed)
    z = np.linspace(-5, 5, 201)
    learnt = {name: {start: [] for start in STARTS} for name in ACTIVATIONS}
    for depth in track(config.depths, "depths"):
        for (name, start), one in _learn(config, depth, *parts).items():
            learnt[name][start].append(one)
    return {
        "curves": {"z": z} | {name: {"g": g(z), "derivative": g.derivative(z)} for name, g in ACTIVATIONS.items()},
        "gradient_norms": _gradient_norms(config, parts[0]),
        "learnt": learnt,
        "maximum": _to_the_maximum(config, parts[0]),
    }


@dataclass(frozen=True)
class AnyMlp:
    """A perceptron of which the activation is data, so that one compiled program learns with all four."""

    sizes: tuple[int, ...]

    def apply(self, params: dict[str, Any], x: Any) -> Any:
        """Return the outputs `[K]` of one example, with g the one of the four that `params["which"]` marks with a 1."""
        which = jax.lax.stop_gradient(params["which"])
        any_of_them = lambda z: which @ jnp.stack([g(z) for g in ACTIVATIONS.values()])  # noqa: E731
        return jaxnn.Mlp(self.sizes, activation=any_of_them).apply(params["layers"], x)

    def init(self, kind: int, seed: int) -> dict[str, Any]:
        """Return initial parameters of one of `KINDS`."""
        name, start = KINDS[kind]
        g = ACTIVATIONS["identity" if start == "one" else name]  # the identity's gain is 1
        which = np.array([other == name for other in ACTIVATIONS], np.float32)
        return {"which": which, "layers": jaxnn.Mlp(self.sizes, activation=g).init(seed)}


def _objective(config: Config, depth: int) -> Any:
    return jaxnn.LogLikelihood(AnyMlp((64, *(config.hidden,) * depth, 10)), jaxnn.categorical)


def _learn(config: Config, depth: int, train: Any, hold_out: Any, test: Any) -> dict[tuple[str, str], dict[str, Any]]:
    """Train one depth from all starts, at all rates, all in one program; return what the best rate of each reached."""
    objective = _objective(config, depth)
    runs = finished(
        jaxnn.sweep(
            objective,
            optax.sgd,
            train,
            hold_out,
            grid={
                "learning_rate": config.learning_rates,
                "order": [config.seed + 1],
                "seed": range(len(KINDS) * config.num_seeds),
            },
            params=lambda i: objective.model.init(i // config.num_seeds, config.seed + 2 + i % config.num_seeds),
            plan=jaxnn.MiniBatch(config.batch_size),
            max_epochs=config.max_epochs,
            patience=None,
            progress=False,
        )
    )
    number = np.arange(len(runs)).reshape(len(config.learning_rates), len(KINDS), config.num_seeds)
    value = np.where(runs.ended_well, runs.value, -np.inf)[number].mean(2)
    best = value.argmax(0)  # by kind; a rate at which a run diverges is none
    chosen = number[best, np.arange(len(KINDS))]
    params = jax.tree.map(lambda leaf: leaf[chosen.ravel()], runs.params)
    outputs = np.asarray(_outputs(objective.model, params, test.batch.x), float)
    right = (outputs.argmax(2) == np.asarray(test.batch.y)).mean(1)
    not_affine = _not_affine(np.asarray(test.batch.x, float), outputs)
    return {
        kind: {
            "learning_rate": config.learning_rates[best[k]],
            "accuracy": right.reshape(chosen.shape)[k],
            "not_affine": not_affine.reshape(chosen.shape)[k],
        }
        for k, kind in enumerate(KINDS)
    }


@partial(jax.jit, static_argnums=0)
def _outputs(model: Any, params: Any, x: Any) -> Any:
    """Return the outputs `[R, N, K]` of R networks at N examples."""
    return jax.vmap(jax.vmap(model.apply, (None, 0)), (0, None))(params, x)


def _not_affine(x: np.ndarray, outputs: np.ndarray) -> np.ndarray:
    """Return the share of the variance of the outputs `[R, N, K]` that no affine function of x explains."""
    u, size, _ = np.linalg.svd(x - x.mean(0), full_matrices=False)
    u = u[:, size > 1e-9 * size[0]]  # some pixels are always white
    outputs = outputs - outputs.mean(1, keepdims=True)
    rest = outputs - u @ (u.T @ outputs)
    return np.sum(rest**2, (1, 2)) / np.sum(outputs**2, (1, 2))


def _gradient_norms(config: Config, train: Any) -> dict[str, dict[str, Any]]:
    """Return the norm of the gradient in every kernel of the deepest network before any step, a row a seed."""
    objective, found = _objective(config, config.depths[-1]), {name: {} for name in ACTIVATIONS}
    gradient = jax.jit(jax.grad(objective))
    for k, (name, start) in enumerate(KINDS):
        at_start = [
            gradient(objective.model.init(k, config.seed + 2 + i), train.batch) for i in range(config.num_seeds)
        ]
        found[name][start] = [[float(jnp.linalg.norm(a.kernel)) for a in g["layers"]] for g in at_start]
    return found


def _to_the_maximum(config: Config, train: Any) -> dict[str, Any]:
    """Return how high Gauss-Newton climbs with identity layers, and the certified maximum of softmax regression."""
    x = np.asarray(train.batch.x, float)
    x = x - x.mean(0)
    scores = x @ np.linalg.svd(x, full_matrices=False)[2][: config.components].T
    (few,) = jaxnn.data.standardise(jaxnn.data.dataset(scores, train.batch.y, num_classes=10))
    softmax = jaxnn.LogLikelihood(jaxnn.Linear(config.components, 10), jaxnn.categorical)
    top = jaxnn.optimum.newton(softmax, softmax.model.init(0), few)
    climbs = {}
    for depth in sorted({config.depths[0], config.depths[-1]}):
        model = jaxnn.Mlp((config.components, *(config.hidden,) * depth, 10), activation=jaxnn.identity)
        deep = jaxnn.LogLikelihood(model, jaxnn.categorical)
        found = jaxnn.optimum.gauss_newton(deep, model.init(config.seed + 2), few, max_steps=config.max_steps)
        climbs[depth] = {"missing": top.value - found.value, "path": top.value - found.history["value"]}
    return {"value": top.value, "gap": top.gap, "is_certified": top.converged, "climbs": climbs}


def _shrinks(report: dict[str, Any], name: str, start: str) -> float:
    """Return the factor by which the gradient grows a layer between the first and the last kernel of equal shape."""
    norms = np.log(report["gradient_norms"][name][start]).mean(0)[1:-1]
    return float(np.exp((norms[-1] - norms[0]) / (len(norms) - 1)))


def _accuracies(report: dict[str, Any], name: str, start: str) -> list[float]:
    """Return the mean test accuracy at every depth."""
    return [float(np.mean(one["accuracy"])) for one in report["learnt"][name][start]]


def _deepest(report: dict[str, Any], name: str, start: str) -> int:
    """Return the depth up to which the mean test accuracy is above `LEARNS`; 0 where it never is."""
    learns = [accuracy > LEARNS for accuracy in _accuracies(report, name, start)] + [False]
    return ([0, *report["config"]["depths"]])[learns.index(False)]


def table(report: dict[str, Any]) -> str:
    """Return test accuracies by depth, what a layer does to the gradient, and how near the maximum identities come."""
    rows = [["test accuracy, hidden layers:", *map(str, report["config"]["depths"]), "gradient, a layer"]]
    for start, heading in STARTS.items():
        for name in ACTIVATIONS:
            accuracies = (f"{a:.3f}" for a in _accuracies(report, name, start))
            rows.append([f"{LABELS[name]}, {heading}", *accuracies, f"1 / {_shrinks(report, name, start):.2f}"])
    top = report["maximum"]
    climbs = ", ".join(
        f"{climb['missing']:.1e} missing with {depth} after {len(climb['path']) - 1} steps"
        for depth, climb in top["climbs"].items()
    )
    return f"{in_columns(rows)}\nidentity layers, of the maximum {top['value']:.6f} nats per example: {climbs}"


def answer(report: dict[str, Any]) -> str:
    """Return the finding in one sentence."""
    last = {name: _accuracies(report, name, "own")[-1] for name in ACTIVATIONS}
    deepest = report["config"]["depths"][-1]
    share = max(max(one["not_affine"]) for one in report["learnt"]["identity"]["own"])
    return (
        f"With kernels of gain 1, where each layer divides the gradient by {_shrinks(report, 'sigmoid', 'one'):.1f}, "
        f"sigmoids learn with up to {_deepest(report, 'sigmoid', 'one')} hidden layers and with {deepest} not at all "
        f"(test accuracy {_accuracies(report, 'sigmoid', 'one')[-1]:.2f}), with a gain of their own with up to "
        f"{_deepest(report, 'sigmoid', 'own')}; then, with {deepest}, tanh reaches {last['tanh']:.3f} and ReLU "
        f"{last['relu']:.3f}; the identity adds nothing to softmax regression, as its outputs are affine in x but for "
        f"{share:.0e} of their variance and its maximum is the same to {_largest_missing(report):.0e} nats."
    )


def _largest_missing(report: dict[str, Any]) -> float:
    return max(abs(climb["missing"]) for climb in report["maximum"]["climbs"].values())


def draw(report: dict[str, Any]) -> Any:
    """Return the figure: functions and derivatives, gradients by layer and accuracy by depth, and the identity."""
    figure, axes = new_figure(11, 5.8, 2, 4)
    styles = {name: style | {"markersize": 4} for name, style in zip(ACTIVATIONS, STYLES, strict=True)}
    curves, depths = report["curves"], report["config"]["depths"]
    for ax, part, heading in zip(axes[:, 0], ("g", "derivative"), ("g(z)", "dg/dz"), strict=True):
        for name, style in styles.items():
            ax.plot(curves["z"], curves[name][part], **style | {"marker": ""}, label=LABELS[name])
        ax.set_title(heading, loc="left", fontsize=10)
        ax.set_xlabel("z")
        ax.set_xticks([-5, 0, 5])
    axes[0, 0].set_ylim(-1.5, 3)
    axes[1, 0].set_ylim(-0.05, 1.15)
    axes[0, 0].legend(fontsize=8, frameon=False)

    for row, (start, heading) in enumerate(STARTS.items()):
        ax = axes[row, 1]
        for name, style in styles.items():
            norms = np.array(report["gradient_norms"][name][start])
            ax.semilogy(range(1, norms.shape[1] + 1), np.exp(np.log(norms).mean(0)), **style)
        ax.set_title(f"gradient before any step,\n{heading}", loc="left", fontsize=10)
        ax.set_xlabel(f"layer of {norms.shape[1]}")
        ax.set_ylabel("norm (nats per unit of w)")
        ax.set_ylim(2e-6, 6)
        ax.set_xticks(range(1, norms.shape[1] + 1))

        ax = axes[row, 2]
        for name, style in styles.items():
            found = [interval(one["accuracy"]) for one in report["learnt"][name][start]]
            ax.errorbar(
                depths, [one["mean"] for one in found], [one["high"] - one["mean"] for one in found], **style, capsize=2
            )
        ax.set_title(f"after training,\n{heading}", loc="left", fontsize=10)
        ax.set_xlabel("hidden layers")
        ax.set_ylabel("test accuracy")
        ax.set_ylim(0, 1.03)
        ax.set_xticks(depths)

    ax = axes[0, 3]
    for (depth, climb), style in zip(report["maximum"]["climbs"].items(), STYLES, strict=False):
        ax.semilogy(np.maximum(climb["path"], 1e-8), **style | {"marker": ""}, label=depth)
    ax.set_title("short of the maximum\nof softmax regression", loc="left", fontsize=10)
    ax.set_xlabel("Gauss-Newton steps")
    ax.set_ylabel("nats per example")
    ax.legend(title="identity layers", title_fontsize=8, fontsize=8, frameon=False)

    ax = axes[1, 3]
    for name, style in styles.items():
        shares = [np.exp(np.mean(np.log(one["not_affine"]))) for one in report["learnt"][name]["own"]]
        ax.semilogy(depths, shares, **style)
    ax.set_title("of the outputs learnt,\nnot affine in x", loc="left", fontsize=10)
    ax.set_xlabel("hidden layers")
    ax.set_ylabel("share of their variance")
    ax.set_ylim(1e-16, 3)
    ax.set_xticks(depths)
    return figure


def check(report: dict[str, Any]) -> None:
    """Assert the headline, as it was found."""
    deepest = {name: {start: of[start][-1] for start in STARTS} for name, of in report["learnt"].items()}
    assert max(deepest["sigmoid"]["one"]["accuracy"]) < 0.2, "deep sigmoids of gain 1 do not learn"
    assert 3 < _shrinks(report, "sigmoid", "one") < 5, "as each layer divides the gradient by four"
    for name in ("tanh", "relu", "identity"):
        assert 1 / 1.5 < _shrinks(report, name, "one") < 1.5, f"those of {name} keep the size of gradients"
    assert min(deepest["tanh"]["own"]["accuracy"]) > 0.85, "deep tanh learns"
    for of in report["learnt"]["identity"].values():
        assert all(max(one["not_affine"]) < 1e-10 for one in of), "networks of identities are affine"
    assert min(deepest["tanh"]["own"]["not_affine"]) > 1e-2, "those of tanh are not"
    top = report["maximum"]
    assert top["is_certified"], "the maximum of softmax regression is certified"
    for climb in top["climbs"].values():
        assert climb["missing"] > -1e-6, "identity layers climb no higher"
        assert climb["missing"] < 1e-4, "and as high"
