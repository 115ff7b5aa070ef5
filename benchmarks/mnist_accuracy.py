"""MNIST test accuracy over five seeds: softmax regression, and 784-128-10 within 20 epochs.

Needs the four IDX files: name their folder in JAXNN_MNIST.
"""

import os
import statistics

import optax

import jaxnn
from benchmarks._race import save

SEEDS = range(5)
SETTINGS = {
    "softmax regression": {"hidden": (), "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 128},
    "784-128-10": {"hidden": (128,), "optimizer": "adam", "learning_rate": 1e-3, "batch_size": 128},
}
MAX_EPOCHS, PATIENCE = 20, 5


def accuracy(setting: dict, whole, test, seed: int) -> tuple[float, int]:
    """Return the accuracy on the untouched test part, and the epoch that the hold-out picked."""
    train, hold_out = jaxnn.data.split(whole, (11 / 12, 1 / 12), seed=seed)
    model = jaxnn.Mlp((784, *setting["hidden"], 10), activation=jaxnn.relu)
    objective = jaxnn.LogLikelihood(model, jaxnn.categorical)
    result = jaxnn.fit(
        objective,
        getattr(optax, setting["optimizer"]),
        model.init(1000 + seed),
        train,
        hold_out,
        plan=jaxnn.MiniBatch(setting["batch_size"]),
        max_epochs=MAX_EPOCHS,
        patience=PATIENCE,
        key=seed,
        learning_rate=setting["learning_rate"],
    )
    return jaxnn.evaluate(objective, result.params, test).accuracy, result.best_epoch


def main() -> None:
    """Train every model on every seed and write accuracies, their mean and spread."""
    if "JAXNN_MNIST" not in os.environ:
        print("mnist_accuracy: skipped; name the folder of the four IDX files in JAXNN_MNIST")
        return
    whole, test = jaxnn.data.load("mnist", part="train"), jaxnn.data.load("mnist", part="test")
    results = {}
    for name, setting in SETTINGS.items():
        runs = [accuracy(setting, whole, test, seed) for seed in SEEDS]
        accuracies = [a for a, _ in runs]
        mean, spread = statistics.mean(accuracies), statistics.stdev(accuracies)
        print(f"{name}: mean {mean:.4f}, standard deviation {spread:.4f}, {accuracies}")
        results[name] = {
            "setting": setting,
            "accuracies": accuracies,
            "best_epochs": [e for _, e in runs],
            "mean": mean,
            "standard_deviation": spread,
        }
    save("mnist_accuracy", {"seeds": list(SEEDS), "max_epochs": MAX_EPOCHS, "patience": PATIENCE, "results": results})


if __name__ == "__main__":
    main()
