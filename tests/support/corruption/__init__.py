"""Attacks on a closed volume, each with what becomes of it (THREAT_MODEL.md, "Attack by attack").

Owns: nothing itself; importing it fills the list. Must not know: ``encfs``. ``tools/corrupt.py`` does them one by one.
"""

from tests.support.corruption import cells, config, places, regions, whole
from tests.support.corruption.attack import ATTACKS, Attack, Effect, Hit, Outcome, Target

__all__ = ["ATTACKS", "Attack", "Effect", "Hit", "Outcome", "Target", "cells", "config", "places", "regions", "whole"]
