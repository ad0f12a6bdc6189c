# shellcheck shell=bash
# What the scripts share. It is sourced in the repository's top folder, never run.

# shellcheck source=../test-env/lib.sh
source test-env/lib.sh

need_cargo() { is_there cargo || die 'cargo is missing: install Rust, see https://rustup.rs'; }

# What Rust's linker wants.
need_linker() { need cc:gcc /usr/include/stdlib.h:libc6-dev; }

need_servers() {
    need '/usr/lib/postgresql/*/bin/postgres:postgresql' psql:postgresql pgbench:postgresql \
        etcd:etcd-server etcdctl:etcd-client
}

# How a demo says what it does: the step, what one would type, and what came of it.

steps=0 bold='' dim='' plain=''
if [[ -t 1 && -z ${NO_COLOR:-} ]]; then
    bold=$'\e[1m' dim=$'\e[2m' plain=$'\e[0m'
fi

step() { printf '\n%s%d. %s%s\n' "$bold" "$((++steps))" "$*" "$plain"; }
note() { printf '   %s\n' "$*"; }
typed() { printf '   %s$ %s%s\n' "$bold" "$*" "$plain"; }
quote() { sed "s/^/   $dim| /; s/\$/$plain/"; }
