"""What is done on every peer, by subject; :data:`STEPS` has all of it in order."""

from benchmarks.harness.workloads import (
    appending,
    database,
    documents,
    large,
    many,
    programs,
    random_access,
    tree,
)
from benchmarks.harness.workloads.steps import Step

STEPS: tuple[Step, ...] = (
    *large.STEPS,
    *random_access.STEPS,
    *appending.STEPS,
    *database.STEPS,
    *tree.STEPS,
    *many.STEPS,
    *documents.STEPS,
    *programs.STEPS,
)
GROUPS = tuple(dict.fromkeys(step.group for step in STEPS))
