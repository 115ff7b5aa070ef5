"""The gallery, `experiments/README.md`: the question, answer and picture of every experiment, built from its JSON."""

import ast
from pathlib import Path

from experiments import NAMES
from experiments._report import RESULTS, fault, load, read

HERE = Path(__file__).parent
README = HERE / "README.md"
HEAD = """# Experiments

Every claim of an introductory lecture on optimisation and neural networks, run, asserted and drawn. Each is one file
that uses public names of jaxnn only. Numbers and pictures are those of the committed run; this page is built from them.

```
python -m experiments          # lists them
python -m experiments NAME     # runs one: a table, NAME.json, NAME.png; --quick for seconds, --help for what can change
python -m experiments all      # runs all of them and builds this page
```
"""


def question(name: str) -> str:
    """Return the first line of an experiment's docstring, without running the file."""
    return (ast.get_docstring(ast.parse((HERE / f"{name}.py").read_text())) or "").splitlines()[0]


def text() -> str:
    """Return the page; experiments that have not been run, or whose claim does not hold, are named as such."""
    parts = [HEAD]
    for name in NAMES:
        parts.append(f"## {name}\n\n**{question(name)}**\n")
        if not (RESULTS / f"{name}.json").exists():
            parts.append("Not run yet.\n")
            continue
        report = read(name)
        wrong = fault(name, report)
        parts.append(f"Its claim does not hold: {wrong}.\n" if wrong else f"{load(name).answer(report)}\n")
        parts.append(f"![{question(name)}](results/{name}.png)\n")
        parts.append(f"[{name}.py]({name}.py), [numbers](results/{name}.json), {report['made']['seconds']:.0f} s\n")
    return "\n".join(parts)


def build() -> None:
    """Write the page."""
    README.write_text(text())
