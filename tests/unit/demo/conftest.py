"""A kubectl that answers from memory, and a cluster around it."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dtj_cluster.errors import ClusterError
from dtj_demo.commands import Kubectl, Object
from dtj_demo.place import Image, Place
from dtj_demo.show import Show


@dataclass(frozen=True)
class FakeKubectl(Kubectl):
    """Gives `objects` one after the other to `get`, the last one for ever, and remembers the rest."""

    program: Path = Path("kubectl")
    objects: list[Object | None] = field(default_factory=list)
    said: list[tuple[str, ...]] = field(default_factory=list)
    applied: list[Object] = field(default_factory=list)
    answers: dict[str, str] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = 0) -> str:
        self.said.append(arguments)
        if arguments[0] == "get" and "json" in arguments:
            found = self.objects.pop(0) if len(self.objects) > 1 else self.objects[0]
            return "" if found is None else json.dumps(found)
        if arguments[0] == "apply":
            assert stdin is not None
            self.applied.extend(json.loads(stdin)["items"])
        answer = self.answers.get(arguments[0], "")
        if answer.startswith("error: "):
            raise ClusterError(answer)
        return answer


@pytest.fixture
def show() -> Show:
    return Show(as_json=True)


@pytest.fixture
def place() -> Callable[[FakeKubectl], Place]:
    def make(kubectl: FakeKubectl) -> Place:
        return Place(
            kubectl=kubectl,
            helm=Path("helm"),
            operator=Image("localhost/dtj-operator:dev", "1"),
            trainer=Image("localhost/dtj-trainer:dev", "1"),
            claim="the-claim",
            read=lambda path: path,
            where=lambda path: path,
            farewell="",
        )

    return make


@pytest.fixture
def fake_kubectl() -> type[FakeKubectl]:
    return FakeKubectl
