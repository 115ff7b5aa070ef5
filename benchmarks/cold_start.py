"""From nothing to a trained model: the import, and the first digits model of a fresh process."""

import statistics
import subprocess
import sys
import time

from benchmarks._race import describe, save

REPEATS = 10
PEER = "import jax, optax"
OURS = "import jaxnn"
FIRST_MODEL = """
import jaxnn, optax
train, hold_out, test = jaxnn.data.split(jaxnn.data.load("digits"), (0.7, 0.15, 0.15), seed=0)
model = jaxnn.Mlp((64, 128, 10), activation=jaxnn.relu)
objective = jaxnn.LogLikelihood(model, jaxnn.categorical)
result = jaxnn.fit(objective, optax.adam, model.init(1), train, hold_out, learning_rate=1e-3, progress=False)
print(result.message, jaxnn.evaluate(objective, result.params, test).accuracy)
"""


def seconds_of(code: str) -> float:
    """Return the wall time of a fresh interpreter that runs the code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    return time.perf_counter() - start


def main() -> None:
    """Time fresh processes in turn and write the JSON."""
    bare, peer, ours, first = [], [], [], []
    for _ in range(REPEATS):
        bare.append(seconds_of("pass"))
        peer.append(seconds_of(PEER))
        ours.append(seconds_of(OURS))
        first.append(seconds_of(FIRST_MODEL))
    over_bare = [[s - b for s, b in zip(times, bare, strict=True)] for times in (ours, peer)]
    ratio = {
        "paired": statistics.median(mine / theirs for mine, theirs in zip(*over_bare, strict=True)),
        "min": (min(ours) - min(bare)) / (min(peer) - min(bare)),
        "median": (statistics.median(ours) - statistics.median(bare))
        / (statistics.median(peer) - statistics.median(bare)),
    }
    print(f"import jaxnn / import jax, optax: {describe(ratio)}")
    print(f"first trained digits model: min {min(first):.2f} s, median {statistics.median(first):.2f} s")
    seconds = {"bare interpreter": bare, PEER: peer, OURS: ours, "first trained digits model": first}
    save("cold_start", {"import_ratio": ratio, "seconds": seconds, "script": FIRST_MODEL})


if __name__ == "__main__":
    main()
