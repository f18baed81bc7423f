"""Authentication of requests: API keys, JSON Web Tokens, a proxy."""
