# SPDX-License-Identifier: Apache-2.0
"""The clusters that are measured. The same seeds give the same data."""
import io
import itertools
import os
import random
from pathlib import Path

from postgres import Cluster, Version
from processes import IS_ROOT, USER, make_dir

# Nothing may start by itself while something is measured.
SETTINGS = """
autovacuum = off
max_wal_senders = 10
checkpoint_timeout = 1h
jit = off
"""
PAGE = 8192
COPY_ROWS = 5000


def server(sandbox, major):
    """PostgreSQL 15 is Debian's; others lie below GSP_PG_DIR. None when there is no such one."""
    bindir = Path("/usr/lib/postgresql/15/bin") if major == 15 else \
        Path(os.environ.get("GSP_PG_DIR", "/usr/lib/postgresql"), str(major), "bin")
    return Version(major, bindir, sandbox.work) if (bindir / "postgres").exists() else None


def create(sandbox, name, version=None, settings=""):
    home = sandbox.work / name
    cluster = Cluster.create(version or server(sandbox, 15), home, settings=SETTINGS + settings)
    sandbox.clusters.append(cluster)
    cluster.postmaster = int((cluster.data / "postmaster.pid").read_text().split()[0])
    return cluster


def copy_rows(cluster, table, rows):
    with cluster.connect() as connection, connection.cursor() as cursor:
        while chunk := list(itertools.islice(rows, COPY_ROWS)):
            cursor.copy_expert(f"COPY {table} FROM STDIN", io.StringIO("".join(chunk)))
    connection.close()


def sentences(rng, count):
    """Sentences of made-up words, a few of them frequent and most rare, as in a language."""
    syllables = [a + b for a in "bcdfghklmnprstvw" for b in ("a", "e", "i", "o", "u", "an", "er", "is", "on", "ut")]
    words = ["".join(rng.choices(syllables, k=rng.randint(1, 4))) for _ in range(4000)]
    weights = [1 / (rank + 3) for rank in range(len(words))]
    return [" ".join(rng.choices(words, weights, k=rng.randint(7, 17))).capitalize() + "." for _ in range(count)]


def documents(rng, size):
    pool = sentences(rng, 20_000)
    written = number = 0
    while written < size:
        body = " ".join(rng.choices(pool, k=rng.randint(3, 20)))
        number += 1
        written += len(body) + 60
        yield f"{number}\t{rng.choice(pool)[:60]}\t{body}\n"


EVENTS = """
CREATE TABLE events AS SELECT n AS id, timestamptz '2026-01-01' + n * interval '1.7 s' AS at,
    (random() * 50000)::int AS account, (random() * 10000)::numeric(10, 2) AS amount,
    (array['new', 'paid', 'sent', 'done', 'returned'])[1 + (random() * 4)::int] AS status,
    jsonb_build_object('client', (random() * 1000)::int, 'agent', 'mobile/' || (random() * 9)::int,
        'ok', random() < 0.9) AS detail, md5(random()::text) AS token
    FROM generate_series(1, %s) n"""

SMALL_TABLES = """
DO $$ BEGIN
    FOR i IN 1..{count} LOOP
        EXECUTE format('CREATE TABLE small_%s (id int PRIMARY KEY, name text, value numeric)', i);
        EXECUTE format('INSERT INTO small_%s SELECT n, md5((n * %s)::text), n * 1.5 FROM generate_series(1, 40) n',
            i, i);
        IF i % 100 = 0 THEN COMMIT; END IF;
    END LOOP;
END $$"""


def mixed(sandbox, mib, name="mixed", version=None, settings=""):
    """A cluster of about mib MiB: 40 % pgbench, 30 % text, 25 % events with indexes, small tables."""
    rng = random.Random(20260101)
    cluster = create(sandbox, name, version, settings)
    cluster.client("pgbench", "-i", "-q", "-s", max(1, round(mib * 0.4 / 15)), "postgres", timeout=1800)
    cluster.sql("CREATE TABLE documents (id int, title text, body text)")
    copy_rows(cluster, "documents", documents(rng, mib * 0.27 * 2**20))
    cluster.sql("ALTER TABLE documents ADD PRIMARY KEY (id)")
    with cluster.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT setseed(0.42)")
        cursor.execute(EVENTS, (int(mib * 1050),))
    connection.close()
    cluster.sql("CREATE INDEX ON events (at)")
    cluster.sql("CREATE INDEX ON events (account, amount)")
    cluster.sql("CREATE UNIQUE INDEX ON events (token)")
    cluster.sql(SMALL_TABLES.replace("{count}", str(mib)))
    cluster.sql("VACUUM (FREEZE, ANALYZE)")
    cluster.sql("CHECKPOINT")
    return cluster


BIG_TABLES = ("pgbench_accounts", "documents", "events")


def change_pages(cluster, count, rng):
    """One row is deleted on each of so many pages at random, of a table of mixed(): no other page changes."""
    pages = {name: cluster.sql(f"SELECT pg_relation_size('{name}') / {PAGE}")[0][0] for name in BIG_TABLES}
    everywhere = [(name, block) for name in BIG_TABLES for block in range(pages[name])]
    chosen = rng.sample(everywhere, count)
    for name in BIG_TABLES:
        blocks = [block for of, block in chosen if of == name]
        cluster.sql(f"""DELETE FROM {name} WHERE ctid = ANY (ARRAY(
            SELECT (SELECT min(ctid) FROM {name}
                WHERE ctid >= format('(%%s,0)', b)::tid AND ctid < format('(%%s,0)', b + 1)::tid)
            FROM unnest(%s::bigint[]) b))""", blocks)
    cluster.sql("CHECKPOINT")


def many_files(sandbox, count):
    """A fresh cluster, and beside it copies of one page of a table: files that look like relations, each with a page
    whose checksum fits, because that depends on the block number only."""
    cluster = create(sandbox, "many")
    cluster.sql("CREATE TABLE page AS SELECT n, md5(n::text) FROM generate_series(1, 100) n")
    cluster.sql("CHECKPOINT")
    relation = Path(cluster.data, cluster.relation_path("page"))
    assert relation.stat().st_size == PAGE
    owner = (USER.pw_uid, USER.pw_gid) if IS_ROOT else (-1, -1)
    content = relation.read_bytes()
    for number in range(1_000_000, 1_000_000 + count):
        path = relation.parent / str(number)
        path.write_bytes(content)
        os.chown(path, *owner)
        path.chmod(0o600)
    return cluster


def link_mirror(cluster, entries, target):
    """A tree of exactly the files of a backup but WAL, as links to the cluster's own files: what `cp` copies."""
    make_dir(target)
    for entry in sorted(entries, key=lambda entry: entry["path"]):
        source, link = cluster.data / entry["path"], target / entry["path"]
        if entry["path"].startswith("pg_wal/") or not source.exists():
            continue  # backup_label is the backup's own
        if source.is_dir():
            make_dir(link)
        else:
            os.link(source, link)
    return target
