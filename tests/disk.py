"""A disk that fails at one call, one that writes down every call, and what a power cut can leave of it; time limits."""

import contextlib
import errno
import itertools
import os
import signal
import stat
from unittest import mock

CALLS = ("open", "write", "half a write", "fsync", "replace", "close", "unlink")


def full_disk():
    return OSError(errno.ENOSPC, "No space left on device")


class Fault(contextlib.ExitStack):
    """Inside the block, the k-th call of one kind raises the error, and every other call works.

    Attributes:
      struck: whether there was a k-th call.
      renamed: whether a file had got its final name by then.
    """

    def __init__(self, call, k, error, after=False):
        super().__init__()
        self.name = "write" if call == "half a write" else call
        self.half, self.k, self.error, self.after = call == "half a write", k, error, after
        self.struck = self.renamed = False
        self.calls = 0

    def __enter__(self):
        super().__enter__()
        replace = os.replace

        def renaming(*args, **kwargs):
            replace(*args, **kwargs)
            self.renamed = True

        self.enter_context(mock.patch.object(os, "replace", renaming))
        self.real = getattr(os, self.name)
        self.enter_context(mock.patch.object(os, self.name, self._call))
        return self

    def _call(self, *args, **kwargs):
        self.calls += 1
        if self.half and self.calls == self.k:  # the system takes a part, and says so
            return self.real(args[0], args[1][: max(1, len(args[1]) // 2)])
        if self.calls != self.k + self.half:
            return self.real(*args, **kwargs)
        self.struck = True
        if self.after or self.name == "close":  # Linux lets go of a handle even where closing it fails
            result = self.real(*args, **kwargs)
            if self.name == "open":
                self.callback(os.close, result)  # what nobody got, nobody closes
        raise self.error


@contextlib.contextmanager
def recorded():
    """Write down, as a list of events, what happens to files and folders inside the block.

    Each event is a kind, the path of a folder or the number of a file, and the rest:
    make (folder, name, file) | write (file, place, bytes) | fsync (file) | rename (folder, old, new) |
    remove (folder, name) | flush (folder) | folder (parent, name).
    """
    log, files, handles, numbers = [], {}, {}, itertools.count()
    real = {name: getattr(os, name) for name in ("open", "write", "fsync", "replace", "unlink", "mkdir")}

    def split(path):
        return os.path.split(os.path.abspath(path))

    def open_(path, flags, *args, **kwargs):
        handle = real["open"](path, flags, *args, **kwargs)
        if stat.S_ISDIR(os.fstat(handle).st_mode):
            handles[handle] = ("flush", os.path.abspath(path))
        else:
            if flags & os.O_CREAT:
                files[os.path.abspath(path)] = next(numbers)
                log.append(("make", *split(path), files[os.path.abspath(path)]))
            handles[handle] = ("fsync", files.get(os.path.abspath(path)))
        return handle

    def write(handle, data):
        place = os.lseek(handle, 0, os.SEEK_CUR)
        count = real["write"](handle, data)
        log.append(("write", handles[handle][1], place, bytes(data[:count])))
        return count

    def fsync(handle):
        real["fsync"](handle)
        log.append(handles[handle])

    def replace(old, new):
        real["replace"](old, new)
        files[os.path.abspath(new)] = files.pop(os.path.abspath(old))
        log.append(("rename", *split(old), split(new)[1]))
        assert split(old)[0] == split(new)[0]

    def unlink(path, *args, **kwargs):
        real["unlink"](path, *args, **kwargs)
        log.append(("remove", *split(path)))

    def mkdir(path, *args, **kwargs):
        real["mkdir"](path, *args, **kwargs)
        log.append(("folder", *split(path)))

    with mock.patch.multiple(os, open=open_, write=write, fsync=fsync, replace=replace, unlink=unlink, mkdir=mkdir):
        yield log


def after_power_cuts(log, folder):
    """Yield what a power cut after each prefix of the log can leave of a folder: how many events, bytes by name.

    The disk keeps what was flushed. Of the names that changed since the folder was flushed it keeps any subset; of the
    bytes written to a file since its last fsync none, all, or the first half. No file system is worse than that.
    """
    names, pending, safe, now = {}, [], {}, {}
    for done in range(len(log) + 1):
        kind, *rest = log[done - 1] if done else ("begin",)
        if kind == "make" and rest[0] == folder:
            pending.append((None, rest[1], rest[2]))
            safe[rest[2]] = now[rest[2]] = b""
        elif kind == "write":
            file, place, data = rest
            now[file] = now[file][:place].ljust(place, b"\0") + data + now[file][place + len(data) :]
        elif kind == "fsync":
            safe[rest[0]] = now[rest[0]]
        elif kind == "rename" and rest[0] == folder:
            pending.append((rest[1], rest[2], _with(names, pending)[rest[1]]))
        elif kind == "remove" and rest[0] == folder:
            pending.append((rest[1], None, None))
        elif kind == "flush" and rest[0] == folder:
            names, pending = _with(names, pending), []
        half = {file: max(safe[file], data[: len(data) // 2], key=len) for file, data in now.items()}
        for count in range(len(pending) + 1):
            for kept in itertools.combinations(pending, count):
                for content in (safe, now, half):
                    yield done, {name: content[file] for name, file in _with(names, kept).items()}


def _with(names, changes):
    names = dict(names)
    for old, new, file in changes:
        names.pop(old, None)
        if new is not None:
            names[new] = file
    return names


@contextlib.contextmanager
def limited(which, soft):
    """Lower a limit of the system for this process inside the block."""
    import resource  # not on Windows

    before = resource.getrlimit(which)
    resource.setrlimit(which, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(which, before)


@contextlib.contextmanager
def within(seconds):
    """Fail where the block takes longer, even in a call that waits for ever."""

    def late(*_):
        raise AssertionError(f"still busy after {seconds} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def open_handles():
    """Return the numbers of the handles this process has open."""
    return {int(name) for name in os.listdir("/proc/self/fd")} if os.path.isdir("/proc/self/fd") else set()
