"""BentoML's page of documentation at `/`, kept from loading anything from elsewhere.

As it comes it loads Google's tag manager and pictures from the Internet. What it shows, `/docs.json`, the handler
answers.
"""

from merit.serving.app.asgi import App, Message, Receive, Send

PAGE = "/"
POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self'; "
    b"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def closed(app: App) -> App:
    """Return BentoML's app with a policy for browsers on its page."""

    async def answer(scope: Message, receive: Receive, send: Send) -> None:
        async def with_policy(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"content-security-policy", POLICY)]
            await send(message)

        await app(scope, receive, with_policy if scope.get("path") == PAGE else send)

    return answer
