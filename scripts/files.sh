# shellcheck shell=sh
# What an installation consists of. scripts/install and scripts/uninstall source it in the top folder, where it lists the mode,
# the source and the place below the prefix of each file.

files() { # PROGRAM
    echo "755 $1 bin/pg2etcd"
    for file in man/*; do
        echo "644 $file share/man/man${file##*.}/${file##*/}"
    done
    cat <<'LIST'
644 scripts/pg2etcd.bash share/bash-completion/completions/pg2etcd
644 scripts/pg2etcd.zsh share/zsh/site-functions/_pg2etcd
644 scripts/pg2etcd.fish share/fish/vendor_completions.d/pg2etcd.fish
644 scripts/pg2etcd.service lib/systemd/system/pg2etcd.service
LIST
    # What Prometheus and Grafana read.
    for file in scripts/pg2etcd-*.yml scripts/pg2etcd-*.json; do
        [ ! -e "$file" ] || echo "644 $file share/pg2etcd/${file##*/}"
    done
    for file in examples/*.*; do
        echo "644 $file share/doc/pg2etcd/examples/${file##*/}"
    done
}
