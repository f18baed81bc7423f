"""The server processes: connections, workers and their supervisor."""
