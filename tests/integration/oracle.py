# SPDX-License-Identifier: Apache-2.0
"""What a cluster holds at the moment of a backup, and the workloads that change it in between.

A state is known twice: by its rows (a hash of each table, sequence and catalog of each database) and by its files
(a digest of each block of each relation, as they lie on disk when nobody writes)."""
import hashlib
import re

PAGE = 8192
RELATION = re.compile(r"^(?:global|base/\d+|pg_tblspc/\d+/PG_[^/]+/\d+)/(\d+)(?:_(fsm|vm|init))?(?:\.\d+)?$")
# Nothing changes by itself: not the rows, and not the files either.
SETTINGS = """
autovacuum = off
bgwriter_lru_maxpages = 0
checkpoint_timeout = 1h
max_prepared_transactions = 5
wal_keep_size = 4GB
jit = off
"""
# Of the load that runs beside some of the backups.
LOADED = re.compile(r"^postgres\.public\.(pgbench_\w+|changing_\w+|expected)$")


# ---- what a cluster holds ------------------------------------------------------------------------

def databases(cluster):
    return [name for (name,) in cluster.sql("SELECT datname FROM pg_database WHERE datallowconn ORDER BY 1")]


_TABLES = """SELECT n.nspname || '.' || c.relname, c.oid::regclass::text,
        CASE c.relkind WHEN 'S' THEN '(last_value, is_called)' ELSE 't' END
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm', 'S') AND c.relpersistence = 'p' AND n.nspname <> 'information_schema' ORDER BY 1"""


def rows(cluster):
    """database.schema.relation -> how many rows and a hash of all of them, system catalogs too."""
    result = {}
    for database in databases(cluster):
        queries = [f"""SELECT '{label}', count(*), md5(string_agg(r, E'\\n' ORDER BY r COLLATE "C"))
            FROM (SELECT {row}::text AS r FROM {name} t) s"""
                   for label, name, row in cluster.sql(_TABLES, database=database)]
        for label, count, digest in cluster.sql(" UNION ALL ".join(queries), database=database):
            result[f"{database}.{label}"] = count, digest
    result["prepared transactions"] = cluster.sql("SELECT gid FROM pg_prepared_xacts ORDER BY 1")
    return result


def user_rows(state):
    """Of a state of rows: what the load beside a backup leaves alone."""
    return {name: found for name, found in state.items()
            if not LOADED.match(name) and not name.split(".")[1:2] == ["pg_catalog"]}


def blocks(data):
    """path -> a digest of each block, for each file of a relation that is not emptied at start."""
    files = {}
    for folder in ("global", "base", "pg_tblspc"):
        # A tablespace is a link: each is a tree of its own.
        roots = sorted((data / folder).iterdir()) if folder == "pg_tblspc" else [data / folder]
        for root in roots:
            real = root.resolve()
            for path in real.rglob("*"):
                name = f"{root.relative_to(data)}/{path.relative_to(real)}"
                if RELATION.match(name):
                    files[name] = path
    unlogged = {name.removesuffix("_init") for name in files if name.endswith("_init")}
    result = {}
    for name, path in files.items():
        folder, base = name.rsplit("/", 1)
        if f"{folder}/{re.split('[_.]', base)[0]}" in unlogged and not name.endswith("_init"):
            continue
        content = path.read_bytes()
        result[name] = [hashlib.blake2b(content[at:at + PAGE], digest_size=8).digest()
                        for at in range(0, len(content), PAGE)]
    return result


def spgist_indexes(cluster):
    """Their paths in database postgres. In its first block such an index notes which pages it used last, and logs that
    nowhere: no backup but a FULL one knows of it, and nobody needs it."""
    return {path for (path,) in cluster.sql("""SELECT pg_relation_filepath(c.oid) FROM pg_class c
        JOIN pg_am a ON a.oid = c.relam WHERE amname = 'spgist' AND c.relkind = 'i'""")}


def differences(expected, found, unlogged=()):
    """Of two results of blocks: texts, none when they are equal. unlogged: files whose first block may differ."""
    texts = [f"{name}: only in the source" for name in sorted(expected.keys() - found.keys())]
    texts += [f"{name}: only in the restored cluster" for name in sorted(found.keys() - expected.keys())]
    for name in sorted(expected.keys() & found.keys()):
        old, new = expected[name], found[name]
        if len(old) != len(new):
            texts.append(f"{name}: {len(old)} blocks in the source, {len(new)} restored")
        wrong = [block for block, (a, b) in enumerate(zip(old, new)) if a != b and (block > 0 or name not in unlogged)]
        if wrong:
            texts.append(f"{name}: {len(wrong)} blocks differ: {wrong[:20]}")
    return texts


def check_visibility_maps(cluster):
    """An index-only scan believes the visibility map, a sequential scan does not."""
    for database in databases(cluster):
        tables = cluster.sql("""SELECT indrelid::regclass::text FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
            WHERE i.indisprimary AND c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace""", database=database)
        for (table,) in tables:
            counts = cluster.sql(f"""SET enable_indexscan = off; SET enable_bitmapscan = off;
                CREATE TEMP TABLE counts (kind text, n bigint);
                SET enable_seqscan = off; INSERT INTO counts SELECT 'index', count(*) FROM {table};
                SET enable_seqscan = on; SET enable_indexonlyscan = off;
                INSERT INTO counts SELECT 'table', count(*) FROM {table};
                SELECT kind, n FROM counts ORDER BY kind""", database=database)
            assert counts[0][1] == counts[1][1], f"{database}.{table}: {counts}"


# ---- workloads -----------------------------------------------------------------------------------

# The index that each of the tables has beside its primary key.
INDEXES = {"t0": "hash (h)", "t1": "gin (tags)", "t2": "gist (p)", "t3": "brin (k) WITH (pages_per_range = 2)",
           "t4": "btree (h)", "t5": "spgist (p)"}
TABLESPACES = ("pg_default", "ts1", "ts2")
TABLE = """CREATE TABLE {name} (id int PRIMARY KEY, k int, h text, tags int[], p point, big text);
    CREATE INDEX {name}_second ON {name} USING {index}"""
# Every 40th row is long enough for TOAST, and does not compress to nothing.
ROWS = """INSERT INTO {name} SELECT g, g::bigint * {salt} % 1000, md5(g || ' {salt}'), ARRAY[g % 7, g % 11],
    point(g % 97, g % 89),
    CASE WHEN g % 40 = 0 THEN (SELECT string_agg(md5(g || ' ' || i || ' {salt}'), '') FROM generate_series(1, 150) i) END
    FROM generate_series({first}, {last}) g"""


class Workload:
    """Changes a cluster at random; the same random numbers, the same changes."""

    def __init__(self, cluster, rng):
        self.cluster, self.rng = cluster, rng
        self.next_row = {}
        self.databases = []
        self.number = 0
        self.deck = []
        self.done = []
        for name in TABLESPACES[1:]:
            cluster.tablespace(name)
        for name in INDEXES:
            self.make_table(name, rng.randint(200, 3000))
        cluster.sql("""CREATE UNLOGGED TABLE volatile (id serial PRIMARY KEY, h text);
            INSERT INTO volatile (h) SELECT md5(g::text) FROM generate_series(1, 500) g;
            CREATE SEQUENCE counter;
            CREATE TABLE two_phase (id int PRIMARY KEY);
            CREATE TABLE plain (id int, pad text);
            INSERT INTO plain SELECT g, repeat('x', 300) FROM generate_series(1, 3000) g;
            CREATE MATERIALIZED VIEW summary AS SELECT pad, count(*) FROM plain GROUP BY pad""")
        # By then nothing of it is new any more: later backups depend on what was changed, not on what was made.
        cluster.sql("VACUUM")

    # Helpers

    def sql(self, text, database="postgres"):
        return self.cluster.sql(text, database=database)

    def salt(self):
        return self.rng.randint(1, 10**6)

    def table(self):
        return self.rng.choice(sorted(INDEXES))

    def unique(self, prefix):
        self.number += 1
        return f"{prefix}{self.number}"

    def make_table(self, name, count):
        self.sql(TABLE.format(name=name, index=INDEXES[name]))
        self.next_row[name] = 1
        self.add_rows(name, count)

    def add_rows(self, name, count):
        first = self.next_row[name]
        self.next_row[name] = first + count
        self.sql(ROWS.format(name=name, first=first, last=first + count - 1, salt=self.salt()))

    def share(self, name, percent):
        """A condition that holds for some of the rows, scattered."""
        salt = self.salt()
        return f"hashint4(id # {salt}) % 100 BETWEEN {-percent} AND {percent}"

    def step(self, count):
        """That many operations; each comes up before any comes up twice."""
        for _ in range(count):
            if not self.deck:
                self.deck = list(OPERATIONS)
                self.rng.shuffle(self.deck)
            name = self.deck.pop()
            self.done.append(name)
            getattr(self, name)()

    # Rows

    def insert(self):
        self.add_rows(self.table(), self.rng.randint(1, 3000))

    def update(self):
        name = self.table()
        self.sql(f"UPDATE {name} SET k = k + 1, h = md5(h) WHERE {self.share(name, self.rng.choice((1, 5, 30)))}")

    def update_few(self):
        """Some rows on pages that are all visible."""
        name = self.table()
        self.sql(f"VACUUM {name}")
        if self.rng.random() < 0.5:
            self.sql("CHECKPOINT")
        self.sql(f"DELETE FROM {name} WHERE id IN (SELECT id FROM {name} ORDER BY id % {self.salt()} LIMIT 3)")

    def update_toast(self):
        name = self.table()
        self.sql(f"UPDATE {name} SET big = md5('{self.salt()}') || big WHERE big IS NOT NULL AND id % 3 = 0")

    def delete_and_vacuum(self):
        name = self.table()
        self.sql(f"DELETE FROM {name} WHERE {self.share(name, 20)}")
        self.sql(f"VACUUM {name}")

    def shrink_and_grow(self):
        """The end of the file is cut, and grows again, in part with pages nobody has logged."""
        name = self.table()
        self.sql(f"DELETE FROM {name} WHERE id > (SELECT max(id) / 3 FROM {name})")
        self.sql(f"VACUUM {name}")
        self.add_rows(name, self.rng.choice((5, 500, 5000)))

    def rolled_back(self):
        name = self.table()
        first = self.next_row[name]
        insert = ROWS.format(name=name, first=first, last=first + 2000, salt=self.salt())
        self.sql(f"BEGIN; {insert}; DELETE FROM {name} WHERE {self.share(name, 10)}; ROLLBACK")

    def subtransactions(self):
        name = self.table()
        self.sql(f"""DO $$ BEGIN FOR i IN 1..100 LOOP
            BEGIN
                UPDATE {name} SET k = k + i WHERE id = i * 3;
                IF i % 4 = 0 THEN RAISE division_by_zero; END IF;
            EXCEPTION WHEN division_by_zero THEN NULL; END;
        END LOOP; END $$""")

    def prepared(self):
        """A prepared transaction that stays open over the next backups, or the end of one."""
        open_ones = self.sql("SELECT gid FROM pg_prepared_xacts")
        if open_ones:
            self.sql(f"{self.rng.choice(('COMMIT', 'ROLLBACK'))} PREPARED '{open_ones[0][0]}'")
        else:
            gid = self.unique("g")
            first = 1000 * self.number
            self.sql(f"""BEGIN; INSERT INTO two_phase SELECT generate_series({first}, {first + 500});
                PREPARE TRANSACTION '{gid}'""")

    def only_hints(self):
        """A reader is the first to note on the pages who has committed."""
        self.sql("INSERT INTO plain SELECT g, repeat('y', 300) FROM generate_series(1, 500) g")
        self.sql("UPDATE plain SET pad = 'z' WHERE id % 50 = 0")
        self.sql("CHECKPOINT")
        self.sql("SELECT count(*) FROM plain")
        self.sql("CHECKPOINT")

    def sequences(self):
        self.sql(f"SELECT nextval('counter') FROM generate_series(1, {self.rng.randint(1, 60)})")
        if self.rng.random() < 0.3:
            self.sql(f"SELECT setval('counter', {self.salt()})")

    def unlogged(self):
        self.sql("INSERT INTO volatile (h) SELECT md5(g::text) FROM generate_series(1, 1000) g")

    def large_objects(self):
        self.sql("SELECT lo_unlink(oid) FROM pg_largeobject_metadata LIMIT 1")
        self.sql(f"SELECT lo_from_bytea(0, decode(repeat('{self.salt():06}', 9000), 'hex'))")

    # Whole relations

    def truncate(self):
        name = self.table()
        self.sql(f"TRUNCATE {name}")
        if self.rng.random() < 0.7:
            self.add_rows(name, self.rng.randint(1, 1500))

    def recreate(self):
        name = self.table()
        self.sql(f"DROP TABLE {name}")
        self.make_table(name, self.rng.randint(1, 3000))

    def vacuum_full(self):
        self.sql(f"VACUUM FULL {self.table()}")

    def vacuum_full_catalog(self):
        """Mapped relations: their files are named in pg_filenode.map."""
        self.sql(f"VACUUM FULL {self.rng.choice(('pg_class', 'pg_attribute', 'pg_database', 'pg_depend'))}")

    def freeze(self):
        self.sql(f"VACUUM (FREEZE) {self.table()}")

    def cluster_table(self):
        name = self.table()
        self.sql(f"CLUSTER {name} USING {name}_pkey")

    def rewrite(self):
        name = self.table()
        self.sql(f"ALTER TABLE {name} ALTER k TYPE {self.rng.choice(('int', 'bigint', 'numeric'))}")

    def reindex(self):
        self.sql(f"REINDEX TABLE {self.table()}")

    def create_index(self):
        name, index = self.table(), self.unique("i")
        self.sql(f"CREATE INDEX {index} ON {name} (k, h)")
        if self.rng.random() < 0.5:
            self.sql(f"UPDATE {name} SET k = k + 1 WHERE id % 10 = 0")
        if self.rng.random() < 0.5:
            self.sql(f"DROP INDEX {index}")

    def refresh(self):
        self.sql("REFRESH MATERIALIZED VIEW summary")

    def move_table(self):
        self.sql(f"ALTER TABLE {self.table()} SET TABLESPACE {self.rng.choice(TABLESPACES)}")

    def move_index(self):
        self.sql(f"ALTER INDEX {self.table()}_pkey SET TABLESPACE {self.rng.choice(TABLESPACES)}")

    # Whole databases

    def create_database(self):
        name = self.unique("d")
        template = self.rng.choice(["template1", *self.databases])
        strategy = ""
        if self.cluster.version.major >= 15:
            strategy = f" STRATEGY {self.rng.choice(('file_copy', 'wal_log'))}"
        self.sql(f"CREATE DATABASE {name} TEMPLATE {template}{strategy} TABLESPACE {self.rng.choice(TABLESPACES)}")
        self.databases.append(name)
        self.change_database(name)

    def change_database(self, name):
        self.sql(f"""CREATE TABLE IF NOT EXISTS inside (id int PRIMARY KEY, h text);
            DELETE FROM inside WHERE id % 3 = 0;
            INSERT INTO inside SELECT g, md5(g || '{self.salt()}') FROM generate_series(1, 300) g
            ON CONFLICT (id) DO UPDATE SET h = excluded.h""", database=name)

    def update_database(self):
        if not self.databases:
            self.create_database()
        self.change_database(self.rng.choice(self.databases))

    def drop_database(self):
        if not self.databases:
            self.create_database()
        name = self.rng.choice(self.databases)
        self.databases.remove(name)
        self.sql(f"DROP DATABASE {name}")
        if self.rng.random() < 0.5:
            self.databases.append(name)
            self.sql(f"CREATE DATABASE {name}")
            self.change_database(name)

    def move_database(self):
        """There, or there and back: the same names again, with other pages in them."""
        if not self.databases:
            self.create_database()
        name = self.rng.choice(self.databases)
        (home,) = self.sql(f"""SELECT spcname FROM pg_tablespace t JOIN pg_database d ON d.dattablespace = t.oid
            WHERE datname = '{name}'""")[0]
        away = self.rng.choice([other for other in TABLESPACES if other != home])
        self.sql(f"ALTER DATABASE {name} SET TABLESPACE {away}")
        self.change_database(name)
        if self.rng.random() < 0.6:
            self.sql(f"ALTER DATABASE {name} SET TABLESPACE {home}")

    # The server

    def checkpoint(self):
        self.sql("CHECKPOINT")

    def switch_wal(self):
        self.sql("SELECT pg_switch_wal()")

    def restart(self):
        self.cluster.stop(self.rng.choice(("fast", "immediate")))
        self.cluster.start()

    # Restored

    def mapping(self, bench):
        """-T for each tablespace."""
        return [part for name in TABLESPACES[1:] for part in ("-T", f"{self.cluster.home / name}={bench.new(name)}")]


OPERATIONS = (
    "insert", "insert", "update", "update", "update_few", "update_few", "update_few", "update_toast", "delete_and_vacuum",
    "shrink_and_grow", "shrink_and_grow", "rolled_back", "subtransactions", "prepared", "prepared", "only_hints",
    "sequences", "sequences", "unlogged", "large_objects", "truncate", "recreate", "recreate", "vacuum_full",
    "vacuum_full_catalog", "freeze", "cluster_table", "rewrite", "reindex", "create_index", "refresh", "move_table",
    "move_table", "move_index", "create_database", "create_database", "update_database", "drop_database", "move_database",
    "move_database", "checkpoint", "switch_wal", "restart")
