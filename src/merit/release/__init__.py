"""release: a version as an image, in a registry and in Git, with what it is made of."""
