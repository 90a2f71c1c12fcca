"""Which commands become forks, which subprocesses, and which are refused before anything runs."""

import os
import pathlib
import sys

import pytest

from dtj_trainer.launch.ranks.command import RunAs, parse_command
from dtj_trainer.launch.settings import BadConfigError, Settings

PYTHON = sys.executable


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    (tmp_path / "x.py").write_text("")
    (tmp_path / "package").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{pathlib.Path(PYTHON).parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(
    ("words", "script", "module", "argv"),
    [
        (["python", "x.py"], "x.py", "", ()),
        (["--", "python", "x.py", "--", "-m"], "x.py", "", ("--", "-m")),
        (["python3", "-u", "x.py", "a"], "x.py", "", ("a",)),
        ([PYTHON, "x.py"], "x.py", "", ()),
        (["python", "-m", "json.tool", "-h"], "", "json.tool", ("-h",)),
    ],
)
def test_a_script_or_module_of_this_interpreter_is_forked(words, script, module, argv):
    command = parse_command(words)
    assert (command.run_as, command.script, command.module, command.argv) == (RunAs.FORK, script, module, argv)


@pytest.mark.parametrize(
    "words",
    [
        ["bash", "-c", "true"],
        ["python", "-c", "pass"],
        ["python", "-O", "x.py"],
        ["python", "package"],
        ["python"],
        ["/usr/bin/env", "python", "x.py"],
    ],
)
def test_anything_else_is_a_subprocess(words):
    command = parse_command(words)
    assert command.run_as == RunAs.SUBPROCESS
    assert os.path.isabs(command.argv[0])
    assert list(command.argv[1:]) == words[1:]


def test_the_python_of_another_environment_is_a_subprocess(tmp_path):
    other = tmp_path / "bin" / "python"
    other.parent.mkdir()
    other.symlink_to(PYTHON)
    assert parse_command([str(other), "x.py"]).run_as == RunAs.SUBPROCESS


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ([], "no command"),
        (["--"], "no command"),
        (["no-such-program"], "'no-such-program' is not an executable file"),
        (["python", "y.py"], "no file 'y.py'"),
        (["python", "-m", "no_such_module"], "no module named 'no_such_module'"),
    ],
)
def test_what_cannot_run_is_refused_by_name(words, text):
    with pytest.raises(BadConfigError, match=text):
        parse_command(words)


@pytest.fixture
def env(tmp_path):
    (tmp_path / "key").write_text("abc\n")
    names = ("JOB_NAME", "JOB_UID", "POD_NAME", "POD_UID", "POD_IP")
    return {f"DTJ_{name}": name.lower() for name in names} | {"DTJ_KEY_FILE": str(tmp_path / "key")}


def test_defaults(env):
    settings = Settings.from_env(env)
    assert (settings.metrics_port, settings.control_port, settings.bind) == (9400, 9401, None)
    assert (settings.processes, settings.work_dir, settings.key) == (None, None, b"abc")
    assert str(settings.termination_log) == "/dev/termination-log"
    assert (settings.join_timeout, settings.heartbeat, settings.heartbeat_misses, settings.last_call) == (600, 2, 5, 1)


@pytest.mark.parametrize(
    ("name", "value", "text"),
    [
        ("DTJ_JOB_UID", "", "DTJ_JOB_UID is not set"),
        ("DTJ_PROCESSES", "0", "DTJ_PROCESSES: found '0', allowed is a whole number of at least 1"),
        ("DTJ_PROCESSES", "two", "DTJ_PROCESSES: found 'two'"),
        ("DTJ_HEARTBEAT", "0", "DTJ_HEARTBEAT: found '0'"),
        ("DTJ_LAST_CALL", "nan", "DTJ_LAST_CALL: found 'nan'"),
        ("DTJ_JOIN_TIMEOUT", "inf", "DTJ_JOIN_TIMEOUT: found 'inf'"),
        ("DTJ_KEY_FILE", "/nowhere", "DTJ_KEY_FILE: /nowhere cannot be read"),
        ("DTJ_KEY_FILE", "/dev/null", "DTJ_KEY_FILE: /dev/null is empty"),
    ],
)
def test_a_wrong_variable_is_named(env, name, value, text):
    with pytest.raises(BadConfigError, match=text):
        Settings.from_env(env | {name: value})


def test_no_last_call_is_allowed(env):
    assert Settings.from_env(env | {"DTJ_LAST_CALL": "0"}).last_call == 0


def test_a_launcher_that_cannot_run_its_command_says_why_and_ends(start):
    job = start(1, "no-such-program", meet=False)
    assert job.exit_code(job.workers[0]) == 64
    assert "'no-such-program' is not an executable file" in job.termination_log(0).read_text()
