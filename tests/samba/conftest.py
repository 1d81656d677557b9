"""Fixtures of the tests with a real Samba: a server, a share as a user gets it, a mounted volume below."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.linux import needs_root
from tests.support.office import Office, opened

_PROGRAMS = ("smbd", "smbclient", "smbtorture", "smbpasswd")
_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """All of them need root, a mount and Samba."""
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.mount)
            item.add_marker(pytest.mark.programs)
            item.add_marker(needs_root)
            if missing:
                item.add_marker(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A new directory that every user may enter; pytest's own are closed to other users."""
    path = Path(tempfile.mkdtemp(prefix="cloakfs-samba-")).resolve()
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def office(place: Path) -> Iterator[Office]:
    """The office of a module; its tests keep to folders of their own."""
    with opened(place) as office:
        yield office


@pytest.fixture
def room(office: Office, request: pytest.FixtureRequest) -> Path:
    """A folder of the share for one test."""
    path = office.folder / request.node.name
    path.mkdir()
    return path
