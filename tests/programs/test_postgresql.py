"""PostgreSQL with its cluster on a mount: load, a killed server, a killed daemon; nothing committed is lost.

As root the cluster belongs to Debian's user postgres, who uses root's mount through --allow-other.
"""

from __future__ import annotations

import os
import pwd
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.mounting import MountedVolume, wait_for
from tests.support.programs import (
    MARKER,
    TIMEOUT,
    Maker,
    Reporter,
    crash,
    environment,
    kill_family,
    reporting,
)

pytestmark = [pytest.mark.mount, pytest.mark.programs]

PROGRAMS = max(Path("/usr/lib/postgresql").glob("*/bin/initdb"), default=Path("/nowhere/bin/initdb")).parent
ROOT = os.geteuid() == 0
BALANCES = """
    SELECT (SELECT sum(abalance) FROM pgbench_accounts), (SELECT sum(bbalance) FROM pgbench_branches),
           (SELECT sum(tbalance) FROM pgbench_tellers), (SELECT coalesce(sum(delta), 0) FROM pgbench_history)
"""


class Cluster:
    """A database cluster in ``mnt/cluster``; only its socket and its log are outside the mount."""

    def __init__(self, volume: MountedVolume, outside: Path) -> None:
        self.data = volume.path / f"{MARKER} cluster"
        self.outside = outside
        self.server: subprocess.Popen[bytes] | None = None
        self.segments: set[str] = set()
        self.user: dict[str, str | int | list[int]] = {}
        outside.mkdir()
        self.data.mkdir(mode=0o700)
        volume.path.chmod(0o755)
        if ROOT:
            postgres = pwd.getpwnam("postgres")
            self.user = {"user": postgres.pw_uid, "group": postgres.pw_gid, "extra_groups": []}
            for path in (outside, self.data):
                os.chown(path, postgres.pw_uid, postgres.pw_gid)
        self.run(
            "initdb", "--pgdata", str(self.data), "--auth=trust", "--username=postgres", "--encoding=UTF8",
            "--locale=C.UTF-8", "--data-checksums",
        )  # fmt: skip
        self.set_up(
            listen_addresses="''",
            unix_socket_directories=f"'{outside}'",
            # Shared memory as a mapped file in the cluster: another kind of use, and nothing stays in /dev/shm.
            dynamic_shared_memory_type="mmap",
            shared_buffers="16MB",
            max_wal_size="64MB",
            checkpoint_timeout="30s",
            log_checkpoints="off",
        )

    def set_up(self, **settings: str) -> None:
        """Add to the configuration; counts from the next start."""
        with (self.data / "postgresql.conf").open("a") as file:
            file.writelines(f"{name} = {value}\n" for name, value in settings.items())

    def run(self, program: str, *arguments: str, check: bool = True) -> str:
        """Run one of PostgreSQL's programs to its end."""
        result = subprocess.run(
            [str(PROGRAMS / program), *arguments], env=self.environment(), cwd="/", stdin=subprocess.DEVNULL,
            capture_output=True, text=True, timeout=TIMEOUT, check=False, **self.user,
        )  # type: ignore[call-overload]  # fmt: skip
        if check and result.returncode != 0:
            pytest.fail(f"{program} {arguments}: {result.stdout}\n{result.stderr}\n{self.log()}")
        return str(result.stdout)

    def environment(self) -> dict[str, str]:
        """Where the programs find the server."""
        return environment(PGHOST=str(self.outside), PGUSER="postgres", PGDATABASE="postgres")

    def log(self) -> str:
        """What the server has said."""
        log = self.outside / "log"
        return log.read_text(errors="replace")[-8000:] if log.exists() else ""

    def start(self) -> None:
        """Start the server and wait until it answers, recovery included."""
        with (self.outside / "log").open("ab") as log:
            self.server = subprocess.Popen(  # type: ignore[call-overload]
                [str(PROGRAMS / "postgres"), "-D", str(self.data)], env=self.environment(), cwd="/",
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self.user,
            )  # fmt: skip
        wait_for(self._answers, "the server answers", TIMEOUT)
        self.segments.add((self.data / "postmaster.pid").read_text().splitlines()[6].split()[1])

    def _answers(self) -> bool:
        assert self.server is not None
        assert self.server.poll() is None, self.log()
        return subprocess.run([PROGRAMS / "pg_isready", "-q"], env=self.environment(), check=False).returncode == 0

    def stop(self) -> None:
        """Shut down in order."""
        assert self.server is not None
        self.server.send_signal(2)  # SIGINT: a fast shutdown
        assert self.server.wait(timeout=TIMEOUT) == 0, self.log()
        self.server = None

    def kill(self) -> None:
        """kill -9 of the server and all its processes."""
        assert self.server is not None
        if self.server.poll() is None:
            kill_family(self.server.pid)
            self.server.wait(timeout=TIMEOUT)
        self.server = None

    def remove_segments(self) -> None:
        """Remove the shared memory of killed servers: a new one removes it only if the device number is the same."""
        for segment in self.segments:
            subprocess.run(["ipcrm", "-m", segment], capture_output=True, check=False)

    def sql(self, command: str) -> str:
        """Run SQL with psql."""
        return self.run("psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", command).strip()

    def dump(self) -> list[str]:
        """All data as SQL, without the lines that are random in every dump."""
        random = ("\\restrict", "\\unrestrict")
        return [line for line in self.run("pg_dump").splitlines() if not line.startswith(random)]

    def committer(self) -> Reporter:
        """Commits numbered rows one by one, and reports each when the server has confirmed it."""
        script = self.outside / "committer.sql"
        first = int(self.sql("SELECT coalesce(max(number), 0) + 1 FROM acknowledged"))
        script.write_text(
            "".join(
                f"INSERT INTO acknowledged VALUES ({number}, '{MARKER} {number}') RETURNING number;\n"
                for number in range(first, first + 100_000)
            )
        )
        psql = [str(PROGRAMS / "psql"), "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]
        return Reporter([*psql, "-h", str(self.outside), "-U", "postgres", "postgres"], feed=script)

    def load(self) -> Reporter:
        """Pgbench until it is stopped."""
        bench = [str(PROGRAMS / "pgbench"), "-n", "-c", "3", "-t", "1000000", "-h", str(self.outside), "-U", "postgres"]
        return Reporter([*bench, "postgres"])

    def check(self, acknowledged: int) -> None:
        """The data is consistent, and what was confirmed is there."""
        accounts, *others = self.sql(BALANCES).split("|")
        assert others == [accounts] * 3
        assert int(self.sql("SELECT max(number) FROM acknowledged")) in {acknowledged, acknowledged + 1}
        assert self.sql("SELECT count(*) = max(number) FROM acknowledged") == "t"
        assert self.sql(f"SELECT count(*) FROM acknowledged WHERE text <> '{MARKER} ' || number") == "0"
        self.sql("CREATE EXTENSION IF NOT EXISTS amcheck")
        self.run("pg_amcheck", "--heapallindexed", "--all")


@contextmanager
def cluster(volume: MountedVolume, outside: Path) -> Iterator[Cluster]:
    """A started cluster with pgbench's tables; no process of it outlives the block."""
    made = Cluster(volume, outside)
    try:
        made.start()
        made.run("pgbench", "-i", "-q", "-s", "1")
        made.sql("CREATE TABLE acknowledged (number integer PRIMARY KEY, text text)")
        yield made
    finally:
        if made.server is not None:
            made.kill()
        made.remove_segments()


@pytest.fixture
def shared(make_volume: Maker) -> MountedVolume:
    """A volume that the user postgres may use, too."""
    if not (PROGRAMS / "initdb").exists():
        pytest.skip("PostgreSQL is not installed")
    return make_volume(options=("--allow-other",) if ROOT else ())


def test_load_and_a_killed_server(shared: MountedVolume, base: Path) -> None:
    """initdb, pgbench, kill -9 of the server under load, recovery, a dump that is the same after a remount."""
    with cluster(shared, base / "outside") as database:
        database.run("pgbench", "-n", "-c", "4", "-j", "2", "-t", "150")
        load, committer = database.load(), database.committer()
        with reporting(load, committer):
            committer.read(50)
            database.kill()
            assert committer.end() != 0
            assert load.end() != 0
        database.start()
        database.check(int(committer.lines[-1]))
        database.sql("VACUUM FULL")
        before = database.dump()
        database.stop()
        database.run("pg_checksums", "--check", "--pgdata", str(database.data))
        shared.remount()
        database.run("pg_checksums", "--check", "--pgdata", str(database.data))
        database.start()
        assert database.dump() == before
        database.stop()


@pytest.mark.parametrize("method", ["fdatasync", pytest.param("open_datasync", marks=pytest.mark.slow)])
def test_the_daemon_is_killed(shared: MountedVolume, base: Path, method: str) -> None:
    """kill -9 of the daemon under load: the cluster recovers, and every confirmed commit is in it."""
    with cluster(shared, base / "outside") as database:
        database.stop()
        database.set_up(wal_sync_method=method)
        database.start()
        load, committer = database.load(), database.committer()
        with reporting(load, committer):
            committer.read(60)
            shared.kill_daemon()
            database.kill()
            crash(shared, committer, load)
        database.start()
        database.check(int(committer.lines[-1]))
        database.stop()
        database.run("pg_checksums", "--check", "--pgdata", str(database.data))
