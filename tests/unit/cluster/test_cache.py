"""What the cache promises: whole or absent, built once, named by its inputs, and clear about what went wrong."""

import contextlib
import os
import signal
import subprocess
import sys
import threading

import pytest

from dtj_cluster import cache
from dtj_cluster.progress import Step


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "dtj" / "cluster"


def write(text):
    return lambda build: (build.folder / "made").write_text(text)


def never(_build):
    raise AssertionError("built a second time")


def test_an_entry_is_built_once_and_then_found(home):
    made = cache.entry("thing", "1", "make it", write("one"))

    assert made == home / "thing-1"
    assert (made / "made").read_text() == "one"
    assert cache.entry("thing", "1", "make it", never) == made


def test_other_inputs_make_another_entry_and_leave_the_first():
    first = cache.entry("thing", "1", "make it", write("one"))
    second = cache.entry("thing", "2", "make it", write("two"))

    assert (first / "made").read_text() == "one"
    assert (second / "made").read_text() == "two"


def test_a_build_that_raises_leaves_no_folder(home):
    def fail(build):
        write("half")(build)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        cache.entry("thing", "1", "make it", fail)

    assert not list(home.glob("*thing-*"))
    assert cache.entry("thing", "1", "make it", write("whole")).is_dir()


def test_two_callers_build_one_thing_once(monkeypatch):
    class Steps:
        @contextlib.contextmanager
        def step(self, title):
            if "waiting" in title:
                waiting.set()
            yield Step(title)

    waiting = threading.Event()
    monkeypatch.setattr(cache, "steps", Steps())
    second = threading.Thread(target=cache.entry, args=("thing", "1", "make it", never))

    def build(work):
        second.start()
        assert waiting.wait(60)
        write("one")(work)

    cache.entry("thing", "1", "make it", build)
    second.join(60)

    assert not second.is_alive()


ORPHAN = """
import sys
from dtj_cluster import cache
def build(work):
    (work.folder / "half").write_text("half")
    work.run([sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"],
             mend="", on_line=lambda line: print(line, end="", flush=True))
cache.entry("thing", "1", "make it", build)
"""


def test_a_killed_build_looks_unfinished_and_stays_locked_until_its_compiler_has_ended(home):
    builder = subprocess.Popen([sys.executable, "-c", ORPHAN], stdout=subprocess.PIPE, text=True)
    compiler = int(builder.stdout.readline())
    handle = os.pidfd_open(compiler)
    try:
        builder.kill()
        builder.wait(60)

        assert not (home / "thing-1").exists()
        assert subprocess.run(["flock", "--nonblock", home / "locks" / "thing", "true"], check=False).returncode == 1
    finally:
        signal.pidfd_send_signal(handle, signal.SIGKILL)
        os.close(handle)
        builder.stdout.close()

    made = cache.entry("thing", "1", "make it", write("whole"))

    assert [file.name for file in made.iterdir()] == ["made"]
    assert not list(home.glob(".thing-partial-*"))


def run_script(script):
    return lambda build: build.run([sys.executable, "-c", script], mend="Do this.")


@pytest.mark.parametrize(
    ("script", "ended"),
    [
        ("import sys; sys.exit(3)", "ended with status 3"),
        ("import os; os.kill(os.getpid(), 9)", "was ended by signal 9"),
    ],
)
def test_a_failed_step_says_what_ran_how_it_ended_and_how_to_mend_it(script, ended):
    with pytest.raises(cache.BuildError) as caught:
        cache.entry("thing", "1", "make it", run_script(script))

    text = str(caught.value)
    assert text.startswith(f"make it failed: `{sys.executable} -c {script}` {ended}")
    assert "(it printed nothing)" in text
    assert text.endswith("\nDo this.")


def test_a_failed_step_shows_the_end_of_its_log_and_where_the_rest_is(home):
    with pytest.raises(cache.BuildError) as caught:
        cache.entry("thing", "1", "make it", run_script("for i in range(100): print('line', i)\nraise SystemExit(1)"))

    text = str(caught.value)
    shown = [line for line in text.splitlines() if line.startswith("  | ")]
    assert shown == [f"  | line {i}" for i in range(100 - cache.TAIL_LINES, 100)]
    assert str(home / "logs" / "thing.log") in text
    assert "line 0\n" in (home / "logs" / "thing.log").read_text()


def test_a_program_that_is_not_installed_is_named():
    with pytest.raises(cache.BuildError, match="make it failed: no-such-program is not installed"):
        cache.entry("thing", "1", "make it", lambda build: build.run(["no-such-program"], mend="Install it."))


def tree(folder, **files):
    for name, text in files.items():
        file = folder / name.replace("__slash__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return folder


def test_a_key_is_the_same_for_the_same_inputs(tmp_path):
    one, two = tree(tmp_path / "1", a="x", b__slash__c="y"), tree(tmp_path / "2", a="x", b__slash__c="y")

    assert cache.key("v1", one) == cache.key("v1", two)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        (("a",), ("b",)),
        (("ab", "c"), ("a", "bc")),
        (("a", "b"), ("b", "a")),
        (("a",), ("a", "")),
    ],
)
def test_a_key_tells_words_apart(one, two):
    assert cache.key(*one) != cache.key(*two)


@pytest.mark.parametrize("files", [{"a": "y"}, {"b": "x"}, {"a": "x", "b": ""}, {"sub__slash__a": "x"}, {}])
def test_a_key_changes_with_the_content_and_the_names_of_files(tmp_path, files):
    one, two = tree(tmp_path / "1", a="x"), tree(tmp_path / "2", **files)
    two.mkdir(exist_ok=True)

    assert cache.key(one) != cache.key(two)


def test_bytecode_does_not_change_a_key(tmp_path):
    folder = tree(tmp_path / "1", a="x")
    before = cache.key(folder)
    tree(folder, __pycache____slash__a="bytecode")

    assert cache.key(folder) == before
