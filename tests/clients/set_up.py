"""Sets up a zone with caracalai-admin's reconcilers, and prints what agents need to know of it.

A second run finds everything as it should be and changes nothing but the secrets, which it seals anew.
"""

import json
import os
import sys

from caracalai_admin import AdminClient
from caracalai_admin.ensure import (
    ResourceGrant,
    ensure_application,
    ensure_grants,
    ensure_resource,
)

RESOURCE = "resource://demo"
OTHER = "resource://other"


def main() -> None:
    url = os.environ["CARACAL_URL"]
    client = AdminClient(
        api_url=url, admin_token=os.environ["CARACAL_ADMIN_TOKEN"], coordinator_url=url
    )
    zones = [zone for zone in client.zones.list() if zone["slug"] == "clients"]
    zone = zones[0] if zones else client.zones.create({"name": "clients"})
    secrets = {name: f"{name}-secret-of-at-least-32-characters" for name in ("agent", "peer")}
    ids = {
        name: ensure_application(
            client, zone["id"], name=name, traits=["test"], client_secret=secret
        )
        for name, secret in secrets.items()
    }
    more = json.loads(sys.argv[1]) if len(sys.argv) > 1 else {}
    resource = ensure_resource(
        client,
        zone["id"],
        name="demo",
        identifier=RESOURCE,
        scopes=["demo:read", "demo:write"],
        operations=[
            {"method": "GET", "path": "/demo/items", "scope": "demo:read"},
            {"method": "POST", "path": "/demo/items", "scope": "demo:write"},
        ],
        operation_enforcement="enforced",
    )
    if more:
        client.resources.patch(zone["id"], resource["id"], more)
    ensure_resource(
        client,
        zone["id"],
        name="other",
        identifier=OTHER,
        scopes=["other:read"],
        operation_enforcement="transport_uniform",
    )
    both = ["demo:read", "demo:write"]
    ensure_grants(
        client,
        zone["id"],
        grants=[
            ResourceGrant(ids["agent"], RESOURCE, both),
            ResourceGrant(ids["agent"], RESOURCE, both, role="lead"),
            ResourceGrant(ids["agent"], RESOURCE, ["demo:read"], role="reader"),
            ResourceGrant(ids["peer"], OTHER, ["other:read"]),
        ],
    )
    active = [each["active_version_id"] for each in client.policy_sets.list(zone["id"])]
    print(
        json.dumps(
            {
                "zone": zone["id"],
                "slug": zone["slug"],
                "active": active,
                "applications": ids,
                "secrets": secrets,
            }
        )
    )


main()
