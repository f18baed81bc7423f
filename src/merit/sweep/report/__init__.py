"""The report of a sweep: one HTML page, the terminal table, and the statistics behind both."""
