"""The harness around the models: what starts, remembers and shows runs.

Layer 1, the standard library only:

- `paths`: every path below `Data/` and `training_data/`
- `progress`: a progress line on a terminal, sparse lines in a log file; logging
- `grid`: hyper-parameter values -> list of runs
- `job_node`: what runs beside a program, here or on a cluster node: claim, logs, record

Layer 2, what is on disk:

- `registry`: `run.json` and `experiments.txt`; the table of all runs
- `summaries`: TensorFlow event files -> table
- `data`: recordings of V1, normalisation, merged regions
- `make_data`: synthetic recordings and the manifest, for `make data`
- `network`: NDN3 models, built, trained, tested, saved, loaded

Layer 3, what users call:

- `experiment`: a train function -> a command, its repetitions and their records
- `runners`: a list of runs -> processes on this machine or jobs of a cluster
- `jobs`: what became of the runs; the command `runs`
- `analysis_runs`, `analysis_curves`, `analysis_fields`, `analysis_metrics`, `analysis_style`:
  tables and figures for the notebooks

A module imports modules of its own layer or of those below, never above. This one imports nothing.
"""
