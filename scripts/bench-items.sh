# shellcheck shell=bash
# The items of scripts/bench: each is measured by `measure_ITEM`, once a round, and told by `report_ITEM`. It is sourced, never
# run. What takes time leaves its seconds in `took`, and `start` is when it began; `rows` are those of the one transaction.

# shellcheck source=bench-lib.sh
source scripts/bench-lib.sh

rows=200000 start='' took='' nested_memory=''

# shellcheck source=bench-nested.sh
source scripts/bench-nested.sh

# Streamed rows

rows_of() { # ITEM
    case $1 in
        transaction | transactions | plain | shape) echo "$rows" ;;
        backlog) echo $((rows / 4)) ;;
        hot) echo $((rows / 10)) ;;
        dump) echo $((rows * 5 / 2)) ;;
        *) nested_rows_of "$1" ;;
    esac
}

write_rows() { # ITEM ROWS
    case $1 in
        transaction) sql "insert into items select * from make_items(1, $2)" ;;
        transactions | plain | shape) sql "call write_items($2, 100)" ;;
        backlog) sql "call write_items($2, 1)" ;;
        hot) sql "call write_hot($2)" ;;
        *) write_nested_rows "$@" ;;
    esac
}

write_puts_of() { # ITEM
    case $1 in
        hot) write_puts hot "select hot.* from generate_series(10, $(rows_of hot) + 9) version, make_hot(version) hot" ;;
        *) write_puts items "select * from make_items(1, $(rows_of "$1"))" ;;
    esac
}

# Writes rows while the server's process that sends them is held, then starts the clock, lets it go, and the client too if one is
# named. One transaction is decoded while it is written, so that begins with its commit.
begin_stream() { # ITEM ROWS [CLIENT]
    [[ $1 == transaction ]] || hold
    write_rows "$1" "$2"
    [[ $1 == transaction ]] || write_marker
    start=$(now)
    release
    [[ -z ${3:-} ]] || go "$3"
    [[ $1 != transaction ]] || write_marker
}

stream_by_pg2etcd() { # ITEM
    local many
    many=$(rows_of "$1")
    begin_sync
    watch_marker
    begin_meters
    begin_stream "$1" "$many"
    end_meters "$1" "$many"
    nested_memory=$(status_of "$daemon" VmHWM)
    stop_pg2etcd
    check_copy
}

# Its event says that all before it is there.
watch_marker() { launch_client watch watch /bench/marker/ 1; }

begin_meters() {
    cpu=$(cpu_of "$daemon")
    etcd_cpu=$(cpu_of "$(<"$store/etcd.pid")")
}

await_event() {
    local event
    event=$(result watch)
    took=$(since "${event##* }" "$start")
}

end_meters() { # ITEM ROWS
    await_event
    record "$1" pg2etcd "$took"
    record "$1" cpu "$(calculate "($(cpu_of "$daemon") - $cpu) * 1e6 / $2")"
    record "$1" etcd_cpu "$(calculate "($(cpu_of "$(<"$store/etcd.pid")") - $etcd_cpu) * 1e6 / $2")"
}

# The bare client while somebody draws the rows: the slower of the two.
stream_by_both() { # ITEM CLIENT-ARGUMENT ...
    local drawn
    new_store
    new_tables
    write_puts_of "$1"
    launch_client post "$2" "$work/puts" "${@:3}"
    launch_drawing
    begin_stream "$1" "$(rows_of "$1")" post
    await_drawn
    drawn=$took
    await_posted
    holds "$took > $drawn" || took=$drawn
    stop_drawing
}

await_drawn() {
    sql "call await_sent($sender, pg_current_wal_flush_lsn())"
    took=$(since "$(now)" "$start")
}

await_posted() {
    local figures
    figures=$(result post)
    took=$(field seconds <<<"$figures")
    record client cpu "$(field cpu_us_per_put <<<"$figures")"
}

post_alone() { # CLIENT-ARGUMENT ...; of the puts that were made last
    new_store
    launch_client post "$1" "$work/puts" "${@:2}"
    go post
    await_posted
}

draw_alone() { # ITEM
    new_store
    new_tables
    launch_drawing
    begin_stream "$1" "$(rows_of "$1")"
    await_drawn
    stop_drawing
}

measure_sequential() { # ITEM
    stream_by_pg2etcd "$1"
    local pg2etcd_took=$took
    stream_by_both "$1" sequential
    record "$1" ceiling "$took"
    record "$1" ratio "$(calculate "$took / $pg2etcd_took")"
    post_alone sequential
    record "$1" etcd "$took"
    draw_alone "$1"
    record "$1" postgres "$took"
}

measure_transactions() { measure_sequential transactions; }
measure_backlog() { measure_sequential backlog; }
measure_hot() { measure_sequential hot; }

# The same rows without a shape and with one.
measure_shape() {
    local without
    stream_by_pg2etcd plain
    without=$took
    shape=$'[tables.items]\ncolumns = ["id", "name", "price", "notes"]'
    stream_by_pg2etcd shape
    shape=''
    record shape ratio "$(calculate "$without / $took")"
}

# best_of COMMAND ...: with 2 and with 4 connections, which is the last argument.
best_of() {
    local two
    "$@" 2
    two=$took
    "$@" 4
    holds "$took < $two" || took=$two
}

measure_transaction() {
    stream_by_pg2etcd transaction
    local pg2etcd_took=$took
    best_of stream_by_both transaction parallel
    record transaction ceiling "$took"
    record transaction ratio "$(calculate "$took / $pg2etcd_took")"
    best_of post_alone parallel
    record transaction etcd "$took"
    draw_alone transaction
    record transaction postgres "$took"
}

# Dump and redump

copy_by_pg2etcd() { # ITEM ROWS
    launch_client watch watch /.pg2etcd/pg2etcd/checkpoint 1 '"phase":"sync"'
    start=$(now)
    launch_pg2etcd
    begin_meters
    end_meters "$1" "$2"
}

copy_by_both() { # parallel CONNECTIONS
    local copied
    new_store
    launch_client post "$1" "$work/puts" "$2"
    start=$(now)
    go post
    copy_alone
    copied=$took
    await_posted
    holds "$took > $copied" || took=$copied
}

copy_alone() {
    start=$(now)
    sql 'copy items to stdout' >/dev/null
    took=$(since "$(now)" "$start")
}

measure_dump() {
    local many revision pg2etcd_took
    many=$(rows_of dump)
    fill_items "$many"
    new_store
    copy_by_pg2etcd dump "$many"
    pg2etcd_took=$took
    stop_pg2etcd
    check_copy
    drop_slots
    revision=$(etcd_revision)
    copy_by_pg2etcd redump "$many"
    stop_pg2etcd
    record redump ratio "$(calculate "$pg2etcd_took / $took")"
    record redump keys "$("$client" count /bench/ "$revision" | field keys)"
    write_puts_of dump
    best_of copy_by_both parallel
    record dump ceiling "$took"
    record dump ratio "$(calculate "$took / $pg2etcd_took")"
    best_of post_alone parallel
    record dump etcd "$took"
    copy_alone
    record dump postgres "$took"
}

# Latencies: from a commit, or from the moment a bare client sends a txn, to the watch event

measure_live() {
    local count=$((rows / 20))
    ((count >= 1000)) || count=1000
    echo "insert into live (notes) values (notes(:client_id));" >"$work/live.sql"
    measure_latency live "$count" 1000 pgbench -n -c 2 -R 1000 -t $((count / 2)) -f "$work/live.sql"
}

measure_idle() {
    local count=$((rows / 1000))
    ((count >= 50)) || count=50
    measure_latency idle "$count" 20 sql "call write_live($count, 0.05)"
    measure_rest
}

measure_latency() { # ITEM COUNT RATE WRITER ...
    local half most bare_half bare_most
    begin_sync
    launch_client watch watch /bench/live/ "$2"
    threads_of "$daemon" >"$work/before"
    "${@:4}" >"$work/writer.log" 2>&1
    result watch >"$work/seen"
    threads_of "$daemon" >"$work/after"
    record_threads "$1" "$2"
    stop_pg2etcd
    sql "copy (select '/bench/live/' || id, extract(epoch from pg_xact_commit_timestamp(xmin)) from live)
         to stdout delimiter ' '" >"$work/sent"
    read -r half most < <(latencies "$work/sent" "$work/seen")
    bare_latency "$@"
    read -r bare_half bare_most < <(latencies "$work/sent" "$work/seen")
    record "$1" p50 "$half"
    record "$1" p99 "$most"
    record "$1" p50_ceiling "$bare_half"
    record "$1" p99_ceiling "$bare_most"
    record "$1" p50_ratio "$(calculate "$half / $bare_half")"
    record "$1" p99_ratio "$(calculate "$most / $bare_most")"
}

# What a commit has cost, in microseconds and voluntary switches: all threads, and each that took a part.
record_threads() { # ITEM COMMITS
    awk -F '|' -v item="$1" -v commits="$2" '
        NR == FNR { cpu[$1] = $3; waits[$1] = $4; next }
        { time[$2] += ($3 - cpu[$1]) / 1000 / commits; switches[$2] += ($4 - waits[$1]) / commits }
        END {
            for (name in time) {
                all += time[name]
                count += switches[name]
                printf "%s cpu|%s|%.3f\n%s waits|%s|%.3f\n", item, name, time[name], item, name, switches[name]
            }
            printf "%s cpu|all|%.3f\n%s waits|all|%.3f\n", item, all, item, count
        }' "$work/before" "$work/after" >>"$work/results"
}

# The same rows, posted by the bare client at the same rate, while the writer writes them and they are drawn.
bare_latency() { # ITEM COUNT RATE WRITER ...
    local writer
    write_puts live "select id, notes(id) from generate_series(1, $2) id"
    new_store
    new_tables
    launch_drawing
    launch_client watch watch /bench/live/ "$2"
    launch_client pace pace "$work/puts" "$3"
    "${@:4}" >"$work/writer.log" 2>&1 &
    writer=$!
    go pace
    result pace >"$work/sent"
    result watch >"$work/seen"
    wait "$writer"
    stop_drawing
}

# With nothing to do at all: of all threads, that which waits, and so wakes up, most often.
measure_rest() {
    local seconds=20
    begin_sync
    sleep 5
    waits_of "$daemon" >"$work/before"
    sleep "$seconds"
    waits_of "$daemon" >"$work/after"
    record rest waits "$(join "$work/before" "$work/after" |
        awk -v seconds="$seconds" '{ if ($3 - $2 > most) most = $3 - $2 } END { print most / seconds }')"
    record rest memory "$(memory_of VmRSS)"
    stop_pg2etcd
}

# Peak memory, and time, with few rows and with twenty times as many; in MiB

memory_of() { calculate "$(status_of "$daemon" "$1") / 1024"; } # VmRSS|VmHWM

measure_memory() {
    local size many
    for size in few many; do
        many=$((rows / 4))
        [[ $size == few ]] || many=$((rows * 5))
        fill_items "$many"
        new_store
        copy_by_pg2etcd "memory dump $size" "$many"
        record "memory dump" "$size" "$(memory_of VmHWM)"
        stop_pg2etcd
        begin_sync
        watch_marker
        begin_meters
        begin_stream transaction "$many"
        end_meters "memory transaction $size" "$many"
        record "memory transaction" "$size" "$(memory_of VmHWM)"
        stop_pg2etcd
        begin_sync
        stop_etcd_under_load "$many"
        record "memory stopped" "$size" "$(memory_of VmHWM)"
        stop_pg2etcd
    done
}

stop_etcd_under_load() { # ROWS
    watch_marker
    send STOP "$(<"$store/etcd.pid")"
    sql "call write_items($1, 100)"
    write_marker
    sleep 3
    send CONT "$(<"$store/etcd.pid")"
    result watch >/dev/null
}

# From exec to the first change of a stream that has its position already

measure_start() {
    local i lsn postgres_took
    begin_sync
    stop_pg2etcd
    create_drawing_slot
    for ((i = 0; i < 9; i++)); do
        write_marker
        lsn=$(sql 'select pg_current_wal_flush_lsn()')
        watch_marker
        start=$(now)
        launch_pg2etcd
        await_event
        record start pg2etcd "$took"
        stop_pg2etcd
        start=$(now)
        "${drawing[@]}" --endpos "$lsn"
        postgres_took=$(since "$(now)" "$start")
        record start postgres "$postgres_took"
        record start ratio "$(calculate "$took / $postgres_took")"
    done
}

# The program itself

measure_binary() {
    record binary size "$(calculate "$(stat -c %s "$pg2etcd") / 1048576")"
    record binary crates "$(cargo tree --locked -e normal --prefix none | awk '{ print $1, $2 }' | sort -u | wc -l)"
}
