# shellcheck shell=bash
# Completion of pg2etcd(8) in bash. The words are those of `pg2etcd --help`, so they fit the program that is there.

# Reads the help into the arrays of _pg2etcd.
_pg2etcd_help() { # PROGRAM
    local line part='' command=''
    while IFS= read -r line; do
        if [[ $line =~ ^(Options|Commands|Settings) ]]; then
            part=${BASH_REMATCH[1]}
        elif [[ $line =~ ^\ +(-[[:alpha:]]),\ (--[a-z-]+)\ ([^ ]*) ]]; then
            options[:$command]+=" ${BASH_REMATCH[1]} ${BASH_REMATCH[2]}"
            wants[$command:${BASH_REMATCH[1]}]=${BASH_REMATCH[3]}
            wants[$command:${BASH_REMATCH[2]}]=${BASH_REMATCH[3]}
        elif [[ $part == Commands && $line =~ ^\ \ ([a-z]+)\ (\[([a-z]+))? ]]; then
            command=${BASH_REMATCH[1]}
            commands+=("$command")
            arguments[:$command]=${BASH_REMATCH[3]}
        elif [[ $part == Settings && $line =~ ^\ \ ([a-z_.]+)(=([^ ]+))?\ \( ]]; then
            keys+=("${BASH_REMATCH[1]}=")
            values[${BASH_REMATCH[1]}]=${BASH_REMATCH[3]//|/ }
        fi
    done < <("$1" --help 2>/dev/null)
}

# The tables that are copied, as both servers say; those with a name that has to be quoted are left out.
_pg2etcd_tables() { # PROGRAM OPTION ...
    timeout 3 "$@" status -j 2>/dev/null | sed -n '/^  "tables": \[/,/\]/s/^    "\([^" %,\\]*\)",\{0,1\}$/\1/p'
}

_pg2etcd() { # PROGRAM
    local current=${COMP_WORDS[COMP_CWORD]} word previous='' command='' takes='' key='' before=("$1") keys=() commands=()
    # By command, after a colon; what an option takes, by command and option with a colon between.
    local -A options=() arguments=() wants=() values=()
    _pg2etcd_help "$1"
    # Readline makes words of `=` and `:`: what follows a `=` is a value.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ -z $command && ($word == [=:]* || $previous == [=:]*) ]]; then
            before[-1]+=$word
        elif [[ -z $command ]]; then
            before+=("$word")
        fi
        if [[ $word == '='* ]]; then
            [[ -n $takes ]] || takes=value key=$previous
        elif [[ -n $takes ]]; then
            takes=''
        elif [[ $word == -* ]]; then
            takes=${wants[$command:$word]-}
        elif [[ -z $command && $word != :* && $previous != :* ]]; then
            command=$word
        fi
        previous=$word
    done
    if [[ $current == '='* ]]; then
        [[ -n $takes ]] || takes=value key=$previous
        current=''
    fi
    case $takes in
        file)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            compopt -o filenames 2>/dev/null
            ;;
        key=value)
            mapfile -t COMPREPLY < <(compgen -W "${keys[*]}" -- "$current")
            compopt -o nospace 2>/dev/null
            ;;
        value) mapfile -t COMPREPLY < <(compgen -W "${values[${key:-none}]-}" -- "$current") ;;
        '')
            word=''
            [[ -n $command && ${arguments[:$command]-} != command ]] || word=${commands[*]}
            [[ ${arguments[:$command]-} != table || $current == -* ]] || word=$(_pg2etcd_tables "${before[@]::${#before[@]}-1}")
            [[ $current != -* && (-z $command || ${arguments[:$command]-} == command) ]] || word+=" ${options[:$command]-}"
            mapfile -t COMPREPLY < <(compgen -W "$word" -- "$current")
            ;;
        *) COMPREPLY=() ;;
    esac
}

complete -F _pg2etcd pg2etcd
