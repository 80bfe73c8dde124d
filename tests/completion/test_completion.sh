#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What the completion function offers. usage: test_completion.sh COMPLETION PROGRAM
# shellcheck disable=SC2034  # the function's input
set -euo pipefail
completion=$(realpath "$1") program=$(realpath "$2") failures=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
unset BACKUP_PATH
# shellcheck disable=SC1090
. "$completion"
complete -p gs_probackup >/dev/null

# offered WORD... - what is offered for the last word of a line, sorted, on one line. As bash does, "=" separates.
offered() {
    local word
    COMP_WORDS=("$program") COMPREPLY=()
    for word in "$@"; do
        if [[ $COMP_WORDBREAKS == *=* && $word == --*=?* ]]; then
            COMP_WORDS+=("${word%%=*}" "=" "${word#*=}")
        elif [[ $COMP_WORDBREAKS == *=* && $word == --*= ]]; then
            COMP_WORDS+=("${word%%=*}" "=")
        else
            COMP_WORDS+=("$word")
        fi
    done
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _gs_probackup
    printf '%s\n' "${COMPREPLY[@]-}" | LC_ALL=C sort | paste -sd ' '
}

# expect WHAT WORD... - exactly this is offered.
expect() {
    local got
    got=$(offered "${@:2}")
    [ "$got" = "$1" ] || {
        echo "for '${*:2}': '$got', not '$1'"
        failures=$((failures + 1))
    }
}

# A catalog with two instances; the name of one is a trap.
trap_name="a\$(touch trapped)"
"$program" init -B "$work/catalog" 2>/dev/null
for instance in main "$trap_name"; do
    mkdir -p "$work/catalog/backups/$instance" "$work/catalog/wal/$instance"
    echo "system-identifier = 1" >"$work/catalog/backups/$instance/pg_probackup.conf"
done
for id in TOWBGI TOXBGI; do
    mkdir "$work/catalog/backups/main/$id"
    printf 'backup-mode = FULL\nstatus = OK\nstart-time = %s\n' "'$(date -u -d "@$((36#$id))" '+%F %T+00')'" \
        >"$work/catalog/backups/main/$id/backup.control"
done
mkdir "$work/data" && touch "$work/file"
cd "$work"

expect "set-backup set-config" set
expect "version" vers
expect "backup" ba
expect "merge" help me
expect "info list" plugin ""
expect "--backup-id= --backup-path=" show --backup-
expect "--tablespace-mapping=" restore --tab
expect "" show --tab
expect "--dry-run" delete --dr
expect "DELTA" backup -b d
expect "DELTA FULL PAGE PTRACK" backup --backup-mode=
expect "PAGE PTRACK" backup --backup-mode p
expect "json" show --format=j
expect "checksum lsn none" restore --incremental-mode=
expect "CORRUPT" delete --status cor
expect "verbose" show --log-level-console=v
expect "$work/data" backup -B /b -D "$work/d"
expect "$work/data" backup "--pgdata=$work/d"
expect "$work/file" show "--config=$work/f"
expect "" backup --note=d
expect "main" show -B "$work/catalog" --instance=m
expect "main" show "--backup-path=$work/catalog" --instance m
expect "$(printf %q "$trap_name")" show -B "$work/catalog" --instance=a
expect "TOWBGI TOXBGI" restore -B "$work/catalog" --instance=main -i ""
expect "TOXBGI" restore -B "$work/catalog" --instance main --backup-id=tox
expect "" restore -B "$work/catalog" -i ""
expect "" restore -B "$work/nowhere" --instance=main -i ""
BACKUP_PATH=$work/catalog expect "TOWBGI" validate --instance=main -i TOW
# Where "=" does not separate words, the whole word is replaced.
COMP_WORDBREAKS=${COMP_WORDBREAKS//=/}
expect "--format=json" show --format=j
[ ! -e trapped ] || { echo "the name of an instance was run"; failures=$((failures + 1)); }
[ "$failures" = 0 ]
