# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# Sourced by contrib/quickstart and tests/run: install Debian packages that are missing, and run
# PostgreSQL as somebody it accepts.

# debian_missing PACKAGE... - print the ones that are not installed.
debian_missing() {
    local package
    for package in "$@"; do
        [ "$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || echo "$package"
    done
}

# debian_need PACKAGE... - install what is missing; when that is impossible, name it and fail.
debian_need() {
    local missing sudo=()
    command -v dpkg-query >/dev/null || {
        echo "This script installs Debian packages; on another system install the equivalents of: $*" >&2
        return 1
    }
    mapfile -t missing < <(debian_missing "$@")
    [ "${#missing[@]}" -gt 0 ] || return 0
    if [ "$(id -u)" != 0 ]; then
        if ! command -v sudo >/dev/null || { [ ! -t 0 ] && ! sudo -n true 2>/dev/null; }; then
            printf 'These Debian packages are missing, and neither root nor sudo is at hand to install them:\n  %s\n' \
                "${missing[*]}" >&2
            return 1
        fi
        sudo=(sudo)
    fi
    debian_install "${missing[@]}"
}

# Uses the caller's array `sudo`.
debian_install() {
    local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o Dpkg::Use-Pty=0) rc=0
    local conf=/etc/postgresql-common/createcluster.d/zz-gs-probackup.conf
    "${apt[@]}" update || return
    # A server package would create and start a cluster of its own: nobody asked for one.
    "${sudo[@]}" mkdir -p "${conf%/*}"
    echo 'create_main_cluster = false' | "${sudo[@]}" tee "$conf" >/dev/null
    "${apt[@]}" install --no-install-recommends "$@" || rc=$?
    "${sudo[@]}" rm -f "$conf"
    "${sudo[@]}" rmdir --ignore-fail-on-non-empty "${conf%/*}"
    return "$rc"
}

# PostgreSQL refuses root: as root its servers, its clients and our tool run as the package's own user.
# as_server_user is a prefix that becomes the command (no process in between, so signals reach it).
# shellcheck disable=SC2034  # for the sourcing script
if [ "$(id -u)" = 0 ]; then
    server_user=postgres
    as_server_user=(setpriv --reuid=postgres --regid=postgres --init-groups --reset-env)
else
    server_user=$(id -un)
    as_server_user=(env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u PGDATA -u PGSERVICE -u BACKUP_PATH)
fi
