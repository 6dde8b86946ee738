# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""What TLS with a registry rests on: whose certificates are believed, and what we show.

Besides the settings there are directories as Docker and Podman have them, `certs.d/<host:port>/`: every `*.crt` is an
authority's, every `X.cert` with its `X.key` a client certificate. The first that exists counts. Loaded only where a
registry speaks TLS.

Source: containers-certs.d(5).
"""

from __future__ import annotations

import os
import ssl
from functools import partial

from .._base.errors import Invalid, RegistryError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from .settings import RegistryConfig


def make_context(config: RegistryConfig, domain: str, *, is_home: bool) -> ssl.SSLContext:
    """TLS as configured for the registry itself; elsewhere the same authorities, always checked, no client key.

    Raises RegistryError, naming the file.
    """
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    directory = _directory(config.certificates, domain)
    for path in [*_files(directory, ".crt"), *([config.ca_file] if config.ca_file else [])]:
        _load(path, partial(context.load_verify_locations, path))
    if is_home:
        for certificate, key in _client_pairs(config, directory):
            _load(certificate, partial(context.load_cert_chain, certificate, key or None))
    if is_home and not config.tls_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def check_certificates(text: str) -> None:
    """Raises Invalid where a file with this text would be none of certificates in PEM form."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    fd = os.memfd_create("certificates", os.MFD_CLOEXEC)  # text as such has another parser, which takes more and less
    try:
        os.write(fd, text.encode("utf-8", "surrogateescape"))
        context.load_verify_locations(f"/proc/self/fd/{fd}")
    except OSError:  # which an SSLError is
        pass
    finally:
        os.close(fd)
    if not context.cert_store_stats()["x509"]:
        raise Invalid(
            "there is no certificate in PEM form in it, or a broken one",
            hint="give what the file has between and with BEGIN CERTIFICATE and END CERTIFICATE, not the file's name",
        )


def _directory(roots: tuple[str, ...], domain: str) -> str:
    return next((path for path in (f"{root}/{domain}" for root in roots) if os.path.isdir(path)), "")


def _files(directory: str, ending: str) -> list[str]:
    if not directory:
        return []
    try:
        return [f"{directory}/{name}" for name in sorted(os.listdir(directory)) if name.endswith(ending)]
    except OSError as error:
        raise RegistryError(f"read {directory}: {error.strerror}") from error


def _client_pairs(config: RegistryConfig, directory: str) -> list[tuple[str, str]]:
    if config.client_cert:
        return [(config.client_cert, config.client_key)]
    pairs = [(path, path[: -len(".cert")] + ".key") for path in _files(directory, ".cert")]
    for certificate, key in pairs:
        if not os.path.exists(key):
            raise RegistryError(f"read client certificate {certificate}: its key {key} is missing")
    return pairs


def _load(path: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (OSError, ssl.SSLError) as error:
        reason = (error.reason if isinstance(error, ssl.SSLError) else "") or error.strerror or str(error)
        raise RegistryError(
            f"read certificate {path}: {reason}",
            hint="it must be PEM, and a client certificate needs the key that belongs to it",
        ) from error
