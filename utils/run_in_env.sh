#!/bin/bash
# What a node of a cluster executes: the site's own lines, then the wrapper of the task's runs.
#
#   run_in_env.sh PYTHON CONTROL TOKEN CALL
#
# Slurm runs a copy of this file, so the checkout is the folder in which it is started, not the one
# in which it lies.
if [ ! -f utils/job_node.py ]; then
    echo "$(hostname): $PWD is not the checkout that sent this; it was moved, or is not mounted here" >&2
    exit 1
fi
python=$1 control=$2 token=$3 call=$4
for setup in "$control"/send-*-"$token".setup; do
    # lines of queues.toml, such as `module load cuda`, which may change the variables of this shell
    # shellcheck source=/dev/null
    if [ -f "$setup" ]; then . "$setup"; fi
done
exec "$python" -I -S utils/job_node.py "$control" "$token" "$call"
