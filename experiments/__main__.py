"""`python -m experiments` lists the experiments, `NAME` runs one, `all` runs every one and builds the gallery."""

import difflib
import subprocess
import sys
import time
from pathlib import Path

from experiments import NAMES
from experiments._gallery import README, build, question
from experiments._report import RESULTS, load, perform, redraw

USAGE = """usage: python -m experiments                 list them
       python -m experiments NAME            run one, with the numbers and the picture in experiments/results
       python -m experiments NAME --quick    in a form that takes seconds, in runs/experiments
       python -m experiments NAME --redraw   draw its picture again from its numbers
       python -m experiments NAME --help     what of it can be changed; changed ones go to runs/experiments
       python -m experiments all             run all of them, and build experiments/README.md
       python -m experiments gallery         build experiments/README.md from the numbers that are there
"""


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit code."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        for name in NAMES:
            print(f"{name:<28}{question(name)}")
        return 0
    name, *rest = arguments
    if name == "all" and not rest:
        return run_all()
    if name == "gallery" and not rest:
        build()
        return 0
    if name not in NAMES or (name in ("all", "gallery") and rest):
        near = difflib.get_close_matches(name, NAMES, 1)
        print(f"experiments: there is no experiment {name!r}{f'; did you mean {near[0]}?' if near else ''}\n\n{USAGE}")
        return 2
    if rest == ["--redraw"]:
        redraw(name)
        return 0
    return run_one(name, rest)


def run_one(name: str, rest: list[str]) -> int:
    """Run an experiment, with what the command line changes; return 1 if its claim does not hold."""
    import tyro

    module = load(name)
    default = module.QUICK if "--quick" in rest else module.Config()
    rest = [argument for argument in rest if argument != "--quick"]
    config = tyro.cli(module.Config, args=rest, default=default, prog=f"python -m experiments {name}")
    folder = RESULTS if config == module.Config() else Path("runs") / "experiments"
    print(question(name), end="\n\n")
    try:
        report = perform(name, config, folder)
    except AssertionError as error:
        print(f"\nexperiments {name}: its claim does not hold: {error}; the numbers are in {folder / name}.json")
        return 1
    print(f"\n{module.answer(report)}\n\n{folder / name}.json, {name}.png; {report['made']['seconds']:.0f} s")
    return 0


def run_all() -> int:
    """Run every experiment in a process of its own, so that none is slowed or warmed up by another; build the page.

    Each keeps its numbers as it ends, so an interrupt loses only the one that runs.
    """
    start, failed = time.perf_counter(), []
    for name in NAMES:
        print(f"\n=== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", "experiments", name], check=False).returncode:
            failed.append(name)
    build()
    print(f"\n{len(NAMES)} experiments in {time.perf_counter() - start:.0f} s; {README}")
    if failed:
        print(f"experiments: failed: {', '.join(failed)}")
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit("\nexperiments: interrupted; those that had ended have kept their numbers")
