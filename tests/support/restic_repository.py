"""Repositories of restic whose key costs nothing to try, and locks of other computers in them.

restic makes each command spend half a second on its password (scrypt). A test that runs forty of them waits for nothing
else, so :func:`make_quick` writes the same password once more with a cost of nearly nothing. The format of its keys and
of what it encrypts: https://github.com/restic/restic/blob/master/doc/design.rst
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.poly1305 import Poly1305

from encfs.format.recovery_key import encode_recovery_key

_SECRET = 64


def _mac(key: bytes, nonce: bytes, content: bytes) -> bytes:
    """Poly1305-AES; ``key``: K and r, 16 bytes each."""
    aes = Cipher(algorithms.AES(key[:16]), modes.ECB()).encryptor()
    return Poly1305.generate_tag(key[16:] + aes.update(nonce), content)


def _open(secret: bytes, data: bytes) -> bytes:
    nonce, content, tag = data[:16], data[16:-16], data[-16:]
    assert _mac(secret[32:], nonce, content) == tag
    return Cipher(algorithms.AES(secret[:32]), modes.CTR(nonce)).decryptor().update(content)


def _seal(secret: bytes, plain: bytes) -> bytes:
    nonce = os.urandom(16)
    content = Cipher(algorithms.AES(secret[:32]), modes.CTR(nonce)).encryptor().update(plain)
    return nonce + content + _mac(secret[32:], nonce, content)


def _scrypt(password: bytes, record: dict[str, Any]) -> bytes:
    return hashlib.scrypt(
        password,
        salt=base64.b64decode(record["salt"]),
        n=record["N"],
        r=record["r"],
        p=record["p"],
        dklen=_SECRET,
        maxmem=1 << 30,
    )


def _master(repository: Path, key: bytes) -> tuple[Path, dict[str, Any], bytes]:
    """The file of its only key, what is in it, and the secret that it seals, as restic spells it."""
    (path,) = (repository / "keys").iterdir()
    record = json.loads(path.read_bytes())
    secret = _scrypt(encode_recovery_key(key).encode(), record)
    return path, record, _open(secret, base64.b64decode(record["data"]))


def make_quick(repository: Path, key: bytes) -> None:
    """Replace the only key by one that is tried at once."""
    path, record, master = _master(repository, key)
    record |= {"N": 2, "r": 1, "p": 1}
    secret = _scrypt(encode_recovery_key(key).encode(), record)
    record["data"] = base64.b64encode(_seal(secret, master)).decode()
    content = json.dumps(record).encode()
    path.unlink()
    (path.parent / hashlib.sha256(content).hexdigest()).write_bytes(content)


def lock_from(repository: Path, key: bytes, *, host: str, pid: int, since: str, exclusive: bool) -> Path:
    """A lock as another computer has it; ``since``: as ``2026-11-27T12:00:00Z``."""
    master = json.loads(_master(repository, key)[2])
    secret = b"".join(base64.b64decode(one) for one in (master["encrypt"], master["mac"]["k"], master["mac"]["r"]))
    lock = {"time": since, "exclusive": exclusive, "hostname": host, "username": "root", "pid": pid}
    data = _seal(secret, json.dumps(lock).encode())
    path = repository / "locks" / hashlib.sha256(data).hexdigest()
    path.write_bytes(data)
    return path
