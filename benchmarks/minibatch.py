"""One epoch of mini-batch ascent, 784-128-10 at B = 128: against hand-written JAX, Equinox, Flax and PyTorch.

Everyone starts from the same parameters, reads the same rows in the same order, takes the same SGD steps in float32,
and reports the same two numbers: the log likelihood of the initial parameters, and the running mean of each epoch.
jaxnn and the hand-written scans work out the indices inside their timed program; the others are given them. The scan
is written twice, with kernels [in, out] as most JAX code has them and [out, in]: jaxnn is held against the better.
"""

import argparse

import equinox as eqx
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

import jaxnn
from benchmarks._race import describe, race, ratios, save

N, D, H, K, B, EPOCHS, RATE = 60_000, 784, 128, 10, 128, 1, 0.05
PLAN = jaxnn.MiniBatch(B)
STEPS = PLAN.num_steps(N)
KEY = jax.random.key(0)


def problem():
    """Return inputs and the labels of a random linear teacher, so that there is something to learn."""
    rng = np.random.default_rng(0)
    x = rng.random((N, D), dtype=np.float32)
    y = (x @ rng.standard_normal((D, K), dtype=np.float32)).argmax(1).astype(np.int32)
    return x, y


def batch_log_likelihood(log_probs, weight):
    """Return the mean to climb, and the sums that the running mean is made of."""
    total = jnp.sum(weight * log_probs)
    return total / jnp.sum(weight), (total, jnp.sum(weight))


def labels_log_probs(logits, y):
    """Return log P(y) of each row of logits."""
    return jnp.take_along_axis(jax.nn.log_softmax(logits), y[:, None], 1)[:, 0]


def contend_jaxnn(x, y, params):
    """The library, called as a user calls it."""
    model = jaxnn.Mlp((D, H, K), activation=jaxnn.relu)
    objective = jaxnn.LogLikelihood(model, jaxnn.categorical)
    train = jaxnn.data.dataset(x, y, num_classes=K)
    state = jaxnn.init_state(objective, optax.sgd, params, KEY, learning_rate=RATE)

    def run():
        after, history = jaxnn.ascend(objective, optax.sgd, state, train, PLAN, EPOCHS)
        return jax.block_until_ready((after.params, history.log_likelihood))

    return run


def contend_hand_written(x, y, params, out_in=False):
    """The scan an expert writes for this one network: nothing but the step, the running mean and the order."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    start = tuple((p.kernel.T if out_in else p.kernel, p.bias) for p in params)

    def log_likelihood(params, x, y, weight):
        (w1, b1), (w2, b2) = params
        w1, w2 = (w1.T, w2.T) if out_in else (w1, w2)
        return batch_log_likelihood(labels_log_probs(jax.nn.relu(x @ w1 + b1) @ w2 + b2, y), weight)

    @jax.jit
    def train(params, x, y, rate):
        def epoch(params, e):
            steps = jnp.arange(STEPS, dtype=jnp.int32)
            indices, weights = jax.vmap(PLAN.indices, (None, None, 0, None))(KEY, e, steps, N)

            def step(carry, order):
                params, total, weight = carry
                i, w = order
                rows = [a.at[i].get(mode="promise_in_bounds") for a in (x, y)]
                gradient, (t, s) = jax.grad(log_likelihood, has_aux=True)(params, *rows, w)
                params = jax.tree.map(lambda p, g: p + rate * g, params, gradient)
                return (params, total + t, weight + s), None

            (params, total, weight), _ = jax.lax.scan(step, (params, 0.0, 0.0), (indices, weights))
            return params, total / weight

        def chunk(total, start):
            part = jax.lax.dynamic_slice_in_dim(x, start, 4000), jax.lax.dynamic_slice_in_dim(y, start, 4000)
            return total + log_likelihood(params, *part, jnp.ones(4000))[1][0], None

        first = jax.lax.scan(chunk, 0.0, jnp.arange(0, N, 4000))[0] / N
        params, means = jax.lax.scan(epoch, params, jnp.arange(EPOCHS))
        return params, jnp.append(first, means)

    return lambda: jax.block_until_ready(train(start, x, y, jnp.float32(RATE)))


def drive(step, evaluate, start, order):
    """Run a jitted step from a Python loop: what the peers' tutorials show, with donated state and rows read inside."""

    def run():
        carry, means = jax.tree.map(jnp.copy, start), [evaluate(start)]
        for indices, weights in order:
            total = jnp.zeros(()), jnp.zeros(())
            for i, w in zip(indices, weights, strict=True):
                carry, total = step(carry, total, i, w)
            means.append(total[0] / total[1])
        return jax.block_until_ready((carry, jnp.stack(means)))

    return run


def contend_equinox(x, y, params, order):
    """Equinox with optax, the step jitted, driven from Python."""
    x, y = jnp.asarray(x), jnp.asarray(y)
    mlp = eqx.nn.MLP(D, K, H, 1, key=jax.random.key(1))
    leaves = [leaf for p in params for leaf in (p.kernel.T, p.bias)]
    mlp = eqx.tree_at(lambda m: [leaf for layer in m.layers for leaf in (layer.weight, layer.bias)], mlp, leaves)
    start, static = eqx.partition(mlp, eqx.is_array)
    optimizer = optax.sgd(RATE)

    def log_likelihood(arrays, x, y, weight):
        return batch_log_likelihood(labels_log_probs(jax.vmap(eqx.combine(arrays, static))(x), y), weight)

    @eqx.filter_jit(donate="all-except-first")
    def step(kept, carry, total):
        (x, y, i, w), (arrays, state) = kept, carry
        gradient, (t, s) = jax.grad(lambda p: log_likelihood(p, x[i], y[i], w), has_aux=True)(arrays)
        update, state = optimizer.update(jax.tree.map(jnp.negative, gradient), state, arrays)
        return (eqx.apply_updates(arrays, update), state), (total[0] + t, total[1] + s)

    evaluate = jax.jit(lambda carry: log_likelihood(carry[0], x, y, jnp.ones(N))[0])
    carry = start, optimizer.init(start)
    return drive(lambda c, t, i, w: step((x, y, i, w), c, t), evaluate, carry, order)


def contend_flax(x, y, params, order):
    """Flax with optax, the step jitted, driven from Python."""
    x, y = jnp.asarray(x), jnp.asarray(y)

    class Network(nn.Module):
        @nn.compact
        def __call__(self, x):
            hidden = nn.relu(nn.Dense(H)(x))
            return nn.Dense(K)(hidden)

    network, optimizer = Network(), optax.sgd(RATE)
    start = {"params": {f"Dense_{n}": {"kernel": p.kernel, "bias": p.bias} for n, p in enumerate(params)}}

    def log_likelihood(variables, x, y, weight):
        return batch_log_likelihood(labels_log_probs(network.apply(variables, x), y), weight)

    @jax.jit
    def plain_step(x, y, carry, total, i, w):
        variables, state = carry
        gradient, (t, s) = jax.grad(log_likelihood, has_aux=True)(variables, x[i], y[i], w)
        update, state = optimizer.update(jax.tree.map(jnp.negative, gradient), state, variables)
        return (optax.apply_updates(variables, update), state), (total[0] + t, total[1] + s)

    step = jax.jit(plain_step, donate_argnums=(2, 3))
    evaluate = jax.jit(lambda carry: log_likelihood(carry[0], x, y, jnp.ones(N))[0])
    return drive(lambda c, t, i, w: step(x, y, c, t, i, w), evaluate, (start, optimizer.init(start)), order)


def contend_torch(x, y, params, order):
    """PyTorch eager in its quickest form: in-place updates, no optimiser object, no number fetched inside the loop."""
    import torch

    x, y = torch.from_numpy(x), torch.from_numpy(y.astype(np.int64))
    start = [torch.from_numpy(np.array(leaf)) for p in params for leaf in (p.kernel.T, p.bias)]
    order = [
        [(torch.from_numpy(np.array(i)), torch.from_numpy(np.array(w))) for i, w in zip(*e, strict=True)] for e in order
    ]
    f = torch.nn.functional

    def log_probs(p, x, y):
        return -f.cross_entropy(f.linear(f.relu(f.linear(x, p[0], p[1])), p[2], p[3]), y, reduction="none")

    def run():
        p = [leaf.clone().requires_grad_() for leaf in start]
        with torch.no_grad():
            means = [log_probs(p, x, y).mean()]
        for epoch in order:
            total, weight = torch.zeros(()), torch.zeros(())
            for i, w in epoch:
                t, s = (w * log_probs(p, x[i], y[i])).sum(), w.sum()
                gradient = torch.autograd.grad(t / s, p)
                with torch.no_grad():
                    torch._foreach_add_(p, gradient, alpha=RATE)
                    total += t
                    weight += s
            means.append(total / weight)
        kernels = [leaf.detach().numpy() for leaf in p]
        return ((kernels[0].T, kernels[1]), (kernels[2].T, kernels[3])), torch.stack(means).numpy()

    return run


def main() -> None:
    """Check equal answers, race, and write the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=30)
    repeats = parser.parse_known_args()[0].repeats
    x, y = problem()
    params = jaxnn.Mlp((D, H, K), activation=jaxnn.relu).init(1)
    draw = jax.jit(jax.vmap(PLAN.indices, (None, None, 0, None)), static_argnums=3)
    order = [tuple(map(list, draw(KEY, e, jnp.arange(STEPS, dtype=jnp.int32), N))) for e in range(EPOCHS)]
    contenders = {
        "jaxnn": contend_jaxnn(x, y, params),
        "hand-written scan": contend_hand_written(x, y, params),
        "hand-written scan, [out, in]": contend_hand_written(x, y, params, out_in=True),
        "equinox loop": contend_equinox(x, y, params, order),
        "flax loop": contend_flax(x, y, params, order),
        "torch eager": contend_torch(x, y, params, order),
    }
    want = np.asarray(contenders["hand-written scan"]()[1])
    worst = {name: float(np.max(np.abs(np.asarray(run()[1]) - want))) for name, run in contenders.items()}
    print("log likelihoods", want, "largest differences", worst)
    assert max(worst.values()) < 1e-4, worst
    seconds = race(contenders, repeats)
    result = ratios(seconds, "jaxnn")
    for name, s in seconds.items():
        per_step = s["min"] / EPOCHS / STEPS * 1e6
        ratio = f"   jaxnn / peer: {describe(result[name])}" if name in result else ""
        print(f"{name:<30}{per_step:9.1f} us a step{ratio}")
    setting = {"network": [D, H, K], "N": N, "B": B, "epochs": EPOCHS, "optimizer": "sgd", "dtype": "float32"}
    save(
        "minibatch",
        {"setting": setting, "largest_differences": worst, "ratios": result, "seconds": seconds},
        ("torch", "equinox", "flax"),
    )


if __name__ == "__main__":
    main()
