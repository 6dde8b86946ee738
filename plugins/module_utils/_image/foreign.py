# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Where the bytes of a layer come from: the registry, the manifest itself, or places outside for foreign layers.

Foreign (nondistributable) layers are parts of images whose licence forbids handing them on, such as Windows base
images: the manifest names URLs. A manifest's author could make a host send requests anywhere, so these URLs are asked
only where `foreign_layers` is set in registries.json, by http and https only, never with credentials, a client
certificate or TLS left unchecked (a client that sent its registry's credentials there was CVE-2020-15157). What comes
back must have the digest that the manifest says, like any layer.
"""

from __future__ import annotations

from .._base.errors import Damaged, HullError, RegistryError, Unsupported
from .._base.values import replace
from .blobs import Blob
from .http import Client
from .urls import is_link_local, parse_url

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .http import Response
    from .manifest import Descriptor, Manifest
    from .registry import Registry
    from .settings import RegistrySettings
    from .urls import Url


def check_foreign(manifest: Manifest, settings: RegistrySettings) -> None:
    """Refuse an image with foreign layers, unless the settings ask for them. Raises Unsupported."""
    foreign = [layer for layer in manifest.layers if layer.is_foreign and layer.data is None]
    if foreign and not settings.foreign_layers:
        raise Unsupported(
            f"read manifest {manifest.digest}: layer {foreign[0].digest} is foreign ({foreign[0].media_type}), it is "
            "to be fetched from outside the registry",
            hint="set foreign_layers to true in registries.json to allow it, or choose an image without such layers",
        )


def open_layer(registry: Registry, repository: str, layer: Descriptor, settings: RegistrySettings) -> Blob:
    """A stream of the layer's bytes, checked as `Registry.blob` is; nothing is requested before the first read.

    Raises Unsupported for a foreign layer where the settings do not ask for them.
    """
    if layer.data is not None:
        return _EmbeddedBlob(registry, repository, layer)
    if not layer.is_foreign:
        return registry.blob(repository, layer)
    if not settings.foreign_layers:
        raise Unsupported(
            f"get layer {layer.digest}: it is foreign, to be fetched from outside the registry",
            hint="set foreign_layers to true in registries.json to allow it",
        )
    return _ForeignBlob(registry, repository, layer, settings)


class _EmbeddedBlob(Blob):
    """A layer that the manifest carries along; its content was checked when the manifest was read."""

    def read(self, size: int) -> bytes:
        """As `Blob.read`."""
        data = (self._descriptor.data or b"")[self.position : self.position + size]
        self.position += len(data)
        return data


class _ForeignBlob(Blob):
    """A layer from the first of its places that has it; the registry is the last one."""

    def __init__(self, registry: Registry, repository: str, layer: Descriptor, settings: RegistrySettings) -> None:
        super().__init__(registry, repository, layer)
        self._settings = settings
        self._places = list(layer.urls)

    def _request(self, offset: int) -> Response:
        """An answer with the bytes from `offset` on. A place that fails is not asked again."""
        problems = []
        while self._places:
            try:
                return self._ask(self._places[0], offset)
            except (RegistryError, OSError) as error:
                problems.append(str(error))
                del self._places[0]
        try:
            return super()._request(offset)
        except HullError as error:
            if not problems:
                raise
            raise RegistryError(
                f"get foreign layer {self._descriptor.digest}: {'; '.join(problems)}; {error.message}",
                hint="check that this host reaches one of the layer's places, or choose an image without such layers",
            ) from error

    def _ask(self, text: str, offset: int) -> Response:
        url = parse_url(text)
        if is_link_local(url.host):
            raise RegistryError(f"get {url.shown}: a link-local address")
        response = self._client(url).request("GET", url, {"Range": f"bytes={offset}-"} if offset else {})
        announced = response.head.get("content-length") or str(self._descriptor.size)
        if response.status in (206, 416) and offset:
            return response
        if response.status == 200 and announced == str(self._descriptor.size):
            return response
        response.close()
        problem = f"answers {response.status}" if response.status != 200 else f"has {announced[:20]} bytes"
        raise RegistryError(f"get {url.shown}: it {problem}", status=response.status)

    def _wrong(self, problem: str) -> Damaged:
        if not self._places:
            return super()._wrong(problem)
        return Damaged(
            f"get foreign layer {self._descriptor.digest} from {parse_url(self._places[0]).shown}: it {problem}",
            hint="that place has something else by now; choose an image without such layers",
        )

    def _client(self, url: Url) -> Client:
        """A client that knows nothing of us but whom this host is configured to trust there."""
        config = self._settings.config_for(url.authority)
        if config.blocked:
            raise RegistryError(f"get {url.shown}: registries.json blocks {config.prefix}")
        config = replace(
            config, client_cert="", client_key="", certificates=(), tls_verify=True, credentials=None, token_hosts=()
        )
        return Client(config, url)
