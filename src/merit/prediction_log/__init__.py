"""The prediction log's parts: what waits, what it becomes, and the files it goes to."""
