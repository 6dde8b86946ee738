# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Small images made from bytes: layers, configurations, manifests and indexes in OCI's and Docker's form.

Equal arguments give equal bytes, so digests can be compared. No tool is needed but `zstd` for zstd layers.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import subprocess
import tarfile
from dataclasses import dataclass, field
from typing import Any

OCI = {
    "index": "application/vnd.oci.image.index.v1+json",
    "manifest": "application/vnd.oci.image.manifest.v1+json",
    "config": "application/vnd.oci.image.config.v1+json",
    "plain": "application/vnd.oci.image.layer.v1.tar",
    "gzip": "application/vnd.oci.image.layer.v1.tar+gzip",
    "zstd": "application/vnd.oci.image.layer.v1.tar+zstd",
}
DOCKER = {
    "index": "application/vnd.docker.distribution.manifest.list.v2+json",
    "manifest": "application/vnd.docker.distribution.manifest.v2+json",
    "config": "application/vnd.docker.container.image.v1+json",
    "plain": "application/vnd.docker.image.rootfs.diff.tar",
    "gzip": "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "zstd": "application/vnd.docker.image.rootfs.diff.tar.zstd",
}
MTIME = 1_700_000_000
BUSYBOX = "/bin/busybox"
APPLETS = (
    "sh ash cat cp echo env false grep head hostname id ip kill ln ls mkdir mount mv nc ps pwd rm sed seq sleep stat "
    "tail test touch tr true umount uname wc whoami wget yes top stty"
).split()


def digest_of(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def as_json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def compress(data: bytes, kind: str) -> bytes:
    """The data as `plain`, `gzip` or `zstd`."""
    if kind == "gzip":
        return gzip.compress(data, 6, mtime=0)
    if kind == "zstd":
        return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


@dataclass(frozen=True)
class File:
    """An entry of a layer: a regular file by default; a directory, link or device by `kind`."""

    content: bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    kind: bytes = tarfile.REGTYPE
    target: str = ""


def directory(mode: int = 0o755) -> File:
    return File(mode=mode, kind=tarfile.DIRTYPE)


def symlink(target: str) -> File:
    return File(mode=0o777, kind=tarfile.SYMTYPE, target=target)


def hard_link(target: str) -> File:
    return File(kind=tarfile.LNKTYPE, target=target)


def tar_of(entries: dict[str, File | bytes]) -> bytes:
    """A tar with these entries in order; bytes stand for a regular file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, entry in entries.items():
            file = entry if isinstance(entry, File) else File(entry)
            info = tarfile.TarInfo(name)
            info.mode, info.uid, info.gid, info.mtime = file.mode, file.uid, file.gid, MTIME
            info.type, info.linkname, info.size = file.kind, file.target, len(file.content)
            tar.addfile(info, io.BytesIO(file.content))
    return buffer.getvalue()


@dataclass(frozen=True)
class Layer:
    """A layer's tar and the blob in which it travels."""

    tar: bytes
    compression: str = "gzip"

    @property
    def diff_id(self) -> str:
        return digest_of(self.tar)

    @property
    def blob(self) -> bytes:
        return compress(self.tar, self.compression)


@dataclass
class Image:
    """All bytes of one image: blobs by digest, the manifest and what it is."""

    manifest: bytes
    media_type: str
    config: bytes
    layers: list[Layer]
    blobs: dict[str, bytes] = field(default_factory=dict)

    @property
    def digest(self) -> str:
        return digest_of(self.manifest)

    @property
    def id(self) -> str:
        return digest_of(self.config)

    @property
    def diff_ids(self) -> tuple[str, ...]:
        return tuple(layer.diff_id for layer in self.layers)

    def descriptor(self, **extra: Any) -> dict[str, Any]:
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.manifest), **extra}


def make_image(
    layers: list[Layer | dict[str, File | bytes]],
    *,
    types: dict[str, str] = OCI,
    platform: str = "linux/amd64",
    config: dict[str, Any] | None = None,
    diff_ids: list[str] | None = None,
    **manifest_fields: Any,
) -> Image:
    """An image of these layers (a dict is a gzip layer of its entries); `diff_ids` lets the configuration lie."""
    made = [layer if isinstance(layer, Layer) else Layer(tar_of(layer)) for layer in layers]
    system, architecture, *variant = platform.split("/")
    document: dict[str, Any] = {
        "architecture": architecture,
        "os": system,
        **({"variant": variant[0]} if variant else {}),
        "created": "2023-11-14T22:13:20Z",
        "config": config or {},
        "rootfs": {"type": "layers", "diff_ids": diff_ids or [layer.diff_id for layer in made]},
        "history": [{"created": "2023-11-14T22:13:20Z", "created_by": "test"} for _ in made],
    }
    config_bytes = as_json(document)
    blobs = {digest_of(config_bytes): config_bytes}
    descriptors = []
    for layer in made:
        blob = layer.blob
        blobs[digest_of(blob)] = blob
        descriptors.append({"mediaType": types[layer.compression], "digest": digest_of(blob), "size": len(blob)})
    manifest = {
        "schemaVersion": 2,
        "mediaType": types["manifest"],
        "config": {"mediaType": types["config"], "digest": digest_of(config_bytes), "size": len(config_bytes)},
        "layers": descriptors,
        **manifest_fields,
    }
    return Image(as_json(manifest), types["manifest"], config_bytes, made, blobs)


def make_index(entries: list[dict[str, Any]], *, types: dict[str, str] = OCI) -> tuple[bytes, str]:
    """The bytes of an index of these descriptors, and its media type."""
    document = {"schemaVersion": 2, "mediaType": types["index"], "manifests": entries}
    return as_json(document), types["index"]


def platform_of(text: str) -> dict[str, str]:
    """The platform object of a descriptor from `linux/arm64/v8`."""
    return dict(zip(("os", "architecture", "variant"), text.split("/")))


def busybox_layer(compression: str = "gzip") -> Layer:
    """A root file system with the static busybox of this machine and links for its common applets."""
    with open(BUSYBOX, "rb") as file:
        content = file.read()
    entries: dict[str, File | bytes] = {name: directory() for name in ("bin", "etc", "proc", "sys", "dev", "root")}
    entries["tmp"] = directory(0o1777)
    entries["bin/busybox"] = File(content, 0o755)
    entries.update({f"bin/{name}": symlink("busybox") for name in APPLETS})
    entries["etc/passwd"] = b"root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    entries["etc/group"] = b"root:x:0:\nnogroup:x:65534:\n"
    return Layer(tar_of(entries), compression)


def busybox_image(*more: Layer | dict[str, File | bytes], types: dict[str, str] = OCI, **config: Any) -> Image:
    """An image that runs: busybox, with further layers on top; `config` is the configuration's `config`."""
    settings = {"Env": ["PATH=/bin"], "Cmd": ["sh"], **config}
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
    return make_image([busybox_layer(), *more], types=types, platform=f"linux/{machine}", config=settings)


def write_layout(image: Image, path: str, tag: str = "latest") -> None:
    """An OCI layout directory with this one image, as `skopeo copy oci:path:tag` reads it."""
    os.makedirs(f"{path}/blobs/sha256")
    for digest, data in {**image.blobs, image.digest: image.manifest}.items():
        with open(f"{path}/blobs/sha256/{digest.partition(':')[2]}", "wb") as file:
            file.write(data)
    index, _ = make_index([image.descriptor(annotations={"org.opencontainers.image.ref.name": tag})])
    for name, data in (("index.json", index), ("oci-layout", as_json({"imageLayoutVersion": "1.0.0"}))):
        with open(f"{path}/{name}", "wb") as file:
            file.write(data)
