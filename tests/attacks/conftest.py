"""Which tests of the attacks need a mount."""

from __future__ import annotations

from pathlib import Path

import pytest

FUSE = Path("/dev/fuse")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those with a batch need a mount."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents and "batch" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.mount)
            if not FUSE.exists():
                item.add_marker(pytest.mark.skip(reason="no /dev/fuse"))
