"""How `dtj run` starts a script of the user's own: the command, variables and files of the manifest, here."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from dtj_trainer.cli import main
from dtj_trainer.cli.manifest import load_job
from dtj_trainer.cli.script import Script, script_of

pytestmark = pytest.mark.unit


def script_for(folder: Path, maps: dict[str, dict[str, str]], volumes: Any = (), **container: Any) -> Script:
    """That of a job with these ConfigMaps in its file."""
    return script_of(load_job(written(folder / "job.yaml", maps, volumes, **container)), folder / "mounts")


def written(file: Path, maps: dict[str, dict[str, str]], volumes: Any = (), **container: Any) -> Path:
    given = {"name": "trainer", "image": "x", "command": ["python", "x.py"], **container}
    template = {"spec": {"containers": [given], "volumes": list(volumes)}}
    job = {
        "apiVersion": "dtj.dev/v1alpha1",
        "kind": "DistributedTrainingJob",
        "metadata": {"name": "own"},
        "spec": {"workers": {"template": template}},
    }
    objects = [{"kind": "ConfigMap", "metadata": {"name": name}, "data": data} for name, data in maps.items()]
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(yaml.safe_dump_all([job, *objects]))
    return file


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


CODE: dict[str, Any] = {
    "maps": {"code": {"say.sh": "echo said $*"}},
    "volumes": [{"name": "code", "configMap": {"name": "code"}}],
}
AT_CODE: dict[str, Any] = {"volumeMounts": [{"name": "code", "mountPath": "/code"}]}
TEXTS = {
    "plain": "sh /code/say.sh a; sh /code/say.sh b",
    "a folder": "cd /code && sh say.sh a && cd / && sh /code/say.sh b",
    "quotations": """sh "/code/say.sh" a; sh '/code/say.sh' b""",
    "an assignment and a list": "CODE=/code X=/none:/code; sh $CODE/say.sh a; sh ${X#/none:}/say.sh b",
    "a substitution": "sh $(echo /code/say.sh) a; `echo sh /code/say.sh` b",
}


@pytest.mark.parametrize("shell", ["sh -c", "bash -c", "bash -ec", "bash -eo pipefail -c"])
@pytest.mark.parametrize("text", TEXTS)
def test_paths_of_a_mount_lead_to_its_files_in_what_a_shell_is_to_run(tmp_path: Path, shell: str, text: str) -> None:
    script = script_for(tmp_path, **CODE, **AT_CODE, command=[*shell.split(), TEXTS[text]])
    assert subprocess.check_output(script.command, text=True) == "said a\nsaid b\n"


ODD = 'it\'s $HOME \\ "here"'


@pytest.mark.parametrize("text", ["plain", "quotations"])
def test_a_folder_whose_name_a_shell_would_take_apart_is_found(tmp_path: Path, text: str) -> None:
    script = script_for(tmp_path / ODD, **CODE, **AT_CODE, command=["sh", "-c", TEXTS[text]])
    assert subprocess.check_output(script.command, text=True) == "said a\nsaid b\n"


def test_only_what_begins_and_ends_as_the_path_of_the_mount_is_one(tmp_path: Path) -> None:
    others = ["/codes", "/code.d/x", "/code-2", "/code$X", "/code{,s}", "a/code", "./code", "$X/code", "${X}/code"]
    others += ["$(pwd)/code", "\\/code", "https://host/code/x", "host:/code", "me@host:/code/x", "FROM=host:/code"]
    script = script_for(tmp_path, **CODE, **AT_CODE, command=["sh", "-c", " ".join(others)], args=others)
    assert script.command == ["sh", "-c", " ".join(others), *others]


LEFT = [
    'python "$ROOT"/code/train.py',
    'python $ROOT"/code/train.py"',
    'python "$ROOT""/code/train.py"',
    "bash -c 'python \"$ROOT\"/code/train.py'",
    'cd "$(dirname "$0")/code"',
    "`pwd`/code/t.py",
    """'/a'/code '/code'"2" '/code's""",
    """"/code"2 "/code"$X /code"$X" """,
    '"$HOST":/code "host:/code" "$HOST:/code"',
    """echo "it's "/code; # it's a comment
    "$ROOT"/code""",
]


@pytest.mark.parametrize("text", LEFT)
def test_in_a_shell_a_path_that_may_be_part_of_a_longer_one_is_left_as_it_is(tmp_path: Path, text: str) -> None:
    script = script_for(tmp_path, **CODE, **AT_CODE, command=["sh", "-c", text])
    assert script.command == ["sh", "-c", text]


PLACED = [
    'cd "$(dirname "@/train.py")"; echo "$(cat "@/a")"',
    """# it's a comment
    cd '@' && sh "@"/say.sh '@''/x' "it's " '@'""",
    """sh -c 'python "@/t.py"'; python -c 'open("@/x")'; sh -c "cat \\"@/x\\" " """,
    "`@/run.sh` `cat @` $(cat @)",
    'A=/b:@ PYTHONPATH=src:@ PYTHONPATH="src:@" PYTHONPATH=$PYTHONPATH:@ x --path=/b:@ --to="@" @:@',
]


@pytest.mark.parametrize("text", PLACED)
def test_in_a_shell_a_path_is_found_wherever_it_begins_a_word_or_an_item(tmp_path: Path, text: str) -> None:
    script = script_for(tmp_path, **CODE, **AT_CODE, command=["sh", "-c", text.replace("@", "/code")])
    assert script.command == ["sh", "-c", text.replace("@", f"{tmp_path}/mounts/code")]


def test_a_variable_of_paths_may_begin_with_one_that_is_relative(tmp_path: Path) -> None:
    env = [{"name": name, "value": "src:/code"} for name in ("PYTHONPATH", "REMOTE")]
    script = script_for(tmp_path, **CODE, **AT_CODE, env=env)
    assert (script.env["PYTHONPATH"], script.env["REMOTE"]) == (f"src:{tmp_path}/mounts/code", "src:/code")


def test_the_longest_mount_that_a_path_is_below_counts_and_none_twice(tmp_path: Path) -> None:
    """A local folder may be below the path of a mount."""
    mounts = [{"name": "code", "mountPath": str(tmp_path)}, {"name": "conf", "mountPath": f"{tmp_path}/conf"}]
    volumes = [{"name": name, "configMap": {"name": name}} for name in ("code", "conf")]
    script = script_for(
        tmp_path,
        {"code": {"a": ""}, "conf": {"b": ""}},
        volumes,
        volumeMounts=mounts,
        env=[{"name": "CONF", "value": f"{tmp_path}/conf"}],
        args=["$(CONF)/b", f"{tmp_path}/a"],
    )
    here = tmp_path / "mounts"
    assert script.command[-2:] == [f"{here}/conf/b", f"{here}/code/a"]
    assert script.env["CONF"] == f"{here}/conf"


def test_one_file_of_a_map_and_files_under_other_names(tmp_path: Path) -> None:
    volumes = [
        {"name": "all", "configMap": {"name": "code"}},
        {"name": "some", "configMap": {"name": "code", "items": [{"key": "a.py", "path": "lib/b.py"}]}},
        {"name": "both", "projected": {"sources": [{"secret": {"name": "s"}}, {"configMap": {"name": "code"}}]}},
    ]
    mounts = [
        {"name": "all", "mountPath": "/app/train.py", "subPath": "a.py"},
        {"name": "some", "mountPath": "/some"},
        {"name": "both", "mountPath": "/both"},
    ]
    words = ["/app/train.py", "/some/lib/b.py", "/both/a.py"]
    script = script_for(tmp_path, {"code": {"a.py": "1", "c.py": "2"}}, volumes, volumeMounts=mounts, args=words)
    assert [Path(word).read_text() for word in script.command[2:]] == ["1", "1", "1"]
    assert not Path(script.command[3]).with_name("a.py").exists()


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
    "a variable": {"env": [{"name": "A", "valueFrom": {"configMapKeyRef": {"name": "code", "key": "no"}}}]},
    "a file": {
        "volumes": [{"name": "v", "configMap": {"name": "code", "items": [{"key": "no", "path": "x"}]}}],
        "volumeMounts": [{"name": "v", "mountPath": "/code"}],
    },
}


@pytest.mark.parametrize("what", LACKS)
def test_a_key_that_its_map_lacks_starts_nothing_as_no_pod_would_start(tmp_path, capsys, what):
    file = written(tmp_path / "job.yaml", {"code": {"a.py": "", "b.py": ""}}, **LACKS[what])
    assert main(["run", str(file), "--out", str(tmp_path / "out")]) == 64
    assert "ConfigMap code has no key no; its keys are a.py, b.py" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
