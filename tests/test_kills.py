"""Runs that are killed with SIGKILL at random instants, over and over, and end at the bits of one that never was."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from killed_run import STEPS

from jaxnn import checkpoint
from jaxnn.checkpoint import Checkpoints

SCRIPT = os.path.join(os.path.dirname(__file__), "killed_run.py")
SIZES = [40, 2000, 10]  # 1.6 MB a checkpoint
pytestmark = pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")


class Child:
    """A process of killed_run.py, and the lines it has written; warnings end it."""

    def __init__(self, **options):
        command = [sys.executable, "-W", "error", SCRIPT, json.dumps({"sizes": SIZES} | options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.lines, self.changed = [], threading.Condition()
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stdout:
            with self.changed:
                self.lines.append(line.split())
                self.changed.notify_all()

    def wait_for(self, word):
        with self.changed:
            said = self.changed.wait_for(
                lambda: any(line[0] == word for line in self.lines) or not self.reader.is_alive(), timeout=120
            )
        assert said and any(line[0] == word for line in self.lines), self.end()

    def end(self):
        """Wait for the end of the process; return what it wrote to standard error."""
        self.reader.join()
        with self.process.stderr:
            error = self.process.stderr.read()
        self.process.stdout.close()
        self.process.wait()
        return error

    def last(self, word):
        found = [line[1:] for line in self.lines if line[0] == word]
        return found[-1] if found else None


class Chain:
    """A run that is killed so many times at random instants, and then allowed to end."""

    def __init__(self, folder, seed, **options):
        self.checkpoints, self.random, self.options = Checkpoints(folder), random.Random(seed), options
        self.newest, self.reached = None, (0, 0)  # what is known to be on the disk
        self.left, self.kills, self.in_a_save, self.lost = set(), 0, 0, []

    def kill(self):
        child = Child(folder=str(self.checkpoints.folder), pause=0.002, **self.options)
        try:
            child.wait_for("training")
            time.sleep(self.random.uniform(0, 0.4))
        finally:
            child.process.kill()
        error = child.end()
        assert child.process.returncode == -signal.SIGKILL, error
        self.kills += 1
        self.look(child)

    def look(self, child):
        """Hold what a kill left against what was there before, and against what the process saw."""
        saved = child.last("saved")
        known = max(filter(None, (self.newest, saved and saved[0])), default=None)
        paths = self.checkpoints.paths()
        assert bool(paths) or known is None
        first, position = child.lines[child.lines.index(["training"]) + 1][1:], tuple(map(int, child.last("at")))
        assert tuple(map(int, first)) == after(self.reached)  # it went on exactly where the newest had been saved
        if paths:
            assert paths[-1].name >= (known or "")  # what was whole once is not lost
            for path in paths:
                progress = checkpoint.read(path).info["progress"]  # every one is whole, not only the newest
            reached = progress["epoch"], progress["step"]
            assert reached >= self.reached
            self.newest, self.reached = paths[-1].name, reached
            self.lost.append(steps(position) - steps(reached))
        left = {path.name for path in self.checkpoints.folder.iterdir()} - {path.name for path in paths}
        assert len(left) <= 1 and all(name.endswith(".tmp") for name in left)
        new = left - self.left
        self.in_a_save += len(new)
        assert new == left or saved is None  # the first save of the next process sweeps what a killed one left
        self.left = left

    def finish(self):
        child = Child(folder=str(self.checkpoints.folder), **self.options)
        error = child.end()
        assert child.process.returncode == 0, error
        assert {path.suffix for path in self.checkpoints.folder.iterdir()} == {".safetensors"}  # all is swept
        return child.last("done")


def steps(position):
    return position[0] * STEPS + position[1]


def after(position):
    return divmod(steps(position) + 1, STEPS)


def run_chains(tmp_path, num_chains, num_kills, epochs):
    """Run chains beside each other; return them."""
    options = {"epochs": epochs, "cache": str(tmp_path / "cache")}
    never = Child(**options)  # never interrupted, never saved; it compiles for all
    assert never.end() == "" and never.process.returncode == 0
    chains = [Chain(tmp_path / f"run {seed}", seed, **options) for seed in range(num_chains)]

    def run(chain):
        for _ in range(num_kills):
            chain.kill()
        return chain.finish()

    with ThreadPoolExecutor(num_chains) as pool:
        assert list(pool.map(run, chains)) == [never.last("done")] * num_chains
    kills, in_a_save = (sum(getattr(chain, name) for chain in chains) for name in ("kills", "in_a_save"))
    lost = [steps for chain in chains for steps in chain.lost]
    print(
        f"\n{kills} kills, {in_a_save} inside a save; steps lost: {sum(lost) / len(lost):.1f} on average, {max(lost)} "
        f"at most; killed last at (epoch, step) {[chain.reached for chain in chains]} of {epochs} epochs"
    )
    return chains


def test_a_run_killed_six_times_ends_at_the_bits_of_one_that_never_was(tmp_path):
    chains = run_chains(tmp_path, num_chains=2, num_kills=3, epochs=60)
    assert all((0, 0) < chain.reached < (60, 0) for chain in chains)  # the kills fell into the run


@pytest.mark.slow
def test_a_run_killed_a_hundred_times_ends_at_the_bits_of_one_that_never_was(tmp_path):
    chains = run_chains(tmp_path, num_chains=2, num_kills=60, epochs=700)
    assert all((0, 0) < chain.reached < (700, 0) for chain in chains)
    assert sum(chain.in_a_save for chain in chains) >= 10  # and many into a save
