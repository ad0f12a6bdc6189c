# Completion of pg2etcd(8) in fish. The words are those of `pg2etcd --help`, so they fit the program that is there.

# The tables that are copied, as both servers say; those with a name that has to be quoted are left out.
function __pg2etcd_tables # PROGRAM OPTION ...
    timeout 3 $argv status -j 2>/dev/null | string match -rg '^    "([^" %,\\\\]*)",?$'
end

# What may stand at the cursor, each with a tab and what it is.
function __pg2etcd_offered
    set -l before (commandline -opc)
    set -l current (commandline -ct)
    while set -q before[2]; and not string match -q '*pg2etcd' -- $before[1]
        set -e before[1]
    end
    set -l help ($before[1] --help 2>/dev/null)

    # The command that stands there, and what the word before the cursor takes.
    set -l command ''
    set -l takes ''
    set -l lead $before[1]
    for word in $before[2..]
        if test -n "$takes"
            set takes ''
        else if string match -qr '^-' -- $word
            set -l name (string escape --style=regex -- $word)
            set -l option (string match -rg -- "^ +(?:-\w, )?$name(?:, --\S+)? (\S+)" $help)
            set takes "$option[1]"
        else if test -z "$command"
            set command $word
        end
        test -n "$command"; or set -a lead $word
    end
    set -l prefix ''
    if set -l parts (string match -rg '^(--(config|option)=)(.*)$' -- $current)
        set prefix $parts[1]
        test $parts[2] = config; and set takes file; or set takes key=value
        set current $parts[3]
    end

    set -l of ''
    set -l part ''
    set -l key ''
    for line in $help
        if set -l found (string match -rg '^(Options|Commands|Settings)' -- $line)
            set part $found
        else if set -l found (string match -rg '^ +(-\w), (--[a-z-]+) (\S*) *(.*)$' -- $line)
            if test -z "$takes" -a "$of" = "$command"; and string match -q -- '-*' $current
                printf '%s\t%s\n' $found[1] $found[4] $found[2] $found[4]
            end
        else if set -l found (string match -rg '^  ([a-z]+) (\[[^]]*\]|[A-Z]*) *(.*)$' -- $line)
            set of $found[1]
            if test "$part" = Commands -a -z "$takes" -a \( -z "$command" -o "$command" = help \)
                printf '%s\t%s\n' $found[1] $found[3]
            else if test -z "$takes" -a "$found[2]" = '[table ...]' -a "$of" = "$command"
                __pg2etcd_tables $lead
            end
        else if set -l found (string match -rg '^  ([a-z_.]+)(?:=(\S+))? \(' -- $line)
            set key $found[1]
            if test "$takes" = key=value -a -n "$found[2]"; and string match -q "$key=*" -- $current
                printf "$prefix$key=%s\n" (string split '|' -- $found[2])
            end
        else if test -n "$key" -a "$takes" = key=value; and not string match -q '*=*' -- $current
            printf "$prefix$key=\t%s\n" (string trim -- $line)
            set key ''
        end
    end
    if test "$takes" = file
        printf "$prefix%s\n" (__fish_complete_path $current)
    end
end

complete -c pg2etcd -f -a '(__pg2etcd_offered)'
