# Completion for `runs`, runners and experiments; `activate` reads it (zsh through completion.zsh).
#
# What can be typed is asked of the programs' own --help, so that nothing is listed twice. Without an
# active environment, and for other programs, the shell completes file names as before.

_bench_help() {
    "$VIRTUAL_ENV/bin/python" "$@" --help 2>/dev/null
}

# GROUP/EXP of experiment files and of what has been run
_bench_experiments() {
    local root=${VIRTUAL_ENV%/env}
    {
        find "$root/experiments" -mindepth 2 -maxdepth 2 -name '*.py' ! -name '*_runner.py' |
            sed 's/\.py$//'
        find "${BENCH_RESULTS:-$root/training_data}/logs" -mindepth 2 -maxdepth 2 -type d |
            sed 's/x[^x/]*$//'
    } 2>/dev/null | sed 's|.*/\([^/]*/[^/]*\)$|\1|' | sort -u
}

_bench_environments() {
    _bench_help "$1" | sed -n '/^Environments:/,$ { s/^  \([a-z-]*\)  .*/\1/p; }'
}

_bench_complete() {
    local word=$2 script=${COMP_WORDS[1]-} words=''
    COMPREPLY=()
    [ -n "${VIRTUAL_ENV-}" ] || return 0
    if [ "${1##*/}" = runs ]; then
        if [ "$COMP_CWORD" = 1 ]; then
            words=$(_bench_help -m utils.jobs | sed -n 's/^    \([a-z]*\)  .*/\1/p')
        elif [ "${word#-}" != "$word" ]; then
            words=$(_bench_help -m utils.jobs "$script" | grep -oE -e '--[a-z_-]+')
        else
            words=$(_bench_experiments)
        fi
    elif [ "$COMP_CWORD" -gt 1 ] && [ -f "$script" ]; then
        case $script in
            *experiments/*.py | experiments/*.py | *utils/runners.py) ;;
            *) return 0 ;;
        esac
        if [ "${word#-}" != "$word" ]; then
            words=$(_bench_help "$script" | grep -oE -e '--[a-z_-]+')
        elif [ "${script%utils/runners.py}" != "$script" ]; then
            case $COMP_CWORD in
                2) words=$(_bench_experiments | cut -d / -f 1) ;;
                3) words=$(_bench_experiments | sed -n "s|^${COMP_WORDS[2]}/||p") ;;
                4) words=$(_bench_environments "$script") ;;
            esac
        elif [ "$COMP_CWORD" = 2 ]; then
            words=$(_bench_environments "$script")
        fi
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}

complete -o default -F _bench_complete runs python python3
