"""Where the paths below mounts of ConfigMaps lead in `dtj run`, and what lies there."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from own_scripts import Maps, script_for, written

from dtj_api.base import ManifestError
from dtj_trainer.cli.manifest import load_job

pytestmark = pytest.mark.unit

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


def test_binary_data_of_a_map_are_files_and_no_variables(tmp_path: Path) -> None:
    maps: Maps = {"code": {"a.py": "é", "vocab.bin": bytes(range(256))}}
    items = [{"key": "vocab.bin", "path": "v"}]
    volumes = [*CODE["volumes"], {"name": "some", "configMap": {"name": "code", "items": items}}]
    mounts = [*AT_CODE["volumeMounts"], {"name": "some", "mountPath": "/some"}]
    words = ["/code/a.py", "/code/vocab.bin", "/some/v"]
    every = [{"configMapRef": {"name": "code"}}]
    script = script_for(tmp_path, maps, volumes, volumeMounts=mounts, args=words, envFrom=every)
    contents = [Path(word).read_bytes() for word in script.command[2:]]
    assert contents == ["é".encode(), bytes(range(256)), bytes(range(256))]
    assert (script.env["a.py"], "vocab.bin" in script.env) == ("é", False)


def test_binary_data_that_are_none_are_named(tmp_path: Path) -> None:
    file = written(tmp_path / "job.yaml", {"code": {"vocab.bin": b"1"}})
    file.write_text(file.read_text().replace("MQ==", "M"))
    with pytest.raises(ManifestError, match=r"job.yaml: ConfigMap code.binaryData.vocab.bin: not base64.*'M"):
        load_job(file)


def test_files_of_a_map_have_the_modes_that_the_template_gives_them(tmp_path: Path) -> None:
    items = [{"key": "a", "path": "a", "mode": 0o755}, {"key": "b", "path": "b"}]
    source = {"configMap": {"name": "code", "items": items}}
    volumes = [
        {"name": "code", "configMap": {"name": "code"}},
        {"name": "run", "configMap": {"name": "code", "defaultMode": 0o755}},
        {"name": "some", "projected": {"sources": [source], "defaultMode": 0o440}},
        {"name": "none", "configMap": {"name": "code", "defaultMode": 0}},
    ]
    names = [volume["name"] for volume in volumes]
    mounts = [{"name": name, "mountPath": f"/{name}"} for name in names]
    words = [f"/{name}/{key}" for name in names for key in "ab"]
    maps: Maps = {"code": {"a": "#!/bin/sh\necho said", "b": ""}}
    script = script_for(tmp_path, maps, volumes, volumeMounts=mounts, command=words)
    modes = [Path(word).stat().st_mode & 0o777 for word in script.command]
    # Root reads what nobody may, and pods are mostly root.
    assert modes == [0o644, 0o644, 0o755, 0o755, 0o755, 0o440, 0o400, 0o400]
    assert subprocess.check_output(script.command[2], text=True) == "said\n"


def test_what_a_map_has_no_more_is_gone_and_nothing_else(tmp_path: Path) -> None:
    other = tmp_path / "mounts" / "mine"
    other.parent.mkdir()
    other.touch()
    code = tmp_path / "mounts" / "code"
    for keys in ("ab", "b", "b"):
        script_for(tmp_path, {"code": dict.fromkeys(keys, "")}, CODE["volumes"], **AT_CODE)
        # As a script may that runs in this folder, under a name that a map once had, too.
        (code / "checkpoints").mkdir(exist_ok=True)
        if keys == "b":
            (code / "a").write_text("the script's")
    assert sorted(path.name for path in code.iterdir()) == ["a", "b", "checkpoints"]
    assert (code / "a").read_text() == "the script's"
    assert other.exists()


def test_a_file_that_nobody_may_write_is_written_anew(tmp_path: Path) -> None:
    volumes = [{"name": "code", "configMap": {"name": "code", "defaultMode": 0o444}}]
    for text in ("one", "two"):
        script_for(tmp_path, {"code": {"a": text}}, volumes, **AT_CODE)
    assert (tmp_path / "mounts" / "code" / "a").read_text() == "two"
