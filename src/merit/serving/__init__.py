"""Serves a model package over HTTP, as a BentoML service or inside another ASGI app; never imports torch."""
