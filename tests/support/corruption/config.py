"""Attacks on the config (FORMAT.md sections 3 to 5) and the session records (section 11).

An attacker without keys can read the config, change it, and make its checksum right again; the MAC they cannot make.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.corruption.attack import (
    CONFIGS,
    SESSIONS,
    Effect,
    Hit,
    Outcome,
    Target,
    attack,
    flip,
    overwrite,
    truncate,
)

Fields = dict[str, Any]

DAMAGED, SLOT_DAMAGED, FORGED, NEWER, NOT_A_VOLUME, WRONG_SECRET = 11, 12, 13, 14, 15, 10
OLD_STATE = "Old state"
TOLERANCE = "Tolerance after a crash."
SESSIONS_GONE = "Session records"


def b64(data: bytes) -> str:
    """base64url without ``=``."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str) -> bytes:
    """The bytes again."""
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def fields_of(path: Path) -> Fields:
    """The readable part of a config."""
    found: Fields = json.loads(path.read_bytes().split(b"\n")[1])
    return found


def write_fields(path: Path, fields: Fields, *, first: bytes = b"cloakfs-volume 1") -> None:
    """Put changed fields into a config, with a right checksum and the old MAC."""
    mac = path.read_bytes().split(b"\n")[2].split(b" ")[1]
    line = json.dumps(fields, sort_keys=True, separators=(",", ":")).encode()
    signed = first + b"\n" + line + b"\n"
    checksum = b64(hashlib.sha256(signed).digest()[:16]).encode()
    path.write_bytes(signed + b"mac " + mac + b" sum " + checksum + b"\n")


def _each(target: Target, change: Callable[[Path], object]) -> list[Hit]:
    for name in target.copies:
        change(target.volume / name)
    return []


# -- damage -----------------------------------------------------------------------------------------------------


@attack("config-flip", Outcome.REFUSED, exit_code=DAMAGED)
def config_flip(target: Target) -> list[Hit]:
    """One bit of the config is flipped, its MAC left out."""

    def change(path: Path) -> None:
        size = path.read_bytes().index(b"\nmac ") + 1
        flip(path, target.offset % size, target.seed)

    return _each(target, change)


@attack("config-zero", Outcome.REFUSED, exit_code=DAMAGED)
def config_zero(target: Target) -> list[Hit]:
    """The config is overwritten with zeros."""
    return _each(target, lambda path: overwrite(path, 0, bytes(path.stat().st_size)))


@attack("config-cut", Outcome.REFUSED, exit_code=DAMAGED)
def config_cut(target: Target) -> list[Hit]:
    """The config is cut, or emptied."""
    return _each(target, lambda path: truncate(path, target.offset % path.stat().st_size))


@attack("config-append", Outcome.REFUSED, exit_code=DAMAGED)
def config_append(target: Target) -> list[Hit]:
    """Bytes are appended to the config."""
    return _each(target, lambda path: path.write_bytes(path.read_bytes() + b"\n"))


@attack("config-delete", Outcome.REFUSED, exit_code=NOT_A_VOLUME)
def config_delete(target: Target) -> list[Hit]:
    """The config is deleted."""
    return _each(target, Path.unlink)


def _flip_word(path: Path, word: int, target: Target) -> None:
    """Flip a bit of the MAC (word 1 of the last line) or of the checksum (word 3)."""
    first, line, last = path.read_bytes().split(b"\n")[:3]
    words = last.split(b" ")
    value = bytearray(unb64(words[word].decode()))
    value[target.offset % len(value)] ^= 1 << target.seed % 8
    words[word] = b64(bytes(value)).encode()
    path.write_bytes(b"\n".join([first, line, b" ".join(words), b""]))


@attack("config-mac-flip", Outcome.REFUSED, exit_code=FORGED)
def config_mac_flip(target: Target) -> list[Hit]:
    """One bit of the config's MAC is flipped."""
    return _each(target, lambda path: _flip_word(path, 1, target))


@attack("config-checksum-flip", Outcome.REFUSED, exit_code=DAMAGED)
def config_checksum_flip(target: Target) -> list[Hit]:
    """One bit of the config's checksum is flipped."""
    return _each(target, lambda path: _flip_word(path, 3, target))


@attack("config-newer-version", Outcome.REFUSED, exit_code=NEWER)
def config_newer_version(target: Target) -> list[Hit]:
    """The config's first line is made to name a later version, with a right checksum."""
    return _each(target, lambda path: write_fields(path, fields_of(path), first=b"cloakfs-volume 2"))


# -- fields -----------------------------------------------------------------------------------------------------


def _flipped(text: str, seed: int) -> str:
    data = bytearray(unb64(text))
    data[seed % len(data)] ^= 1
    return b64(bytes(data))


def _field(name: str, does: str, exit_code: int, change: Callable[[Fields, Target], object]) -> None:
    """An attack that edits the config and makes its checksum right."""

    def run(target: Target) -> list[Hit]:
        def edit(path: Path) -> None:
            fields = fields_of(path)
            change(fields, target)
            write_fields(path, fields)

        return _each(target, edit)

    run.__doc__ = does
    attack(name, Outcome.REFUSED, exit_code=exit_code)(run)


def _set(key: str, value: object) -> Callable[[Fields, Target], object]:
    return lambda fields, _: fields.update({key: value})


def _spoil(key: str) -> Callable[[Fields, Target], object]:
    return lambda fields, target: fields.update({key: _flipped(fields[key], target.seed)})


def _feature(kind: str) -> Callable[[Fields, Target], object]:
    return lambda fields, _: fields["features"][kind].append("later")


def _kdf(**values: int) -> Callable[[Fields, Target], object]:
    def change(fields: Fields, _: Target) -> None:
        for slot in fields["slots"]:
            if slot["kdf"]["alg"] == "argon2id":
                slot["kdf"].update(values)

    return change


def _slots(**values: Callable[[Fields, Target], str]) -> Callable[[Fields, Target], object]:
    def change(fields: Fields, target: Target) -> None:
        for slot in fields["slots"]:
            slot.update({key: make(slot, target) for key, make in values.items()})

    return change


def _spoilt(key: str) -> Callable[[Fields, Target], str]:
    return lambda slot, target: _flipped(slot[key], target.seed)


def _random(size: int) -> Callable[[Fields, Target], str]:
    return lambda _, target: b64(target.random_bytes(size))


def _drop_last(fields: Fields, _: Target) -> None:
    fields["slots"].pop()


def _drop_first(fields: Fields, _: Target) -> None:
    fields["slots"].pop(0)


def _drop_all(fields: Fields, _: Target) -> None:
    fields["slots"].clear()


def _add_slot(fields: Fields, target: Target) -> None:
    slot = json.loads(json.dumps(fields["slots"][0]))
    slot |= {"id": b64(target.random_bytes(8)), "label": "of the attacker"}
    fields["slots"].append(slot)


def _double(fields: Fields, _: Target) -> None:
    fields["slots"].append(fields["slots"][0])


def _exchange(fields: Fields, _: Target) -> None:
    fields["slots"].reverse()


def _swap_keys(fields: Fields, _: Target) -> None:
    one, two = fields["slots"][0], fields["slots"][1]
    for key in ("pub", "esk", "erk", "auth"):
        one[key], two[key] = two[key], one[key]


def _epoch(key: str) -> Callable[[Fields, Target], object]:
    def change(fields: Fields, target: Target) -> None:
        epoch = fields["epochs"][0]
        if key == "wrap":
            epoch["wrap"] = _flipped(epoch["wrap"], target.seed)
        else:
            epoch["epoch"] += 1

    return change


_GIB4_KIB = 4 << 20
for _name, _does, _code, _change in (
    ("kdf-memory-below-floor", "Argon2id memory is set below the floor", DAMAGED, _kdf(memory_kib=8)),
    ("kdf-memory-over-cap", "Argon2id memory is set over the cap", DAMAGED, _kdf(memory_kib=_GIB4_KIB + 1)),
    ("kdf-passes-below-floor", "Argon2id passes are set below the floor", DAMAGED, _kdf(passes=1)),
    ("kdf-passes-over-cap", "Argon2id passes are set over the cap", DAMAGED, _kdf(passes=65)),
    ("kdf-lanes-over-cap", "Argon2id lanes are set over the cap", DAMAGED, _kdf(lanes=17)),
    ("kdf-down", "Argon2id memory and passes are lowered to the floor", WRONG_SECRET, _kdf(memory_kib=65536, passes=3)),
    ("kdf-up", "Argon2id memory is raised, below the cap", WRONG_SECRET, _kdf(memory_kib=131072)),
    ("slot-commit", "The commitment of each slot is replaced", WRONG_SECRET, _slots(commit=_random(32))),
    ("slot-public-key", "The public key of each slot is replaced", SLOT_DAMAGED, _slots(pub=_random(1216))),
    (
        "slot-public-key-and-root-key",
        "The public key of each slot and the root key sealed to it are replaced",
        SLOT_DAMAGED,
        _slots(pub=_random(1216), erk=_random(1168)),
    ),
    ("slot-private-key", "One bit of each sealed private key is flipped", SLOT_DAMAGED, _slots(esk=_spoilt("esk"))),
    ("slot-root-key", "One bit of each sealed root key is flipped", SLOT_DAMAGED, _slots(erk=_spoilt("erk"))),
    ("slot-authenticator", "One bit of each sealed authenticator is flipped", FORGED, _slots(auth=_spoilt("auth"))),
    ("slot-id", "The id of each slot is changed", WRONG_SECRET, _slots(id=_spoilt("id"))),
    ("slot-label", "The label of each slot is changed", FORGED, _slots(label=lambda *_: "another")),
    ("slot-drop-other", "A slot that is not used just now is dropped", FORGED, _drop_last),
    ("slot-drop", "The slot that is used is dropped", WRONG_SECRET, _drop_first),
    ("slots-drop-all", "All slots are dropped", WRONG_SECRET, _drop_all),
    ("slot-add", "A slot is added", FORGED, _add_slot),
    ("slot-twice", "A slot is there twice", DAMAGED, _double),
    ("slots-reorder", "The slots change places", FORGED, _exchange),
    ("slots-swap-keys", "Two slots swap their keys", SLOT_DAMAGED, _swap_keys),
    ("config-volume-id", "The volume id is changed", WRONG_SECRET, _spoil("volume_id")),
    ("config-root-key-id", "The id of the root key is changed", SLOT_DAMAGED, _spoil("rk_id")),
    ("config-root-directory", "The id of the root directory is changed", FORGED, _spoil("root_dir_id")),
    ("config-seq", "The number of the config is raised", FORGED, _set("seq", 1000)),
    ("config-created", "The time of creation is changed", FORGED, _set("created", 1)),
    ("config-cell-size", "The cell size is changed", FORGED, _set("cell_size", 65536)),
    ("config-cell-size-unknown", "The cell size is set to one that does not exist", DAMAGED, _set("cell_size", 512)),
    ("config-suite", "The suite is replaced by an unknown one", NEWER, _set("suite", "cloakfs-0")),
    ("config-min-reader", "A later reader is demanded", NEWER, _set("min_reader", 2)),
    ("config-feature-incompat", "An unknown feature is demanded", NEWER, _feature("incompat")),
    ("config-feature-read-only", "A feature is added that forbids writing", FORGED, _feature("ro_compat")),
    ("config-feature-compat", "A feature is added that does not matter", FORGED, _feature("compat")),
    ("config-epoch-key", "One bit of a sealed epoch key is flipped", FORGED, _epoch("wrap")),
    ("config-epoch-number", "An epoch gets another number", FORGED, _epoch("epoch")),
    ("config-field-added", "A field is added that version 1 does not have", DAMAGED, _set("more", 1)),
):
    _field(_name, _does, _code, _change)


@attack("config-of-another-volume", Outcome.REFUSED, exit_code=WRONG_SECRET, needs=("old",))
def config_of_another_volume(target: Target) -> list[Hit]:
    """The config is replaced by that of another volume with another passphrase."""
    assert target.old is not None
    source = target.old
    return _each(target, lambda path: shutil.copyfile(source / CONFIGS[0], path))


@attack("config-of-your-other-volume", Outcome.EIO, "directory-damaged", needs=("old",))
def config_of_your_other_volume(target: Target) -> list[Hit]:
    """The config is replaced by that of another volume with the same passphrase."""
    assert target.old is not None
    source = target.old
    _each(target, lambda path: shutil.copyfile(source / CONFIGS[0], path))
    return [Hit(target.volume, Effect.WHOLE, "directory-damaged")]


@attack("config-older", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=OLD_STATE, needs=("old",))
def config_older(target: Target) -> list[Hit]:
    """Both copies of the config are replaced by their older selves."""
    return _each(target, lambda path: shutil.copyfile(target.older(path), path))


# -- sessions ---------------------------------------------------------------------------------------------------


def _records(target: Target) -> list[Path]:
    return sorted(path for path in (target.volume / SESSIONS).iterdir() if path.name != "lock")


@attack("session-flip", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=SESSIONS_GONE)
def session_flip(target: Target) -> list[Hit]:
    """One bit of each session record is flipped."""
    for path in _records(target):
        flip(path, target.offset % 512, target.seed)
    return []


@attack("session-zero", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=SESSIONS_GONE)
def session_zero(target: Target) -> list[Hit]:
    """Session records are overwritten with zeros."""
    for path in _records(target):
        overwrite(path, 0, bytes(512))
    return []


@attack("session-cut", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=SESSIONS_GONE)
def session_cut(target: Target) -> list[Hit]:
    """Session records are cut, or emptied."""
    for path in _records(target):
        truncate(path, target.offset % 512)
    return []


@attack("session-delete", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=SESSIONS_GONE)
def session_delete(target: Target) -> list[Hit]:
    """Session records are deleted."""
    for path in _records(target):
        path.unlink()
    return []


@attack("session-rename", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=SESSIONS_GONE)
def session_rename(target: Target) -> list[Hit]:
    """Session records get the names of other sessions."""
    for number, path in enumerate(_records(target)):
        path.rename(path.with_name(f"{number:032x}"))
    return []


@attack("session-older", Outcome.FRESHNESS, "volume-rollback", exit_code=28, limit=TOLERANCE, needs=("old",))
def session_older(target: Target) -> list[Hit]:
    """The record of a session that ended is replaced by its older self, which says that it is still open."""
    assert target.old is not None
    for path in sorted((target.old / SESSIONS).iterdir()):
        if path.name != "lock":
            shutil.copyfile(path, target.volume / SESSIONS / path.name)
    return [Hit(target.volume / SESSIONS, Effect.OLD)]
