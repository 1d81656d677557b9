"""``benchmarks.peers`` compares what it says, looks at every byte, and leaves nothing behind. No figure is tested."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from benchmarks import peers as program
from benchmarks.harness import filesystems, plots, targets, tree, workloads
from benchmarks.harness.course import Course
from benchmarks.harness.peers import Peer, PeerError, Site
from benchmarks.harness.workloads.memory import PAGE
from benchmarks.harness.workloads.programs import make_repository
from benchmarks.harness.workloads.steps import QUICK, FailedError, Round, Samples, Step, WrongBytesError, nothing
from tests.support.mounting import is_mounted

TOP = Path(__file__).resolve().parents[1]

# Mapped files and several readers are forked; pytest's workers have threads, of which the forked work uses nothing.
forks = pytest.mark.filterwarnings("ignore:.*use of fork\\(\\):DeprecationWarning")
without_fuse = pytest.mark.skipif(not Path("/dev/fuse").exists(), reason="no /dev/fuse")


# -- the whole program ---------------------------------------------------------------------------------------


def smoke_run(base, *options):
    """The documents that a smoke run writes: JSON, and text. It leaves nothing below ``base`` but them."""
    output, store = base / "out.json", base / "store"
    store.mkdir()
    command = [sys.executable, "-m", "benchmarks.peers", "--quick", "--tmpfs", store, "--output", output, *options]
    result = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert os.listdir(store) == []
    assert str(base) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")
    return json.loads(output.read_text(encoding="utf-8")), output.with_suffix(".md").read_text(encoding="utf-8")


def names_in(document):
    """Of each backing store: the steps, with the peers that have figures or are said to refuse."""
    return {
        store["store"]: {step["what"]: set(step["seconds"]) | set(step.get("refused", ())) for step in store["steps"]}
        for store in document["results"]
    }


@pytest.mark.mount
@without_fuse
def test_smoke_run_compares_with_named_peers(tmp_path):
    """It mounts cloakfs and the peers that were named, takes their steps, and says against whom each ratio is."""
    groups = ("append", "database", "documents", "mount", "idle")
    document, page = smoke_run(tmp_path, "--peers", "bare", "passthrough", "--only", *groups)
    everybody = {"cloakfs", "bare", "passthrough"}
    assert set(document["peers"]) == everybody
    (store,) = document["results"]
    possible = [step for step in workloads.STEPS if step.group in groups and (os.geteuid() == 0 or not step.cold)]
    expected = {step.name: everybody for step in possible}
    assert names_in(document) == {"memory": {**expected, "mount": {"cloakfs", "passthrough"}}}
    for step in store["steps"]:
        assert set(step["ratio"]) == set(step["ratio_range"]) == set(step["seconds"]) - {"cloakfs"}
        assert all(spread["low"] <= spread["median"] <= spread["high"] for spread in step["seconds"].values())
    assert set(store["idle"]["cpu_seconds"]) == {"cloakfs", "passthrough"}
    assert all(peaks["cloakfs"] > 1 for peaks in store["peak_megabytes"].values())
    assert {verdict["against"] for verdict in document["targets"]} == {"gocryptfs", "best", "passthrough", ""}
    assert all(step["title"] in page for step in store["steps"])
    assert {"processor", "cores", "kernel"} <= document["machine"].keys()
    assert str(tmp_path) not in json.dumps(document) + page


@pytest.mark.slow
@pytest.mark.mount
@without_fuse
def test_smoke_run_with_everybody(tmp_path):
    """Every step is taken on every peer that is installed, and each gives its bytes back."""
    installed = [name for name in filesystems.MAKERS if name not in filesystems.ENCRYPTED or shutil.which(name)]
    document, _ = smoke_run(tmp_path, "--peers", *installed)
    possible = [step for step in workloads.STEPS if os.geteuid() == 0 or not step.cold]
    found = names_in(document)["memory"]
    assert set(found) == {"mount", *(step.name for step in possible)}
    assert all(found[step.name] == {"cloakfs", *installed} for step in possible)


def test_wrong_bytes_end_the_run(tmp_path, monkeypatch, capsys):
    """A peer that gives other bytes back than were written ends the run: no figures, and the exit status says so."""
    monkeypatch.setattr(program, "choose_peers", lambda *_: [Peer("cloakfs", ""), Peer("gocryptfs", "")])
    monkeypatch.setattr(workloads, "STEPS", (step_on("gocryptfs", damage),))
    output = tmp_path / "out.json"
    command = ["peers", "--quick", "--only", "large", "--tmpfs", str(tmp_path), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", command)
    assert program.main() == 1
    said = capsys.readouterr()
    assert "failed: a test on gocryptfs: other bytes" in said.err
    assert "Targets" not in said.out
    assert not output.exists()


def test_a_signal_ends_the_run_between_two_steps(tmp_path, monkeypatch):
    """The step is done to its end and the next one is not begun; nothing is written, and nothing is left."""
    done = []

    def signalled(path, rnd):
        signal.raise_signal(signal.SIGTERM)
        done.append(path.parent.name)

    monkeypatch.setattr(program, "choose_peers", lambda *_: [Peer("cloakfs", ""), Peer("gocryptfs", "")])
    monkeypatch.setattr(workloads, "STEPS", (Step("large", "test", "a test", "s", signalled),))
    output, store = tmp_path / "out.json", tmp_path / "store"
    store.mkdir()
    command = ["peers", "--quick", "--only", "large", "--tmpfs", str(store), "--output", str(output)]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert (ended.value.code, len(done)) == (128 + signal.SIGTERM, 1)
    assert not output.exists()
    assert os.listdir(store) == []


def test_an_output_that_cannot_be_written_is_said_first(tmp_path, monkeypatch, capsys):
    """A directory that is missing ends the program before anything is measured."""
    monkeypatch.setattr(sys, "argv", ["peers", "--output", str(tmp_path / "missing" / "out.json")])
    with pytest.raises(SystemExit) as ended:
        program.main()
    assert ended.value.code == 2
    assert "there is no directory" in capsys.readouterr().err


@pytest.mark.mount
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a tmpfs")
def test_a_mount_whose_daemon_is_not_found_is_taken_off(tmp_path):
    """Between the mount and the search for who serves it nothing may go wrong either."""

    def start(home):
        subprocess.run(["mount", "-t", "tmpfs", "nothing", home / "mnt"], check=True)

    def find_pid(home):
        raise PeerError("nobody serves it")

    with (
        pytest.raises(PeerError, match="nobody serves it"),
        Peer("one", "", start=start, find_pid=find_pid).mounted(tmp_path),
    ):
        pass
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(encoding="utf-8")


# -- steps ---------------------------------------------------------------------------------------------------


def step_on(peer, what):
    """A step that writes a file, and does ``what`` with it on one peer."""

    def run(path, rnd):
        (path / "file").write_bytes(b"right")
        if path.parent.name == peer:
            what(path / "file")

    def read_back(path, rnd):
        if (path / "file").read_bytes() != b"right":
            raise WrongBytesError("other bytes")

    return Step("large", "test", "a test", "s", run, read_back=read_back)


def damage(file):
    """One byte is another one."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def refuse(code, file):
    """What a filesystem says."""
    raise OSError(code, os.strerror(code), file)


@pytest.fixture
def new_round(tmp_path):
    """Makes the data of a repetition."""
    sample = tree.make(tmp_path / "tree.tar", QUICK.tree_files)

    def make(number=0, repository=None):
        scratch = tmp_path / f"scratch-{number}"
        scratch.mkdir()
        return Round.new(QUICK, Samples(sample, repository), scratch, number)

    return make


@pytest.fixture
def sites(tmp_path):
    """Two directories that stand for mounted peers."""
    for name in ("cloakfs", "gocryptfs"):
        (tmp_path / name / "mnt").mkdir(parents=True)
    return [Site(name, tmp_path / name / "mnt") for name in ("cloakfs", "gocryptfs")]


def test_what_a_peer_refuses_is_no_figure(sites, new_round):
    """A refusal is kept with its reason, once and for all; the other peers have their figures."""
    step = step_on("gocryptfs", partial(refuse, errno.EINVAL))
    course = Course(sites, [step])
    course.repeat(new_round(0))
    course.repeat(new_round(1))
    samples = course.samples["test"]
    assert samples.refused == {"gocryptfs": "EINVAL"}
    assert {peer: len(values) for peer, values in samples.seconds.items()} == {"cloakfs": 2}


def test_what_fails_on_a_peer_ends_the_run(sites, new_round):
    """An I/O error is no refusal."""
    course = Course(sites, [step_on("gocryptfs", partial(refuse, errno.EIO))])
    with pytest.raises(FailedError, match=r"a test on gocryptfs: .*Input/output error"):
        course.repeat(new_round())


def test_nothing_is_left_between_groups(sites, new_round):
    """Each group starts with an empty directory."""
    Course(sites, [step_on("nobody", damage)]).repeat(new_round())
    assert [os.listdir(site.path) for site in sites] == [[], []]


def taken(path, rnd, last):
    """Do the steps of a group, the given one last, but for its check after caches were dropped."""
    for step in workloads.STEPS:
        if step.group == last.group:
            if step is last:
                _next_tick(path)
            step.prepare(path, rnd)
            try:
                step.run(path, rnd)
            except OSError as exc:
                pytest.skip(f"this filesystem refuses it: {exc}")
            if step is last:
                return
            step.check(path, rnd)


def _next_tick(path):
    """Until the clock of files is past all that are there: what is written now is the newest."""
    newest = max((file.lstat().st_mtime_ns for file in path.rglob("*")), default=0)
    probe = path.parent / "probe"
    while not probe.exists() or probe.stat().st_mtime_ns <= newest:
        probe.write_bytes(b"x")


def damaged_file(path, rnd):
    """One of the files that a step left: a byte is another one, or it is gone if it was empty."""
    # git's own files are not looked at: git does that.
    files = sorted(file for file in path.rglob("*") if file.is_file() and ".git" not in file.parts)
    file = max(files, key=lambda file: file.stat().st_mtime_ns)
    content = file.read_bytes()
    if not content:
        file.unlink()
        return
    # Of a database, a byte in a row: not every byte of it means something.
    place = max(content.find(rnd.data[200:220]), 0) if file.suffix == ".db" else len(content) // 2
    file.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])


@forks
@pytest.mark.parametrize("step", [s for s in workloads.STEPS if s.read_back is not nothing], ids=lambda s: s.name)
def test_every_write_is_read_back(step, tmp_path, new_round):
    """One wrong byte in what a step wrote is found; none is found where there is none."""
    path, rnd = _place(step, tmp_path, new_round)
    taken(path, rnd, step)
    step.check(path, rnd)
    step.read_back(path, rnd)
    damaged_file(path, rnd)
    with pytest.raises(WrongBytesError):
        step.read_back(path, rnd)


@forks
@pytest.mark.parametrize(
    "step",
    # A step that only writes has nothing to look at before it is read back.
    [s for s in workloads.STEPS if s.check is not nothing and not s.name.startswith("random_write")],
    ids=lambda s: s.name,
)
def test_every_read_is_checked(step, tmp_path, new_round):
    """One wrong byte in what a step read, another output of its program, or a stray file is found."""
    path, rnd = _place(step, tmp_path, new_round)
    taken(path, rnd, step)
    for number in range(0, len(rnd.buffer), PAGE):
        rnd.buffer[number] ^= 1
    for printed in rnd.scratch.iterdir():
        if printed.is_file():
            printed.write_bytes(b"" if printed.read_bytes() else b"something")
    (path / "stray").touch()
    with pytest.raises(WrongBytesError):
        step.check(path, rnd)


def _place(step, tmp_path, new_round):
    missing = [program for program in step.needs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"{missing[0]} is not installed")
    path = tmp_path / "plain"
    path.mkdir()
    rnd = new_round()
    if step.needs:
        rnd.samples = Samples(rnd.samples.tree, make_repository(rnd.samples.tree, tmp_path / "repository"))
    return path, rnd


# -- targets -------------------------------------------------------------------------------------------------


def entry(what, **ratios):
    """A step in which cloakfs is so many times as fast as each peer."""
    encrypted = {peer: ratio for peer, ratio in ratios.items() if peer in filesystems.ENCRYPTED}
    best = min(encrypted, key=encrypted.__getitem__, default=None)
    return {"what": what, "ratio": ratios, "best": best, "seconds": {}}


def verdicts_on(row, *entries, store="memory"):
    """What is said of one row, by whom it is against."""
    found = targets.judge([{"store": store, "steps": list(entries)}])
    return {v.against: (v.wanted, v.found, v.worst, v.met) for v in found if v.row == row}


def test_the_worst_workload_decides_a_row():
    """A row is met when all of its workloads are; against the best peer, which is another one for each workload."""
    first = entry("untar", gocryptfs=1.9, securefs=1.2, cryfs=3.0, passthrough=0.7)
    second = entry("cp", gocryptfs=1.3, securefs=2.0, cryfs=1.25, passthrough=0.6)
    assert verdicts_on("untar, cp -r, 500 documents", first, second) == {
        "gocryptfs": (1.4, 1.3, "cp", False),
        "best": (1.05, 1.2, "untar (securefs)", True),
        "passthrough": (0.5, 0.6, "cp", True),
    }


def test_a_target_is_met_when_it_is_reached():
    """Exactly the wanted ratio is enough, anything below is not."""
    assert verdicts_on("rm -rf, rename storm", entry("rm", gocryptfs=1.0, passthrough=0.499)) == {
        "gocryptfs": (1.0, 1.0, "rm", True),
        "best": (0.8, 1.0, "rm (gocryptfs)", True),
        "passthrough": (0.5, 0.499, "rm", False),
    }


def test_what_was_not_measured_is_neither_met_nor_missed():
    """Without the peer, the workload or the backing store there is no verdict; SQLite counts on a disk alone."""
    row = "SQLite FULL on disk"
    full = entry("sqlite_full", gocryptfs=2.0)
    assert [met for *_, met in verdicts_on(row, full).values()] == [None, None, None]
    assert [met for *_, met in verdicts_on(row, full, store="disk").values()] == [True, True, None]


def test_what_cloakfs_refuses_is_not_met():
    """A workload without figures of cloakfs is no pass."""
    refused = {"what": "random_read_mmap", "ratio": {}, "best": None, "seconds": {}, "refused": {"cloakfs": "ENODEV"}}
    said = verdicts_on("random 4 KiB read", entry("random_read", gocryptfs=2.0), refused)
    assert {met for *_, met in said.values()} == {False}


@pytest.mark.parametrize(("found", "met"), [(0.399, True), (0.4, False)])
def test_figures_of_cloakfs_alone_stay_below(found, met):
    """Mount time, idle CPU scaled to a minute, and the highest peak of any group on any store."""
    mount = {"what": "mount", "ratio": {}, "best": None, "seconds": {"cloakfs": {"median": found}}}
    memory = {
        "store": "memory",
        "steps": [mount],
        "idle": {"seconds": 30.0, "cpu_seconds": {"cloakfs": found / 80}},
        "peak_megabytes": {"large": {"cloakfs": 10.0, "cryfs": 900.0}},
    }
    disk = {"store": "disk", "steps": [], "peak_megabytes": {"database": {"cloakfs": found * 375}}}
    alone = {verdict.row: verdict for verdict in targets.judge([memory, disk]) if not verdict.against}
    assert [verdict.met for verdict in alone.values()] == [met, met, met]
    assert [verdict.found for verdict in alone.values()] == pytest.approx([found, found / 40, found * 375])
    assert list(alone.values())[-1].worst == "database"


# -- plots ---------------------------------------------------------------------------------------------------


def test_plots_show_every_ratio(tmp_path):
    """Each workload is in one plot of its backing store, and each peer that has a ratio."""
    steps = [
        {"group": group, "title": f"some work on {group}", "ratio": {"gocryptfs": 1.5, "cryfs": 0.2}}
        for group in (*workloads.GROUPS, "mount")
    ]
    result = {"store": "memory", "filesystem": "tmpfs", "steps": steps}
    written = list(plots.plot(result, ["cloakfs", "bare", "gocryptfs", "cryfs"], tmp_path / "out"))
    shown = "".join(path.read_text(encoding="utf-8") for path in written)
    assert sorted(path.name for path in written) == sorted(os.listdir(tmp_path))
    assert {path.suffix for path in written} == {".svg"}
    assert all(text in shown for text in ("gocryptfs", "cryfs", *(step["title"] for step in steps)))


# -- peers ---------------------------------------------------------------------------------------------------


@pytest.mark.mount
@without_fuse
def test_a_run_that_fails_leaves_nothing_mounted(tmp_path):
    """What goes wrong while a peer is mounted takes it off and ends its process."""
    seen = []
    with pytest.raises(WrongBytesError), filesystems.passthrough().mounted(tmp_path) as site:
        assert is_mounted(site.path)
        seen.append(site)
        raise WrongBytesError
    assert not is_mounted(seen[0].path)
    assert not Path(f"/proc/{seen[0].pid}").exists()


@pytest.mark.mount
@without_fuse
def test_passthrough_keeps_names_and_bytes(tmp_path):
    """Links, renames over others, unlinked open files, truncation and listings are those of the directory below."""
    with filesystems.passthrough().mounted(tmp_path) as site:
        top, lower = site.path, tmp_path / "passthrough" / "lower"
        (top / "sub").mkdir()
        (top / "a").write_bytes(b"first")
        os.link(top / "a", top / "sub" / "b")
        (top / "a").unlink()
        assert ((top / "sub" / "b").read_bytes(), os.stat(top / "sub" / "b").st_nlink) == (b"first", 1)
        (top / "c").write_bytes(b"second")
        (top / "sub").rename(top / "moved")
        (top / "c").rename(top / "moved" / "b")
        (top / "link").symlink_to("moved/b")
        with (top / "link").open("r+b") as file:
            (top / "moved" / "b").unlink()
            file.truncate(3)
            os.fchmod(file.fileno(), 0o600)
            assert (file.read(), os.fstat(file.fileno()).st_nlink) == (b"sec", 0)
        os.truncate(_written(top / "big", b"x" * 300_000), 200_000)
        with pytest.raises(OSError, match="not supported"):
            os.getxattr(top / "big", "user.test")
        names = {f"file-{number}" for number in range(500)}
        for name in names:
            (top / "moved" / name).touch()
        assert set(os.listdir(top / "moved")) == names == set(os.listdir(lower / "moved"))
        assert sorted(os.listdir(top)) == sorted(os.listdir(lower)) == ["big", "link", "moved"]
        assert os.readlink(lower / "link") == "moved/b"
    assert (lower / "big").read_bytes() == b"x" * 200_000


def _written(file, content):
    file.write_bytes(content)
    return file
