//! The demo zone: made through the admin API where it is missing, found again after a restart. Its
//! two secrets lie in the state directory, readable for the owner only, and are renewed if lost.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use serde_json::{Value, json};

use super::http::{Answer, Sts};
use crate::console::{self, Failure, OrFail, Result};

pub(super) const ZONE: &str = "demo";
pub(super) const RESOURCE: &str = "resource://demo";
pub(super) const READ_SCOPE: &str = "demo:read";
pub(super) const WRITE_SCOPE: &str = "demo:write";
pub(super) const READ_PATH: &str = "/demo/items";
pub(super) const SECRET_FILE: &str = "demo-client-secret";
const TOKEN_FILE: &str = "demo-gateway-token";
const APPLICATION: &str = "demo-agent";
const GATEWAY: &str = "demo-gateway";
const POLICY: &str = "demo-grants";
const POLICY_SET: &str = "demo";

/// What the walk needs to know of the demo zone.
pub(super) struct Demo {
    application_id: String,
    client_secret: String,
    gateway_token: String,
    policy_set_id: String,
    granted: String,
    withdrawn: String,
}

impl Demo {
    /// Makes what is missing, and puts the policy in force that grants.
    pub(super) fn ensure(sts: &Sts, state: &Path) -> Result<Self> {
        if sts.get("/v1/zones/demo")?.is_none() {
            console::line("  making the demo zone");
            sts.send("POST", "/v1/zones", &json!({"name": "Demo", "slug": ZONE}))?;
        }
        let (application_id, client_secret) = application(sts, state)?;
        resource(sts)?;
        let gateway_token = gateway(sts, state)?;
        let policy_set_id = match find(sts, "/v1/zones/demo/policy-sets", "name", POLICY_SET)? {
            Some(set) => text(&set, "id")?,
            None => text(
                &sts.send(
                    "POST",
                    "/v1/zones/demo/policy-sets",
                    &json!({"name": POLICY_SET}),
                )?,
                "id",
            )?,
        };
        let granted = set_version(sts, &policy_set_id, &grants(&application_id, true))?;
        let withdrawn = set_version(sts, &policy_set_id, &grants(&application_id, false))?;
        let demo = Self {
            application_id,
            client_secret,
            gateway_token,
            policy_set_id,
            granted,
            withdrawn,
        };
        demo.grant(sts)?;
        Ok(demo)
    }

    pub(super) fn application_id(&self) -> &str {
        &self.application_id
    }

    pub(super) fn application_name(&self) -> &'static str {
        APPLICATION
    }

    pub(super) fn gateway_token(&self) -> &str {
        &self.gateway_token
    }

    /// Puts the policy in force that lets the agent read.
    pub(super) fn grant(&self, sts: &Sts) -> Result<()> {
        self.activate(sts, &self.granted)
    }

    /// Puts the policy in force that grants the agent nothing.
    pub(super) fn withdraw(&self, sts: &Sts) -> Result<()> {
        self.activate(sts, &self.withdrawn)
    }

    fn activate(&self, sts: &Sts, version: &str) -> Result<()> {
        let path = format!("/v1/zones/demo/policy-sets/{}/activate", self.policy_set_id);
        sts.send("POST", &path, &json!({"version_id": version}))
            .map(|_| ())
    }

    /// Asks for a mandate for the demo resource.
    pub(super) fn exchange(&self, sts: &Sts, scope: &str) -> Result<Answer> {
        exchange(sts, &self.application_id, &self.client_secret, scope, &[])
    }

    /// Starts a session of the agent and a child of it, and delegates reading to the child.
    pub(super) fn delegate(&self, sts: &Sts) -> Result<Child> {
        let start = |label: &str, parent: Option<&str>| {
            let body = json!({
                "application_id": self.application_id,
                "labels": [label],
                "parent_id": parent,
                "parent_authority": "none",
                "ttl_seconds": 600,
            });
            text(&sts.send("POST", "/zones/demo/agents", &body)?, "id")
        };
        let lead = start("lead", None)?;
        let session = start("reader", Some(&lead))?;
        let body = json!({
            "issuer_application_id": self.application_id,
            "source_session_id": lead,
            "receiver_application_id": self.application_id,
            "target_session_id": session,
            "resource_id": RESOURCE,
            "scopes": [READ_SCOPE],
            "ttl_seconds": 300,
        });
        let delegation = text(&sts.send("POST", "/zones/demo/delegations", &body)?, "id")?;
        Ok(Child {
            lead,
            session,
            delegation,
        })
    }

    /// Asks for a mandate for the demo resource, as the child.
    pub(super) fn exchange_as(&self, sts: &Sts, child: &Child, scope: &str) -> Result<Answer> {
        let more = [
            ("agent_session_id", child.session.as_str()),
            ("delegation_edge_id", &child.delegation),
        ];
        exchange(sts, &self.application_id, &self.client_secret, scope, &more)
    }
}

/// A session that acts by what was delegated to it.
pub(super) struct Child {
    lead: String,
    session: String,
    delegation: String,
}

impl Child {
    /// Takes back what was delegated to it.
    pub(super) fn revoke(&self, sts: &Sts) -> Result<()> {
        let path = format!("/zones/demo/delegations/{}/revoke", self.delegation);
        sts.send("PATCH", &path, &json!({})).map(|_| ())
    }

    /// Ends its parent, and it with that.
    pub(super) fn end(&self, sts: &Sts) -> Result<()> {
        sts.delete(&format!("/zones/demo/agents/{}", self.lead))
    }
}

fn exchange(
    sts: &Sts,
    application_id: &str,
    client_secret: &str,
    scope: &str,
    more: &[(&str, &str)],
) -> Result<Answer> {
    let own = [
        (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        ),
        ("zone_id", ZONE),
        ("application_id", application_id),
        ("client_secret", client_secret),
        ("resource", RESOURCE),
        ("scope", scope),
    ];
    sts.exchange(&[&own[..], more].concat())
}

fn application(sts: &Sts, state: &Path) -> Result<(String, String)> {
    let file = state.join(SECRET_FILE);
    let Some(known) = find(sts, "/v1/zones/demo/applications", "name", APPLICATION)? else {
        let made = sts.send(
            "POST",
            "/v1/zones/demo/applications",
            &json!({"name": APPLICATION}),
        )?;
        let secret = text(&made, "client_secret")?;
        keep(&file, &secret)?;
        return Ok((text(&made, "id")?, secret));
    };
    let id = text(&known, "id")?;
    if let Some(secret) = kept(&file) {
        // What the policy says does not matter here: 401 is the one answer to a wrong secret.
        if exchange(sts, &id, &secret, READ_SCOPE, &[])?.status != 401 {
            return Ok((id, secret));
        }
    }
    console::line("  the demo agent's secret is lost: rotating it");
    let rotated = sts.send(
        "POST",
        &format!("/v1/zones/demo/applications/{id}/rotate-secret"),
        &json!({}),
    )?;
    let secret = text(&rotated, "client_secret")?;
    keep(&file, &secret)?;
    Ok((id, secret))
}

fn resource(sts: &Sts) -> Result<()> {
    let wanted = json!({
        "scopes": [READ_SCOPE, WRITE_SCOPE],
        "operations": [
            {"method": "GET", "path": READ_PATH, "scope": READ_SCOPE},
            {"method": "GET", "path": "/demo/items/{id}", "scope": READ_SCOPE},
            {"method": "POST", "path": READ_PATH, "scope": WRITE_SCOPE},
        ],
    });
    match find(sts, "/v1/zones/demo/resources", "identifier", RESOURCE)? {
        None => {
            let mut new = json!({"name": "Demo", "identifier": RESOURCE});
            if let (Some(new), Some(wanted)) = (new.as_object_mut(), wanted.as_object()) {
                new.extend(wanted.clone());
            }
            sts.send("POST", "/v1/zones/demo/resources", &new)?;
        }
        Some(known) if known.get("operations") != wanted.get("operations") => {
            sts.send(
                "PATCH",
                &format!("/v1/zones/demo/resources/{}", text(&known, "id")?),
                &wanted,
            )?;
        }
        Some(_) => {}
    }
    Ok(())
}

fn gateway(sts: &Sts, state: &Path) -> Result<String> {
    let file = state.join(TOKEN_FILE);
    if let Some(token) = kept(&file)
        && sts
            .get_as_gateway("/v1/zones/demo/gateway/bundle", &token)?
            .status
            == 200
    {
        return Ok(token);
    }
    if let Some(known) = find(sts, "/v1/zones/demo/gateways", "name", GATEWAY)? {
        console::line("  the demo gateway's token is lost: making a new one");
        sts.delete(&format!("/v1/zones/demo/gateways/{}", text(&known, "id")?))?;
    }
    let token = text(
        &sts.send("POST", "/v1/zones/demo/gateways", &json!({"name": GATEWAY}))?,
        "token",
    )?;
    keep(&file, &token)?;
    Ok(token)
}

/// The version of the policy set that holds exactly this policy.
fn set_version(sts: &Sts, policy_set_id: &str, content: &str) -> Result<String> {
    let policy_version = policy_version(sts, content)?;
    let path = format!("/v1/zones/demo/policy-sets/{policy_set_id}/versions");
    let manifest = json!([{"policy_version_id": policy_version}]);
    match find_value(sts, &path, "manifest", &manifest)? {
        Some(version) => text(&version, "version_id"),
        None => text(
            &sts.send("POST", &path, &json!({"manifest": manifest}))?,
            "version_id",
        ),
    }
}

fn policy_version(sts: &Sts, content: &str) -> Result<String> {
    let Some(policy) = find(sts, "/v1/zones/demo/policies", "name", POLICY)? else {
        let made = sts.send(
            "POST",
            "/v1/zones/demo/policies",
            &json!({"name": POLICY, "content": content}),
        )?;
        return text(&made, "version_id");
    };
    let path = format!("/v1/zones/demo/policies/{}/versions", text(&policy, "id")?);
    match find(sts, &path, "content", content)? {
        Some(version) => text(&version, "id"),
        None => text(
            &sts.send("POST", &path, &json!({"content": content}))?,
            "id",
        ),
    }
}

/// A data document: the agent owns the demo resource, may itself read, and its sessions by their roles;
/// or nothing of that.
fn grants(application_id: &str, granted: bool) -> String {
    let (scopes, roles) = if granted {
        let roles = json!({"lead": [READ_SCOPE, WRITE_SCOPE], "reader": [READ_SCOPE]});
        (json!([READ_SCOPE]), roles)
    } else {
        (json!([]), json!({}))
    };
    format!(
        "# caracal:data-document
package caracal.authz

import rego.v1

app_ids := {}

grants := {}
",
        json!({"agent": application_id}),
        json!({RESOURCE: {"application": "agent", "applications": {"agent": scopes}, "roles": roles}}),
    )
}

fn find(sts: &Sts, path: &str, member: &str, value: &str) -> Result<Option<Value>> {
    find_value(sts, path, member, &Value::from(value))
}

fn find_value(sts: &Sts, path: &str, member: &str, value: &Value) -> Result<Option<Value>> {
    Ok(sts
        .list(path)?
        .into_iter()
        .find(|item| item.get(member) == Some(value)))
}

fn text(object: &Value, member: &str) -> Result<String> {
    object
        .get(member)
        .and_then(Value::as_str)
        .map(str::to_owned)
        .ok_or_else(|| {
            Failure::new(
                format!("the STS answered without `{member}`"),
                "build both from the same checkout: `cargo xtask build`",
            )
        })
}

fn kept(file: &Path) -> Option<String> {
    fs::read_to_string(file)
        .ok()
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
}

/// Writes a secret that its owner alone can read, whole or not at all.
fn keep(file: &Path, secret: &str) -> Result<()> {
    let doing = || format!("cannot write {}", file.display());
    let draft = file.with_extension("new");
    let _ = fs::remove_file(&draft);
    let mut output = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&draft)
        .or_fail(doing)?;
    writeln!(output, "{secret}").or_fail(doing)?;
    fs::rename(&draft, file).or_fail(doing)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_secret_is_kept_for_its_owner_only() {
        let file = std::env::temp_dir().join(format!("xtask-secret-{}", std::process::id()));
        keep(&file, "one").unwrap();
        keep(&file, "two").unwrap();
        assert_eq!(kept(&file).unwrap(), "two");
        assert_eq!(
            fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600
        );
        fs::remove_file(&file).unwrap();
        assert_eq!(kept(&file), None);
    }

    #[test]
    fn the_grants_name_the_application_and_its_scopes() {
        let policy = grants("a-1", true);
        assert!(policy.contains(r#"app_ids := {"agent":"a-1"}"#), "{policy}");
        assert!(
            policy.contains(r#""applications":{"agent":["demo:read"]}"#),
            "{policy}"
        );
    }
}
