"""The ASGI application: requests in, predictions out."""
