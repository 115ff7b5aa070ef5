"""What turning kernels to [out, in] inside the compiled loop is worth, from B = 1 to B = 512.

The same steps, twice: with `jaxnn.Mlp`, whose kernels the loop turns, and with a class of our own that is the same
network, which it leaves as it is. Both are called as a user calls them.
"""

from dataclasses import dataclass

import jax
import numpy as np
import optax

import jaxnn
from benchmarks._race import describe, race, ratios, save

REPEATS = 25
CASES = [  # sizes, B, N, optimiser, rate
    ((784, 10), 1, 6_000, "sgd", 0.01),
    ((784, 10), 8, 20_000, "sgd", 0.05),
    ((784, 10), 128, 20_000, "sgd", 0.05),
    ((784, 128, 10), 1, 3_000, "sgd", 0.01),
    ((784, 128, 10), 8, 10_000, "sgd", 0.05),
    ((784, 128, 10), 32, 10_000, "sgd", 0.05),
    ((784, 128, 10), 128, 20_000, "sgd", 0.05),
    ((784, 128, 10), 128, 20_000, "adam", 1e-4),
    ((784, 512, 512, 10), 512, 10_000, "sgd", 0.05),
    ((64, 128, 128, 10), 32, 6_000, "adam", 1e-4),
    ((64, 32, 10), 32, 6_000, "adam", 1e-4),
    ((784, 1), 1, 20_000, "sgd", 0.01),
    ((20, 1), 1, 60_000, "sgd", 0.01),
]


@jax.tree_util.register_static
@dataclass(frozen=True)
class AsGiven(jaxnn.Mlp):
    """The same network; the compiled loop does not know it and keeps its kernels as they are."""


def measure(sizes, batch_size, num_examples, name, rate) -> dict:
    """Return the seconds of one epoch in both layouts, and how far the parameters end apart."""
    rng = np.random.default_rng(0)
    x = rng.random((num_examples, sizes[0]), dtype=np.float32) / np.float32(sizes[0] ** 0.5)
    y = rng.integers(0, max(sizes[-1], 2), num_examples)
    train = jaxnn.data.dataset(x, y, num_classes=max(sizes[-1], 2))
    params = jaxnn.Mlp(sizes, activation=jaxnn.relu).init(1)
    optimizer = getattr(optax, name)

    def contend(kind):
        likelihood = jaxnn.bernoulli if sizes[-1] == 1 else jaxnn.categorical
        objective = jaxnn.LogLikelihood(kind(sizes, activation=jaxnn.relu), likelihood)
        state = jaxnn.init_state(objective, optimizer, params, key=0, learning_rate=rate)

        def run():
            after, _ = jaxnn.ascend(objective, optimizer, state, train, jaxnn.MiniBatch(batch_size), 1)
            return jax.block_until_ready(after.params)

        return run

    contenders = {"turned": contend(jaxnn.Mlp), "as given": contend(AsGiven)}
    ends = [jax.tree.leaves(run()) for run in contenders.values()]
    apart = max(float(abs(a - b).max()) for a, b in zip(*ends, strict=True))
    assert apart < 0.05, apart
    seconds = race(contenders, REPEATS)
    steps = -(-num_examples // batch_size)
    result = ratios(seconds, "turned")["as given"]
    print(
        f"{sizes}, B={batch_size}, {name}: {seconds['turned']['min'] / steps * 1e6:.2f} us a step, "
        f"turned / as given: {describe(result)}"
    )
    setting = {"sizes": sizes, "B": batch_size, "N": num_examples, "optimizer": name, "rate": rate}
    return {"setting": setting, "largest_difference": apart, "ratio": result, "seconds": seconds}


def main() -> None:
    """Race every case and write the ratios."""
    save("kernel_layout", {"results": [measure(*case) for case in CASES]})


if __name__ == "__main__":
    main()
