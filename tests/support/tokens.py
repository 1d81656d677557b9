"""PKCS#11 tokens for tests: SoftHSM in a directory of the test's own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pkcs11
import pytest

PIN = "4321"
_MODULES = ("/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so", "/usr/lib/pkcs11/libsofthsm2.so")


def module() -> str:
    """The library of SoftHSM."""
    found = next((path for path in _MODULES if Path(path).exists()), None)
    if found is None:
        pytest.skip("SoftHSM is not installed: tools/setup --tests does it")
    return found


@contextmanager
def soft_tokens(directory: Path) -> Iterator[None]:
    """In here the tokens of this process, and of the commands that it starts, are those in ``directory``."""
    (directory / "tokens").mkdir()
    conf = directory / "softhsm2.conf"
    conf.write_text(f"directories.tokendir = {directory}/tokens\nobjectstore.backend = file\nlog.level = ERROR\n")
    with pytest.MonkeyPatch.context() as patch:
        # The library reads it whenever it is set up.
        patch.setenv("SOFTHSM2_CONF", str(conf))
        yield


def add(directory: Path, label: str) -> str:
    """One token more, with ``PIN``; its URI."""
    module()
    command = ["softhsm2-util", "--init-token", "--free", "--label", label, "--so-pin", "12345678", "--pin", PIN]
    subprocess.run(command, check=True, capture_output=True)
    assert any((directory / "tokens").iterdir())
    return f"pkcs11:token={label}"


def labels_on(token: str) -> list[str]:
    """The labels of all objects on a token, private ones too."""
    library = pkcs11.lib(module())
    try:
        with library.get_token(token_label=token).open(user_pin=PIN) as session:
            return sorted(str(found[pkcs11.Attribute.LABEL]) for found in session.get_objects())
    finally:
        library.finalize()


def read(path: str, *, public: bool = False) -> bytes:
    """As a command reads a file for a kind."""
    del public
    return Path(path).read_bytes()
