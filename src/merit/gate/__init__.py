"""Gate: compares the candidate with the champion, runs the checks and writes the report; only a pass may merge."""
