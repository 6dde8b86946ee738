# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Errors for what goes wrong with a registry: what it said, what it means, what to do. Loaded when something does."""

from __future__ import annotations

from .._base.codec import parse
from .._base.errors import Damaged, Denied, HullError, NotFound, RegistryError, Timeout
from .._base.values import Value
from .connections import NotHttp, Stalled
from .http import MAX_ERROR_BODY, wanted_pause_s

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .http import Response
    from .settings import Credentials
    from .urls import Url


def refused(name: str, response: Response, domain: str, credentials: Credentials | None, hint: str) -> HullError:
    """The error for an answer of a registry that is not what was asked for; see `Registry.refused`."""
    status, wait_s, said = response.status, wanted_pause_s(response, 0), read_error(response)
    detail = " ".join(part for part in (said.code, said.message) if part)
    detail = f" ({detail})" if detail else ""
    if status == 404:
        return NotFound(
            f"{name}: not found in the registry{detail}",
            hint=hint or "check the name, the tag and that it was pushed there",
        )
    if status in (401, 403):
        user = f" to user {credentials.username}" if credentials and credentials.username else ""
        return Denied(f"{name}: the registry denies access{user}{detail}", hint=_login_hint(domain, credentials))
    if "HTTP request to an HTTPS server" in said.message:
        hint = "set plain_http to false for it in registries.json"
    elif status == 429 or status >= 500:
        hint = "try again later" + (f": in {_duration(wait_s)}, says the registry" if wait_s >= 1 else "")
    return RegistryError(f"{name}: the registry answers {status}{detail}", status=status, hint=hint)


def _login_hint(domain: str, credentials: Credentials | None) -> str:
    if credentials:
        doubt = "check the user name and password, and that this user may do that"
    else:
        doubt = "check the name; if it is private, give username and password"
    return f"{doubt}; or log in: hull login {domain}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 7200 else f"{seconds / 3600:.0f} hours"


def broken(method: str, url: Url, error: OSError, attempts: int) -> HullError:
    """The error for a connection that did not hold, with what may cure it.

    RegistryError; Timeout for one that stalls.
    """
    reason = error.strerror or str(error) or type(error).__name__
    tls = "if this registry speaks TLS, set plain_http to false for it in registries.json"
    hint = "try again later; check the network between this host and the registry"
    if url.scheme == "http":
        hint = tls if isinstance(error, NotHttp) else f"{hint}; {tls}"
    if is_about_certificate(error):
        hint = "it wants a client certificate: set client_cert in registries.json, or put one into certs.d"
    times = f" ({attempts} attempts)" if attempts > 1 else ""
    kind = Timeout if isinstance(error, Stalled) else RegistryError
    return kind(f"{method} {url.shown}: {reason}{times}", hint=hint)


def is_about_certificate(error: OSError) -> bool:
    """Whether the other side ended TLS because of our certificate; TLS 1.3 tells so after the handshake only.

    By its text, such as `[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] ...`: ssl is not loaded where nothing needs it.
    """
    text = str(error)
    return "ALERT" in text and ("CERTIFICATE" in text or "UNKNOWN_CA" in text)


def warnings_in(headers: list[str]) -> list[str]:
    """The texts of Warning headers that are meant for people.

    Source: OCI distribution specification 1.1, "Warnings".
    """
    texts = [header.partition('"')[2].rpartition('"')[0] for header in headers if header.startswith("299 - ")]
    return [text for text in (_printable(text.replace('\\"', '"')) for text in dict.fromkeys(texts)) if text]


class ErrorText(Value):
    """The code and the message in an error body of a registry; empty where it has none."""

    code: str = ""
    message: str = ""


def read_error(response: Response) -> ErrorText:
    """What the body of an error answer says, shortened, printable; reads and closes it. Never raises.

    Source: OCI distribution specification 1.1, "Error Codes"; Docker Hub's `details`.
    """
    try:
        text = response.read_all(MAX_ERROR_BODY, "error").decode("utf-8", "replace")
    except (OSError, Damaged):
        return ErrorText()
    finally:
        response.close()
    try:
        document = parse(text, source="error")
    except Damaged:
        return ErrorText("", "" if "<" in text else _printable(text))
    if not isinstance(document, dict):
        return ErrorText()
    errors = document.get("errors")
    first = errors[0] if isinstance(errors, list) and errors else document
    first = first if isinstance(first, dict) else {}
    message = first.get("message") or first.get("details") or first.get("error_description") or ""
    return ErrorText(_printable(first.get("code") or first.get("error") or ""), _printable(message))


def _printable(value: object) -> str:
    text = value if isinstance(value, str) else ""
    return "".join(char if char.isprintable() else " " for char in text[:300]).strip()
