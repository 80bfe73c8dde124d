# SPDX-License-Identifier: Apache-2.0
"""merge: a chain becomes one FULL backup with the id of its last member, and every interruption leaves something that
restores as before."""
import os
import random
import re
import time

import pytest

import strict_reader
from processes import remove_tree, run, snapshot
from stock_content import INFLATE
from test_golden import controls, field, unpack
from test_interrupted import fill_up, small_disk  # noqa: F401  (a fixture)
from tool import Catalog, check_written, gsp, gsp_fails, gsp_ok, start

# Where a stored file lies in the map, and padding that the stock tool leaves to chance.
NOT_COMPARED = ("hdr_off", "hdr_size", "hdr_crc")


def merge(catalog, backup_id, *args, into=None):
    """into: the one that stays, when another one is named."""
    result = gsp_ok("merge", *catalog.where, "-i", backup_id, *args)
    check_written(catalog.dir(into or backup_id))
    assert not leftovers(catalog)
    return result


def refused(catalog, backup_id, **kwargs):
    return gsp_fails("merge", *catalog.where, "-i", backup_id, unchanged=[catalog.path], **kwargs)


def leftovers(catalog):
    return sorted(path.name for path in catalog.dir("x").parent.glob(".merge*"))


# ---- catalogs of the stock tool --------------------------------------------------------------------

def opengauss(name, bench, fixtures):
    target, root = unpack(fixtures / "opengauss" / "catalogs" / f"{name}.tar.zst", bench)
    return target, Catalog(root)


def listing(catalog, backup_id):
    found = strict_reader.read_filelist(catalog.dir(backup_id) / "backup_content.control", None)
    return {(e["external_dir_num"], e["path"]): {k: v for k, v in e.items() if k not in NOT_COMPARED} for e in found}


def pages(catalog, backup_id):
    """(external number, path) -> {block: page} of every data file that the backup stores."""
    folder = catalog.dir(backup_id)
    page_map = (folder / "page_header_map").read_bytes()
    found = {}
    for e in strict_reader.read_filelist(folder / "backup_content.control", None):
        if not e["n_headers"]:
            continue
        records = strict_reader.read_headers(page_map, e, False)
        with open(strict_reader.stored_path(folder, e), "rb") as file:
            data = file.read()
        blocks = found[e["external_dir_num"], e["path"]] = {}
        for (_, block, pos, _), following in zip(records, records[1:]):
            frame = data[pos + 8:following[2]]
            page = frame if len(frame) == 8192 else INFLATE[e["compress_alg"]](frame)
            assert len(page) == 8192
            blocks[block] = hash(page)
    return found


def test_golden_pair(bench, fixtures):
    """What the stock tool made of the same chain in two merges."""
    before_dir, before = opengauss("before-merge", bench, fixtures)
    after_dir, after = opengauss("after-merge", bench, fixtures)
    (last,) = after.backups()
    result = merge(before, last, "-j", "2")
    for text in ("Merge started", f"Merging backup {last} with parent chain", f"Validate parent chain for backup {last}",
                 "Start merging backup files", "Backup files are successfully merged, time elapsed:",
                 f"to {last}", f"Merge of backup {last} completed"):
        assert text in result.err, result
    assert set(before.backups()) == {last}
    assert listing(before, last) == listing(after, last)
    assert pages(before, last) == pages(after, last)
    ours, theirs = controls(before)[last], controls(after)[last]
    keys = set(re.findall(r"^([a-z0-9-]+) = ", ours + theirs, re.M))
    different = {key for key in keys if field(ours, key) != field(theirs, key)}
    # Times are those of the merge. The stock tool keeps two values of the FULL backup that are not true any more.
    assert different == {"merge-time", "end-time", "recovery-name", "pgdata-bytes", "content-crc"}
    assert field(ours, "recovery-name") == f"backup {last}" and field(ours, "status") == "OK"
    assert before.validate().code == 0
    for tree in (before_dir, after_dir):
        remove_tree(tree)


def test_stock_chain_with_two_compressors(bench, fixtures):
    """FULL and PTRACK without (but for a row-compressed relation, which has pglz), PTRACK with zlib: frames that fit are
    taken as they are, the others are encoded anew."""
    target, catalog = opengauss("full-ptrack-ptrackzlib", bench, fixtures)
    chain = sorted(catalog.backups())
    assert [catalog.backups()[b]["compress-alg"] for b in chain] == ["none", "none", "zlib"]
    lists = {b: listing(catalog, b) for b in chain}
    stored = {b: pages(catalog, b) for b in chain}
    expected = {}
    for name, entry in lists[chain[-1]].items():
        blocks = {}
        for backup_id in reversed(chain):  # newest version of each block first, as far as the file existed
            older = lists[backup_id].get(name)
            if older is None or older["size"] == 0:
                break
            for block, page in stored[backup_id].get(name, {}).items():
                blocks.setdefault(block, page)
            entry = older
        if blocks:
            length = lists[chain[-1]][name]["n_blocks"]
            expected[name] = {block: page for block, page in blocks.items() if block < length}
    merge(catalog, chain[-1])
    assert catalog.validate().code == 0
    assert pages(catalog, chain[-1]) == expected
    remove_tree(target)


# ---- real chains -----------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def made(shop, pg15):
    """FULL and three increments of a cluster that grows, shrinks and moves."""
    cluster = shop.cluster(pg15)
    cluster.pgbench_init(4)
    space = cluster.tablespace("space")
    cluster.sql("CREATE TABLE moved TABLESPACE space AS SELECT g AS id FROM generate_series(1, 10000) g")
    catalog = shop.catalog(cluster)
    ids = [catalog.backup("--compress-algorithm=zlib", check=False)]
    steps = ["UPDATE pgbench_accounts SET abalance = 1 WHERE aid % 997 = 0; TRUNCATE pgbench_history; "
             "CREATE TABLE grown AS SELECT g AS id, repeat('x', 100) AS t FROM generate_series(1, 20000) g",
             "DELETE FROM grown WHERE id > 5000; DROP TABLE moved; UPDATE pgbench_tellers SET tbalance = 2",
             "UPDATE pgbench_accounts SET abalance = 3 WHERE aid < 500; "
             "CREATE TABLE moved TABLESPACE space AS SELECT g AS id FROM generate_series(1, 500) g"]
    for number, step in enumerate(steps):
        cluster.sql(step)
        if number == 1:
            cluster.sql("VACUUM grown")  # cuts it
        algorithm = "none" if number == 1 else "zlib"
        ids.append(catalog.backup(f"--compress-algorithm={algorithm}", mode="DELTA", check=False))
    cluster.stop()
    return catalog, ids, space


@pytest.fixture
def chain(made, bench):
    """A copy of that chain to work on, and its ids, oldest first."""
    catalog, ids, space = made
    twin = catalog.copy(bench.new("catalog"))
    twin.space = space
    return twin, ids


def restored(bench, catalog, backup_id, *args):
    data, space = bench.new("data"), bench.new("space")
    catalog.restore(data, "-i", backup_id, "-T", f"{catalog.space}={space}", *args)
    found = {name: what for name, what in snapshot(data).items() if what[0] != "link"}
    found.update({f"space/{name}": what for name, what in snapshot(space).items()})
    for tree in (data, space):
        remove_tree(tree)
    return found


@pytest.mark.parametrize("upto", [1, 2, 3])
def test_restores_stay_the_same(chain, bench, upto):
    catalog, ids = chain
    survivors = ids[upto:]
    before = {backup_id: restored(bench, catalog, backup_id) for backup_id in survivors}
    merge(catalog, ids[upto], "-j", "2")
    shown = catalog.backups()
    assert set(shown) == set(survivors) and {b["status"] for b in shown.values()} == {"OK"}
    assert shown[ids[upto]]["backup-mode"] == "FULL" and "parent-backup-id" not in shown[ids[upto]]
    assert catalog.validate("-j", "2").code == 0
    assert {backup_id: restored(bench, catalog, backup_id) for backup_id in survivors} == before


def test_unchanged_files_are_links(chain):
    catalog, ids = chain
    names = {path.stat().st_ino for path in (catalog.dir(ids[0]) / "database").rglob("*") if path.is_file()}
    result = merge(catalog, ids[-1], "--log-level-console=log")
    written, linked, copied = map(int, re.search(r"(\d+) files were written, (\d+) linked, (\d+) copied", result.err).groups())
    kept = [path for path in (catalog.dir(ids[-1]) / "database").rglob("*") if path.is_file() and path.stat().st_ino in names]
    assert copied == 0 and 0 < written < linked / 10
    assert len(kept) > linked / 2


def test_without_links_files_are_copied(chain, bench):
    """The kernel refuses links to files of others that one may not write."""
    setting = "/proc/sys/fs/protected_hardlinks"
    if os.geteuid() != 0 or not os.path.exists(setting) or open(setting, encoding="ascii").read().strip() != "1":
        pytest.skip(f"needs root, and {setting}")
    catalog, ids = chain
    before = restored(bench, catalog, ids[3])
    for backup_id in ids:
        run(["find", catalog.dir(backup_id) / "database", "-type", "f", "-exec", "chown", "root", "{}", "+",
             "-exec", "chmod", "0644", "{}", "+"], as_root=True)
    result = merge(catalog, ids[3], "-j", "2", "--log-level-console=log")
    linked, copied = map(int, re.search(r"(\d+) linked, (\d+) copied", result.err).groups())
    assert linked == 0 and copied > 100, result
    assert catalog.validate().code == 0
    assert restored(bench, catalog, ids[3]) == before


def test_full_backup_names_its_only_child(chain):
    catalog, ids = chain
    merge(catalog, ids[0], into=ids[1])
    assert set(catalog.backups()) == set(ids[1:])
    merge(catalog, ids[3])
    assert set(catalog.backups()) == {ids[3]}
    refused(catalog, ids[3], message=f"Failed to find merge candidate, backup {ids[3]} has no valid children")


def set_field(catalog, backup_id, key, value):
    path = catalog.dir(backup_id) / "backup.control"
    path.write_text(re.sub(rf"^{key} = .*$", f"{key} = {value}", path.read_text(), flags=re.M))


def test_refusals(chain):
    catalog, ids = chain
    refused(catalog, "ZZZZZZ", message="Requested backup ZZZZZZ is not found.", hint="show")
    result = gsp("merge", *catalog.where)
    assert result.code == 1 and result.errors == ["required parameter is not specified: --backup-id"]
    set_field(catalog, ids[2], "parent-backup-id", f"'{ids[0]}'")
    refused(catalog, ids[0], message="multiple direct children", hint=ids[1])
    refused(catalog, ids[1], message=f"backup {ids[2]} is based on backup {ids[0]}, which a merge would take away")
    set_field(catalog, ids[2], "parent-backup-id", f"'{ids[1]}'")
    for status, message in (("CORRUPT", "has status CORRUPT, merge is aborted"), ("MERGING", "has status MERGING"),
                            ("ERROR", "has status ERROR, merge is aborted")):
        set_field(catalog, ids[1], "status", status)
        refused(catalog, ids[2], message=f"backup {ids[1]} {message}")
    set_field(catalog, ids[1], "status", "OK")
    set_field(catalog, ids[1], "program-version", "2.5.12")
    refused(catalog, ids[2], message="whose catalog is only read", hint="the program that made it")


def test_locked_member(chain):
    """Somebody restores from the chain: one clear line, and nothing changed."""
    catalog, ids = chain
    (catalog.dir(ids[1]) / "backup_ro.pid").write_text(f"{os.getpid()}\n")
    refused(catalog, ids[3], message=f"Cannot lock backup {ids[1]} directory: process {os.getpid()}")
    (catalog.dir(ids[1]) / "backup_ro.pid").unlink()
    merge(catalog, ids[3])


def test_never_validated_members_are_validated_first(chain):
    catalog, ids = chain
    set_field(catalog, ids[1], "status", "DONE")
    path = max((catalog.dir(ids[1]) / "database" / "base").rglob("*"), key=lambda p: p.stat().st_size)
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(bytes(damaged))
    result = gsp("merge", *catalog.where, "-i", ids[3])
    assert result.code == 1 and result.errors == [f"Backup {ids[1]} has status CORRUPT, merge is aborted"], result
    assert [catalog.status(b) for b in ids] == ["OK", "CORRUPT", "ORPHAN", "ORPHAN"]
    assert not leftovers(catalog)


# ---- interrupted -----------------------------------------------------------------------------------

def result_of(catalog, backup_id):
    """What a killed process may leave beside it, a lock or the half of an atomic write, is not looked at."""
    shown, folder = catalog.backups(), catalog.dir(backup_id)
    names = {str(path.relative_to(folder)) for path in folder.rglob("*") if not re.search(r"\.pid|\.owner|\.tmp$", path.name)}
    return set(shown), {b["status"] for b in shown.values()}, listing(catalog, backup_id), names


def interrupt(catalog, ids):
    """An unfinished merge of the last backup: one file of it, a small one that comes late, cannot be read."""
    label = catalog.dir(ids[3]) / "database" / "backup_label"
    label.rename(label.with_name("hidden"))
    result = gsp("merge", *catalog.where, "-i", ids[3])
    label.with_name("hidden").rename(label)
    assert result.code == 1 and "backup_label" in result.errors[0], result
    assert leftovers(catalog) == [f".merge-{ids[3]}"]


def test_kill_and_repeat(chain, bench):
    """Killed at moments spread over a whole merge; whatever is there restores, and the repeated command ends alike."""
    catalog, ids = chain
    undisturbed = catalog.copy(bench.new("undisturbed"))
    began = time.monotonic()
    merge(undisturbed, ids[3])
    whole = time.monotonic() - began
    expected = result_of(undisturbed, ids[3])
    content = restored(bench, catalog, ids[3])
    dice = random.Random(4)
    for part in range(5):
        twin = catalog.copy(bench.new("killed"))
        twin.space = catalog.space
        process = start("merge", *twin.where, "-i", ids[3])
        time.sleep(whole * (part + dice.random()) / 5)  # the moment is the point
        process.kill()
        process.communicate()
        assert twin.status(ids[3]) == "OK"
        if part % 2:
            assert restored(bench, twin, ids[3], "--no-validate") == content
        if twin.backups()[ids[3]]["backup-mode"] != "FULL" or leftovers(twin):
            merge(twin, ids[3])
        assert result_of(twin, ids[3]) == expected
        remove_tree(twin.path)


def test_finished_files_are_not_made_again(chain):
    """A merge that cannot read one file keeps what it has made, and the next one goes on from there."""
    catalog, ids = chain
    interrupt(catalog, ids)
    assert {b["status"] for b in catalog.show()} == {"OK"}
    ledger = catalog.dir(f".merge-{ids[3]}") / "merge.ledger"
    paths = [re.search(r'"path":"([^"]+)"', line)[1] for line in ledger.read_text().splitlines() if line[0] == "{"]
    assert len(paths) > 10
    inodes = {path: (catalog.dir(f".merge-{ids[3]}") / "database" / path).stat() for path in paths}
    result = merge(catalog, ids[3], "--log-level-console=log")
    assert f"{len(paths)} were there from an interrupted merge" in result.err, result
    for path, before in inodes.items():
        now = (catalog.dir(ids[3]) / "database" / path).stat()
        assert (now.st_ino, now.st_mtime_ns) == (before.st_ino, before.st_mtime_ns), path
    assert catalog.validate().code == 0


def test_another_chain_begins_afresh(chain):
    catalog, ids = chain
    left = catalog.dir(f".merge-{ids[3]}")
    (left / "database").mkdir(parents=True)
    (left / "merge.ledger").write_text("# merge of something else\n")
    (left / "database" / "strange").write_text("x")
    run(["chown", "-R", "--reference", catalog.path, left], as_root=True, check=False)
    merge(catalog, ids[3])
    assert not (catalog.dir(ids[3]) / "database" / "strange").exists()


def test_full_disk(made, bench, small_disk):  # noqa: F811
    """It is seen before anything is written; when the room goes while it works, the chain is as it was."""
    catalog, ids, space = made
    twin = catalog.copy(small_disk / "catalog")
    twin.space = space
    before = snapshot(twin.path)
    filler = fill_up(small_disk, leave=100 << 10)
    result = gsp("merge", *twin.where, "-i", ids[3])
    assert result.code == 1 and "not enough disk space to merge" in result.errors[0] and result.hints, result
    filler.unlink()
    assert snapshot(twin.path) == before
    expected = restored(bench, twin, ids[3])
    merge(twin, ids[3])
    assert restored(bench, twin, ids[3]) == expected


@pytest.fixture
def between(chain, bench):
    """Interrupted between the two renames of the switch, and the state that an undisturbed merge ends in."""
    catalog, ids = chain
    done = catalog.copy(bench.new("done"))
    merge(done, ids[3])
    catalog.dir(ids[3]).rename(catalog.dir(f".merged-{ids[3]}"))
    run(["cp", "-a", done.dir(ids[3]), catalog.dir(f".merge-{ids[3]}")])
    return catalog, ids, done


def test_between_the_renames(between, bench):
    """The backup does not disappear for an instant."""
    catalog, ids, done = between
    assert statuses(catalog, ids) == ["OK"] * 4
    assert catalog.validate().code == 0
    assert restored(bench, catalog, ids[3]) == restored(bench, catalog, ids[3], "--no-validate")
    refused(catalog, ids[1], message=f"backup {ids[1]} belongs to a merge of backup {ids[3]} that is not finished",
            hint=f"merge -i {ids[3]}")
    merge(catalog, ids[3])
    assert result_of(catalog, ids[3]) == result_of(done, ids[3])


def test_between_the_renames_by_the_name_of_the_full_backup(between):
    catalog, ids, done = between
    merge(catalog, ids[0], into=ids[3])
    assert result_of(catalog, ids[3]) == result_of(done, ids[3])


def test_delete_between_the_renames(between):
    catalog, ids, _ = between
    gsp_ok("delete", *catalog.where, "-i", ids[3])
    assert statuses(catalog, ids) == ["OK", "OK", "OK", None] and not leftovers(catalog)


# ---- what is left over -----------------------------------------------------------------------------

def test_leftovers_go_with_the_backup(chain):
    catalog, ids = chain
    interrupt(catalog, ids)
    result = gsp_ok("merge", *catalog.where, "-i", ids[1])
    assert f"'.merge-{ids[3]}' is left of an unfinished merge of backup {ids[3]}" in result.err, result
    gsp_ok("delete", *catalog.where, "-i", ids[3])
    assert not leftovers(catalog)


def test_leftovers_go_with_the_instance(chain):
    catalog, ids = chain
    interrupt(catalog, ids)
    gsp_ok("del-instance", *catalog.where)
    assert not catalog.config_file.parent.exists()


# ---- validate and delete, along a chain ------------------------------------------------------------

def damage(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


def statuses(catalog, ids):
    shown = catalog.backups()
    return [shown[backup_id]["status"] if backup_id in shown else None for backup_id in ids]


def test_damage_spreads_and_heals(chain):
    catalog, ids = chain
    path = max((catalog.dir(ids[1]) / "database" / "base").rglob("*"), key=lambda p: p.stat().st_size)
    damage(path)
    result = catalog.validate()
    assert result.code == 1 and statuses(catalog, ids) == ["OK", "CORRUPT", "ORPHAN", "ORPHAN"], result
    assert f"Backup {ids[2]} is orphaned because his parent {ids[1]} has status: CORRUPT" in result.warnings
    assert f"Backup {ids[3]} is orphaned because his parent {ids[1]} has status: CORRUPT" in result.warnings
    result = catalog.validate()
    assert f"Backup {ids[3]} has parent {ids[1]} with status: CORRUPT" in result.warnings
    damage(path)  # the same bit again: repaired
    result = catalog.validate()
    assert result.code == 0 and statuses(catalog, ids) == ["OK"] * 4, result


def test_one_backup_of_a_chain(chain):
    """-i looks at the chain up to the backup; those behind it do not stay valid on top of a damaged one."""
    catalog, ids = chain
    path = max((catalog.dir(ids[0]) / "database" / "base").rglob("*"), key=lambda p: p.stat().st_size)
    damage(path)
    result = catalog.validate("-i", ids[1])
    assert result.code == 1 and statuses(catalog, ids) == ["CORRUPT", "ORPHAN", "ORPHAN", "ORPHAN"], result
    damage(path)
    result = catalog.validate("-i", ids[2])
    assert result.code == 0 and statuses(catalog, ids) == ["OK", "OK", "OK", "ORPHAN"], result
    assert catalog.validate("-i", ids[3]).code == 0
    assert statuses(catalog, ids) == ["OK"] * 4


def test_missing_parent(chain):
    catalog, ids = chain
    away = catalog.path.parent / "away"
    catalog.dir(ids[1]).rename(away)
    result = catalog.validate()
    assert result.code == 1 and statuses(catalog, ids) == ["OK", None, "ORPHAN", "ORPHAN"], result
    for backup_id in ids[2:]:
        assert f"Backup {backup_id} is orphaned because his parent {ids[1]} is missing" in result.warnings
    away.rename(catalog.dir(ids[1]))
    assert catalog.validate().code == 0
    assert statuses(catalog, ids) == ["OK"] * 4


def test_delete_takes_what_is_on_top(chain):
    """A branch that begins below stays."""
    catalog, ids = chain
    set_field(catalog, ids[3], "parent-backup-id", f"'{ids[0]}'")
    gsp_ok("delete", *catalog.where, "-i", ids[1])
    assert statuses(catalog, ids) == ["OK", None, None, "OK"]


def test_delete_needs_every_lock(chain):
    catalog, ids = chain
    (catalog.dir(ids[2]) / "backup_ro.pid").write_text(f"{os.getpid()}\n")
    gsp_fails("delete", *catalog.where, "-i", ids[1], message=f"Cannot lock backup {ids[2]} directory",
              unchanged=[catalog.path])
