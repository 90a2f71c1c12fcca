"""How `dtj run` starts a script of the user's own: the command, variables and files of the manifest, here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from own_scripts import script_for, written

from dtj_trainer.cli import main
from dtj_trainer.cli.manifest import load_job
from dtj_trainer.cli.script import script_of

pytestmark = pytest.mark.unit


def test_a_script_is_started_as_its_container_says(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        """apiVersion: dtj.dev/v1alpha1
kind: DistributedTrainingJob
metadata: {name: own}
spec:
  workers:
    template:
      spec:
        containers:
          - name: trainer
            image: x
            workingDir: /
            command: [python, /code/train.py]
            args: [--rate, $(RATE), $$(RATE), $(NONE), /codes, --config=/code]
            env:
              - {name: RATE, value: "0.1"}
              - {name: WHERE, value: /code/data}
              - {name: OF_A_MAP, valueFrom: {configMapKeyRef: {name: code, key: train.py}}}
              - {name: SECRET, valueFrom: {secretKeyRef: {name: s, key: k}}}
            envFrom: [{secretRef: {name: s}}]
            volumeMounts: [{name: code, mountPath: /code/}, {name: data, mountPath: /data}]
        volumes: [{name: code, configMap: {name: code}}, {name: data, emptyDir: {}}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: code}
data: {train.py: "print(1)"}
"""
    )
    script = script_of(load_job(file), tmp_path / "mounts")
    code = tmp_path / "mounts" / "code"
    assert (code / "train.py").read_text() == "print(1)"
    rest = ["--rate", "0.1", "$(RATE)", "$(NONE)", "/codes", f"--config={code}"]
    assert script.command == [sys.executable, f"{code}/train.py", *rest]
    assert script.env.pop("PATH").split(":")[0] == str(Path(sys.executable).parent)
    assert script.env == {"RATE": "0.1", "WHERE": f"{code}/data", "OF_A_MAP": "print(1)"}
    assert script.unknown == ["all of Secret s", "SECRET"]
    assert script.directory == Path("/")


def test_nulls_of_a_template_are_what_the_api_server_makes_of_them(tmp_path):
    file = tmp_path / "job.yaml"
    file.write_text(
        """apiVersion: dtj.dev/v1alpha1
kind: DistributedTrainingJob
metadata: {name: own}
spec:
  workers:
    template:
      spec:
        containers:
          - name: trainer
            image: x
            workingDir: null
            command: [sh]
            args: null
            env: [{name: X, value: null}, {name: B, valueFrom: null}, {name: Z, valueFrom: {configMapKeyRef: null}}]
            envFrom: null
            volumeMounts: null
        volumes: null
"""
    )
    script = script_of(load_job(file), tmp_path / "mounts")
    assert script.command == ["sh"]
    assert script.env == {"X": "", "B": "", "PATH": script.env["PATH"]}
    assert (script.unknown, script.directory) == (["Z"], None)


def test_python_is_the_one_of_this_environment_in_a_shell_too(tmp_path: Path) -> None:
    text = "python -c 'import sys; print(sys.prefix)'; python3 -c 'import dtj'"
    script = script_for(tmp_path, {}, command=["sh", "-c", text], env=[{"name": "PATH", "value": "/usr/bin:/bin"}])
    assert subprocess.check_output(script.command, env=script.env, text=True) == f"{sys.prefix}\n"
    assert script_for(tmp_path, {}, command=["/opt/conda/bin/python3.12", "x.py"]).command[0] == sys.executable


def test_variables_of_a_config_map_in_the_same_file_are_set_as_kubernetes_does(tmp_path: Path) -> None:
    script = script_for(
        tmp_path,
        {"settings": {"RATE": "0.1", "NAME": "$(RATE)", "text": "$$ and $(RATE)"}},
        envFrom=[
            {"configMapRef": {"name": "settings"}},
            {"prefix": "MY_", "configMapRef": {"name": "settings"}},
            {"configMapRef": {"name": "elsewhere"}},
            {"prefix": "S_", "secretRef": {"name": "s"}},
            {"configMapRef": {"name": "perhaps", "optional": True}},
            {"secretRef": {"name": "perhaps", "optional": True}},
        ],
        env=[
            {"name": "RATE", "value": "0.2"},
            {"name": "TWICE", "value": "$(RATE)$(MY_RATE)"},
            {"name": "AS_IT_IS", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "text"}}},
            {"name": "NONE", "valueFrom": {"configMapKeyRef": {"name": "settings", "key": "no", "optional": True}}},
            {"name": "PERHAPS", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k", "optional": True}}},
            {"name": "AWAY", "valueFrom": {"configMapKeyRef": {"name": "elsewhere", "key": "k"}}},
            {"name": "MINE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        args=["$(MY_NAME)"],
    )
    del script.env["PATH"]
    assert script.env == {
        "RATE": "0.2", "NAME": "$(RATE)", "text": "$$ and $(RATE)", "MY_RATE": "0.1", "MY_NAME": "$(RATE)",
        "MY_text": "$$ and $(RATE)", "TWICE": "0.20.1", "AS_IT_IS": "$$ and $(RATE)",
    }  # fmt: skip
    assert script.unknown == ["all of ConfigMap elsewhere", "all of Secret s", "AWAY", "MINE"]
    assert script.command[-1] == "$(RATE)"


LACKS = {
    "no key no in data; its keys there are a.py": {
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "code", "key": "no"}}}]
    },
    "no key b.bin in data; its keys there are a.py": {
        "env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "code", "key": "b.bin"}}}]
    },
    "no key no in data or binaryData; its keys there are a.py, b.bin": {
        "volumes": [{"name": "v", "configMap": {"name": "code", "items": [{"key": "no", "path": "x"}]}}],
        "volumeMounts": [{"name": "v", "mountPath": "/code"}],
    },
}


@pytest.mark.parametrize("what", LACKS)
def test_a_key_that_its_map_lacks_starts_nothing_as_no_pod_would_start(tmp_path, capsys, what):
    file = written(tmp_path / "job.yaml", {"code": {"a.py": "", "b.bin": b""}}, **LACKS[what])
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 64
    assert f"ConfigMap code has {what}: no pod would start" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
