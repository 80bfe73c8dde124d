# SPDX-License-Identifier: Apache-2.0
"""What can still be had from a damaged or foreign backup, and what is refused."""
import re

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
