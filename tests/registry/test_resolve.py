# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What a reference means at Debian's docker-registry and at one that misbehaves."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from ansible_collections.hull.engine.plugins.module_utils._base.errors import (
    Damaged,
    Denied,
    HullError,
    NotFound,
    RegistryError,
    Unsupported,
)
from ansible_collections.hull.engine.plugins.module_utils._image.platform import parse_platform
from ansible_collections.hull.engine.plugins.module_utils._image.pull import Resolved, head_digest, resolve
from ansible_collections.hull.engine.plugins.module_utils._image.reference import parse_reference
from ansible_collections.hull.engine.plugins.module_utils._image.settings import RegistryConfig, RegistrySettings

from tests.support.faulty_registry import FaultyRegistry, cut, header, identity_for, replace_body, reset, status
from tests.support.images import DOCKER, OCI, Image, make_image, make_index, platform_of
from tests.support.registry import RunningRegistry, free_port

SETTINGS = RegistrySettings()
IMAGE = make_image([{"a": b"1"}], types=DOCKER)
OTHER = make_image([{"b": b"2"}], types=DOCKER, platform="linux/arm64")


def _resolve(text: str, platform: str = "linux/amd64", settings: RegistrySettings = SETTINGS) -> Resolved:
    return resolve(parse_reference(text), parse_platform(platform), config=settings)


@pytest.mark.parametrize("types", [OCI, DOCKER])
def test_a_tag_is_resolved_to_manifest_and_configuration(registry: RunningRegistry, types: dict[str, str]) -> None:
    image = make_image([{"a": b"1"}, {"b": b"2"}], types=types)
    found = _resolve(registry.push("resolve/app", "1", image))
    assert (found.digest, found.index_digest) == (image.digest, "")
    assert found.manifest.text.encode() == image.manifest
    assert found.config.text.encode() == image.config


def test_an_index_is_resolved_by_platform(registry: RunningRegistry) -> None:
    reference = registry.push_index("resolve/many", "1", {"linux/arm64": OTHER, "linux/amd64": IMAGE})
    for platform, image in (("linux/amd64", IMAGE), ("linux/arm64/v8", OTHER)):
        found = _resolve(reference, platform)
        assert found.manifest.digest == image.digest
        assert found.digest == found.index_digest != image.digest
    with pytest.raises(NotFound, match="it has linux/amd64, linux/arm64"):
        _resolve(reference, "linux/s390x")


def test_a_digest_names_the_same_image(registry: RunningRegistry) -> None:
    registry.push("resolve/app", "1", IMAGE)
    assert _resolve(f"{registry.host}/resolve/app:wrong@{IMAGE.digest}").manifest.digest == IMAGE.digest


def test_an_image_of_another_platform_than_the_named_one_is_refused(registry: RunningRegistry) -> None:
    with pytest.raises(NotFound, match="it is made for linux/arm64, not for linux/amd64"):
        _resolve(registry.push("resolve/arm", "1", OTHER))


def test_the_digest_of_a_tag_takes_one_head_request() -> None:
    server = FaultyRegistry()
    reference = parse_reference(server.add("a", "1", IMAGE))
    with server:
        assert head_digest(reference, config=SETTINGS) == IMAGE.digest
        assert [request.method for request in server.requests()] == ["HEAD"]


@pytest.mark.parametrize("fault", [status(405), header("Docker-Content-Digest", "")])
def test_a_registry_that_does_not_tell_digests_is_read(fault) -> None:  # type: ignore[no-untyped-def]
    server = FaultyRegistry()
    reference = parse_reference(server.add("a", "1", IMAGE))
    server.fault("HEAD", "/manifests/", fault)
    with server:
        assert head_digest(reference, config=SETTINGS) == IMAGE.digest


@pytest.mark.parametrize("repository", ["resolve/none", "resolve/app"])
def test_an_unknown_image_is_named(registry: RunningRegistry, repository: str) -> None:
    registry.push("resolve/app", "1", IMAGE)
    reference = f"{registry.host}/{repository}:nope"
    for call in (lambda: _resolve(reference), lambda: head_digest(parse_reference(reference), config=SETTINGS)):
        with pytest.raises(NotFound, match=f"^image {reference}: not found in the registry.*; check the name"):
            call()


def test_a_registry_that_does_not_run_is_named_with_a_cure() -> None:
    host = f"127.0.0.1:{free_port()}"
    started = time.monotonic()
    told = f"connect to {host}: Connection refused; check .* that a server runs there"
    with pytest.raises(RegistryError, match=told):
        _resolve(f"{host}/a")
    assert time.monotonic() - started < 2


def test_a_host_that_does_not_exist_is_named() -> None:
    with pytest.raises(RegistryError, match="look up host no-such-host.invalid: "):
        _resolve("no-such-host.invalid/a")


@pytest.mark.parametrize(
    "fault", [status(429, Retry_After="1"), status(503), status(500), status(408), reset(), cut(20)]
)
def test_passing_faults_are_tried_again(fault) -> None:  # type: ignore[no-untyped-def]
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    server.fault("GET", "/manifests/", fault, times=2)
    with server:
        assert _resolve(reference).digest == IMAGE.digest
        assert len(server.requests("/manifests/")) == 3


def test_retry_after_is_waited_for() -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    server.fault("GET", "/manifests/", status(429, Retry_After="1"), times=1)
    with server:
        started = time.monotonic()
        _resolve(reference)
        assert time.monotonic() - started >= 1


def test_a_wait_that_is_too_long_is_not_waited_for() -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    body = b'{"errors":[{"code":"TOOMANYREQUESTS","message":"pull rate limit"}]}'
    server.fault("GET", "/manifests/", status(429, body, Retry_After="3600"))
    with server:
        with pytest.raises(RegistryError, match=r"answers 429 \(TOOMANYREQUESTS pull rate limit\); try again later"):
            _resolve(reference)
        assert len(server.requests()) == 1


def test_a_fault_that_stays_ends_in_its_code_and_message() -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    server.fault("GET", "/manifests/", status(503, b"<html>down for maintenance</html>", Retry_After="0"))
    with server:
        with pytest.raises(RegistryError, match="the registry answers 503; try again later") as caught:
            _resolve(reference)
        assert caught.value.status == 503
        assert len(server.requests()) == 5


@pytest.mark.parametrize("code", [400, 403, 404, 410])
def test_lasting_refusals_are_not_tried_again(code: int) -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    server.fault("GET", "/manifests/", status(code))
    with server:
        with pytest.raises(HullError, match=f"image {reference}: "):
            _resolve(reference)
        assert len(server.requests()) == 1


def _refused(kind: type[HullError], message: str, server: FaultyRegistry, reference: str) -> None:
    with server, pytest.raises(kind, match=message):
        _resolve(reference)


def test_a_huge_manifest_is_refused_without_reading_it_all() -> None:
    server = FaultyRegistry()
    reference = server.add_manifest("a", "1", IMAGE.manifest + b" " * (4 << 20), IMAGE.media_type)
    _refused(Damaged, f"image {reference}: larger than the limit of 4194304 bytes", server, reference)


def test_a_content_type_that_contradicts_the_document_is_refused() -> None:
    server = FaultyRegistry()
    reference = server.add_manifest("a", "1", IMAGE.manifest, OCI["manifest"])
    _refused(Damaged, "sent as application/vnd.oci.* but it says that it is application/vnd.docker", server, reference)


def test_a_generic_content_type_is_accepted() -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    server.add_manifest("a", "1", IMAGE.manifest, "text/plain; charset=utf-8")
    with server:
        assert _resolve(reference).digest == IMAGE.digest


def test_a_document_that_is_index_and_manifest_is_refused() -> None:
    document = {**json.loads(IMAGE.manifest), "manifests": []}
    server = FaultyRegistry()
    reference = server.add_manifest("a", "1", json.dumps(document).encode(), IMAGE.media_type)
    _refused(Damaged, "both manifests and layers", server, reference)


def test_bytes_that_do_not_match_the_requested_digest_are_refused() -> None:
    server = FaultyRegistry()
    reference = server.add_manifest("a", OTHER.digest, IMAGE.manifest, IMAGE.media_type)
    server.fault("GET", "/manifests/", header("Docker-Content-Digest", OTHER.digest))
    _refused(Damaged, f"bytes with digest {IMAGE.digest} for {OTHER.digest}", server, reference)


def test_bytes_that_do_not_match_the_announced_digest_are_refused() -> None:
    server = FaultyRegistry()
    reference = server.add("a", "1", IMAGE)
    server.fault("GET", "/manifests/", replace_body(IMAGE.manifest.replace(b"docker", b"hacker")))
    _refused(Damaged, "the registry sent bytes with digest", server, reference)


def test_a_manifest_of_another_size_than_its_index_says_is_refused() -> None:
    server = FaultyRegistry()
    server.add("a", "x", IMAGE)
    entry = {**IMAGE.descriptor(platform=platform_of("linux/amd64")), "size": 5}
    reference = server.add_manifest("a", "1", *make_index([entry], types=DOCKER))
    _refused(Damaged, "its index says 5", server, reference)


def test_indexes_inside_each_other_end_somewhere() -> None:
    server = FaultyRegistry()
    entry = IMAGE.descriptor(platform=platform_of("linux/amd64"))
    server.add("a", "x", IMAGE)
    depths = {}
    for depth in range(1, 6):
        data, kind = make_index([entry], types=DOCKER)
        holder = Image(data, kind, b"", [])
        server.add_manifest("a", holder.digest, data, kind)
        depths[depth] = server.add_manifest("a", f"depth{depth}", data, kind)
        entry = holder.descriptor()
    with server:
        assert _resolve(depths[3]).manifest.digest == IMAGE.digest
        with pytest.raises(Damaged, match="more than 3 indexes inside each other"):
            _resolve(depths[4])


def test_schema_1_is_told_to_be_too_old() -> None:
    server = FaultyRegistry()
    kind = "application/vnd.docker.distribution.manifest.v1+prettyjws"
    reference = server.add_manifest("a", "1", b'{"schemaVersion":1,"name":"a","fsLayers":[]}', kind)
    _refused(Unsupported, "schema 1 is not supported; push the image again", server, reference)


def test_a_configuration_with_another_number_of_layers_is_refused() -> None:
    image = make_image([{"a": b"1"}], diff_ids=[IMAGE.diff_ids[0]] * 2)
    server = FaultyRegistry()
    _refused(Damaged, "2 diff IDs for 1 layers", server, server.add("a", "1", image))


def _tokens(server: FaultyRegistry) -> list[str]:
    return [request.headers.get("authorization", "") for request in server.requests("/token")]


def test_an_anonymous_token_is_fetched_once_and_used() -> None:
    server = FaultyRegistry(need_token=True)
    reference = server.add("team/app", "1", IMAGE)
    with server:
        assert _resolve(reference).digest == IMAGE.digest
        assert _tokens(server) == [""]


def test_credentials_buy_a_token_and_are_sent_nowhere_else() -> None:
    server = FaultyRegistry(need_token=True, users={"ci": "s3cr:et"})
    reference = server.add("team/app", "1", IMAGE)
    with server:
        assert _resolve(reference, settings=SETTINGS.with_credentials("ci", "s3cr:et")).digest == IMAGE.digest
        assert [token.partition(" ")[0] for token in _tokens(server)] == ["Basic"]
        others = [request.headers.get("authorization", "") for request in server.requests("/v2/")]
        assert not any(value.startswith("Basic") for value in others)


def test_an_identity_token_buys_tokens() -> None:
    server = FaultyRegistry(need_token=True, users={"ci": "pw"})
    reference = server.add("team/app", "1", IMAGE)
    with server:
        settings = SETTINGS.with_credentials("", "", identity_token=identity_for("ci"))
        assert _resolve(reference, settings=settings).digest == IMAGE.digest
        assert [request.method for request in server.requests("/token")] == ["POST"]
        with pytest.raises(Denied, match="401 incorrect username or password; check user name"):
            _resolve(reference, settings=SETTINGS.with_credentials("", "", identity_token="other"))


@pytest.mark.parametrize("code", [302, 307])
def test_an_identity_token_does_not_follow_a_redirect_to_another_host(code: int) -> None:
    thief = FaultyRegistry("127.0.0.2", users={"ci": "pw"})
    server = FaultyRegistry(need_token=True, users={"ci": "pw"})
    server.fault("POST", "/token", status(code, Location=f"{thief.url}/token"))
    reference = server.add("a", "1", IMAGE)
    with thief, server:
        with pytest.raises(RegistryError, match="redirected to 127.0.0.2"):
            _resolve(reference, settings=SETTINGS.with_credentials("", "", identity_token=identity_for("ci")))
        assert thief.requests() == []


def test_a_token_that_has_expired_on_the_way_is_fetched_again() -> None:
    server = FaultyRegistry(need_token=True)
    reference = server.add("a", "1", IMAGE)
    refusal = status(401, WWW_Authenticate=f'Bearer realm="{server.realm}",service="faulty, \\"test\\""')
    server.fault("GET", "/blobs/", refusal, times=1)
    with server:
        assert _resolve(reference).digest == IMAGE.digest
        assert len(_tokens(server)) == 2


@pytest.mark.parametrize("options", [{"need_token": True}, {"need_basic": True}])
def test_wrong_credentials_are_denied_without_being_shown(options: dict[str, bool]) -> None:
    server = FaultyRegistry(users={"ci": "right"}, **options)  # type: ignore[arg-type]
    reference = server.add("a", "1", IMAGE)
    with server:
        with pytest.raises(Denied, match="check (the )?user name and password") as caught:
            _resolve(reference, settings=SETTINGS.with_credentials("ci", "hunter2"))
        assert "hunter2" not in str(caught.value)
        with pytest.raises(Denied, match="give username and password"):
            _resolve(reference)


def test_basic_authentication_works_on_loopback() -> None:
    server = FaultyRegistry(need_basic=True, users={"ci": "pw"})
    reference = server.add("a", "1", IMAGE)
    with server:
        assert _resolve(reference, settings=SETTINGS.with_credentials("ci", "pw")).digest == IMAGE.digest


def test_credentials_do_not_go_to_a_realm_on_another_host() -> None:
    thief = FaultyRegistry("127.0.0.2", users={"ci": "pw"})
    server = FaultyRegistry(need_token=True, realm=f"{thief.url}/token")
    reference = server.add("a", "1", IMAGE)
    with thief, server:
        with pytest.raises(Denied, match=f"it wants the credentials sent to {thief.host}; .*token_hosts"):
            _resolve(reference, settings=SETTINGS.with_credentials("ci", "pw"))
        assert thief.requests() == []


def test_a_listed_realm_on_another_host_gets_the_credentials() -> None:
    login = FaultyRegistry("127.0.0.2", users={"ci": "pw"})
    server = FaultyRegistry(need_token=True, realm=f"{login.url}/token")
    reference = server.add("a", "1", IMAGE)
    config = RegistryConfig(prefix=server.host, token_hosts=("127.0.0.2",))
    with login, server:
        settings = RegistrySettings(registries=(config,)).with_credentials("ci", "pw")
        assert _resolve(reference, settings=settings).digest == IMAGE.digest


def test_a_certificate_is_checked_against_the_configured_authority(tmp_path: Path) -> None:
    certificate = _make_certificate(tmp_path)
    server = FaultyRegistry(certificate=certificate)
    reference = server.add("a", "1", IMAGE)
    other = RegistryConfig(prefix=server.host, plain_http=False)
    with server:
        with pytest.raises(RegistryError, match="its certificate is not accepted: .*ca_file"):
            _resolve(reference, settings=RegistrySettings(registries=(other,)))
        for fields in ({"ca_file": certificate}, {"tls_verify": False}):
            config = RegistryConfig(prefix=server.host, plain_http=False, **fields)
            assert _resolve(reference, settings=RegistrySettings(registries=(config,))).digest == IMAGE.digest


def test_http_and_tls_are_told_apart(tmp_path: Path) -> None:
    plain, secure = FaultyRegistry(), FaultyRegistry(certificate=_make_certificate(tmp_path))
    plain_config = RegistryConfig(prefix=plain.host, plain_http=False)
    with plain, secure:
        with pytest.raises(RegistryError, match="no TLS: .*set plain_http for it"):
            _resolve(f"{plain.host}/a", settings=RegistrySettings(registries=(plain_config,)))
        with pytest.raises(RegistryError, match="if this registry speaks TLS, set plain_http to false"):
            _resolve(f"{secure.host}/a")


def test_nothing_goes_from_https_to_http(tmp_path: Path) -> None:
    certificate = _make_certificate(tmp_path)
    plain, secure = FaultyRegistry(), FaultyRegistry(certificate=certificate)
    reference = secure.add("a", "1", IMAGE)
    secure.fault("GET", "/manifests/", status(307, Location=f"{plain.url}/v2/a/manifests/1"))
    config = RegistryConfig(prefix=secure.host, plain_http=False, ca_file=certificate)
    with plain, secure:
        with pytest.raises(RegistryError, match="redirected from https to http://"):
            _resolve(reference, settings=RegistrySettings(registries=(config,)))
        assert plain.requests() == []


def test_a_proxy_is_used_for_other_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = FaultyRegistry()
    proxy.add("a", "1", IMAGE)
    monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{proxy.host}")
    config = RegistryConfig(prefix="registry.test", plain_http=True)
    with proxy:
        settings = RegistrySettings(registries=(config,))
        assert _resolve("registry.test/a:1", settings=settings).digest == IMAGE.digest
        first = proxy.requests()[0]
        assert first.path == "http://registry.test/v2/a/manifests/1"
        assert first.headers["host"] == "registry.test"
        assert first.headers["proxy-authorization"] == "Basic bWU6c2VjcmV0"


def test_tls_goes_through_a_proxy_unseen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    certificate = _make_certificate(tmp_path)
    server = FaultyRegistry(certificate=certificate)
    server.add("a", "1", IMAGE)
    proxy = FaultyRegistry(tunnel_to=server.host)
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    config = RegistryConfig(prefix="registry.test", ca_file=certificate)
    with server, proxy:
        settings = RegistrySettings(registries=(config,))
        assert _resolve("registry.test/a:1", settings=settings).digest == IMAGE.digest
        assert {(request.method, request.path) for request in proxy.requests()} == {("CONNECT", "registry.test:443")}


def test_a_proxy_that_refuses_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    proxy = FaultyRegistry()
    monkeypatch.setenv("HTTPS_PROXY", proxy.url)
    with proxy, pytest.raises(RegistryError, match=f"through proxy {proxy.host}: the proxy answers 403 .*NO_PROXY"):
        _resolve("registry.test/a:1")


def _make_certificate(directory: Path) -> str:
    """A self-signed certificate for 127.0.0.1 and registry.test with its key in one file."""
    import subprocess

    path = f"{directory}/server.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
        + [
            "-subj",
            "/CN=test",
            "-addext",
            "subjectAltName=IP:127.0.0.1,DNS:registry.test",
            "-keyout",
            path,
            "-out",
            path + ".crt",
        ],
        check=True,
        capture_output=True,
    )
    with open(path, "a", encoding="ascii") as file, open(path + ".crt", encoding="ascii") as source:
        file.write(source.read())
    return path
