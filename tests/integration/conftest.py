# SPDX-License-Identifier: Apache-2.0
import itertools
import os
from pathlib import Path

import pytest

import tool
from postgres import Cluster, Version, restored
from processes import remove_tree, run, work_dir


def pytest_sessionstart(session):
    if not os.access(tool.BINARY, os.X_OK):
        pytest.exit(f"no program at {tool.BINARY}: build it, or point GSP_BIN to it", returncode=2)


def pytest_collection_modifyitems(items):
    """What the tests of a module share is made once: they run in one process. All others go where there is time."""
    for item in items:
        fixtures = item._fixtureinfo.name2fixturedefs.values()
        if any(definition.scope == "module" for definitions in fixtures for definition in definitions):
            item.add_marker(pytest.mark.xdist_group(item.module.__name__))


@pytest.fixture(scope="session")
def _templates():
    path = work_dir()
    yield path
    remove_tree(path)


# PostgreSQL 15 is Debian's. Of the others each has a folder <major>/ below GSP_PG_DIR; GSP_PG_MAJORS names those of
# the tests on every version.
PG_DIR = Path(os.environ.get("GSP_PG_DIR", "/usr/lib/postgresql"))
MAJORS = sorted(map(int, os.environ["GSP_PG_MAJORS"].split())) if "GSP_PG_MAJORS" in os.environ else \
    sorted({12, 15, 18} | {int(path.name) for path in PG_DIR.glob("[0-9][0-9]") if path.name != "15"})


def _version(major, templates):
    bindir = Path("/usr/lib/postgresql/15/bin") if major == 15 else PG_DIR / str(major) / "bin"
    if not (bindir / "postgres").exists():
        pytest.skip(f"PostgreSQL {major} is not at {bindir} (GSP_PG_DIR)")
    return Version(major, bindir, templates)


@pytest.fixture(scope="session", params=MAJORS, ids=lambda major: f"pg{major}")
def pg(request, _templates):
    """Every PostgreSQL version (GSP_PG_MAJORS): tests that depend on what the server does."""
    return _version(request.param, _templates)


@pytest.fixture(scope="session")
def pg15(_templates):
    """One PostgreSQL version: tests of the catalog and the command line."""
    return _version(15, _templates)


@pytest.fixture(scope="session")
def version_of(_templates):
    """Any one PostgreSQL version, by its number; skips when it is not there."""
    return lambda major: _version(major, _templates)


class Workshop:
    """Makes clusters, catalogs and directories, and clears them away."""

    def __init__(self):
        self.path = work_dir()
        self.clusters = []
        self.numbers = itertools.count()

    def new(self, name):
        """A path that does not exist yet."""
        return self.path / f"{name}{next(self.numbers)}"

    def cluster(self, version, **kwargs):
        cluster = Cluster.create(version, self.new("pg"), **kwargs)
        self.clusters.append(cluster)
        return cluster

    def restored(self, version, data):
        cluster = restored(version, data, self.new("pg"))
        self.clusters.append(cluster)
        return cluster

    def catalog(self, cluster):
        return tool.Catalog.create(self.new("catalog"), cluster)

    def close(self):
        tool.end_started()
        for cluster in self.clusters:
            if cluster.running:
                cluster.stop("immediate")
        # Tests leave files of any mode; root or their owner may remove them all the same.
        run(["chmod", "-R", "u+rwX", self.path], check=False)
        remove_tree(self.path)


@pytest.fixture(scope="module")
def shop():
    """For what a module's tests share."""
    workshop = Workshop()
    yield workshop
    workshop.close()


@pytest.fixture
def bench():
    """For what one test needs."""
    workshop = Workshop()
    yield workshop
    workshop.close()


@pytest.fixture(scope="session")
def fixtures():
    """The folder of recorded catalogs."""
    path = os.environ.get("GSP_FIXTURES")
    if not path:
        pytest.skip("GSP_FIXTURES is not set: no recorded catalogs")
    return Path(path)
