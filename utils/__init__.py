"""The harness around the models: what starts, remembers and shows runs.

Words and places, which need nothing but Python:

- `paths`: every path below `Data/` and `training_data/`
- `grid`: hyper-parameter values -> list of runs; stages of them; `halton`: points for a search
- `signatures`: hyper-parameters of an experiment, read from its file, and their values
- `run_names`: runs as they are named on a command line
- `progress`: a progress line on a terminal, sparse lines in a log file; logging
- `screen`: text for a terminal

Data and models:

- `data`: recordings of V1, normalized, pooled, with their repeats
- `make_data`, `synthetic_regions`: synthetic recordings for `make data`
- `manifest`: checksums of the files in `Data/`
- `network`: NDN3 models, built, trained, tested, saved, loaded

An experiment:

- `experiment`: a train function -> a command; `experiment_flags` reads its words
- `run`, `repetitions`: what that function is given, and what is written for each training
- `together`: several runs one after the other in one program
- `registry`: `run.json` and `experiments.txt`; the table of all runs; `run_files`: which of these
  files are sound, and why none can be written
- `summaries`: TensorFlow event files -> table

The launcher:

- `runners`: the command of every `*_runner.py`; `command_lines` reads its words
- `promises`: from a grid to what is to be sent; `variants`: the same grid with some arguments
  changed; `stages`: what is said of runs that need others; `launches` sends it
- `finished`, `division`: what of that is done, run by run and part by part
- `environments`, `gpus`: where runs are started, and what they get there
- `plans`: the files that say what was sent
- `pool`: so many runs at a time on this machine; `pool_jobs`, `outcomes`: what it runs, and what
  became of it; `pool_stages`: which of it waits for others; `detaching`: that in a session of its
  own
- `job_node`: what stands beside a program, here or on a cluster node: claim, logs, record; `tasks`
  and `programs` are its wrapper, `windows` what another system needs for it; `needs`: whether the
  runs that a run needs are done
- `containers`: a command in a container, for `containers/runcmd` and the environment `docker`

Queues of clusters:

- `engines`: what they are asked and answer; `grid_engine`, `slurm`: in whose words
- `queues`: what a site calls its queues and resources
- `queue_launches`: runs handed to a queue; `sending` calls its engine
- `queue_states`: what an engine says of runs; `queue_cancel`: takes them out of its hands

The command `runs`:

- `jobs`: its words; `run_actions`, `retries` and `run_results` do what they say
- `states`, `known_runs`: what became of the runs; `ledger`: the list of those that are finished
- `watch`: the live view; `live_states`: states that are kept up to date for it

Tables and figures for the notebooks:

- `analysis_runs`, `analysis_curves`, `analysis_fields`, `analysis_metrics`, `analysis_style`

Imports point one way, from the commands to the words; `tests/unit/test_layers.py` has the rule of
each module. This one imports none of them. It sees to it that Ctrl-C ends a command whose modules
are still being loaded without a traceback.
"""

from __future__ import annotations

import signal
import sys
from types import TracebackType


def _end_quietly(
    kind: type[BaseException], problem: BaseException, trace: TracebackType | None
) -> None:
    interactive = hasattr(sys, "ps1")
    if issubclass(kind, KeyboardInterrupt) and not interactive:
        sys.exit(128 + signal.SIGINT)
    sys.__excepthook__(kind, problem, trace)


if sys.excepthook is sys.__excepthook__:
    sys.excepthook = _end_quietly
