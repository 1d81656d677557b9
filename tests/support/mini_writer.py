"""A second implementation of the on-disk format, for tests: it writes a small volume.

Written from FORMAT.md alone. It shares no code with the program nor with tools/inspect_lower.py, and takes as little
as it can from libraries: HPKE (RFC 9180 with X-Wing), AES-SIV (RFC 5297), HKDF (RFC 5869) and the recovery key's
check digits are written out here, so that a test in which the two agree proves what the page says, not what one library
does. "Section N" is a section of FORMAT.md.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import struct
from pathlib import Path
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.cmac import CMAC
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

SPARSE, MULTI, PARITY = 1, 2, 4
NO_EPOCH = 0xFFFFFFFF
CONFIG_NAMES = ("cloakfs.volume", "cloakfs.volume.bak")


# Primitives (section 1)


def b64(data: bytes) -> str:
    """base64url without padding."""
    return base64.b64encode(data, b"-_").decode().replace("=", "")


def hkdf_expand(prk: bytes, info: bytes, length: int = 32) -> bytes:
    """HKDF-Expand-SHA-256."""
    okm = block = b""
    counter = 0
    while len(okm) < length:
        counter += 1
        block = hmac.digest(prk, block + info + bytes([counter]), "sha256")
        okm += block
    return okm[:length]


def hkdf(salt: bytes, ikm: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA-256, both halves."""
    return hkdf_expand(hmac.digest(salt, ikm, "sha256"), info, length)


def gcm(key: bytes, nonce: bytes, aad: bytes, plain: bytes) -> bytes:
    """AES-256-GCM: ciphertext || tag."""
    return AESGCM(key).encrypt(nonce, plain, aad)


def sealed(key: bytes, aad: bytes, plain: bytes) -> bytes:
    """nonce || ciphertext || tag, with a fresh nonce."""
    nonce = os.urandom(12)
    return nonce + gcm(key, nonce, aad, plain)


def cmac(key: bytes, data: bytes) -> bytes:
    """AES-CMAC."""
    state = CMAC(AES(key))
    state.update(data)
    return state.finalize()


def xor(a: bytes, b: bytes) -> bytes:
    """Exclusive or of two strings of one length."""
    return bytes(left ^ right for left, right in zip(a, b, strict=True))


def siv_encrypt(key: bytes, associated: bytes, plain: bytes) -> bytes:
    """RFC 5297 with one associated string and a plaintext of at least 16 bytes: V || ciphertext."""
    mac_key, ctr_key = key[:32], key[32:]
    doubled = int.from_bytes(cmac(mac_key, bytes(16)), "big") << 1
    doubled = (doubled & (1 << 128) - 1) ^ 0x87 * (doubled >> 128)
    state = xor(doubled.to_bytes(16, "big"), cmac(mac_key, associated))
    v = cmac(mac_key, plain[:-16] + xor(plain[-16:], state))
    counter = int.from_bytes(v, "big") & ~(1 << 63 | 1 << 31)
    return v + Cipher(AES(ctr_key), CTR(counter.to_bytes(16, "big"))).encryptor().update(plain)


def hpke_seal(public: bytes, info: bytes, plain: bytes) -> bytes:
    """HPKE base mode, X-Wing (0x647a), HKDF-SHA256 (1), AES-256-GCM (2): enc || ciphertext."""
    ephemeral, pk_x = X25519PrivateKey.generate(), public[1184:]
    ss_m, ct_m = MLKEM768PublicKey.from_public_bytes(public[:1184]).encapsulate()
    ss_x = ephemeral.exchange(X25519PublicKey.from_public_bytes(pk_x))
    ct_x = ephemeral.public_key().public_bytes_raw()
    shared = hashlib.sha3_256(ss_m + ss_x + ct_x + pk_x + rb"\.//^" + b"\\").digest()
    suite = b"HPKE" + struct.pack(">HHH", 0x647A, 1, 2)

    def extract(salt: bytes, label: bytes, ikm: bytes) -> bytes:
        return hmac.digest(salt, b"HPKE-v1" + suite + label + ikm, "sha256")

    def expand(prk: bytes, label: bytes, context: bytes, length: int) -> bytes:
        return hkdf_expand(prk, struct.pack(">H", length) + b"HPKE-v1" + suite + label + context, length)

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    key, nonce = expand(secret, b"key", context, 32), expand(secret, b"base_nonce", context, 12)
    return ct_m + ct_x + gcm(key, nonce, b"", plain)


# Recovery key as text (section 4)


def gf32(a: int, b: int) -> int:
    """Product modulo x^5 + x^2 + 1."""
    product = 0
    for bit in range(5):
        if b & 1 << bit:
            product ^= a << bit
    for bit in (8, 7, 6, 5):
        if product & 1 << bit:
            product ^= 0b100101 << (bit - 5)
    return product


def recovery_text(key: bytes) -> str:
    """13 groups of 4 digits and a check character."""
    number, groups = int.from_bytes(key, "big") << 4, []
    digits = [number >> 5 * (51 - place) & 31 for place in range(52)]
    for g in range(13):
        v = digits[4 * g : 4 * g + 4]
        check = gf32(2, v[0]) ^ gf32(4, v[1]) ^ gf32(8, v[2]) ^ gf32(16, v[3]) ^ g
        groups.append("".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[value] for value in [*v, check]))
    return "-".join(groups)


# Sizes (section 9.3)


def lower_size(plain: int, cell: int) -> int:
    """S to L, counting cells one after another instead of by the closed form."""
    if plain == 0:
        return 512
    n, room = 1, cell - 32 - 512
    while plain > room:
        plain -= room
        n, room = n + 1, cell - 32
    return cell * n + (plain if plain < room else 0)


class Dir(NamedTuple):
    """A lower directory and its dir id."""

    path: Path
    id: bytes


class MiniVolume:
    """A volume that is being written."""

    def __init__(self, root: Path, passphrase: bytes, cell: int = 4096) -> None:
        self.cell, self.passphrase, self.recovery = cell, passphrase, os.urandom(32)
        self.volume_id, self.rk_id, self.session = os.urandom(16), os.urandom(8), os.urandom(16)
        self.root_key, self.epochs, self.epoch = os.urandom(32), {0: os.urandom(32)}, 0
        self.metadata = os.urandom(32)
        self.seq = 0
        root.mkdir(exist_ok=True)
        (root / "cloakfs.s").mkdir()
        self.root = Dir(root, os.urandom(16))
        self.slots = [self.slot("passphrase", passphrase), self.slot("recovery", self.recovery)]
        self.write_record(self.root, bytes(16), b"")
        self.write_config()

    # Sections 3 to 5

    @staticmethod
    def canonical(value: object) -> bytes:
        return json.dumps(value, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode("ascii")

    def slot(self, kind: str, secret: bytes) -> dict[str, Any]:
        slot_id, salt, authenticator = os.urandom(8), os.urandom(16), os.urandom(32)
        kdf: dict[str, Any] = {"alg": "none"}
        if kind == "passphrase":
            kdf = {"alg": "argon2id", "memory_kib": 65536, "passes": 3, "lanes": 1, "salt": b64(salt)}
            secret = Argon2id(salt=salt, length=32, iterations=3, lanes=1, memory_cost=65536).derive(secret)
        binding = self.volume_id + slot_id
        derived = hkdf(binding, secret, b"cloakfs/1 slot", 64)
        mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
        private = mlkem.private_bytes_raw() + x25519.private_bytes_raw()
        public = mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw()
        bound = hashlib.sha256(self.canonical({"kdf": kdf, "kind": kind, "pub": b64(public)})).digest()
        erk_info = b"cloakfs/1 erk" + binding + self.rk_id + authenticator
        auth_key = hkdf_expand(self.root_key, b"cloakfs/1 auth")
        return {
            "id": b64(slot_id),
            "kind": kind,
            "label": f"mini {kind} \u00e9",
            "created": 1_700_000_000,
            "kdf": kdf,
            "pub": b64(public),
            "commit": b64(derived[32:]),
            "esk": b64(sealed(derived[:32], b"cloakfs/1 esk" + binding + bound, private + authenticator)),
            "erk": b64(hpke_seal(public, erk_info, self.root_key)),
            "auth": b64(sealed(auth_key, b"cloakfs/1 auth" + binding, authenticator)),
        }

    def config(self, **changes: object) -> bytes:
        wrap_key, epochs = hkdf_expand(self.root_key, b"cloakfs/1 wrap"), []
        for number, key in self.epochs.items():
            aad = b"cloakfs/1 epoch" + self.volume_id + number.to_bytes(4, "big")
            state = "active" if number == self.epoch else "retired"
            epochs.append(
                {"epoch": number, "created": 1_700_000_000, "state": state, "wrap": b64(sealed(wrap_key, aad, key))}
            )
        fields = {
            "volume_id": b64(self.volume_id),
            "seq": self.seq,
            "created": 1_700_000_000,
            "suite": "cloakfs-1",
            "cell_size": self.cell,
            "features": {"compat": [], "incompat": [], "ro_compat": []},
            "min_reader": 1,
            "root_dir_id": b64(self.root.id),
            "rk_id": b64(self.rk_id),
            "slots": self.slots,
            "epochs": epochs,
            "metadata": b64(sealed(wrap_key, b"cloakfs/1 metadata" + self.volume_id, self.metadata)),
        }
        signed = b"cloakfs-volume 1\n" + self.canonical(fields | changes) + b"\n"
        mac = hmac.digest(hkdf_expand(self.root_key, b"cloakfs/1 config"), signed, "sha256")
        return signed + f"mac {b64(mac)} sum {b64(hashlib.sha256(signed).digest()[:16])}\n".encode()

    def write_config(self, *names: str, **changes: object) -> None:
        self.seq += 1
        for name in names or CONFIG_NAMES:
            (self.root.path / name).write_bytes(self.config(**changes))

    def key(self, label: bytes, length: int = 32) -> bytes:
        return hkdf_expand(self.epochs[self.epoch], b"cloakfs/1 " + label, length)

    def metadata_key(self, label: bytes, length: int = 32) -> bytes:
        return hkdf_expand(self.metadata, b"cloakfs/1 " + label, length)

    # Sections 6 and 7

    def frame(self, key: bytes, magic: bytes, kind: int, fid: bytes, body: bytes, zero: int = 0) -> bytes:
        log2 = {4096: 12, 16384: 14, 65536: 16}[self.cell] if kind in (1, 2) else 0
        clear = magic + bytes([1, kind, log2, zero]) + struct.pack(">II", self.epoch, NO_EPOCH) + fid + bytes(16)
        assert len(clear) == 48
        assert len(body) == 436
        nonce = os.urandom(12)
        return clear + nonce + gcm(key, nonce, clear, body)

    def lower_name(self, dir_id: bytes, name: bytes) -> str:
        if len(name) > 160:
            return "~" + b64(hmac.digest(self.metadata_key(b"longname"), dir_id + name, "sha256"))
        padded = name.ljust((len(name) + 15) // 16 * 16, b"\0")
        return b64(siv_encrypt(self.metadata_key(b"name", 64), dir_id, padded))

    # Section 8

    def write_record(self, directory: Dir, parent: bytes, name: bytes) -> None:
        body = directory.id + parent + (1).to_bytes(8, "big") + self.session + bytes(4)
        body += len(name).to_bytes(2, "big") + name.ljust(255, b"\0") + bytes(119)
        frame = self.frame(self.key(b"directory"), b"CLKD", 3, bytes(16), body)
        (directory.path / "cloakfs.d").write_bytes(frame)

    def directory(self, parent: Dir, name: bytes, xattrs: dict[bytes, bytes] | None = None) -> Dir:
        made = Dir(parent.path / self.lower_name(parent.id, name), os.urandom(16))
        made.path.mkdir()
        self.write_record(made, parent.id, name)
        self.write_xattrs(made.path, made.id, xattrs)
        return made

    # Section 9

    def cells(self, plain: bytes) -> list[bytes]:
        """The plain content cut into cells."""
        parts, rest, room = [], plain, self.cell - 544
        while rest:
            parts.append(rest[:room])
            rest, room = rest[room:], self.cell - 32
        return parts

    def seal_cell(self, key: bytes, index: int, plain: bytes, parity: int) -> bytes:
        room = self.cell - 544 if index == 0 else self.cell - 32
        clear, nonce = struct.pack(">HBB", len(plain), parity, 0), os.urandom(12)
        return clear + nonce + gcm(key, nonce, b"C" + index.to_bytes(8, "big") + clear, plain.ljust(room, b"\0"))

    def file(
        self,
        parent: Dir,
        name: bytes,
        content: bytes,
        *,
        kind: int = 1,
        flags: int = 0,
        holes: tuple[int, ...] = (),
        old_cells: tuple[int, ...] = (),
        xattrs: dict[bytes, bytes] | None = None,
        header: dict[str, Any] | None = None,
    ) -> Path:
        """A file; `holes` are not written, `old_cells` are under the previous key, `header` overrides fields."""
        fid, key, attribute_id = os.urandom(16), os.urandom(32), os.urandom(16)
        old_key = os.urandom(32) if old_cells else bytes(32)
        path = parent.path / (self.lower_name(parent.id, name) + (".l" if kind == 2 else ""))
        parts, now = self.cells(content), bool(flags & PARITY)
        fields: dict[str, Any] = {"size": len(content), "synced": len(content), "dir": parent.id, "name": name}
        fields |= header or {}
        body = struct.pack(">QQQ", fields["size"], fields["synced"], 3) + self.session + struct.pack(">II", flags, 0)
        body += key + old_key + len(parts).to_bytes(8, "big") + fields["dir"] + attribute_id
        body += len(fields["name"]).to_bytes(2, "big") + fields["name"].ljust(255, b"\0") + bytes(27)
        header_key = self.key(b"header" + fid)
        with path.open("xb") as stream:
            stream.write(self.frame(header_key, b"CLKF", kind, fid, body, fields.get("zero", 0)))
            for index, part in enumerate(parts):
                if index not in holes:
                    old = index in old_cells
                    stream.seek(512 if index == 0 else self.cell * index)
                    stream.write(self.seal_cell(old_key if old else key, index, part, now ^ old))
            stream.truncate(lower_size(len(content), self.cell))
        self.write_xattrs(path, attribute_id, xattrs)
        return path

    def symlink(self, parent: Dir, name: bytes, target: bytes, *, flags: int = 0, place: bytes | None = None) -> Path:
        """A symlink as section 9.4 wants it, in a file where a lower symlink cannot hold it."""
        place = place or hmac.digest(self.metadata_key(b"place"), parent.id + name, "sha256")[:16]
        lower = b64(sealed(self.metadata_key(b"symlink"), b"cloakfs/1 symlink", bytes([flags]) + place + target))
        if len(lower) > 4095 or len(name) > 160:
            return self.file(parent, name, target, kind=2)
        path = parent.path / self.lower_name(parent.id, name)
        path.symlink_to(lower)
        return path

    # Sections 10 and 11

    def write_xattrs(self, path: Path, identity: bytes, xattrs: dict[bytes, bytes] | None) -> None:
        if not xattrs:
            return
        plain = b""
        for name in sorted(xattrs):
            plain += len(name).to_bytes(2, "big") + name + len(xattrs[name]).to_bytes(4, "big") + xattrs[name]
        os.setxattr(path, "user.cloakfs", sealed(self.metadata_key(b"xattr" + identity), b"cloakfs/1 xattr", plain))

    def session_record(self, state: int, *, host: bytes = b"host", mount_point: bytes = b"/mnt/plain") -> Path:
        start = 1_750_000_000_000
        session = start.to_bytes(8, "big") + os.urandom(8)
        body = session + bytes([state]) + bytes(7) + struct.pack(">QQII", start, 0, 1234, 1000)
        body += bytes([len(host)]) + host.ljust(64, b"\0")
        body += bytes([len(mount_point)]) + mount_point.ljust(255, b"\0") + bytes(67)
        path = self.root.path / "cloakfs.s" / session.hex()
        path.write_bytes(self.frame(self.key(b"session"), b"CLKS", 4, bytes(16), body))
        return path
