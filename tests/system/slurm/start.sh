#!/bin/bash
# Starts a real SLURM on this machine: slurmctld, two slurmd and munged, all in one scratch
# folder and with ports of their own. Neither /etc nor a SLURM that is already here is touched.
#
#   eval "$(tests/system/slurm/start.sh)"    # then sinfo, sbatch, nextflow … speak to it
#   tests/system/slurm/stop.sh               # ends it, by its pid files
#
# Node cpu1 in partition cpu (the default), node gpu1 in partition gpu with one pretended GPU:
# --gres=gpu:1 is scheduled and CUDA_VISIBLE_DEVICES arrives, but there is no device. Each
# node pretends 16 processors and 64 GB, and memory beyond what a job asked for ends it.
# CYTOLOOM_SLURM (a folder) and CYTOLOOM_SLURM_PORT make a second one beside it.
# What runs already is left as it is, so a second start changes nothing. Where SLURM is not
# installed, root gets Debian's packages; anybody else is told. Exit code 69: cannot be had.
set -euo pipefail
root=${CYTOLOOM_SLURM:-/tmp/cytoloom-slurm}
port=${CYTOLOOM_SLURM_PORT:-26817} # and the next two
me=$(id -un)
host=$(hostname -s)
conf=$root/slurm.conf

die() { echo "start.sh: $1" >&2; exit "${2:-1}"; }

have() { PATH=$PATH:/usr/sbin command -v slurmctld slurmd munged sbatch >/dev/null 2>&1 \
    && [ "$(PATH=$PATH:/usr/sbin command -v slurmctld slurmd munged sbatch | wc -l)" = 4 ]; }

install_packages() {
    [ "$(id -u)" = 0 ] || die "slurmctld, slurmd, munged or sbatch is missing, and only root can install slurm-wlm and munge" 69
    command -v apt-get >/dev/null || die "SLURM is missing; install slurm-wlm and munge (no apt-get here)" 69
    export DEBIAN_FRONTEND=noninteractive
    local get=(apt-get -qq -o DPkg::Lock::Timeout=300)
    {
        "${get[@]}" install -y --no-install-recommends slurm-wlm munge \
            || { "${get[@]}" update && "${get[@]}" install -y --no-install-recommends slurm-wlm munge; }
    } >"$root/log/install.log" 2>&1 || die "Debian's slurm-wlm and munge cannot be installed: $root/log/install.log" 69
}

alive() { # PIDFILE NAME
    [ -s "$1" ] && [ "$(cat "/proc/$(cat "$1")/comm" 2>/dev/null)" = "$2" ]
}

configuration() {
    cat <<END
ClusterName=cytoloom
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$me
SlurmdUser=$me
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket=$root/munge/socket
StateSaveLocation=$root/state
SlurmdSpoolDir=$root/spool-%n
SlurmctldPidFile=$root/run/slurmctld.pid
SlurmdPidFile=$root/run/slurmd-%n.pid
SlurmctldLogFile=$root/log/slurmctld.log
SlurmdLogFile=$root/log/slurmd-%n.log
SlurmctldPort=$port
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
PropagateResourceLimits=NONE
LaunchParameters=disable_send_gids
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=1000
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=2
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/filetxt
JobCompLoc=$root/log/jobs.txt
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=20000,batch_sched_delay=0
DependencyParameters=kill_invalid_depend
EnforcePartLimits=ALL
MaxArraySize=10001
MinJobAge=600
InactiveLimit=0
KillWait=5
SlurmctldTimeout=60
SlurmdTimeout=60
GresTypes=gpu
NodeName=cpu1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=16 RealMemory=64000 State=UNKNOWN
NodeName=gpu1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=16 RealMemory=64000 Gres=gpu:pretended:1 State=UNKNOWN
PartitionName=cpu Nodes=cpu1 Default=YES MaxTime=INFINITE DefaultTime=60 State=UP
PartitionName=gpu Nodes=gpu1 MaxTime=INFINITE DefaultTime=60 State=UP
END
}

start_munge() {
    local dir=$root/munge pid
    alive "$dir/pid" munged && return
    [ -s "$dir/key" ] || (umask 077 && head -c 1024 /dev/urandom >"$dir/key")
    rm -f "$dir/socket" "$dir/socket.lock"
    # --force: munged is strict about who may write to the folders above a file; /tmp is one.
    munged --force --key-file="$dir/key" --socket="$dir/socket" --pid-file="$dir/pid" \
        --seed-file="$dir/seed" --log-file="$dir/log" 2>>"$root/log/start.log"
    for _ in $(seq 50); do munge -S "$dir/socket" -n >/dev/null 2>&1 && return; sleep 0.1; done
    die "munged does not answer: $dir/log"
}

nodes_up() { [ "$(sinfo -h -N -o %t 2>/dev/null | grep -cE '^(idle|mix|alloc)$')" = 2 ]; }

start_daemons() {
    alive "$root/run/slurmctld.pid" slurmctld || slurmctld -f "$conf" >>"$root/log/start.log" 2>&1
    local node
    for node in cpu1 gpu1; do
        alive "$root/run/slurmd-$node.pid" slurmd || slurmd -f "$conf" -N $node >>"$root/log/start.log" 2>&1
    done
    for _ in $(seq 150); do nodes_up && return; sleep 0.2; done
    # A node that a test set down, and left so when it was ended.
    scontrol update nodename=cpu1,gpu1 state=resume >>"$root/log/start.log" 2>&1 || true
    for _ in $(seq 50); do nodes_up && return; sleep 0.2; done
    sinfo -N -l >&2 || true
    die "the nodes do not come up: $root/log"
}

mkdir -p "$root"/{state,spool-cpu1,spool-gpu1,log,run,munge}
chmod 0755 "$root" "$root"/munge
exec 9>"$root/start.lock"
flock 9
have || install_packages
PATH=$PATH:/usr/sbin
configuration >"$conf.new"
if ! cmp -s "$conf.new" "$conf"; then
    "$(dirname "$0")/stop.sh" --locked
    mv "$conf.new" "$conf"
    echo "NodeName=gpu1 Name=gpu Type=pretended Count=1 File=/dev/null" >"$root/gres.conf"
fi
rm -f "$conf.new"
export SLURM_CONF=$conf
start_munge 9>&-
start_daemons 9>&-
echo "export SLURM_CONF='$conf'"
