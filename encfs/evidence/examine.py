"""What this host knows of a volume that was lost, put together and judged.

Owns: which sources there are and which counts. Must not know: the rules (``verdict.py``), how a record is laid out
(``incident.py``), the terminal.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from encfs.evidence.keys import KeysSeen, keys_seen
from encfs.evidence.log_read import LogRead
from encfs.evidence.timeline import Timeline, timeline
from encfs.evidence.verdict import (
    Judgement,
    Memory,
    Reason,
    SessionSeen,
    Verdict,
    Why,
    judge,
    judge_without_log,
    with_keys,
    with_sessions,
)
from encfs.evidence.when import Span
from encfs.format.limits import HOST_MAX
from encfs.host.last_seen import Seen, last_seen
from encfs.registers import configs
from encfs.registers.beat_file import State
from encfs.registers.heartbeat import Beat, beat_of
from encfs.registers.volumes import KnownVolume, known_volume
from encfs.units import VolumeId

_CLEAN: Final = "clean"


@dataclass(frozen=True, slots=True)
class Examined:
    """One volume.

    Attributes:
        known: as the register of volumes has it.
        seen: who had used it when it was last opened here, and what lay on its medium.
        config, config_at: what its config said, and since when that is known; empty if it is not.
        line: what the log says of it; empty where nobody could read it.
        alone: what is said of the volume itself, before keys and other computers are asked about.
        said: what is said of it in the end.
        sessions: as the volume had them when it was last opened here.
    """

    volume_id: VolumeId
    known: KnownVolume | None
    seen: Seen
    config: Mapping[str, Any]
    config_at: int | None
    beat: Beat | None
    line: Timeline
    keys: KeysSeen
    sessions: tuple[SessionSeen, ...]
    alone: Judgement
    said: Judgement

    @property
    def created(self) -> int | None:
        """When it was made: everything in it is encrypted since then."""
        created = self.config.get("created")
        return created if isinstance(created, int) else None if self.known is None else self.known.created


def examine(volume_id: VolumeId, span: Span, log: LogRead, *, found_at: int | None = None) -> Examined:
    """Everything that is known of a volume, and what follows for a loss at ``span``.

    Args:
        volume_id: which.
        span: when the loss was.
        log: of this user, read a moment ago.
        found_at: since when the medium is back, seconds.

    Raises:
        RegisterError: a register or the heartbeat is damaged. OSError, RuntimeError.
    """
    seen, beat = last_seen(volume_id), beat_of(volume_id.hex())
    memory = None if beat is None else _memory(beat)
    line = timeline(log.frames, volume_id) if log.is_readable else Timeline()
    if log.is_readable:
        alone = judge(line, log.state, span, memory=memory, found_at=found_at)
    else:
        alone = judge_without_log(memory, span, signed=log.signed_last(volume_id, memory, span))
    told = configs.remembered(volume_id.hex(), span.last / 1000) or configs.remembered(volume_id.hex())
    config = {} if told is None else told.config
    keys = keys_seen(config.get("slots", []), seen.looks, span)
    sessions = tuple(_session(one) for one in seen.sessions)
    said = with_sessions(alone, sessions, span, found_at=found_at)
    made = config.get("created")
    if isinstance(made, int) and made * 1000 > span.last:
        said = said.less(Reason(Why.LATER, made))
    if said.verdict is Verdict.LOCKED:
        said = with_keys(said, beside=keys.beside, looked=keys.looked)
    return Examined(
        volume_id=volume_id,
        known=known_volume(volume_id.hex()),
        seen=seen,
        config=config,
        config_at=None if told is None else told.at,
        beat=beat,
        line=line,
        keys=keys,
        sessions=sessions,
        alone=alone,
        said=said,
    )


def _memory(beat: Beat) -> Memory:
    return Memory(is_open=beat.state is State.OPEN, opened=beat.since, at=beat.at, reason=beat.reason)


def _session(record: Mapping[str, Any]) -> SessionSeen:
    """One that is remembered; a field that is not as it was written makes it one of somebody else."""
    host, started, ended = record.get("host"), record.get("started"), record.get("ended")
    ours = socket.gethostname().encode("utf-8", "surrogateescape")[:HOST_MAX].decode("utf-8", "surrogateescape")
    return SessionSeen(
        host=str(host),
        is_ours=host == ours and record.get("uid") == os.getuid(),
        started=started if isinstance(started, int) else 0,
        ended=ended if isinstance(ended, int) else None,
        is_clean=record.get("state") == _CLEAN,
    )
