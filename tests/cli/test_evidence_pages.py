"""Page one of an evidence pack stays one page (docs/evidence.md)."""

from __future__ import annotations

import json
from typing import Any

import pypdfium2
import pytest

from encfs.core.documents import open_document, sign_document
from encfs.crypto.signing import Signer
from encfs.evidence import pack, pack_pages
from encfs.sheets.report import render
from tests.support.command import Made, run


@pytest.fixture
def body(volume: Made) -> dict[str, Any]:
    """Of a pack of a volume."""
    done = run("evidence", volume.path, "--recovery-file", volume.recovery_file, "--json", "-")
    assert done.code == 0, done.err
    return dict(json.loads(done.out)["body"])


def pages(body: dict[str, Any]) -> list[str]:
    """The text of each page, with one space for any white space."""
    signed = sign_document(Signer.generate(), kind=pack.KIND, made_at=1_700_000_000, host="practice", body=body)
    found = pypdfium2.PdfDocument(render(pack_pages.report(open_document(signed), signed)))
    try:
        return [" ".join(page.get_textpage().get_text_bounded().split()) for page in found]
    finally:
        found.close()


def check(number: int, *, same: bool, path: str) -> dict[str, Any]:
    """Something to do, with a long path."""
    return {
        "about": f"volume {path}{number}.vault",
        "code": "verified",
        "title": "last verify",
        "light": "amber",
        "found": "the whole volume was never verified by this user on this host" + ("" if same else f" ({number})"),
        "remedy": "cloakfs verify" if same else f"cloakfs verify {path}{number}.vault",
    }


@pytest.mark.parametrize("same", [False, True])
@pytest.mark.parametrize("path", ["/srv/", "/srv/practice/of/doctor/" + "weber-" * 12])
def test_page_one_is_one_page(body: dict[str, Any], same: bool, path: str) -> None:
    """However much is to do: what is in order stands on page one too, and page two is the index. All is counted."""
    fine = [one for one in body["checks"] if one["light"] == "green"]
    for count in (0, 1, 2, 5, 12, 60):
        checks = [*(check(number, same=same, path=path) for number in range(count)), *fine]
        first, second = pages({**body, "citations": [], "checks": checks})[:2]
        assert "What is in order" in first, count
        assert "cloakfs evidence --check FILE" in first, count
        assert "By regulation" in second, count
        if same and count > 3:
            assert f"and {count - 3} more" in first
        elif count == 60:
            shown = first.count("last verify volume")
            assert shown
            assert f"And {count - shown} more things: see All checks, below." in first
