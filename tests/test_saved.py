"""Run folders read back: `load_run`, `jaxnn show`, and what is done about damaged, old and foreign ones."""

import json
import re
import shutil

import jax
import numpy as np
import pytest
import small
from command import read_json, run
from flowers import ORDER, oracle

import jaxnn


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch, home):
    """Work in an empty folder, and draw nothing: test_cli.py looks at the pictures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnn.cli._train.draw", lambda *_: None)


# --- show -------------------------------------------------------------------------------------------------


def test_show_says_what_how_why_and_how_good(home):
    done = run("show", home.run)
    metrics = read_json(home.run / "metrics.json")
    assert (done.code, done.err) == (0, "")
    for line in (
        f"run         {home.run}",
        "flowers.csv: 4 features (standardised), 3 classes: setosa, versicolor, virginica",
        "parts       84 train, 18 hold-out, 18 test",
        "Mlp(sizes=(4, 4, 3), activation=relu",
        "mini-batch, adam at 0.05, l2 0.0001, seed 0",
        metrics["message"],
        f"pictures    {home.run / 'learning_curves.png'}",
    ):
        assert line in done.out, line
    (best,) = re.findall(r" +(\d+) .*returned +\n", done.out)
    assert int(best) == metrics["best_epoch"]
    assert re.search(rf"test +18 +{metrics['test']['log_likelihood']:.4f}", done.out)
    everything = json.loads(run("show", home.run / "config.json", "--json").out)
    assert everything["figures"]["test"] == metrics["test"] and len(everything["history"]) == 41
    assert everything["config"]["config"]["label"] == "species" and "history.csv" in everything["files"]


@pytest.mark.parametrize("command", [["show"], ["predict", "x.csv"], ["evaluate", "x.csv"]])
def test_a_folder_without_a_run_names_the_near_one(tmp_path, command):
    (tmp_path / "runs" / "flowers").mkdir(parents=True)
    (tmp_path / "runs" / "flowers" / "config.json").write_text("{}")
    done = run(command[0], "runs/flower", *command[1:])
    assert done.code == 2 and done.out == ""
    assert done.err == (
        "jaxnn: load_run: a run folder holds config.json; got folder='runs/flower'; in 'runs': did you mean "
        "'flowers'?\n"
    )
    assert "pass the folder that `jaxnn train` printed" in run(command[0], "nowhere", *command[1:]).err


# --- load_run ---------------------------------------------------------------------------------------------


def test_two_lines_bring_a_run_back(home):
    saved = jaxnn.load_run(home.run)
    assert saved.objective.model == jaxnn.Mlp((4, 4, 3), jaxnn.relu) and saved.objective.likelihood == jaxnn.categorical
    assert float(saved.objective.l2) == pytest.approx(1e-4)
    x = jaxnn.data.read_inputs(home.folder / "new.csv", like=saved.schema).x
    p = jaxnn.predict_proba(saved.objective, saved.params, x)
    np.testing.assert_allclose(p, oracle(home, ORDER[120:]), atol=2e-6)
    assert saved.status == "max_epochs" and saved.message.startswith("ran all 40 epochs")
    assert saved.history.epoch.tolist() == list(range(41)) and saved.best_epoch in range(41)
    assert set(saved.figures) == {"train", "hold_out", "test"}
    figure = jaxnn.plotting.learning_curves(saved.history, saved.best_epoch)
    assert figure.axes


def test_a_run_comes_back_when_double_precision_is_on(home, x64):
    saved = jaxnn.load_run(home.run)
    assert {leaf.dtype.name for leaf in jax.tree.leaves(saved.params)} == {"float32"}


def test_a_run_that_was_killed_before_its_metrics_is_what_its_newest_checkpoint_says(home, tmp_path):
    whole = jaxnn.load_run(home.run)
    shutil.copytree(home.run, tmp_path / "cut")
    for name in ("metrics.json", "params.safetensors", "history.csv"):
        (tmp_path / "cut" / name).unlink()
        saved = jaxnn.load_run(tmp_path / "cut")
        assert (saved.status, saved.best_epoch, saved.figures) == ("max_epochs", whole.best_epoch, {})
        assert small.bits(saved.params) == small.bits(whole.params)
        np.testing.assert_allclose(saved.history.log_likelihood, whole.history.log_likelihood, rtol=1e-6)
    assert saved.message.startswith("max_epochs at epoch 40, step 0 when it was last saved, in 0000000")
    done = run("show", "cut")
    assert done.code == 0 and "max_epochs at epoch 40, step 0 when it was last saved" in done.out
    assert run("predict", "cut", home.folder / "new.csv").code == 0


def test_a_run_without_metrics_and_checkpoints_is_what_its_files_say(home, tmp_path):
    shutil.copytree(home.run, tmp_path / "cut")
    shutil.rmtree(tmp_path / "cut" / "checkpoints")
    (tmp_path / "cut" / "metrics.json").unlink()
    saved = jaxnn.load_run(tmp_path / "cut")
    assert (saved.status, saved.best_epoch, saved.figures) == ("", None, {})
    done = run("show", "cut")
    assert done.code == 0 and "no metrics.json: the run was ended before" in done.out
    done = run("train", "--resume", "cut")
    assert (done.code, done.out) == (2, "")
    assert done.err == (
        "jaxnn: train: a run goes on from a checkpoint; got cut, in which checkpoints holds none; train a new run\n"
    )


def test_the_folder_of_a_fit_is_a_run_too(tmp_path):
    for train in (small.TRAIN, jaxnn.data.dataset(small.X[:20], small.Y[:20], num_classes=3, class_names=list("abc"))):
        folder = tmp_path / type(train).__name__
        result = small.fit(3, train=train, checkpoint=folder)
        saved = jaxnn.load_run(folder)
        assert saved.objective.model == small.MODEL and saved.objective.likelihood == jaxnn.categorical
        assert small.bits(saved.params) == small.bits(result.params)
        assert small.bits(small.rows_of(saved.history)) == small.bits(small.rows_of(result.history))
        assert (saved.schema.num_classes, saved.schema.num_features) == (3, 3)
        done = run("show", folder)
        assert done.code == 0 and "max_epochs at epoch 3" in done.out
    assert saved.schema == train.schema


def test_checkpoints_of_something_else_than_a_run_are_refused_with_what_to_do(tmp_path):
    jaxnn.checkpoint.Checkpoints(tmp_path / "tree").save(small.PARAMS)
    with pytest.raises(jaxnn.CheckpointError, match=r"^load_run: a run is of an Mlp .*; got another .*checkpoint.read"):
        jaxnn.load_run(tmp_path / "tree")


def edited(**changes):
    """Return an edit of config.json: keys with dots lead further in."""

    def edit(folder):
        config = read_json(folder / "config.json")
        for path, value in changes.items():
            *way, last = path.split("__")
            place = config
            for key in way:
                place = place[key]
            if value is ...:
                del place[last]
            else:
                place[last] = value
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def put(name, content):
    return lambda folder: (folder / name).write_bytes(content)


DAMAGES = {
    "no config": (lambda folder: (folder / "config.json").unlink(), r"a run folder holds config.json; got folder="),
    "no JSON": (put("config.json", b"{"), r"config.json is a JSON object; got Expecting"),
    "not UTF-8": (put("config.json", b"\xff"), r"config.json is a JSON object; got"),
    "a list": (put("config.json", b"[]"), r"config.json is a JSON object; got a list"),
    "deep JSON": (put("config.json", b"[" * 100_000), r"config.json is a JSON object; got"),
    "an empty object": (put("config.json", b"{}"), r"is as jaxnn wrote it; got KeyError: 'format'"),
    "a newer format": (edited(format=2), r"reads run folders up to format 1; got 2 in .*; install jaxnn 0"),
    "a format of text": (edited(format="1"), r"is as jaxnn wrote it; got TypeError"),
    "no sizes": (edited(model__sizes=...), r"KeyError: 'sizes'"),
    "sizes of text": (edited(model__sizes="ab"), r"is as jaxnn wrote it; got \w+Error: "),
    "other sizes": (edited(model__sizes=[4, 5, 3]), r"holds the parameters of Mlp.*40|0.kernel is float32"),
    "other inputs": (edited(model__sizes=[5, 4, 3]), r"ValueError: 4 features for a model of 5"),
    "no scale": (edited(schema__scale=None), r"ConfigError: Schema: "),
    "a scale of words": (edited(schema__scale=["a", "b", "c", "d"]), r"ConfigError: Schema: "),
    "a negative scale": (edited(schema__scale=[-1.0, 1.0, 1.0, 1.0]), r"ConfigError: Schema: "),
    "other outputs": (edited(model__sizes=[4, 4, 2]), r"ValueError: 3 classes for Categorical\(\) of 2 outputs"),
    "huge sizes": (edited(model__sizes=[4, 10**9, 3]), r"holds the parameters of .*, 32,000,000,012 bytes; got"),
    "an unknown kind": (edited(model__kind="Cnn"), r"ValueError: a model of kind 'Cnn'"),
    "an unknown activation": (edited(model__activation="os.system"), r"KeyError: 'os.system'"),
    "an unknown likelihood": (edited(likelihood="poisson"), r"KeyError: 'poisson'"),
    "another dtype": (edited(model__dtype="float16"), r"0.kernel is float32.*, not float16"),
    "no dtype": (edited(model__dtype="int7"), r"TypeError: "),
    "a negative penalty": (edited(l2=-1), r"ConfigError: LogLikelihood: l2 is a finite number"),
    "an unknown field of the schema": (edited(schema__colour=3), r"ConfigError: Schema.from_dict: fields are known"),
    "a name too few": (
        edited(schema__class_names=["a", "b"]),
        r"one entry a class; got 2 class_names for num_classes=3",
    ),
    "a mean too few": (edited(schema__mean=[0.0]), r"one entry a feature; got 4 feature_names, 1 mean"),
    "no parameters": (
        lambda folder: (folder / "params.safetensors").unlink(),
        r"a finished run has params.safetensors",
    ),
    "cut parameters": (
        lambda folder: (folder / "params.safetensors").write_bytes((folder / "params.safetensors").read_bytes()[:-1]),
        r"params.safetensors is as it was written, with the SHA-256 in metrics.json; got other bytes",
    ),
    "another likelihood": (
        edited(likelihood="bernoulli"),
        r"ConfigError: Bernoulli: the model has one output",
    ),
    "double precision": (edited(model__dtype="float64"), r"double precision need jax_enable_x64; .*JAX_ENABLE_X64=1"),
    "no history": (lambda folder: (folder / "history.csv").unlink(), r"history.csv has a row an epoch.*FileNotFound"),
    "a history of text": (put("history.csv", b"epoch,log_likelihood\n0,x\n"), r"history.csv has a row an epoch"),
    "an empty history": (put("history.csv", b""), r"history.csv has a row an epoch"),
    "metrics of text": (put("metrics.json", b"no"), r"metrics.json is a JSON object"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_run_folder_is_refused_with_the_place(home, tmp_path, damage):
    edit, text = DAMAGES[damage]
    shutil.copytree(home.run, tmp_path / "bad")
    edit(tmp_path / "bad")
    with pytest.raises(jaxnn.CheckpointError) as caught:
        jaxnn.load_run(tmp_path / "bad")
    assert re.search(text, str(caught.value)), str(caught.value)
    assert re.match(r"(load_run|checkpoint.load): [^;]+; got .+; .+", str(caught.value), re.DOTALL), str(caught.value)
    done = run("show", "bad")
    assert done.code == 2 and done.out == "" and "Traceback" not in done.err and done.err.count("\n") == 1


def test_any_byte_changed_in_config_is_refused_or_harmless(home, tmp_path):
    shutil.copytree(home.run, tmp_path / "bad")
    content = (home.run / "config.json").read_bytes()
    start = content.index(b'"model"')
    rng = np.random.default_rng(0)
    for at in rng.integers(start, len(content), 300):
        changed = bytearray(content)
        changed[at] = rng.integers(0, 256)
        (tmp_path / "bad" / "config.json").write_bytes(changed)
        try:
            saved = jaxnn.load_run(tmp_path / "bad")
        except jaxnn.CheckpointError:
            continue
        assert saved.params[0].kernel.shape == (4, 4) and saved.schema.num_classes == 3


# --- the run folder ---------------------------------------------------------------------------------------


def test_overwrite_touches_no_config_of_another_program_and_no_run_before_the_new_one_is_there(
    home, tmp_path, monkeypatch
):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.json").write_text('{"mine": 1}')
    done = run("train", "--data", "xor", "--run-folder", "mine", "--overwrite")
    assert done.code == 2 and "--overwrite replaces the files of an earlier run" in done.err
    assert (tmp_path / "mine" / "config.json").read_text() == '{"mine": 1}'
    shutil.copytree(home.run, tmp_path / "run")

    def files():
        return {path.name: path.read_bytes() for path in (tmp_path / "run").rglob("*") if path.is_file()}

    before = files()

    def broken(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("jaxnn.cli._build.Problem.learn", broken)
    assert run("train", "--data", "xor", "--run-folder", "run", "--overwrite").code == 130
    assert files() == before
    assert run("train", "--data", "xor", "--run-folder", "new").code == 130 and not (tmp_path / "new").exists()


def test_a_flipped_bit_in_the_parameters_is_found(home, tmp_path):
    shutil.copytree(home.run, tmp_path / "bad")
    content = bytearray((home.run / "params.safetensors").read_bytes())
    content[-3] ^= 1
    (tmp_path / "bad" / "params.safetensors").write_bytes(content)
    with pytest.raises(jaxnn.CheckpointError, match=r"SHA-256 in metrics.json; got other bytes"):
        jaxnn.load_run(tmp_path / "bad")


@pytest.mark.parametrize("name", ["config", "parts", "versions", "device", "started"])
def test_what_is_only_shown_may_be_missing(home, tmp_path, name):
    shutil.copytree(home.run, tmp_path / "odd")
    edited(**{name: None})(tmp_path / "odd")
    assert run("show", "odd").code == 0
    metrics = read_json(tmp_path / "odd" / "metrics.json")
    (tmp_path / "odd" / "metrics.json").write_text(json.dumps(metrics | {"test": {}, "best_epoch": "x"}))
    assert run("show", "odd").code == 0


@pytest.mark.parametrize("folder", [None, 3, b"run"])
def test_a_run_is_named_by_a_path(folder):
    with pytest.raises(jaxnn.CheckpointError, match=r"^load_run: folder is a path; got folder="):
        jaxnn.load_run(folder)
