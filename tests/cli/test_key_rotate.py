"""``cloakfs key rotate`` and ``key remove --rotate``, as a user meets them (docs/keys.md)."""

from __future__ import annotations

import os

import pytest

from encfs.volume import read_config
from tests.support.command import CHEAP, PASSPHRASE, run
from tests.support.pty_session import PtySession
from tests.support.volumes import flip


def config_of(volume):
    """What lies there."""
    return read_config(os.fsencode(volume.path))


def test_in_words(volume):
    """What was done, and that the old keys are gone; everything opens as before."""
    result = run("key", "rotate", volume.path, *volume.secret)
    assert (result.code, result.err) == (0, "")
    assert result.out == (
        "Sealed under new keys (epoch 1): 3 files, 2 directories.\n"
        "Nothing is left under the old keys, and they are destroyed.\n"
    )
    assert run("cat", volume.path, "letters/a.txt", *volume.secret).out == "Dear colleague\n"
    assert run("cat", volume.path, "letters/a.txt", "--recovery-file", volume.recovery_file).code == 0
    verified = run("verify", volume.path, *volume.secret)
    assert "under epoch 1" in verified.out


def test_as_json(volume):
    """docs/json.md, ``key rotate``."""
    rotation = run("key", "rotate", volume.path, "--data", "--reason", "compromise", *volume.secret, "--json").json[
        "rotation"
    ]
    assert rotation.pop("started") <= rotation.pop("finished")
    assert rotation == {
        "epoch": 1, "reason": "compromise", "data": True, "complete": True,
        "files": 3, "directories": 2, "cells": 4, "damaged": 0, "left": 0, "failed": 0,
    }  # fmt: skip
    assert set(run("verify", volume.path, *volume.secret, "--json").json["summary"]["epochs"]) == {"1"}


def test_compromise_says_what_else_to_do(volume):
    """New keys alone do not shut out somebody who knows a passphrase."""
    out = run("key", "rotate", volume.path, "--reason", "compromise", *volume.secret).out
    assert "cloakfs key change" in out


def test_wrong_passphrase_changes_nothing(volume, tmp_path):
    """Exit 10, and the config stays byte for byte."""
    wrong = tmp_path / "wrong"
    wrong.write_text("not it")
    wrong.chmod(0o600)
    before = (volume.path / "cloakfs.volume").read_bytes()
    assert run("key", "rotate", volume.path, "--passphrase-file", wrong).code == 10
    assert (volume.path / "cloakfs.volume").read_bytes() == before


def test_asks_on_a_terminal(volume):
    """At a terminal the passphrase is asked for, and what moves leaves no trace."""
    with PtySession("key", "rotate", str(volume.path)) as session:
        session.answer("Passphrase of ", PASSPHRASE)
        session.expect("they are destroyed.")
        assert session.end() == 0
    assert config_of(volume).active.epoch == 1


def test_something_that_needs_the_old_keys(volume):
    """Exit 3, with what to do; after a repair the next run goes on with it and ends it."""
    flip(volume.lower(b"letters") / "cloakfs.d", 100)
    result = run("key", "rotate", volume.path, *volume.secret)
    assert result.code == 3
    assert "2 objects still need the old keys" in result.out
    assert "cloakfs verify --repair" in result.out
    assert config_of(volume).rotating
    assert run("verify", volume.path, "--repair", "--yes", *volume.secret).code in (0, 3)
    result = run("key", "rotate", volume.path, *volume.secret)
    assert "goes on with it" in result.err
    assert (result.code, config_of(volume).rotating, config_of(volume).active.epoch) == (0, False, 1)


def add_anna(volume, tmp_path):
    """A second passphrase."""
    secret = tmp_path / "anna"
    secret.write_text("another four unrelated words")
    secret.chmod(0o600)
    command = ("key", "add", volume.path, "--label", "Anna", "--new-passphrase-file", secret, *CHEAP)
    assert run(*command, *volume.secret).code == 0
    return secret


@pytest.mark.parametrize(
    ("slot", "options", "epoch"),
    [("Anna", (), 1), ("Anna", ("--no-rotate",), 0), ("recovery key", (), 0), ("recovery key", ("--rotate",), 1)],
)
def test_remove_rotates_what_a_person_held(volume, tmp_path, slot, options, epoch):
    """The default for a passphrase is new keys in the same write; nobody else is asked for anything."""
    anna = add_anna(volume, tmp_path)
    before = config_of(volume)
    result = run("key", "remove", volume.path, slot, "--yes", *options, *volume.secret)
    assert (result.code, result.err) == (0, "")
    after = config_of(volume)
    assert (after.active.epoch, after.rotating, after.rk_id != before.rk_id) == (epoch, False, epoch == 1)
    assert [one.label for one in after.slots] == [one.label for one in before.slots if one.label != slot]
    opens = ("--passphrase-file", anna) if slot == "Anna" else ("--recovery-file", volume.recovery_file)
    assert run("cat", volume.path, "letters/a.txt", *opens).code == 10
    assert run("cat", volume.path, "letters/a.txt", *volume.secret).out == "Dear colleague\n"


def test_while_it_is_mounted(mounted):
    """The mount does the work; the new keys are used at once, and the passphrase opens it as before."""
    secret = ("--passphrase-file", str(mounted.secret_file))
    result = run("key", "rotate", mounted.path, *secret)
    assert (result.code, result.out.splitlines()[0]) == (0, "Sealed under new keys (epoch 1): 1 file, 1 directory.")
    (mounted.path / "b.txt").write_text("b")
    assert run("lock", mounted.path).code == 0
    summary = run("verify", mounted.lower, *secret, "--json").json["summary"]
    assert (summary["files"], set(summary["epochs"])) == (2, {"1"})


def test_a_read_only_mount_is_not_rotated(mounted):
    """Nothing may be written there: and the config stays."""
    secret = ("--passphrase-file", str(mounted.secret_file))
    run("lock", mounted.path)
    assert run("mount", mounted.lower, mounted.path, "--read-only", *secret, "--log", mounted.log).code == 0
    result = run("key", "rotate", mounted.path, *secret)
    assert result.code != 0
    assert "mounted read-only" in result.err
    assert read_config(os.fsencode(mounted.lower)).active.epoch == 0
