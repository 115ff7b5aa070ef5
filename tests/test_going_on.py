"""`jaxnn train` stopped by Ctrl-C, SIGTERM and kills, and `jaxnn train --resume`: the same files as if nothing was."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import fields
from pathlib import Path

import pytest
import small
from command import read_json, run

import jaxnn
from jaxnn.cli import _screen
from jaxnn.cli._config import TrainConfig
from jaxnn.cli._going_on import FREE, _as_typed
from jaxnn.cli._signals import SIGNALS

XOR = ["train", "--data", "xor", "--hidden", "8", "--learning-rate", "0.01"]
EPOCHS = ["--epochs", "60", "--patience", "1000"]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Work in an empty folder, and draw nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("jaxnn.cli._train.draw", lambda *_: None)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("jaxnn.cli._train.draw", lambda *_: None)
        assert run(*XOR, *EPOCHS, "--run-folder", folder).code == 0
    return folder


@pytest.fixture
def stop_at():
    """Send a signal to this process at a progress report past an epoch, once, and look at the folder then."""

    def arrange(epoch, number=signal.SIGINT, look=lambda: None, times=1):
        class Pace:
            steps = 7  # of 11 an epoch

            def update(self, taken, now):
                pass

        patch.setattr("jaxnn._fit.Pace", Pace)

        @contextlib.contextmanager
        def progress(self, max_epochs):
            sent = []

            def show(report):
                if report.status == "running" and report.epoch > epoch and not sent:
                    sent.append(look())
                    for _ in range(times):
                        signal.raise_signal(number)

            yield show

        patch.setattr(_screen.Screen, "progress", progress)
        return patch.undo

    patch = pytest.MonkeyPatch()
    yield arrange
    patch.undo()


def same_result(folder, whole):
    """Compare everything that two runs have written but clocks and names."""
    assert (folder / "params.safetensors").read_bytes() == (whole / "params.safetensors").read_bytes()
    a, b = (jaxnn.load_run(f) for f in (folder, whole))
    assert small.bits(small.rows_of(a.history)) == small.bits(small.rows_of(b.history))
    clock = {"seconds", "message"}
    assert {k: v for k, v in read_json(folder / "metrics.json").items() if k not in clock} == {
        k: v for k, v in read_json(whole / "metrics.json").items() if k not in clock
    }


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_run_goes_on_to_the_same_files(number, code, whole, stop_at):
    handlers = [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)]
    as_before = stop_at(21.2, number)
    done = run(*XOR, *EPOCHS, "--run-folder", "run")
    assert (done.code, done.err) == (code, "") and "next        jaxnn train --resume run\n" in done.out
    assert [signal.getsignal(n) for n in (signal.SIGINT, signal.SIGTERM)] == handlers
    metrics = read_json(Path("run/metrics.json"))
    assert metrics["status"] == "interrupted" and ("test" in metrics) == (number == signal.SIGINT)
    assert jaxnn.load_run("run").best_epoch == metrics["best_epoch"]
    assert list(Path("run/checkpoints").glob("*.safetensors"))
    as_before()
    done = run("train", "--resume", "run")
    assert (done.code, done.err) == (0, "")
    assert "going on    from epoch 22, step 3, saved after " in done.out
    same_result(Path("run"), whole)
    config = read_json(Path("run/config.json"))
    assert len(config["resumed"]) == 1 and config["config"]["epochs"] == 60
    assert ", resumed 1 x, jaxnn" in run("show", "run").out


def test_an_ended_run_goes_on_with_more_epochs_and_takes_no_step_without(whole, tmp_path):
    assert run(*XOR, "--epochs", "25", "--patience", "1000", "--run-folder", "run").code == 0
    before = (tmp_path / "run" / "params.safetensors").read_bytes()
    done = run("train", "--resume", "run")
    assert done.code == 0 and "took no step: the state had run all after epoch 25" in done.out
    assert "raise --epochs to go on" in done.out
    assert (tmp_path / "run" / "params.safetensors").read_bytes() == before
    done = run("train", "--resume", "run/config.json", "--epochs", "60", "--json")
    assert done.code == 0 and json.loads(done.out)["epochs"] == 60
    same_result(tmp_path / "run", whole)


def test_a_run_is_resumed_from_any_folder(home, tmp_path, monkeypatch):
    shutil.copy(home.folder / "flowers.csv", tmp_path / "flowers.csv")
    quick = ["--hidden", "4", "--epochs", "5", "--learning-rate", "0.05"]
    assert run("train", "--data", "flowers.csv", "--label", "species", *quick).code == 0
    (tmp_path / "else").mkdir()
    monkeypatch.chdir(tmp_path / "else")
    done = run("train", "--resume", "../runs/flowers", "--epochs", "8")
    assert (done.code, done.err) == (0, "") and read_json(Path("../runs/flowers/metrics.json"))["epochs"] == 8
    content = (tmp_path / "flowers.csv").read_text()
    (tmp_path / "flowers.csv").write_text(content.replace("5.1", "5.2", 1))
    done = run("train", "--resume", "../runs/flowers", "--epochs", "9")
    assert (done.code, done.out.count("saved after")) == (2, 1)
    assert done.err.startswith("jaxnn: fit: the folder holds this very run; got train 84 examples, SHA-256 ")
    assert read_json(Path("../runs/flowers/metrics.json"))["epochs"] == 8  # what was there is untouched


def test_options_of_the_run_are_not_given_again_not_even_the_default(whole):
    for option in (["--hidden", "9"], ["--seed=0"], ["--run-folder", "x"], ["--overwrite"], ["--learning_rate", "1"]):
        done = run("train", "--resume", whole, *option)
        assert (done.code, done.out) == (2, ""), option
        assert done.err.startswith("jaxnn: train: --resume takes the options of the run, but for --epochs, --patience ")
        assert f"; got {option[0].partition('=')[0]}; leave it out" in done.err


def test_a_run_whose_files_were_moved_is_told_where_they_are(home, tmp_path):
    quick = ["--hidden", "4", "--epochs", "3", "--learning-rate", "0.05", "--label", "species"]
    (tmp_path / "a").mkdir()
    for name in ("flowers", "test"):
        shutil.copy(home.folder / f"{name}.csv", tmp_path / "a" / f"{name}.csv")
    with contextlib.chdir(tmp_path / "a"):
        parts = ["--hold-out", "test.csv", "--test", "test.csv"]
        assert run("train", "--data", "flowers.csv", *parts, *quick, "--run-folder", "run").code == 0
    with contextlib.chdir(tmp_path):  # the run is found from any folder, and so are its three files
        assert run("train", "--resume", "a/run", "--epochs", "4").code == 0
    (tmp_path / "a").rename(tmp_path / "b")
    done = run("train", "--resume", "b/run", "--epochs", "5")
    assert done.code == 2 and "data is a file or one of" in done.err
    with contextlib.chdir(tmp_path / "b"):  # the current folder will do, too
        assert run("train", "--resume", "run", "--epochs", "5").code == 0
    moved = ["--data", "b/flowers.csv", "--hold-out", "b/test.csv", "--test", "b/test.csv"]
    assert run("train", "--resume", "b/run", "--epochs", "6", *moved).code == 0
    assert read_json(tmp_path / "b" / "run" / "metrics.json")["epochs"] == 6


@pytest.mark.parametrize("place", ["jaxnn._fit.warn_of_one_class", "jaxnn._fit.about_run"])
@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_before_the_first_step_ends_the_command(place, number, code, monkeypatch):
    monkeypatch.setattr(place, lambda *_, **__: signal.raise_signal(number))
    done = run(*XOR, *EPOCHS, "--run-folder", "run")
    assert (done.code, not Path("run").exists()) == (code, True)


def test_a_ctrl_c_that_comes_too_late_for_the_run_is_seen_in_the_exit_code(monkeypatch, whole):
    finish = jaxnn._resume.Keeper.finish

    def pressed(self, reached):
        signal.raise_signal(signal.SIGINT)
        finish(self, reached)

    monkeypatch.setattr("jaxnn._resume.Keeper.finish", pressed)
    done = run(*XOR, *EPOCHS, "--run-folder", "run")
    assert done.code == 130
    same_result(Path("run"), whole)


def test_a_ctrl_c_before_anything_was_learnt_leaves_the_run_to_be_replaced_as_it_was(whole, tmp_path, monkeypatch):
    shutil.copytree(whole, tmp_path / "run")
    advance = jaxnn._fit.advance

    def pressed(*args):
        signal.raise_signal(signal.SIGINT)  # while it compiles
        return advance(*args)

    monkeypatch.setattr("jaxnn._fit.advance", pressed)
    assert run(*XOR, *EPOCHS, "--seed", "5", "--run-folder", "run", "--overwrite").code == 130
    same_result(tmp_path / "run", whole)
    assert jaxnn.load_run("run").config["seeds"] == jaxnn.load_run(whole).config["seeds"]
    assert run("train", "--resume", "run").code == 130  # a run that goes on is saved, and loses nothing either
    monkeypatch.undo()


@pytest.mark.parametrize("way", ["--overwrite", "--resume"])
def test_nothing_of_the_old_files_stands_beside_a_run_that_has_begun(way, whole, stop_at):
    shutil.copytree(whole, "run")
    (Path("run") / "confusion.png").write_text("old")
    seen = []
    stop_at(70.0 if way == "--resume" else 20.0, look=lambda: seen.extend(path.name for path in Path("run").iterdir()))
    options = ["--resume", "run"] if way == "--resume" else [*XOR[1:], "--run-folder", "run", "--overwrite"]
    assert run("train", *options, "--epochs", "100", "--patience", "1000").code == 130
    kept = {"params.safetensors", "history.csv"} if way == "--resume" else set()
    assert set(seen) == {"config.json", "checkpoints"} | kept


def test_a_full_disk_ends_no_training_and_says_so(monkeypatch, whole):
    def full(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("jaxnn.checkpoint._generations.write_tensors", full)
        done = run(*XOR, *EPOCHS, "--run-folder", "run")
    assert done.code == 0 and done.err.count("No space left on device") == 1 and "(the run goes on)" in done.err
    same_result(Path("run"), whole)


def test_a_folder_that_is_moved_away_while_its_run_goes_on_is_written_whole_again(stop_at):
    stop_at(20.0, look=lambda: Path("run").rename("moved"))
    done = run(*XOR, *EPOCHS, "--run-folder", "run")
    assert done.code == 130 and "the folder stays where it is; got folder='run/checkpoints', which is gone" in done.err
    assert jaxnn.load_run("run").status == "interrupted"
    assert Path("moved/config.json").exists() and Path("run/config.json").exists()


def test_a_second_signal_ends_the_command_at_once_also_where_the_first_was_noted_only():
    with SIGNALS:
        SIGNALS.hold()
        signal.raise_signal(signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
        assert SIGNALS.exit_code == 143


def test_a_run_that_is_not_there_is_named_with_a_near_one(whole):
    done = run("train", "--resume", whole.parent / "rum")
    assert done.code == 2 and "did you mean 'run'?" in done.err
    done = run("train", "--resume", "nowhere")
    assert (done.code, done.out) == (2, "") and "load_run: a run folder holds config.json" in done.err


@pytest.mark.parametrize("change", [{"config": None}, {"config": {"colour": 1}}, {}])
def test_a_damaged_config_is_one_line(change, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "bad")
    config = read_json(whole / "config.json")
    del config["config"]
    (tmp_path / "bad" / "config.json").write_text(json.dumps(config | change))
    done = run("train", "--resume", "bad")
    assert (done.code, done.out) == (2, "")
    assert (
        done.err.startswith("jaxnn: train: config.json holds the options of a run; got ") and done.err.count("\n") == 1
    )


def test_options_come_back_from_json_as_they_were(whole):
    config = TrainConfig(hidden=(), features=("a", "b"), class_weights=(1.0, 2.0), hold_out=Path("h"), epochs=3)
    saved = {k: str(v) if isinstance(v, Path) else v for k, v in vars(config).items()}
    back = json.loads(json.dumps(saved))
    assert TrainConfig(**{name: _as_typed(name, value) for name, value in back.items()}) == config
    assert set(FREE) <= {field.name for field in fields(TrainConfig)}


def test_a_second_signal_ends_at_once_and_keeps_what_was_saved(stop_at):
    stop_at(20.3, look=lambda: time.sleep(1), times=2)  # until the save in the background is done
    done = run(*XOR, *EPOCHS, "--save-every", "0", "--run-folder", "run")
    assert (done.code, done.err) == (130, "jaxnn: interrupted\n")
    assert not Path("run/metrics.json").exists()
    saved = jaxnn.load_run("run")
    assert saved.status == "running" and saved.best_epoch > 0 and saved.message.startswith("running at epoch ")


def test_while_it_runs_a_run_can_be_shown_and_used_and_nobody_else_trains_in_it(stop_at, home):
    seen = {}

    def look():
        seen["config"] = Path("run/config.json").exists()
        time.sleep(0.3)  # the save in the background
        seen["status"] = jaxnn.load_run("run").status
        child = subprocess.run(
            [sys.executable, "-m", "jaxnn", "train", "--resume", "run"], capture_output=True, text=True, check=False
        )
        seen["second"] = (child.returncode, child.stderr)

    stop_at(20.3, look=look)
    assert run(*XOR, *EPOCHS, "--save-every", "0", "--run-folder", "run").code == 130
    assert seen["config"] and seen["status"] == "running"
    code, err = seen["second"]
    assert code == 2 and "jaxnn: train: one process at a time trains in a run folder; got run, in which another" in err


def test_overwriting_a_run_never_goes_on_with_the_old_one(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    assert run(*XOR, "--epochs", "2", "--seed", "3", "--run-folder", "run", "--overwrite").code == 0
    (only,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert jaxnn.checkpoint.read(only).info["progress"]["epoch"] == 2
    assert read_json(tmp_path / "run" / "config.json")["resumed"] == []


def test_a_run_killed_before_its_first_save_starts_again(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "run")
    for name in ("metrics.json", "params.safetensors", "history.csv"):
        (tmp_path / "run" / name).unlink()
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    with pytest.raises(jaxnn.CheckpointError, match=r"a finished run has params.*go on with jaxnn train --resume"):
        jaxnn.load_run("run")
    done = run("train", "--resume", "run")
    assert done.code == 0 and "going on    from the start: the run was ended before its first save" in done.out
    same_result(tmp_path / "run", whole)


def test_a_signal_that_python_could_not_raise_still_counts(monkeypatch, home):
    def swallowed(config):
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            return 0

    monkeypatch.setattr("jaxnn.cli._show.show", swallowed)
    assert run("show", home.run).code == 130
    assert run("data", "list").code == 0 and SIGNALS.received is None  # the next command begins anew


@pytest.mark.skipif(not hasattr(os, "fork"), reason="signals of POSIX")
@pytest.mark.parametrize(
    "number, code, word", [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_signal_outside_training_ends_with_its_code_and_leaves_no_half_file(number, code, word, home, monkeypatch):
    def half(path, columns):
        path.write_text("half")
        signal.raise_signal(number)

    monkeypatch.setattr("jaxnn.cli._predict.write_parquet", half)
    done = run("predict", home.run, home.folder / "new.csv", "--output", "answers.parquet")
    assert (done.code, done.out, done.err) == (code, "", f"jaxnn: {word}\n")
    assert list(Path().iterdir()) == []


def test_a_terminated_command_of_its_own_process_exits_143_with_a_run_to_go_on_with(tmp_path):
    command = [sys.executable, "-m", "jaxnn", *XOR, "--epochs", "100000", "--patience", "100000", "--run-folder", "run"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        deadline = time.monotonic() + 60
        while not Path("run/config.json").exists() and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(1)
        sent = time.monotonic()
        child.send_signal(signal.SIGTERM)
        code, took = child.wait(timeout=60), time.monotonic() - sent
    assert code == 143 and took < 20
    saved = jaxnn.load_run("run")
    assert saved.status == "interrupted" and saved.history.epoch[-1] > 0
    assert sorted(path.name for path in Path("run").iterdir()) == [
        "checkpoints", "config.json", "history.csv", "metrics.json", "params.safetensors"
    ]  # fmt: skip
