"""What each kind of cluster needs, and what helm is told."""

import json
import os
from pathlib import Path

import pytest

from dtj_cluster.errors import ClusterError
from dtj_demo import chart, existing, kind
from dtj_demo.__main__ import main
from dtj_demo.commands import run

GIVEN = {"IMAGE": "r/t:1", "OPERATOR_IMAGE": "r/o:1", "CLAIM": "shared"}


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, ["IMAGE=", "OPERATOR_IMAGE=", "CLAIM=", "STORAGE_CLASS="]),
        ({**GIVEN, "IMAGE": ""}, ["IMAGE= the trainer's"]),
        ({**GIVEN, "OPERATOR_IMAGE": ""}, ["OPERATOR_IMAGE="]),
        ({**GIVEN, "CLAIM": ""}, ["CLAIM=", "STORAGE_CLASS=", "ReadWriteMany"]),
        ({**GIVEN, "STORAGE_CLASS": "nfs"}, ["either CLAIM=", "or STORAGE_CLASS="]),
    ],
)
def test_an_existing_cluster_says_all_that_is_missing(environment: dict[str, str], named: list[str]):
    with pytest.raises(ClusterError) as raised:
        existing.Given.of(environment)
    assert [word for word in named if word not in str(raised.value)] == []


def test_an_existing_cluster_is_content_with_a_claim_or_a_class():
    assert existing.Given.of(GIVEN).claim == "shared"
    assert existing.Given.of({**GIVEN, "CLAIM": "", "STORAGE_CLASS": "nfs"}).storage_class == "nfs"


def test_a_mistake_of_the_user_ends_with_a_message_and_no_traceback(monkeypatch, capsys):
    for variable in ("IMAGE", "OPERATOR_IMAGE", "CLAIM", "STORAGE_CLASS"):
        monkeypatch.delenv(variable, raising=False)
    assert main(["--cluster", "existing", "--json"]) == 1
    told = capsys.readouterr()
    assert told.err.startswith("demo: CLUSTER=existing needs:")
    assert json.loads(told.out)["event"] == "failed"


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("localhost/dtj-operator:dev", {"image.repository": "localhost/dtj-operator", "image.tag": "dev"}),
        ("r:5000/a/b", {"image.repository": "r:5000/a/b"}),
        ("r:5000/a/b:2@sha256:1f", {"image.repository": "r:5000/a/b", "image.tag": "2", "image.digest": "sha256:1f"}),
    ],
)
def test_helm_gets_the_parts_of_an_image_reference(place, fake_kubectl, reference: str, expected: dict[str, str]):
    assert chart._image(reference) == expected


def test_a_rebuilt_operator_under_the_same_name_is_rolled_out(place, fake_kubectl):
    words = chart.values(place(fake_kubectl()))
    assert r"podAnnotations.dtj\.dev/image-version=1" in words


FAKE = """#!/bin/sh
echo "$(basename $0) $*" >> {log}
case "$(basename $0) $*" in
  "kind get nodes"*) echo dtj-worker dtj-worker2 ;;
  "kind create cluster"*) cat > {config} ;;
  "kind get kubeconfig"*) echo the-kubeconfig ;;
  "docker image inspect"*) echo sha256:abc ;;
  "kubectl apply"*) cat > {applied} ;;
esac
"""


def test_kind_gets_the_folder_in_every_node_and_both_images(tmp_path: Path, monkeypatch, show):
    log, config, applied = tmp_path / "log", tmp_path / "config", tmp_path / "applied"
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("docker", "kind", "kubectl", "helm"):
        (programs / name).write_text(FAKE.format(log=log, config=config, applied=applied))
        (programs / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = kind.prepare(show, "dtj")
    nodes = json.loads(config.read_text())["nodes"]
    folder = tmp_path / "cache/dtj/kind-dtj/volume"
    assert [node["extraMounts"] for node in nodes] == [[{"hostPath": str(folder), "containerPath": "/dtj-volume"}]] * 3
    ran = log.read_text().splitlines()
    assert [line for line in ran if "chown" in line] == [
        f"docker exec {node} chown 1000:1000 /dtj-volume" for node in ("dtj-worker", "dtj-worker2")
    ]
    loaded = [line.rsplit(" ", 1)[1] for line in ran if line.startswith("kind load docker-image")]
    assert loaded == ["localhost/dtj-operator:dev", "localhost/dtj-trainer:dev"]
    kinds = [each["kind"] for each in json.loads(applied.read_text())["items"]]
    assert kinds == ["Namespace", "PersistentVolume", "PersistentVolumeClaim"]
    assert made.operator.version == "sha256:abc"
    (folder / "x").write_text("seen")
    assert made.read("x") == "seen"


def test_a_program_that_fails_is_told_with_its_own_words():
    with pytest.raises(ClusterError, match=r"`sh -c echo no >&2; exit 3` ended with status 3: no"):
        run(["sh", "-c", "echo no >&2; exit 3"])


def test_a_program_that_hangs_is_ended():
    with pytest.raises(ClusterError, match="did not end within 0 s"):
        run(["sleep", "60"], timeout=0.1)


def test_the_dockerfiles_that_kind_builds_are_there():
    assert [name for name in kind.DOCKERFILES.values() if not (kind.ROOT / name).is_file()] == []
