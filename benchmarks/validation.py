"""What the checks of the door cost: 60,000 x 784, against one epoch of 784-128-10.

Two places look at every number: `data.dataset`, while it stores an array, so that what it costs is its time less that
of the same storing without a look (one private name is replaced for that); and `ascend` and `fit` when they are given
a `Batch` and not a `Dataset`, so that what it costs is the difference of the two. Nothing can look at numbers in memory
faster than the memory gives them: "one reading" is that floor, 188 MB of float32.
"""

EXAMPLES, FEATURES, HIDDEN, CLASSES, BATCH, REPEATS = 60_000, 784, 128, 10, 128, 20


def main() -> None:
    """Time the checks and the epoch in turn, and write the JSON."""
    from unittest import mock

    import jax
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
        return jax.block_until_ready(jaxnn.ascend(objective, optax.adam, state, data, plan, num_epochs))

    def store(array):
        return jaxnn.data.dataset(array, y, num_classes=CLASSES)

    def store_without_a_look(array):
        with mock.patch("jaxnn.data._dataset.square_is_finite", lambda block: True):
            return store(array)

    seconds = race(
        {
            "two epochs": lambda: ascend(train, 2),
            "one epoch": lambda: ascend(train, 1),
            "no epoch of a Dataset": lambda: ascend(train, 0),
            "no epoch of a Batch": lambda: ascend(train.batch, 0),
            "float32": lambda: store(x),
            "float32 without a look": lambda: store_without_a_look(x),
            "bytes": lambda: store(pixels),
            "bytes without a look": lambda: store_without_a_look(pixels),
            "one reading": lambda: np.dot(x.reshape(-1), x.reshape(-1)),
        },
        REPEATS,
    )

    def difference(more, less):
        return np.array(seconds[more]["all"]) - np.array(seconds[less]["all"])

    epoch = difference("two epochs", "one epoch")
    costs = {
        "data.dataset of float32": difference("float32", "float32 without a look"),
        "data.dataset of bytes": difference("bytes", "bytes without a look"),
        "a Batch given to ascend": difference("no epoch of a Batch", "no epoch of a Dataset"),
        "one reading": np.array(seconds["one reading"]["all"]),
    }
    print(f"an epoch: {np.median(epoch):.3f} s")
    shares = {}
    for name, cost in costs.items():
        shares[name] = {"milliseconds": 1e3 * float(np.median(cost)), "of an epoch": float(np.median(cost / epoch))}
        print(f"{name}: {shares[name]['milliseconds']:.1f} ms, {shares[name]['of an epoch']:.1%} of an epoch")
    save("validation", {"repeats": REPEATS, "epoch": float(np.median(epoch)), "shares": shares, "seconds": seconds})


if __name__ == "__main__":
    main()
