"""Names for the numbers and byte strings that must not be mixed up. Nothing else lives here."""

from __future__ import annotations

from typing import NewType

CellIndex = NewType("CellIndex", int)
PlainOffset = NewType("PlainOffset", int)
LowerOffset = NewType("LowerOffset", int)
DirId = NewType("DirId", bytes)
FileId = NewType("FileId", bytes)
VolumeId = NewType("VolumeId", bytes)
SessionId = NewType("SessionId", bytes)
LowerName = NewType("LowerName", bytes)
