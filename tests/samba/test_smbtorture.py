"""smbtorture against the same share over a plain folder and over cloakfs: what passes there has to pass here,
but for two things that are named below.

What fails over the plain folder too is a matter of Samba's settings, or asks for a server of Samba's own test bench. It
is found out anew in each run, so there is no list of it.
"""

from __future__ import annotations

import re

import pytest

from tests.support.office import BARE, SHARE, Office

_OUTCOME = re.compile(r"^(success|failure|error|skip): (\S+)", re.MULTILINE)
QUICK = (
    "rw", "read", "rename", "delete-on-close-perms", "lock", "getinfo", "streams", "acls", "openattr",
    "winattr", "sharemode",
)  # fmt: skip
LONG = (
    "create", "dir", "timestamps", "notify", "lease", "oplock", "ioctl", "mkdir", "compound", "compound_find",
    "compound_async", "async_dosmode", "mangle", "fileid",
)  # fmt: skip
# Not among them: durable-open and durable-v2-open, which stop at reopen2 over cloakfs. smbd gives an open file back
# after a lost connection only if stat(2) says the same as before; what differs is not fully known (docs/share.md).
#
# What punches holes: pyfuse3 passes no fallocate(2) on, so FSCTL_SET_ZERO_DATA is NT_STATUS_NOT_SUPPORTED.
NEED_FALLOCATE = {
    "sparse_copy_chunk", "sparse_hole_dealloc", "sparse_lock", "sparse_perms", "sparse_punch", "sparse_punch_invalid",
    "sparse_qar_multi", "sparse_qar_ob1",
}  # fmt: skip
# smbtorture measures time, and a busy machine fails some of its tests: what failed gets so many more chances, alone.
_CHANCES = 2


def passed(office: Office, share: str, test: str) -> set[str]:
    """Which parts of a test pass."""
    found = dict(reversed(pair) for pair in _OUTCOME.findall(office.server.torture(share, test)))
    return {name for name, outcome in found.items() if outcome == "success"}


def compare(office: Office, group: str) -> int:
    """How many parts of a group pass over the plain folder; fails unless those pass over cloakfs."""
    test = f"smb2.{group}"
    expected = passed(office, BARE, test)
    missing = expected - passed(office, SHARE, test) - NEED_FALLOCATE
    for _ in range(_CHANCES):
        # A group of one test has no parts to run alone.
        missing = {name for name in missing if name not in passed(office, SHARE, _alone(test, name))}
    assert not missing, f"{test}: these pass over a plain folder only: {sorted(missing)}"
    return len(expected)


def _alone(test: str, name: str) -> str:
    return test if name == test.removeprefix("smb2.") else f"{test}.{name}"


def test_the_same_tests_pass(office: Office) -> None:
    """Reading, writing, renaming, deleting, locks, streams, ACLs, attributes, share modes."""
    counts = {group: compare(office, group) for group in QUICK}
    # smbtorture did run: each of these passes over a plain folder.
    assert all(counts.values()), counts


@pytest.mark.slow
@pytest.mark.parametrize("group", LONG)
def test_the_same_tests_of_a_group_pass(office: Office, group: str) -> None:
    """One of the groups that take longer: leases, oplocks, durable handles, notifications and more."""
    compare(office, group)
