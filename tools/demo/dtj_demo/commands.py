"""Run the programs that a user of the cluster would run: kubectl, helm, docker, kind.

The demo does nothing that its reader could not do by hand, so it uses no client library. A program that is absent or
fails becomes a message that says what was run, what it said and what to do.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dtj_cluster.errors import ClusterError

Object = dict[str, Any]
TIMEOUT = 120.0


def find(program: str, why: str) -> Path:
    """A program on PATH. Raises ClusterError that says what it is wanted for."""
    found = shutil.which(program)
    if found is None:
        raise ClusterError(
            f"{program} is not on PATH; {why}", f"Install {program}, or run `make demo` without CLUSTER."
        )
    return Path(found)


def run(
    argv: Sequence[str | os.PathLike[str]],
    *,
    environment: Mapping[str, str] | None = None,
    stdin: str | None = None,
    timeout: float = TIMEOUT,
) -> str:
    """Run to the end and return what it printed. Raises ClusterError with its own words when it fails."""
    words = [os.fspath(word) for word in argv]
    shown = " ".join([Path(words[0]).name, *words[1:]])
    try:
        ran = subprocess.run(
            words,
            env={**os.environ, **(environment or {})},
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ClusterError(f"`{shown}` did not end within {timeout:.0f} s") from None
    except OSError as error:
        raise ClusterError(f"`{shown}` cannot be run: {error.strerror}") from None
    if ran.returncode != 0:
        said = (ran.stderr.strip() or ran.stdout.strip() or "it said nothing")[-2000:]
        raise ClusterError(f"`{shown}` ended with status {ran.returncode}: {said}")
    return ran.stdout


@dataclass(frozen=True)
class Kubectl:
    """kubectl for one cluster. `kubeconfig` None: whatever the environment says."""

    program: Path
    kubeconfig: Path | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What points a program such as helm at the same cluster."""
        return {} if self.kubeconfig is None else {"KUBECONFIG": str(self.kubeconfig)}

    def __call__(self, *arguments: str, stdin: str | None = None, timeout: float = TIMEOUT) -> str:
        """Run it."""
        return run([self.program, *arguments], environment=self.environment, stdin=stdin, timeout=timeout)

    def get(self, kind: str, name: str, namespace: str) -> Object | None:
        """An object, None when there is none."""
        told = self("get", kind, name, "--namespace", namespace, "--ignore-not-found", "--output", "json")
        found: Object | None = json.loads(told) if told.strip() else None
        return found

    def apply(self, *objects: Object) -> None:
        """Apply all in their order."""
        body = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        self("apply", "--filename", "-", stdin=json.dumps(body))
