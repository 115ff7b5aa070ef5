"""What the checks of the door cost: 60,000 x 784, against one epoch of 784-128-10.

Three places look at data: `data.dataset`, which stores an array and looks at every number of it once; `ascend` and
`fit`, for a `Dataset`, whose numbers they take for granted; and the same for a `Batch`, whose numbers they look at.
What the first costs is its time less that of the same copy without a look, `jnp.array`. The floor is one reading of
the memory: 188 MB of float32, measured here as a sum.
"""

EXAMPLES, FEATURES, HIDDEN, CLASSES, BATCH, REPEATS = 60_000, 784, 128, 10, 128, 15


def main() -> None:
    """Time the checks and the epoch in turn, and write the JSON."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    import jaxnn
    from benchmarks._race import race, save

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (EXAMPLES, FEATURES), np.uint8)
    x, y = pixels / np.float32(255), rng.integers(0, CLASSES, EXAMPLES)
    train = jaxnn.data.dataset(x, y, num_classes=CLASSES)
    objective = jaxnn.LogLikelihood(jaxnn.Mlp((FEATURES, HIDDEN, CLASSES), jaxnn.relu), jaxnn.categorical)
    state = jaxnn.init_state(objective, optax.adam, objective.model.init(0), key=0, learning_rate=1e-3)
    plan = jaxnn.MiniBatch(BATCH)

    def ascend(data, num_epochs):
        return jax.block_until_ready(jaxnn.ascend(objective, optax.adam, state, data, plan, num_epochs)[0].params)

    seconds = race(
        {
            "epochs 2": lambda: ascend(train, 2),
            "epochs 1": lambda: ascend(train, 1),
            "no epochs, Dataset": lambda: ascend(train, 0),
            "no epochs, Batch": lambda: ascend(train.batch, 0),
            "dataset of float32": lambda: jaxnn.data.dataset(x, y, num_classes=CLASSES),
            "copy of float32": lambda: jax.block_until_ready(jnp.array(x)),
            "dataset of bytes": lambda: jaxnn.data.dataset(pixels, y, num_classes=CLASSES),
            "copy of bytes": lambda: jax.block_until_ready(jnp.array(pixels, jnp.float32)),
            "dataset of a JAX array": lambda: jaxnn.data.dataset(train.batch.x, y, num_classes=CLASSES),
            "one reading": lambda: np.sum(x),
        },
        REPEATS,
    )

    def differences(more, less):
        pairs = zip(seconds[more]["all"], seconds[less]["all"], strict=True)
        return np.array([a - b for a, b in pairs])

    epoch = differences("epochs 2", "epochs 1")
    costs = {
        "ascend of a Dataset": np.array(seconds["no epochs, Dataset"]["all"]),
        "ascend of a Batch, more than of a Dataset": differences("no epochs, Batch", "no epochs, Dataset"),
        "data.dataset of float32, more than its copy": differences("dataset of float32", "copy of float32"),
        "data.dataset of bytes, more than their copy": differences("dataset of bytes", "copy of bytes"),
        "data.dataset of a JAX array, nothing copied": np.array(seconds["dataset of a JAX array"]["all"]),
        "one reading of the memory": np.array(seconds["one reading"]["all"]),
    }
    print(f"an epoch: {np.median(epoch):.3f} s")
    shares = {}
    for name, cost in costs.items():
        shares[name] = {"milliseconds": 1e3 * float(np.median(cost)), "of an epoch": float(np.median(cost / epoch))}
        print(f"{name}: {shares[name]['milliseconds']:.1f} ms, {shares[name]['of an epoch']:.1%} of an epoch")
    save("validation", {"repeats": REPEATS, "epoch": float(np.median(epoch)), "shares": shares, "seconds": seconds})


if __name__ == "__main__":
    main()
