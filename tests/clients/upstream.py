"""An upstream that trusts nobody in front of it: caracalai-asgi before a small ASGI application."""

import json
import os

import uvicorn
from caracalai_asgi import CaracalASGIAuth
from caracalai_revocation import InMemoryRevocationStore


async def application(scope, receive, send) -> None:
    if scope["type"] == "lifespan":
        return
    mandate = scope["state"]["caracal"]
    body = json.dumps(
        {
            "client": mandate.client_id,
            "session": mandate.session_id,
            "use": mandate.use,
        }
    ).encode()
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


app = CaracalASGIAuth(
    application,
    audience="resource://demo",
    revocations=InMemoryRevocationStore(),
    required_scopes=["demo:read"],
    require_delegation=True,
)

uvicorn.run(app, host="127.0.0.1", port=int(os.environ["PORT"]), lifespan="off")
