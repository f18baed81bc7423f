"""gitops: what workflows do to the repository, through GitHub's API: lock a branch, propose what a sweep found."""
