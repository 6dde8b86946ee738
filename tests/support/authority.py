# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""A certificate authority of a test's own, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """An authority in a directory: `certificate` is its own, in PEM form."""

    def __init__(self, directory: Path, name: str = "authority") -> None:
        self._directory = directory
        self._name = name
        self.certificate = directory / f"{name}.crt"
        self._key = directory / f"{name}.key"
        _openssl(
            "req", "-x509", *_KEY, "-days", "2", "-subj", f"/CN={name}", "-keyout", self._key, "-out", self.certificate
        )

    def issue(self, name: str, alternatives: str = "") -> tuple[Path, Path]:
        """A certificate and its key for a host (`IP:127.0.0.1,DNS:registry.test`) or, without names, a client."""
        request, key, certificate = (self._directory / f"{self._name}-{name}.{end}" for end in ("csr", "key", "cert"))
        extensions = self._directory / f"{self._name}-{name}.ext"
        extensions.write_text(f"subjectAltName={alternatives}\n" if alternatives else "")
        _openssl("req", *_KEY, "-subj", f"/CN={name}", "-keyout", key, "-out", request)
        sign = ["-CA", self.certificate, "-CAkey", self._key, "-CAcreateserial", "-days", "2"]
        _openssl("x509", "-req", "-in", request, *sign, "-extfile", extensions, "-out", certificate)
        return certificate, key

    def server(self, alternatives: str = "IP:127.0.0.1,DNS:registry.test", name: str = "server") -> str:
        """One file with a server's key and certificate."""
        certificate, key = self.issue(name, alternatives)
        both = self._directory / f"{self._name}-{name}.pem"
        both.write_text(key.read_text() + certificate.read_text())
        return str(both)


def _openssl(*words: str | Path) -> None:
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, (words, done.stderr)
