"""Ctrl-C and SIGTERM, real ones, in every phase of a fit: what is saved, who is told, what is left as it was."""

import json
import os
import signal
import subprocess
import sys
import threading
import time

import compiles
import numpy as np
import pytest
import small
from killed_run import train
from small import PARAMS, bits, rows_of

from jaxnn import CheckpointError, MiniBatch, Status, _fit
from jaxnn._interrupts import Interrupts
from jaxnn.checkpoint import Checkpoints, _generations, read

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Windows has other signals")
BOTH = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(autouse=True)
def _handlers_are_put_back():
    before = [signal.getsignal(number) for number in BOTH]
    yield
    for number, handler in zip(BOTH, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def pieces(monkeypatch):
    """Fix pieces of one step."""

    class Pace:
        steps = 1

        def update(self, taken, now):
            pass

    monkeypatch.setattr(_fit, "Pace", Pace)


def send_at(call, *numbers):
    """Return a progress function that sends signals at its so manyth call, and the list of its calls."""
    calls = []

    def progress(p):
        calls.append(p)
        if len(calls) == call:
            for number in numbers:
                signal.raise_signal(number)

    return progress, calls


def handled(number, handler=None):
    """Install a handler of the user's; return the list it adds to."""
    told = []

    def mine(number, frame):
        told.append(number)
        if handler is not None:
            handler()

    signal.signal(number, mine)
    return told


def saved(folder):
    """Return the progress written in the newest checkpoint, which is read whole, and check that no half one is left."""
    assert {path.suffix for path in folder.iterdir()} == {".safetensors"}
    return read(Checkpoints(folder).paths()[-1]).info["progress"]


def goes_on(folder, epochs=6):
    """Whether what was saved goes on to the bits of a run that was never interrupted."""
    whole, rest = small.fit(epochs), small.fit(epochs, checkpoint=folder)
    return bits((rest.state, rest.params)) == bits((whole.state, whole.params)) and bits(rows_of(rest.history)) == bits(
        rows_of(whole.history)
    )


# Alone.


@pytest.mark.parametrize("number", BOTH, ids=str)
def test_the_first_signal_is_a_request_and_the_handlers_come_back(number):
    told = handled(number)
    inside = signal.getsignal(number)
    with Interrupts(also_terminate=True) as interrupts:
        assert interrupts.requested is None and signal.getsignal(number) is not inside
        signal.raise_signal(number)
        assert interrupts.requested == number and told == []
    assert signal.getsignal(number) is inside
    assert told == ([signal.SIGTERM] if number == signal.SIGTERM else [])  # handed on; Ctrl-C has been answered


def test_a_second_ctrl_c_raises_at_once():
    told = handled(signal.SIGINT)
    mine = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), Interrupts():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        raise AssertionError("not reached")
    assert signal.getsignal(signal.SIGINT) is mine and told == []


def test_a_second_sigterm_goes_to_the_handler_at_once():
    told = handled(signal.SIGTERM)
    with Interrupts(also_terminate=True):
        signal.raise_signal(signal.SIGTERM)
        assert told == []
        signal.raise_signal(signal.SIGTERM)
        assert told == [signal.SIGTERM]
    assert told == [signal.SIGTERM]  # once


def test_a_sigterm_after_a_ctrl_c_goes_to_the_handler_at_once():
    told = handled(signal.SIGTERM)
    with Interrupts(also_terminate=True) as interrupts:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert told == [signal.SIGTERM] and interrupts.requested == signal.SIGINT
    assert told == [signal.SIGTERM]


def test_sigterm_is_not_taken_unless_asked_for():
    told = handled(signal.SIGTERM)
    with Interrupts() as interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert told == [signal.SIGTERM] and interrupts.requested is None
    assert told == [signal.SIGTERM]


def test_a_handler_that_cannot_be_put_back_is_not_replaced(monkeypatch):
    told = handled(signal.SIGTERM)
    mine = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(signal, "getsignal", lambda number: None)  # as where a program that embeds Python has set it
    with Interrupts(also_terminate=True) as interrupts:
        signal.raise_signal(signal.SIGTERM)
        assert told == [signal.SIGTERM] and interrupts.requested is None
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGTERM) is mine


def test_nothing_is_taken_outside_the_main_thread():
    before, seen = [signal.getsignal(number) for number in BOTH], []

    def run():
        with Interrupts(also_terminate=True):
            seen.extend(signal.getsignal(number) for number in BOTH)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert seen == before == [signal.getsignal(number) for number in BOTH]


def test_a_sigterm_is_handed_on_where_the_run_ends_with_an_error():
    told = handled(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError), Interrupts(also_terminate=True):
        signal.raise_signal(signal.SIGTERM)
        raise ZeroDivisionError
    assert told == [signal.SIGTERM]


# In a fit.


def test_sigterm_is_handed_to_the_users_handler_once_after_the_checkpoint_is_written(pieces, tmp_path):
    seen = []
    told = handled(signal.SIGTERM, lambda: seen.append(saved(tmp_path)))
    progress, calls = send_at(4, signal.SIGTERM)
    result = small.fit(6, checkpoint=tmp_path, progress=progress)
    assert told == [signal.SIGTERM] and len(calls) == 5 and result.status == Status.INTERRUPTED
    assert [(p["epoch"], p["step"], p["status"]) for p in seen] == [(1, 2, "interrupted")]
    assert (result.state.epoch, result.state.step) == (1, 2) and goes_on(tmp_path)


def test_a_handler_that_ends_the_program_ends_it_after_the_checkpoint_is_written(pieces, tmp_path):
    handled(signal.SIGTERM, lambda: sys.exit(7))
    with pytest.raises(SystemExit) as error:
        small.fit(6, checkpoint=tmp_path, progress=send_at(4, signal.SIGTERM)[0])
    assert error.value.code == 7 and saved(tmp_path)["status"] == "interrupted" and goes_on(tmp_path)


def test_a_sigterm_in_the_last_piece_is_handed_on_too(pieces, tmp_path):
    told = handled(signal.SIGTERM)
    progress, calls = send_at(6, signal.SIGTERM)
    result = small.fit(2, checkpoint=tmp_path, progress=progress)
    assert len(calls) == 6 and result.status == Status.MAX_EPOCHS and told == [signal.SIGTERM]
    assert saved(tmp_path)["status"] == "max_epochs"


def test_without_a_checkpoint_sigterm_is_the_users_alone(pieces):
    told = handled(signal.SIGTERM)
    mine = signal.getsignal(signal.SIGTERM)
    seen = []

    def progress(p):
        seen.append(signal.getsignal(signal.SIGTERM))
        if len(seen) == 2:
            signal.raise_signal(signal.SIGTERM)
            assert told == [signal.SIGTERM]  # at once

    result = small.fit(3, progress=progress)
    assert told == [signal.SIGTERM] and result.status == Status.MAX_EPOCHS and set(seen) == {mine}


@pytest.mark.parametrize("number", BOTH, ids=str)
def test_an_ignored_signal_stays_ignored(number, pieces, tmp_path):
    signal.signal(number, signal.SIG_IGN)
    result = small.fit(3, checkpoint=tmp_path, progress=send_at(2, number, number)[0])
    assert result.status == Status.MAX_EPOCHS and signal.getsignal(number) is signal.SIG_IGN


def test_a_second_sigterm_reaches_the_handler_before_the_run_has_ended(pieces, tmp_path):
    told = handled(signal.SIGTERM, lambda: sys.exit(7))
    progress, calls = send_at(3, signal.SIGTERM, signal.SIGTERM)
    with pytest.raises(SystemExit):
        small.fit(6, checkpoint=Checkpoints(tmp_path, every=1e6), progress=progress)
    assert (
        len(calls) == 3 and told == [signal.SIGTERM] and list(tmp_path.iterdir()) == []
    )  # at once, so nothing is saved


def test_ctrl_c_is_saved_and_goes_on(pieces, tmp_path):
    told = handled(signal.SIGTERM)
    result = small.fit(6, checkpoint=tmp_path, progress=send_at(4, signal.SIGINT)[0])
    assert result.status == Status.INTERRUPTED and saved(tmp_path)["status"] == "interrupted" and told == []
    assert goes_on(tmp_path)


def endings():
    """Every way in which a fit ends: what it is given, and what it raises."""

    def broken(p):
        raise ZeroDivisionError

    return {
        "as usual": ({}, None),
        "Ctrl-C": ({"progress": send_at(1, signal.SIGINT)[0]}, None),
        "SIGTERM": ({"progress": send_at(1, signal.SIGTERM)[0]}, None),
        "Ctrl-C twice": ({"progress": send_at(1, signal.SIGINT, signal.SIGINT)[0]}, KeyboardInterrupt),
        "SIGTERM, then Ctrl-C": ({"progress": send_at(1, signal.SIGTERM, signal.SIGINT)[0]}, KeyboardInterrupt),
        "an error": ({"progress": broken}, ZeroDivisionError),
        "a wrong option": ({"patience": 0}, ValueError),
        "a damaged folder": ({}, CheckpointError),
    }


@pytest.mark.parametrize("with_folder", [True, False], ids=["saved", "not saved"])
@pytest.mark.parametrize("ending", endings())
def test_the_handlers_are_what_they_were_after_every_ending(ending, with_folder, pieces, tmp_path):
    if ending == "a damaged folder":
        (tmp_path / "00000001-0000.safetensors").write_bytes(b"no")
    options, error = endings()[ending]
    if ending in ("SIGTERM, then Ctrl-C", "a damaged folder") and not with_folder:
        error = None  # SIGTERM is not taken, and there is no folder
    for number in BOTH:
        handled(number)
    mine = [signal.getsignal(number) for number in BOTH]
    options |= {"checkpoint": tmp_path} if with_folder else {}
    try:
        small.fit(6, **options)
        raised = None
    except BaseException as caught:
        raised = caught
    assert raised is None if error is None else isinstance(raised, error)
    assert [signal.getsignal(number) for number in BOTH] == mine


def test_a_thread_other_than_main_saves_and_takes_no_signal(pieces, tmp_path):
    told, results, calls = handled(signal.SIGTERM), [], threading.Event()
    thread = threading.Thread(
        target=lambda: results.append(small.fit(6, checkpoint=tmp_path, progress=lambda p: calls.set()))
    )
    thread.start()
    assert calls.wait(60)
    signal.raise_signal(signal.SIGTERM)
    thread.join()
    assert told == [signal.SIGTERM] and results[0].status == Status.MAX_EPOCHS
    assert saved(tmp_path)["status"] == "max_epochs" and goes_on(tmp_path, epochs=8)


# In other phases: while it compiles, while it saves.


def press_while_compiling(monkeypatch, times):
    """Press Ctrl-C at the line of JAX's log that says that it begins to compile the run."""

    class Log(compiles.Log):
        def append(self, line):
            super().append(line)
            if line.startswith("Compiling jit(advance)"):
                for _ in range(times):
                    signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(compiles, "Log", Log)
    return compiles.jax_log()


def test_ctrl_c_while_it_compiles_ends_with_the_first_parameters_and_a_checkpoint(tmp_path, monkeypatch):
    plan = MiniBatch(11)  # compiled nowhere else
    with press_while_compiling(monkeypatch, times=1) as log:
        result = small.fit(6, plan=plan, checkpoint=tmp_path)
    assert log.compiled("advance") == 1  # it did
    assert result.status == Status.INTERRUPTED and result.best_epoch == 0 and bits(result.params) == bits(PARAMS)
    assert (result.state.epoch, result.state.step) == (0, 1) and result.history.epoch.tolist() == [0]
    assert saved(tmp_path)["status"] == "interrupted"
    rest = small.fit(6, plan=plan, checkpoint=tmp_path)
    assert bits(rest.state) == bits(small.fit(6, plan=plan).state)


def test_a_second_ctrl_c_while_it_compiles_raises(tmp_path, monkeypatch):
    mine = signal.getsignal(signal.SIGINT)
    with press_while_compiling(monkeypatch, times=2), pytest.raises(KeyboardInterrupt):
        small.fit(6, plan=MiniBatch(19), checkpoint=tmp_path)
    assert signal.getsignal(signal.SIGINT) is mine and list(tmp_path.iterdir()) == []


def slow_save(monkeypatch, seconds, during):
    """Make saves last; call a function when the first begins. Signals come from outside, as those of a keyboard."""
    write, started = _generations.write_tensors, threading.Event()

    def slow(*args):
        if not started.is_set():
            started.set()
            during()
        time.sleep(seconds)
        write(*args)

    monkeypatch.setattr(_generations, "write_tensors", slow)


def test_ctrl_c_during_the_last_save_waits_for_it(tmp_path, monkeypatch):
    slow_save(monkeypatch, 0.3, lambda: os.kill(os.getpid(), signal.SIGINT))
    result = small.fit(3, checkpoint=Checkpoints(tmp_path, every=1e6))
    assert result.status == Status.MAX_EPOCHS and saved(tmp_path)["status"] == "max_epochs"


def test_a_second_ctrl_c_during_the_last_save_raises_at_once_and_leaves_nothing_half_done(tmp_path, monkeypatch):
    small.fit(2, checkpoint=tmp_path)
    (before,) = Checkpoints(tmp_path).paths()
    content = before.read_bytes()
    sent, done = [], threading.Event()

    def press():
        for _ in range(2):
            sent.append(time.perf_counter())
            signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
            time.sleep(0.05)

    write = _generations.write_tensors

    def slow(*args):
        press()
        time.sleep(1)
        write(*args)
        done.set()

    monkeypatch.setattr(_generations, "write_tensors", slow)
    with pytest.raises(KeyboardInterrupt):
        small.fit(3, checkpoint=tmp_path)
    assert time.perf_counter() - sent[-1] < 0.9 and not done.is_set()  # not after the save
    assert before.read_bytes() == content
    assert done.wait(30)
    for _ in range(2000):
        if len(Checkpoints(tmp_path).paths()) == 2:
            break
        time.sleep(0.005)
    monkeypatch.undo()
    assert saved(tmp_path)["epoch"] == 3 and goes_on(tmp_path)  # what was under way was finished in the background


def test_what_a_folder_is_after_sigterm_while_it_saves_all_the_time(pieces, tmp_path):
    told = handled(signal.SIGTERM)
    calls = []

    def progress(p):
        calls.append(p)
        if len(calls) == 10:  # from outside of the thread that saves, at any instant
            threading.Timer(0.01, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        time.sleep(0.01)

    result = small.fit(60, checkpoint=Checkpoints(tmp_path, every=0), progress=progress)
    assert told == [signal.SIGTERM] and result.status == Status.INTERRUPTED
    assert [read(path).info["what"] for path in Checkpoints(tmp_path).paths()] == ["run", "run"]
    assert saved(tmp_path)["epoch"] == result.state.epoch and goes_on(tmp_path, epochs=60)


# In a process that dies of it.

SCRIPT = os.path.join(os.path.dirname(__file__), "killed_run.py")
SIZES = [8, 64, 4]


def child(folder, **options):
    """Return a process of killed_run.py that has begun to train."""
    options = {"sizes": SIZES, "epochs": 10**6, "folder": str(folder)} | options
    process = subprocess.Popen(
        [sys.executable, "-W", "error", SCRIPT, json.dumps(options)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    return process


def until(process, word):
    for line in process.stdout:
        if line.split()[0] == word:
            return
    raise AssertionError(process.stderr.read())


def test_a_program_without_a_handler_dies_of_sigterm_and_its_run_goes_on_to_the_same_bits(tmp_path, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", compiles.FLAGS)
    process = child(tmp_path, every=1e6, one_step=False)  # pieces as long as they are
    try:
        until(process, "training")
        time.sleep(0.6)
        sent = time.time()
        process.send_signal(signal.SIGTERM)
        _, error = process.communicate(timeout=60)
        ended = time.time()
    finally:
        process.kill()
    assert process.returncode == -signal.SIGTERM and error == ""
    (path,) = Checkpoints(tmp_path).paths()
    progress = saved(tmp_path)
    written = path.stat().st_mtime
    print(f"\nSIGTERM: saved after {written - sent:.2f} s, ended after {ended - sent:.2f} s, {progress}")
    assert written - sent < 10 and progress["status"] == "interrupted" and progress["epoch"] > 0
    epochs = progress["epoch"] + 2
    whole, rest = train(SIZES, epochs), train(SIZES, epochs, checkpoint=tmp_path)
    assert bits((rest.state, rest.params)) == bits((whole.state, whole.params))
    assert bits(rows_of(rest.history)) == bits(rows_of(whole.history))
    assert (np.diff(rest.history.seconds) >= 0).all()


def test_a_program_interrupted_twice_ends_and_leaves_whole_checkpoints_only(tmp_path):
    process = child(tmp_path, sizes=[40, 2000, 10], pause=0.005)
    try:
        until(process, "saved")
        sent = time.time()
        for _ in range(2):
            process.send_signal(signal.SIGINT)
            time.sleep(0.02)  # the first is seen alone
        _, error = process.communicate(timeout=60)
        print(f"\nCtrl-C twice: ended after {time.time() - sent:.2f} s")
    finally:
        process.kill()
    assert process.returncode in (0, -signal.SIGINT) and time.time() - sent < 10
    assert process.returncode == 0 or error.rstrip().endswith("KeyboardInterrupt")
    assert {path.suffix for path in tmp_path.iterdir()} == {".safetensors"}  # no half file
    for path in Checkpoints(tmp_path).paths():
        assert read(path).info["what"] == "run"


def test_a_save_that_was_started_is_on_the_disk_when_the_program_has_ended(tmp_path):
    program = (
        "import sys, numpy, jaxnn.checkpoint as c\n"
        "c.Checkpoints(sys.argv[1]).start({'w': numpy.ones(3_000_000)}, {'started': True})"
    )
    ended = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, timeout=120)
    assert (ended.returncode, ended.stderr) == (0, "")
    (path,) = tmp_path.iterdir()
    assert read(path).info == {"started": True}


def test_a_ctrl_c_while_the_handlers_are_put_back_is_raised_once_they_are(monkeypatch):
    mine = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    put, pressed = signal.signal, []

    def press_first(number, handler):
        if not pressed:
            pressed.append(number)
            signal.raise_signal(signal.SIGINT)
        return put(number, handler)

    with pytest.raises(KeyboardInterrupt), Interrupts(also_terminate=True) as interrupts:
        signal.raise_signal(signal.SIGINT)
        monkeypatch.setattr(signal, "signal", press_first)
    monkeypatch.undo()
    assert interrupts.requested == signal.SIGINT and pressed
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == mine
