#!/bin/bash
# The cytotoxicity demo on this machine and as jobs of a real SLURM, and whether both gave the
# same. SLURM and Apptainer are put in place where they are missing (root, Debian); the SLURM
# is ended again if it did not run before.
#
#   tests/system/slurm/demo.sh [FOLDER [PROFILE]]
#
# FOLDER   where the runs go (default cytoloom-slurm-demo); what is there is taken up again
# PROFILE  slurm: tasks in images (default); slurm,local: tasks in local environments
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
project=$(cd "$here/../../.." && pwd)
folder=${1:-cytoloom-slurm-demo}
profile=${2:-slurm}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

if [ "$profile" = slurm ] && ! command -v apptainer >/dev/null; then
    "$project/tests/system/apptainer-up.sh" >&2
fi
pid=$(cat "${CYTOLOOM_SLURM:-/tmp/cytoloom-slurm}/run/slurmctld.pid" 2>/dev/null || true)
[ -n "$pid" ] && [ -e "/proc/$pid" ] || trap '"$here/stop.sh"' EXIT
started=$("$here/start.sh")
eval "$started"

run() { # NAME OPTIONS...: in a folder of its own, so that nothing is taken from the other run
    mkdir -p "$folder/$1"
    (cd "$folder/$1" && "$project/cytoloom" run --outdir results -resume "${@:2}" \
        --pipeline "$project/assets/pipelines/cytotoxicity.yaml")
}
run local
run slurm -profile "$profile"

jobs=$(awk -F'\t' 'NR > 1 && $3 ~ /^[0-9_]+$/' "$folder/slurm/results/pipeline_info/trace.txt" | wc -l)
echo "tasks that were jobs of SLURM (profile $profile): $jobs"
python3 "$here/same_results.py" "$folder/local/results" "$folder/slurm/results"
