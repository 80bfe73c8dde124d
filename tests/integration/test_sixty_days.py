# SPDX-License-Identifier: Apache-2.0
"""Sixty days of a site: a FULL backup each week, an incremental one on every other day, and three retention policies
side by side. The server and the tool live in a time that the test moves on (tests/doubles/clock.c).

GSP_DAYS_SEED: another series of days."""
import datetime
import os
import random
import struct

import pytest

from processes import give_to_user, run, snapshot
from tool import REPOSITORY, Catalog, gsp_ok

SEED = int(os.environ.get("GSP_DAYS_SEED", "5"))
DAYS = 60
WINDOW, REDUNDANCY = 14, 2
GFS = {"daily": 5, "weekly": 3, "monthly": 2}
FIRST = datetime.datetime(2026, 1, 29, 9, tzinfo=datetime.timezone.utc)  # two ends of months are ahead
PINNED_DAY, PINNED_FOR = 9, 20


class Clock:
    def __init__(self, bench, monkeypatch):
        library, self.file = bench.new("clock"), bench.new("offset")
        run(["cc", "-std=c17", "-D_GNU_SOURCE", "-O1", "-shared", "-fPIC", "-o", library,
             REPOSITORY / "tests/doubles/clock.c"], as_root=True)
        library.chmod(0o755)
        self.set(FIRST)
        self.file.chmod(0o644)
        monkeypatch.setenv("GSP_CLOCK", str(self.file))
        monkeypatch.setenv("LD_PRELOAD", str(library))
        monkeypatch.setenv("TZ", "UTC")

    def set(self, moment):
        offset = moment - datetime.datetime.now(datetime.timezone.utc)
        # Not a new file: everybody has this one mapped.
        with open(self.file, "r+b" if self.file.exists() else "wb") as file:
            file.write(struct.pack("=q", round(offset.total_seconds())))


class Policy:
    """A copy of the catalog that thins out its backups every day. keeps: which days of those that were backed up."""

    def __init__(self, catalog, keeps, *options):
        self.catalog, self.keeps, self.options = catalog, keeps, options
        self.ids = {}  # day -> backup

    def add(self, day, path):
        """Today's backup, made elsewhere: as links, files of a catalog are replaced and never changed."""
        run(["cp", "-al", path, self.catalog.dir(path.name)])
        self.ids[day] = path.name

    def run(self, today):
        result = gsp_ok("delete", *self.catalog.where, "--delete-expired", *self.options)
        assert not result.warnings, result
        kept = {day: made for day, made in self.ids.items() if day in self.keeps(sorted(self.ids), today)}
        backups = self.catalog.backups()
        assert sorted(backups) == sorted(kept.values()), f"day {today}: {result}"
        assert all(backup["status"] == "OK" for backup in backups.values())
        assert all(backup.get("parent-backup-id", made) in backups for made, backup in backups.items())
        self.ids = kept


def last_full(day):
    return day - day % 7


def with_ancestors(days):
    return {ancestor for day in days for ancestor in range(last_full(day), day + 1)}


def pinned(today):
    """Policies run later in the day than any backup: on the day on which a pin ends it is over."""
    return {PINNED_DAY} if PINNED_DAY <= today < PINNED_DAY + PINNED_FOR else set()


def by_window(days, today):
    """Those before the first one of the window are merged into it, but for a pinned one: that keeps what lies between."""
    inside = {day for day in days if day > today - WINDOW}
    between = {day for held in pinned(today) if last_full(held) == last_full(min(inside)) for day in range(held, min(inside))}
    return inside | pinned(today) | between


def by_redundancy(days, today):
    fulls = [day for day in days if day % 7 == 0][-REDUNDANCY:]
    return with_ancestors({day for day in days if last_full(day) in fulls} | pinned(today))


def date(day):
    return (FIRST + datetime.timedelta(days=day)).date()


def by_gfs(days, today):
    periods = {"daily": date, "weekly": lambda day: date(day).isocalendar()[:2],
               "monthly": lambda day: (date(day).year, date(day).month)}
    kept = pinned(today)
    for name, count in GFS.items():
        newest = {}
        for day in days:
            newest[periods[name](day)] = day
        kept |= set(list(newest.values())[-count:])
    return with_ancestors(kept)


def expected_rows(day):
    return [(number, number % 3) for number in range(day + 1)]


@pytest.mark.timeout(600)
def test_sixty_days(bench, pg15, monkeypatch):
    rng = random.Random(SEED)
    clock = Clock(bench, monkeypatch)
    cluster = bench.cluster(pg15, settings="autovacuum = off\n")
    cluster.sql("CREATE TABLE days (day int, rest int); CREATE TABLE pages AS SELECT g AS id, 0 AS day FROM generate_series(1, 5000) g")
    everything = bench.catalog(cluster)
    site = bench.new("site.yaml")
    site.write_text(f"retention: {{plugin: gfs, gfs: {{{', '.join(f'{key}: {value}' for key, value in GFS.items())}}}}}\n")
    give_to_user(site)
    policies = [Policy(everything.copy(bench.new("catalog")), *rules) for rules in (
        (by_window, "--merge-expired", f"--retention-window={WINDOW}"),
        (by_redundancy, f"--retention-redundancy={REDUNDANCY}"),
        (by_gfs, "--config", site))]
    for today in range(DAYS):
        clock.set(FIRST + datetime.timedelta(days=today, minutes=rng.randint(0, 600)))
        cluster.sql("INSERT INTO days VALUES (%s, %s)", today, today % 3)
        cluster.sql("UPDATE pages SET day = %s WHERE id %% 500 = %s", today, rng.randrange(500))
        made = everything.backup(*(["--ttl", f"{PINNED_FOR}d"] if today == PINNED_DAY else []),
                                 mode="DELTA" if today % 7 else "FULL", check=False)
        clock.set(FIRST + datetime.timedelta(days=today, hours=14, minutes=59))
        for policy in policies:
            policy.add(today, everything.dir(made))
            policy.run(today)
    for policy in policies:
        for day in rng.sample(sorted(policy.ids), 3):
            check_restored(bench, everything, policy, day)
        check_starts(bench, policy, max(policy.ids))
        check_starts(bench, policy, min(policy.ids))


def restore(bench, catalog, backup_id):
    data = bench.new("data")
    catalog.restore(data, "-i", backup_id)
    return data


def check_restored(bench, everything, policy, day):
    """What a policy left restores to the same files as the backup that nobody touched."""
    assert snapshot(restore(bench, policy.catalog, policy.ids[day])) == \
        snapshot(restore(bench, everything, policy.ids[day]))


def check_starts(bench, policy, day):
    restored = bench.restored(policy.catalog.cluster.version, restore(bench, policy.catalog, policy.ids[day]))
    restored.start()
    assert restored.sql("SELECT * FROM days ORDER BY day") == expected_rows(day)
    assert restored.sql("SELECT max(day) FROM pages") == [(day,)]
    restored.stop("immediate")
