"""`jaxnn train`, run in this process: what it writes, what it says, how it ends."""

import contextlib
import csv
import io
import os
import re
import signal
import struct
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import rich.console
from command import read_json, run

import jaxnn
from jaxnn import cli
from jaxnn._optimizer import OPTIMIZERS
from jaxnn._progress import Progress
from jaxnn._state import WATCHED
from jaxnn.cli import _build, _help, _parts, _run_folder, _screen
from jaxnn.cli._config import TrainConfig

XOR = ["train", "--data", "xor", "--hidden", "8", "--learning-rate", "0.01"]  # one program serves every run on these
ALL_FILES = {"config.json", "params.safetensors", "history.csv", "metrics.json", "checkpoints"}
PICTURES = {"learning_curves.png", "confusion.png", "reliability.png"}


def rebuild(folder):
    """Return objective, parameters and the three parts from what the run folder says, with public names only."""
    saved = read_json(folder / "config.json")
    model = jaxnn.Mlp(tuple(saved["model"]["sizes"]), getattr(jaxnn, saved["model"]["activation"]))
    objective = jaxnn.LogLikelihood(model, getattr(jaxnn, saved["likelihood"]), l2=saved["config"]["l2"])
    params = jaxnn.checkpoint.load(folder / "params.safetensors", like=model.init(0))
    ds = jaxnn.data.load(saved["config"]["data"])
    parts = jaxnn.data.split(ds, (0.7, 0.15, 0.15), seed=saved["seeds"]["split"])
    if saved["schema"]["mean"] is not None:
        parts = jaxnn.data.standardise(*parts)
    assert parts[0].schema == jaxnn.data.Schema.from_dict(saved["schema"])
    return objective, params, dict(zip(("train", "hold_out", "test"), parts, strict=True))


@pytest.fixture(scope="module")
def xor(tmp_path_factory):
    folder = tmp_path_factory.mktemp("xor") / "run"
    done = run(*XOR, "--epochs", "5", "--run-folder", folder)
    assert (done.code, done.err) == (0, "")
    return SimpleNamespace(folder=folder, out=done.out)


# What is written


def test_the_run_folder_holds_exactly_what_is_promised(xor):
    assert {path.name for path in xor.folder.iterdir()} == ALL_FILES | PICTURES | {"decision_boundary.png"}


@pytest.mark.parametrize("name", sorted(PICTURES | {"decision_boundary.png"}))
def test_pictures_are_png_of_a_sane_size(xor, name):
    content = (xor.folder / name).read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert all(400 <= side <= 3000 for side in struct.unpack(">II", content[16:24]))
    assert len(content) > 5000


def test_history_has_every_column_and_a_row_an_epoch(xor):
    with (xor.folder / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == tuple(name for name in jaxnn.History._fields if name not in WATCHED)
    assert [int(row["epoch"]) for row in rows] == [0, 1, 2, 3, 4, 5]
    assert rows[0]["update_ratio"] == "nan"
    assert all(float(row["hold_out_log_likelihood"]) < 0 < float(row["seconds"]) for row in rows[1:])


def test_clipped_gradients_are_watched_said_and_shown(tmp_path):
    options = ["--aggregate", "clipped", "--max-norm", "0.5", "--watch-gradients", "--epochs", "2"]
    done = run(*XOR, *options, "--run-folder", tmp_path / "run")
    assert (done.code, done.err) == (0, "")
    assert (
        ", gradients clipped to 0.5" in done.out and ", gradients clipped to 0.5" in run("show", tmp_path / "run").out
    )
    saved = jaxnn.load_run(tmp_path / "run")
    assert np.isfinite(saved.history.noise_trace).all() and (saved.history.norm_max > 0).all()
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        assert tuple(next(csv.reader(file))) == jaxnn.History._fields


def test_config_says_what_was_run(xor):
    saved = read_json(xor.folder / "config.json")
    assert set(saved["config"]) == {field.name for field in fields(TrainConfig)}
    assert saved["config"]["hidden"] == [8] and saved["config"]["data"] == "xor"
    assert saved["model"] == {"kind": "Mlp", "sizes": [2, 8, 1], "activation": "relu", "dtype": "float32"}
    assert saved["format"] == 1 and saved["l2"] == 1e-4
    assert saved["likelihood"] == "bernoulli"
    assert saved["parts"] == {"train": 350, "hold_out": 75, "test": 75}
    assert saved["versions"]["jaxnn"] == jaxnn.__version__ and saved["versions"]["jax"]
    assert saved["device"]["platform"] in ("cpu", "gpu", "tpu")
    assert len(set(saved["seeds"].values())) == 3


def test_metrics_say_how_it_ended_and_how_good_it_is(xor):
    metrics = read_json(xor.folder / "metrics.json")
    assert (metrics["status"], metrics["epochs"]) == ("max_epochs", 5)
    assert metrics["message"].startswith("ran all 5 epochs")
    with (xor.folder / "history.csv").open(newline="") as file:
        best = list(csv.DictReader(file))[metrics["best_epoch"]]
    assert metrics["hold_out"]["log_likelihood"] == pytest.approx(float(best["hold_out_log_likelihood"]), rel=1e-5)
    assert np.sum(metrics["test"]["confusion"]) == metrics["test"]["num_examples"] == 75


def test_saved_parameters_in_a_rebuilt_model_give_the_same_metrics_bit_for_bit(xor):
    objective, params, parts = rebuild(xor.folder)
    metrics = read_json(xor.folder / "metrics.json")
    for name, part in parts.items():
        assert jaxnn.evaluate(objective, params, part).to_dict() == metrics[name]


def test_the_same_seed_gives_the_same_bytes_and_another_does_not(xor, tmp_path):
    for seed in (0, 1):
        assert run(*XOR, "--epochs", "5", "--seed", seed, "--run-folder", tmp_path / str(seed)).code == 0
    same, other = (tmp_path / seed / "params.safetensors" for seed in "01")
    assert same.read_bytes() == (xor.folder / "params.safetensors").read_bytes() != other.read_bytes()


def test_a_folder_in_use_is_refused_and_kept_unless_overwrite_is_given(tmp_path):
    (tmp_path / "thesis.txt").write_text("mine")
    (tmp_path / "confusion.png").write_text("of an earlier run")
    refused = run(*XOR, "--epochs", "1", "--run-folder", tmp_path)
    assert refused.code == 2 and refused.out == ""
    assert refused.err == (
        f"jaxnn: train: --run-folder is new or empty; got {tmp_path} with 2 files, confusion.png among them; "
        "choose another, or pass --overwrite\n"
    )
    assert {path.name for path in tmp_path.iterdir()} == {"thesis.txt", "confusion.png"}
    assert run(*XOR, "--epochs", "1", "--run-folder", tmp_path, "--overwrite", "--quiet").code == 0
    assert (tmp_path / "thesis.txt").read_text() == "mine"
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")


def test_the_default_folder_is_named_after_the_data_and_never_shared(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folders = [_run_folder.claim(TrainConfig(data="xor")) for _ in range(3)]
    assert [str(folder) for folder in folders] == ["runs/xor", "runs/xor-2", "runs/xor-3"]
    assert str(_run_folder.claim(TrainConfig(data="some/where/my.flowers.csv"))) == "runs/my"


# What is said


def test_the_screen_says_data_likelihood_model_end_figures_and_place(xor):
    for line in (
        "xor: 500 examples, 2 features (standardised), 2 classes",
        "350 to learn from, 75 hold-out, 75 test (untouched until the end)",
        "bernoulli (two classes: one logit, P(y=1) = sigmoid)",
        "Mlp(sizes=(2, 8, 1), activation=relu",
        "0.kernel   (2, 8)  float32     16",
        "MiniBatch(size=32, replacement=False): 11 an epoch, adam at 0.01",
        "ran all 5 epochs; returned epoch",
        f"run folder  {xor.folder}",
        "files       config.json, params.safetensors, history.csv, metrics.json",
        "pictures    learning_curves.png, confusion.png, reliability.png, decision_boundary.png",
    ):
        assert line in xor.out
    assert re.search(r"epoch +5/200|epoch +5/5 +log likelihood -\d\.\d+ +hold-out -\d\.\d+ +accuracy 0\.\d+", xor.out)
    test = read_json(xor.folder / "metrics.json")["test"]
    figures = "  +".join(f"{test[name]:.4f}" for name in ("log_likelihood", "accuracy", "brier", "calibration_error"))
    assert re.search(rf"test +75 +{figures}", xor.out)


def test_output_without_a_terminal_is_plain_text(xor):
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", xor.out)


def test_a_terminal_gets_a_live_bar(monkeypatch):
    screen = _screen.Screen(quiet=False)
    text = io.StringIO()
    screen.console = rich.console.Console(file=text, force_terminal=True, width=100)
    row = dict.fromkeys(jaxnn.History._fields, float("nan")) | {
        "epoch": 12.0,
        "log_likelihood": -0.25,
        "hold_out_accuracy": 0.75,
    }
    with screen.progress(200) as show:
        show(Progress(12.5, 200, row, 11, 1.0, "running"))
    assert "epoch 12/200  best 11" in text.getvalue() and "\x1b[" in text.getvalue()
    assert "log likelihood -0.2500  accuracy 0.7500" in text.getvalue()


def test_slow_work_is_mentioned_after_a_while_and_quick_work_is_not(capsys, monkeypatch):
    with _screen.working("reading"):
        pass
    with _screen.working("thinking", mention=False):
        pass
    monkeypatch.setattr(_screen, "PATIENCE", 0.2)
    with _screen.working("drawing"):
        time.sleep(0.5)
    with _screen.working("evaluating") as done:
        done()
    assert capsys.readouterr() == ("", "drawing ...\n")


def test_quiet_prints_the_folder_only(tmp_path):
    done = run(*XOR, "--epochs", "1", "--quiet", "--run-folder", tmp_path / "q")
    assert (done.code, done.out, done.err) == (0, f"{tmp_path / 'q'}\n", "")


@pytest.mark.parametrize(
    "arrays, name, num_outputs",
    [
        (dict(y=[0, 1, 1], num_classes=2), "Bernoulli", 1),
        (dict(y=[0, 1, 2], num_classes=3), "Categorical", 3),
        (dict(y=[0.5, 1.0, -2.0]), "Gaussian", 1),
        (dict(y=np.ones((3, 4))), "Gaussian", 4),
    ],
)
def test_the_likelihood_follows_from_the_targets(arrays, name, num_outputs):
    likelihood, outputs = _parts.infer_likelihood(jaxnn.data.dataset(np.eye(3), **arrays))
    assert (type(likelihood).__name__, outputs) == (name, num_outputs)


def test_softmax_regression_by_full_batches_with_class_weights(tmp_path):
    options = ["--hidden", "--plan", "full", "--optimizer", "sgd", "--epochs", "3", "--class-weights", "1", "2", "3"]
    done = run("train", "--data", "iris", *options, "--run-folder", tmp_path / "run")
    assert done.code == 0
    assert "categorical (3 classes: one logit each, P(y) = softmax)" in done.out
    assert "Mlp(sizes=(4, 3)" in done.out and "FullBatch(): 1 an epoch, sgd at 0.1" in done.out
    assert "weights     1, 2, 3 for an example of each class, while learning and stopping" in done.out
    assert read_json(tmp_path / "run" / "config.json")["class_weights"] == [1, 2, 3]
    with (tmp_path / "run" / "history.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert float(rows[1]["log_likelihood"]) == pytest.approx(-np.log(3), rel=1e-5)  # zeros: the same for every weight
    # The weighted classes are predicted more often than the first.
    predicted = np.sum(read_json(tmp_path / "run" / "metrics.json")["train"]["confusion"], axis=0)
    assert predicted[2] > predicted[0]
    assert {path.name for path in (tmp_path / "run").iterdir()} == ALL_FILES | PICTURES


def test_real_targets_are_trained_and_judged_without_classes(tmp_path, monkeypatch):
    def line():
        """a straight line"""
        x = np.linspace(-1, 1, 60)[:, None]
        return jaxnn.data.dataset(x, 2 * x[:, 0], name="line")

    monkeypatch.setitem(sys.modules["jaxnn.data._load"].LOADERS, "line", line)
    done = run("train", "--data", "line", "--hidden", "--epochs", "2", "--run-folder", tmp_path / "run")
    assert done.code == 0 and "gaussian (real targets: their mean, with unit variance)" in done.out
    assert "root mean" in done.out and "accuracy" not in done.out
    assert {path.name for path in (tmp_path / "run").iterdir()} == ALL_FILES | {"learning_curves.png"}
    assert set(read_json(tmp_path / "run" / "metrics.json")["test"]) == {
        "num_examples",
        "log_likelihood",
        "root_mean_squared_error",
    }


# How it ends


def test_a_run_that_diverges_says_so_once_and_exits_1(tmp_path):
    done = run(*XOR[:-1], "1e37", "--epochs", "5", "--run-folder", tmp_path / "run")
    assert done.code == 1
    assert (done.out + done.err).count("diverged") == 1
    assert done.err.startswith("jaxnn: diverged in epoch 1") and done.err.count("\n") == 1
    assert "try learning_rate=1e+36" in done.err
    assert read_json(tmp_path / "run" / "metrics.json")["status"] == "diverged"
    assert (tmp_path / "run" / "learning_curves.png").exists()


def test_an_interrupt_keeps_the_best_parameters_and_exits_130(tmp_path, monkeypatch):
    @contextlib.contextmanager
    def press_ctrl_c(self, max_epochs):
        pressed = []

        def press(progress):
            if progress.status == "running" and progress.epoch > 5 and not pressed:
                pressed.append(signal.raise_signal(signal.SIGINT))

        yield press

    monkeypatch.setattr(_screen.Screen, "progress", press_ctrl_c)
    done = run(*XOR, "--epochs", "20000", "--patience", "20000", "--run-folder", tmp_path / "run")
    assert done.code == 130 and done.err == "" and "interrupted in epoch" in done.out and "state=" not in done.out
    assert read_json(tmp_path / "run" / "metrics.json")["status"] == "interrupted"
    objective, params, parts = rebuild(tmp_path / "run")
    assert jaxnn.evaluate(objective, params, parts["test"]).log_likelihood > -0.8


def test_an_interrupt_anywhere_else_ends_quietly_with_130(tmp_path, monkeypatch):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxnn.cli._train.build", interrupted)
    done = run("train", "--data", "xor", "--run-folder", tmp_path / "run")
    assert (done.code, done.out, done.err) == (130, "", "jaxnn: interrupted\n")


ERRORS = [
    (["digit"], "train: data is a file or one of digits, iris, .*; got data='digit'; did you mean 'digits'?"),
    (["xor", "--activation", "rleu"], "train: activation is one of .*; got activation='rleu'; did you mean 'relu'?"),
    (["xor", "--optimizer", "adan"], "train: optimizer is one of .*; got optimizer='adan'; did you mean 'adam'?"),
    (["xor", "--learning-rate", "nan"], "train: learning_rate is a finite number >= 0; got learning_rate=nan"),
    (["xor", "--learning-rate", "-1"], "train: learning_rate is a finite number >= 0; got learning_rate=-1.0"),
    (["xor", "--epochs", "-1"], "train: epochs is a whole number >= 0; got epochs=-1"),
    (["xor", "--patience", "0"], "train: patience is a whole number >= 1; got patience=0"),
    (["xor", "--seed", "-1"], "train: seed is a whole number >= 0; got seed=-1"),
    (["xor", "--batch-size", "0"], "MiniBatch: size is a whole number >= 1; got size=0"),
    (["xor", "--plan", "full", "--replacement"], "train: a full batch reads every example once; got .*; leave one"),
    (["xor", "--aggregate", "clipped"], "train: clipped gradients have a largest norm; got .* without --max-norm; add"),
    (
        ["xor", "--max-norm", "1"],
        "train: only clipped gradients have a largest norm; got --max-norm 1 with --aggregate",
    ),
    (
        ["xor", "--aggregate", "clipped", "--max-norm", "-1"],
        "train: max_norm is a finite number >= 0; got max_norm=-1.0; pass such a number",
    ),
    (
        ["xor", "--aggregate", "clipped", "--max-norm", "inf"],
        "train: max_norm is a finite number >= 0; got max_norm=inf",
    ),
    (["xor", "--hidden", "8", "0"], "Mlp: sizes.2. is a whole number >= 1; got sizes.2.=0"),
    (["xor", "--l2", "-1"], "LogLikelihood: l2 is a finite number >= 0; got l2=-1.0"),
    (["xor", "--class-weights", "1", "2", "3"], "data.class_weights: weights are one number a class; got shape .3,."),
    (["xor", "--class-weights", "0", "0"], "data.class_weights: some weight is positive"),
    (
        ["xor", "--folder", "."],
        "train: only mnist and fashion_mnist are read from a folder; got --folder . with data='xor'",
    ),
    (["mnist", "--folder", "nowhere"], r"data.load\('mnist'\): the folder holds .* folder=PosixPath\('nowhere'\)"),
]


@pytest.mark.parametrize("options, text", ERRORS, ids=[" ".join(options) for options, _ in ERRORS])
def test_a_mistake_is_one_line_and_exit_code_2_before_anything_is_written(options, text, tmp_path):
    done = run("train", "--data", *options, "--run-folder", tmp_path / "run")
    assert (done.code, done.out) == (2, "")
    assert re.match(f"jaxnn: {text}", done.err), done.err
    assert done.err.count("\n") == 1 and "Traceback" not in done.err
    assert not (tmp_path / "run").exists()


def test_a_run_folder_that_is_a_file_or_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    taken = run("train", "--data", "xor", "--run-folder", tmp_path / "file")
    inside = run("train", "--data", "xor", "--run-folder", tmp_path / "file" / "run")
    assert (taken.code, inside.code) == (2, 2)
    assert "--run-folder is a folder; got the file" in taken.err
    assert "Not a directory" in inside.err and inside.err.count("\n") == 1


def test_debug_shows_the_traceback():
    done = run("train", "--data", "digit", "--debug")
    assert done.code == 2 and "Traceback" in done.err and "jaxnn: train: data is a file or one of" in done.err


@pytest.mark.parametrize(
    "argv", [["tran"], ["train", "--hiden", "3"], ["train", "--plan", "some"], ["train", "--l2", "x"]]
)
def test_an_unknown_command_or_option_is_explained_with_exit_code_2(argv):
    done = run(*argv)
    assert done.code == 2 and done.out == "" and "--help" in done.err and "Traceback" not in done.err


# Options


def test_help_reads_like_documentation():
    for argv in (["--help"], []):
        assert run(*argv).code == 0
        assert "examples:\n  jaxnn train " in run(*argv).out
    text = run("train", "--help").out
    words = " ".join(text.replace("│", " ").split())
    for field in fields(TrainConfig):
        assert f"--{field.name.replace('_', '-')}" in words or field.name == "data"
        assert field.name == "data" or re.search(
            rf"--{field.name.replace('_', '-')}\b.*?[a-z]{{3,}}.*?\(default: ", words
        )
    for name in (*jaxnn.data.names(), *_build.ACTIVATIONS, *OPTIMIZERS, _help.XLA_FLAG, "exit codes: 0 done"):
        assert name in words


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_named_raises_the_log_likelihood(name):
    make, rate = OPTIMIZERS[name]
    objective = jaxnn.LogLikelihood(jaxnn.Linear(2, 1), jaxnn.bernoulli)
    batch = jaxnn.data.load("gauss", num_examples=20).batch
    state = jaxnn.init_state(objective, make, objective.model.init(0), learning_rate=rate)
    state, info = jaxnn.ascent_step(objective, make, state, batch)
    assert objective(state.params, batch) > info.log_likelihood


def test_plans_follow_the_options():
    made = {
        ("mini-batch", False): jaxnn.MiniBatch(32),
        ("mini-batch", True): jaxnn.MiniBatch(32, replacement=True),
        ("stochastic", False): jaxnn.Stochastic(replacement=False),
        ("stochastic", True): jaxnn.Stochastic(),
        ("full", False): jaxnn.FullBatch(),
    }
    for (plan, replacement), want in made.items():
        assert _build.make_plan(TrainConfig(plan=plan, replacement=replacement)) == want


@pytest.mark.parametrize(
    "data, standardise, want", [("digits", "auto", False), ("iris", "auto", True), ("iris", "no", False)]
)
def test_features_are_standardised_unless_they_are_pixels(data, standardise, want):
    train, hold_out, test = _parts.load_parts(TrainConfig(data=data, standardise=standardise), seed=0)
    assert {part.schema.mean is not None for part in (train, hold_out, test)} == {want}


def test_mnist_keeps_its_test_part_and_gives_a_twelfth_to_the_hold_out(tmp_path):
    rng = np.random.default_rng(0)
    for stem, count in (("train", 120), ("t10k", 30)):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), np.arange(count, dtype=np.uint8) % 10
        Path(tmp_path, f"{stem}-images-idx3-ubyte").write_bytes(
            struct.pack(">4I", 0x803, count, 28, 28) + images.tobytes()
        )
        Path(tmp_path, f"{stem}-labels-idx1-ubyte").write_bytes(struct.pack(">2I", 0x801, count) + labels.tobytes())
    parts = _parts.load_parts(TrainConfig(data="mnist", folder=tmp_path), seed=0)
    assert [len(part) for part in parts] == [110, 10, 30]
    assert parts[0].schema.mean is None


def test_balanced_class_weights_come_from_the_training_part():
    x, y = np.eye(10), np.array([0] * 8 + [1] * 2)
    train = jaxnn.data.dataset(x, y, num_classes=2)
    assert _parts.per_class(train, "balanced") == pytest.approx((10 / 16, 10 / 4))
    assert _parts.per_class(train, (1.0, 3.0)) == (1.0, 3.0)
    assert _parts.per_class(train, "none") is None


@pytest.mark.parametrize(
    "before, after",
    [
        (None, _help.XLA_FLAG),
        ("--xla_cpu_enable_fast_math=false", f"--xla_cpu_enable_fast_math=false {_help.XLA_FLAG}"),
        ("--xla_backend_extra_options=mine=1", "--xla_backend_extra_options=mine=1"),
    ],
)
def test_xla_flags_are_added_unless_the_user_has_set_that_option(before, after, monkeypatch):
    monkeypatch.delenv("XLA_FLAGS", raising=False)
    if before is not None:
        monkeypatch.setenv("XLA_FLAGS", before)
    cli.set_xla_flags()
    assert os.environ["XLA_FLAGS"] == after


def test_without_tyro_the_command_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tyro", None)
    done = run("train")
    assert (
        done.code == 2 and "the command line needs tyro and rich" in done.err and "pip install 'jaxnn[cli]'" in done.err
    )


def test_without_matplotlib_everything_but_the_pictures_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    done = run(*XOR, "--epochs", "1", "--run-folder", tmp_path / "run")
    assert done.code == 0 and "none: matplotlib is missing (pip install jaxnn[plot])" in done.out
    assert {path.name for path in (tmp_path / "run").iterdir()} == ALL_FILES


def test_python_m_jaxnn_is_the_command_and_imports_no_matplotlib():
    root = Path(jaxnn.__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-m", "jaxnn", "--version"], capture_output=True, text=True, cwd=root, timeout=60
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"jaxnn {jaxnn.__version__}\n", "")
    code = (
        "import sys, jaxnn.plotting, jaxnn.cli; "
        "print(sorted({'matplotlib', 'sklearn', 'tyro', 'rich'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, timeout=60)
    assert done.stdout == "[]\n", done.stderr


def test_the_xla_flag_reaches_the_compiler():
    """The command sets it after `import jax` and before the first computation; that must be early enough."""
    code = """
import jax, jax.numpy as jnp
from jaxnn.cli import set_xla_flags
set_xla_flags()
loop = lambda w, x: jax.lax.fori_loop(0, 1000, lambda i, w: w + jnp.tanh(x[i] @ w) * x[i], w)
print("xla_cpu_small_call" in jax.jit(loop).lower(jnp.ones(784), jnp.ones((1000, 784))).compile().as_text())
"""
    env = {name: value for name, value in os.environ.items() if name != "XLA_FLAGS"} | {"JAX_PLATFORMS": "cpu"}
    root = Path(jaxnn.__file__).parents[1]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, env=env, timeout=60)
    assert done.stdout == "True\n", done.stderr
