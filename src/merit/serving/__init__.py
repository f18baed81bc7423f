"""serve: the Bento service over a package; it never imports torch."""
