"""New keys for a mounted volume, while programs work in it and when its daemon is killed (FORMAT.md section 14)."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path
from typing import Any

from encfs import control
from encfs.cli import targets
from encfs.core.sources import KnownSecret
from encfs.errors import UsageError
from encfs.format.epochs import RotationReason
from encfs.format.slots import SlotKind
from encfs.volume import Volume, read_config
from encfs.volume.keys import Keys, NewEpoch
from encfs.volume.verify import Verifier
from tests.support.mounting import SECRET, MountedVolume, wait_for
from tests.support.working import Programs, furnish

SOURCE = KnownSecret.of(SlotKind.PASSPHRASE, SECRET)


def begin(volume: MountedVolume, *, data: bool) -> NewEpoch:
    """The config of a new epoch."""
    with Keys(os.fsencode(volume.lower), SOURCE) as keys:
        return keys.rotate(RotationReason.STAFF, data=data)


def request(new: NewEpoch) -> dict[str, object]:
    """What ``cloakfs key rotate`` sends."""
    return {"verb": "rotate", "epoch": new.epoch, "key": new.key.hex(), "config_key": new.config_key.hex()}


def socket_of(volume: MountedVolume) -> Path:
    """The control socket of its daemon."""
    mounted = targets.find(str(volume.path)).mounted
    assert mounted is not None
    return mounted.socket


def follow(volume: MountedVolume, new: NewEpoch) -> dict[str, Any]:
    """Let the mount do it; what it says at the end."""
    *_, last = control.talk(socket_of(volume), request(new))
    return last["rotation"]


def epochs_of(volume: MountedVolume) -> dict[str, int]:
    """Of the locked volume: how many headers and records each epoch seals."""
    with Volume.unlock(os.fsencode(volume.lower), SECRET, read_only=True) as opened:
        verifier = Verifier(opened)
        for _ in verifier.run():
            pass
        return verifier.summary.epochs


def test_under_load(mounted: MountedVolume) -> None:
    """Programs save, commit and rename all the time; every byte is theirs, and nothing stays under the old keys."""
    made = furnish(mounted.path)
    with Programs(mounted.path) as programs:
        wait_for(lambda: all(programs.done.values()), "the programs work")
        said = follow(mounted, begin(mounted, data=True))
        before = dict(programs.done)
        wait_for(lambda: all(programs.done[name] > before[name] for name in before), "the programs go on")
    assert (said["left"], said["failed"], said["damaged"]) == (0, 0, 0)
    assert said["cells"] > 700
    assert {path: path.read_bytes() for path in made} == made
    mounted.lock()
    config = read_config(os.fsencode(mounted.lower))
    assert (config.active.epoch, config.rotating) == (1, False)
    assert set(epochs_of(mounted)) == {"1"}
    mounted.mount()
    assert {path: path.read_bytes() for path in made} == made


def test_another_one_begins_while_one_is_under_way(mounted: MountedVolume) -> None:
    """Both end together, and whoever waits for either is told of that end, not of what the first run left."""
    furnish(mounted.path)
    first = control.talk(socket_of(mounted), request(begin(mounted, data=True)))
    next(first)
    second = follow(mounted, begin(mounted, data=False))
    *_, last = first
    assert [(said["left"], said["failed"]) for said in (last["rotation"], second)] == [(0, 0)] * 2
    config = read_config(os.fsencode(mounted.lower))
    assert (config.active.epoch, config.rotating, len(config.rotations)) == (2, False, 2)


def test_a_run_ends_while_somebody_changes_the_keys(mounted: MountedVolume) -> None:
    """That is waited for, and nobody is told of a failure; here it is another rotation, which ends both."""
    (mounted.path / "letter").write_bytes(b"Dear colleague")
    first, told = begin(mounted, data=False), list[dict[str, Any]]()
    changing = os.open(mounted.lower, os.O_RDONLY)
    fcntl.flock(changing, fcntl.LOCK_EX)
    waiting = threading.Thread(target=lambda: told.append(follow(mounted, first)))
    waiting.start()
    wait_for(lambda: "it goes on after that" in mounted.log.read_text(), "the first run cannot end")
    os.close(changing)
    told.append(follow(mounted, begin(mounted, data=False)))
    waiting.join()
    assert [(said["left"], said["failed"]) for said in told] == [(0, 0)] * 2
    assert epochs_after_lock(mounted) == {"2"}


def test_killed_and_taken_up_again(mounted: MountedVolume) -> None:
    """kill -9 in the middle, again and again: the next mount goes on by itself, until all is done."""
    made = furnish(mounted.path)
    new, rounds = begin(mounted, data=True), 0
    steps = control.talk(socket_of(mounted), request(new))
    next(steps)
    while read_config(os.fsencode(mounted.lower)).rotating:
        steps.close()
        mounted.kill()
        mounted.mount()
        assert {path: path.read_bytes() for path in made} == made
        rounds += 1
        if rounds == 3:
            wait_for(lambda: not read_config(os.fsencode(mounted.lower)).rotating, "the mount ends the rotation")
    assert rounds >= 1
    mounted.lock()
    assert set(epochs_of(mounted)) == {"1"}


def test_a_command_that_ends_early_stops_nothing(mounted: MountedVolume) -> None:
    """Whoever began it may go away; status tells how far it is, and whoever comes later can wait for its end."""
    furnish(mounted.path)
    steps = control.talk(socket_of(mounted), request(begin(mounted, data=True)))
    next(steps)
    steps.close()

    def rotation() -> object:
        return control.status(socket_of(mounted))["rotation"]

    told = rotation()
    assert told is None or (told["epoch"], told["reason"], told["data"]) == (1, "staff", True)  # type: ignore[index]
    wait_for(lambda: rotation() is None, "the mount ends the rotation")


def test_requests_that_are_no_epoch(mounted: MountedVolume) -> None:
    """Each is refused with a word, without the key in it, and the mount goes on as before."""
    good = {"verb": "rotate", "epoch": 1, "key": "ab" * 32, "config_key": "cd" * 32}
    for change in ({"epoch": "1"}, {"key": "xy"}, {"key": "ab" * 31}, {"config_key": None}):
        error = _refusal(mounted, good | change)
        assert isinstance(error, UsageError)
        assert "abab" not in str(error)
    assert "root key" in str(_refusal(mounted, good))
    assert "no rotation" in str(_refusal(mounted, {"verb": "rotate"}))
    (mounted.path / "a").write_text("a")
    assert epochs_after_lock(mounted) == {"0"}


def _refusal(volume: MountedVolume, what: dict[str, object]) -> Exception | None:
    try:
        list(control.talk(socket_of(volume), what))
    except Exception as exc:
        return exc
    return None


def epochs_after_lock(volume: MountedVolume) -> set[str]:
    """Lock, and look."""
    volume.lock()
    return set(epochs_of(volume))
