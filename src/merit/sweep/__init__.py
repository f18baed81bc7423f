"""sweep: many trainings from one command, each a process of its own, and what came of them.

`plan` reads what is asked for, `study` asks Optuna what to try, `crew` and the launchers run trials, `process` is one
trial, `loop` follows them, and `drive` is all of it; `record` is what a sweep leaves in sweeps/, and all that its
reports read.
"""
