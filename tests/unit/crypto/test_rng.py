"""encfs/crypto/rng.py: that every byte is filled, whatever happens to the descriptor."""

from __future__ import annotations

import os
import threading

import pytest

from encfs.crypto import rng


def views(count: int, size: int = 12) -> tuple[bytearray, list[memoryview]]:
    """Cut a zeroed buffer into one view of ``size`` bytes every 16 bytes."""
    buffer = bytearray(count * 16)
    whole = memoryview(buffer)
    return buffer, [whole[start : start + size] for start in range(0, len(buffer), 16)]


def nonces(cut: list[memoryview]) -> set[bytes]:
    """Collect what the views hold."""
    return {bytes(view) for view in cut}


@pytest.mark.parametrize("count", [1, 2, 1023, 1024, 1025, 5000])
def test_fill(count):
    """Section 1: every nonce is 12 fresh random bytes, and only the nonces are written."""
    buffer, cut = views(count)
    rng.fill(cut)
    assert len(nonces(cut) - {bytes(12)}) == count
    assert all(bytes(buffer[start + 12 : start + 16]) == bytes(4) for start in range(0, len(buffer), 16))


def test_fill_nothing():
    """Section 1: an empty run needs no randomness."""
    rng.fill([])


@pytest.mark.parametrize("got", [0, 1, 11, 12, 13, 12 * 7 + 5])
def test_short_reads(monkeypatch, got):
    """Section 1: a read that a signal cuts short leaves no nonce unfilled."""

    def short(_fd, batch):
        rest = os.urandom(got)
        for view in batch:
            part, rest = rest[: len(view)], rest[len(view) :]
            view[: len(part)] = part
        return got

    monkeypatch.setattr(os, "readv", short)
    _, cut = views(8)
    rng.fill(cut)
    # Four zero bytes at the end of a view would be one chance in 4 billion.
    assert all(any(view[:4]) and any(view[-4:]) for view in cut)


def test_a_closed_descriptor_is_reopened():
    """Section 1: a daemon that closes all descriptors does not lose its randomness."""
    rng.fill(views(1)[1])
    os.close(rng._urandom_fd)
    _, cut = views(4)
    rng.fill(cut)
    assert len(nonces(cut) - {bytes(12)}) == 4


def test_a_reused_descriptor_is_not_read(tmp_path):
    """Section 1: if the descriptor's number has come to mean another file, that file gives no nonces."""
    rng.fill(views(1)[1])
    number = rng._urandom_fd
    path = tmp_path / "zeros"
    path.write_bytes(bytes(4096))
    with path.open("rb") as other:
        os.dup2(other.fileno(), number)
        _, cut = views(4)
        rng.fill(cut)
    assert len(nonces(cut) - {bytes(12)}) == 4
    assert rng._urandom_fd != number
    os.close(number)


def test_the_descriptor_is_not_inherited():
    """Section 1: programs that are started do not get it."""
    rng.fill(views(1)[1])
    assert not os.get_inheritable(rng._urandom_fd)


def test_threads():
    """Section 1: two threads never get the same nonce."""
    results: list[set[bytes]] = []

    def work() -> None:
        _, cut = views(2000)
        rng.fill(cut)
        results.append(nonces(cut))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set().union(*results)) == 16_000


def test_random_bytes():
    """Section 1: as many bytes as asked for, never the same."""
    assert len(rng.random_bytes(32)) == 32
    assert rng.random_bytes(32) != rng.random_bytes(32)
