# SPDX-License-Identifier: Apache-2.0
"""One temporary folder with the tool, the clusters and their copies; and how a command is measured in it."""
import contextlib
import json
import mmap
import os
import platform
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

from processes import give_to_user, make_dir, popen, remove_tree, run, wait_until

JOB_TIMEOUT = 1800  # seconds
SPARE_BYTES = 128 * 2**20
SAMPLE_EVERY = 0.1  # seconds between two looks at the memory of a job's processes
TICK = os.sysconf("SC_CLK_TCK")


class JobFailed(Exception):
    pass


def process_children(pid):
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def process_rss(pid):
    """KiB; pages that processes share count in each of them."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024
    return 0


def tree_rss(pid):
    return sum(process_rss(child) + tree_rss(child) for child in process_children(pid))


class MemorySampler:
    """The most that all processes below pid held at one moment."""

    def __init__(self, pid):
        self.pid, self.peak = pid, 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch, daemon=True)

    def watch(self):
        while not self.ended.wait(SAMPLE_EVERY):
            self.peak = max(self.peak, tree_rss(self.pid))

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()


def server_cpu(postmaster):
    """Seconds of the server and all of its processes so far, ended ones included."""
    def ticks(pid, fields):
        with contextlib.suppress(OSError):
            numbers = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            return sum(int(numbers[field]) for field in fields)
        return 0
    own, ended = (11, 12), (13, 14)
    return (ticks(postmaster, own + ended) + sum(ticks(pid, own) for pid in process_children(postmaster))) / TICK


class Sandbox:
    def __init__(self, options, repository):
        self.options, self.repository = options, repository
        self.clusters = []
        self.mounted = False
        self.image = None
        self.discards = 0

    def __enter__(self):
        self.root = Path(tempfile.mkdtemp(prefix="gsp-bench.", dir=self.options.tmp))
        self.root.chmod(0o755)
        return self

    def __exit__(self, *_):
        for cluster in self.clusters:
            with contextlib.suppress(Exception):
                cluster.stop("immediate")
        if self.options.keep:
            print(f"kept: {self.root}")
            return
        if self.mounted:
            run(["umount", self.root], as_root=True, timeout=JOB_TIMEOUT, check=False)
        if self.image is not None:
            self.image.unlink()
        remove_tree(self.root)

    def mount_own_fs(self):
        self.image = self.root.with_suffix(".image")
        with open(self.image, "wb") as image:
            image.truncate(self.options.own_fs << 30)
        # No thread of the kernel goes on making it while something is measured.
        self.command(["mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image])
        self.command(["mount", "-o", "loop", self.image, self.root])
        self.mounted = True
        self.root.chmod(0o755)

    # ---- the programs ------------------------------------------------------------------------

    def build(self):
        if self.options.own_fs is not None:
            self.mount_own_fs()
        self.work = make_dir(self.root / "w")
        self.discarded = make_dir(self.root / "discarded")
        build = self.options.build
        if build is None:
            build = self.root / "build"
            self.command(["meson", "setup", build, self.repository, "--buildtype=release", "-Dtests=false", "-Dbench=true"])
            self.command(["ninja", "-C", build])
        # Installed, where the server's user can read it.
        self.command(["meson", "install", "-C", build, "--no-rebuild", "--destdir", self.root / "installed"])
        self.tool = next((self.root / "installed").rglob("bin/gs_probackup"))
        self.plugins = next((self.root / "installed").rglob("storage-fs.so")).parent
        self.programs = self.root / "bench"
        self.programs.mkdir()
        for name in ("bench-measure", "bench-passes", "bench-filelist"):
            shutil.copy(build / "tests" / "bench" / name, self.programs)
        self.pgbackrest = shutil.which("pgbackrest")

    def command(self, argv):
        done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, check=False)
        if done.returncode != 0:
            raise JobFailed(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout[-4000:]}")

    def machine(self):
        """Facts that the figures depend on."""
        def first_line(*argv):
            return run(argv, as_root=True).stdout.splitlines()[0]
        cpu = re.search(r"^model name\s*: (.*)$", Path("/proc/cpuinfo").read_text(), re.M)
        memory = re.search(r"^MemTotal:\s*(\d+)", Path("/proc/meminfo").read_text(), re.M)
        zlib = re.search(r"zlib streams, made by (.*)", run([self.tool, "plugin", "list"]).stdout)
        return {
            "cpu": cpu[1] if cpu else platform.machine(), "cores": os.cpu_count(),
            "memory_gib": round(int(memory[1]) / 2**20), "kernel": platform.release(),
            "file_system": run(["df", "--output=fstype", self.root]).stdout.split()[-1] +
                           (" in an image" if self.mounted else ""),
            "load_before": os.getloadavg()[0],
            "gs_probackup": first_line(self.tool, "version"),
            "compressor_zlib": zlib[1].strip() if zlib else None,
            "postgresql": first_line("/usr/lib/postgresql/15/bin/postgres", "--version"),
            "pgbackrest": first_line(self.pgbackrest, "version") if self.pgbackrest else None,
            "cp": first_line("cp", "--version"),
        }

    # ---- measuring ---------------------------------------------------------------------------

    def measure(self, argv, stdin=None, cluster=None):
        """Run a command as the server's user; returns (cost, stdout). CPU is that of all of its processes."""
        if cluster is not None:
            postmaster = cluster.postmaster
            idle = set(process_children(postmaster))
            server_before = server_cpu(postmaster)
        cost_file, out_file = self.work / "cost", self.work / "output"
        cost_file.unlink(missing_ok=True)
        with open(out_file, "w+", encoding="utf-8") as out:
            process = popen([self.programs / "bench-measure", cost_file, *argv], stdin=stdin or subprocess.DEVNULL,
                            stdout=out, stderr=subprocess.STDOUT, start_new_session=True)
            try:
                with MemorySampler(process.pid) as sampler:
                    process.wait(timeout=JOB_TIMEOUT)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
            out.seek(0)
            text = out.read()
        if process.returncode != 0:
            raise JobFailed(f"{' '.join(map(str, argv))}: exit {process.returncode}\n{text[-4000:]}")
        cost = json.loads(cost_file.read_text())
        del cost["exit"]
        cost["cpu_s"] = cost["user_s"] + cost["sys_s"]
        cost["rss_all_kib"] = max(sampler.peak, cost["rss_kib"])
        if cluster is not None:
            wait_until(lambda: set(process_children(postmaster)) <= idle, "the tool's sessions to end")
            cost["server_cpu_s"] = server_cpu(postmaster) - server_before
        return cost, text

    def settle(self, warm, write_bytes):
        """Nothing is dirty, the tree `warm` is in the page cache, and there is memory for what the job will write."""
        subprocess.run(["sync", "-f", self.work], check=True)
        subprocess.run(["find", str(warm), "-type", "f", "-exec", "cat", "{}", "+"], stdout=subprocess.DEVNULL, check=True)
        # A virtual machine gives free memory back to its host after some seconds; getting it again costs the one who
        # touches it first more than copying a file into it. So it is touched here, shortly before.
        available = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGESIZE")
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | mmap.MAP_POPULATE
        mmap.mmap(-1, min(2 * write_bytes + SPARE_BYTES, available // 2), flags=flags).close()

    def discard(self, tree):
        """Free the blocks of a result, and keep its inodes until the end: ext4 does not reuse an inode for minutes after
        its deletion, and looks at each such one whenever a file is created."""
        for folder, _, files in os.walk(tree):
            for name in files:
                path = os.path.join(folder, name)
                found = os.lstat(path)
                if stat.S_ISREG(found.st_mode) and found.st_size > 0 and found.st_nlink == 1:
                    os.truncate(path, 0)
        if tree.exists():
            tree.rename(self.discarded / str(self.discards))
            self.discards += 1

    def copy_command(self):
        """cp, that copies: sharing the blocks with the original is another work."""
        probe, clone = self.work / "probe", self.work / "clone"
        probe.write_text("x" * 4096)
        give_to_user(probe)
        shares = run(["cp", "--reflink=always", probe, clone], check=False).returncode == 0
        return "cp -r --reflink=never" if shares else "cp -r"


def tree_bytes(root):
    """Bytes of the regular files below root."""
    total = 0
    for folder, _, files in os.walk(root):
        total += sum(os.lstat(os.path.join(folder, name)).st_size for name in files)
    return total
