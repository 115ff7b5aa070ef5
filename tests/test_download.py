"""Downloads, against a real https server that misbehaves: a file arrives whole or not at all, and the error says why.

The files are invented and small. Not here: how IDX files are read (test_data.py).
"""

import contextlib
import errno
import gzip
import hashlib
import http.server
import io
import os
import resource
import signal
import ssl
import struct
import subprocess
import sys
import threading
import types
from typing import NamedTuple

import numpy as np
import platformdirs
import pytest
import trustme

from jaxnn import cli, data
from jaxnn._errors import ConfigError, DataFormatError, DownloadError
from jaxnn.cli import _parts
from jaxnn.cli._config import TrainConfig
from jaxnn.data._remote import cache, download, sources
from jaxnn.data._remote.fetch import status

IMAGES = "train-images-idx3-ubyte.gz"
PAGE = b"  <!DOCTYPE html>\n<html><body>Please log in to this network.</body></html>"


def invented(seed):
    """The four files of a set: 240 and 30 images of noise."""
    rng, files = np.random.default_rng(seed), {}
    for stem, count in (("train", 240), ("t10k", 30)):
        images, labels = rng.integers(0, 256, (count, 28, 28), np.uint8), rng.permutation(count).astype(np.uint8) % 10
        for kind, header, array in (
            ("images-idx3", (0x803, count, 28, 28), images),
            ("labels-idx1", (0x801, count), labels),
        ):
            content = struct.pack(f">{len(header)}I", *header) + array.tobytes()
            files[f"{stem}-{kind}-ubyte.gz"] = gzip.compress(content, 1, mtime=0)
    return files


FILES = {"mnist": invented(0), "fashion_mnist": invented(1)}
DIGITS = FILES["mnist"]


# --- the server -------------------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers /<behaviour>/<file> as the method of that name does."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.requests.append(self.path)
        self.close_connection = True
        behaviour, self.name = self.path[1:].split("/")
        getattr(self, behaviour)(DIGITS.get(self.name, b""))

    def do_CONNECT(self):  # what a proxy is asked
        self.server.requests.append(self.path)
        self.close_connection = True
        self.reply(b"", 407)

    def reply(self, content, code=200, **headers):
        self.send_response(code)
        for name, value in {"Content_Length": str(len(content)), **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass

    def good(self, content):
        self.reply(content)

    def together(self, content):
        if self.name == IMAGES:
            self.server.all_here.wait(15)  # so that all have looked before one has a file
        self.reply(content)

    def as_html(self, content):
        self.reply(content, Content_Type="text/html")

    def fashion(self, _):
        self.reply(FILES["fashion_mnist"][self.name])

    def short(self, content):
        self.reply(content[:-1], Content_Length=str(len(content)))

    def short_and_says_so(self, content):
        self.reply(content[:-1])

    def empty(self, _):
        self.reply(b"")

    def cut_in_a_chunk(self, content):
        self.reply(b"ffff\r\n" + content[:100], Transfer_Encoding="chunked")

    def long(self, content):
        self.reply(content + b"\0")

    def endless(self, content):
        self.server.sent = 0
        self.reply(content, Content_Length=str(10**12))
        for _ in range(2000):
            self.server.sent += self.wfile.write(bytes(2**16))

    def flipped(self, content):
        self.reply(content[:-1] + bytes([content[-1] ^ 1]))

    def page(self, _):
        self.reply(PAGE, Content_Type="text/html; charset=utf-8")

    def unnamed_page(self, content):
        self.reply(PAGE.ljust(len(content)), Content_Type="application/gzip")

    def forbidden(self, _):
        self.reply(PAGE, 403, Content_Type="text/html")

    def absent(self, _):
        self.reply(b"", 404)

    def broken(self, content):
        self.reply(content, 500)

    def partial(self, content):
        self.reply(content, 206)

    def to_http(self, _):
        self.reply(b"", 302, Location=f"{self.server.plain}good/{self.name}")

    def to_file(self, _):
        self.reply(b"", 302, Location="file:///etc/passwd")

    def loop(self, _):
        self.reply(b"", 302, Location=self.path)

    def to_nowhere(self, _):
        self.reply(b"", 302)

    def to_no_address(self, _):
        self.reply(b"", 302, Location="https://[")

    def to_good(self, _):
        self.reply(b"x" * 10, 301, Location=f"../hop/{self.name}", Content_Length=str(10**12))

    def hop(self, _):
        self.reply(b"", 307, Location=f"/good/{self.name}")

    def garbage(self, _):
        self.wfile.write(b"\x1b[2JSSH-2.0 " + b"a" * 1000 + b"\r\n")

    def hang_up(self, _):
        pass

    def silent(self, _):
        self.server.released.wait(10)

    def stall(self, content):
        self.reply(content[:1000], Content_Length=str(len(content)))
        self.server.released.wait(10)

    def ctrl_c(self, content):
        self.reply(content[:1000], Content_Length=str(len(content)))
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)
        self.server.released.wait(10)


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, certificate=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requests, self.released, self.sent = [], threading.Event(), 0
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            certificate.configure_cert(context)
            # The handshake belongs to the thread of the connection: a client that fails it stops no other.
            self.socket = context.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)
        self.url = f"{'https' if certificate else 'http'}://localhost:{self.server_port}/"

    def handle_error(self, *_):
        pass  # clients that hang up are what is tested


@contextlib.contextmanager
def serving(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def servers(authority):
    with serving(Server(authority.issue_cert("localhost"))) as secure, serving(Server()) as plain:
        secure.plain = plain.url
        yield secure, plain


class World(NamedTuple):
    """A cache, the https server, a plain http server that nobody should ask, and `mirrors`, which sets the table."""

    cache: object
    server: Server
    plain: Server
    mirrors: object


@pytest.fixture
def world(servers, authority, tmp_path, monkeypatch):
    server, plain = servers
    server.requests.clear()
    plain.requests.clear()
    with authority.cert_pem.tempfile() as pem:
        monkeypatch.setenv("SSL_CERT_FILE", pem)
        for variable in ("JAXNN_MNIST", "JAXNN_FASHION_MNIST", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.delenv(variable, raising=False)
        monkeypatch.setenv("JAXNN_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(download, "TIMEOUT", 5.0)

        def mirrors(*behaviours):
            urls = tuple(b if "://" in b else f"{server.url}{b}/" for b in behaviours)
            table = {name: source(name, urls) for name in FILES}
            monkeypatch.setattr(sources, "SOURCES", types.MappingProxyType(table))
            return table["mnist"]

        mirrors("good")
        yield World(tmp_path / "cache", server, plain, mirrors)


def source(name, mirrors):
    files = tuple(sources.RemoteFile(n, len(b), hashlib.sha256(b).hexdigest()) for n, b in FILES[name].items())
    real = {"mnist": ("JAXNN_MNIST", "0123456789"), "fashion_mnist": ("JAXNN_FASHION_MNIST", "abcdefghij")}
    variable, class_names = real[name]
    return sources.Source(files, mirrors, variable, tuple(class_names))


def files_in(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def whole(name="mnist"):
    return {f"{name}/{file}": content for file, content in FILES[name].items()}


def quiet(_):
    pass


# --- what mirrors do wrong --------------------------------------------------------------------------------

HTML = "an HTML page, perhaps a login page of your network, from https"
FAULTS = [
    ("half a file kept as a whole one", "short", r"only [\d,]+ bytes from"),
    ("the length of the header believed", "short_and_says_so", r"only [\d,]+ bytes from"),
    ("nothing kept as a file", "empty", "only 0 bytes from"),
    ("an error that is no OSError goes past the other mirrors", "cut_in_a_chunk", "IncompleteRead"),
    ("trailing bytes kept", "long", "more bytes from"),
    ("the disk filled by a file without end", "endless", "more bytes from"),
    ("a changed byte trained on: no hash", "flipped", r"other bytes \(SHA-256 [0-9a-f]{12}\.\.\.\) from"),
    ("another set of the same file names", "fashion", "(other|more|only) .*from"),
    ("a login page kept as data", "page", HTML),
    ("a login page of the right length and type kept as data", "unnamed_page", HTML),
    ("the page of an error kept as data", "forbidden", "HTTP 403 Forbidden from"),
    ("a missing file kept as an empty one", "absent", "HTTP 404 Not Found from"),
    ("the body of an error kept", "broken", "HTTP 500 Internal Server Error from"),
    ("any 2xx taken for 200", "partial", "HTTP 206 Partial Content from"),
    ("a step down to http", "to_http", "a redirect to http://localhost.*, which is not https, from"),
    ("a local file read for a server", "to_file", "a redirect to file:///etc/passwd, which is not https, from"),
    ("redirects followed for ever", "loop", "more than 5 redirects from"),
    ("a redirect without an address crashes", "to_nowhere", "HTTP 302 Found from"),
    ("a redirect to no address crashes", "to_no_address", "Invalid IPv6 URL from"),
    ("what is no http crashes, or clears the terminal", "garbage", r"\?\[2JSSH-2.0 a{80,200} from"),
    ("a lost connection crashes", "hang_up", "closed connection without response from"),
    ("waiting for ever for an answer", "silent", "no answer within 0.3 s from"),
    ("waiting for ever for the rest", "stall", "no answer within 0.3 s from"),
    ("no server crashes", "https://localhost:1/", "Connection refused from"),
    ("a certificate of another host accepted", "https://127.0.0.1:{port}/good/", "certificate verify failed.* from"),
]


@pytest.mark.parametrize("bug, behaviour, text", FAULTS, ids=[bug for bug, *_ in FAULTS])
def test_a_bad_mirror_leaves_nothing_and_the_next_one_is_asked(bug, behaviour, text, world, monkeypatch):
    del bug
    if behaviour in ("silent", "stall"):
        monkeypatch.setattr(download, "TIMEOUT", 0.3)
    behaviour = behaviour.format(port=world.server.server_port)
    table = world.mirrors(behaviour)
    with pytest.raises(
        DownloadError, match=rf"^data.fetch: a mirror gives {IMAGES} whole \([\d,]+ bytes, SHA-.*; got .*{text}"
    ) as error:
        data.fetch("mnist", progress=quiet)
    assert files_in(world.cache) == {} and world.plain.requests == []
    by_hand = (
        f"or get {', '.join(DIGITS)} by hand from {table.mirrors[0]} into {world.cache / 'mnist'} or any folder that"
    )
    assert f"{by_hand} the variable JAXNN_MNIST names (JAXNN_CACHE moves the cache)" in str(error.value)
    assert str(error.value).isprintable() and len(str(error.value)) < 1000

    world.mirrors(behaviour, "good")
    assert data.fetch("mnist", progress=quiet) == world.cache / "mnist"
    assert files_in(world.cache) == whole() and world.plain.requests == []


def test_the_error_lists_every_mirror(world):
    world.mirrors("absent", "page", "flipped")
    with pytest.raises(DownloadError) as error:
        data.load("mnist")
    text = str(error.value)
    assert text.startswith("data.load('mnist'): a mirror gives")
    assert 0 < text.index("HTTP 404") < text.index("/absent/") < text.index("HTML") < text.index("/page/")
    assert text.index("/page/") < text.index("other bytes") < text.index("/flipped/")


def test_a_mirror_that_works_is_asked_first_from_then_on(world):
    world.mirrors("absent", "good")
    data.fetch("mnist", progress=quiet)
    assert world.server.requests == [f"/absent/{IMAGES}", *(f"/good/{name}" for name in DIGITS)]


def test_a_file_without_end_is_left_early(world):
    world.mirrors("endless")
    with pytest.raises(DownloadError):
        data.fetch("mnist", progress=quiet)
    assert world.server.sent < 20_000_000  # what fits into the buffers of two sockets


def test_a_right_file_is_taken_through_redirects_and_under_any_type(world):
    for behaviour in ("to_good", "as_html"):
        world.mirrors(behaviour)
        data.fetch("mnist", world.cache / behaviour, progress=quiet)
        assert files_in(world.cache / behaviour) == DIGITS


def test_a_certificate_nobody_trusts_is_refused(world, monkeypatch):
    with trustme.CA().cert_pem.tempfile() as pem:
        monkeypatch.setenv("SSL_CERT_FILE", pem)
        with pytest.raises(DownloadError, match="certificate verify failed"):
            data.fetch("mnist", progress=quiet)
    assert world.server.requests == []


def test_the_proxy_of_the_environment_is_asked(world, monkeypatch):
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("https_proxy", world.plain.url)
    with pytest.raises(DownloadError, match="Tunnel connection failed: 407"):
        data.fetch("mnist", progress=quiet)
    assert world.server.requests == [] and world.plain.requests == [f"localhost:{world.server.server_port}"]


# --- what the disk does wrong, and Ctrl-C -----------------------------------------------------------------


def no_space(*_, **__):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def under_a_file(world, monkeypatch):
    world.cache.write_text("")


def read_only(world, monkeypatch):
    open_ = download.Path.open

    def refuse(self, mode="r", *args, **options):
        if "x" in mode or "w" in mode:
            raise OSError(errno.EROFS, os.strerror(errno.EROFS))
        return open_(self, mode, *args, **options)

    monkeypatch.setattr(download.Path, "open", refuse)


def full_at(step):
    def fill(world, monkeypatch):
        monkeypatch.setattr(*step, no_space)

    return fill


def full_in_the_middle(world, monkeypatch):
    def write_half(out, chunk):
        out.write(chunk[:100])
        no_space()

    monkeypatch.setattr(download, "_write", write_half)


def limited(world, monkeypatch):
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


DISKS = [
    ("a traceback of mkdir", under_a_file, "Not a directory"),
    ("a traceback of open", read_only, "Read-only file system"),
    ("half a file left on a full disk", full_in_the_middle, "No space left on device"),
    ("a short write not seen, or half a file left", limited, "File too large"),
    ("an error of fsync ignored", full_at((os, "fsync")), "No space left on device"),
    ("the temporary file left when it cannot be renamed", full_at((os, "replace")), "No space left on device"),
]


@pytest.mark.parametrize("bug, break_it, text", DISKS, ids=[bug for bug, *_ in DISKS])
def test_a_disk_that_cannot_be_written_is_told_once_and_nothing_is_left(bug, break_it, text, world, monkeypatch):
    del bug
    world.mirrors("good", "as_html")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        with monkeypatch.context() as patch:
            break_it(world, patch)
            with pytest.raises(DownloadError) as error:
                data.fetch("mnist", progress=quiet)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    want = f"data.fetch: the folder can be written; got {text} in '{world.cache / 'mnist'}'; free space, choose another"
    assert str(error.value).startswith(want)
    assert f"or get {IMAGES}, " in str(error.value) and "(JAXNN_CACHE moves the cache)" in str(error.value)
    assert files_in(world.cache) == {} and isinstance(error.value, OSError)
    assert all(path.startswith("/good/") for path in world.server.requests)  # no mirror can mend a disk


def test_what_a_disk_takes_in_pieces_is_written_whole():
    class Reluctant(io.BytesIO):
        def write(self, content):
            return super().write(content[:3])

    out = Reluctant()
    download._write(out, b"0123456789")
    assert out.getvalue() == b"0123456789"


def test_the_command_line_knows_the_error():
    assert issubclass(DownloadError, cli.ERRORS)


def test_ctrl_c_in_the_middle_leaves_nothing(world):
    world.mirrors("ctrl_c", "good")
    with pytest.raises(KeyboardInterrupt):
        data.fetch("mnist", progress=quiet)
    assert files_in(world.cache) == {} and world.server.requests == [f"/ctrl_c/{IMAGES}"]


@pytest.mark.parametrize("kind", [BrokenPipeError, ZeroDivisionError, KeyboardInterrupt])
def test_an_error_of_progress_is_not_taken_for_the_disks_or_the_mirrors(kind, world, monkeypatch):
    monkeypatch.setattr(download, "REPORT_EVERY", 0.0)
    world.mirrors("good", "as_html")

    def fail(progress):
        if progress.done:
            raise kind("mine")

    with pytest.raises(kind, match="mine"):
        data.fetch("mnist", progress=fail)
    assert files_in(world.cache) == {} and world.server.requests == [f"/good/{IMAGES}"]


# --- the cache --------------------------------------------------------------------------------------------


def test_the_first_use_downloads_the_set_and_the_second_nothing(world):
    for part, count in (("test", 30), ("train", 240)):
        ds = data.load("mnist", part=part)
        stem = {"train": "train", "test": "t10k"}[part]
        images = gzip.decompress(DIGITS[f"{stem}-images-idx3-ubyte.gz"])[16:]
        want = np.frombuffer(images, np.uint8).reshape(count, 784).astype(np.float32) / np.float32(255)
        np.testing.assert_array_equal(ds.batch.x, want)
        assert repr(ds) == f"Dataset('mnist', {count} examples, 784 features, 10 classes, images 28x28)"
    data.fetch("mnist")
    assert sorted(world.server.requests) == sorted(f"/good/{name}" for name in DIGITS)
    assert files_in(world.cache) == whole()


def test_both_sets_have_a_folder_and_class_names_of_their_own(world):
    world.mirrors("fashion")
    ds = data.load("fashion_mnist", part="test")
    assert ds.schema.class_names == tuple("abcdefghij") and ds.schema.image_shape == (28, 28)
    world.mirrors("good")
    data.fetch("mnist", progress=quiet)
    assert files_in(world.cache) == {**whole(), **whole("fashion_mnist")}


def test_the_command_line_keeps_the_test_part_and_gives_a_twelfth_to_the_hold_out(world):
    world.mirrors("fashion")
    parts = _parts.load_parts(TrainConfig(data="fashion_mnist"), seed=0)
    assert [len(part) for part in parts] == [220, 20, 30]


DAMAGES = {
    "one flipped byte": lambda b: b[:5000] + bytes([b[5000] ^ 1]) + b[5001:],
    "a byte less": lambda b: b[:-1],
    "a byte more": lambda b: b + b"\0",
    "empty": lambda _: b"",
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("use", [data.fetch, data.load])
def test_a_damaged_file_in_the_cache_is_found_and_repaired(damage, use, world):
    folder = data.fetch("mnist", progress=quiet)
    world.server.requests.clear()
    (folder / IMAGES).write_bytes(damage(DIGITS[IMAGES]))
    with pytest.warns(
        UserWarning, match=rf"the published size and SHA-256; got other bytes in .*{IMAGES}; downloading it ag"
    ):
        use("mnist")
    assert files_in(world.cache) == whole() and world.server.requests == [f"/good/{IMAGES}"]


def test_without_a_network_what_is_whole_is_used_and_what_is_missing_is_named(world):
    folder = data.fetch("mnist", progress=quiet)
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    world.mirrors("hang_up")
    world.server.requests.clear()
    assert len(data.load("mnist")) == 240 and world.server.requests == []
    with pytest.raises(DownloadError, match=r"or get t10k-labels-idx1-ubyte.gz by hand from https"):
        data.load("mnist", part="test")


def test_a_file_put_there_by_hand_is_used(world):
    (world.cache / "mnist").mkdir(parents=True)
    (world.cache / "mnist" / IMAGES).write_bytes(DIGITS[IMAGES])
    data.fetch("mnist", progress=quiet)
    assert f"/good/{IMAGES}" not in world.server.requests and len(world.server.requests) == 3


def test_eight_processes_at_once_fill_an_empty_cache(world):
    world.server.all_here = threading.Barrier(8)
    table = world.mirrors("together")
    code = f"""if True:
        import os, traceback
        from jaxnn import data
        from jaxnn.data._remote import sources
        from jaxnn.data._remote.sources import RemoteFile, Source

        sources.SOURCES = {{"mnist": {table!r}}}
        children = []
        for _ in range(8):
            if child := os.fork():
                children.append(child)
                continue
            try:
                data.fetch("mnist", progress=lambda _: None)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
        print([os.waitpid(child, 0)[1] for child in children])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == f"{[0] * 8}\n", done.stderr
    assert files_in(world.cache) == whole()
    assert world.server.requests.count(f"/together/{IMAGES}") == 8  # all had found it empty


def test_the_cache_is_where_the_platform_has_its_caches(world, monkeypatch, tmp_path):
    monkeypatch.delenv("JAXNN_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder("mnist", "who") == cache.Path(platformdirs.user_cache_dir("jaxnn", False), "mnist")
    monkeypatch.setenv("JAXNN_CACHE", "~/kept")
    assert cache.cache_folder("mnist", "who") == cache.Path.home() / "kept" / "mnist"


def test_without_platformdirs_the_extra_and_the_variable_are_named(world, monkeypatch):
    monkeypatch.setitem(sys.modules, "platformdirs", None)
    data.fetch("mnist", progress=quiet)  # the variable is enough
    monkeypatch.delenv("JAXNN_CACHE")
    with pytest.raises(ConfigError, match=r"^data.load\('mnist'\): .*pip install 'jaxnn\[data\]', or .* JAXNN_CACHE"):
        data.load("mnist")


# --- folders of the user ----------------------------------------------------------------------------------


def fill(folder, name):
    folder.mkdir(exist_ok=True)
    for file, content in FILES[name].items():
        (folder / file).write_bytes(content)
    return folder


def test_a_folder_or_its_variable_is_never_downloaded_into(world, monkeypatch, tmp_path):
    (tmp_path / "own").mkdir()
    with pytest.raises(ConfigError, match="or leave both out to download it"):
        data.load("mnist", folder=tmp_path / "own")
    monkeypatch.setenv("JAXNN_MNIST", str(tmp_path / "own"))
    with pytest.raises(ConfigError, match=r"the folder holds train-images-idx3-ubyte, .* got no train-images"):
        data.load("mnist")
    (tmp_path / "own" / IMAGES).write_bytes(DIGITS[IMAGES][:-1])
    (tmp_path / "own" / "train-labels-idx1-ubyte.gz").write_bytes(DIGITS["train-labels-idx1-ubyte.gz"])
    with pytest.raises(DataFormatError, match="the file is whole gzip"):
        data.load("mnist")
    assert world.server.requests == [] and not world.cache.exists()


def test_the_files_of_the_other_set_are_refused(world, monkeypatch, tmp_path):
    folder = fill(tmp_path / "own", "fashion_mnist")
    monkeypatch.setenv("JAXNN_MNIST", str(folder))
    for options in ({}, {"folder": folder, "part": "test"}):
        with pytest.raises(ConfigError, match=r"holds mnist; got .*-images-.*, a file of fashion_mnist; load 'fashion"):
            data.load("mnist", **options)
    (folder / "train-images-idx3-ubyte.gz").write_bytes(DIGITS[IMAGES])  # images of one, labels of the other
    with pytest.raises(ConfigError, match=r"got .*train-labels-.*, a file of fashion_mnist"):
        data.load("mnist")
    assert len(data.load("fashion_mnist", folder=folder, part="test")) == 30


def test_fetch_fills_a_folder_that_it_makes(world, tmp_path):
    folder = tmp_path / "some" / "where"
    assert data.fetch("mnist", str(folder), progress=quiet) == folder
    assert files_in(folder) == DIGITS and not world.cache.exists()
    assert len(data.load("mnist", folder=folder)) == 240
    data.fetch("mnist", folder)
    assert len(world.server.requests) == 4


def test_fetch_replaces_no_file_of_the_users(world, tmp_path):
    folder = fill(tmp_path / "own", "fashion_mnist")
    with pytest.raises(
        ConfigError, match=rf"no other file .*; got .*{IMAGES}, a file of fashion_mnist; move it, or ch"
    ):
        data.fetch("mnist", folder)
    assert files_in(folder) == FILES["fashion_mnist"]
    for path in folder.iterdir():
        path.unlink()
    (folder / "t10k-labels-idx1-ubyte.gz").write_bytes(b"mine")
    with pytest.raises(ConfigError, match=r"t10k-labels-idx1-ubyte.gz, which has not the published size and SHA-256"):
        data.fetch("mnist", folder)
    assert files_in(folder) == {"t10k-labels-idx1-ubyte.gz": b"mine"} and world.server.requests == []


@pytest.mark.parametrize(
    "args, options, text",
    [
        (("iris",), {}, r"got name='iris'; nothing to do, data.load\('iris'\) has it at hand"),
        (("fashion_mnits",), {}, "got name='fashion_mnits'; did you mean 'fashion_mnist'?"),
        ((["mnist"],), {}, r"got name=\['mnist'\]; "),
        (("mnist", 3), {}, "folder is the path of a folder; got folder=3; pass text"),
        (("mnist",), {"progress": True}, "progress is a function; got progress=True; leave it out"),
    ],
)
def test_fetch_refuses(args, options, text, world):
    with pytest.raises(ConfigError, match=f"^data.fetch: .*{text}"):
        data.fetch(*args, **options)
    with pytest.raises(ConfigError, match="folder is the path of a folder; got folder=3"):
        data.load("mnist", folder=3)
    assert world.server.requests == []


def test_a_folder_no_system_can_name_is_refused(world):
    with pytest.raises(DownloadError, match=r"the folder can be written; got .*null"):
        data.fetch("mnist", "a\0b", progress=quiet)


# --- what is told on the way ------------------------------------------------------------------------------


@pytest.mark.parametrize("every, at_most", [(0.0, 10_000), (1000.0, 8)])
def test_progress_grows_from_0_to_all_of_a_file_that_appears_at_its_end(every, at_most, world, monkeypatch):
    monkeypatch.setattr(download, "REPORT_EVERY", every)
    told = []

    def look(progress):
        told.append(progress)
        path = world.cache / "mnist" / progress.file
        assert path.exists() == (progress.done == progress.total)

    data.fetch("mnist", progress=look)
    for name, content in DIGITS.items():
        done = [p.done for p in told if p.file == name]
        assert done[0] == 0 and done[-1] == len(content) and done == sorted(set(done))
        assert {p[2:] for p in told if p.file == name} == {(len(content), f"{world.server.url}good/{name}")}
    assert 8 <= len(told) <= at_most and (every or len(told) > 8)


def test_a_plain_standard_error_gets_a_line_a_file(world, capsys):
    data.fetch("mnist")
    lines = [f"downloading {n}, {len(b) / 1e3:.0f} kB, from localhost\n" for n, b in DIGITS.items()]
    assert capsys.readouterr() == ("", "".join(lines))
    data.fetch("mnist")
    assert capsys.readouterr() == ("", "")


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_a_terminal_gets_one_line_a_file_redrawn_and_ended_even_by_an_error(world, monkeypatch):
    monkeypatch.setattr(download, "REPORT_EVERY", 0.0)
    monkeypatch.setattr(sys, "stderr", Terminal())
    data.fetch("mnist")
    text = sys.stderr.getvalue()
    assert text.count("\n") == 4 and text.count("\r\x1b[K") > 8
    size = f"{len(DIGITS[IMAGES]) / 1e3:.0f} kB"
    assert text.startswith(f"\r\x1b[K{'·' * 16} 0 kB of {size}  {IMAGES} from localhost")
    assert f"{'━' * 16} {size} of {size}  {IMAGES} from localhost\n" in text
    monkeypatch.setattr(sys, "stderr", Terminal())
    world.mirrors("short")
    with pytest.raises(DownloadError):
        data.fetch("mnist", world.cache / "other")
    assert sys.stderr.getvalue().endswith("\n") and sys.stderr.getvalue().count("\n") == 1


def test_a_program_without_a_console_downloads_too(world, monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    data.fetch("mnist")
    assert files_in(world.cache) == whole()


def test_status_says_what_is_here_and_what_is_to_come(world, monkeypatch, tmp_path):
    total, folder = sum(map(len, DIGITS.values())), world.cache / "mnist"
    assert status("iris") == ("nothing to download", 0, 0, None)
    assert status("mnist") == ("to download", 0, total, folder)
    data.fetch("mnist", progress=quiet)
    assert status("mnist") == ("in the cache", total, 0, folder)
    (folder / IMAGES).write_bytes(DAMAGES["one flipped byte"](DIGITS[IMAGES]))
    assert status("mnist") == ("to download", total - len(DIGITS[IMAGES]), len(DIGITS[IMAGES]), folder)
    monkeypatch.setenv("JAXNN_MNIST", str(tmp_path))
    assert status("mnist") == ("nothing to download", 0, 0, tmp_path)


# --- the table --------------------------------------------------------------------------------------------


def test_the_table_names_four_files_of_each_set_on_https_mirrors():
    assert {n: sum(f.size for f in s.files) for n, s in sources.SOURCES.items()} == {
        "mnist": 11_594_722,
        "fashion_mnist": 30_878_645,
    }
    for name, entry in sources.SOURCES.items():
        assert [file.name for file in entry.files] == list(FILES[name])
        assert len({file.sha256 for file in entry.files}) == 4 and len(set(entry.class_names)) == 10
        assert all(len(bytes.fromhex(file.sha256)) == 32 for file in entry.files)
        assert len(entry.mirrors) == 2 and all(m.startswith("https://") and m.endswith("/") for m in entry.mirrors)
        assert entry.variable == f"JAXNN_{name.upper()}" and name in data.names()
