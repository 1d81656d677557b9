"""``python -m encfs``: the same as the command ``cloakfs``."""

from __future__ import annotations

from encfs.cli.main import main

if __name__ == "__main__":
    main()
