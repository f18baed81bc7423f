"""The samplers of a sweep: each is a file that sets NAME and has `create_sampler(seed)`; `registry` finds it by name.

A file says by a constant what the sampler can't do, or that it tries all: SEVERAL_OBJECTIVES, CHOICES, EXHAUSTIVE.
"""
