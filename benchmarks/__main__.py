"""`python -m benchmarks` lists the races, `python -m benchmarks NAME ...` runs some, `all` runs every one."""

import importlib
import pathlib
import subprocess
import sys


def main() -> None:
    """Run the benchmarks named on the command line; each writes its JSON under benchmarks/results."""
    here = pathlib.Path(__file__).parent
    names = sorted(path.stem for path in here.glob("*.py") if not path.stem.startswith("_"))
    wanted = names if sys.argv[1:] == ["all"] else sys.argv[1:]
    unknown = [name for name in wanted if name not in names]
    if unknown or not wanted:
        for name in names:
            print(f"{name:<18}{importlib.import_module(f'benchmarks.{name}').__doc__.splitlines()[0]}")
        sys.exit(f"benchmarks: no such benchmark: {', '.join(unknown)}" if unknown else 0)
    for name in wanted:  # each in a process of its own: some set XLA flags, and memory of one must not slow the next
        subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)


if __name__ == "__main__":
    main()
