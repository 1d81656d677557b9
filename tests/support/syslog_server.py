"""A real rsyslog on loopback that takes syslog over TLS, with files and a port of its own."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.certificates import Certified

_CONFIG = """
global(workDirectory="{directory}" defaultNetstreamDriver="{driver}" maxMessageSize="8k"
       defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{server.certificate}"
       defaultNetstreamDriverKeyFile="{server.key}")
module(load="imtcp" streamDriver.name="{driver}" streamDriver.mode="1" streamDriver.authMode="{auth}")
template(name="all" type="list") {{ property(name="rawmsg") constant(value="\\n") }}
input(type="imtcp" address="127.0.0.1" port="0" listenPortFileName="{directory}/port")
action(type="omfile" file="{directory}/default.log" template="RSYSLOG_FileFormat")
action(type="omfile" file="{directory}/structured.log" template="RSYSLOG_SyslogProtocol23Format")
action(type="omfile" file="{directory}/raw.log" template="all")
"""


@dataclass(frozen=True)
class SyslogServer:
    """A server that runs.

    Attributes:
        default: the file with the format that rsyslog has of itself, which leaves structured data out.
        structured: the file with the format of RFC 5424.
        raw: the file with each message as it came.
    """

    port: int
    default: Path
    structured: Path
    raw: Path

    def lines(self, count: int) -> list[str]:
        """So many lines of ``structured``, once they are there."""
        until = time.monotonic() + 30
        while True:
            found = self.structured.read_text().splitlines() if self.structured.exists() else []
            if len(found) >= count or time.monotonic() > until:
                return found
            time.sleep(0.02)


def is_installed() -> bool:
    """Whether there is an rsyslog with TLS."""
    return shutil.which("rsyslogd", path="/usr/sbin:/usr/bin") is not None and any(
        Path("/usr/lib").glob("*/rsyslog/lmnsd_gtls.so")
    )


@contextmanager
def running(
    directory: Path, server: Certified, ca: Path, *, auth: str = "anon", driver: str = "gtls"
) -> Iterator[SyslogServer]:
    """rsyslog, until the end of the ``with``; ``auth``: ``x509/certvalid`` wants certificates of clients."""
    directory.mkdir()
    # A copy: where Debian confines rsyslogd by its path, it could not read the files of a test.
    program = directory / "rsyslogd"
    shutil.copy(shutil.which("rsyslogd", path="/usr/sbin:/usr/bin") or "rsyslogd", program)
    config = directory / "rsyslog.conf"
    config.write_text(_CONFIG.format(directory=directory, server=server, ca=ca, auth=auth, driver=driver))
    log = directory / "said"
    with log.open("wb") as said:
        process = subprocess.Popen(
            [program, "-n", "-f", config, "-i", directory / "pid"], stdout=said, stderr=said, stdin=subprocess.DEVNULL
        )
    try:
        port = directory / "port"
        until = time.monotonic() + 30
        while not (port.exists() and port.read_text().strip()):
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < until, log.read_text()
            time.sleep(0.02)
        yield SyslogServer(
            int(port.read_text()), directory / "default.log", directory / "structured.log", directory / "raw.log"
        )
    finally:
        process.terminate()
        process.wait(timeout=30)
