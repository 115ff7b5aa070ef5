"""The house: a room imports only rooms above it, importing jaxnn loads nothing heavy, and users see public names."""

import ast
import doctest
import inspect
import pathlib
import re
import subprocess
import sys
import types

import pytest

import jaxnn

ROOT = pathlib.Path(jaxnn.__file__).parents[1]
ROOMS = (
    "_version _types _errors _checks _whole _activations _models _likelihoods _objectives _plans data _door _scores "
    "_evaluate checkpoint _spec _optimizer per_example _aggregates _layout _state _run_files _saved _step _watch "
    "_program _ascent search optimum _progress _interrupts _ending _facts _resume _fit _sweep plotting "
    "cli __init__ __main__"
).split()
# Which rooms may import a package, and whether at the top of the file or only where it is used.
GUESTS = {
    "optax": {"_optimizer", "cli"},  # cli is on the user's side: it builds the optimiser that was named
    "matplotlib": {"plotting"},
    "sklearn": {"data"},
    "pyarrow": {"data"},
    "platformdirs": {"data"},
    "scipy": set(),
    "tyro": {"cli"},
    "rich": {"cli"},
    **{name: set() for name in ("pickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib")},
    "safetensors": set(),
    "torch": set(),
}
HEAVY = {
    "matplotlib",
    "sklearn",
    "scipy",
    "pyarrow",
    "pandas",
    "platformdirs",
    "tyro",
    "rich",
    "torch",
    "flax",
    "equinox",
    "tensorflow",
}


def imports(source):
    """Return (module, names, at the top of the file) of every import, inside functions too."""
    tree = ast.parse(source)
    top = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, [], id(node) in top) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield "." * node.level + (node.module or ""), [alias.name for alias in node.names], id(node) in top


def breaches(room, source):
    """Return what a file of a room imports and should not."""
    found = []
    for module, names, at_top in imports(source):
        if module.startswith("."):
            found.append(f"{room}: relative import of {module}")
        package, *rest = module.split(".")
        if package in GUESTS:
            if room not in GUESTS[package]:
                found.append(f"{room}: imports {package}")
            elif package in HEAVY and at_top and room != "cli":
                found.append(f"{room}: imports {package} at the top of the file")
        if package != "jaxnn":
            continue
        for target in rest[:1] or [name if name in ROOMS else "__init__" for name in names] or ["__init__"]:
            if target not in ROOMS:
                found.append(f"{room}: {target} is no room of the house")
            elif target != room and ROOMS.index(target) >= ROOMS.index(room):
                found.append(f"{room}: imports {target}, which is not above it")
    return found


def files_of_rooms():
    for path in sorted((ROOT / "jaxnn").rglob("*.py")):
        room = path.relative_to(ROOT / "jaxnn").parts[0].removesuffix(".py")
        yield path, room


def test_every_file_belongs_to_a_room_and_every_room_has_a_file():
    assert {room for _, room in files_of_rooms()} == set(ROOMS)


@pytest.mark.parametrize(
    "path, room", list(files_of_rooms()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_room_imports_only_rooms_above_it(path, room):
    assert breaches(room, path.read_text()) == []


def test_no_array_is_unpickled():
    for path, _ in files_of_rooms():
        assert not re.search(r"allow_pickle\s*=\s*True|__import__\(|\bexec\(|\beval\(", path.read_text()), path


@pytest.mark.parametrize(
    "room, source, breach",
    [
        ("_types", "from jaxnn._fit import fit", "imports _fit, which is not above it"),
        ("_types", "from jaxnn import _fit", "imports _fit, which is not above it"),
        ("_plans", "def f():\n    import jaxnn._ascent", "imports _ascent, which is not above it"),
        ("_fit", "import jaxnn", "imports __init__, which is not above it"),
        ("_fit", "from jaxnn import fit", "imports __init__, which is not above it"),
        ("_evaluate", "from jaxnn.cli._build import build", "imports cli, which is not above it"),
        ("_fit", "from jaxnn._attic import x", "_attic is no room of the house"),
        ("data", "from ._schema import Schema", "relative import"),
        ("_ascent", "import optax", "imports optax"),
        ("_ascent", "from optax.contrib import sam", "imports optax"),
        ("plotting", "import matplotlib.pyplot as plt", "imports matplotlib at the top"),
        ("data", "from sklearn import datasets", "imports sklearn at the top"),
        ("checkpoint", "import pickle", "imports pickle"),
    ],
)
def test_a_breach_is_found(room, source, breach):
    (found,) = breaches(room, source)
    assert breach in found


def test_what_is_allowed_is_no_breach():
    assert breaches("_fit", "from jaxnn._ascent import ascend\nfrom jaxnn import data\nimport numpy, jax") == []
    assert breaches("data", "from jaxnn.data._schema import Schema\ndef f():\n    from sklearn import datasets") == []
    assert breaches("_types", '"""\n>>> import jaxnn, optax\n"""') == []


def loaded_by(statement):
    code = f"{statement}; import sys; print(*sorted({{m.split('.')[0] for m in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    return set(done.stdout.split())


def test_importing_jaxnn_loads_nothing_heavy():
    loaded = loaded_by("import jaxnn")
    assert "jaxnn" in loaded and not loaded & HEAVY


def test_the_look_at_loaded_packages_would_see_one():
    assert loaded_by("import rich") & HEAVY == {"rich"}


# Public names only, for those who use the library.

# One benchmark takes the command line apart, to measure exactly what `jaxnn train` does.
INSIDERS = {"benchmarks/digits_accuracy.py": {"jaxnn.cli._build.build", "jaxnn.cli._config.TrainConfig"}}


def private_names(source):
    """Return the private names of jaxnn that a user's file reaches for."""
    found = []
    for module, names, _ in imports(source):
        if module.split(".")[0] == "jaxnn":
            found += [f"{module}.{name}" for name in names] or [module]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            text = ast.unparse(node)
            found += [text] if text.startswith("jaxnn.") else []
    return [name for name in found if any(p.startswith("_") and not p.startswith("__") for p in name.split("."))]


@pytest.mark.parametrize(
    "path",
    [path for folder in ("experiments", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_experiments_and_benchmarks_use_public_names_only(path):
    allowed = INSIDERS.get(str(path.relative_to(ROOT)), set())
    assert set(private_names(path.read_text())) <= allowed


@pytest.mark.parametrize(
    "source",
    [
        "from jaxnn._fit import fit",
        "import jaxnn._fit",
        "from jaxnn import _fit",
        "from jaxnn.cli._build import build",
        "import jaxnn\njaxnn._fit.fit()",
        "import jaxnn\njaxnn.data._load.load",
    ],
)
def test_a_private_name_is_found(source):
    assert private_names(source)


def test_public_names_are_not_taken_for_private_ones():
    assert private_names("import jaxnn, _own\nfrom jaxnn.data import load\njaxnn.__version__, jaxnn.fit, _own._x") == []


# Docstrings.

# Names without an example of their own, each for a reason.
EXEMPT = {
    *(name for name in vars(jaxnn) if name.endswith("Error")),  # raised, not called
    *("Batch", "State", "History", "Status", "FitResult", "SavedRun", "Evaluation"),  # records that other examples show
    *("Stochastic", "Linear", "kernel_mask", "predict"),  # one line on top of MiniBatch, Mlp, an option, predict_proba
    *("checkpoint.load", "checkpoint.read", "checkpoint.Content", "checkpoint.Generation"),  # in the examples of save
    *("data.Dataset", "data.Inputs"),  # in the examples of dataset and read_inputs
    *("per_example.Clipping", "per_example.Explanation", "per_example.Influence", "per_example.NoiseScale"),  # records
    *("per_example.factors", "per_example.mean", "per_example.variance", "per_example.fisher_vector_product"),
    *("plotting.confusion", "plotting.reliability", "plotting.decision_boundary"),  # called as learning_curves is
    *("search.Derivative", "search.Search", "Runs", "Verdict", "RateRange", "data.Folds"),  # records
    "Ensemble",  # in the example of ensemble
}


def public_names():
    """Return the dotted name and the value of every public function and class."""
    for name, value in vars(jaxnn).items():
        # The tests' type checker leaves jaxtyping behind, and a test of the command, which is no API, leaves cli.
        if name.startswith("_") or name in ("jaxtyping", "cli"):
            continue
        if isinstance(value, types.ModuleType):
            listed = getattr(value, "__all__", None)
            for inner, thing in vars(value).items():
                own = inner in listed if listed else getattr(thing, "__module__", "") == value.__name__
                if callable(thing) and own and not inner.startswith("_"):
                    yield f"{name}.{inner}", thing
        elif callable(value):
            yield name, value


def undocumented(name, value):
    """Return what is wrong with the docstring of a public name, or None."""
    doc = inspect.getdoc(value) or ""
    if not doc or doc.startswith(
        f"{getattr(value, '__name__', '?')}("
    ):  # what dataclass and NamedTuple write themselves
        return f"{name} has no docstring"
    if name not in EXEMPT and not doctest.DocTestParser().get_examples(doc):
        return f"{name} has no example"
    return None


@pytest.mark.parametrize("name, value", list(public_names()), ids=lambda v: v if isinstance(v, str) else "")
def test_a_public_name_has_a_docstring_with_an_example(name, value):
    if name in jaxnn.__dict__ and not inspect.isfunction(value) and not inspect.isclass(value):
        value = type(value)  # an instance such as jaxnn.tanh: its class says what it is
    assert undocumented(name, value) is None


def test_exempt_names_exist_and_have_no_example():
    names = dict(public_names())
    assert set(names) >= EXEMPT
    assert [name for name in EXEMPT if doctest.DocTestParser().get_examples(inspect.getdoc(names[name]) or "")] == []


def test_a_missing_docstring_or_example_is_found():
    def bare():
        pass

    def plain():
        """Do something."""

    def shown():
        """Do something.

        >>> 1
        1
        """

    record = types.new_class("Record")
    assert undocumented("x", bare) == "x has no docstring" and undocumented("x", record) == "x has no docstring"
    assert undocumented("x", plain) == "x has no example" and undocumented("x", shown) is None
    assert undocumented("predict", plain) is None
