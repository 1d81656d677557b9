"""Work in processes of its own: several readers at once without one interpreter between them, and mapped files.

A page of a mapped file that cannot be read kills the process that touches it.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable, Sequence

from benchmarks.harness.workloads.steps import WrongBytesError

_WRONG_BYTES = 250  # No errno is as high.
_DONE = b"."


def at_once(works: Sequence[Callable[[], object]]) -> float:
    """Do each in a forked process of its own; the seconds from their common start until the last one is done.

    Raises:
        OSError: one of them failed with it; EIO if it was killed, as by SIGBUS on a mapped page.
        WrongBytesError: one of them found it.
    """
    gate_out, gate_in = os.pipe()
    done_out, done_in = os.pipe()
    pids = [_forked(work, gate_out, gate_in, done_in) for work in works]
    os.close(gate_out)
    os.close(done_in)
    started = ended = time.perf_counter()
    os.close(gate_in)
    while os.read(done_out, 1):
        ended = time.perf_counter()
    os.close(done_out)
    for status in [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]:
        if status == _WRONG_BYTES:
            raise WrongBytesError("a file ends early")
        if status != 0:
            code = status if status > 0 else errno.EIO
            raise OSError(code, os.strerror(code))
    return ended - started


def _forked(work: Callable[[], object], gate_out: int, gate_in: int, done_in: int) -> int:
    pid = os.fork()
    if pid:
        return pid
    status = errno.EIO
    try:
        os.close(gate_in)
        os.read(gate_out, 1)  # Ends when the last one who could write has closed the other side.
        work()
        os.write(done_in, _DONE)
        status = 0
    except OSError as exc:
        status = exc.errno or errno.EIO
    except WrongBytesError:
        status = _WRONG_BYTES
    finally:
        os._exit(status)
