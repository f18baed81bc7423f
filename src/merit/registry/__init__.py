"""register: the gated package as a version."""
