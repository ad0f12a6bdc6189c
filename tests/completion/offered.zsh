# Prints what zsh offers for the line LINE, each word on a line. FOLDER has the completion as _pg2etcd.
# usage: zsh -f offered.zsh FOLDER LINE

setup='
PROMPT= fpath=('${(q)1}' $fpath)
autoload -Uz compinit && compinit -D -u
compadd() {
    local -a words
    # What only asks adds nothing.
    if [[ ${@[1,(i)(-|--)]} != *-[OAD]\ * ]]; then
        builtin compadd -A words "$@"
        print -rl -- $words >>'${(q)1}'/offered
    fi
    builtin compadd "$@"
}
tell() { zle list-choices; exit }
zle -N tell
bindkey "^I" tell
'
print -r -- $setup >$1/setup
: >$1/offered
zmodload zsh/zpty
zpty shell zsh -f -i
zpty -w shell "source ${(q)1}/setup"
zpty -w -n shell $2$'\t'
while zpty -r shell; do :; done >$1/terminal
cat $1/offered
