"""Each command that the documentation shows is run by a test, from the page's own text; and those that need nothing but
this checkout are run here.

Against a real API server: tests/cluster/test_documented.py. `make` and `tools/cluster/cluster` are run up to where they
would change the machine; the rest of their way is that of tests/e2e/test_demo.py and test_cluster.py.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from pathlib import Path
from unittest import mock

import pytest
from documented import (
    ROOT,
    Command,
    Run,
    UnreadableBlockError,
    commands,
    documented,
    each_documented,
    every,
    runs,
)

from dtj_cluster import Cluster, binaries, cli, images, metrics_server, seed
from dtj_cluster.status import Status
from dtj_demo import __main__ as demo
from dtj_demo import existing

BLOCKS = {
    "after the prompt, without what it printed": ("```console\n$ a b\nsaid\n$ c\n```", [(2, "a b"), (4, "c")]),
    "continued": ("```console\n$ a \\\n    --b \\\n    c\n$ d\n```", [(2, "a --b c"), (5, "d")]),
    "with a comment": ("```sh\n# what\na b   # why\n\nc#d\n```", [(3, "a b"), (5, "c#d")]),
    "in a list": ("- so:\n\n  ```bash\n  a\n  ```\n", [(4, "a")]),
    "by tildes": ("~~~console\n$ a\n```\n~~~\n", [(2, "a")]),
    "of another language": ("```yaml\na: b\n```\na\n", []),
}


@pytest.mark.parametrize("case", BLOCKS)
def test_the_commands_of_a_block(case: str) -> None:
    text, found = BLOCKS[case]
    assert [(each.line, each.text) for each in commands("page", text)] == found


@pytest.mark.parametrize("text", ["```\nmake\n```", "```text\n$ make\n```", "```shel\nmake\n```"])
def test_a_command_cannot_hide_in_a_block_of_another_name(text: str) -> None:
    with pytest.raises(UnreadableBlockError, match=r"^page:[12]: a (block|command in a block) of "):
        list(commands("page", text))


def test_a_test_claims_what_it_takes_from_the_page_and_nothing_else() -> None:
    run = Run("t", "a.md", "kubectl get")
    assert run.is_of(Command("a.md", 1, "kubectl get pods"))
    assert not run.is_of(Command("b.md", 1, "kubectl get pods"))
    assert not run.is_of(Command("a.md", 1, "kubectl delete pods"))
    assert Run("t", None, "kubectl get").is_of(Command("b.md", 1, "kubectl get pods"))


def test_every_command_of_the_documentation_is_run_by_a_test() -> None:
    shown, known = every(), runs()
    assert len(shown) > 40
    unclaimed = [f"{each.place}: {each.text}" for each in shown if not any(run.is_of(each) for run in known)]
    assert unclaimed == [], "no test takes these from their page, by documented(PAGE, START), and runs them"
    stale = [f"{run.test}: {run.page}: {run.start}" for run in known if not any(run.is_of(each) for each in shown)]
    assert stale == [], "no page shows these any more"


RECORDER = """#!/bin/sh
for word in "$0" "$@"; do printf '%s\\0' "$word"; done >> "$CALLS"
printf '\\n' >> "$CALLS"
env -0 > "$CALLS.environment"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The Makefile, and stand-ins for what it calls first: they note their words, and fetch and install nothing."""
    (tmp_path / "Makefile").symlink_to(ROOT / "Makefile")
    (tmp_path / "tools").mkdir()
    for name in ("uv", "preflight"):
        (tmp_path / "tools" / name).write_text(RECORDER)
        (tmp_path / "tools" / name).chmod(0o755)
    return tmp_path


def called(checkout: Path, command: str) -> tuple[list[list[str]], dict[str, str]]:
    """What `make` called, word by word, and the environment of the last call."""
    calls = checkout / "calls"
    # Without what an outer make says to an inner one.
    clean = {name: value for name, value in os.environ.items() if not name.startswith("MAKE") and name != "MFLAGS"}
    environment = {**clean, "CALLS": str(calls)}
    subprocess.run(["bash", "-c", command], cwd=checkout, env=environment, check=True, timeout=60)
    told = calls.with_name("calls.environment").read_text().split("\0")
    words = [line.split("\0")[:-1] for line in calls.read_text().splitlines()]
    return words, dict(line.partition("=")[::2] for line in told if line)


SETUP = ["tools/uv", "sync", "--frozen", "--all-extras"]
WITHIN = ["tools/uv", "run", "--frozen", "--no-sync"]
PARTS = ["test-unit", "test-cluster", "test-e2e"]


@pytest.mark.parametrize("command", each_documented("make"))
def test_make_calls_what_reads_its_words(checkout: Path, command: str) -> None:
    (preflight, setup, *rest), environment = called(checkout, command)

    assert preflight[0] == "tools/preflight"
    assert setup == SETUP
    assert all(words[:4] == WITHIN for words in rest)
    for words in (each[4:] for each in rest):
        match words:
            case ["python", "-m", "dtj_demo", *more]:
                options = demo._parser().parse_args(more)
                assert options.cluster == environment.get("CLUSTER", "local")
                if options.cluster == "existing":
                    assert f"IMAGE={existing.Given.of(environment).image}" in shlex.split(command)
            case ["tools/cluster/cluster", *more]:
                assert cli._parser().parse_args(more).run
            case ["pytest", *more]:
                folders = [word for word in more if word.startswith("tests")]
                assert folders
                assert all((ROOT / folder).is_dir() for folder in folders)
            case other:
                pytest.fail(f"`{command}` calls {other}, which this test does not know")


def test_make_test_is_the_parts_that_are_run_for_each_change(checkout: Path) -> None:
    """This test is in one of them: it cannot run them."""
    whole, _ = called(checkout, documented("README.md", "make test"))
    (checkout / "calls").unlink()
    parts, _ = called(checkout, f"make {' '.join(PARTS)}")

    ours = [words for words in whole if words not in (SETUP, *(each for each in whole if "preflight" in each[0]))]
    assert ours == [words for words in parts if words in ours]
    assert [folder for words in ours for folder in words if folder.startswith("tests/")] == [
        "tests/unit", "tests/cluster", "tests/e2e",
    ]  # fmt: skip
    run_by_ci = (ROOT / ".ci" / "run").read_text().splitlines()
    assert [part for part in PARTS if not any(line.endswith(f".ci/bare make {part}") for line in run_by_ci)] == []


@pytest.mark.parametrize("command", each_documented("tools/cluster/cluster"))
def test_the_local_cluster_reads_its_words(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All but what changes the machine: cluster and images are stand-ins that have the real ones' signatures."""
    made, ensure = mock.create_autospec(Cluster), mock.create_autospec(binaries.ensure)
    for name in ("stop_node", "start_node", "kill_node"):
        setattr(made, name, mock.create_autospec(getattr(Cluster, name)))
    for where, stand_in in (
        ("Cluster", made),
        ("binaries.ensure", ensure),
        ("images.ensure", mock.create_autospec(images.ensure)),
        ("images.load", mock.create_autospec(images.load)),
        ("seed.ensure", mock.create_autospec(seed.ensure)),
        ("metrics_server.start", mock.create_autospec(metrics_server.start)),
        ("Status.of", mock.create_autospec(Status.of)),
        ("signal.signal", mock.create_autospec(signal.signal)),
    ):
        monkeypatch.setattr(f"dtj_cluster.cli.{where}", stand_in)

    assert cli.main(shlex.split(command)[1:]) == 0

    assert made.called or ensure.called


def test_the_examples_are_checked_without_torch_which_takes_seconds() -> None:
    command = documented("docs/getting-started.md", ".venv/bin/dtj check")
    environment = {**os.environ, "PYTHONPROFILEIMPORTTIME": "1"}
    told = subprocess.run(
        ["bash", "-c", command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    said = [line for line in told.stderr.splitlines() if not line.startswith("import time:")]
    assert (told.returncode, said) == (0, [])
    assert told.stdout.count("nothing is wrong with it") == len(list((ROOT / "examples").glob("*.yaml")))
    imported = {line.rpartition("|")[2].strip() for line in told.stderr.splitlines()}
    assert "dtj_trainer.cli.check" in imported
    assert "torch" not in imported
