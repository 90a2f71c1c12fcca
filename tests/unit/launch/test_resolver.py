"""A name server that does not answer holds up neither launchers nor their store: nobody asks it."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys

import pytest

from dtj_trainer.launch.meeting.round import Member, Round
from dtj_trainer.launch.ranks.environment import rank_environment
from dtj_trainer.launch.ranks.resolver import IMPATIENT

SUPPORT = pathlib.Path(__file__).parents[2] / "support"
SCRIPT = pathlib.Path(__file__).parent / "scripts" / "counts_queries.py"


def in_its_own_namespaces(folder: pathlib.Path, how: str) -> str:
    """Run the script; its last line."""
    rights = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    command = ["unshare", "--mount", "--net", *rights, sys.executable, str(SCRIPT), str(folder), how]
    places = [str(SUPPORT), *filter(None, [os.environ.get("PYTHONPATH")])]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(places)}
    ran = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    if ran.returncode:
        pytest.fail(f"this needs unshare(1), and root or user namespaces: {ran.stderr[-2000:]}")
    return ran.stdout.splitlines()[-1]


def test_a_store_and_those_who_connect_to_it_ask_no_name_server(tmp_path):
    assert in_its_own_namespaces(tmp_path, "dtj").endswith("; asked nobody")


def test_torch_asks_for_the_name_of_each_address_and_waits(tmp_path):
    """What ranks have short patience for; when torch stops asking, they need none."""
    said = in_its_own_namespaces(tmp_path, "torch")
    assert said.endswith("; asked")
    assert int(said.split()[2]) >= 5


@pytest.mark.parametrize("given", [None, "ndots:1"])
def test_ranks_which_may_need_names_have_short_patience_unless_the_template_says_otherwise(monkeypatch, given):
    monkeypatch.delenv("RES_OPTIONS", raising=False)
    if given:
        monkeypatch.setenv("RES_OPTIONS", given)
    member = Member("w", "w/u", "10.0.0.1", 1, 1, False)
    nowhere = pathlib.Path("/x")
    env = rank_environment(Round(1, (member,), 0), 0, 1, "r", "10.0.0.1", 1, nowhere, nowhere)
    assert env["RES_OPTIONS"] == (given or IMPATIENT)
