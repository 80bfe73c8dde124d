# SPDX-License-Identifier: Apache-2.0
"""show --archive: what of the WAL stream is in wal/<instance>. A catalog made by hand; no server is needed."""
import gzip
import json

import pytest

from processes import give_to_user, make_dir, snapshot
from tool import gsp_fails, gsp_ok

SEGMENT = 1 << 20
PER_LOG = (1 << 32) // SEGMENT

CONTROL = """backup-mode = {mode}
stream = false
timelineid = {timeline}
start-lsn = {start}
stop-lsn = {stop}
start-time = '2026-01-0{day} 10:00:00+00'
end-time = '2026-01-0{day} 10:00:01+00'
recovery-time = '2026-01-0{day} 10:00:01+00'
block-size = 8192
xlog-block-size = 8192
status = {status}
"""


def name(timeline, number):
    return f"{timeline:08X}{number // PER_LOG:08X}{number % PER_LOG:08X}"


class Archive:
    def __init__(self, path):
        self.path = path
        gsp_ok("init", "-B", path)
        self.wal = make_dir(path / "wal" / "main")
        self.instance = make_dir(path / "backups" / "main")
        self.write(self.instance / "pg_probackup.conf", b"system-identifier = 1\n")

    @staticmethod
    def write(path, content):
        path.write_bytes(content)
        give_to_user(path)

    def segment(self, timeline, number, suffix="", content=None):
        self.write(self.wal / (name(timeline, number) + suffix), bytes(SEGMENT) if content is None else content)

    def history(self, timeline, text):
        self.write(self.wal / f"{timeline:08X}.history", text.encode())

    def backup(self, backup_id, **values):
        folder = make_dir(self.instance / backup_id)
        values = {"mode": "FULL", "status": "OK", **values}
        self.write(folder / "backup.control", CONTROL.format(**values).encode())

    def show(self, *args):
        before = snapshot(self.path)
        result = gsp_ok("show", "-B", self.path, "--archive", *args, env={"TZ": "UTC"})
        assert snapshot(self.path) == before
        return result

    def timelines(self, *args):
        (instance,) = json.loads(self.show("--format=json", *args).out)["backup_info"]
        assert list(instance) == ["instance", "timelines"] and instance["instance"] == "main"
        return instance["timelines"]


@pytest.fixture
def archive(bench):
    """Timeline 1 up to segment 9 with two holes; 2 left it at segment 6, 3 left 2 at segment 8; 7 has lost its history."""
    made = Archive(bench.new("catalog"))
    for number in (2, 3, 4, 7, 9):
        made.segment(1, number)
    made.segment(1, 4, ".gz", gzip.compress(bytes(SEGMENT)))  # twice
    made.segment(1, 2, ".00000028.backup", b"START WAL LOCATION\n")
    made.segment(1, 10, ".partial")
    made.segment(2, 6, ".gz", b"x" * 1000)
    made.segment(2, 7, ".gz", b"x" * 3000)
    made.segment(3, 8)
    made.segment(7, 20)
    made.segment(9, 5, ".partial")  # nothing whole on this one
    made.history(2, "1\t0/600000\tno recovery target specified\n")
    made.history(3, "1\t0/600000\tbefore\n\n2\t0/880000\tafter\n")
    made.write(made.wal / "README", b"not WAL")
    made.backup("T88M80", timeline=1, start="0/200028", stop="0/300000", day=1)
    made.backup("T8AGW0", timeline=1, start="0/400028", stop="0/5FFFFF", day=2)
    made.backup("T8CBK0", timeline=1, start="0/700028", stop="0/780000", day=3)  # behind the switch
    made.backup("T8E680", timeline=2, start="0/700028", stop="0/780000", day=4, status="CORRUPT")
    return made




def test_plain(archive):
    lines = archive.show("--instance=main").out.splitlines()
    assert lines[:2] == ["", "ARCHIVE INSTANCE 'main'"]
    assert lines[2] == lines[4] == "=" * len(lines[3])
    rows = [line.split() for line in lines[5:]]
    assert lines[3].split("  ") and [cell.strip() for cell in lines[3].split("  ") if cell.strip()] == [
        "TLI", "Parent TLI", "Switchpoint", "Min Segno", "Max Segno", "N segments", "Size", "Zratio", "N backups", "Status"]
    assert rows == [
        ["7", "0", "0/0", name(7, 20), name(7, 20), "1", "1024kB", "1.00", "0", "OK"],
        ["3", "2", "0/880000", name(3, 8), name(3, 8), "1", "1024kB", "1.00", "0", "OK"],
        ["2", "1", "0/600000", name(2, 6), name(2, 7), "2", "4000B", "524.29", "1", "OK"],
        ["1", "0", "0/0", name(1, 2), name(1, 9), "5", "6145kB", "1.00", "3", "DEGRADED"]]
    assert archive.show().out.splitlines() == lines  # all instances, that is: the only one


def test_json(archive):
    timelines = {t["tli"]: t for t in archive.timelines()}
    assert list(timelines) == [7, 3, 2, 1]
    assert list(timelines[1]) == ["tli", "parent-tli", "switchpoint", "min-segno", "max-segno", "n-segments", "size", "zratio",
                                  "closest-backup-id", "status", "lost-segments", "backups"]
    assert timelines[1]["lost-segments"] == [{"begin-segno": name(1, 5), "end-segno": name(1, 6)},
                                             {"begin-segno": name(1, 8), "end-segno": name(1, 8)}]
    assert timelines[1]["status"] == "DEGRADED" and timelines[1]["n-segments"] == 5
    assert timelines[2]["lost-segments"] == [] and timelines[2]["status"] == "OK"
    assert (timelines[2]["size"], timelines[2]["zratio"]) == (4000, 524.29)
    parents = {tli: (t["parent-tli"], t["switchpoint"]) for tli, t in timelines.items()}
    assert parents == {7: (0, "0/0"), 3: (2, "0/880000"), 2: (1, "0/600000"), 1: (0, "0/0")}
    newest, oldest = timelines[1]["backups"][0]["id"], timelines[1]["backups"][-1]["id"]
    middle = timelines[1]["backups"][1]["id"]
    assert newest > middle > oldest and [b["current-tli"] for b in timelines[1]["backups"]] == [1, 1, 1]
    assert [b["status"] for b in timelines[2]["backups"]] == ["CORRUPT"]
    # Into 2 by the backup before its switch; into 3 by the same: what is on 2 is damaged.
    closest = {tli: t["closest-backup-id"] for tli, t in timelines.items()}
    assert closest == {7: "", 3: middle, 2: middle, 1: ""}


def test_odd_archives(archive):
    archive.history(3, "nonsense\n")
    archive.segment(1, 12, content=bytes(SEGMENT + 1))
    shown = archive.show("--instance=main", "--format=json")
    assert any("history of timeline 3" in w for w in shown.warnings), shown
    assert any(name(1, 12) in w for w in shown.warnings), shown
    (instance,) = json.loads(shown.out)["backup_info"]
    timelines = {t["tli"]: t for t in instance["timelines"]}
    assert timelines[3]["parent-tli"] == 0 and timelines[1]["max-segno"] == name(1, 9)
    for path in archive.wal.iterdir():
        path.unlink()
    assert archive.timelines() == []
    assert archive.show().out.splitlines()[1] == "ARCHIVE INSTANCE 'main'"
    archive.wal.rmdir()
    assert archive.timelines() == []


def test_not_together_with_a_backup(archive):
    gsp_fails("show", "-B", archive.path, "--instance=main", "--archive", "-i", "T88M80",
              message="You cannot specify --archive and (-i, --backup-id) options together")
