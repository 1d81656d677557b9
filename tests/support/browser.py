"""A headless Chromium that looks at a page from the disk, and at nothing else."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

_QUIET = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update"),
)


def available() -> bool:
    """Whether there is one."""
    return shutil.which("chromium") is not None


def picture(
    page: str, target: Path, profile: Path, *, width: int = 1280, height: int = 1600, dark: bool = False
) -> None:
    """A picture of a page."""
    colours = ["--force-dark-mode", "--blink-settings=preferredColorScheme=0"] if dark else []
    command = ["chromium", *_QUIET, *colours, f"--user-data-dir={profile}", f"--window-size={width},{height}"]
    subprocess.run([*command, f"--screenshot={target}", page], check=True, capture_output=True, timeout=120)


def after_scripts(page: str, profile: Path, *, width: int = 1280) -> str:
    """The page's HTML when its scripts have nothing left to do (in the browser's own time, which does not wait)."""
    command = ["chromium", *_QUIET, f"--user-data-dir={profile}", f"--window-size={width},1600"]
    command += ["--virtual-time-budget=20000", "--dump-dom", page]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


def printed(page: str, target: Path, profile: Path) -> None:
    """A PDF of a page, as the browser prints it by itself, without a line of its own on top and below."""
    command = ["chromium", *_QUIET, f"--user-data-dir={profile}", "--no-pdf-header-footer"]
    subprocess.run([*command, f"--print-to-pdf={target}", page], check=True, capture_output=True, timeout=120)
