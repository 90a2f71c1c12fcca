"""A folder of images (an OCI image layout), written and handed to containerd without a registry.

A registry would be one more server, and pushing to it and pulling from it copies six gigabytes of torch twice. Here an
image goes to a node as a tar stream of only those blobs that the node lacks, so after the first time a change of code
costs the code's layer. Layers stay uncompressed: disk and page cache are faster than any compressor on two cores.

https://github.com/opencontainers/image-spec/blob/main/image-layout.md
"""

import contextlib
import dataclasses
import datetime
import hashlib
import io
import json
import os
import pathlib
import tarfile
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import IO, Any

from dtj_cluster import together

REF_NAME = "org.opencontainers.image.ref.name"
# containerd's own word for the name, where the specification's is only a tag.
CONTAINERD_NAME = "io.containerd.image.name"
_TYPE = "application/vnd.oci.image"
_EPOCH = datetime.datetime.fromtimestamp(0, datetime.UTC).isoformat().replace("+00:00", "Z")
Json = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Layout:
    """The image layout in `path`; an image is in it once its tag is in the index, which is written last."""

    path: pathlib.Path

    def create(self) -> None:
        """Make the folder and the files that every layout has, when absent."""
        self.blobs.mkdir(parents=True, exist_ok=True)
        _replace(self.path / "oci-layout", json.dumps({"imageLayoutVersion": "1.0.0"}).encode())
        if not self._index_file.exists():
            self._write_index([])

    @property
    def blobs(self) -> pathlib.Path:
        """Where blobs are, named by their sha256."""
        return self.path / "blobs" / "sha256"

    @property
    def _index_file(self) -> pathlib.Path:
        return self.path / "index.json"

    def _entries(self) -> list[Json]:
        if not self._index_file.exists():
            return []
        entries: list[Json] = json.loads(self._index_file.read_text())["manifests"]
        return entries

    def _write_index(self, entries: list[Json]) -> None:
        _replace(self._index_file, json.dumps({"schemaVersion": 2, "manifests": entries}).encode())

    def tags(self) -> list[str]:
        """The tags of all images, the newest last."""
        return [str(entry.get("annotations", {}).get(REF_NAME, "")) for entry in self._entries()]

    def digest(self, tag: str) -> str | None:
        """The digest of the tagged image's manifest, None when there is no such image."""
        for entry in self._entries():
            if entry.get("annotations", {}).get(REF_NAME) == tag:
                return str(entry["digest"])
        return None

    def add(self, tag: str, fill: Callable[[tarfile.TarFile], None], config: Mapping[str, Any], comment: str) -> None:
        """Add an image of one layer. `fill` writes the layer's files; `config` is the image's (Env, Entrypoint ...)."""
        layer = self._add_layer(fill)
        created = {"created": _EPOCH}
        document = {
            **created,
            "architecture": "amd64",
            "os": "linux",
            "config": dict(config),
            "rootfs": {"type": "layers", "diff_ids": [layer["digest"]]},
            "history": [{**created, "created_by": comment}],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": f"{_TYPE}.manifest.v1+json",
            "config": self._add_json(document, f"{_TYPE}.config.v1+json"),
            "layers": [layer],
        }
        entry = {**self._add_json(manifest, f"{_TYPE}.manifest.v1+json"), "annotations": {REF_NAME: tag}}
        self._write_index([*self._entries(), entry])

    def _add_layer(self, fill: Callable[[tarfile.TarFile], None]) -> Json:
        with self._new_blob() as (file, finish):
            with tarfile.open(fileobj=file, mode="w|", format=tarfile.PAX_FORMAT) as tar:
                fill(tar)
            return finish(f"{_TYPE}.layer.v1.tar")

    def _add_json(self, document: Json, media_type: str) -> Json:
        with self._new_blob() as (file, finish):
            file.write(json.dumps(document, sort_keys=True).encode())
            return finish(media_type)

    @contextlib.contextmanager
    def _new_blob(self) -> Iterator[tuple["_HashingFile", Callable[[str], Json]]]:
        descriptor, name = tempfile.mkstemp(prefix=".partial-", dir=self.path)
        try:
            with os.fdopen(descriptor, "wb") as raw:
                file = _HashingFile(raw)

                def finish(media_type: str) -> Json:
                    raw.flush()
                    os.fchmod(raw.fileno(), 0o644)
                    digest = file.hash.hexdigest()
                    os.replace(name, self.blobs / digest)
                    return {"mediaType": media_type, "digest": f"sha256:{digest}", "size": raw.tell()}

                yield file, finish
        finally:
            pathlib.Path(name).unlink(missing_ok=True)

    def manifest(self, tag: str) -> Json:
        """The tagged image's manifest. Raises KeyError when there is no such image."""
        digest = self.digest(tag)
        if digest is None:
            raise KeyError(tag)
        return self._json(digest)

    def _json(self, digest: str) -> Json:
        document: Json = json.loads(self._blob(digest).read_bytes())
        return document

    def _blob(self, digest: str) -> pathlib.Path:
        return self.blobs / digest.removeprefix("sha256:")

    def export(self, tag: str, name: str, present: Collection[str], stream: IO[bytes]) -> int:
        """Write the image as an OCI archive that is called `name`; returns how many bytes of blobs went into it.

        Blobs whose digests are in `present` are left out: whoever reads the archive has them already.
        """
        entry = next(e for e in self._entries() if e.get("annotations", {}).get(REF_NAME) == tag)
        manifest = self._json(entry["digest"])
        renamed = {**entry, "annotations": {CONTAINERD_NAME: name, REF_NAME: name}}
        sent = 0
        with tarfile.open(fileobj=stream, mode="w|") as tar:
            _add_bytes(tar, "oci-layout", (self.path / "oci-layout").read_bytes())
            for blob in (entry, manifest["config"], *manifest["layers"]):
                if blob["digest"] not in present:
                    tar.add(self._blob(blob["digest"]), f"blobs/sha256/{blob['digest'].removeprefix('sha256:')}")
                    sent += blob["size"]
            _add_bytes(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [renamed]}).encode())
        return sent

    def prune(self, keep: Callable[[str], bool]) -> None:
        """Forget the images whose tags `keep` refuses, and remove every blob that no image needs any more."""
        kept = [e for e in self._entries() if keep(e.get("annotations", {}).get(REF_NAME, ""))]
        self._write_index(kept)
        needed: set[str] = set()
        for entry in kept:
            manifest = self._json(entry["digest"])
            needed.update(blob["digest"] for blob in (entry, manifest["config"], *manifest["layers"]))
        for file in (*self.blobs.iterdir(), *self.path.glob(".partial-*")):
            if f"sha256:{file.name}" not in needed:
                file.unlink()


class _HashingFile(io.RawIOBase):
    """Passes what is written on to a file, and hashes it on the way; an end to the parts at work ends it too."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self.hash = hashlib.sha256()

    def write(self, data: Any) -> int:
        together.current().check()
        self.hash.update(data)
        return self._raw.write(data)


def _add_bytes(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _replace(file: pathlib.Path, data: bytes) -> None:
    # Threads of one process write at once as well: one for each node.
    temporary = file.with_name(f".{file.name}.partial-{os.getpid()}-{threading.get_ident()}")
    temporary.write_bytes(data)
    temporary.replace(file)
