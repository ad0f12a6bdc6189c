# shellcheck shell=bash
# What the items of scripts/bench are measured with: servers, clients, pg2etcd, the clock. It is sourced, never run.

# shellcheck source=lib.sh
source scripts/lib.sh

# `store` is the folder of the etcd in use, `client` the bare client, `sender` the server's process that sends a stream;
# `settings` are pg2etcd's, `shape` what they say of tables; `fill` is the command that fills new tables.
settings=() shape='' fill='' store='' client='' sender='' pg_bin='' drawing=() drawer=''

# Servers

start_postgres() {
    local environment setting options=()
    # Nothing of these would be noticed but as noise.
    for setting in shared_buffers=512MB max_wal_size=6GB checkpoint_timeout=1h autovacuum=off track_commit_timestamp=on; do
        options+=(-c "$setting")
    done
    if [[ -w /dev/shm ]]; then
        export TMPDIR=/dev/shm
    fi
    environment=$(test-env/up --only postgres "${options[@]}")
    eval "$environment"
    work=$TEST_ENV
    psql -q -c 'create database bench'
    export PGDATABASE=bench PGOPTIONS='-c TimeZone=UTC'
    pg_bin=$(sed -n 's/^declare -- pg_bin="\(.*\)"$/\1/p' "$work/settings")
    if [[ ! -x $pg_bin/pg_recvlogical ]]; then
        pg_bin=$(printf '%s\n' /usr/lib/postgresql/*/bin/pg_recvlogical | sort -V | tail -n 1)
        pg_bin=${pg_bin%/*}
    fi
}

# An etcd that has nothing, and a PostgreSQL that nobody streams from.
new_store() {
    local environment
    drop_store
    drop_slots
    environment=$(TMPDIR=$work test-env/up --only etcd --etcd-arg --quota-backend-bytes=8589934592)
    eval "$environment"
    store=$TEST_ENV
    configure "${settings[@]}" >/dev/null
    [[ -z $shape ]] || printf '\n%s\n' "$shape" >>"$work/pg2etcd.toml"
}

drop_slots() { sql 'select pg_drop_replication_slot(slot_name) from pg_replication_slots' >/dev/null; }

drop_store() {
    [[ -z $store ]] || test-env/down "$store"
    store=''
}

new_tables() { psql -q -v ON_ERROR_STOP=1 -f scripts/bench.sql; }

fill_items() { # ROWS
    new_tables
    sql "insert into items select * from make_items(1, $1)"
    sql 'vacuum (freeze, analyze)'
}

sql() { psql -XAtq -v ON_ERROR_STOP=1 -c "$1"; }

# The puts of a query that gives keys' ends and rows, made beforehand.
write_puts() { # TABLE QUERY
    sql "copy (select '/bench/$1/' || id, row_to_json(row) from ($2) row) to stdout" >"$work/puts"
}

# Clients

# launch_client NAME ARGUMENT ...: returns when it is ready.
launch_client() {
    local name=$1
    rm -f "$work/$name.in" "$work/$name.out"
    mkfifo "$work/$name.in"
    "$client" "${@:2}" <>"$work/$name.in" >"$work/$name.out" &
    echo $! >"$work/$name.client"
    until grep -qs ready "$work/$name.out"; do
        kill -0 "$(<"$work/$name.client")" || die "the bare client ended: $*"
        sleep 0.01
    done
}

go() { echo >"$work/$1.in"; }

# Waits for its end and prints what it has measured.
result() { # NAME
    local pid
    pid=$(<"$work/$1.client")
    while kill -0 "$pid" 2>/dev/null; do
        [[ -z $daemon ]] || kill -0 "$daemon" || die "pg2etcd ended: $(tail -n 5 "$work/pg2etcd.log")"
        sleep 0.01
    done
    [[ $(sed -n '$p' "$work/$1.out") != ready ]] || die "the bare client failed"
    sed 1d "$work/$1.out"
}

field() { sed -n "s/.*\"$1\":\([0-9.]*\).*/\1/p"; }

# pg2etcd, streaming

begin_sync() {
    new_store
    new_tables
    $fill
    launch_pg2etcd
    await 'stream' streams_from pg2etcd
}

streams_from() { # SLOT
    sender=$(sql "select active_pid from pg_replication_slots where slot_name = '$1'")
    [[ -n $sender ]]
}

# A number without the work behind it is none.
check_copy() {
    local keys rows
    keys=$("$client" count /bench/items/ 0 | field keys)
    rows=$(sql 'select count(*) from items')
    [[ $keys == "$rows" ]] || die "etcd has $keys keys of $rows rows"
}

# Drawing, as pg2etcd does, and throwing away

create_drawing_slot() {
    "$pg_bin/pg_recvlogical" -d bench -S drawing --create-slot -P pgoutput
    drawing=("$pg_bin/pg_recvlogical" -d bench -S drawing --start --no-loop -F 0 -f /dev/null
        -o proto_version=1 -o publication_names=pg2etcd)
}

launch_drawing() {
    create_drawing_slot
    "${drawing[@]}" 2>"$work/pg_recvlogical.log" &
    drawer=$!
    until streams_from drawing; do
        kill -0 "$drawer" || die "pg_recvlogical ended: $(<"$work/pg_recvlogical.log")"
        sleep 0.01
    done
}

stop_drawing() {
    kill -INT "$drawer"
    wait "$drawer" || die "pg_recvlogical failed: $(<"$work/pg_recvlogical.log")"
}

# Held, the server's process sends nothing of what is committed meanwhile.
hold() { send STOP "$sender"; }
release() { send CONT "$sender"; }

write_marker() { sql 'insert into marker select count(*) from marker'; }

# Clock and meters

now() { echo "$EPOCHREALTIME"; }
since() { calculate "$1 - $2"; } # LATER EARLIER

calculate() { awk "BEGIN { printf \"%.6f\", $1 }"; }
holds() { awk "BEGIN { exit !($1) }"; }

# Seconds on a processor, in user mode and in the kernel.
cpu_of() { # PID
    awk -v hertz="$(getconf CLK_TCK)" '{ sub(/.*\) /, ""); print ($12 + $13) / hertz }' "/proc/$1/stat"
}

status_of() { awk -v name="$2:" '$1 == name { print $2 }' "/proc/$1/status"; } # PID NAME

# How often each thread has waited: lines of its number and a count.
waits_of() { awk '/^Pid:/ { pid = $2 } /^voluntary/ { print pid, $2 }' "/proc/$1"/task/*/status | sort; } # PID

# Its threads: lines of number, name, nanoseconds on a processor and how often it has waited.
threads_of() { # PID
    local task name cpu waits
    for task in "/proc/$1/task/"*; do
        # One may end meanwhile.
        if { read -r name <"$task/comm" && read -r cpu _ <"$task/schedstat" &&
            waits=$(awk '/^voluntary/ { print $2 }' "$task/status"); } 2>/dev/null; then
            echo "${task##*/}|$name|$cpu|$waits"
        fi
    done
}

# From two files of keys and times, the half of all and 99 of a hundred differences in milliseconds, as `P50 P99`.
latencies() { # SENT SEEN
    awk 'NR == FNR { sent[$1] = $2; next } { print ($2 - sent[$1]) * 1000 }' "$1" "$2" | sort -g |
        awk '{ all[NR] = $1 } END { printf "%.3f %.3f\n", all[int(NR / 2 + 0.5)], all[int(NR * 0.99 + 0.5)] }'
}

# Results: a line `ITEM|WHAT|VALUE` each

record() { echo "$1|$2|$3" >>"$work/results"; }

# value ITEM WHAT: the median of all rounds; min and max, the ends.
values() { awk -F '|' -v item="$1" -v what="$2" '$1 == item && $2 == what { print $3 }' "$work/results" | sort -g; }
value() { values "$1" "$2" | awk '{ all[NR] = $1 } END { if (NR) print (all[int((NR + 1) / 2)] + all[int(NR / 2) + 1]) / 2 }'; }
spread() { values "$1" "$2" | awk 'NR == 1 { min = $1 } { max = $1 } END { if (NR) printf "%.2f to %.2f", min, max }'; }
