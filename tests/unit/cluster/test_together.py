"""The first part that fails ends the others, whatever they were at, and is the one that is told."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from dtj_cluster import cache, cli, oci
from dtj_cluster.errors import ClusterError
from dtj_cluster.identity import ProcessIdentity
from dtj_cluster.progress import Step
from dtj_cluster.together import GivenUp, current, together

LONG = 250
"""Seconds that a part would take that nobody ended; a test's own limit is near it."""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path


def program(folder: Path, script: str) -> Callable[[], None]:
    """A part that runs a program, as compilers and image builders are run."""

    def run() -> None:
        with cache.lock(folder.name) as descriptor:
            cache.Build(folder.name, folder, descriptor, Step(folder.name)).run(["sh", "-c", script], mend="mend it")

    return run


def fails_when(ready: Path) -> Callable[[], None]:
    """A part that fails as soon as the file is there."""
    return program(ready.parent / "failing", f"while [ ! -e {ready} ]; do sleep 0.01; done; echo no space left; exit 1")


def ended(file: Path) -> bool:
    """True when the process whose number the file has has ended; its new parent may not have collected it yet."""
    identity = ProcessIdentity.of(int(file.read_text()))
    return identity is None or not identity.alive()


def test_what_the_others_run_is_ended_with_all_that_it_started(tmp_path: Path):
    ready = tmp_path / "ready"
    compiler = program(tmp_path / "a", f"sh -c 'sleep {LONG} & echo $! > {ready}.new; mv {ready}.new {ready}; wait'")

    with pytest.raises(cache.BuildError, match="no space left"):
        together([compiler, fails_when(ready)])

    assert ended(ready)


def test_a_program_that_does_not_end_when_asked_is_killed(tmp_path: Path):
    ready = tmp_path / "ready"
    deaf = program(tmp_path / "a", f"trap '' TERM; echo $$ > {ready}; while :; do sleep {LONG}; done")

    with pytest.raises(cache.BuildError, match="no space left"):
        together([deaf, fails_when(ready)])

    assert ended(ready)


def test_a_part_that_waits_for_another_build_of_the_same_waits_no_longer(tmp_path: Path):
    waiting = threading.Event()
    given_up: list[BaseException] = []

    def wait() -> None:
        waiting.set()
        try:
            program(tmp_path / "held", "exit 0")()
        except GivenUp as error:
            given_up.append(error)
            raise

    def fail() -> None:
        waiting.wait(LONG)
        raise ClusterError("the first")

    with cache.lock("held"), pytest.raises(ClusterError, match="the first"):
        together([wait, fail])

    assert len(given_up) == 1


def test_no_part_starts_another_program_after_the_failure(tmp_path: Path):
    failed = threading.Event()
    second = tmp_path / "second"

    def go_on() -> None:
        failed.wait(LONG)
        program(tmp_path / "a", f"touch {second}")()

    def fail() -> None:
        raise ClusterError("the first")

    with pytest.raises(ClusterError, match="the first"):
        together([go_on, fail], give_up=failed.set)

    assert not second.exists()


def test_a_layer_that_is_being_packed_is_given_up(tmp_path: Path):
    begun, layout = threading.Event(), oci.Layout(tmp_path / "layout")
    layout.create()

    def pack() -> None:
        def fill(tar: object) -> None:
            begun.set()
            while True:
                tar.fileobj.write(b"0" * 512)  # type: ignore[attr-defined]

        layout.add("one", fill, {}, "")

    def fail() -> None:
        begun.wait(LONG)
        raise ClusterError("the first")

    with pytest.raises(ClusterError, match="the first"):
        together([pack, fail])

    assert layout.tags() == []


def test_parts_that_all_end_well_are_left_alone(tmp_path: Path):
    together([program(tmp_path / name, f"touch {tmp_path / name}.done") for name in ("a", "b", "c")])

    assert {file.name for file in tmp_path.glob("*.done")} == {"a.done", "b.done", "c.done"}
    current().check()


def test_an_interrupted_command_ends_what_it_runs(tmp_path: Path):
    ready = tmp_path / "ready"

    def interrupt() -> None:
        while not ready.exists():
            time.sleep(0.01)
        signal.raise_signal(signal.SIGINT)

    # Whatever started the tests may have had it ignored, as a shell does for what it runs in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            together([program(tmp_path / "a", f"echo $$ > {ready}; exec sleep {LONG}"), interrupt])
    finally:
        signal.signal(signal.SIGINT, before)

    assert ended(ready)


def test_the_command_tells_the_first_failure_last_with_its_end_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
):
    ready = tmp_path / "ready"
    monkeypatch.setattr(cli, "_programs", lambda *names: program(tmp_path / "a", f"touch {ready}; sleep {LONG}")())
    monkeypatch.setattr(cli, "_images", fails_when(ready))
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]

    try:
        status = cli.main(["build"])
    finally:
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), handlers, strict=True):
            signal.signal(number, handler)

    *_, cause, log, mend = capfd.readouterr().err.splitlines()
    assert status == 1
    assert cause == "  | no space left"
    assert log == f"(all of it: {cache.root() / 'logs' / 'failing.log'})"
    assert mend == "mend it"
