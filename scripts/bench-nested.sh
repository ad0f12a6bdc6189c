# shellcheck shell=bash
# The items of scripts/bench that are about nested documents: each work beside the same without nesting. It is sourced by
# bench-items.sh, never run.
# shellcheck disable=SC2034,SC2154 # The variables are those of bench-items.sh and bench-lib.sh.

# What the settings say of the children: alone they have keys of their own.
nested=$'[tables.parent]\n[tables.parent.nest.children]\ntable = "child"\nomit = ["parent_id"]\n[tables.child]\nstandalone = false'

nested_rows_of() { # ITEM
    case $1 in
        children | children_apart) echo $((rows / 4)) ;;
        batch | batch_apart) echo $((rows / 4)) ;;
        crowd | crowd_apart) echo $((rows / 10)) ;;
        families | families_apart) echo $((rows / 2)) ;;
    esac
}

write_nested_rows() { # ITEM ROWS
    case $1 in
        children | children_apart) sql "call write_children($2, 1)" ;;
        batch | batch_apart) sql "call write_children($2, $2)" ;;
        crowd) sql "call write_crowd($2)" ;;
        crowd_apart) sql "call write_wide($2)" ;;
    esac
}

fill_parents() { # COUNT CHILDREN
    sql "insert into parent select id, notes(id) || notes(-id) from generate_series(1, $1) id"
    sql "insert into child select p, c, notes(c) from generate_series(1, $1) p, generate_series(1, $2) c"
    sql 'vacuum (freeze, analyze)'
}

# Rows into the documents of others, and as many with keys of their own.
measure_beside_apart() { # ITEM
    local apart
    stream_by_pg2etcd "$1_apart"
    apart=$took
    shape=$nested
    stream_by_pg2etcd "$1"
    shape=''
    record "$1" ratio "$(calculate "$apart / $took")"
    record "$1" memory "$nested_memory"
}

measure_children() {
    fill="fill_parents $(nested_rows_of children) 0"
    measure_beside_apart children
    fill=''
}

measure_batch() {
    fill="fill_parents $(nested_rows_of batch) 0"
    measure_beside_apart batch
    fill=''
}

# One document of a hundred rows, each in its turn, and a row that is as large.
measure_crowd() {
    fill='fill_parents 1 100'
    measure_beside_apart crowd
    fill=''
}

# Documents with five rows each, and as many bytes in rows.
measure_families() {
    local many apart
    many=$(nested_rows_of families)
    new_tables
    sql "insert into wide select id, 0, left(repeat(notes(id) || notes(-id), 5), 760) from generate_series(1, $many) id"
    sql 'vacuum (freeze, analyze)'
    new_store
    copy_by_pg2etcd families_apart "$many"
    apart=$took
    stop_pg2etcd
    new_tables
    fill_parents "$many" 5
    shape=$nested
    new_store
    copy_by_pg2etcd families "$many"
    record families memory "$(status_of "$daemon" VmHWM)"
    stop_pg2etcd
    shape=''
    record families ratio "$(calculate "$apart / $took")"
}

report_beside_apart() { # ITEM TEXT TARGET
    local many ratio
    many=$(nested_rows_of "$1") ratio=$(rounded "$1" ratio)
    row "$2" rows/s "$(rate "$1" pg2etcd "$many")" "$(rate "$1_apart" pg2etcd "$many")" "$ratio" "$(spread "$1" ratio)" \
        ">= $3" "$ratio >= $3"
    row '  CPU a row, beside that without nesting' us "$(rounded "$1" cpu)" "$(rounded "$1_apart" cpu)" '' '' '' ''
    row '  peak memory' KiB "$(value "$1" memory)" '' '' '' '<= 49152' "$(value "$1" memory) <= 49152"
}

report_children() { report_beside_apart children "$(nested_rows_of children) nested rows of as many parents, one a transaction" 0.50; }
report_batch() { report_beside_apart batch "the same in one transaction" 0.50; }
report_crowd() { report_beside_apart crowd "$(nested_rows_of crowd) updates of one parent's hundred nested rows" 0.80; }
report_families() { report_beside_apart families "dump of $(nested_rows_of families) parents with five nested rows" 0.80; }
