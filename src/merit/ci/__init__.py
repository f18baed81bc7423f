"""Deploys environments as Git declares them, and runs the steps of the GitHub workflows.

Deployment: plan, apply, promote and status compare each file in conf/environment with the target that runs it.
Workflow steps: lock a branch, open a pull request with a sweep's best trial, promote a release.
"""
