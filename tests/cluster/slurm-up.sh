#!/bin/bash
# Bring up a real Slurm on this machine alone (Debian 12 packages, 22.05), for tests.
#
#   slurm-up.sh [up]     install (if needed), configure, start; quick when already up
#   slurm-up.sh status   partitions, jobs, daemon pids
#   slurm-up.sh pids     "name pid" per daemon (for fault tests)
#   slurm-up.sh clear    cancel every job
#   slurm-up.sh stop     stop slurmd and slurmctld, leave jobs as they are
#   slurm-up.sh down     cancel every job, then stop the daemons (munged too, if started here)
#
# Run as root. Needs no systemd. Daemons listen only on the address that the host name resolves to
# (127.0.0.1 or 127.0.1.1 on most machines, never 0.0.0.0). Exit status 69: no packages to be had.
#
# Settings (environment):
#   SLURM_CPUS=16       CPUs claimed for the node     SLURM_GPUS=2   faked GPUs (gres/gpu)
#   SLURM_MEM=262144    memory claimed, MB
#   SLURM_CGROUP=auto   auto: cgroup v1 where it can be used, else plain processes; no: never
#   SLURM_MAX_ARRAY=1001  array size limit (Slurm's default: indices 0..1000)
#   SLURM_MIN_JOB_AGE=300 seconds that a finished job stays visible (Slurm's default)
#   SLURM_FORCE=0       1 = replace a slurm.conf that this script did not write
set -euo pipefail

SLURM_CPUS=${SLURM_CPUS:-16} SLURM_GPUS=${SLURM_GPUS:-2} SLURM_MEM=${SLURM_MEM:-262144}
SLURM_CGROUP=${SLURM_CGROUP:-auto} SLURM_MAX_ARRAY=${SLURM_MAX_ARRAY:-1001}
SLURM_MIN_JOB_AGE=${SLURM_MIN_JOB_AGE:-300} SLURM_FORCE=${SLURM_FORCE:-0}

export LC_ALL=C PATH=/usr/sbin:/usr/bin:/sbin:/bin
ETC=/etc/slurm
STATE=/var/lib/slurm-up
MARK='# written by slurm-up.sh'

say() { printf 'slurm-up.sh: %s\n' "$*"; }
die() { printf 'slurm-up.sh: %s\n' "$*" >&2; exit "${status:-1}"; }
[ "$(id -u)" = 0 ] || die "only root can install and start the daemons: run it as root"

pid_of() { # daemon name -> pid, if that pid is really this daemon
    local f p
    case $1 in
        munged) f=/run/munge/munged.pid ;;
        *) f=/run/$1.pid ;;
    esac
    [ -s "$f" ] || return 1
    p=$(tr -dc 0-9 <"$f")
    [ -n "$p" ] && [ "$(cat "/proc/$p/comm" 2>/dev/null)" = "$1" ] || return 1
    echo "$p"
}
wait_for() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.1
    done
}
gone() { ! kill -0 "$1" 2>/dev/null; }
munge_ok() { munge -n </dev/null | unmunge; }
ctld_ok() { scontrol ping | grep -q 'is UP'; }
node_ok() { # Slurm shows a node as idle that has not yet registered with a new slurmctld, but refuses jobs for it
    sinfo -h -o %T | grep -qxE 'idle|mixed|allocated|completing' && sbatch --test-only -D / --wrap true 2>/dev/null; }
node_settled() { node_ok || sinfo -h -o %T | grep -q '^drain'; }
idle() { [ -z "$(timeout 20 squeue -h 2>/dev/null)" ]; }

clear_jobs() {
    pid_of slurmctld >/dev/null || return 0
    idle && return 0
    squeue -h -r -o %F | sort -u | xargs -r scancel 2>/dev/null || true
    wait_for 15 idle || say "jobs left behind; see squeue"
}
stop_daemons() {
    local d p
    for d in "$@"; do
        p=$(pid_of "$d") || continue
        kill "$p"
        wait_for 30 gone "$p" || { kill -9 "$p" || true; say "$d ($p) had to be killed"; }
    done
}

case ${1:-up} in
    up) ;;
    pids) for d in munged slurmctld slurmd; do p=$(pid_of $d) && echo "$d $p"; done; exit 0 ;;
    status) "$0" pids; sinfo; squeue; exit ;;
    clear) clear_jobs; exit ;;
    stop) stop_daemons slurmd slurmctld; exit ;;
    down)
        clear_jobs; stop_daemons slurmd slurmctld
        if [ -e "$STATE/munged" ]; then stop_daemons munged; rm -f "$STATE/munged"; fi
        say "stopped"; exit ;;
    *) die "unknown command: $1 (up, status, pids, clear, stop, down)" ;;
esac

mkdir -p /run/lock "$STATE"
exec 9>/run/lock/slurm-up.lock
flock -w 300 9 || die "another slurm-up.sh is running"
T0=$(date +%s%N)
clean() { # a clean environment and no lock handle for the daemons
    local extra=(); [ -z "${TZ-}" ] || extra=(TZ="$TZ")
    (cd / && umask 022 && ulimit -c 0 && exec setsid env -i PATH=$PATH LANG=C.UTF-8 "${extra[@]}" "$@") 9>&- </dev/null
}

if [ -e $ETC/slurm.conf ] && ! head -n 1 $ETC/slurm.conf | grep -qxF "$MARK" && [ "$SLURM_FORCE" != 1 ]; then
    die "$ETC/slurm.conf is somebody else's; SLURM_FORCE=1 to replace it"
fi

# --- 1. packages -------------------------------------------------------------
if ! [ -x /usr/sbin/slurmctld ] || ! [ -x /usr/sbin/slurmd ] || ! [ -x /usr/bin/sbatch ] || ! [ -x /usr/sbin/munged ]; then
    # one installation at a time: the other engine's script shares apt and the file policy-rc.d
    exec 8>/run/lock/bench-engines-apt.lock
    flock -w 300 8 || die "another installation is running"
    command -v apt-get >/dev/null || status=69 die "this is no Debian: there is no apt-get"
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
        chmod 755 /usr/sbin/policy-rc.d
        trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    fi
    want=(slurmctld slurmd slurm-client munge procps)
    get() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300 \
        install -y --no-install-recommends "${want[@]}" 8>&- 9>&-; }
    get >"$STATE/apt.log" 2>&1 ||
        { apt-get -qq update 8>&- 9>&- >>"$STATE/apt.log" 2>&1; get >>"$STATE/apt.log" 2>&1; } ||
        { tail -n 20 "$STATE/apt.log" >&2; status=69 die "the packages ${want[*]} cannot be installed"; }
    exec 8>&-
    say "packages installed"
fi

# --- 2. munge ----------------------------------------------------------------
if ! munge_ok >/dev/null 2>&1; then
    [ -s /etc/munge/munge.key ] || {
        dd if=/dev/urandom of=/etc/munge/munge.key bs=1024 count=1 status=none
        chown munge: /etc/munge/munge.key; chmod 400 /etc/munge/munge.key; }
    install -d -o munge -g munge -m 0755 /run/munge
    clean setpriv --reuid munge --regid munge --init-groups /usr/sbin/munged 2>"$STATE/munged.out" ||
        { cat "$STATE/munged.out" >&2; die "munged does not start"; }
    touch "$STATE/munged"
    wait_for 10 munge_ok || die "munged does not answer"
fi

# --- 3. configuration -----------------------------------------------------------
# With No(Ctld)InAddrAny the daemons bind to what gethostname() resolves to, not to the
# address written in slurm.conf, so the two have to agree (Debian writes 127.0.1.1).
HOST=$(hostname -s)
getent ahostsv4 "$(hostname)" >/dev/null || { echo "127.0.0.1 $(hostname)" >>/etc/hosts; say "added $(hostname) to /etc/hosts"; }
ADDR=$(getent ahostsv4 "$(hostname)" | awk 'NR == 1 { print $1 }') || true
[ -n "$ADDR" ] || status=69 die "$(hostname) has no address: Slurm needs a network interface besides loopback"
case $ADDR in 127.*) ;; *) say "note: $(hostname) is $ADDR; the daemons listen there" ;; esac
# Kernel control groups: they give OUT_OF_MEMORY and catch processes that left the
# job's session. Usable here when freezer and memory (v1) are mounted and writable.
cgroup=no
if [ "$SLURM_CGROUP" = auto ]; then
    cgroup=v1
    for c in freezer memory; do
        t=/sys/fs/cgroup/$c/slurm-up-probe
        { [ -e "/sys/fs/cgroup/$c/tasks" ] && mkdir -p "$t" && rmdir "$t"; } 2>/dev/null || cgroup=no
    done
fi
if [ $cgroup = v1 ]; then
    plugins='ProctrackType=proctrack/cgroup
TaskPlugin=task/cgroup
JobAcctGatherType=jobacct_gather/linux'
else
    plugins='ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherParams=OverMemoryKill'
fi
gres=
if [ "$SLURM_GPUS" -gt 0 ]; then # character devices (copies of /dev/null) make Slurm set CUDA_VISIBLE_DEVICES
    gres="Gres=gpu:$SLURM_GPUS"
    mkdir -p /var/lib/slurm/gpu
    for ((i = 0; i < SLURM_GPUS; i++)); do
        f=/var/lib/slurm/gpu/nvidia$i
        [ -e "$f" ] || mknod -m 666 "$f" c 1 3 2>/dev/null || touch "$f" # no right to mknod: counted, not numbered
    done
fi
D=$(mktemp -d)
cat >"$D/slurm.conf" <<E
$MARK
ClusterName=ci
SlurmctldHost=$HOST($ADDR)
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthType=auth/munge
SlurmUser=slurm
StateSaveLocation=/var/lib/slurm/slurmctld
SlurmdSpoolDir=/var/lib/slurm/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurm/slurmctld.log
SlurmdLogFile=/var/log/slurm/slurmd.log
$plugins
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=/var/log/slurm/jobcomp.log
MpiDefault=none
SwitchType=switch/none
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=5,bf_interval=5,batch_sched_delay=0,sched_min_interval=100000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=512
ReturnToService=2
KillWait=5
MessageTimeout=5
SlurmctldTimeout=30
SlurmdTimeout=30
InactiveLimit=0
MinJobAge=$SLURM_MIN_JOB_AGE
MaxArraySize=$SLURM_MAX_ARRAY
MaxJobCount=$((SLURM_MAX_ARRAY > 10000 ? SLURM_MAX_ARRAY + 10000 : 10000))
SlurmdParameters=config_overrides
GresTypes=gpu
NodeName=$HOST NodeAddr=$ADDR CPUs=$SLURM_CPUS Boards=1 SocketsPerBoard=1 CoresPerSocket=$SLURM_CPUS ThreadsPerCore=1 RealMemory=$SLURM_MEM $gres State=UNKNOWN
PartitionName=cpu Nodes=$HOST Default=YES MaxTime=INFINITE State=UP
PartitionName=gpu Nodes=$HOST Default=NO MaxTime=INFINITE State=UP
E
: >"$D/gres.conf"
[ -z "$gres" ] || echo "NodeName=$HOST Name=gpu File=/var/lib/slurm/gpu/nvidia[0-$((SLURM_GPUS - 1))]" >"$D/gres.conf"
# slurmd 22.05 loads a cgroup plugin even when nothing uses it: autodetection fails where
# no hierarchy is mounted and v2 wants systemd over D-Bus, while v1 loads anywhere
cat >"$D/cgroup.conf" <<'E'
CgroupPlugin=cgroup/v1
CgroupMountpoint=/sys/fs/cgroup
CgroupAutomount=no
ConstrainRAMSpace=yes
ConstrainCores=no
ConstrainDevices=no
E
install -d -o slurm -g slurm /var/lib/slurm /var/lib/slurm/slurmctld /var/log/slurm
install -d -m 755 /var/lib/slurm/slurmd
changed=0
for f in slurm.conf gres.conf cgroup.conf; do
    cmp -s "$D/$f" "$ETC/$f" || { install -D -m 644 "$D/$f" "$ETC/$f"; changed=1; }
done
rm -rf "$D"
if [ $changed = 1 ]; then
    stop_daemons slurmd slurmctld
    say "configured: $SLURM_CPUS CPUs, gpu:$SLURM_GPUS, cgroup $cgroup, node $HOST"
fi

# --- 4. daemons ------------------------------------------------------------------
pid_of slurmctld >/dev/null || clean slurmctld || die "slurmctld does not start: $(tail -n 3 /var/log/slurm/slurmctld.log)"
wait_for 20 ctld_ok || die "slurmctld does not answer: $(tail -n 3 /var/log/slurm/slurmctld.log)"
pid_of slurmd >/dev/null || clean slurmd -N "$HOST" || die "slurmd does not start: $(tail -n 3 /var/log/slurm/slurmd.log)"
wait_for 5 node_settled || true
node_ok || scontrol update nodename="$HOST" state=resume 2>/dev/null || true # drained or down by an earlier fault
wait_for 10 node_ok || { # a slurmctld that was killed may wait for a slurmd that waits for it
    stop_daemons slurmd
    clean slurmd -N "$HOST" || true; }
wait_for 40 node_ok || { sinfo -R >&2; die "the node does not come up: $(tail -n 3 /var/log/slurm/slurmd.log)"; }
say "up after $((($(date +%s%N) - T0) / 1000000)) ms: $("$0" pids | tr '\n' ' ')"
