"""One example a step: binary logistic regression at d = 784 and 20, against scikit-learn's SGDClassifier.

Both learn from the same rows in float32 with a constant rate and no penalty, shuffle before every epoch, and their
time per example includes that. Each shuffles by its own generator, so the log likelihoods agree to a tolerance, not to
the bit.
Measured twice in fresh processes: with XLA's default flags, and with the one `jaxnn train` sets, which compiles the
loop into one kernel.
"""

import json
import os
import subprocess
import sys

ONE_KERNEL = "--xla_backend_extra_options=xla_cpu_small_while_loop_byte_threshold=1000000000000"
EPOCHS, RATE, REPEATS = 5, 0.01, 10


def measure(num_examples: int, num_features: int) -> dict:
    """Return seconds of all contenders and the log likelihoods they reach."""
    import jax
    import numpy as np
    import optax
    from sklearn.linear_model import SGDClassifier
    from sklearn.metrics import log_loss

    import jaxnn
    from benchmarks._race import race, ratios

    rng = np.random.default_rng(0)
    x = rng.standard_normal((num_examples, num_features), dtype=np.float32) / np.float32(np.sqrt(num_features))
    w = rng.standard_normal(num_features, dtype=np.float32)
    y = (rng.random(num_examples) < 1 / (1 + np.exp(-3 * x @ w))).astype(np.int32)
    model = jaxnn.Linear(num_features, 1)
    objective = jaxnn.LogLikelihood(model, jaxnn.bernoulli)
    train = jaxnn.data.dataset(x, y, num_classes=2)
    state = jaxnn.init_state(objective, optax.sgd, model.init(0), key=0, learning_rate=RATE)

    def ours():
        after, _ = jaxnn.ascend(objective, optax.sgd, state, train, jaxnn.MiniBatch(1), EPOCHS)
        return jax.block_until_ready(after.params)

    def theirs(x):
        peer = SGDClassifier(
            loss="log_loss",
            penalty=None,
            max_iter=EPOCHS,
            tol=None,
            learning_rate="constant",
            eta0=RATE,
            random_state=0,
        )
        return peer.fit(x, y)

    double = x.astype(np.float64)
    contenders = {"jaxnn": ours, "sklearn float32": lambda: theirs(x), "sklearn float64": lambda: theirs(double)}
    reached = {
        "jaxnn": jaxnn.evaluate(objective, ours(), train).log_likelihood,
        "sklearn float32": -log_loss(y, theirs(x).predict_proba(x)),
    }
    assert abs(reached["jaxnn"] - reached["sklearn float32"]) < 5e-3, reached
    seconds = race(contenders, REPEATS)
    each = {name: s["min"] / EPOCHS / num_examples * 1e6 for name, s in seconds.items() if name != "control"}
    return {
        "setting": {"N": num_examples, "d": num_features, "epochs": EPOCHS, "rate": RATE},
        "log_likelihood": reached,
        "us_per_example": each,
        "ratios": ratios(seconds, "jaxnn"),
        "seconds": seconds,
    }


def main() -> None:
    """Measure under both sets of flags, each in a process of its own, and write the ratios."""
    if sys.argv[-1] == "--measure":
        print(json.dumps([measure(60_000, d) for d in (784, 20)]))
        return
    from benchmarks._race import save

    result = {}
    for name, flags in (("default flags", ""), ("one-kernel loops", ONE_KERNEL)):
        command = [sys.executable, "-m", "benchmarks.single_example", "--measure"]
        out = subprocess.run(
            command, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True, text=True, check=True
        )
        result[name] = json.loads(out.stdout.splitlines()[-1])
        for one in result[name]:
            figures = ", ".join(f"{peer} {us:.3f}" for peer, us in one["us_per_example"].items())
            best = max(r["paired"] for r in one["ratios"].values())
            print(f"{name}, d={one['setting']['d']}: us an example: {figures}; paired jaxnn / best sklearn {best:.3f}")
    save("single_example", {"flags": {"one-kernel loops": ONE_KERNEL}, "results": result}, ("scikit-learn",))


if __name__ == "__main__":
    main()
