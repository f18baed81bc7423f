"""What runs an environment: each target says what runs, and makes it what is declared."""
