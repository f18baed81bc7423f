"""Targets of deployments: each file that sets NAME is a platform that runs an environment."""
