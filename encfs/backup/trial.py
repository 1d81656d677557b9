"""A drill from its beginning to its record, however it ends.

Owns: which run is tried, what the record says of where it came from and how it ended. Must not know: how files are
restored, the register, the terminal.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import Final

import encfs
from encfs.backup.drill_record import (
    TARGET_SECONDS,
    DrillOutcome,
    FoundIn,
    Manifested,
    Method,
    People,
    Record,
    Took,
    new_id,
)
from encfs.backup.drilling import Came, Trial, Wish
from encfs.backup.engine import Engine, Steps
from encfs.backup.manifest import Manifest, content_key
from encfs.backup.plans import EngineKind, Plan
from encfs.backup.scratch import Scratch
from encfs.crypto.signing import PublicKey
from encfs.errors import BackupError, CloakfsError, DataError, UnlockError
from encfs.registers.folder import text_of

_CLOCK_SLACK: Final = 120
"""Seconds by which a run may lie in the future: clocks of two computers differ a little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What is known of a backup and a drill of it before anything is restored.

    Attributes:
        plan, volume: ids, hexadecimal.
        target: as it was given, a path or a text.
        label, serial, place: of the medium, as far as somebody said.
        noted: SHA-256 of the manifests that this computer knows, hexadecimal.
        own: the key with which this computer signs; None if it has none yet.
        people: who makes the drill.
        key: in words, what opens the backup.
        hours: that restoring everything may take.
    """

    plan: str
    volume: str
    engine: EngineKind
    target: str
    label: str = ""
    serial: str = ""
    place: str = ""
    noted: Collection[str] = ()
    own: PublicKey | None = None
    people: People
    key: str
    hours: int = TARGET_SECONDS // 3600


@dataclass(frozen=True, slots=True)
class Ended:
    """How a drill ended.

    Attributes:
        record: for the register.
        came: what it came to; None if it did not come so far.
        failure: why it was broken off; None if it was not.
    """

    record: Record
    came: Came | None = field(repr=False)
    failure: CloakfsError | OSError | None = None


def digests_of(plan: Plan) -> frozenset[str]:
    """SHA-256 of the manifests that were noted at the runs of a backup."""
    return frozenset(run.manifest for run in plan.runs if run.manifest)


def hold(
    engine: Engine, about: About, wish: Wish, *, backup_key: bytes | None, scratch: Scratch, steps: Steps
) -> Ended:
    """Make a drill of the newest run on a target, and say how it ended.

    Args:
        engine: of the backup; its target is there.
        about: what is known of it.
        wish: what is to be restored.
        backup_key: its 32 bytes, for an engine whose digests are keyed.
        scratch: where it is restored to.
        steps: is told how far it is.

    Raises:
        UnlockError: the key is not that of the backup; there is nothing to write down.
    """
    began = time.time()
    manifest: Manifest | None = None
    came: Came | None = None
    failure: CloakfsError | OSError | None = None
    why, outcome, run = "", DrillOutcome.FAILED, ""
    try:
        run = _newest(engine)
        manifest = engine.manifest(run)
        key = None if backup_key is None else content_key(backup_key)
        came = Trial(engine, manifest, key=key, scratch=scratch, steps=steps).run(wish)
        why, outcome = came.why, DrillOutcome.PASSED if came.passed else DrillOutcome.FAILED
    except UnlockError:
        raise
    except DataError as exc:
        why = f"{exc}"
    except (CloakfsError, OSError) as exc:
        failure, outcome = exc, DrillOutcome.BROKEN_OFF
        why = f"{exc}" if isinstance(exc, CloakfsError) else (exc.strerror or "the target cannot be read")
    record = Record(
        id=new_id(),
        plan=about.plan,
        volume=about.volume,
        engine=about.engine,
        run=run,
        target=text_of(about.target),
        label=about.label,
        serial=about.serial,
        place=about.place,
        manifest=_manifested(manifest, about),
        people=about.people,
        host=socket.gethostname(),
        other_host=_is_other(manifest, about),
        method=came.method if came else Method(full=wish.sample is None, seed=wish.seed),
        key=about.key,
        scratch=scratch.used,
        found=came.found if came else FoundIn(),
        took=_took(began, run, came, about.hours),
        outcome=outcome,
        why=why,
        program=encfs.__version__,
    )
    return Ended(record, came, failure)


def _newest(engine: Engine) -> str:
    heads = engine.runs()
    if not heads:
        raise BackupError(
            "there is no complete backup on this target",
            hint="Make one first: cloakfs backup run. If there was one: is this the right medium?",
        )
    return heads[-1].run


def _manifested(manifest: Manifest | None, about: About) -> Manifested:
    if manifest is None:
        return Manifested()
    signer = manifest.signer
    return Manifested(
        made_at=manifest.head.made_at,
        digest=manifest.digest,
        signer="" if signer is None else signer.fingerprint(),
        host=manifest.host,
        known=manifest.digest in about.noted or (signer is not None and signer == about.own),
        files=manifest.files,
        bytes=manifest.bytes,
        not_whole=len(manifest.not_whole()),
    )


def _is_other(manifest: Manifest | None, about: About) -> bool:
    """Whether this is certainly not the computer that made the backup."""
    if manifest is None or manifest.signer is None:
        return False
    return manifest.host != socket.gethostname() and manifest.signer != about.own


def _took(began: float, run: str, came: Came | None, hours: int) -> Took:
    took = Took(began=int(began), ended=int(time.time()), target=hours * 3600)
    if run:
        age = int(began) - int(run[:16], 16) // 1000
        took = replace(took, age=max(0, age) if age >= -_CLOCK_SLACK else None)
    return took if came is None else replace(took, ms=came.ms, estimate=came.estimate)
