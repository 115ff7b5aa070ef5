"""Gradients of single examples: what they cost over the plain gradient, and against the libraries that give them.

Every ratio is the median of the ratios within rounds of a race. Equal results come first: whoever is raced has given
the same numbers, to the tolerance that is printed. Parts, which `--only` picks from:

    clipped     norms and clipped sum over the plain gradient of the same batch, and their temporaries
    gradients   the gradients themselves over filling arrays of that size
    foreign     Flax and Equinox networks through `from_function`, over the built-in network
    epoch       an epoch of clipped gradients over a plain one
    peers       the clipped sum by vmap(grad), optax, jax_privacy and Opacus
    backpack    norms, second moments, variances and inner products by BackPACK
"""

import argparse
import importlib.util
import os
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from benchmarks._race import describe, race, ratios, save

SOFTMAX, SMALL, WIDE = (784, 10), (784, 128, 10), (784, 512, 512, 10)
ROWS = {SOFTMAX: 128, SMALL: 128, WIDE: 512}
CALLS = {SOFTMAX: 40, SMALL: 20, WIDE: 2}  # in one measurement, which should last longer than a hiccup of the system
MAX_NORM = 1.0
PACKAGES = {  # distribution: module
    "equinox": "equinox",
    "flax": "flax",
    "torch": "torch",
    "jax-privacy": "jax_privacy",
    "opacus": "opacus",
    "backpack-for-pytorch": "backpack",
}


class Aim(NamedTuple):
    """One line of the table at the end: a measured number and the bound it should keep."""

    what: str
    value: float
    aim: float
    at_least: bool = False

    def line(self) -> str:
        """Return the line."""
        met = self.value >= self.aim if self.at_least else self.value <= self.aim
        sign = ">=" if self.at_least else "<="
        return f"{self.what:<78}{self.value:10.3f}  {sign}{self.aim:8.2f}  {'met' if met else 'MISSED'}"


def present(distribution: str) -> bool:
    """Return whether a package is installed; say so where it is not."""
    here = importlib.util.find_spec(PACKAGES[distribution]) is not None
    if not here:
        print(f"{distribution} is absent: left out")
    return here


def name_of(sizes: tuple[int, ...]) -> str:
    """Return a network and its batch in words."""
    return f"{'-'.join(map(str, sizes))} B={ROWS[sizes]}"


def problem(sizes: tuple[int, ...]):
    """Return the objective, parameters and a random batch."""
    rng = np.random.default_rng(0)
    x = rng.random((ROWS[sizes], sizes[0]), dtype=np.float32)
    y = rng.integers(0, sizes[-1], ROWS[sizes], dtype=np.int32)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp(sizes, jaxnn.relu), jaxnn.categorical)
    params = objective.model.init(1)
    if len(sizes) == 2:  # begins at zero, where every softmax is the same
        params = jax.tree.map(lambda w: jnp.asarray(0.05 * rng.standard_normal(w.shape, np.float32)), params)
    return objective, params, jaxnn.Batch(jnp.asarray(x), jnp.asarray(y))


def repeated(run, calls: int):
    """Return a contender that waits for each of so many calls."""

    def contender():
        for _ in range(calls):
            jax.block_until_ready(run())

    return contender


def over(seconds: dict[str, dict[str, Any]], a: str, b: str) -> float:
    """Return the time of a over that of b: the median within rounds."""
    return ratios(seconds, a)[b]["paired"]


def milliseconds(seconds: dict[str, dict[str, Any]], calls: int = 1) -> dict[str, float]:
    """Print and return the least time of one call of every contender."""
    times = {name: s["min"] / calls * 1e3 for name, s in seconds.items() if name != "control"}
    for name, ms in times.items():
        print(f"  {name:<46}{ms:12.3f} ms")
    return times


def difference(got: Any, want: Any, tolerance: float, what: str) -> float:
    """Return the largest difference over the leaves, relative to a leaf's largest entry; it must be within bounds."""
    off = 0.0
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(want), strict=True):
        a, b = np.asarray(a), np.asarray(b)
        assert a.shape == b.shape, (what, a.shape, b.shape)
        off = max(off, float(np.max(np.abs(a - b)) / np.max(np.abs(b))))
    print(f"  {what}: largest difference {off:.1e}")
    assert off <= tolerance, (what, off)
    return off


def temporaries(function, *args) -> int:
    """Return the bytes a compiled program holds beside what goes in and comes out."""
    return function.lower(*args).compile().memory_analysis().temp_size_in_bytes


def plain_gradient(objective):
    """Return the compiled gradient of the summed log likelihood of a batch: what training pays anyway."""

    def total(params, batch):
        return jnp.sum(jax.vmap(objective.per_example, (None, 0, 0))(params, batch.x, batch.y))

    return jax.jit(jax.grad(total))


def clipped_gradient(objective, max_norm=MAX_NORM):
    """Return the compiled clipped sum of the library, with all norms."""
    return jax.jit(lambda params, batch: jaxnn.per_example.clipped_sum(objective, params, batch, max_norm))


def each_gradient(objective):
    """Return vmap(grad), not compiled: the definition that everything here is held against."""

    def all_of(params, batch):
        return jax.vmap(jax.grad(objective.per_example), (None, 0, 0))(params, batch.x, batch.y)

    return all_of


def naive_clipped(objective, max_norm=MAX_NORM):
    """Return the compiled clipped sum and norms by vmap(grad), summed by a product: quicker than along an axis."""
    gradients = each_gradient(objective)

    def clip(params, batch):
        g = gradients(params, batch)
        squares = sum(jnp.sum(jnp.square(leaf), tuple(range(1, leaf.ndim))) for leaf in jax.tree.leaves(g))
        norms = jnp.sqrt(squares)
        c = jnp.minimum(1, max_norm / norms)
        return jax.tree.map(lambda leaf: jnp.tensordot(c, leaf, 1), g), norms

    return jax.jit(clip)


def race_clipped(repeats: int):
    """Norms and clipped sum over the plain gradient, with temporaries."""
    result, aims = {}, []
    for sizes in (SOFTMAX, SMALL, WIDE):
        print(name_of(sizes))
        objective, params, batch = problem(sizes)
        plain, ours = plain_gradient(objective), clipped_gradient(objective)
        total, clipping = ours(params, batch)
        off = difference((total, clipping.norms), naive_clipped(objective)(params, batch), 1e-5, "against vmap(grad)")
        calls = CALLS[sizes]
        contenders = {"plain gradient": partial(plain, params, batch), "clipped sum": partial(ours, params, batch)}
        seconds = race({name: repeated(run, calls) for name, run in contenders.items()}, repeats)
        ratio = ratios(seconds, "clipped sum")["plain gradient"]
        sizes_of = {"plain": temporaries(plain, params, batch), "clipped": temporaries(ours, params, batch)}
        times = milliseconds(seconds, calls)
        print(f"  clipped / plain: {describe(ratio)}; bytes of temporaries {sizes_of}")
        aims += [
            Aim(f"clipped sum / plain gradient, {name_of(sizes)}", ratio["paired"], 1.15 if sizes == SOFTMAX else 1.05),
            Aim(f"its temporaries / plain's, {name_of(sizes)}", sizes_of["clipped"] / max(1, sizes_of["plain"]), 1.2),
        ]
        result[name_of(sizes)] = {
            "ratio": ratio,
            "milliseconds": times,
            "temporaries": sizes_of,
            "largest_difference": off,
            "clipped": int(clipping.clipped),
            "control": seconds["control"],
        }
    return result, aims


def filling(n: int):
    """Return the compiled program that fills n trees like the parameters with one number."""

    def fill(params, value):
        return jax.tree.map(lambda leaf: jnp.full((n, *leaf.shape), value), params)

    return jax.jit(fill)


def race_gradients(repeats: int):
    """The gradients of all examples over filling arrays of their size: no program can write them faster."""
    result, aims = {}, []
    for sizes in (SMALL, WIDE):
        print(name_of(sizes))
        objective, params, batch = problem(sizes)
        n, calls = ROWS[sizes], 1 if sizes == WIDE else 5
        ours = jax.jit(lambda p, b, o=objective: jaxnn.per_example.gradients(o, p, b, memory=2**31))
        naive = jax.jit(each_gradient(objective))
        fill = filling(n)
        off = difference(ours(params, batch), naive(params, batch), 1e-5, "against vmap(grad)")
        contenders = {
            "filling": partial(fill, params, jnp.float32(1.5)),
            "gradients": partial(ours, params, batch),
            "vmap(grad)": partial(naive, params, batch),
        }
        seconds = race({name: repeated(run, calls) for name, run in contenders.items()}, max(3, repeats // 3))
        times = milliseconds(seconds, calls)
        result[name_of(sizes)] = {
            "ratios": ratios(seconds, "gradients"),
            "milliseconds": times,
            "bytes": n * sum(leaf.nbytes for leaf in jax.tree.leaves(params)),
            "temporaries": {
                "gradients": temporaries(ours, params, batch),
                "vmap(grad)": temporaries(naive, params, batch),
            },
            "largest_difference": off,
            "control": seconds["control"],
        }
        print(f"  vmap(grad) / gradients: {over(seconds, 'vmap(grad)', 'gradients'):.2f}")
        aims.append(Aim(f"gradients / filling, {name_of(sizes)}", over(seconds, "gradients", "filling"), 2.0))
    return result, aims


def log_softmax_of(logits, y):
    """Return log P(y) as most code outside writes it."""
    return jax.nn.log_softmax(logits)[y]


def flax_network(sizes, params):
    """Return log_prob and parameters of the same network in Flax."""
    import flax.linen as nn

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            for size in sizes[1:-1]:
                x = nn.relu(nn.Dense(size)(x))
            return nn.Dense(sizes[-1])(x)

    network = Network()
    variables = {"params": {f"Dense_{n}": {"kernel": p.kernel, "bias": p.bias} for n, p in enumerate(params)}}

    def log_prob(variables, x, y):
        return log_softmax_of(network.apply(variables, x), y)

    return log_prob, variables, lambda total: [total["params"][f"Dense_{n}"] for n in range(len(params))]


def equinox_network(sizes, params):
    """Return log_prob and parameters of the same network in Equinox, whose kernels lie [out, in]."""
    import equinox as eqx

    mlp = eqx.nn.MLP(sizes[0], sizes[-1], sizes[1], len(sizes) - 2, key=jax.random.key(1))
    leaves = [leaf for p in params for leaf in (p.kernel.T, p.bias)]
    mlp = eqx.tree_at(lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)], mlp, leaves)
    arrays, static = eqx.partition(mlp, eqx.is_array)

    def log_prob(arrays, x, y):
        return log_softmax_of(eqx.combine(arrays, static)(x), y)

    return log_prob, arrays, lambda total: [{"kernel": m.weight.T, "bias": m.bias} for m in total.layers]


def race_foreign(repeats: int):
    """Networks of other libraries through `from_function`, over the built-in one."""
    result, aims = {}, []
    for sizes in (SMALL, WIDE):
        print(name_of(sizes))
        objective, params, batch = problem(sizes)
        model = objective.model

        def own_log_prob(params, x, y, model=model):
            return log_softmax_of(model.apply(params, x), y)

        as_dicts = lambda total: [{"kernel": p.kernel, "bias": p.bias} for p in total]  # noqa: E731
        networks = {"the built-in network, a user's log_prob": (own_log_prob, params, as_dicts)}
        if present("flax"):
            networks["flax"] = flax_network(sizes, params)
        if present("equinox"):
            networks["equinox"] = equinox_network(sizes, params)
        ours = clipped_gradient(objective)
        total, clipping = ours(params, batch)
        want = as_dicts(total), clipping.norms
        contenders, off = {"built in": partial(ours, params, batch)}, {}
        for name, (log_prob, theirs, in_our_form) in networks.items():
            clip = clipped_gradient(jaxnn.from_function(log_prob))
            total, clipping = clip(theirs, batch)
            off[name] = difference((in_our_form(total), clipping.norms), want, 1e-5, name)
            contenders[name] = partial(clip, theirs, batch)
        seconds = race({name: repeated(run, CALLS[sizes]) for name, run in contenders.items()}, repeats)
        times = milliseconds(seconds, CALLS[sizes])
        found = {name: over(seconds, name, "built in") for name in networks}
        print("  over built in:", {name: round(value, 3) for name, value in found.items()})
        aims += [Aim(f"{name} / built in, {name_of(sizes)}", found[name], 1.05) for name in list(networks)[1:]]
        result[name_of(sizes)] = {
            "over_built_in": found,
            "milliseconds": times,
            "largest_differences": off,
            "control": seconds["control"],
        }
    return result, aims


def race_epoch(repeats: int):
    """An epoch of clipped gradients over a plain one."""
    if not hasattr(jaxnn, "clipped"):
        print("jaxnn.clipped is missing: skipped")
        return {}, []
    n = 100 * ROWS[SMALL]
    rng = np.random.default_rng(0)
    x, y = rng.random((n, SMALL[0]), dtype=np.float32), rng.integers(0, SMALL[-1], n, dtype=np.int32)
    train = jaxnn.data.dataset(x, y, num_classes=SMALL[-1])
    objective, params, _ = problem(SMALL)
    plan = jaxnn.MiniBatch(ROWS[SMALL])
    state = jaxnn.init_state(objective, optax.sgd, params, jax.random.key(0), learning_rate=0.05)

    def epoch(**options):
        after, history = jaxnn.ascend(objective, optax.sgd, state, train, plan, 1, **options)
        return after.params, history.log_likelihood

    off = difference(epoch(aggregate=jaxnn.clipped(1e9)), epoch(), 1e-4, "never clipped, against a plain epoch")
    clipping = jaxnn.clipped(MAX_NORM)
    contenders = {"plain epoch": epoch, "clipped epoch": lambda: epoch(aggregate=clipping)}
    seconds = race({name: repeated(run, 1) for name, run in contenders.items()}, repeats)
    times = milliseconds(seconds)
    ratio = over(seconds, "clipped epoch", "plain epoch")
    setting = f"{'-'.join(map(str, SMALL))} B={ROWS[SMALL]} N={n}"
    result = {
        "setting": setting,
        "ratio": ratios(seconds, "clipped epoch")["plain epoch"],
        "milliseconds": times,
        "largest_difference": off,
        "control": seconds["control"],
    }
    return result, [Aim(f"clipped epoch / plain epoch, {setting}", ratio, 1.10)]


def torch_network(params):
    """Return the same network in PyTorch."""
    import torch

    warnings.filterwarnings("ignore", message="Full backward hook is firing")  # as it should: x needs no gradient
    layers: list[Any] = []
    for p in params:
        layer = torch.nn.Linear(*p.kernel.shape)
        layer.weight.data = torch.from_numpy(np.array(p.kernel.T, order="C"))
        layer.bias.data = torch.from_numpy(np.array(p.bias))
        layers += [layer, torch.nn.ReLU()]
    return torch.nn.Sequential(*layers[:-1])


def quickest(run: Callable[[], Any], name: str) -> Callable[[], Any]:
    """Return a run of PyTorch with as many threads as suit it: one of 1 and all cores.

    Its threads wait for each other at every operation, so where another process takes a core, even for a moment, one
    thread can be ten times quicker than two.
    """
    import torch

    def with_threads(threads: int) -> None:
        torch.set_num_threads(threads)
        run()

    tries: dict[int, list[float]] = {1: [], os.cpu_count() or 1: []}
    for _ in range(3):
        for threads, seconds in tries.items():
            start = time.perf_counter()
            with_threads(threads)
            seconds.append(time.perf_counter() - start)
    best = min(tries, key=lambda threads: sorted(tries[threads])[1])
    print(f"  {name}: {best} threads,", {threads: f"{sorted(s)[1] * 1e3:.1f} ms" for threads, s in tries.items()})
    return partial(with_threads, best)


def torch_plain(params, batch):
    """The plain gradient in PyTorch: what its libraries start from."""
    import torch

    model, (x, y) = torch_network(params), torch_batch(batch)
    loss = torch.nn.CrossEntropyLoss(reduction="sum")

    def run():
        model.zero_grad(set_to_none=True)
        loss(model(x), y).backward()

    return run


def torch_batch(batch):
    """Return the rows and labels in PyTorch."""
    import torch

    return torch.from_numpy(np.array(batch.x)), torch.from_numpy(np.array(batch.y, np.int64))


def from_torch(leaves, sign: float = 1.0):
    """Return tensors, a weight and a bias for each layer, as (kernel [in, out], bias) pairs of NumPy."""
    arrays = [sign * leaf.detach().numpy() for leaf in leaves]
    return [(w.T, b) for w, b in zip(arrays[::2], arrays[1::2], strict=True)]


def opacus_hooks(params, batch, max_norm):
    """Opacus as it is used by default: a gradient for every example from hooks, then clipped and summed."""
    import torch
    from opacus import GradSampleModule
    from opacus.optimizers import DPOptimizer

    model, (x, y) = GradSampleModule(torch_network(params), loss_reduction="sum"), torch_batch(batch)
    optimizer = DPOptimizer(
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=max_norm,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    loss = torch.nn.CrossEntropyLoss(reduction="sum")

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss(model(x), y).backward()
        optimizer.clip_and_accumulate()

    return run, lambda: from_torch([p.summed_grad for p in optimizer.params], -1)


def opacus_ghost(params, batch, max_norm):
    """Opacus with ghost clipping: norms from one backward pass, the clipped sum from a second."""
    import torch
    from opacus.grad_sample import GradSampleModuleFastGradientClipping
    from opacus.optimizers import DPOptimizerFastGradientClipping
    from opacus.utils.fast_gradient_clipping_utils import DPLossFastGradientClipping

    model, (x, y) = torch_network(params), torch_batch(batch)
    model = GradSampleModuleFastGradientClipping(model, loss_reduction="sum", max_grad_norm=max_norm)
    optimizer = DPOptimizerFastGradientClipping(
        torch.optim.SGD(model.parameters(), lr=1.0),
        noise_multiplier=0.0,
        max_grad_norm=max_norm,
        expected_batch_size=None,
        loss_reduction="sum",
    )
    loss = DPLossFastGradientClipping(model, optimizer, torch.nn.CrossEntropyLoss(reduction="sum"), "sum")

    def run():
        optimizer.zero_grad(set_to_none=True)
        loss(model(x), y).backward()

    return run, lambda: from_torch([p.grad for p in optimizer.params], -1)


def jax_privacy_clipped(objective, params, batch, max_norm, microbatch_size):
    """The clipped gradient of jax_privacy, with norms, compiled."""
    from jax_privacy.clipping import clipped_grad

    def log_prob(params, x, y):
        return objective.per_example(params, x, y)

    clip = clipped_grad(
        log_prob,
        l2_clip_norm=max_norm,
        batch_argnums=(1, 2),
        keep_batch_dim=False,
        return_grad_norms=True,
        microbatch_size=microbatch_size,
    )
    clip = jax.jit(clip.fun)
    return partial(clip, params, batch.x, batch.y)


def optax_aggregate(objective, params, batch, max_norm):
    """The private aggregate of optax on vmap(grad), compiled, with noise of 0; it returns a mean."""
    aggregate = optax.contrib.differentially_private_aggregate(max_norm, 0.0, jax.random.key(0))
    state, gradients = aggregate.init(params), each_gradient(objective)
    clip = jax.jit(lambda params, batch, state: aggregate.update(gradients(params, batch), state)[0])
    return partial(clip, params, batch, state)


def race_peers(repeats: int):
    """The clipped sum of the wide network by everyone; half of the examples are clipped."""
    print(name_of(WIDE))
    objective, params, batch = problem(WIDE)
    max_norm = float(jnp.median(jaxnn.per_example.norms(objective, params, batch)))
    ours = clipped_gradient(objective, max_norm)
    want, clipping = ours(params, batch)
    naive = naive_clipped(objective, max_norm)
    optax_run = optax_aggregate(objective, params, batch, max_norm)
    off = {"vmap(grad)": difference(naive(params, batch)[0], want, 1e-5, "vmap(grad)")}
    off["optax"] = difference(jax.tree.map(lambda g: ROWS[WIDE] * g, optax_run()), want, 1e-5, "optax")
    quick, slow = ({"jaxnn": partial(ours, params, batch)} for _ in range(2))
    middling = {"jaxnn": quick["jaxnn"], "vmap(grad)": partial(naive, params, batch), "optax": optax_run}
    # A program that loops over single examples keeps each gradient in the cache, and is its quickest form here.
    if present("jax-privacy"):
        for name, size, field in (("jax_privacy", None, slow), ("jax_privacy, microbatch_size=1", 1, middling)):
            field[name] = jax_privacy_clipped(objective, params, batch, max_norm, size)
            off[name] = difference(field[name]()[0], want, 1e-5, name)
    if present("torch") and present("opacus"):
        pairs = [(w.kernel, w.bias) for w in want]
        for name, make, field in (("opacus hooks", opacus_hooks, middling), ("opacus ghost", opacus_ghost, quick)):
            run, get = make(params, batch, max_norm)
            run()
            off[name] = difference(get(), pairs, 1e-5, name)
            field[name] = quickest(run, name)
        quick["torch plain gradient"] = quickest(torch_plain(params, batch), "torch plain gradient")
    found, times, controls, rounds = {}, {}, {}, {}
    # In three races: a call takes from milliseconds to tens of seconds, and the quick ones deserve more rounds.
    for speed, field, number in (
        ("quick", quick, repeats),
        ("middling", middling, max(3, repeats // 3)),
        ("slow", slow, 2),
    ):
        if len(field) > 1:
            calls = CALLS[WIDE] if speed == "quick" else 1
            seconds = race({name: repeated(run, calls) for name, run in field.items()}, number)
            times[speed], controls[speed] = milliseconds(seconds, calls), seconds["control"]
            found |= {name: over(seconds, name, "jaxnn") for name in field if name != "jaxnn"}
            rounds |= {name: number for name in field if name != "jaxnn"}
    wanted = {name: 2.0 if name == "opacus ghost" else 50.0 for name in found}
    aims = [
        Aim(f"{name} / jaxnn, clipped sum, {name_of(WIDE)}", found[name], wanted[name], True)
        for name in found
        if name != "torch plain gradient"
    ]
    result = {
        "setting": {"network": name_of(WIDE), "max_norm": max_norm, "clipped": int(clipping.clipped)},
        "times_jaxnn": found,
        "rounds": rounds,
        "milliseconds": times,
        "largest_differences": off,
        "control": controls,
    }
    return result, aims


def backpack_runs(params, batch):
    """Return for each quantity how BackPACK is run, and what it found.

    Weight gradients are not asked for (`inputs` of backward names the biases only), which is quicker than the usual
    call; BackPACK's hooks run all the same. Its release has no extension for inner products of gradients: the gradients
    are asked for, and multiplied and dropped layer by layer, in the hook that is there for it.
    """
    import torch
    from backpack import backpack, extend
    from backpack.extensions import BatchGrad, BatchL2Grad, SumGradSquared, Variance

    model, (x, y) = extend(torch_network(params)), torch_batch(batch)
    loss = torch.nn.CrossEntropyLoss(reduction="sum")
    leaves = list(model.parameters())
    biases = leaves[1::2]

    def multiply(module):
        for p in module.parameters(recurse=False):
            if hasattr(p, "grad_batch"):
                flat = p.grad_batch.flatten(1)
                p.dots = flat @ flat.T
                del p.grad_batch

    def under(extension, hook=None, usual=False):
        def run():
            model.zero_grad(set_to_none=True)
            with backpack(extension, extension_hook=hook):
                loss(model(x), y).backward(inputs=None if usual else biases)

        return run

    squares = lambda: sum(p.batch_l2 for p in leaves).numpy()  # noqa: E731
    return {
        "norms": (under(BatchL2Grad()), squares),
        "norms, usual call": (under(BatchL2Grad(), usual=True), squares),
        "second moment": (under(SumGradSquared()), lambda: from_torch([p.sum_grad_squared for p in leaves])),
        "variance": (under(Variance(), usual=True), lambda: from_torch([p.variance for p in leaves])),
        "gram": (under(BatchGrad(), multiply), lambda: sum(p.dots for p in leaves).numpy()),
    }


def race_backpack(repeats: int):
    """Norms, second moments, variances and inner products of the wide network, against BackPACK."""
    print(name_of(WIDE))
    if not (present("torch") and present("backpack-for-pytorch")):
        return {}, []
    objective, params, batch = problem(WIDE)
    theirs = backpack_runs(params, batch)
    functions = {
        "norms": jaxnn.per_example.norms,
        "second moment": jaxnn.per_example.second_moment,
        "variance": jaxnn.per_example.variance,
        "gram": jaxnn.per_example.gram,
    }
    ours = {name: jax.jit(lambda p, b, f=f: f(objective, p, b)) for name, f in functions.items()}
    n = ROWS[WIDE]
    to_theirs = {
        "norms": lambda norms: norms**2,
        "second moment": lambda tree: [(n * w.kernel, n * w.bias) for w in tree],
        "variance": lambda tree: [(w.kernel, w.bias) for w in tree],
        "gram": lambda dots: dots,
    }
    result, aims = {}, []
    for name, function in ours.items():
        field = {"jaxnn": partial(function, params, batch)}
        off = {}
        for peer, (run, get) in theirs.items():
            if peer.split(",")[0] == name:
                run()
                off[peer] = difference(to_theirs[name](function(params, batch)), get(), 1e-4, peer)
                field[f"backpack {peer}"] = quickest(run, peer)
        calls = 1 if name == "gram" else CALLS[WIDE]
        number = max(3, repeats // 5) if name == "gram" else repeats
        seconds = race({who: repeated(run, calls) for who, run in field.items()}, number)
        result[name] = {
            "ratios": ratios(seconds, "jaxnn"),
            "milliseconds": milliseconds(seconds, calls),
            "largest_differences": off,
            "control": seconds["control"],
        }
        aims += [
            Aim(f"jaxnn / {peer}, {name_of(WIDE)}", over(seconds, "jaxnn", peer), 0.5)
            for peer in field
            if peer != "jaxnn"
        ]
    return result, aims


PARTS = {  # those with PyTorch last: its threads share the cores from then on
    "clipped": race_clipped,
    "gradients": race_gradients,
    "foreign": race_foreign,
    "epoch": race_epoch,
    "peers": race_peers,
    "backpack": race_backpack,
}


def main() -> None:
    """Run the parts, write the JSON once all have run, and print the aims."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30, help="rounds of the quick races; slow ones take fewer")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"of {', '.join(PARTS)}")
    options = parser.parse_args()
    results: dict[str, Any] = {}
    aims: list[Aim] = []
    for part in options.only or PARTS:
        print(f"== {part}", flush=True)
        results[part], found = PARTS[part](options.repeats)
        aims += found
        for aim in found:
            print(aim.line(), flush=True)
    table = [aim.line() for aim in aims]
    if options.only:
        print("not written: only some parts ran")
    else:
        installed = tuple(name for name, module in PACKAGES.items() if importlib.util.find_spec(module))
        save("per_example", {"aims": table, "repeats": options.repeats, **results}, installed)
    print("\n" + "\n".join(table))


if __name__ == "__main__":
    main()
