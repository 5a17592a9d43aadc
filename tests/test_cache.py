"""The machine code cache can never break a program: each program here is a process of its own."""

import compileall
import json
import os
import pickle
import platform
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import fastnn
from fastnn.kernels import file_locks, jit, private_files, target

PACKAGE, KERNELS = Path(fastnn.__file__).parent, Path(fastnn.kernels.__file__).parent

# Takes two pieces of code, for before and after `import fastnn`. Prints what they left in
# `values`, and the names of all functions that numba has compiled.
PROGRAM = """
import json
import os
import sys
import numpy as np
from numba.core import event

def relu():
    outputs = np.full((3, 8), np.nan)
    fastnn.kernels.relu_forward(outputs, np.arange(-12.0, 12.0).reshape(3, 8))
    return outputs.tolist()

def descend():
    parameters = np.full((3, 8), 8.0)
    fastnn.kernels.sgd_update(parameters, np.full((3, 8), 3.0), 0.5)
    return parameters.tolist()

exec(sys.argv[1])
with event.install_recorder("numba:compile") as recorder:
    import fastnn
    exec(sys.argv[2])
compiled = [e.data["dispatcher"].py_func.__name__ for _, e in recorder.buffer if e.is_start]
print(json.dumps({"file": fastnn.__file__, "values": values, "compiled": compiled}))
"""
RELU = "values = relu()"
RELU_VALUES = np.maximum(np.arange(-12.0, 12.0), 0.0).reshape(3, 8).tolist()
DOUBLE_VALUES = np.multiply(RELU_VALUES, 2.0).tolist()
RELU_COMPILED = ["relu_forward", "relu_values"]
DESCEND = "values = descend()"
DESCEND_COMPILED = ["sgd_update", "descend"]
DESCEND_VALUES = np.full((3, 8), 6.5).tolist()
BOTH = "values = [relu(), descend()]"
BOTH_VALUES = [RELU_VALUES, DESCEND_VALUES]

linux = pytest.mark.skipif(sys.platform != "linux", reason="needs the capabilities of Linux")
posix = pytest.mark.skipif(os.name != "posix", reason="needs the file size limit of POSIX")
x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="CPU names of x86")


started = []


@pytest.fixture(autouse=True)
def no_process_stays():
    """End what a failing test has left running: its pipes would fail another test."""
    yield
    while started:
        process = started.pop()
        process.kill()
        with process:
            pass


def start(cache, code=RELU, before="", site=None, **environment):
    """Start a program whose machine code is kept in the folder `cache`.

    It imports fastnn from the folder `site`, or else from where these tests do. A value of None
    takes a variable out of the environment.
    """
    ours = {k: v for k, v in os.environ.items() if not k.startswith(("FASTNN_", "NUMBA_"))}
    if site is not None:
        # Python knows an edited file by its size and the second of the edit: not enough here.
        ours |= {"PYTHONPATH": site, "PYTHONDONTWRITEBYTECODE": "1"}
    ours |= {"FASTNN_CACHE_DIR": cache, **environment}
    process = subprocess.Popen(
        [sys.executable, "-P", "-W", "error", "-c", PROGRAM, before, code],
        env={name: str(value) for name, value in ours.items() if value is not None},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def finish(process, site=None):
    """Return (values, names of what was compiled) of a program, which must not fail."""
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, "")
    found = json.loads(output)
    folder = PACKAGE if site is None else site / "fastnn"
    assert Path(found["file"]).parent.resolve() == folder.resolve()
    return found["values"], found["compiled"]


def run(cache, code=RELU, before="", site=None, **environment):
    return finish(start(cache, code, before, site, **environment), site)


def copy_package(site):
    """Return the folder `site`, which then holds a copy of fastnn."""
    ignored = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(PACKAGE, site / "fastnn", ignore=ignored)
    shutil.copytree(KERNELS, site / "fastnn" / "kernels", ignore=ignored, dirs_exist_ok=True)
    return site


def edit(site, name, old, new):
    path = site / "fastnn" / "kernels" / name
    source = path.read_text(encoding="utf-8")
    assert source.count(old) == 1
    path.write_text(source.replace(old, new), encoding="utf-8")


DOUBLE_RELU = (
    "relu.py",
    "store(outputs + i, select(x <= 0.0, zero, x))",
    "store(outputs + i, select(x <= 0.0, zero, x + x))",
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """Return (name, content) of the file that a program leaves behind which calls `relu_forward`.

    Such a file is good in any folder.
    """
    folder = tmp_path_factory.mktemp("stored")
    assert run(folder) == (RELU_VALUES, RELU_COMPILED)
    (path,) = folder.iterdir()
    return path.name, path.read_bytes()


@pytest.fixture
def warm(tmp_path, stored):
    """Return a cache folder in which `relu_forward` is stored."""
    folder = tmp_path / "warm"
    folder.mkdir()
    (folder / stored[0]).write_bytes(stored[1])
    return folder


def suffixes(cache):
    return [path.suffix for path in cache.iterdir()]


# ---------------------------------------------------------------------- what it is for


def test_second_process_compiles_nothing(tmp_path):
    code = """
model = fastnn.Sequential([fastnn.Dense(2, 3, rng=0), fastnn.ReLU(), fastnn.Dense(3, 2, rng=1)])
X = np.arange(8, dtype=np.float32).reshape(4, 2)
model.fit(X, np.array([0, 1, 1, 0]), epochs=3, seed=0, verbose=False)
values = [model.parameters.tolist(), model.predict_proba(X).tolist()]
"""
    values, compiled = run(tmp_path, code)
    assert "train_steps" in compiled
    assert run(tmp_path, code) == (values, [])


def test_stored_code_runs_inside_jitted_code(warm):
    code = """
import numba
forward = fastnn.kernels.relu_forward

@numba.njit
def last(outputs, inputs):
    forward(outputs, inputs)
    return outputs[2, 7]

values = last(np.empty((3, 8)), np.arange(-12.0, 12.0).reshape(3, 8))
"""
    assert run(warm, code) == (11.0, ["last"])


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        ("softmax_forward(outputs, np.full((1, 8), 0.0))", [0.125] * 8),
        ("relu_forward(outputs[0], np.full(8, 7.0))", [7.0] * 8),
        ("relu_forward(outputs := np.full((1, 8), 1, 'f4'), outputs)", [1.0] * 8),
    ],
    ids=["kernel", "dimensions", "dtype"],
)
def test_stored_code_runs_for_its_own_kernel_and_types_only(call, expected, warm):
    code = f"outputs = np.full((1, 8), np.nan)\nfastnn.kernels.{call}\nvalues = outputs[0].tolist()"
    values, compiled = run(warm, code)
    assert values == expected
    assert compiled != []


def test_import_compiles_nothing_and_stores_nothing(tmp_path):
    cache = tmp_path / "cache"
    assert run(cache, "values = None") == (None, [])
    assert not cache.exists()


# ---------------------------------------------------------------------- where it is


def test_off_switch_stores_nothing(tmp_path):
    cache, home = tmp_path / "cache", tmp_path / "home"
    home.mkdir()
    assert run(cache, FASTNN_CACHE=0, HOME=home) == (RELU_VALUES, RELU_COMPILED)
    assert list(tmp_path.rglob("*")) == [home]


def test_off_switch_reads_nothing(warm):
    assert run(warm, FASTNN_CACHE=0) == (RELU_VALUES, RELU_COMPILED)


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({}, "home/.cache/fastnn"),
        ({"XDG_CACHE_HOME": "xdg"}, "xdg/fastnn"),
        ({"XDG_CACHE_HOME": "xdg", "FASTNN_CACHE_DIR": "own"}, "own"),
    ],
)
@linux
def test_folder_follows_the_environment(variables, folder, tmp_path, monkeypatch):
    for name in ("FASTNN_CACHE", "FASTNN_CACHE_DIR", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": "home", **variables}.items():
        monkeypatch.setenv(name, str(tmp_path / value))
    assert jit.cache_folder.__wrapped__() == tmp_path / folder


@pytest.mark.skipif(os.name != "posix", reason="home folders of POSIX")
def test_no_home(tmp_path):
    nobody = """
import pwd
def getpwuid(uid):
    raise KeyError(uid)
pwd.getpwuid = getpwuid
"""
    places = {"HOME": None, "XDG_CACHE_HOME": tmp_path / "xdg"}
    assert run(None, RELU, nobody, **places) == (RELU_VALUES, RELU_COMPILED)


@pytest.mark.parametrize("variable", ["FASTNN_CACHE_DIR", "XDG_CACHE_HOME", "HOME"])
def test_folder_that_cannot_be_made(variable, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(b"as it was")
    places = {"FASTNN_CACHE_DIR": None, "XDG_CACHE_HOME": None, variable: file / "below"}
    assert run(None, **{**places, "TMPDIR": file / "below"}) == (RELU_VALUES, RELU_COMPILED)
    assert file.read_bytes() == b"as it was"


def test_cache_needs_no_other_temporary_folder(tmp_path):
    nowhere = """
import tempfile
def gettempdir():
    raise FileNotFoundError("no usable temporary directory found")
tempfile.gettempdir = gettempdir
"""
    cache = tmp_path / "cache"
    assert run(cache, RELU, nowhere) == (RELU_VALUES, RELU_COMPILED)
    assert run(cache, RELU, nowhere) == (RELU_VALUES, [])


def test_relative_folder_is_ignored(warm, tmp_path, monkeypatch):
    """Who chooses the working folder does not choose the machine code."""
    monkeypatch.chdir(tmp_path)
    (warm / "fastnn").symlink_to(".")
    home = tmp_path / "home"
    home.mkdir()
    for name in ("FASTNN_CACHE_DIR", "XDG_CACHE_HOME"):
        places = {"FASTNN_CACHE_DIR": None, "XDG_CACHE_HOME": None, "HOME": home, name: "warm"}
        files = sorted(warm.rglob("*"))
        assert run(None, FASTNN_CACHE="1", **places) == (RELU_VALUES, RELU_COMPILED)
        assert sorted(warm.rglob("*")) == files
        assert (home / ".cache" / "fastnn").exists() == (sys.platform == "linux")
        shutil.rmtree(home / ".cache", ignore_errors=True)


def test_relative_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTNN_CACHE_DIR", "here")
    monkeypatch.delenv("FASTNN_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.warns(RuntimeWarning, match="FASTNN_CACHE_DIR is 'here', expected an absolute"):
        folder = jit.cache_folder.__wrapped__()
    assert folder == tmp_path / "fastnn" or sys.platform != "linux"


# ---------------------------------------------------------------------- files of other users

OTHER = 65534


class Planted:
    """Unpickling one makes the folder that is named here."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def planted(warm, stored, tmp_path):
    """Return a cache folder with a file that makes the folder `marker` where it is unpickled."""
    payload = pickle.dumps(Planted(tmp_path / "marker"))
    (warm / stored[0]).write_bytes(sealed(stored[0], payload))
    return warm


def test_planted_file_runs_where_it_is_read(planted, tmp_path):
    """Or else the tests below would show nothing."""
    assert run(planted) == (RELU_VALUES, RELU_COMPILED)
    assert (tmp_path / "marker").is_dir()


def give_away(path):
    """Let another user own a file or folder; return code that makes it so for a process."""
    if os.geteuid() == 0:
        os.chown(path, OTHER, OTHER)
        return ""
    return f"os.geteuid = lambda: {OTHER}"


WARNED = """
import warnings
with warnings.catch_warnings(record=True) as found:
    warnings.simplefilter("always")
    values = [relu(), descend()]
values = [values, [str(each.message) for each in found]]
"""

# What another user could do: {name: (what is changed, how, what is said of it)}.
OPEN = {
    "folder of another user": ("", give_away, "belongs to another user"),
    "folder of a group": ("", lambda path: path.chmod(0o770), "may be written by its group"),
    "folder of all": ("", lambda path: path.chmod(0o707), "may be written by others"),
    "sticky folder": ("", lambda path: path.chmod(0o1777), "may be written by others"),
    "parent of another user": ("..", give_away, "belongs to another user"),
    "parent of all": ("..", lambda path: path.chmod(0o777), "may be written by others"),
    "file of another user": ("*.bin", give_away, "belongs to another user"),
    "file of a group": ("*.bin", lambda path: path.chmod(0o620), "may be written by its group"),
    "file of all": ("*.bin", lambda path: path.chmod(0o602), "may be written by others"),
}


@posix
@pytest.mark.parametrize("case", OPEN)
def test_what_another_user_may_write_is_not_read(case, planted, stored, tmp_path):
    where, change, reason = OPEN[case]
    cache = tmp_path / "parent" / "cache"
    cache.parent.mkdir()
    planted.rename(cache)
    path = {"": cache, "..": cache.parent, "*.bin": cache / stored[0]}[where]
    content = (cache / stored[0]).read_bytes()
    before = change(path) or ""
    (values, warned), compiled = run(cache, WARNED, before)
    assert (values, compiled) == (BOTH_VALUES, [*RELU_COMPILED, *DESCEND_COMPILED])
    assert not (tmp_path / "marker").exists()
    (warning,) = warned
    assert f"{os.path.realpath(path)} {reason}" in warning
    if where == "*.bin":  # replaced by one of this user's own
        assert os.stat(path).st_mode & 0o777 == 0o600
        assert run(cache, BOTH, before) == (BOTH_VALUES, [])
    else:  # nothing is written there
        assert [each.read_bytes() for each in cache.iterdir()] == [content]


@posix
def test_warnings_as_errors_break_nothing(planted, tmp_path):
    planted.chmod(0o777)
    assert run(planted) == (RELU_VALUES, RELU_COMPILED)
    assert not (tmp_path / "marker").exists()


@posix
def test_home_of_another_user(tmp_path):
    """As under sudo, where HOME may stay that of the user."""
    home = tmp_path / "home"
    home.mkdir()
    places = {"XDG_CACHE_HOME": None, "FASTNN_CACHE_DIR": None, "HOME": home}
    (_, warned), _ = run(None, WARNED, give_away(home), **places)
    assert len(warned) == 1
    assert list(home.iterdir()) == []


@posix
def test_private_folder_below_a_sticky_one(warm):
    warm.parent.chmod(0o1777)
    assert run(warm) == (RELU_VALUES, [])


@posix
def test_links_lead_to_the_folder_that_counts(warm, tmp_path):
    (tmp_path / "link").symlink_to(warm)
    assert run(tmp_path / "link") == (RELU_VALUES, [])
    warm.chmod(0o777)
    assert run(tmp_path / "link") == (RELU_VALUES, RELU_COMPILED)


@posix
@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_file_that_is_no_file(kind, planted, stored, tmp_path):
    path = planted / stored[0]
    if kind == "link":
        path.rename(tmp_path / "elsewhere")
        path.symlink_to(tmp_path / "elsewhere")
    else:
        path.unlink()
        os.mkfifo(path)
    assert run(planted) == (RELU_VALUES, RELU_COMPILED)
    assert not (tmp_path / "marker").exists()
    assert path.is_file()
    assert not path.is_symlink()
    assert run(planted) == (RELU_VALUES, [])


@posix
@pytest.mark.parametrize("umask", [0o000, 0o022, 0o277])
def test_modes_whatever_the_umask(umask, tmp_path):
    cache = tmp_path / "some" / "cache"
    assert run(cache, before=f"os.umask({umask})") == (RELU_VALUES, RELU_COMPILED)
    (path,) = cache.iterdir()
    assert [each.stat().st_mode & 0o777 for each in (cache.parent, cache, path)] == [
        0o700, 0o700, 0o600,
    ]  # fmt: skip
    assert run(cache) == (RELU_VALUES, [])


@posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="needs other owners")
@pytest.mark.parametrize(("owner", "trusted"), [(0, True), (1234, True), (OTHER, False)])
def test_whose_files_a_user_reads(owner, trusted, tmp_path, monkeypatch):
    """Their own, and those of root, who may do everything anyway: as in a container image."""
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / "file").touch()
    for path in (tmp_path / "cache", tmp_path / "cache" / "file"):
        os.chown(path, owner, owner)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    if trusted:
        assert private_files.read(private_files.open_folder(tmp_path / "cache") / "file") == b""
    else:
        with pytest.raises(private_files.NotPrivateError, match="cache belongs to another user"):
            private_files.open_folder(tmp_path / "cache")


def test_nothing_is_left_to_the_cache_of_numba():
    """It unpickles what lies beside the sources or in the user's cache folder, unseen."""
    for folder in (PACKAGE, KERNELS):
        for path in folder.rglob("*.py"):
            assert "cache=True" not in path.read_text(encoding="utf-8"), path


# ---------------------------------------------------------------------- read-only folders

# Permission bits do not bind a process with this capability, such as one of root.
DROP_DAC_OVERRIDE = """
import ctypes
libc = ctypes.CDLL(None)
header, sets = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(header, sets) == 0
sets[0] &= ~2  # effective
sets[1] &= ~2  # permitted
assert libc.capset(header, sets) == 0
"""


@pytest.fixture
def read_only():
    """Return a function that takes the right to write from folders, until the test ends.

    Returned is code that makes a process respect it, and fails if it does not.
    """
    closed = []

    def close(folder):
        found = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
        closed.extend(found)
        for path in found:
            path.chmod(0o555)
        return f"{DROP_DAC_OVERRIDE}\nassert not os.access({str(folder)!r}, os.W_OK)\n"

    yield close
    for path in closed:
        path.chmod(0o755)


@linux
def test_read_only_install(tmp_path, read_only):
    site = copy_package(tmp_path / "site")
    files = sorted(site.rglob("*"))
    before, cache = read_only(site), tmp_path / "cache"
    assert run(cache, RELU, before, site, PYTHONDONTWRITEBYTECODE="") == (
        RELU_VALUES,
        RELU_COMPILED,
    )
    assert sorted(site.rglob("*")) == files
    assert run(cache, RELU, before, site) == (RELU_VALUES, [])


@linux
def test_read_only_cache_is_read(warm, read_only):
    assert run(warm, RELU, read_only(warm)) == (RELU_VALUES, [])


@linux
def test_read_only_cache_does_not_stop_a_kernel_that_it_lacks(warm, read_only):
    assert run(warm, DESCEND, read_only(warm)) == (DESCEND_VALUES, DESCEND_COMPILED)


def test_nothing_is_written_where_fastnn_is_installed(tmp_path):
    site = copy_package(tmp_path / "site")
    files = {path: path.read_bytes() for path in site.rglob("*") if path.is_file()}
    run(tmp_path / "cache", RELU, "", site)
    assert {path: path.read_bytes() for path in site.rglob("*") if path.is_file()} == files


# ---------------------------------------------------------------------- disks that fail


@posix
def test_full_disk_leaves_nothing_behind(tmp_path):
    cache = tmp_path / "cache"
    full = """
import resource
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
"""
    assert run(cache, RELU, full) == (RELU_VALUES, RELU_COMPILED)
    assert list(cache.iterdir()) == []


NO_ROOM = """
import errno, tempfile
made = tempfile.NamedTemporaryFile
def full(*arguments, **options):
    file = made(*arguments, **options)
    def write(content):
        file.file.write(content[:99])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.write = write
    return file
tempfile.NamedTemporaryFile = full
"""


def test_disk_without_room_is_named_once(tmp_path):
    (values, warned), compiled = run(tmp_path, WARNED, NO_ROOM)
    assert (values, compiled) == (BOTH_VALUES, [*RELU_COMPILED, *DESCEND_COMPILED])
    (warning,) = warned
    assert "compiled in every process" in warning
    assert "No space left on device" in warning
    assert list(tmp_path.iterdir()) == []


def test_folder_that_lets_no_file_go(tmp_path):
    """As one whose files can only be appended to."""
    keep = """
def refuse(*arguments, **options):
    raise PermissionError("not permitted")
os.replace = os.rename = os.unlink = os.remove = refuse
"""
    assert run(tmp_path / "cache", RELU, keep) == (RELU_VALUES, RELU_COMPILED)


@posix
def test_process_killed_while_it_writes(tmp_path):
    cache = tmp_path / "cache"
    killed = """
import resource, signal
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
"""
    process = start(cache, RELU, killed)
    process.communicate(timeout=300)
    assert process.returncode == -signal.SIGXFSZ
    assert "" in suffixes(cache)  # a part of the file, under another name
    assert ".bin" not in suffixes(cache)
    assert run(cache) == (RELU_VALUES, RELU_COMPILED)
    assert sorted(suffixes(cache)) == ["", ".bin"]
    assert run(cache) == (RELU_VALUES, [])


def test_ctrl_c_while_it_writes_leaves_nothing_behind(tmp_path):
    interrupted = """
def interrupt(*arguments, **options):
    raise KeyboardInterrupt
os.replace = os.rename = interrupt
"""
    code = """
try:
    relu()
except KeyboardInterrupt:
    values = "interrupted"
"""
    cache = tmp_path / "cache"
    assert run(cache, code, interrupted) == ("interrupted", RELU_COMPILED)
    assert list(cache.iterdir()) == []


# ---------------------------------------------------------------------- damaged files


def sealed(name, payload):
    return jit._checksum(Path(name), payload) + payload


def flip_one_bit(name, content):
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


DAMAGES = {
    "empty": lambda name, content: b"",
    "cut inside the checksum": lambda name, content: content[:20],
    "truncated": lambda name, content: content[: len(content) // 2],
    "one byte short": lambda name, content: content[:-1],
    "garbage": lambda name, content: bytes(range(256)) * 99,
    "one bit": flip_one_bit,
    "a file of another name": lambda name, content: sealed("other", content[32:]),
    "no pickle": lambda name, content: sealed(name, b"no pickle"),
    "a dict": lambda name, content: sealed(name, pickle.dumps({"some": "thing"})),
    "a number": lambda name, content: sealed(name, pickle.dumps(1)),
    "nine of another type": lambda name, content: sealed(name, pickle.dumps((None,) * 9)),
    "a class that is gone": lambda name, content: sealed(name, b"cno_such_module\nthing\n."),
}


def test_sealed_is_how_files_are_stored(stored):
    name, content = stored
    assert sealed(name, content[32:]) == content


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_file_is_replaced(damage, stored, warm):
    name, content = stored
    damaged = DAMAGES[damage](name, content)
    (warm / name).write_bytes(damaged)
    assert run(warm) == (RELU_VALUES, RELU_COMPILED)
    (path,) = warm.iterdir()
    assert path.name == name
    content = path.read_bytes()
    assert content != damaged
    assert sealed(name, content[32:]) == content


def test_folder_in_the_place_of_a_file(stored, tmp_path):
    path = tmp_path / stored[0]
    path.mkdir()
    assert run(tmp_path) == (RELU_VALUES, RELU_COMPILED)
    assert list(tmp_path.rglob("*")) == [path]


# ---------------------------------------------------------------------- many processes


WAIT = "print('ready', file=sys.stderr, flush=True); input(); "


def wait_for(process):
    assert process.stderr.readline() == "ready\n"


def release(process):
    process.stdin.write("go\n")
    process.stdin.flush()


def test_eight_processes_start_cold_at_once(tmp_path):
    cache = tmp_path / "not there" / "yet"
    processes = [start(cache, WAIT + BOTH) for _ in range(8)]
    for process in processes:
        wait_for(process)
    for process in processes:
        release(process)
    for process in processes:
        assert finish(process)[0] == BOTH_VALUES
    assert [path.suffix for path in cache.iterdir()] == [".bin", ".bin"]
    assert run(cache, BOTH) == (BOTH_VALUES, [])


def test_process_that_stalls_while_it_writes(tmp_path):
    stall = f"""
replace = os.replace
def stalled_replace(*arguments):
    {WAIT}
    replace(*arguments)
os.replace = stalled_replace
"""
    process = start(tmp_path, RELU, stall)
    wait_for(process)
    assert run(tmp_path, DESCEND) == (DESCEND_VALUES, DESCEND_COMPILED)
    release(process)
    assert finish(process) == (RELU_VALUES, RELU_COMPILED)
    assert run(tmp_path, BOTH) == (BOTH_VALUES, [])


# ---------------------------------------------------------------------- sources


def stamp(folder, monkeypatch):
    """Return the stamp of the kernels in `folder`."""
    monkeypatch.setattr(jit, "__file__", str(folder / "jit.py"))
    return jit._digest_sources()


@pytest.mark.parametrize("name", sorted(path.name for path in KERNELS.glob("*.py")))
def test_edit_to_any_kernel_file_changes_the_stamp(name, tmp_path, monkeypatch):
    folder = copy_package(tmp_path) / "fastnn" / "kernels"
    before = stamp(folder, monkeypatch)
    assert before == jit.SOURCE_DIGEST
    path = folder / name
    path.write_bytes(path.read_bytes().replace(b"\n", b" \n", 1))
    assert stamp(folder, monkeypatch) not in (before, None)


def test_renamed_kernel_file_changes_the_stamp(tmp_path, monkeypatch):
    folder = copy_package(tmp_path) / "fastnn" / "kernels"
    (folder / "relu.py").rename(folder / "relv.py")
    assert stamp(folder, monkeypatch) not in (jit.SOURCE_DIGEST, None)


def test_edit_to_an_inner_function_of_another_file(tmp_path):
    code = """
losses, probabilities = np.empty(1), np.empty((1, 8))
fastnn.kernels.softmax_cross_entropy_forward(
    losses, probabilities, np.full((1, 8), 0.0), np.array([0])
)
values = probabilities[0].tolist()
"""
    site, cache = copy_package(tmp_path / "site"), tmp_path / "cache"
    assert run(cache, code, "", site)[0] == [0.125] * 8
    assert run(cache, code, "", site) == ([0.125] * 8, [])
    edit(
        site,
        "softmax.py",
        "store(row + j, cut(load(row + j) * factor))",
        "store(row + j, load(row + j) * factor * 2.0)",
    )
    assert run(cache, code, "", site)[0] == [0.25] * 8


def test_edit_while_a_program_runs(tmp_path):
    site, cache = copy_package(tmp_path / "site"), tmp_path / "cache"
    process = start(cache, WAIT + RELU, "", site)
    wait_for(process)
    edit(site, *DOUBLE_RELU)
    release(process)
    assert finish(process, site)[0] == RELU_VALUES
    assert run(cache, RELU, "", site)[0] == DOUBLE_VALUES


def check_two_versions_share_a_folder(first, second, cache):
    assert run(cache, RELU, "", first)[0] == RELU_VALUES
    assert run(cache, RELU, "", second)[0] == DOUBLE_VALUES
    return [run(cache, RELU, "", first), run(cache, RELU, "", second)]


def test_two_versions_share_a_folder(tmp_path):
    first, second = copy_package(tmp_path / "first"), copy_package(tmp_path / "second")
    edit(second, *DOUBLE_RELU)
    found = check_two_versions_share_a_folder(first, second, tmp_path / "cache")
    assert found == [(RELU_VALUES, []), (DOUBLE_VALUES, [])]


def test_two_versions_without_sources(tmp_path):
    """Compiled Python files alone, as some bundles hold: nothing tells two versions apart."""
    first, second = copy_package(tmp_path / "first"), copy_package(tmp_path / "second")
    edit(second, *DOUBLE_RELU)
    for site in (first, second):
        assert compileall.compile_dir(site, quiet=1, legacy=True)
        for path in site.rglob("*.py"):
            path.unlink()
    found = check_two_versions_share_a_folder(first, second, tmp_path / "cache")
    assert found == [(RELU_VALUES, RELU_COMPILED), (DOUBLE_VALUES, RELU_COMPILED)]


@posix
def test_link_to_nowhere_among_the_kernels(tmp_path):
    """Emacs makes one beside a file that is being edited."""
    site = copy_package(tmp_path / "site")
    (site / "fastnn" / "kernels" / ".#relu.py").symlink_to("someone@somewhere.1234")
    assert run(tmp_path / "cache", RELU, "", site) == (RELU_VALUES, RELU_COMPILED)


# ---------------------------------------------------------------------- processes side by side


def test_cold_processes_compile_once(tmp_path):
    """On a cluster all workers begin at the same time, with an empty cache."""
    processes = [start(tmp_path, BOTH) for _ in range(4)]
    found = [finish(process) for process in processes]
    assert [values for values, _ in found] == [BOTH_VALUES] * 4
    compiled = sorted(name for _, names in found for name in names)
    assert compiled == sorted(RELU_COMPILED + DESCEND_COMPILED)
    assert suffixes(tmp_path) == [".bin"] * 2


HOLD = """
import signal
from fastnn.kernels import file_locks, jit
acquire = file_locks.acquire

def hold(path, seconds):
    lock = acquire(path, seconds)
    print(path, flush=True)
    signal.pause()

file_locks.acquire = hold
relu()
"""


@pytest.fixture
def holder(tmp_path):
    """Return a process that has stopped while it holds the lock of `relu_forward`."""
    process = start(tmp_path, HOLD)
    assert process.stdout.readline().endswith(".lock\n")
    return process


@posix
def test_a_dead_process_blocks_nobody(tmp_path, holder):
    os.kill(holder.pid, signal.SIGKILL)
    holder.wait()
    assert suffixes(tmp_path) == [".lock"]
    code = "fastnn.kernels.jit.LONGEST_WAIT = 10**9\n" + RELU
    assert run(tmp_path, code) == (RELU_VALUES, RELU_COMPILED)
    assert suffixes(tmp_path) == [".bin"]


@posix
def test_a_process_that_does_not_end_blocks_for_a_time(tmp_path, holder):
    assert jit.LONGEST_WAIT == 60
    code = "fastnn.kernels.jit.LONGEST_WAIT = 0.3\n" + RELU
    assert run(tmp_path, code) == (RELU_VALUES, RELU_COMPILED)
    assert run(tmp_path, code) == (RELU_VALUES, [])
    assert holder.poll() is None


@posix
def test_ctrl_c_ends_the_wait(tmp_path, holder):
    code = """
import _thread, threading
from fastnn.kernels import file_locks
try_lock, fastnn.kernels.jit.LONGEST_WAIT = file_locks._try_lock, 10**9

def fail(file):
    if threading.active_count() < 10:
        _thread.interrupt_main()
    return try_lock(file)

file_locks._try_lock = fail
try:
    relu()
except KeyboardInterrupt:
    values = "interrupted"
"""
    assert run(tmp_path, code) == ("interrupted", [])
    assert suffixes(tmp_path) == [".lock"]


@pytest.mark.parametrize("place", ["file_locks._try_lock", "os.open"])
def test_a_folder_without_locks(tmp_path, place):
    """Such as some network file systems."""
    code = f"""
import errno
from fastnn.kernels import file_locks

def refuse(*arguments, **options):
    if {place == "os.open"} and not str(arguments[0]).endswith(".lock"):
        return open_now(*arguments, **options)
    raise OSError(errno.ENOLCK, "no locks available")

open_now = os.open
{place} = refuse
values = relu()
"""
    assert run(tmp_path, code) == (RELU_VALUES, RELU_COMPILED)
    assert ".bin" in suffixes(tmp_path)
    assert run(tmp_path) == (RELU_VALUES, [])


def test_a_failed_compilation_holds_no_lock(tmp_path):
    code = """
from fastnn.kernels import file_locks
acquire, locks = file_locks.acquire, []
file_locks.acquire = lambda *arguments: locks.append(acquire(*arguments)) or locks[-1]
values = []
try:
    fastnn.kernels.relu_forward("text", 3)
except Exception as error:
    values.append(type(error).__name__)
values.append(len(locks))
"""
    values, _ = run(tmp_path, code)
    assert values == ["TypingError", 1]
    assert suffixes(tmp_path) == []


def test_a_lock_excludes_threads_and_processes(tmp_path):
    path = tmp_path / "a.lock"
    first = file_locks.acquire(path, 0)
    assert file_locks.acquire(path, 0) is None
    begin = time.monotonic()
    assert file_locks.acquire(path, 0.2) is None
    assert time.monotonic() - begin >= 0.2
    file_locks.release(first, path)
    assert not path.exists()
    second = file_locks.acquire(path, 0)
    file_locks.release(second, path)


# ---------------------------------------------------------------------- CPUs


@x86
@pytest.mark.skipif(not target.current().fma, reason="this CPU cannot run the other code")
def test_every_cpu_has_its_own_code(tmp_path):
    cpus = [
        {},
        {"NUMBA_CPU_NAME": "haswell", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": ""},
        {"NUMBA_CPU_NAME": "nehalem", "NUMBA_CPU_FEATURES": "+avx"},
    ]
    cold = [run(tmp_path, **cpu) for cpu in cpus]
    assert cold == [(RELU_VALUES, RELU_COMPILED)] * 4
    warm = [run(tmp_path, **cpu) for cpu in cpus]
    assert warm == [(RELU_VALUES, [])] * 4


@x86
def test_code_of_a_cpu_with_other_instructions_is_left_alone(tmp_path):
    """As in a home folder that two machines share. Few CPUs have the FMA4 of a bdver1."""
    code = """
from numba import float64
fastnn.kernels.sgd_update.compile((float64[:, ::1], float64[:, ::1], float64))
values = None
"""
    bulldozer = {"NUMBA_CPU_NAME": "bdver1", "NUMBA_CPU_FEATURES": ""}
    assert run(tmp_path, code, **bulldozer) == (None, DESCEND_COMPILED)
    assert run(tmp_path, DESCEND) == (DESCEND_VALUES, DESCEND_COMPILED)
    assert run(tmp_path, code, **bulldozer) == (None, [])
