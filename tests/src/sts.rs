//! A real STS: the binary with a data directory of its own, which a restart keeps, and what an
//! administrator and a client ask of it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use ureq::{Agent, http};

use crate::{
    PATIENCE, eventually,
    gateway::{Gateway, GatewaySpec},
    mandates, parts,
    process::Process,
    site::Site,
    upstream::Upstream,
};

/// An STS, running or stopped.
pub struct Sts {
    dir: tempfile::TempDir,
    address: SocketAddr,
    arguments: Vec<String>,
    process: Option<Process>,
    agent: Agent,
}

/// An answer of the STS.
#[derive(Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// The body.
    pub body: Value,
}

/// An application with its secret.
#[derive(Clone, Debug)]
pub struct Application {
    /// Its id.
    pub id: String,
    /// Its secret.
    pub secret: String,
}

/// A zone and what it is asked for.
pub struct Zone<'a> {
    sts: &'a Sts,
    /// Its id.
    pub id: String,
    /// Its name in URLs.
    pub slug: String,
}

impl Sts {
    /// Starts an STS in which a new key signs after 300 s.
    pub fn start() -> Self {
        Self::with_key_publish_lead(300)
    }

    /// Starts an STS in which a new key signs after `seconds`.
    pub fn with_key_publish_lead(seconds: u64) -> Self {
        Self::with(&["--key-publish-lead-seconds", &seconds.to_string()])
    }

    /// Starts an STS with these arguments beside those that every test has.
    pub fn with(arguments: &[&str]) -> Self {
        Self::of(tempfile::tempdir().unwrap(), arguments)
    }

    /// Starts an STS whose data is in a directory below `dir`.
    pub fn start_in(dir: &Path) -> Self {
        Self::of(tempfile::tempdir_in(dir).unwrap(), &[])
    }

    fn of(dir: tempfile::TempDir, arguments: &[&str]) -> Self {
        // The port is fixed for the life of the test, because a gateway knows it from its start.
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(PATIENCE))
            .proxy(None)
            .build();
        let mut sts = Self {
            dir,
            address,
            arguments: arguments.iter().map(ToString::to_string).collect(),
            process: None,
            agent: agent.into(),
        };
        sts.resume();
        sts
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.path().join(".caracal")
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The issuer of its mandates.
    pub fn issuer(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The processor time that the process has taken.
    pub fn processor_time(&self) -> Duration {
        let process = self.process.as_ref();
        process.map_or(Duration::ZERO, Process::processor_time)
    }

    /// The memory that the process holds, in KB.
    pub fn memory_kb(&self) -> u64 {
        self.process.as_ref().map_or(0, Process::memory_kb)
    }

    /// Ends the process at once and leaves its data.
    pub fn stop(&mut self) {
        self.process = None;
    }

    /// Starts it again with the same data on the same port.
    pub fn resume(&mut self) {
        let mut command = Command::new(parts::caracal());
        command
            .args(["serve", "--listen", &self.address.to_string()])
            .args(["--issuer", &self.issuer()])
            .args(["--mints-per-minute", "1000000"])
            .args(&self.arguments);
        let mut process = Process::start(&command, self.dir.path());
        eventually("the STS is ready", || {
            process.check();
            let ready = self.agent.get(format!("{}/ready", self.issuer())).call();
            ready
                .is_ok_and(|answer| answer.status() == 200)
                .then_some(())
        });
        self.process = Some(process);
    }

    /// Asks something as the administrator.
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        let token = self.admin_token();
        let request = http::Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.issuer()))
            .header("authorization", format!("Bearer {token}"))
            .header("content-type", "application/json")
            .body(if body.is_null() {
                String::new()
            } else {
                body.to_string()
            })
            .unwrap();
        self.read(self.agent.run(request))
    }

    /// Asks for a token.
    pub fn token(&self, fields: &[(&str, &str)]) -> Answer {
        let grant = (
            "grant_type",
            "urn:ietf:params:oauth:grant-type:token-exchange",
        );
        let fields = [&[grant], fields].concat();
        let request = self.agent.post(format!("{}/oauth/2/token", self.issuer()));
        self.read(request.send_form(fields))
    }

    /// Makes a zone.
    pub fn zone(&self, slug: &str) -> Zone<'_> {
        let made = self.admin("POST", "/v1/zones", &json!({"name": slug, "slug": slug}));
        Zone {
            sts: self,
            id: made.text("id"),
            slug: slug.to_owned(),
        }
    }

    /// A zone that somebody else made.
    pub fn known_zone(&self, id: &str, slug: &str) -> Zone<'_> {
        Zone {
            sts: self,
            id: id.to_owned(),
            slug: slug.to_owned(),
        }
    }

    /// The admin token.
    pub fn admin_token(&self) -> String {
        let token = fs::read_to_string(self.dir.path().join(".caracal/admin-token")).unwrap();
        token.trim().to_owned()
    }

    fn log_end(&self) -> String {
        self.process
            .as_ref()
            .map_or_else(|| "stopped".to_owned(), Process::log_end)
    }

    fn read(&self, answer: Result<http::Response<ureq::Body>, ureq::Error>) -> Answer {
        let mut answer = answer.unwrap_or_else(|error| panic!("{error}: {}", self.log_end()));
        Answer {
            status: answer.status().as_u16(),
            body: answer.body_mut().read_json().unwrap_or(Value::Null),
        }
    }
}

impl Answer {
    /// Checks that it is a success.
    pub fn ok(self) -> Value {
        assert!((200..300).contains(&self.status), "{self:?}");
        self.body
    }

    /// A text in the body of a success.
    pub fn text(self, name: &str) -> String {
        let body = self.ok();
        let text = body[name].as_str();
        text.unwrap_or_else(|| panic!("no {name} in {body}"))
            .to_owned()
    }
}

impl Zone<'_> {
    /// Asks something about the zone as the administrator.
    pub fn admin(&self, method: &str, path: &str, body: &Value) -> Answer {
        let path = format!("/v1/zones/{}{path}", self.slug);
        self.sts.admin(method, &path, body)
    }

    /// Makes an application.
    pub fn application(&self, name: &str) -> Application {
        let made = self
            .admin("POST", "/applications", &json!({"name": name}))
            .ok();
        let text = |name: &str| made[name].as_str().unwrap().to_owned();
        Application {
            id: text("id"),
            secret: text("client_secret"),
        }
    }

    /// Makes a resource with the operations that all tests use, below `prefix`.
    pub fn resource(&self, identifier: &str, prefix: &str) {
        self.resource_with(identifier, prefix, &json!({}));
    }

    /// The same with other members.
    pub fn resource_with(&self, identifier: &str, prefix: &str, more: &Value) {
        let items = format!("{prefix}items");
        let mut resource = json!({
            "name": identifier,
            "identifier": identifier,
            "scopes": ["demo:read", "demo:write"],
            "operations": [
                {"method": "GET", "path": items, "scope": "demo:read"},
                {"method": "POST", "path": items, "scope": "demo:write"},
            ],
        });
        for (name, value) in more.as_object().unwrap() {
            resource[name] = value.clone();
        }
        self.admin("POST", "/resources", &resource).ok();
    }

    /// Stores a policy in a set of its own, and gives what activates it.
    pub fn policy(&self, name: &str, content: &str) -> PolicyVersion {
        let set = self
            .admin("POST", "/policy-sets", &json!({"name": name}))
            .text("id");
        self.policy_in(set, name, content)
    }

    /// Stores a policy as the next version of the set of `other`.
    pub fn next_policy(&self, other: &PolicyVersion, name: &str, content: &str) -> PolicyVersion {
        self.policy_in(other.set.clone(), name, content)
    }

    fn policy_in(&self, set: String, name: &str, content: &str) -> PolicyVersion {
        let policy = json!({"name": name, "content": content});
        let version = self.admin("POST", "/policies", &policy).text("version_id");
        let manifest = json!({"manifest": [{"policy_version_id": version}]});
        let path = format!("/policy-sets/{set}/versions");
        let version = self.admin("POST", &path, &manifest).text("version_id");
        PolicyVersion { set, version }
    }

    /// Puts a policy in force.
    pub fn activate(&self, policy: &PolicyVersion) {
        let path = format!("/policy-sets/{}/activate", policy.set);
        let version = json!({"version_id": policy.version});
        self.admin("POST", &path, &version).ok();
    }

    /// Puts the version in force that was before this one.
    pub fn roll_back(&self, policy: &PolicyVersion) {
        let path = format!("/policy-sets/{}/rollback", policy.set);
        self.admin("POST", &path, &json!({})).ok();
    }

    /// Lets a policy be evaluated and not enforced.
    pub fn shadow(&self, policy: &PolicyVersion) {
        let path = format!("/policy-sets/{}/shadow", policy.set);
        let version = json!({"version_id": policy.version});
        self.admin("POST", &path, &version).ok();
    }

    /// An application, the resource of all tests, and a policy that grants it both scopes.
    pub fn govern(&self) -> Application {
        self.govern_with(&json!({}))
    }

    /// The same with other members of the resource.
    pub fn govern_with(&self, resource: &Value) -> Application {
        let application = self.application("agent");
        self.resource_with(mandates::RESOURCE, "/demo/", resource);
        let scopes = ["demo:read", "demo:write"];
        let content = mandates::grants(&application.id, &[mandates::RESOURCE], &scopes);
        self.activate(&self.policy("grants", &content));
        application
    }

    /// A mandate by client secret.
    pub fn mint(&self, application: &Application, scope: &str) -> String {
        self.try_mint(application, scope, &[]).text("access_token")
    }

    /// The answer to a mint by client secret, with other fields.
    pub fn try_mint(
        &self,
        application: &Application,
        scope: &str,
        more: &[(&str, &str)],
    ) -> Answer {
        let mut fields = vec![
            ("zone_id", self.id.as_str()),
            ("application_id", &application.id),
            ("client_secret", &application.secret),
            ("resource", mandates::RESOURCE),
            ("scope", scope),
        ];
        fields.extend_from_slice(more);
        self.sts.token(&fields)
    }

    /// Asks something about sessions and delegations, as the administrator.
    pub fn governed(&self, method: &str, path: &str, body: &Value) -> Answer {
        let path = format!("/zones/{}{path}", self.slug);
        self.sts.admin(method, &path, body)
    }

    /// A session of an application in this role, below another one if there is one.
    pub fn session(&self, application: &Application, role: &str, parent: Option<&str>) -> String {
        let body = json!({
            "application_id": application.id,
            "labels": [role],
            "parent_id": parent,
            "parent_authority": "none",
        });
        self.governed("POST", "/agents", &body)
            .text("agent_session_id")
    }

    /// A delegation from one session to another.
    pub fn delegate(
        &self,
        from: (&Application, &str),
        to: (&Application, &str),
        scopes: &[&str],
    ) -> String {
        let body = json!({
            "issuer_application_id": from.0.id,
            "source_session_id": from.1,
            "receiver_application_id": to.0.id,
            "target_session_id": to.1,
            "resource_id": mandates::RESOURCE,
            "scopes": scopes,
            "constraints": {"max_hops": 3},
            "ttl_seconds": 600,
        });
        self.governed("POST", "/delegations", &body)
            .text("delegation_edge_id")
    }

    /// A gateway's token.
    pub fn gateway_token(&self) -> String {
        let made = self.admin("POST", "/gateways", &json!({"name": "edge"}));
        made.text("token")
    }

    /// The configuration of a gateway of this zone that hears of news at once, and counts as cut off
    /// after four seconds.
    pub fn plugin(&self) -> Value {
        json!({
            "zone": self.slug,
            "issuer": self.sts.issuer(),
            "sts": {
                "cluster": "caracal_sts",
                "authority": "sts.internal",
                "token_env": crate::gateway::TOKEN_VARIABLE,
                "long_poll_seconds": 1,
            },
            "max_staleness_seconds": 6,
            "resources": [{"identifier": mandates::RESOURCE, "path_prefix": "/demo/"}],
        })
    }

    /// A gateway of this zone and an upstream behind it. It may not have heard of the STS yet.
    pub fn site(&self, workers: u32) -> Site {
        let upstream = Upstream::start();
        Site {
            gateway: self.gateway(workers, upstream.address()),
            upstream,
        }
    }

    /// A gateway of this zone before an upstream.
    pub fn gateway(&self, workers: u32, upstream: SocketAddr) -> Gateway {
        self.gateway_spec(workers, upstream).start()
    }

    /// The same, not started yet.
    pub fn gateway_spec(&self, workers: u32, upstream: SocketAddr) -> GatewaySpec {
        GatewaySpec {
            workers,
            sts: Some(self.sts.address()),
            token: Some(self.gateway_token()),
            ..GatewaySpec::new(self.plugin(), upstream)
        }
    }

    /// All events of the zone that a query finds, oldest first.
    pub fn audit(&self, query: &str) -> Vec<Value> {
        let mut found = Vec::new();
        let mut cursor = String::new();
        loop {
            let path = format!("/audit?limit=1000&{query}{cursor}");
            let page = self.admin("GET", &path, &Value::Null).ok();
            found.extend(page["items"].as_array().unwrap().iter().cloned());
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => break,
            }
        }
        found.sort_by_key(|event| event["seq"].as_u64());
        found
    }
}

/// A version of a policy set.
pub struct PolicyVersion {
    set: String,
    version: String,
}
