"""What names an image of a Dockerfile, what is copied into it, and what its build gets of the machine."""

import os
import pathlib
import re

import pytest
from programs import program

from dtj_cluster import base_image, dockerfile
from dtj_cluster.errors import ClusterError


@pytest.fixture
def checkout(home, monkeypatch):
    """A checkout of which only the shape is real."""
    folder = home / "checkout"
    folder.mkdir()
    for part in dockerfile._CONTEXT:
        place = folder / part
        place.parent.mkdir(parents=True, exist_ok=True)
        if (dockerfile.CHECKOUT / part).is_dir():
            place.mkdir(parents=True)
            place /= "file"
        place.write_text(part)
    made = {"operator": folder / "Dockerfile", "trainer": folder / "trainer_image" / "Dockerfile"}
    for file in made.values():
        file.write_text("FROM base\n")
    monkeypatch.setattr(dockerfile, "CHECKOUT", folder)
    monkeypatch.setattr(dockerfile, "DOCKERFILES", made)
    return folder


@pytest.mark.parametrize("part", dockerfile._CONTEXT)
@pytest.mark.parametrize("name", ["operator", "trainer"])
def test_a_change_of_anything_that_is_copied_makes_another_image(checkout, name, part):
    before = dockerfile.tag(name, "base-1")
    changed = checkout / part
    changed = changed / "file" if changed.is_dir() else changed
    changed.write_text("changed")

    assert dockerfile.tag(name, "base-1") != before


def test_another_base_and_another_dockerfile_make_another_image(checkout):
    tags = {dockerfile.tag("operator", "base-1"), dockerfile.tag("operator", "base-2")}
    dockerfile.DOCKERFILES["operator"].write_text("FROM other\n")
    tags.add(dockerfile.tag("operator", "base-1"))

    assert len(tags) == 3


def test_tests_and_the_caches_of_tools_make_no_other_image(checkout):
    before = dockerfile.tag("trainer", "base-1")
    for beside in ("tests/test_it.py", "operator/.mypy_cache/it.json", "trainer_image/dtj/__pycache__/it.pyc"):
        (checkout / beside).parent.mkdir(parents=True)
        (checkout / beside).write_text("")

    assert dockerfile.tag("trainer", "base-1") == before


@pytest.mark.parametrize("name", ["operator", "trainer"])
def test_the_dockerfiles_copy_what_the_tag_counts_and_the_ignore_file_lets_through(name):
    text = dockerfile.DOCKERFILES[name].read_text()
    copied = [
        source for line in re.findall(r"^COPY (?!--from)(.*)$", text, re.MULTILINE) for source in line.split()[:-1]
    ]
    allowed = (dockerfile.CHECKOUT / ".dockerignore").read_text().splitlines()

    for source in copied:
        assert any(
            source in (part, *map(str, pathlib.PurePath(part).parents)) or source.startswith(f"{part}/")
            for part in dockerfile._CONTEXT
        ), source
    assert {f"!{part}" for part in dockerfile._CONTEXT} == {line for line in allowed if line.startswith("!")}
    for part in dockerfile._CONTEXT:
        assert any(
            pathlib.PurePath(part).is_relative_to(source) or source.startswith(f"{part}/") for source in copied
        ), part


def test_the_operators_image_has_no_torch_and_both_run_as_an_ordinary_user():
    operator, trainer = (dockerfile.DOCKERFILES[name].read_text() for name in ("operator", "trainer"))

    assert "--extra trainer" not in operator
    assert "--extra operator" not in trainer
    for text in (operator, trainer):
        assert re.search(r"^USER 1000$", text, re.MULTILINE)
        assert "FROM ${BASE_IMAGE}" in text


def test_certificates_and_settings_of_the_machine_are_mounted_and_the_index_is_reached_by_them(home, monkeypatch):
    program(home / "uv", f"#!/bin/sh\n[ $* = --where ] && echo {home / 'uv'}\n")
    monkeypatch.setattr(dockerfile, "UV", home / "uv")
    (home / "ca.pem").write_text("certificate")
    (home / "config" / "uv").mkdir(parents=True)
    (home / "config" / "uv" / "uv.toml").write_text("settings")
    for key, value in {
        "UV_INDEX_URL": "https://packages.example/a b",
        "UV_PROJECT_ENVIRONMENT": "/somewhere",
        "SSL_CERT_FILE": str(home / "ca.pem"),
        "XDG_CONFIG_HOME": str(home / "config"),
    }.items():
        monkeypatch.setenv(key, value)
    (home / "work").mkdir()

    made = dockerfile._machine(home / "work")

    wrapper = (made / "uv").read_text().splitlines()
    assert wrapper[0] == "#!/bin/sh"
    assert wrapper[-1] == 'exec /run/build/uv.program "$@"'
    assert set(wrapper[1:-1]) >= {
        "export UV_INDEX_URL='https://packages.example/a b'",
        "export UV_CACHE_DIR=/run/uv-cache",
        "export SSL_CERT_FILE=/run/build/certificates.pem",
        "export XDG_CONFIG_HOME=/run/build/config",
    }
    assert not any("UV_PROJECT_ENVIRONMENT" in line for line in wrapper)
    assert (made / "certificates.pem").read_text() == "certificate"
    assert (made / "config" / "uv" / "uv.toml").read_text() == "settings"
    assert os.access(made / "uv.program", os.X_OK)


def test_what_the_machine_trusts_is_trusted_in_the_build_where_no_variable_names_it(home, monkeypatch):
    program(home / "uv", f"#!/bin/sh\necho {home / 'uv'}\n")
    (home / "system.pem").write_text("a company's authority")
    (home / "work").mkdir()
    monkeypatch.setattr(dockerfile, "UV", home / "uv")
    monkeypatch.setattr(dockerfile, "_AUTHORITIES", str(home / "system.pem"))
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)

    made = dockerfile._machine(home / "work")

    assert (made / "certificates.pem").read_text() == "a company's authority"
    assert "export SSL_CERT_FILE=/run/build/certificates.pem" in (made / "uv").read_text()


def test_a_uv_that_cannot_be_had_is_told_in_its_own_words(home, monkeypatch):
    program(home / "uv", "#!/bin/sh\necho no network >&2; exit 1\n")
    monkeypatch.setattr(dockerfile, "UV", home / "uv")

    with pytest.raises(ClusterError, match=r"uv cache dir` failed: no network"):
        dockerfile._uv_cache()


def test_a_cache_of_uv_that_somebody_has_deleted_is_there_when_it_is_mounted(home, monkeypatch):
    program(home / "uv", f"#!/bin/sh\necho {home / 'deleted' / 'uv'}\n")
    monkeypatch.setattr(dockerfile, "UV", home / "uv")

    assert dockerfile._uv_cache() == home / "deleted" / "uv"
    assert (home / "deleted" / "uv").is_dir()


def test_the_base_comes_from_the_mirror_that_apt_uses(home, monkeypatch):
    apt = home / "bin" / "apt-get"
    program(
        apt,
        '#!/bin/sh\ncase "$*" in *"Codename: bookworm"*) printf "http://one/debian\\nhttp://two/debian\\n";; esac\n',
    )
    monkeypatch.setenv("PATH", f"{apt.parent}:{os.environ['PATH']}")
    assert base_image._mirror() == ["http://one/debian"]

    apt.write_text("#!/bin/sh\nexit 1\n")
    assert base_image._mirror() == []
