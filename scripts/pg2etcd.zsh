#compdef pg2etcd
# Completion of pg2etcd(8) in zsh. The words are those of `pg2etcd --help`, so they fit the program that is there.

# Reads the help into the arrays of _pg2etcd.
_pg2etcd_help() { # PROGRAM
    local line part='' command='' takes='' key=''
    for line in "${(@f)$($1 --help 2>/dev/null)}"; do
        if [[ $line =~ '^(Options|Commands|Settings)' ]]; then
            part=$match[1]
        elif [[ $line =~ '^ +(-[[:alpha:]]), (--[a-z-]+) ([^ ]*) *(.*)$' ]]; then
            # `+` and `=`: what it takes may be in the same word.
            takes=$(_pg2etcd_spec $match[3])
            specs[:$command]+="*$match[1]${takes:++}[$match[4]]${takes:+:$takes}"$'\n'
            specs[:$command]+="*$match[2]${takes:+=}[$match[4]]${takes:+:$takes}"$'\n'
        elif [[ $part == Commands && $line =~ '^  ([a-z]+) (\[([a-z]+)[^]]*\]|[A-Z]*) *(.*)$' ]]; then
            command=$match[1]
            names+=("$command:$match[4]")
            arguments[$command]=$match[3]
        elif [[ $part == Settings && $line =~ '^  ([a-z_.]+)(=([^ ]+))? \(' ]]; then
            key=$match[1]
            values[$key]=${match[3]//|/ }
        elif [[ $part == Settings && -n $key && $line == '      '* ]]; then
            keys+=("$key:${line##      }")
            key=''
        fi
    done
}

# What is taken and what offers it, as _arguments has it: one of the functions below, or nothing.
_pg2etcd_spec() { # NAME
    local offers=_pg2etcd_${1%%=*}
    (( $+functions[$offers] )) || offers=' '
    [[ -z $1 ]] || print -r -- "$1:$offers"
}

_pg2etcd_file() { _files }

# A setting, or the value of one that takes a few words.
_pg2etcd_key() {
    if compset -P 1 '*='; then
        compadd -- ${=values[${${IPREFIX%=}##*=}]}
    else
        _describe -t settings setting keys -S =
    fi
}

_pg2etcd_command() { _describe -t commands command names }

# The tables that are copied, as both servers say; those with a name that has to be quoted are left out.
_pg2etcd_table() {
    compadd -- ${(f)"$(timeout 3 $before status -j 2>/dev/null |
        sed -n '/^  "tables": \[/,/\]/s/^    "\([^" %,\\]*\)",\{0,1\}$/\1/p')"}
}

_pg2etcd() {
    setopt localoptions extendedglob
    local curcontext=$curcontext context state state_descr line
    local -a names keys before match mbegin mend
    # By command, the options after a colon.
    local -A specs arguments values opt_args
    before=($words[1,CURRENT-1])
    _pg2etcd_help $words[1]
    _arguments -C -S ${(f)specs[:]} '1:command:_pg2etcd_command' '*:: :->argument' && return
    [[ $state == argument ]] || return
    # What is left are the command and what follows it.
    before=($before[1,-CURRENT])
    local takes=$(_pg2etcd_spec $arguments[$words[1]])
    _arguments -S ${(f)specs[:$words[1]]} ${takes:+"*:$takes"}
}

_pg2etcd "$@"
