#!/bin/bash
# Bring up a real Grid Engine on this machine alone (Debian 12 packages, 8.1.9), for tests.
#
#   grid-engine-up.sh [up]     install (if needed), configure, start; quick when already up
#   grid-engine-up.sh status   queues, jobs, daemon pids
#   grid-engine-up.sh pids     "name pid" per daemon (for fault tests)
#   grid-engine-up.sh clear    delete every job
#   grid-engine-up.sh stop     stop the daemons, leave jobs as they are
#   grid-engine-up.sh down     delete every job, then stop the daemons
#
# Run as root. Needs neither systemd nor a change of /etc/hosts (unless the host name does not
# resolve at all). Daemons listen on 127.0.0.1 only. Exit status 69: no packages to be had.
#
# Settings (environment):
#   GE_CPU_SLOTS=8    slots of cpu.q          GE_GPU_SLOTS=2  slots of gpu.q
#   GE_GPUS=2         the `gpu` consumable    GE_MEM=256G     mem_free / act_mem_free
#   GE_INTERVAL=1     scheduler interval, s (15 = what an untouched cluster does)
#   GE_MIN_UID=0      0 lets root submit; 1000 is the package's value
#   GE_MAX_TASKS=75000  longest array (max_aj_tasks); a small value exercises chunking
#   GE_SHELL=/bin/sh  queue shell; /bin/csh shows scripts that forget `-S`
#   GE_LOOPBACK=1     0 = let the daemons listen on every address
#   GE_FORCE=0        1 = reconfigure a Grid Engine that this script did not set up
set -euo pipefail

GE_CPU_SLOTS=${GE_CPU_SLOTS:-8} GE_GPU_SLOTS=${GE_GPU_SLOTS:-2} GE_GPUS=${GE_GPUS:-2}
GE_MEM=${GE_MEM:-256G} GE_INTERVAL=${GE_INTERVAL:-1} GE_MIN_UID=${GE_MIN_UID:-0}
GE_MAX_TASKS=${GE_MAX_TASKS:-75000} GE_SHELL=${GE_SHELL:-/bin/sh} GE_LOOPBACK=${GE_LOOPBACK:-1} GE_FORCE=${GE_FORCE:-0}

export SGE_ROOT=/var/lib/gridengine SGE_CELL=default LC_ALL=C
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
COMMON=$SGE_ROOT/$SGE_CELL/common
SPOOL=/var/spool/gridengine
LIB=/usr/lib/gridengine
STATE=/var/lib/grid-engine-up
SHIM=$STATE/loopback.so

say() { printf 'grid-engine-up.sh: %s\n' "$*"; }
die() { printf 'grid-engine-up.sh: %s\n' "$*" >&2; exit "${status:-1}"; }
[ "$(id -u)" = 0 ] || die "only root can install and start the daemons: run it as root"

# --- small helpers ---------------------------------------------------------
pid_of() { # daemon name -> pid, if that pid is really this daemon
    local f p
    # the execution daemon's directory is named after the host, which may have changed
    for f in $SPOOL/qmaster/qmaster.pid $SPOOL/execd/*/execd.pid; do
        [ -s "$f" ] || continue
        p=$(tr -dc 0-9 <"$f")
        [ -n "$p" ] && [ "$(cat "/proc/$p/comm" 2>/dev/null)" = "$1" ] || continue
        echo "$p"; return 0
    done
    return 1
}
wait_for() { # seconds, then a command
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}
gone() { ! kill -0 "$1" 2>/dev/null; }
answers() { timeout 10 qconf -sh; }
exec_alive() { # no "u" (unknown) in the states of any queue instance
    timeout 10 qstat -f | awk '/@/ { n++; if ($6 ~ /[uE]/) bad = 1 } END { exit !(n && !bad) }'
}
idle() { [ -z "$(timeout 10 qstat -u '*' 2>/dev/null)" ]; }

clear_jobs() {
    pid_of sge_qmaster >/dev/null || return 0
    idle && return 0
    qdel -u '*' >/dev/null 2>&1 || true
    wait_for 8 idle && return 0
    qdel -f -u '*' >/dev/null 2>&1 || true # jobs whose execution daemon forgot them stay in "dr"
    wait_for 8 idle || say "jobs left behind; see qstat -u '*'"
}
stop_daemons() {
    local d p
    for d in sge_execd sge_qmaster; do
        p=$(pid_of $d) || continue
        kill "$p"
        # the queue master takes about 4 s when idle, 10 s with an execution daemon connected
        wait_for 30 gone "$p" || { kill -9 "$p" || true; say "$d ($p) had to be killed"; }
    done
}

case ${1:-up} in
    up) ;;
    pids) for d in sge_qmaster sge_execd; do p=$(pid_of $d) && echo "$d $p"; done; exit 0 ;;
    status) "$0" pids; qstat -f -u '*'; exit ;;
    clear) clear_jobs; exit ;;
    stop) stop_daemons; exit ;;
    down) clear_jobs; stop_daemons; say "stopped"; exit ;;
    *) die "unknown command: $1 (up, status, pids, clear, stop, down)" ;;
esac

mkdir -p /run/lock "$STATE"
exec 9>/run/lock/grid-engine-up.lock
flock -w 300 9 || die "another grid-engine-up.sh is running"
T0=$(date +%s%N)

# The host's name has to resolve, whatever to: the packages' own setup fails otherwise.
HOST=$(hostname)
{ getent ahostsv4 "$HOST" || getent hosts "$HOST"; } >/dev/null || { echo "127.0.0.1 $HOST" >>/etc/hosts; say "added $HOST to /etc/hosts"; }

# --- 1. packages -------------------------------------------------------------
if ! [ -x $LIB/sge_qmaster ] || ! [ -x $LIB/sge_execd ] || ! [ -x /usr/bin/qsub ]; then
    # one installation at a time: the other engine's script shares apt and the file policy-rc.d
    exec 8>/run/lock/bench-engines-apt.lock
    flock -w 300 8 || die "another installation is running"
    touch "$STATE/mine"
    command -v apt-get >/dev/null || status=69 die "this is no Debian: there is no apt-get"
    debconf-set-selections <<'E'
gridengine-common shared/gridengineconfig boolean true
gridengine-common shared/gridenginecell string default
gridengine-client shared/gridenginemaster string localhost
gridengine-master shared/gridenginemaster string localhost
gridengine-exec shared/gridenginemaster string localhost
E
    # nothing may start before host names are sorted out
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    want=(gridengine-master gridengine-exec gridengine-client netbase procps)
    # netbase: /etc/services has the ports (sge_qmaster 6444, sge_execd 6445)
    # gridengine-common wants a mailer; this one brings no daemon along
    [ -e /usr/sbin/sendmail ] || want+=(msmtp-mta)
    [ "$GE_LOOPBACK" = 0 ] || command -v cc >/dev/null || command -v tcc >/dev/null || want+=(tcc)
    get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${want[@]}" 8>&- 9>&-; }
    get >"$STATE/apt.log" 2>&1 ||
        { apt-get -qq update 8>&- 9>&- >>"$STATE/apt.log" 2>&1; get >>"$STATE/apt.log" 2>&1; } ||
        { tail -n 20 "$STATE/apt.log" >&2; status=69 die "the packages ${want[*]} cannot be installed"; }
    if ! [ -e /usr/sbin/sge_qmaster ]; then die "packages are incomplete; see $STATE/apt.log"; fi
    exec 8>&-
    say "packages installed"
elif [ ! -e "$STATE/mine" ]; then
    # a Grid Engine is here already: a daemon-less fresh install, or somebody's cluster?
    if [ "$GE_FORCE" != 1 ] && [ -s "$COMMON/act_qmaster" ] &&
        ! grep -qxE 'localhost|'"$(hostname)" "$COMMON/act_qmaster"; then
        die "this host belongs to the cluster of $(cat "$COMMON/act_qmaster"); GE_FORCE=1 to take it over"
    fi
    touch "$STATE/mine"
fi

# --- 2. host names -------------------------------------------------------------
# Clients announce gethostname(); the master looks the peer's address up backwards.
# On one host over loopback that is "localhost" against the host name, and every
# command is refused ("client IP resolved to host name ..."). host_aliases folds
# both into one name.
NAME=$(getent hosts 127.0.0.1 | awk 'NR == 1 { print $2 }')
NAME=${NAME:-localhost}
aliases=$NAME
for n in localhost "$HOST" "$(hostname -s)"; do
    case " $aliases " in *" $n "*) ;; *) aliases="$aliases $n" ;; esac
done
[ "$aliases" != "$NAME" ] || aliases=
restart=0
if [ "$(cat "$COMMON/host_aliases" 2>/dev/null)" != "$aliases" ]; then
    printf '%s\n' "$aliases" >"$COMMON/host_aliases"; restart=1
fi
if [ "$(cat "$COMMON/act_qmaster" 2>/dev/null)" != "$NAME" ]; then
    echo "$NAME" >"$COMMON/act_qmaster"; chown sgeadmin: "$COMMON/act_qmaster"; restart=1
fi

# --- 3. stay on loopback -------------------------------------------------------
# Both daemons bind 0.0.0.0 and have no option for it; a few lines in front of
# bind() do. The variable is dropped at once, so jobs do not inherit it.
if [ "$GE_LOOPBACK" != 0 ] && [ ! -e "$SHIM" ]; then
    cat >"$STATE/loopback.c" <<'E'
extern long syscall(long, ...);
extern int unsetenv(const char *);
#if defined(__aarch64__)
#define NR_BIND 200
#elif defined(__x86_64__)
#define NR_BIND 49
#endif
int bind(int fd, const void *addr, unsigned len)
{
    unsigned char a[28];
    const unsigned char *p = addr;
    unsigned i;
    unsetenv("LD_PRELOAD");
    if (len >= 16 && len <= sizeof a && p[0] == 2 && p[1] == 0 && !(p[4] | p[5] | p[6] | p[7])) {
        for (i = 0; i < len; i++) a[i] = p[i];
        a[4] = 127; a[7] = 1; /* 0.0.0.0 -> 127.0.0.1 */
        p = a;
    }
    return (int)syscall(NR_BIND, fd, p, len);
}
E
    { cc -shared -fPIC -nostdlib -o "$SHIM" "$STATE/loopback.c" ||
        tcc -shared -nostdlib -o "$SHIM" "$STATE/loopback.c"; } 2>/dev/null ||
        { rm -f "$SHIM"; die "no C compiler for the loopback shim (install tcc, or GE_LOOPBACK=0)"; }
fi
start() { # a clean environment: jobs inherit the execution daemon's
    local extra=()
    [ "$GE_LOOPBACK" = 0 ] || extra+=(LD_PRELOAD="$SHIM")
    [ -z "${TZ-}" ] || extra+=(TZ="$TZ")
    (cd / && umask 022 && ulimit -c 0 && exec setsid env -i PATH=$PATH HOME=/root LANG=C.UTF-8 \
        SGE_ROOT=$SGE_ROOT SGE_CELL=$SGE_CELL SGE_ARCH="$(/usr/share/gridengine/util/arch)" \
        "${extra[@]}" $LIB/"$1") 9>&- </dev/null >>"$STATE/$1.out" 2>&1
}

# --- 4. queue master -----------------------------------------------------------
[ $restart = 0 ] || stop_daemons
if ! pid_of sge_qmaster >/dev/null; then
    start sge_qmaster || { cat "$STATE/sge_qmaster.out" >&2; die "sge_qmaster does not start"; }
fi
wait_for 30 answers || {
    qconf -sh 2>&1 | head -n 3 >&2 || true; tail -n 5 $SPOOL/qmaster/messages >&2 || true
    die "sge_qmaster does not answer"; }

# --- 5. configuration ------------------------------------------------------------
want="$(cat "$0" | md5sum) $NAME $GE_CPU_SLOTS $GE_GPU_SLOTS $GE_GPUS $GE_MEM $GE_INTERVAL $GE_MIN_UID $GE_MAX_TASKS $GE_SHELL"
if [ "$(cat "$STATE/configured" 2>/dev/null)" != "$want" ]; then
    D=$(mktemp -d)
    q() { # quiet, but show what went wrong
        local out; out=$(qconf "$@" 2>&1) || { case $out in *"already exists"*) ;; *) echo "$out" >&2; die "qconf $*" ;; esac; }
    }
    set_to() { awk -v k="$1" -v v="$2" '$1 == k { print k, v; f = 1; next } 1; END { if (!f) print k, v }' "$3" >"$3.new" && mv "$3.new" "$3"; }

    qconf -sconf global | sed -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}' >"$D/global"
    set_to min_uid "$GE_MIN_UID" "$D/global"
    set_to min_gid "$GE_MIN_UID" "$D/global"
    set_to mailer /bin/true "$D/global"
    set_to load_report_time 00:00:05 "$D/global"
    set_to max_unheard 00:00:30 "$D/global"
    set_to finished_jobs 1000 "$D/global"
    set_to max_aj_tasks "$GE_MAX_TASKS" "$D/global"
    set_to reporting_params 'accounting=true reporting=false flush_time=00:00:01 accounting_flush_time=00:00:00 joblog=false sharelog=00:00:00' "$D/global"
    q -Mconf "$D/global"

    flush=1; [ "$GE_INTERVAL" -lt 15 ] || flush=0
    qconf -ssconf >"$D/sched"
    set_to schedule_interval "0:0:$GE_INTERVAL" "$D/sched"
    set_to flush_submit_sec $flush "$D/sched"
    set_to flush_finish_sec $flush "$D/sched"
    set_to job_load_adjustments NONE "$D/sched"
    q -Msconf "$D/sched"

    qconf -sc | grep -vE '^(#|gpu |act_mem_free |mem_free )' >"$D/complex"
    cat >>"$D/complex" <<'E'
gpu gpu INT <= YES YES 0 0
mem_free mf MEMORY <= YES YES 0 0
act_mem_free amf MEMORY <= YES NO 0 0
E
    q -Mc "$D/complex"

    q -am root
    q -ah "$NAME"
    q -as "$NAME"
    # load_scaling: a consumable is capped by the load value of the same name, and a
    # small CI machine would never satisfy mem_free=8G
    cat >"$D/host" <<E
hostname $NAME
load_scaling mem_free=1000
complex_values gpu=$GE_GPUS,mem_free=$GE_MEM,act_mem_free=$GE_MEM
user_lists NONE
xuser_lists NONE
projects NONE
xprojects NONE
usage_scaling NONE
report_variables NONE
E
    if qconf -se "$NAME" >/dev/null 2>&1; then q -Me "$D/host"; else q -Ae "$D/host"; fi
    printf 'group_name @allhosts\nhostlist %s\n' "$NAME" >"$D/group"
    if qconf -shgrp @allhosts >/dev/null 2>&1; then q -Mhgrp "$D/group"; else q -Ahgrp "$D/group"; fi
    cat >"$D/pe" <<'E'
pe_name smp
slots 999
user_lists NONE
xuser_lists NONE
start_proc_args NONE
stop_proc_args NONE
allocation_rule $pe_slots
control_slaves FALSE
job_is_first_task TRUE
urgency_slots min
accounting_summary TRUE
qsort_args NONE
E
    if qconf -sp smp >/dev/null 2>&1; then q -Mp "$D/pe"; else q -Ap "$D/pe"; fi

    (EDITOR=/bin/cat qconf -aq 2>/dev/null || true) | grep -E '^[a-z_]+ +[^ ]' | grep -v 'added\|unchanged' >"$D/template"
    queue() { # name slots complex_values
        cp "$D/template" "$D/$1"
        set_to qname "$1" "$D/$1"
        set_to hostlist @allhosts "$D/$1"
        set_to load_thresholds NONE "$D/$1"
        set_to pe_list smp "$D/$1"
        set_to slots "$2" "$D/$1"
        set_to shell "$GE_SHELL" "$D/$1"
        set_to notify 00:00:05 "$D/$1"
        set_to complex_values "$3" "$D/$1"
        if qconf -sq "$1" >/dev/null 2>&1; then q -Mq "$D/$1"; else q -Aq "$D/$1"; fi
    }
    queue cpu.q "$GE_CPU_SLOTS" gpu=0 # a job that asks for a gpu here waits for ever
    queue gpu.q "$GE_GPU_SLOTS" NONE
    rm -rf "$D"
    printf '%s' "$want" >"$STATE/configured"
    say "configured: cpu.q ($GE_CPU_SLOTS slots), gpu.q ($GE_GPU_SLOTS slots, gpu=$GE_GPUS), smp, host $NAME"
fi

# --- 6. execution daemon ---------------------------------------------------------
if ! pid_of sge_execd >/dev/null; then
    start sge_execd || { cat "$STATE/sge_execd.out" >&2; die "sge_execd does not start"; }
    # the master may not have missed it; whoever calls next must not start a second one
    wait_for 20 pid_of sge_execd || die "sge_execd does not write its pid"
fi
wait_for 90 exec_alive || { # clear a queue that an earlier fault left in error state
    qmod -c '*' >/dev/null 2>&1 || true
    wait_for 10 exec_alive || { qstat -f >&2 || true; tail -n 5 $SPOOL/execd/*/messages >&2 || true; die "sge_execd does not report"; }
}
say "up after $((($(date +%s%N) - T0) / 1000000)) ms: $("$0" pids | tr '\n' ' ')"
