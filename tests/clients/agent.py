"""Agents on the published caracalai-sdk, one flow for each name on the command line.

Each flow asserts what it sees; the end-to-end tests look at what reached the upstream.
"""

import asyncio
import base64
import contextvars
import json
import os
import sys

import httpx
from caracalai import Authority, Caracal, CaracalError, CoordinatorError
from caracalai.advanced import DelegationConstraints
from caracalai_identity import JwtConfig, TokenInvalidError, verify_config
from caracalai_revocation import InMemoryRevocationStore
from caracalai_verify import AuthOptions, MandateVerifier

RESOURCE = "resource://demo"
OTHER = "resource://other"
STS = os.environ["CARACAL_STS_URL"]
GATEWAY = os.environ["CARACAL_GATEWAY_URL"]
SITE = json.loads(os.environ["CARACAL_SITE"])


def client(name: str = "agent", resources: list[str] | None = None) -> Caracal:
    return Caracal.from_client_secret(
        coordinator_url=STS,
        sts_url=STS,
        zone_id=SITE["zone"],
        application_id=SITE["applications"][name],
        client_secret=SITE["secrets"][name],
        resources=resources or [RESOURCE],
        gateway_url=GATEWAY,
    )


def claims_of(token: str) -> dict:
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


async def call(caracal: Caracal, method: str, scopes: list[str]) -> int:
    answer = await caracal.fetch(RESOURCE, "/demo/items", method=method, scopes=scopes)
    return answer.status_code


async def refused(caracal: Caracal, scopes: list[str]) -> str:
    """The code of the refusal to mint."""
    try:
        caracal.mint_mandate(RESOURCE, scopes)
    except CaracalError as error:
        return error.code
    raise AssertionError(f"{scopes} were granted")


async def application_transport() -> None:
    caracal = client()
    url = f"{GATEWAY}/demo/items"
    async with caracal.application_transport(RESOURCE, scopes=["demo:read"]) as http:
        for _ in range(3):
            answer = await http.get(url)
            assert (answer.status_code, answer.text) == (200, "upstream"), answer.text
        answer = await http.post(url)
        assert answer.status_code == 403, answer.text
        assert answer.json()["reason"] == "scope_missing", answer.text
    await caracal.aclose()


async def nested_sessions() -> None:
    caracal = client()
    both = ["demo:read", "demo:write"]
    async with caracal.session(labels=["lead"], task="lead") as root:
        assert root.delegation_id is None
        wide = Authority.narrow(
            both,
            ttl_seconds=600,
            resource_id=RESOURCE,
            constraints=DelegationConstraints(max_hops=2),
        )
        async with caracal.session(labels=["lead"], authority=wide) as lead:
            assert lead.delegation_id
            assert await call(caracal, "POST", both) == 200
            # By default a child goes on with what its parent has.
            async with caracal.session(labels=["reader"]) as heir:
                assert heir.delegation_id not in (None, lead.delegation_id)
                assert await call(caracal, "GET", ["demo:read"]) == 200
                assert await refused(caracal, ["demo:write"]) == "access_denied"
            narrow = Authority.narrow("demo:read", ttl_seconds=300, resource_id=RESOURCE)
            async with caracal.session(labels=["lead"], authority=narrow) as reader:
                assert await call(caracal, "GET", ["demo:read"]) == 200
                assert await call(caracal, "POST", ["demo:read"]) == 403
                assert await refused(caracal, ["demo:write"]) == "access_denied"
                claims = claims_of(caracal.mint_mandate(RESOURCE, ["demo:read"]).token)
                path = [lead.delegation_id, reader.delegation_id]
                assert claims["delegation_path"] == path, claims
                sessions = [each.session_id for each in (root, lead, reader)]
                assert claims["session_path"] == sessions, claims
                # It was given one hop, and has used it.
                try:
                    async with caracal.session(authority=narrow):
                        raise AssertionError("it was passed on further than it may be")
                except CoordinatorError as error:
                    assert error.code == "delegation_exceeds_parent_authority", error
            wider = Authority.narrow(["demo:admin"], ttl_seconds=60, resource_id=RESOURCE)
            try:
                async with caracal.session(authority=wider):
                    raise AssertionError("a child got more than its parent")
            except CoordinatorError as error:
                assert error.code == "delegation_exceeds_parent_authority", error
        async with caracal.session(labels=["lead"], authority=Authority.none()) as bare:
            assert bare.delegation_id is None
    await caracal.aclose()


async def delegation() -> None:
    owner, peer = client(), client("peer", [OTHER])
    async with peer.session(labels=["reader"]) as theirs:
        # Each in a context of its own, as in two processes.
        handed = asyncio.get_running_loop().create_future()
        done = asyncio.Event()

        async def give() -> None:
            async with owner.session(labels=["lead"]):
                given = await owner.delegate(
                    to_session_id=theirs.session_id,
                    to_application_id=theirs.application_id,
                    scopes=["demo:read"],
                    ttl_seconds=300,
                    resource_id=RESOURCE,
                )
                handed.set_result(given.delegation_id)
                await done.wait()
                await owner.revoke_delegation(given.delegation_id)

        task = asyncio.get_running_loop().create_task(give(), context=contextvars.Context())
        edge = await handed
        async with peer.accept_delegation(edge, validate=True):
            assert await call(peer, "GET", ["demo:read"]) == 200
            assert await call(peer, "POST", ["demo:read"]) == 403
            claims = claims_of(peer.mint_mandate(RESOURCE, ["demo:read"]).token)
            assert claims["client_id"] == SITE["applications"]["peer"], claims
            assert claims["act"]["sub"] == SITE["applications"]["peer"], claims
            assert claims["sub"] == SITE["applications"]["agent"], claims
        done.set()
        await task
        try:
            async with peer.accept_delegation(edge, validate=True):
                raise AssertionError("a revoked delegation was accepted")
        except RuntimeError as error:
            assert "is not live" in str(error), error
        async with peer.accept_delegation(edge):
            assert await refused(peer, ["demo:read"]) == "access_denied"
    await owner.aclose()
    await peer.aclose()


async def service() -> None:
    caracal = client()
    lost = []
    first = await caracal.start_session(
        labels=["lead"], heartbeat_interval=0, on_lease_lost=lost.append
    )
    await first.heartbeat()
    session = first.context.session_id
    second = await caracal.attach_session(session, heartbeat_interval=0)
    assert second.lease_generation == first.lease_generation + 1
    try:
        await first.heartbeat()
        raise AssertionError("two hold one lease")
    except CoordinatorError as error:
        assert (error.status, error.code) == (409, "session_lease_fenced"), error
    await second.heartbeat()
    # Whoever was fenced off ends nothing.
    await first.aclose()
    await second.heartbeat()
    await second.aclose()
    try:
        await caracal.attach_session(session)
        raise AssertionError("a session that ended was attached to")
    except CoordinatorError as error:
        assert error.code == "session_not_live", error
    await caracal.aclose()


async def verification() -> None:
    caracal = client()
    zone, agent = SITE["zone"], SITE["applications"]["agent"]

    async def read(token: str, audience: str):
        config = JwtConfig(issuer=STS, audience=audience, expected_zone_id=zone)
        return await verify_config(token, config)

    session = caracal.mint_mandate(RESOURCE, ["agent:lifecycle"]).token
    claims = await read(session, STS)
    assert (claims.client_id, claims.use) == (agent, "session"), claims
    narrow = Authority.narrow("demo:read", ttl_seconds=300, resource_id=RESOURCE)
    async with caracal.session(labels=["lead"]):
        async with caracal.session(labels=["reader"], authority=narrow) as reader:
            gateway = caracal.mint_mandate(RESOURCE, ["demo:read"], ttl_seconds=120)
            assert claims_of(gateway.token)["use"] == "gateway"
            try:
                await read(gateway.token, STS)
                raise AssertionError("a gateway's mandate was verified as an upstream's")
            except TokenInvalidError:
                pass
            form = {
                "grant_type": "urn:ietf:params:oauth:grant-type:token-exchange",
                "zone_id": zone,
                "application_id": agent,
                "client_secret": SITE["secrets"]["agent"],
                "resource": RESOURCE,
                "scope": "demo:read",
                "agent_session_id": reader.session_id,
                "delegation_edge_id": reader.delegation_id,
                "requested_token_type": "urn:caracal:params:oauth:token-type:resource-mandate",
            }
            minted = httpx.post(f"{STS}/oauth/2/token", data=form).json()["access_token"]
            claims = await read(minted, RESOURCE)
            assert (claims.use, claims.hop_count) == ("resource", 1), claims
            verifier = MandateVerifier(
                AuthOptions(
                    issuer=STS,
                    audience=RESOURCE,
                    revocations=InMemoryRevocationStore(),
                    expected_zone_id=zone,
                    required_scopes=["demo:read"],
                    required_targets=[RESOURCE],
                    require_session=True,
                    require_delegation=True,
                    require_chain_contains=[agent],
                    max_hop_count=1,
                )
            )
            result = await verifier.authenticate(minted)
            assert result.ok, result.error
            assert result.principal.session_id == reader.session_id
            strict = verifier.require(required_scopes=["demo:write"])
            result = await strict.authenticate(minted)
            assert result.error.code == "insufficient_scope", result
            result = await verifier.authenticate(gateway.token)
            assert result.error.code == "invalid_token", result
    await caracal.aclose()


async def behind_asgi() -> None:
    caracal = client()
    narrow = Authority.narrow("demo:read", ttl_seconds=300, resource_id=RESOURCE)
    async with caracal.session(labels=["lead"]):
        async with caracal.session(labels=["reader"], authority=narrow) as reader:
            answer = await caracal.fetch(RESOURCE, "/demo/items", scopes=["demo:read"])
            assert answer.status_code == 200, answer.text
            seen = answer.json()
            assert seen["session"] == reader.session_id, seen
            assert seen["client"] == SITE["applications"]["agent"], seen
            assert seen["use"] == "resource", seen
    await caracal.aclose()


asyncio.run(globals()[sys.argv[1]]())
print("ok")
