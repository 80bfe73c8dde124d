# SPDX-License-Identifier: Apache-2.0
"""Recovery to a target: WAL goes to the catalog with a plain cp, and the restored server comes up where it was told to."""
import contextlib
import datetime
import re

import pytest

from processes import wait_until
from tool import gsp, gsp_fails, gsp_ok

UTC = datetime.timezone.utc
SETTINGS = "archive_mode = on\nmax_prepared_transactions = 2\ntimezone = 'America/New_York'\n"
ODD_NAME = "it's \\ \"here\" %p"
QUIET = ["-c archive_mode=off"]  # a server that comes up beside the original must not archive as it does


def switch(cluster):
    """All WAL up to here is archived."""
    (name,) = cluster.sql("SELECT pg_walfile_name(pg_switch_wal())")[0]
    wait_until(lambda: cluster.sql("SELECT last_archived_wal >= %s FROM pg_stat_archiver", name)[0][0], f"{name} in the archive")


class World:
    """A cluster that archives, the points of its life, and its catalog."""

    def __init__(self, shop, version):
        self.shop, self.version = shop, version
        self.cluster = shop.cluster(version, settings=SETTINGS)
        self.cluster.sql("CREATE TABLE t (n text)")
        self.catalog = shop.catalog(self.cluster)
        self.wal = self.catalog.path / "wal" / self.catalog.instance
        self.cluster.sql(f"ALTER SYSTEM SET archive_command = 'test ! -f \"{self.wal}/%f\" && cp \"%p\" \"{self.wal}/%f\"'")
        self.cluster.sql("SELECT pg_reload_conf()")
        self.command = f"--restore-command=cp \"{self.wal}/%f\" \"%p\""
        self.xid, self.time, self.lsn = {}, {}, {}

    def backup(self, **kwargs):
        """The catalog counts in whole seconds: the backup ends, for a target, with the second that it ended in."""
        made = self.catalog.backup(check=False, **kwargs)
        wait_until(lambda: not self.cluster.sql("SELECT clock_timestamp() < %s", self.shown(made)["recovery-time"])[0][0],
                   "the next second")
        return made

    def shown(self, backup_id):
        return next(b for b in self.catalog.show() if b["id"] == backup_id)

    def add(self, name, cluster=None):
        """A row, and what tells the moment after it from that after the next."""
        with contextlib.closing((cluster or self.cluster).connect()) as connection, connection.cursor() as cursor:
            connection.autocommit = False
            cursor.execute("INSERT INTO t VALUES (%s) RETURNING txid_current()", (name,))
            self.xid[name] = cursor.fetchone()[0]
            connection.commit()
            cursor.execute("SELECT clock_timestamp(), pg_current_wal_insert_lsn()")
            self.time[name], self.lsn[name] = cursor.fetchone()

    def restore(self, *args, data=None, goes_on=False, **kwargs):
        """What comes up: the result, the rows in order, and the cluster, stopped unless it goes on (and archives)."""
        data = data or self.shop.new("data")
        result = self.catalog.restore(data, "--no-validate", *args, **kwargs)
        cluster = self.shop.restored(self.version, data)
        cluster.start(*[] if goes_on else QUIET)
        rows = [row for row, in cluster.sql("SELECT n FROM t ORDER BY ctid")]
        if not goes_on:
            cluster.stop("immediate")
        return result, rows, cluster

    def validate(self, *args):
        return gsp("validate", *self.catalog.where, *args)


def chosen(result):
    return [line for line in result.lines("INFO") if " is chosen: " in line]


@pytest.fixture(scope="module")
def world(shop, pg15):
    w = World(shop, pg15)
    w.add("base")
    w.a = w.backup()
    for name in ("a1", "a2", "a3"):
        w.add(name)
    w.cluster.sql("SELECT pg_create_restore_point(%s)", ODD_NAME)
    w.add("a4")
    w.b = w.backup(mode="DELTA")
    w.add("b1")
    w.add("b2")
    switch(w.cluster)
    w.all = ["base", "a1", "a2", "a3", "a4", "b1", "b2"]
    gsp_ok("set-config", *w.catalog.where, w.command)
    yield w
    w.cluster.stop("immediate")


def utc(moment):
    return f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00"


def test_time(world):
    result, rows, _ = world.restore(f"--recovery-target-time={utc(world.time['a2'])}")
    assert rows == world.all[:3]
    (line,) = chosen(result)
    assert line.startswith(f"Backup {world.a} is chosen: it is the newest valid one from which time ")
    # Without a zone it is the time of whoever types it, wherever the server lives.
    local = world.time["b1"].astimezone(datetime.timezone(datetime.timedelta(hours=5, minutes=30)))
    result, rows, cluster = world.restore(f"--time={local:%Y-%m-%d %H:%M:%S.%f}", env={"TZ": "IST-5:30"})
    assert rows == world.all[:-1]
    assert chosen(result)[0].startswith(f"Backup {world.b} is chosen")
    settings = (cluster.data / "postgresql.auto.conf").read_text()
    assert f"recovery_target_time = '{local:%Y-%m-%d %H:%M:%S.%f}+05:30'\n" in settings
    assert "archive_command = 'test" in settings, "what was there is kept"
    assert not (cluster.data / "recovery.signal").exists(), "the server has recovered"


def test_xid_and_another_target_in_place(world):
    """The second restore, over the first, has another target: nothing of the first is left in the settings."""
    _, rows, cluster = world.restore(f"--xid={world.xid['a3']}")
    assert rows == world.all[:4]
    first = (cluster.data / "postgresql.auto.conf").read_text()
    assert f"recovery_target_xid = '{world.xid['a3']}'\n" in first
    cluster.start(*QUIET)
    cluster.sql("ALTER SYSTEM SET work_mem = '5MB'")  # writes the file anew, without its comments
    cluster.stop()
    assert "# Recovery" not in (cluster.data / "postgresql.auto.conf").read_text()
    _, rows, again = world.restore(f"--recovery-target-lsn={world.lsn['a1']}", "-I", "checksum", data=cluster.data)
    assert rows == world.all[:2]
    second = (again.data / "postgresql.auto.conf").read_text()
    assert second.count("# Recovery settings") == 2 and world.xid["a3"] not in re.findall(r"xid = '(\d+)'", second)
    _, rows, _ = world.restore(f"--recovery-target-xid={world.xid['a3']}", "--inclusive=no", "-I", "checksum", data=again.data)
    assert rows == world.all[:3]


def test_name(world):
    result, rows, _ = world.restore(f"--recovery-target-name={ODD_NAME}", "-i", world.a)
    assert rows == world.all[:4]
    assert not chosen(result)
    # A backup's own name: the backup itself, and the restore point in WAL for an older one.
    own = world.shown(world.b)["recovery-name"]
    assert own == f"pg_probackup, backup_id {world.b}"
    result, rows, cluster = world.restore(f"--recovery-target-name={own}", "--restore-command=none")
    assert rows == world.all[:5]
    assert f"Backup {world.b} is chosen: name '{own}' is its own, so its end is the target" in result.lines("INFO")
    assert "recovery_target = 'immediate'\n" in (cluster.data / "postgresql.auto.conf").read_text()
    result, rows, cluster = world.restore(f"--recovery-target-name={own}", "-i", world.a)
    assert rows == world.all[:5]
    assert f"recovery_target_name = '{own}'\n" in (cluster.data / "postgresql.auto.conf").read_text()
    # A name that no backup has may be in the WAL behind the newest.
    data = world.shop.new("data")
    result = world.catalog.restore(data, "--no-validate", "--recovery-target-name=somewhere")
    assert chosen(result)[0].startswith(f"Backup {world.b} is chosen: no backup has the name 'somewhere'")
    assert not (data / "standby.signal").exists() and (data / "recovery.signal").read_bytes() == b""


def test_end_of_the_backup_and_of_the_archive(world):
    _, rows, _ = world.restore("--immediate")
    assert rows == world.all[:5]
    _, rows, cluster = world.restore("--restore-command=none")
    assert rows == world.all[:5]
    assert "recovery_target" not in (cluster.data / "postgresql.auto.conf").read_text()
    result, rows, _ = world.restore()  # the stored restore-command
    assert rows == world.all
    assert any("Recovery will go on with all WAL" in line for line in result.lines("INFO")), result
    # The end of the backup as a target needs nothing else.
    end = world.shown(world.b)
    data = world.shop.new("data")
    result = world.catalog.restore(data, "--no-validate", f"--lsn={end['stop-lsn']}", "--restore-command=none")
    assert not (data / "recovery.signal").exists()
    assert not any("restore command" in line for line in result.warnings), result
    # A target behind it does.
    data = world.shop.new("data")
    result = world.catalog.restore(data, "--no-validate", f"--lsn={world.lsn['b1']}", "--restore-command=none")
    assert any("you need to input restore command manually" in line and f"cp \"{world.wal}/%f\" \"%p\"" in line
               for line in result.warnings), result
    assert "restore_command" not in (data / "postgresql.auto.conf").read_text()


def test_backups_that_do_not_reach_it(world):
    end = world.shown(world.b)
    for target in (f"--time={utc(world.time['a2'])}", f"--xid={world.xid['a2']}", f"--lsn={world.lsn['a2']}"):
        for command in (["restore", *world.catalog.where, "-D", world.shop.new("data")], ["validate", *world.catalog.where]):
            gsp_fails(*command, "-i", world.b, target, message=f"Requested backup {world.b} does not satisfy restore options",
                      hint=f"it ends at time {end['recovery-time']}, xid {end['recovery-xid']}, LSN {end['stop-lsn']}")
    gsp_fails("restore", *world.catalog.where, "-D", world.shop.new("data"), f"--lsn={world.lsn['base'].replace('0/', '0/0')}",
              message="Backup satisfying target options is not found.", hint="ends after lsn")
    gsp_fails("restore", *world.catalog.where, "-D", world.shop.new("data"), "--timeline=7",
              message="Backup satisfying target options is not found.", hint="00000007.history")
    for args, message in (
            (["--time=yesterday"], "Invalid value for '--recovery-target-time' option 'yesterday'"),
            (["--xid=12a"], "Invalid value for '--recovery-target-xid' option '12a'"),
            (["--lsn=12"], "Invalid value of '--recovery-target-lsn' option '12'"),
            (["--xid=5", "--inclusive=maybe"], "Invalid value for '--recovery-target-inclusive' option 'maybe'"),
            (["--xid=5", "--lsn=0/5"], "At most one of"),
            (["--inclusive=false"], "The '--recovery-target-inclusive' option can be applied only when either of"),
            (["--recovery-target-name=a\nb"], "recovery_target_name must be a single line"),
            (["--recovery-target-name=" + "n" * 64], "at most 63 bytes")):
        gsp_fails("restore", *world.catalog.where, "-D", world.shop.new("data"), "--no-validate", *args, message=message)


def test_validate_reaches(world):
    for args, backup, last in (
            ([f"--time={utc(world.time['a2'])}"], world.a, "a2"), ([f"--xid={world.xid['a2']}"], world.a, "a2"),
            ([f"--lsn={world.lsn['b1']}"], world.b, "b1"), ([f"--time={utc(world.time['b1'])}"], world.b, "b1"),
            ([f"--recovery-target-name={ODD_NAME}", "-i", world.a], world.a, "a3"), (["--immediate"], world.b, None)):
        result = world.validate(*args)
        assert result.code == 0, result
        (line,) = [line for line in result.lines("INFO") if line.startswith("Backup validation completed successfully on time ")]
        if last is not None:
            assert f" xid {world.xid[last]} and LSN " in line
        assert result.lines("INFO")[-1] == f"Validate of backup {backup} completed."
    future = world.time["b2"] + datetime.timedelta(hours=1)
    for args, what in (
            ([f"--time={utc(future)}"], f"time '{future:%Y-}"), (["--xid=999999"], "xid 999999"),
            (["--lsn=F/0"], "lsn F/0"), (["--recovery-target-name=nowhere"], "name 'nowhere'"),
            ([f"--xid={world.xid['b2']}", "--inclusive=off", "--timeline=1", "-i", world.a, "--time=2030-01-01"], None)):
        result = world.validate(*args)
        assert result.code == 1 and len(result.errors) == 1, result
        if what is not None:
            assert result.errors[0].startswith(f"Not enough WAL records to {what}"), result
            (line,) = [line for line in result.warnings if line.startswith("Recovery can be done up to time ")]
            assert int(re.search(r", xid (\d+) and LSN 0/[0-9A-F]+: WAL segment '00000001", line)[1]) >= world.xid["b2"]
    # A gap in the archive ends it, too.
    stop = world.shown(world.a)["stop-lsn"]
    segment = "%08X%08X%08X" % (1, int(stop.split("/")[0], 16), (int(stop.split("/")[1], 16) >> 24) + 1)
    (world.wal / segment).rename(world.wal / "aside")
    result = world.validate(f"--xid={world.xid['b1']}", "-i", world.a)
    assert result.code == 1 and segment in "".join(result.warnings), result
    (world.wal / "aside").rename(world.wal / segment)


def test_timeline(world):
    """A promoted server goes on in the same archive: both futures can be had."""
    _, rows, other = world.restore(f"--time={utc(world.time['a1'])}", goes_on=True)
    assert rows == world.all[:2]
    world.add("other", other)
    switch(other)
    other.stop()
    assert (world.wal / "00000002.history").exists()
    result, rows, _ = world.restore("--timeline=2")
    assert rows == ["base", "a1", "other"]
    assert chosen(result)[0].startswith(f"Backup {world.a} is chosen"), "the other one is behind the fork"
    _, rows, _ = world.restore("--timeline=1", f"--xid={world.xid['b1']}")
    assert rows == world.all[:-1]
    assert world.validate("--timeline=2").code == 0
    assert world.validate("--timeline=2", f"--xid={world.xid['other']}").code == 0
    segments = [path for path in world.wal.glob("00000002*") if path.suffix == ""]
    for path in segments:
        path.rename(path.with_suffix(".gone"))
    result = world.validate("--timeline=2")
    assert result.code == 1 and result.errors == ["Not enough WAL records to timeline 2"], result
    for path in segments:
        path.with_suffix(".gone").rename(path)
    assert world.validate("--timeline=1", f"--xid={world.xid['b1']}").code == 0
    gsp_fails("validate", *world.catalog.where, f"--lsn={world.lsn['b1']}",
              message="timeline 2, which recovery would follow as the newest in WAL, does not come from timeline 1",
              hint="--timeline=1")
    gsp_fails("validate", *world.catalog.where, "--timeline=2", "-i", world.b, message="does not satisfy restore options")


@pytest.mark.parametrize("major", [12, 18])
def test_other_versions(bench, version_of, major):
    w = World(bench, version_of(major))
    w.add("base")
    w.backup()
    w.add("first")
    w.cluster.sql("CREATE TABLE gone AS SELECT 1")
    with contextlib.closing(w.cluster.connect()) as connection, connection.cursor() as cursor:
        cursor.execute("BEGIN")
        cursor.execute("SAVEPOINT s; DROP TABLE gone; RELEASE s; INSERT INTO t VALUES ('prepared'); SELECT txid_current()")
        (prepared,) = cursor.fetchone()
        cursor.execute("PREPARE TRANSACTION 'p'")
        w.add("second")
        cursor.execute("COMMIT PREPARED 'p'")
    w.cluster.sql("SELECT pg_create_restore_point(%s)", ODD_NAME)
    w.add("last")
    switch(w.cluster)
    for target in (f"--xid={prepared}", f"--time={utc(w.time['second'])}", f"--lsn={w.lsn['second']}",
                   f"--recovery-target-name={ODD_NAME}"):
        result = w.validate(target)
        assert result.code == 0, result
    assert w.validate("--xid=99999").code == 1
    _, rows, _ = w.restore(f"--recovery-target-name={ODD_NAME}", w.command)
    assert sorted(rows) == ["base", "first", "prepared", "second"]
    _, rows, _ = w.restore(f"--xid={prepared}", "--inclusive=false", w.command)
    assert sorted(rows) == ["base", "first", "second"]
