# SPDX-License-Identifier: Apache-2.0
"""Whom servers and the tool run as, and how commands are started and trees compared."""
import hashlib
import os
import pwd
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

IS_ROOT = os.geteuid() == 0
# PostgreSQL refuses root, and the tool refuses whoever does not own PGDATA.
USER = pwd.getpwnam("postgres") if IS_ROOT else pwd.getpwuid(os.geteuid())


def clean_environment(extra=None):
    """Nothing of the caller's PostgreSQL or catalog settings; messages in English."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PG") and k not in ("BACKUP_PATH", "LANGUAGE")}
    env.update(HOME=USER.pw_dir, USER=USER.pw_name, LOGNAME=USER.pw_name, LC_ALL="C.UTF-8")
    env.update(extra or {})
    return env


def popen(argv, env=None, as_root=False, **kwargs):
    """Start a command as the server's user."""
    if IS_ROOT and not as_root:
        kwargs.update(user=USER.pw_uid, group=USER.pw_gid, extra_groups=[])
    kwargs.setdefault("cwd", "/")
    kwargs.setdefault("stdin", subprocess.DEVNULL)
    return subprocess.Popen([str(a) for a in argv], env=clean_environment(env), text=True, **kwargs)


def run(argv, timeout=120, check=True, **kwargs):
    """Run a command to its end; returns the CompletedProcess."""
    process = popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **kwargs)
    try:
        out, err = process.communicate(timeout=timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        out, err = process.communicate()
        raise AssertionError(f"{argv} took more than {timeout} s\n{out}\n{err}") from None
    done = subprocess.CompletedProcess(argv, process.returncode, out, err)
    if check and done.returncode != 0:
        raise AssertionError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{out}\n{err}")
    return done


def give_to_user(path):
    if IS_ROOT:
        os.chown(path, USER.pw_uid, USER.pw_gid, follow_symlinks=False)


def make_dir(path, mode=0o700):
    path = Path(path)
    path.mkdir()
    path.chmod(mode)
    give_to_user(path)
    return path


def work_dir(parent=os.environ.get("GSP_TEST_DIR", "/tmp")):
    """A short path (sockets allow 107 bytes) that the server's user owns."""
    path = Path(tempfile.mkdtemp(prefix="gsp-", dir=parent))
    give_to_user(path)
    return path


def copy_tree(source, target):
    run(["cp", "-a", "--reflink=auto", source, target])
    return Path(target)


def remove_tree(path):
    shutil.rmtree(path, ignore_errors=True)


def wait_until(condition, what, timeout=30):
    """Poll: there is no event to wait for on the other side of a process boundary."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        assert time.monotonic() < deadline, f"waited {timeout} s for {what}"
        time.sleep(0.01)


def _describe(path):
    st = path.lstat()
    if stat.S_ISLNK(st.st_mode):
        return "link", os.readlink(path)
    if stat.S_ISREG(st.st_mode):
        digest = hashlib.blake2b(digest_size=16)
        with open(path, "rb") as f:
            while chunk := f.read(1 << 20):
                digest.update(chunk)
        return "file", st.st_mode, st.st_size, digest.hexdigest()
    return "other", st.st_mode


def snapshot(root):
    """What a tree holds: comparable before and after. A missing tree is a tree too."""
    root = Path(root)
    if not root.exists():
        return None
    if not root.is_dir():
        return _describe(root)
    return {str(p.relative_to(root)): _describe(p) for p in sorted(root.rglob("*"))}
