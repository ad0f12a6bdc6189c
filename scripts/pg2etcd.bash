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
        elif [[ $part == Commands && $line =~ ^\ \ ([a-z]+)\  ]]; then
            command=${BASH_REMATCH[1]}
            commands+=("$command")
        elif [[ $part == Settings && $line =~ ^\ \ ([a-z_.]+)\ \( ]]; then
            keys+=("${BASH_REMATCH[1]}=")
        fi
    done < <("$1" --help 2>/dev/null)
}

_pg2etcd() { # PROGRAM
    local current=${COMP_WORDS[COMP_CWORD]} word command='' takes='' keys=() commands=()
    # By command, after a colon; what an option takes, by command and option with a colon between.
    local -A options=() wants=()
    _pg2etcd_help "$1"
    # Readline makes a word of each `=`: what follows it is a value.
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word == '=' ]]; then
            takes=${takes:-value}
        elif [[ -n $takes ]]; then
            takes=''
        elif [[ $word == -* ]]; then
            takes=${wants[$command:$word]-}
        elif [[ -z $command ]]; then
            command=$word
        fi
    done
    if [[ $current == '=' ]]; then
        takes=${takes:-value} current=''
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
        '')
            word=${options[:$command]-}
            [[ $current == -* || ($command && $command != help) ]] || word=${commands[*]}
            mapfile -t COMPREPLY < <(compgen -W "$word" -- "$current")
            ;;
        *) COMPREPLY=() ;;
    esac
}

complete -F _pg2etcd pg2etcd
