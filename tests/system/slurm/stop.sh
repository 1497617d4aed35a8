#!/bin/bash
# Ends what start.sh started, by its pid files only, and leaves the logs.
set -euo pipefail
root=${CYTOLOOM_SLURM:-/tmp/cytoloom-slurm}
[ -d "$root/run" ] || exit 0
if [ "${1:-}" != --locked ]; then # start.sh holds the lock itself
    exec 9>"$root/start.lock"
    flock 9
fi
if [ -s "$root/run/slurmctld.pid" ]; then
    SLURM_CONF=$root/slurm.conf timeout 10 scancel --user="$(id -un)" 2>/dev/null || true
fi
end() { # PIDFILE NAME
    [ -s "$1" ] || return 0
    local pid
    pid=$(cat "$1")
    [ "$(cat "/proc/$pid/comm" 2>/dev/null)" = "$2" ] || return 0
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 100); do kill -0 "$pid" 2>/dev/null || return 0; sleep 0.1; done
    kill -9 "$pid" 2>/dev/null || true
}
for node in cpu1 gpu1; do end "$root/run/slurmd-$node.pid" slurmd; done
end "$root/run/slurmctld.pid" slurmctld
end "$root/munge/pid" munged
