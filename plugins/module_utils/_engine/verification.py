# SPDX-License-Identifier: GPL-3.0-or-later
# Copyright: the hull.engine authors
"""Whether images are still what was pulled, loaded or made: every byte of their layers is looked at.

A layer that is found damaged gets a mark, and the next pull or load of an image with it repairs it in place. Settled
layers are made again at once, damaged compressed blobs are removed: the store has all that it takes to do without.
"""

from __future__ import annotations

from .._base.errors import Damaged, HullError
from .._base.plan import Action, Outcome
from .._base.values import Value
from . import images

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .._store.records import ImageRecord
    from .engine import Engine

LAYER, SETTLED, BLOB = "layer", "settled layer", "blob"
SOUND, DAMAGED, MISSING, UNKNOWN = "sound", "damaged", "missing", "unknown"
_LOCK_TIMEOUT_S = 3600


class LayerFinding(Value):
    """What is so of one layer, settled layer or kept blob, and which images contain it."""

    kind: str
    id: str  # diff ID, chain ID or digest
    state: str
    images: tuple[str, ...]  # names as people write them, ids of images without a name
    details: tuple[str, ...] = ()  # which entries are not as they were

    @property
    def is_bad(self) -> bool:
        """Whether it is not as it should be; of an `unknown` one nobody can say."""
        return self.state in (DAMAGED, MISSING)


def verify(engine: Engine, names: Iterable[str] = (), *, mark: bool = True) -> list[LayerFinding]:
    """Look at all layers of these images, or of all images. One finding for each layer, settled layer and kept blob.

    Without `mark` nothing is changed: no mark, nothing rebuilt or removed. Raises NotFound for an unknown image.
    """
    database = engine.database()
    wanted = [images.find(engine, name) for name in names]
    records = wanted or (database.images() if database else [])
    if database is None or not records:
        return []
    from .._store.claims import claim

    with claim(engine.paths, database, [record.layers for record in records]):
        return _Verification(engine, records, mark).run()


class _Verification:
    def __init__(self, engine: Engine, records: Sequence[ImageRecord], mark: bool) -> None:
        self._engine = engine
        self._paths = engine.paths
        self._records = records
        self._mark = mark
        self._names: dict[str, dict[str, None]] = {}  # names of the images by diff ID
        for record in records:
            for diff_id in record.layers:
                self._names.setdefault(diff_id, {}).update(dict.fromkeys(self._names_of(record)))

    def _names_of(self, record: ImageRecord) -> list[str]:
        tags = self._engine.records.tags_of(record.id)
        return [images.familiar(tag.reference) for tag in tags] or [record.id]

    def run(self) -> list[LayerFinding]:
        findings = []
        sound = set()
        for diff_id in self._names:
            findings += self._layer(diff_id)
            if findings[-1].state == SOUND:
                sound.add(diff_id)
        for record in self._records:
            if sound.issuperset(record.layers):
                findings += self._settled(record)
        return findings

    def _layer(self, diff_id: str) -> list[LayerFinding]:
        """The findings on a layer's kept blobs, and on the layer itself as the last one."""
        from .._image.layer_check import check_blob, check_layer
        from .._store.layers import mark_damaged, unmark_damaged
        from .._store.locks import lock

        names = tuple(self._names[diff_id])
        blobs = [blob.digest for blob in self._engine.records.blobs_of(diff_id)]
        with lock(self._paths, "layer", diff_id, timeout_s=_LOCK_TIMEOUT_S):
            states = {digest: check_blob(self._paths, digest) for digest in blobs}
            sound = [digest for digest, state in states.items() if state == SOUND]
            found = check_layer(self._paths, diff_id, blobs=sound)
            if self._mark and found.state == DAMAGED:
                mark_damaged(self._paths, diff_id)
            elif self._mark and found.state == SOUND:
                unmark_damaged(self._paths, diff_id)
        kept = [self._blob(digest, state, names) for digest, state in states.items() if state != MISSING]
        return [*kept, LayerFinding(LAYER, diff_id, found.state, names, found.details)]

    def _blob(self, digest: str, state: str, names: tuple[str, ...]) -> LayerFinding:
        if state != DAMAGED:
            return LayerFinding(BLOB, digest, state, names)
        detail = "its bytes have another digest"
        if self._mark:
            from .._store.files import remove_tree

            remove_tree(self._paths.blob(digest))
            detail += "; it was removed, a push compresses the layer anew"
        return LayerFinding(BLOB, digest, state, names, (detail,))

    def _settled(self, record: ImageRecord) -> list[LayerFinding]:
        from .._image.layer_check import check_settled

        names = tuple(self._names_of(record))
        found = check_settled(self._paths, record.layers, record.stack, rebuild=self._mark)
        findings = []
        for name, checked in found.items():
            details = checked.details
            if self._mark and checked.state in (DAMAGED, MISSING):
                details = (*details, "it was made again")
            chain_id = "sha256:" + name.partition("/")[2]
            findings.append(LayerFinding(SETTLED, chain_id, checked.state, names, details))
        return findings


def ensure_verified(
    engine: Engine, name: str, *, check: bool = False, repair: Callable[[], object] | None = None
) -> Outcome:
    """What `state: verified` does: look at all of an image and let `repair`, which pulls or loads it, mend it.

    With `check` nothing is changed. Raises NotFound, and Damaged, saying what is, where it is not sound at the end.
    """
    record = images.find(engine, name)
    found = [finding for finding in verify(engine, [record.id], mark=not check) if finding.is_bad]
    before = {"exists": True, "id": record.id, "verified": not found}
    after = {**before, "verified": True}
    actions = tuple(Action("repaired_layer", finding.id, "; ".join(finding.details)) for finding in found)
    if not found or check:
        return Outcome(bool(found), actions, before, after, images.inspect(engine, record))
    if repair is not None and any(finding.kind == LAYER for finding in found):
        repair()
    left = [finding for finding in verify(engine, [record.id]) if finding.is_bad]
    if left:
        raise damaged(name, left)
    return Outcome(True, actions, before, after, images.inspect(engine, record))


def damaged(name: str, findings: Sequence[LayerFinding]) -> HullError:
    """The error that says what is wrong with an image."""
    text = "; ".join(
        f"{finding.kind} {finding.id} is {finding.state}: {', '.join(finding.details)}" for finding in findings
    )
    return Damaged(f"verify image {name}: {text}", hint="pull or load it again: that repairs it in place")
