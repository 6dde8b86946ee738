# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""TLS with registries: whose certificates are believed, who we are by one, and what is never sent without it."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import Denied, Invalid, RegistryError
from ansible_collections.hull.engine.plugins.module_utils._image.certificates import check_certificates
from ansible_collections.hull.engine.plugins.module_utils._image.registry import Registry
from ansible_collections.hull.engine.plugins.module_utils._image.settings import Credentials, RegistryConfig

from tests.support.authority import Authority
from tests.support.faulty_registry import FaultyRegistry
from tests.support.images import DOCKER, make_image

IMAGE = make_image([{"a": b"1"}], types=DOCKER)
ME = Credentials("ci", "hunter2")


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def certificate(authority: Authority) -> str:
    return authority.server()


def _serve(certificate: str, **options: object) -> FaultyRegistry:
    server = FaultyRegistry(certificate=certificate, **options)  # type: ignore[arg-type]
    server.add("a", "1", IMAGE)
    return server


def _directory(tmp_path: Path, server: FaultyRegistry, *files: Path) -> RegistryConfig:
    """A certs.d with these files for the server, behind one that has none for it."""
    place = tmp_path / "second" / server.host
    place.mkdir(parents=True)
    for file in files:
        shutil.copy(file, place)
    return RegistryConfig(plain_http=False, certificates=(f"{tmp_path}/first", f"{tmp_path}/second"))


def _digest(server: FaultyRegistry, config: RegistryConfig, credentials: Credentials | None = None) -> str:
    with server, Registry(server.host, config, credentials=credentials) as client:
        return client.head("a", "1")


def test_an_authority_in_certs_d_is_believed(tmp_path: Path, authority: Authority, certificate: str) -> None:
    server = _serve(certificate)
    assert _digest(server, _directory(tmp_path, server, authority.certificate)) == IMAGE.digest


def test_another_authority_is_not(tmp_path: Path, certificate: str) -> None:
    server = _serve(certificate)
    config = _directory(tmp_path, server, Authority(tmp_path, "other").certificate)
    with pytest.raises(RegistryError, match="its certificate is not accepted: .*; .*certs.d"):
        _digest(server, config)


def test_a_certificate_for_another_host_is_refused(tmp_path: Path, authority: Authority) -> None:
    server = _serve(authority.server("DNS:elsewhere.test", "elsewhere"))
    with pytest.raises(RegistryError, match="its certificate is not accepted: IP address mismatch"):
        _digest(server, _directory(tmp_path, server, authority.certificate))


def test_a_client_certificate_from_certs_d_is_shown(tmp_path: Path, authority: Authority, certificate: str) -> None:
    pair = authority.issue("client")
    server = _serve(certificate, client_authority=str(authority.certificate))
    assert _digest(server, _directory(tmp_path, server, authority.certificate, *pair)) == IMAGE.digest


def test_a_client_certificate_of_the_settings_is_shown(authority: Authority, certificate: str) -> None:
    shown, key = authority.issue("configured")
    server = _serve(certificate, client_authority=str(authority.certificate))
    config = RegistryConfig(
        plain_http=False, ca_file=str(authority.certificate), client_cert=str(shown), client_key=str(key)
    )
    assert _digest(server, config) == IMAGE.digest


def test_a_registry_that_wants_a_client_certificate_refuses_others(
    tmp_path: Path, authority: Authority, certificate: str
) -> None:
    server = _serve(certificate, client_authority=str(authority.certificate))
    with pytest.raises(
        RegistryError, match="; it wants a client certificate: set client_cert .* or put one into certs.d"
    ):
        _digest(server, _directory(tmp_path, server, authority.certificate))


def test_a_client_certificate_without_its_key_is_named(tmp_path: Path, authority: Authority, certificate: str) -> None:
    shown, _ = authority.issue("keyless")
    server = _serve(certificate)
    with pytest.raises(RegistryError, match=f"client certificate .*/{shown.name}: its key .* is missing"):
        _digest(server, _directory(tmp_path, server, authority.certificate, shown))


def test_a_file_that_is_no_certificate_is_named(tmp_path: Path, certificate: str) -> None:
    (tmp_path / "bad.crt").write_text("no certificate\n")
    server = _serve(certificate)
    with pytest.raises(RegistryError, match="read certificate .*/bad.crt: .*; it must be PEM"):
        _digest(server, _directory(tmp_path, server, tmp_path / "bad.crt"))


def test_a_password_goes_over_tls(tmp_path: Path, authority: Authority, certificate: str) -> None:
    server = _serve(certificate, need_basic=True, users={"ci": "hunter2"})
    assert _digest(server, _directory(tmp_path, server, authority.certificate), ME) == IMAGE.digest


@pytest.mark.parametrize("options", [{"need_basic": True}, {"need_token": True, "realm": "http://registry.test/token"}])
def test_a_password_never_goes_without_tls_to_another_host(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object]
) -> None:
    server = FaultyRegistry(users={"ci": "hunter2"}, **options)  # type: ignore[arg-type]
    server.add("a", "1", IMAGE)
    monkeypatch.setenv("HTTP_PROXY", server.url)
    with server, Registry("registry.test", RegistryConfig(plain_http=True), credentials=ME) as client:
        with pytest.raises(Denied, match="log in at registry.test: a password is not sent .*without TLS"):
            client.head("a", "1")
        assert not any("authorization" in request.headers for request in server.requests())


def test_what_is_no_certificate_is_told_before_it_is_written(authority: Authority) -> None:
    text = authority.certificate.read_text()
    check_certificates(text)
    check_certificates(f"# the one of Käthe\n{text}\n# and once more\n{text}")
    lines = text.splitlines()
    broken = "\n".join([lines[0], *lines[2:]])
    check_certificates(_trusted(authority.certificate))
    key = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"
    other = text.replace("CERTIFICATE", "PUBLIC KEY")
    for bad in ("", "/etc/ssl/certs/ca.pem", other, broken, text + broken, text + key, _der(text)):
        with pytest.raises(Invalid, match="no certificate in PEM form in it, or a broken one; give what the file has"):
            check_certificates(bad)


def _trusted(certificate: Path) -> str:
    command = ["openssl", "x509", "-trustout", "-in", str(certificate)]
    return subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout


def _der(text: str) -> str:
    """A certificate in its other form, read as text."""
    return ssl.PEM_cert_to_DER_cert(text).decode("utf-8", "surrogateescape")
