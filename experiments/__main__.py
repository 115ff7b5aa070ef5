"""`python -m experiments` lists the experiments, `NAME` runs one, `all` runs every one and builds the gallery."""

import difflib
import subprocess
import sys
import time
from pathlib import Path

from experiments import NAMES
from experiments._gallery import README, build, question
from experiments._report import RESULTS, fault, load, perform, redraw

CHANGED = Path("runs") / "experiments"  # where the numbers of any but the full form go
USAGE = """usage: python -m experiments                     list them
       python -m experiments NAME                run one, with the numbers and the picture in experiments/results
       python -m experiments NAME --quick        in a form that takes seconds, in runs/experiments
       python -m experiments NAME --redraw       draw its picture again from its numbers
       python -m experiments NAME --help         what of it can be changed; changed ones go to runs/experiments
       python -m experiments all                 run all of them, and build experiments/README.md
       python -m experiments gallery             build experiments/README.md from the numbers that are there
"""
INTERRUPTED = 130


def main(arguments: list[str]) -> int:
    """Do what the command line says; return the exit code."""
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print(USAGE)
        for known in NAMES:
            print(f"{known:<28}{question(known)}")
        return 0
    if name in ("all", "gallery"):
        if rest:
            return refuse(f"{name} takes no options; got {' '.join(rest)}; leave them out, or name one experiment")
        return run_all() if name == "all" else build() or 0
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, 1)
        hint = f"did you mean {near[0]}?" if near else "python -m experiments lists them"
        return refuse(f"there is no experiment {name!r}; {hint}")
    if "--redraw" in rest:
        return draw_again(name, [option for option in rest if option != "--redraw"])
    return run_one(name, rest)


def refuse(why: str) -> int:
    """Say what is wrong with the command line; return 2."""
    print(f"experiments: {why}", file=sys.stderr)
    return 2


def draw_again(name: str, rest: list[str]) -> int:
    """Draw the picture of a run again; with --quick, that of the quick one."""
    if rest not in ([], ["--quick"]):
        return refuse(f"--redraw goes with --quick or alone; got {' '.join(rest)}; leave it out")
    folder = CHANGED if rest else RESULTS
    if not (folder / f"{name}.json").exists():
        return refuse(f"a picture is drawn from numbers; got no {folder / name}.json; run the experiment first")
    redraw(name, folder)
    print(folder / f"{name}.png")
    return 0


def run_one(name: str, rest: list[str]) -> int:
    """Run an experiment, with what the command line changes; return 1 if its claim does not hold."""
    import tyro

    module = load(name)
    default = module.QUICK if "--quick" in rest else module.Config()
    rest = [argument for argument in rest if argument != "--quick"]
    config = tyro.cli(module.Config, args=rest, default=default, prog=f"python -m experiments {name}")
    folder = RESULTS if config == module.Config() else CHANGED
    print(question(name), end="\n\n")
    report = perform(name, config, folder)
    if wrong := fault(name, report):
        print(f"\nexperiments {name}: its claim does not hold: {wrong}; the numbers are in {folder / name}.json")
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
        code = subprocess.run([sys.executable, "-m", "experiments", name], check=False).returncode
        if code == INTERRUPTED:
            raise KeyboardInterrupt
        if code:
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
        print("\nexperiments: interrupted; those that had ended have kept their numbers", file=sys.stderr)
        sys.exit(INTERRUPTED)
