"""The plan cache: a folder of plans with their stamps, shared by processes.

`plans/<graph>/<plan>.plan` holds a plan and `<plan>.json` its stamp, written last. Both are written beside
and renamed, a damaged pair is none, and everything can be deleted at any time: it is built again. A stamp's
time says which plan was built last, a plan's when it was last used.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from keras_trt._base.arguments import check_path
from keras_trt._base.say import LOGGER
from keras_trt._machine.lock import locked
from keras_trt._machine.swap import replaced_file
from keras_trt.bundle.manifest import Manifest
from keras_trt.bundle.plan_stamp import PlanStamp, plan_stamp
from keras_trt.engine import Plan, plan_cache_folder
from keras_trt.engine.machine.cache_folder import folder_named
from keras_trt.errors import BundleError, InputError
from keras_trt.plans.key import graph_key, plan_key
from keras_trt.plans.limit import cache_limit, changing, mark_used, prune

_STAMP_BYTES = 1 << 20  # no stamp comes near


@dataclass(frozen=True)
class PlanCache:
    """A plan cache.

    Attributes:
        folder: Where it is; made when something is stored.
        limit: How many bytes of plans it may hold.
    """

    folder: Path
    limit: float = math.inf

    def folder_of(self, manifest: Manifest) -> Path:
        """Where the plans of a bundle lie."""
        return self.folder / "plans" / graph_key(manifest)

    def entries(self, manifest: Manifest) -> list[PlanStamp]:
        """The stamps of a bundle's plans, the one built last first; damaged ones are logged and left out."""
        dated = []
        for path in self._stamps(manifest):
            try:
                dated.append((path.stat().st_mtime_ns, _read_stamp(path, manifest)))
            except (BundleError, OSError, ValueError, RecursionError) as e:
                _damaged(path, e)
        return [stamp for _, stamp in sorted(dated, key=lambda pair: pair[0], reverse=True)]

    def _stamps(self, manifest: Manifest) -> list[Path]:
        try:
            return [*self.folder_of(manifest).glob("*.json")]
        except OSError as e:  # somebody else's
            LOGGER.debug("The plan cache `%s` cannot be read: %s", self.folder, e)
            return []

    def path_of(self, manifest: Manifest, stamp: PlanStamp) -> Path:
        """The file of a plan."""
        return self.folder_of(manifest) / stamp.file

    def read(self, manifest: Manifest, stamp: PlanStamp) -> bytes | None:
        """The bytes of a plan, the very ones that were written; None, and a line in the log, otherwise."""
        path = self.path_of(manifest, stamp)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            LOGGER.info("The plan cache's `%s` is gone", path)
            return None
        except OSError as e:
            _damaged(path, e)
            return None
        if hashlib.sha256(data).hexdigest() != stamp.sha256:
            _damaged(path, "it is not the file that was built")
            return None
        mark_used(path)
        return data

    def store(self, manifest: Manifest, plan: Plan) -> PlanStamp:
        """Keeps a plan; others that nobody has used for long make room for it.

        Returns:
            Its stamp in the cache.

        Raises:
            OSError: It cannot be written; nothing of it is left.
        """
        folder = self.folder_of(manifest)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)  # a plan is run: others must not exchange it
        stamp = replace(plan.stamp, file=f"{plan_key(plan.stamp)}.plan")
        path = folder / stamp.file
        with changing(folder.parent):
            with replaced_file(path) as beside:
                beside.write_bytes(plan.data)
            with replaced_file(path.with_suffix(".json")) as beside:
                beside.write_text(json.dumps(asdict(stamp), indent=2) + "\n", encoding="utf-8")
            prune(folder.parent, self.limit, keep=path)
        return stamp

    def prefer(self, manifest: Manifest, stamp: PlanStamp) -> None:
        """Makes a plan the one that is listed first."""
        os.utime(self.path_of(manifest, stamp).with_suffix(".json"))

    @contextmanager
    def building(self, manifest: Manifest, kind: str) -> Iterator[None]:
        """While open, no other process builds a plan of this kind for the same graph.

        Where the folder cannot be written, others are not held off.
        """
        folder = self.folder_of(manifest)
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with ExitStack() as held:
            try:
                held.enter_context(locked(folder / f"{kind}.lock", lambda: _waiting(manifest, folder)))
            except OSError as e:
                LOGGER.debug("The plan cache `%s` has no lock: %s", folder, e)
            yield


def own_cache() -> PlanCache:
    """The user's own cache, of a limited size.

    Raises:
        InputError: There is no folder for it, or `KERAS_TRT_CACHE_GB` is no size.
    """
    return PlanCache(plan_cache_folder(), cache_limit())


def cache_of(cache: object) -> PlanCache | None:
    """The cache that an argument names: None is the user's own, False none, or the path of a folder.

    A user without a home, as in some containers, has none unless `KERAS_TRT_CACHE` names it. A folder that is
    named is the user's to clear: it has no limit.

    Raises:
        InputError: It is something else, or names a file.
    """
    if cache is False:
        return None
    if cache is None:
        limit = cache_limit()
        try:
            return PlanCache(plan_cache_folder(), limit)
        except InputError as e:
            LOGGER.info("Plans that are built are not kept: %s", e)
            return None
    if isinstance(cache, bool):
        raise InputError(f"`cache` must be None, False or the path of a folder. Received: {cache!r}")
    return PlanCache(folder_named(check_path(cache, "cache"), "cache"))


def _read_stamp(path: Path, manifest: Manifest) -> PlanStamp:
    if path.stat().st_size > _STAMP_BYTES:
        raise BundleError("it is no stamp")
    stamp = plan_stamp(json.loads(path.read_text(encoding="utf-8")), path.name)
    if stamp.file != path.with_suffix(".plan").name or stamp.sha256 is None:
        raise BundleError("it is the stamp of another plan")
    if stamp.onnx_sha256 != manifest.onnx_sha256:
        raise BundleError("it is the stamp of another model's plan")
    return stamp


def _damaged(path: Path, why: object) -> None:
    LOGGER.warning("The plan cache's `%s` is damaged and not used: %s", path, " ".join(str(why).split()))


def _waiting(manifest: Manifest, folder: Path) -> None:
    LOGGER.info("Another process builds a plan of %s in `%s`: waiting for it", manifest.name, folder)
