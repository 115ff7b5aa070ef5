"""What every race shares: interleaved timing, a control that shows a slow machine, and JSON with versions and
device.
"""

import json
import os
import pathlib
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from typing import Any

RESULTS = pathlib.Path(__file__).parent / "results"
REST = 0.1  # seconds before each run: after a product NumPy's threads spin for some time, and the next would pay for it


def race(contenders: dict[str, Callable[[], Any]], repeats: int) -> dict[str, dict[str, Any]]:
    """Return seconds of every contender: warmed up once (compile time apart), then all in turn, `repeats` times, every
    second round in reverse.

    Each contender returns only when its work is done. `control` is a NumPy product that touches none of the libraries:
    where its spread is large, the machine was busy and the ratios mean less.
    """
    import numpy as np

    a = np.random.default_rng(0).random((512, 512), dtype=np.float32)
    everyone = {**contenders, "control": lambda: a @ a @ a}
    first = {name: _seconds(run) for name, run in everyone.items()}
    seconds: dict[str, list[float]] = {name: [] for name in everyone}
    for i in range(repeats):
        for name, run in list(everyone.items())[:: -1 if i % 2 else 1]:
            seconds[name].append(_seconds(run))
    return {
        name: {"first": first[name], "min": min(s), "median": statistics.median(s), "all": s}
        for name, s in seconds.items()
    }


def _seconds(run: Callable[[], Any]) -> float:
    time.sleep(REST)
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def ratios(seconds: dict[str, dict[str, Any]], ours: str) -> dict[str, dict[str, float]]:
    """Return our time over each peer's; below 1 is faster than the peer.

    "paired" is the median over rounds of the ratio within a round: on a machine whose speed wanders it is by far the
    steadiest. "min" and "median" are the ratios of those times.
    """
    mine = seconds[ours]
    return {
        peer: {
            "paired": statistics.median(a / b for a, b in zip(mine["all"], s["all"], strict=True)),
            "min": mine["min"] / s["min"],
            "median": mine["median"] / s["median"],
        }
        for peer, s in seconds.items()
        if peer not in (ours, "control")
    }


def describe(ratio: dict[str, float]) -> str:
    """Return the three ratios as text."""
    return ", ".join(f"{name} {value:.3f}" for name, value in ratio.items())


def save(name: str, result: dict[str, Any], packages: tuple[str, ...] = ()) -> None:
    """Write a result with machine, device and versions to `benchmarks/results/NAME.json`."""
    import jax

    versions = {p: metadata.version(p) for p in ("jax", "jaxlib", "optax", "numpy", *packages)}
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.machine())
    machine = {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "device": jax.devices()[0].device_kind,
        "python": platform.python_version(),
    }
    flags = os.environ.get("XLA_FLAGS", "")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(
        json.dumps({"machine": machine, "versions": versions, "xla_flags": flags, **result}, indent=1) + "\n"
    )
    print(f"wrote {path.relative_to(pathlib.Path.cwd()) if path.is_relative_to(pathlib.Path.cwd()) else path}")


def _cpuinfo() -> list[str]:
    path = pathlib.Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []
