# SPDX-License-Identifier: Apache-2.0
"""What can still be had from a damaged or foreign backup, and what is refused."""
import re
import shutil

import pytest

from tool import gsp, gsp_fails

PAGE = 8192


@pytest.fixture(scope="module")
def original(shop, pg15):
    source = shop.cluster(pg15)
    source.sql("CREATE TABLE wide AS SELECT n, repeat(md5(n::text), 30) AS filler FROM generate_series(1, 20000) AS n")
    source.sql("VACUUM FREEZE wide")
    source.wide = source.relation_path("wide")
    catalog = shop.catalog(source)
    catalog.id = catalog.backup("--compress-algorithm=zlib")
    source.pages = (source.data / source.wide).read_bytes()
    source.stop()
    return catalog


@pytest.fixture
def catalog(bench, original):
    return original.copy(bench.new("catalog"))


def stored_table(catalog):
    return catalog.dir(catalog.id) / "database" / catalog.cluster.wide


def test_force_loses_only_the_damaged_page(bench, catalog):
    """One flipped bit in a compressed page costs that page, not the megabyte around it."""
    path = stored_table(catalog)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    target = bench.new("data")
    result = gsp("restore", *catalog.where, "-D", target, "-i", catalog.id, "--force")
    assert result.code == 0, result
    assert any(catalog.cluster.wide in line and "1 page(s) are lost" in line for line in result.warnings), result
    restored, source = (target / catalog.cluster.wide).read_bytes(), catalog.cluster.pages
    assert len(restored) == len(source) > 200 * PAGE
    differing = [n for n in range(len(source) // PAGE) if restored[n * PAGE:(n + 1) * PAGE] != source[n * PAGE:(n + 1) * PAGE]]
    assert len(differing) == 1
    assert restored[differing[0] * PAGE:(differing[0] + 1) * PAGE] == bytes(PAGE)


def test_force_goes_on_without_a_missing_file(bench, catalog):
    stored_table(catalog).unlink()
    target = bench.new("data")
    result = gsp("restore", *catalog.where, "-D", target, "-i", catalog.id, "--force")
    assert result.code == 0, result
    assert any(catalog.cluster.wide in line and "not" in line for line in result.warnings), result
    assert (target / "global" / "pg_control").exists()


def test_without_force_nothing_of_it_starts(bench, catalog):
    stored_table(catalog).unlink()
    gsp_fails("restore", *catalog.where, "-D", bench.new("data"), "-i", catalog.id, message=catalog.id)


def add_external_file(catalog):
    """As a backup with -E, which another tool can have made, lists it."""
    folder = catalog.dir(catalog.id)
    place = folder / "external_directories" / "externaldir1"
    place.mkdir(parents=True)
    (place / "PG_VERSION").write_text("not a version")
    listing = folder / "backup_content.control"
    line = next(line for line in listing.read_text().splitlines() if '"path":"PG_VERSION"' in line)
    line = line.replace('"external_dir_num":"0"', '"external_dir_num":"1"')
    listing.write_text(listing.read_text() + line + "\n")
    control = folder / "backup.control"
    control.write_text(re.sub(r"content-crc = .*\n", "", control.read_text()))


def test_external_directories_are_not_mixed_into_the_cluster(bench, catalog):
    add_external_file(catalog)
    target = bench.new("data")
    gsp_fails("restore", *catalog.where, "-D", target, "-i", catalog.id, "--no-validate", message="external directories",
              hint="--skip-external-dirs", unchanged=[target])
    assert gsp("restore", *catalog.where, "-D", target, "-i", catalog.id, "--no-validate", "--skip-external-dirs").code == 0
    assert (target / "PG_VERSION").read_text() == "15\n"


@pytest.mark.parametrize("version, word", [("2.3.9", "too old"), ("2.6.0", "newer"), ("9.9.9", "newer")])
def test_backups_of_other_versions_are_refused(bench, catalog, version, word):
    control = catalog.dir(catalog.id) / "backup.control"
    control.write_text(control.read_text().replace("program-version = 2.4.2", f"program-version = {version}"))
    target = bench.new("data")
    gsp_fails("restore", *catalog.where, "-D", target, "-i", catalog.id, message=word, hint="program", unchanged=[target])
    result = catalog.validate()
    assert result.code == 1 and any(word in line for line in result.warnings), result


# ---- chains ----------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def original_chain(shop, pg15):
    source = shop.cluster(pg15)
    source.sql("CREATE TABLE wide AS SELECT n, repeat(md5(n::text), 30) AS filler FROM generate_series(1, 20000) AS n")
    source.sql("VACUUM FREEZE wide")
    source.wide = source.relation_path("wide")
    catalog = shop.catalog(source)
    catalog.ids = [catalog.backup("--compress-algorithm=zlib", check=False)]
    for n in range(5):
        source.sql(f"UPDATE wide SET filler = repeat(md5(filler), 30) WHERE n % 400 = {n}")
        source.sql("CHECKPOINT")
        source.pages = (source.data / source.wide).read_bytes()
        catalog.ids.append(catalog.backup(f"--compress-algorithm={'none' if n % 2 else 'zlib'}", mode="DELTA", check=False))
    source.stop()
    return catalog


@pytest.fixture
def chain(bench, original_chain):
    catalog = original_chain.copy(bench.new("catalog"))
    catalog.ids = original_chain.ids
    return catalog


def differing_pages(catalog, target):
    restored, source = (target / catalog.cluster.wide).read_bytes(), catalog.cluster.pages
    assert len(restored) == len(source) > 200 * PAGE
    return {n: restored[n * PAGE:(n + 1) * PAGE] for n in range(len(source) // PAGE)
            if restored[n * PAGE:(n + 1) * PAGE] != source[n * PAGE:(n + 1) * PAGE]}


def test_a_chain_of_six_is_one_cluster(bench, chain):
    target = bench.new("data")
    result = chain.restore(target, "-i", chain.ids[-1], "-j", "2")
    assert f"Validating parents for backup {chain.ids[-1]}" in result.lines("INFO"), result
    assert differing_pages(chain, target) == {}


def test_force_never_takes_an_older_page(bench, chain):
    """The newest version of a page is damaged: it reads as zeros, though its older versions are there."""
    middle = chain.ids[3]
    (block, *_) = sorted(set(chain.stored_blocks(middle)[chain.cluster.wide])
                         - set(chain.stored_blocks(chain.ids[4])[chain.cluster.wide])
                         - set(chain.stored_blocks(chain.ids[5])[chain.cluster.wide]))
    at = chain.stored_blocks(middle)[chain.cluster.wide].index(block)
    path = chain.dir(middle) / "database" / chain.cluster.wide
    data, pos = bytearray(path.read_bytes()), 0
    for _ in range(at):
        pos += 8 + int.from_bytes(data[pos + 4:pos + 8], "little")
    data[pos + 8 + 20] ^= 1
    path.write_bytes(bytes(data))
    target = bench.new("data")
    result = gsp_fails("restore", *chain.where, "-D", target, "-i", chain.ids[-1],
                       message=f"Backup {chain.ids[-1]} is orphan.", unchanged=[target])
    assert any(middle in line and "CORRUPT" in line for line in result.warnings), result
    assert chain.status(middle) == "CORRUPT" and chain.status(chain.ids[2]) == "OK"
    result = gsp("restore", *chain.where, "-D", target, "-i", chain.ids[-1], "--force", "--no-sync")
    assert result.code == 0, result
    assert any(chain.cluster.wide in line and "1 page(s) are lost" in line for line in result.warnings), result
    assert differing_pages(chain, target) == {block: bytes(PAGE)}


def test_force_without_the_records_of_a_backup(bench, chain):
    """Nobody knows which pages it had: only what is newer is certain."""
    (chain.dir(chain.ids[3]) / "page_header_map").unlink()
    target = bench.new("data")
    result = gsp("restore", *chain.where, "-D", target, "-i", chain.ids[-1], "--force", "--no-sync")
    assert result.code == 0, result
    newer = {block for backup in chain.ids[4:] for block in chain.stored_blocks(backup)[chain.cluster.wide]}
    differing = differing_pages(chain, target)
    assert not newer & set(differing) and set(differing.values()) == {bytes(PAGE)}
    assert len(newer) + len(differing) == len(chain.cluster.pages) // PAGE


def test_a_parent_is_missing(bench, chain):
    shutil.rmtree(chain.dir(chain.ids[2]))
    gsp_fails("restore", *chain.where, "-D", bench.new("data"), "-i", chain.ids[-1],
              message=f"its ancestor {chain.ids[2]} is missing")
    assert chain.status(chain.ids[1]) == "OK"
    assert {chain.status(backup) for backup in chain.ids[3:]} == {"ORPHAN"}
