# SPDX-License-Identifier: Apache-2.0
"""restore --plan, and the room that a restore needs on each file system."""
import json
import os

import pytest

from processes import IS_ROOT, give_to_user, run, snapshot
from tool import gsp, gsp_fails


def plan(catalog, data, *args, code=0):
    before = snapshot(catalog.path)
    result = gsp("restore", "--plan", *catalog.where, "-D", data, "--format=json", *args)
    assert result.code == code and not result.errors, result
    assert snapshot(catalog.path) == before, "a plan changes nothing"
    report = json.loads(result.out)
    assert report["refused"] == bool(code) == bool(report["refusals"]), result
    plain = gsp("restore", "--plan", *catalog.where, "-D", data, *args)
    assert plain.code == code and ("REFUSED" in plain.out) == bool(code), plain
    for refusal in report["refusals"]:
        assert refusal["message"] in plain.out, plain
    return report


def room(report):
    """(what, path) -> bytes, all file systems together."""
    return {(place["what"], place["path"]): place["need-bytes"]
            for system in report["file-systems"] for place in system["places"]}


def disk_use(path):
    return int(run(["du", "-s", "-B1", path]).stdout.split()[0])


@pytest.fixture
def small_disk(bench):
    """Makes file systems of so many MiB."""
    if not IS_ROOT:
        pytest.skip("mounting a tmpfs needs root")
    made = []

    def make(mebibytes):
        path = bench.new("disk")
        path.mkdir()
        if run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "gsp-test", path], as_root=True, check=False).returncode != 0:
            pytest.skip("no tmpfs can be mounted here")
        give_to_user(path)
        made.append(path)
        return path

    yield make
    for path in made:
        run(["umount", "-l", path], as_root=True)


def test_plan_and_room(bench, pg15, small_disk):
    source = bench.cluster(pg15)
    old_space = source.tablespace("beside")
    source.sql("CREATE TABLE t TABLESPACE beside AS SELECT n, repeat('x', 100) FROM generate_series(1, 100000) n")
    catalog = bench.catalog(source)
    full = catalog.backup(check=False)
    source.sql("UPDATE t SET n = n WHERE n < 10")
    delta = catalog.backup(mode="DELTA", check=False)
    data, space = bench.new("data"), bench.new("space")
    mapping = ["-T", f"{old_space}={space}"]

    # ---- the chain, WAL and what can be recovered to
    report = plan(catalog, data, *mapping)
    assert [(b["id"], b["backup-mode"]) for b in report["chain"]] == [(delta, "DELTA"), (full, "FULL")]
    assert report["wal"]["stored-in"] == "backup" and report["wal"]["segments"] == 1
    (own,) = report["reachable"]["timelines"]
    assert own["archived-segments"] == 0 and own["latest-lsn"] == report["reachable"]["earliest-lsn"]
    stop = report["wal"]["last"]
    archive = catalog.path / "wal" / catalog.instance
    for number in (1, 2, 4):  # 3 is missing
        name = archive / f"{int(stop, 16) + number:024X}"
        name.write_bytes(b"")
        give_to_user(name)
    report = plan(catalog, data, *mapping)
    (own,) = report["reachable"]["timelines"]
    assert own["archived-segments"] == 2 and own["last-segment"] == f"{int(stop, 16) + 2:024X}"
    assert [b["id"] for b in plan(catalog, data, *mapping, "-i", full)["chain"]] == [full]

    # ---- the room is what it takes
    needs = room(report)
    assert set(needs) == {("data directory", str(data)), (next(w for w, p in needs if p == str(space)), str(space))}
    (system,) = report["file-systems"]
    assert system["enough"] and system["need-bytes"] == sum(needs.values())
    catalog.restore(data, *mapping, "--no-validate")
    for (_, path), need in needs.items():
        used = disk_use(path)
        assert used <= need + 65536 and need - used < 1 << 20, (path, used, need)
    # In place nothing is missing but what a plan cannot know to be the same: not a byte more is needed.
    in_place = plan(catalog, data, *mapping, "-I", "checksum")
    assert in_place["in-place"] and sum(s["need-bytes"] for s in in_place["file-systems"]) < 1 << 20, in_place

    # ---- refused
    occupied = plan(catalog, data, *mapping, code=1)
    assert "is not empty" in occupied["refusals"][0]["message"] and occupied["chain"], occupied
    assert plan(catalog, bench.new("x"), "-i", "ABCDEF", code=1)["chain"] == []

    # ---- two places that fit, but not both on one small disk
    together = sum(needs.values())
    tight = small_disk((together >> 20) - 1)
    where = [tight / "data", "-T", f"{old_space}={tight / 'space'}"]
    refused = plan(catalog, *where, code=1)
    (system,) = refused["file-systems"]
    assert not system["enough"] and len(system["places"]) == 2 and refused["refusals"][0]["class"] == "nospace"
    gsp_fails("restore", *catalog.where, "-D", *where, "--no-validate",
              message="not enough disk space to restore into", hint="--plan", unchanged=[tight])
    apart = plan(catalog, tight / "data", *mapping[:1], f"{old_space}={bench.new('space')}")
    assert len(apart["file-systems"]) == 2


def test_plan_out_of_a_catalog_that_cannot_be_written(bench, pg15):
    source = bench.cluster(pg15)
    catalog = bench.catalog(source)
    catalog.backup(check=False)
    run(["chmod", "-R", "a-w", catalog.path])
    assert os.stat(catalog.path).st_mode & 0o222 == 0
    plan(catalog, bench.new("data"))
