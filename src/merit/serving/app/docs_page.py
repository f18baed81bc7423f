"""Restricts BentoML's documentation page at `/` to resources of its own origin.

The original page loads Google's tag manager and images from the Internet. Its content, `/docs.json`, is served by the
handler.
"""

from merit.serving.app.asgi import App, Message, Receive, Send

PAGE_PATH = "/"
CONTENT_SECURITY_POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def restrict_page(app: App) -> App:
    """Return BentoML's app with a content security policy on its page."""

    async def respond(scope: Message, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", CONTENT_SECURITY_POLICY)]
            await send(message)

        await app(scope, receive, with_policy if scope.get("path") == PAGE_PATH else send)

    return respond
