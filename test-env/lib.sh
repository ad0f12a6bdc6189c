# shellcheck shell=bash
# What test-env/up, down and cluster and the scripts share. It is sourced, never run.

say() { printf '%s\n' "$*" >&2; }

die() {
    say "${0##*/}: $*"
    exit 1
}

# What the command line asks for, and the script does not know. Nothing was done yet.
misuse() {
    say "${0##*/}: $* (-h shows all)"
    exit 2
}

# only_help ARGUMENT ...: of a script that takes no argument but -h.
only_help() {
    case ${1:-} in
        '') ;;
        -h | --help) usage && exit ;;
        *) misuse "unknown argument $1" ;;
    esac
}

# need NAME:PACKAGE ... installs Debian's PACKAGE where NAME is missing. NAME is a command, or a path (a glob will do).
need() {
    local pair missing=()
    for pair; do
        if ! is_there "${pair%%:*}" && [[ " ${missing[*]} " != *" ${pair#*:} "* ]]; then
            missing+=("${pair#*:}")
        fi
    done
    ((${#missing[@]} == 0)) && return
    if ((EUID != 0)) || ! is_there apt-get; then
        die "these Debian packages (or what your system calls them) are missing, please install them: ${missing[*]}"
    fi
    install_packages "${missing[@]}"
}

is_there() {
    if [[ $1 == */* ]]; then
        compgen -G "$1" >/dev/null
    else
        command -v "$1" >/dev/null
    fi
}

# Installs packages without what they do by default on a server: no database cluster is made, no service is started now or
# at the next boot. The two files that see to this are gone afterwards, so that later installations work as usual.
install_packages() (
    local package service log policy=/usr/sbin/policy-rc.d no_cluster=/etc/postgresql-common/createcluster.d/pg2etcd-test-env.conf
    log=$(cache_folder)/install.log
    exec 9>"$(cache_folder)/install.lock"
    flock 9
    say "Installing the packages $*"
    if [[ ! -e $policy ]]; then
        trap 'rm -f "$policy" "$no_cluster"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    else
        trap 'rm -f "$no_cluster"' EXIT
    fi
    mkdir -p "${no_cluster%/*}"
    echo 'create_main_cluster = false' >"$no_cluster"
    if ! { apt_install "$@" || { apt-get update && apt_install "$@"; }; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        die "apt-get could not install $*"
    fi
    # PostgreSQL's has no cluster to start, so it can stay.
    for package; do
        case $package in
            etcd-server | haproxy | patroni | prometheus) ;;
            *) continue ;;
        esac
        service=${package%-server}
        update-rc.d "$service" disable >>"$log" 2>&1 ||
            say "the service $service could not be disabled; test-env does not need it"
    done
)

apt_install() {
    DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y --no-install-recommends "$@"
}

# A folder of this user alone, for what one run can leave for the next: initdb's result, port reservations.
cache_folder() {
    local folder="${XDG_CACHE_HOME:-/tmp}/pg2etcd-test-env-$EUID"
    mkdir -p "${folder%/*}"
    mkdir -m 700 "$folder" 2>/dev/null || true
    # Others can make such a folder in /tmp too: it must be ours, and not a link to elsewhere.
    [[ -O $folder && ! -L $folder ]] || die "$folder belongs to another user: set XDG_CACHE_HOME"
    echo "$folder"
}

# PostgreSQL refuses to run as root; etcd does not mind.
as_postgres() { (become_postgres "$@"); }

# Replaces this shell, so that the program has its process number.
become_postgres() {
    if ((EUID == 0)); then
        exec setpriv --reuid=postgres --regid=postgres --init-groups "$@"
    else
        exec "$@"
    fi
}

# find_postgres [DIR]: prints where PostgreSQL's programs are, the newest of Debian's if no DIR is given, and sees to the
# user that runs them.
find_postgres() {
    local bin=${1:-}
    if [[ -z $bin ]]; then
        bin=$(printf '%s\n' /usr/lib/postgresql/*/bin/postgres | sort -V | tail -n 1)
        bin=${bin%/*}
    fi
    if ((EUID == 0)) && ! id postgres >/dev/null 2>&1; then
        useradd --system --user-group --no-create-home --shell /usr/sbin/nologin postgres ||
            id postgres >/dev/null # another `up` was faster
    fi
    bin=$(realpath "$bin")
    as_postgres test -x "$bin/postgres" ||
        die "there is no postgres in $bin, or the user that it would run as may not read it"
    echo "$bin"
}

give_to_postgres() { # FOLDER
    ((EUID == 0)) || return 0
    chown postgres: "$1"
    as_postgres test -w "$1" || die "the user postgres may not reach $1: choose another with -d"
}

# A port is reserved by a link to the folder that has it, so that nobody takes it while a test has that server stopped. Those
# chosen are below the range that the kernel gives to outgoing connections.
reserve_port() { # FOLDER
    local ports port
    ports=$(cache_folder)/ports
    mkdir -p "$ports"
    while true; do
        port=$((15000 + RANDOM % 17000))
        ln -s "$1" "$ports/$port" 2>/dev/null && break
    done
    echo "$port"
}

# The process numbers of FOLDER/PART: those that work in it. PostgreSQL's children outlive a killed postmaster for a while,
# so its pid file would not name them all. Without CAP_SYS_PTRACE (in a container) only the owner may see it, even from root.
pids_of() { # FOLDER PART
    local as=()
    [[ -O $1/$2 ]] || as=(as_postgres)
    "${as[@]}" find /proc/[0-9]*/cwd -maxdepth 0 -printf '%p\t%l\n' 2>/dev/null |
        FOLDER=$1/$2 awk -F '\t' '$2 == ENVIRON["FOLDER"] { split($1, part, "/"); print part[3] }' || true
}

# Stops FOLDER/PART by SIGNAL to the process in FOLDER/PART.pid; what is left after ten seconds, or has lost that process,
# is killed. A test may have stopped processes by SIGSTOP, so they are continued first.
stop_part() { # FOLDER PART SIGNAL
    local pids main='' i
    mapfile -t pids < <(pids_of "$1" "$2")
    ((${#pids[@]} == 0)) && return
    [[ ! -f $1/$2.pid ]] || read -r main <"$1/$2.pid" || true
    send CONT "${pids[@]}"
    if [[ " ${pids[*]} " == *" $main "* ]]; then
        send "$3" "$main"
        for ((i = 0; i < 200; i++)); do
            [[ -n $(pids_of "$1" "$2") ]] || return 0
            sleep 0.05
        done
    fi
    while mapfile -t pids < <(pids_of "$1" "$2") && ((${#pids[@]} > 0)); do
        send KILL "${pids[@]}"
        sleep 0.05
    done
}

# A process that has ended meanwhile is no error.
send() { kill -s "$1" "${@:2}" 2>/dev/null || true; }

logged() { # FILE BYTES TEXT: whether the file has the text after that many bytes
    grep -qiF "$3" < <(tail -c "+$(($2 + 1))" "$1" 2>/dev/null)
}

# Only a folder that `up` made may be removed.
mark() { touch "$1/made-by-test-env-up"; }
is_marked() { [[ -f $1/made-by-test-env-up ]]; }
