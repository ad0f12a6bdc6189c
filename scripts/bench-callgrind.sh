# shellcheck shell=bash
# What a change costs in instructions, as callgrind counts them: unlike a time it is the same on a loaded machine, and can be
# compared from commit to commit. Part of scripts/bench; it is sourced, never run.

# shellcheck source=bench-lib.sh
source scripts/bench-lib.sh

kept=scripts/bench.instructions keep=''

# From two streams of different lengths: what the start takes is in both.
count_instructions() {
    local item few many
    need valgrind:valgrind
    for item in commit row; do
        read -r few many < <(lengths_of "$item")
        say "Counting instructions: $item"
        echo "$item $(awk -v few="$(instructions_of "$item" "$few")" -v many="$(instructions_of "$item" "$many")" \
            -v count=$((many - few)) 'BEGIN { printf "%.0f", (many - few) / count }')" >>"$work/instructions"
    done
    if [[ -n $keep ]]; then
        cp "$work/instructions" "$kept"
    fi
    report_instructions
}

lengths_of() { # ITEM
    case $1 in
        commit) echo 100 400 ;;
        row) echo 1000 11000 ;;
    esac
}

instructions_of() { # ITEM COUNT
    new_store
    new_tables
    under=(valgrind --tool=callgrind --trace-children=yes "--callgrind-out-file=$work/callgrind.out")
    launch_pg2etcd
    await 'stream' streams_from pg2etcd
    case $1 in
        # So slowly that each has a txn of its own.
        commit) sql "call write_live($2, 0.02)" ;;
        row) sql "insert into items select * from make_items(1, $2)" ;;
    esac
    "$pg2etcd" -c "$work/pg2etcd.toml" wait "$(sql 'select pg_current_wal_lsn()')" >"$work/wait.log" 2>&1
    stop_pg2etcd
    under=(env)
    sed -n 's/^==[0-9]*== Collected : //p' "$work/pg2etcd.log"
}

# Fails if one has grown by more than a tenth.
report_instructions() {
    local item figure before failed=0
    while read -r item figure; do
        before=$(awk -v item="$item" '$1 == item { print $2 }' "$kept")
        echo "a $item: $figure instructions, $before kept"
        holds "$figure <= 1.1 * $before" || failed=1
    done <"$work/instructions"
    ((failed == 0)) || die "more than a tenth above $kept: if that is worth it, scripts/bench --callgrind --keep"
}
