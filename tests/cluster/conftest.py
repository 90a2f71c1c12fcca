"""What tests of the operator on a real API server share: a client, a namespace of their own, operators in it."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
from operator_process import OperatorProcess, connect, install_crd, make_namespace

NUMBERS = itertools.count()


@pytest.fixture
async def client(control_plane: Path):
    async with connect(control_plane) as client:
        await install_crd(client)
        yield client


@pytest.fixture
async def namespace(client, request):
    name = f"operator-{next(NUMBERS)}"
    await make_namespace(client, name)
    return name


@pytest.fixture
def start(control_plane: Path, namespace, tmp_path):
    """Starts operators for the test's namespace; all are gone afterwards."""
    started: list[OperatorProcess] = []

    def begin(*args: str) -> OperatorProcess:
        operator = OperatorProcess(control_plane, namespace, tmp_path / f"operator-{len(started)}.log", *args)
        started.append(operator)
        return operator

    yield begin
    for operator in started:
        operator.__exit__()
