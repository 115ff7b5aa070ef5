"""256 networks at once: a sweep against 256 fits, a hand-written vmap, and a PyTorch loop over the same runs.

Digits, 64-32-10 with ReLU, B = 32, SGD, ten epochs, 16 rates x 16 seeds. Everyone starts from the same parameters and
takes the same steps in float32; everyone reports, for every run and epoch, the running mean of the log likelihood and
the log likelihood and accuracy of the hold-out. jaxnn and PyTorch read the shared order (PyTorch is given the indices);
the hand-written vmap has an order of its own in every lane, as it is usually written, and works its indices out inside.
Then the time against the number of runs, and what dropping of finished lanes saves.
"""

import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from benchmarks._race import describe, race, ratios, save

SIZES, B, EPOCHS = (64, 32, 10), 32, 10
RATES, SEEDS = np.geomspace(1e-3, 1.0, 16).tolist(), range(16)
PLAN = jaxnn.MiniBatch(B)
MODEL = jaxnn.Mlp(SIZES, activation=jaxnn.relu)
OBJECTIVE = jaxnn.LogLikelihood(MODEL, jaxnn.categorical)
LANES = [(rate, seed) for rate in RATES for seed in SEEDS]


def problem():
    """Return training and hold-out digits."""
    return jaxnn.data.standardise(*jaxnn.data.split(jaxnn.data.load("digits"), (0.8, 0.2), seed=0))


def contend_sweep(train, hold_out, lanes, **options):
    """Return the sweep of these lanes, as a user calls it."""
    grid = [{"learning_rate": rate, "seed": seed} for rate, seed in lanes]
    options = {"plan": PLAN, "max_epochs": EPOCHS, "patience": None, "progress": False} | options
    return jaxnn.sweep(OBJECTIVE, optax.sgd, train, hold_out, grid=grid, **options)


def contend_fits(train, hold_out, lanes):
    """Return a compiled fit of each lane, one after the other."""
    return [
        jaxnn.fit(
            OBJECTIVE, optax.sgd, MODEL.init(seed), train, hold_out, plan=PLAN, max_epochs=EPOCHS, patience=None,
            learning_rate=rate, progress=False,
        )
        for rate, seed in lanes
    ]  # fmt: skip


def hand_written(train, hold_out):
    """Return vmap of a train function as one writes it: (params, rate, key) -> parameters and three histories."""
    x, y, hx, hy = map(jnp.asarray, (train.batch.x, train.batch.y, hold_out.batch.x, hold_out.batch.y))
    n = len(x)
    steps = PLAN.num_steps(n)

    def logits(params, x):
        (w, b), (v, c) = params
        return jax.nn.relu(x @ w + b) @ v + c

    def log_likelihoods(params, x, y):
        return jnp.take_along_axis(jax.nn.log_softmax(logits(params, x)), y[:, None], 1)[:, 0]

    def run(params, rate, key):
        def epoch(params, e):
            def one(params, s):
                indices, weight = PLAN.indices(key, e, s, n)

                def value(p):
                    total = jnp.sum(weight * log_likelihoods(p, x[indices], y[indices]))
                    return total / jnp.sum(weight), total

                gradient, total = jax.grad(value, has_aux=True)(params)
                return jax.tree.map(lambda p, g: p + rate * g, params, gradient), total

            params, totals = jax.lax.scan(one, params, jnp.arange(steps))
            held = jnp.mean(log_likelihoods(params, hx, hy))
            return params, (jnp.sum(totals) / n, held, jnp.mean(jnp.argmax(logits(params, hx), 1) == hy))

        return jax.lax.scan(epoch, params, jnp.arange(EPOCHS))

    return jax.jit(jax.vmap(run))


def contend_torch(train, hold_out, lanes, stream):
    """Return the runs of a PyTorch loop; `stream` holds the indices of every epoch and step."""
    import torch

    torch.set_num_threads(1)  # faster than two on networks of this size
    x, y, hx, hy = (torch.from_numpy(np.array(a)) for a in (*train.batch[:2], *hold_out.batch[:2]))
    y, hy = y.long(), hy.long()
    log_likelihood = torch.nn.CrossEntropyLoss()
    results = []
    for rate, seed in lanes:
        net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
        with torch.no_grad():
            for layer, params in zip((net[0], net[2]), MODEL.init(seed), strict=True):
                layer.weight.copy_(torch.from_numpy(np.array(params.kernel).T.copy()))
                layer.bias.copy_(torch.from_numpy(np.array(params.bias)))
        optimizer, history = torch.optim.SGD(net.parameters(), lr=rate), []
        for epoch in stream:
            total = torch.zeros(())
            for rows in epoch:
                optimizer.zero_grad(set_to_none=True)
                loss = log_likelihood(net(x[rows]), y[rows])
                loss.backward()
                optimizer.step()
                total -= loss.detach() * len(rows)
            with torch.no_grad():
                out = net(hx)
                held = -log_likelihood(out, hy)
                history.append((float(total) / len(x), float(held), float((out.argmax(1) == hy).float().mean())))
        results.append((net, history))
    return results


def index_stream(n):
    """Return the rows of every step of the shared order, as PyTorch reads them."""
    import torch

    def rows(epoch, s):
        indices, weight = PLAN.indices(jax.random.key(0), epoch, s, n)
        return torch.from_numpy(np.array(indices)[np.array(weight) > 0] if weight is not None else np.array(indices))

    return [[rows(e, s) for s in range(PLAN.num_steps(n))] for e in range(EPOCHS)]


def check_equal(runs, others, what, tolerance=2e-3):
    """Stop unless hold-out log likelihoods after the last epoch agree, [R]; large rates amplify rounding, so a few
    may differ more.
    """
    ours = np.asarray(runs.history.hold_out_log_likelihood[:, EPOCHS])
    off = np.abs(ours - np.asarray(others))
    share = float(np.mean(off > tolerance))
    print(f"{what}: largest difference {off.max():.1e}, median {np.median(off):.1e}, {share:.1%} above {tolerance}")
    if share > 0.02:
        raise SystemExit(f"{what} does not make the same runs")


def seconds_of(run, repeats):
    """Return the seconds of each of the repeats, after one to warm up."""
    run()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        taken.append(time.perf_counter() - start)
    return taken


def early_stopping(train, hold_out, repeats):
    """Return seconds of a sweep in which half of the lanes stop at a tenth of the epochs, and of one where none does.

    A rate of 0 gains nothing, so its lanes stop after `patience` epochs; the others climb to the end.
    """
    options = {"max_epochs": 100, "patience": 10}
    climbing = [(1e-3, seed) for seed in range(256)]
    half = [(0.0 if seed % 2 else 1e-3, seed) for seed in range(256)]
    runs = contend_sweep(train, hold_out, half, **options)
    epochs = sorted(set(runs.epochs.tolist()))
    if epochs != [10, 100]:
        raise SystemExit(f"early stopping: epochs are 10 and 100; got {epochs}")
    sweeps = {name: lambda lanes=lanes: contend_sweep(train, hold_out, lanes, **options)
              for name, lanes in (("half stop", half), ("none stops", climbing))}  # fmt: skip
    return race(sweeps, repeats)


def main() -> None:
    """Check equal results, race, and write `results/sweep.json`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--torch-repeats", type=int, default=2)
    args = parser.parse_args()
    train, hold_out = problem()
    runs = contend_sweep(train, hold_out, LANES)
    fits = contend_fits(train, hold_out, LANES)
    check_equal(runs, [fit.history.hold_out_log_likelihood[-1] for fit in fits], "fits")

    written = hand_written(train, hold_out)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *[MODEL.init(seed) for _, seed in LANES])
    params = tuple((layer.kernel, layer.bias) for layer in stacked)
    rates = jnp.asarray([rate for rate, _ in LANES], jnp.float32)
    same = jnp.stack([jax.random.key(0)] * len(LANES))
    apart = jax.random.split(jax.random.key(1), len(LANES))
    check_equal(runs, written(params, rates, same)[1][1][:, -1], "hand-written vmap, given the shared order")

    contenders = {
        "sweep": lambda: contend_sweep(train, hold_out, LANES),
        "fits": lambda: contend_fits(train, hold_out, LANES),
        "hand-written vmap": lambda: jax.block_until_ready(written(params, rates, apart)),
    }
    seconds = race(contenders, args.repeats)
    ratio = ratios(seconds, "sweep")
    for peer, r in ratio.items():
        print(f"sweep / {peer}: {describe(r)}")
    result = {"seconds": seconds, "ratios": ratio}

    scaling = {}
    one = seconds["fits"]["median"] / len(LANES)
    for count in (1, 16, 64, 256, 1024):
        lanes = [LANES[i % len(LANES)] for i in range(count)]
        taken = seconds_of(lambda lanes=lanes: contend_sweep(train, hold_out, lanes), 3)
        scaling[count] = {"seconds": taken, "of fits": min(taken) / (count * one)}
        print(f"R = {count:>4}: {min(taken):.3f} s, {scaling[count]['of fits']:.3f} of as many fits")
    stopping = early_stopping(train, hold_out, args.repeats)
    saved = ratios(stopping, "half stop")
    print(f"half of the lanes stop at a tenth / none does: {describe(saved['none stops'])}")
    result |= {"scaling": scaling, "early stopping": {"seconds": stopping, "ratios": saved}}

    try:
        import torch
    except ModuleNotFoundError:
        print("PyTorch is not installed: left out")
        save("sweep", result)
        return
    stream = index_stream(len(train))
    check_equal(runs, [history[-1][1] for _, history in contend_torch(train, hold_out, LANES, stream)], "PyTorch")
    eager = race(
        {"sweep": contenders["sweep"], "PyTorch": lambda: contend_torch(train, hold_out, LANES, stream)},
        args.torch_repeats,
    )
    print(f"sweep / PyTorch: {describe(ratios(eager, 'sweep')['PyTorch'])}")
    save("sweep", result | {"PyTorch": {"seconds": eager, "ratios": ratios(eager, "sweep")}}, ("torch",))
    del torch


if __name__ == "__main__":
    main()
