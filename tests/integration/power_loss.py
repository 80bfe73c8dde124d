# SPDX-License-Identifier: Apache-2.0
"""What a disk may hold after the power failed: built from the log of tests/doubles/syscall_recorder.c.

A file keeps what was written before its last fsync (or syncfs). Later writes are lost, there, there in part, or
the file has its new size and zeros in it. A directory keeps the names it had at its own last fsync (or syncfs);
syncing a file says nothing about its name. Later changes of names survive
- in the order they were made, up to some point in it: a file system with one journal, or
- in that order within each directory, but one directory knows nothing of another: what POSIX leaves possible.
Contents and names are independent: a new name may be there and the bytes of its file not.
"""
import bisect
import hashlib
import itertools
import os
import random
import stat
from pathlib import Path

from processes import give_to_user

TORN_UNIT = 4096  # what a disk writes whole, or not at all


class Node:
    """A file, directory or symbolic link, with everything that happened to it."""
    numbers = itertools.count()

    def __init__(self, kind, mode, source=None, target=None):
        self.number = next(Node.numbers)
        self.kind = kind
        self.source = source  # where the bytes it had at the beginning are
        self.target = target
        self.times, self.ops = [], []  # of a directory: {name: Node or None}; of a file: (offset, bytes), a size
        self.mode_times, self.modes = [0], [mode]
        self.sync_times = []
        self.versions = {}
        self.quiet = True  # nothing happened to it, or below it
        self.parent = None

    def count(self, time):
        return bisect.bisect_right(self.times, time)

    def durable(self, time):
        at = bisect.bisect_right(self.sync_times, time)
        return self.count(self.sync_times[at - 1]) if at else 0

    def mode(self, time):
        return self.modes[bisect.bisect_right(self.mode_times, time) - 1]

    def durable_mode(self, time):
        at = bisect.bisect_right(self.sync_times, time)
        return self.mode(self.sync_times[at - 1] if at else 0)

    def entries(self, count):
        """The names of a directory after so many changes."""
        if count not in self.versions:
            names = dict(self.entries(count - 1)) if count else {}
            for name, node in self.ops[count - 1].items() if count else ():
                if node is None:
                    del names[name]
                else:
                    names[name] = node
            self.versions[count] = names
        return self.versions[count]

    def content(self, kept, size_from=0):
        """The bytes after some of the writes; size_from: as long as after so many, whatever was kept."""
        data = bytearray(self.source.read_bytes() if self.source else b"")
        longest = len(data)
        for number, op in enumerate(self.ops[:max(size_from, max(kept, default=-1) + 1)]):
            keep = kept.get(number)
            if isinstance(op, int):
                longest = op
                if keep:
                    del data[op:]
                    data.extend(bytes(op - len(data)))
                continue
            offset, written = op
            longest = max(longest, offset + len(written))
            if keep:
                data.extend(bytes(max(0, offset - len(data))))
                for start, end in keep if isinstance(keep, list) else [(0, len(written))]:
                    data.extend(bytes(max(0, offset + end - len(data))))
                    data[offset + start:offset + end] = written[start:end]
        if size_from:
            del data[longest:]
            data.extend(bytes(longest - len(data)))
        return bytes(data)


class Disk:
    """A directory before a command, and all that the command did to it."""

    def __init__(self, scope, before):
        """before: a copy of the scope that nobody changes."""
        self.scope, self.before = Path(scope), Path(before)
        self.files = {}
        self.store = {}  # digest -> file with that content
        self.root = self._read(self.scope)
        self.events = []  # of each time from 1 on: (what, nodes changed, nodes synced)

    def _read(self, path):
        st = path.lstat()
        if stat.S_ISLNK(st.st_mode):
            node = Node("link", 0o777, target=os.readlink(path))
        elif stat.S_ISDIR(st.st_mode):
            node = Node("dir", stat.S_IMODE(st.st_mode))
            node.versions[0] = {child.name: self._read(child) for child in path.iterdir()}
            for child in node.versions[0].values():
                child.parent = node
        else:
            node = Node("file", stat.S_IMODE(st.st_mode), source=self.before / path.relative_to(self.scope))
        self.files[f"{st.st_dev}:{st.st_ino}"] = node
        return node

    def _dir_and_name(self, path):
        parts = Path(os.fsdecode(path)).relative_to(self.scope).parts
        node = self.root
        for part in parts[:-1]:
            node = node.entries(len(node.ops))[part]
        return node, parts[-1]

    def replay(self, log):
        """Take in the log of one command."""
        data = Path(log).read_bytes()
        at, dirty = 0, set()
        while at < len(data):
            end = data.index(b"\n", at)
            what, *fields = data[at:end].decode("utf-8", "surrogateescape").split("\t")
            at = end + 1
            written = None
            if what == "write":
                written = memoryview(data)[at:at + int(fields[2])]
                at += int(fields[2]) + 1
            time = len(self.events) + 1
            changed, synced = self._event(time, what, fields, written, dirty)
            dirty.update(changed)
            dirty.difference_update(synced)
            for node in changed:
                while node is not None and node.quiet:
                    node.quiet = False
                    node = node.parent
            self.events.append((f"{what} {fields[-1] if what != 'write' else fields[0]}", changed, synced))
        return self

    def _event(self, time, what, fields, written, dirty):
        def change(node, op):
            node.times.append(time)
            node.ops.append(op)
            return [node]

        if what in ("create", "mkdir", "symlink"):
            if what == "symlink":
                node = Node("link", 0o777, target=fields[2])
                directory, name = self._dir_and_name(fields[1])
            else:
                node = Node("dir" if what == "mkdir" else "file", int(fields[1], 8))
                node.versions = {0: {}} if what == "mkdir" else {}
                directory, name = self._dir_and_name(fields[2])
            self.files[fields[0]] = node
            node.parent, node.quiet = directory, False
            return change(directory, {name: node}), []
        if what in ("rename", "link"):
            directory, name = self._dir_and_name(fields[0])
            to_directory, to_name = self._dir_and_name(fields[1])
            node = directory.entries(len(directory.ops))[name]
            if what == "rename" and directory is not to_directory:
                # Half of it may be left where directories are on their own.
                return change(directory, {name: None}) + change(to_directory, {to_name: node}), []
            return change(to_directory, {name: None, to_name: node} if what == "rename" else {to_name: node}), []
        if what == "remove":
            directory, name = self._dir_and_name(fields[0])
            return change(directory, {name: None}), []
        if what == "syncfs":
            nodes = list(dirty)
            for node in nodes:
                node.sync_times.append(time)
            return [], nodes
        node = self.files[fields[0]]
        if what == "fsync":
            node.sync_times.append(time)
            return [], [node]
        if what == "chmod":
            node.mode_times.append(time)
            node.modes.append(int(fields[1], 8))
            return [node], []
        return change(node, int(fields[1]) if what == "truncate" else (int(fields[1]), written)), []

    @property
    def end(self):
        return len(self.events)

    def all_kept(self, time):
        return State(self, time, {}, True, "all", "everything kept")

    # ---- the states --------------------------------------------------------------------------------

    def states(self, randoms, seed):
        """States after every single operation, then `randoms` states out of a hat."""
        rng = random.Random(seed)
        dirs, files, forced = {}, {}, 0
        for time in range(self.end + 1):
            if time:
                _, changed, synced = self.events[time - 1]
                for node in changed:
                    (dirs if node.kind == "dir" else files)[node] = True
                for node in synced:
                    if node.kind == "dir" and node.durable(time):
                        forced = max(forced, node.times[node.durable(time) - 1])
                    dirs.pop(node, None)
                    files.pop(node, None)
            yield from self._states_at(time, list(dirs), list(files), forced, rng)
        for _ in range(randoms):
            yield self._random_state(rng)

    def _states_at(self, time, dirs, files, forced, rng):
        for data in ("all", "lost", "zeros", "torn") if files else ("all",):
            yield State(self, time, {}, True, data, f"names kept, data {data}", rng.random())
        pair = ("lost", "all") if files else ("all",)
        for data in pair if dirs else ():
            yield State(self, time, {}, False, data, f"names lost, data {data}")
        # One journal: the changes of names up to a point.
        cuts = sorted({t for d in dirs for t in d.times[d.durable(time):d.count(time)] if t > forced} - {time})
        for cut in cuts if len(cuts) <= 6 else rng.sample(cuts, 6):
            counts = {d: max(d.durable(time), d.count(cut)) for d in dirs}
            for data in pair:
                yield State(self, time, counts, True, data, f"names as of {cut}, data {data}")
        # Directories on their own: one lost and the others kept, and the other way round.
        for d in (dirs if len(dirs) <= 4 else rng.sample(dirs, 4)) if len(dirs) > 1 else ():
            for data in pair:
                yield State(self, time, {d: d.durable(time)}, True, data, f"one directory lost, data {data}")
                yield State(self, time, {d: d.count(time)}, False, data, f"one directory kept, data {data}")
        # One file on its own, the youngest first.
        for f in files[-3:] if len(files) > 1 else ():
            for data in ("lost", "zeros"):
                yield State(self, time, {}, True, "all", f"one file {data}", files={f: data})

    def _random_state(self, rng):
        time = rng.randint(0, self.end)
        counts, files = {}, {}
        for node in dict.fromkeys(n for _, changed, _ in self.events[:time] for n in changed):
            low, high = node.durable(time), node.count(time)
            if node.kind == "dir":
                counts[node] = rng.randint(low, high)
            elif low < high:
                files[node] = rng.choice(("all", "lost", "zeros", "torn"))
        return State(self, time, counts, True, "all", "random", rng.random(), files)


class State:
    """What is left when the power fails after the operation number `time`."""

    def __init__(self, disk, time, counts, keep_names, data, label, seed=0.0, files=None):
        """counts: of some directories, how many of their changes are left; of all others all or the durable ones."""
        self.disk, self.time, self.counts, self.keep_names = disk, time, counts, keep_names
        self.data, self.seed, self.files = data, seed, files or {}
        self.label = label

    def __str__(self):
        after = self.disk.events[self.time - 1][0] if self.time else "nothing"
        return f"after operation {self.time} of {self.disk.end} ({after}), {self.label}"

    @property
    def is_over(self):
        """Had the command ended?"""
        return self.time == self.disk.end

    def entries(self, node):
        count = self.counts.get(node)
        if count is None:
            count = node.count(self.time) if self.keep_names else node.durable(self.time)
        return node.entries(count)

    def find(self, path):
        node = self.disk.root
        for part in path.split("/"):
            node = self.entries(node).get(part) if node is not None and node.kind == "dir" else None
        return node

    def mode(self, node):
        return node.mode(self.time) if self.data == "all" else node.durable_mode(self.time)

    def digest(self, node):
        """Names the bytes of a file, which are then in the disk's store of contents."""
        low, high = node.durable(self.time), node.count(self.time)
        data = self.files.get(node, self.data) if low < high else "all"
        which = (low if data == "lost" else high, data if data in ("zeros", "torn") else "",
                 self.seed if data == "torn" else 0)
        if which not in node.versions:
            node.versions[which] = self._content(node, data, low, high)
        return node.versions[which]

    def _content(self, node, data, low, high):
        kept = {number: True for number in range(high if data == "all" else low)}
        if data == "torn":
            rng = random.Random(f"{self.seed} {node.number}")
            for number in range(low, high):
                op = node.ops[number]
                length = len(op[1]) if isinstance(op, tuple) else 0
                kept[number] = [(at, min(at + TORN_UNIT, length)) for at in range(0, length, TORN_UNIT)
                                if rng.random() < 0.5]
        content = node.content(kept, high if data in ("zeros", "torn") else 0)
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        self.disk.store.setdefault(digest, content)
        return digest

    def read(self, path):
        node = self.find(path)
        return self.disk.store[self.digest(node)] if node is not None and node.kind == "file" else None

    def differences(self, path, other, ignore=lambda name: False):
        """Paths below `path` that another state of this disk has differently."""
        found = []
        self._compare(self.find(path), other, other.find(path), path, ignore, found)
        return found

    def _compare(self, mine, other, its, path, ignore, found):
        if mine is its and (mine is None or mine.quiet):
            return
        if mine is None or its is None or mine.kind != its.kind or mine.target != its.target or \
                (mine.kind != "link" and self.mode(mine) != other.mode(its)):
            found.append(path)
        elif mine.kind == "dir":
            here, there = self.entries(mine), other.entries(its)
            for name in sorted(here.keys() | there.keys()):
                if not ignore(name):
                    self._compare(here.get(name), other, there.get(name), f"{path}/{name}", ignore, found)
        elif mine.kind == "file" and self.digest(mine) != other.digest(its):
            found.append(path)

    def build(self, path, target, contents):
        """Make the tree below path in the file system. contents: a folder for files, which are only linked to."""
        self._build(self.find(path), Path(target), Path(contents))

    def _build(self, node, target, contents):
        if node.kind == "dir":
            target.mkdir()
            for name, child in self.entries(node).items():
                self._build(child, target / name, contents)
            target.chmod(self.mode(node))
        elif node.kind == "link":
            target.symlink_to(node.target)
        elif node.source is not None and not node.ops:
            os.link(node.source, target)
            return
        else:
            digest = self.digest(node)
            source = contents / digest
            if not source.exists():
                # Several threads build at once: what has its name is complete.
                beginning = contents / f"{digest}.{next(Node.numbers)}"
                beginning.write_bytes(self.disk.store[digest])
                beginning.chmod(0o600)
                give_to_user(beginning)
                beginning.rename(source)
            os.link(source, target)
            return
        give_to_user(target)
