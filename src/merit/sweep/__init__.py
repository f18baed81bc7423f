"""sweep: hyperparameter search; one command runs many trainings, each in its own process, and reports the results.

`plan` parses and checks the request, `study` gets the next point from Optuna, `trial_executor` and the launchers run
trials, `process` is the entry point of one trial, `loop` monitors them, and `orchestrate` runs the whole sweep.
`record` reads and writes the files in sweeps/, the only input of the reports.
"""
