//! The world of a test: a running server, and a zone with an application, resources and a policy.

use std::{
    io::Write,
    path::Path,
    sync::{Arc, Mutex},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use authority::{
    jwks::KeySet,
    mandate::{Claims, Expected, MandateUse, verify},
    time::Timestamp,
};
use serde_json::{Value, json};
use sts_server::{ServeConfig, serve};
use tempfile::TempDir;
use tokio::sync::oneshot;
use ureq::{Agent, http::Request};

pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
pub(crate) const RESOURCE_MANDATE: &str = "urn:caracal:params:oauth:token-type:resource-mandate";
const FORM: &str = "application/x-www-form-urlencoded";

/// A running server and its data directory.
pub(crate) struct World {
    pub(crate) dir: TempDir,
    pub(crate) url: String,
    pub(crate) admin_token: String,
    pub(crate) log: Log,
    configure: fn(&mut ServeConfig),
    server: Option<Server>,
    agent: Agent,
}

struct Server {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

/// What the server logged.
#[derive(Clone, Default)]
pub(crate) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: ureq::http::HeaderMap,
    pub(crate) bytes: Vec<u8>,
    pub(crate) body: Value,
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn error(&self) -> (u16, &str) {
        (self.status, self.body["error"].as_str().unwrap_or("none"))
    }

    pub(crate) fn text(&self, member: &str) -> String {
        self.body[member]
            .as_str()
            .unwrap_or_else(|| panic!("no {member} in {self:?}"))
            .to_owned()
    }

    /// This answer, which must have this status.
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(
            self.status,
            status,
            "{}",
            String::from_utf8_lossy(&self.bytes)
        );
        self
    }
}

impl World {
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(configure: fn(&mut ServeConfig)) -> Self {
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(40)))
            .build()
            .into();
        let mut world = Self {
            dir: TempDir::new().unwrap(),
            url: String::new(),
            admin_token: String::new(),
            log: Log::default(),
            configure,
            server: None,
            agent,
        };
        world.start();
        world
    }

    pub(crate) fn config(dir: &Path) -> ServeConfig {
        ServeConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            data_dir: dir.to_owned(),
            issuer: Some("http://sts.test".to_owned()),
            ..ServeConfig::default()
        }
    }

    pub(crate) fn start(&mut self) {
        let mut config = Self::config(self.dir.path());
        (self.configure)(&mut config);
        let (stop, stopped) = oneshot::channel();
        let log = self.log.clone();
        let thread = std::thread::spawn(move || {
            let writer = move || log.clone();
            let subscriber = tracing_subscriber::fmt()
                .with_max_level(tracing::Level::TRACE)
                .with_ansi(false)
                .with_writer(writer)
                .finish();
            // Of this thread alone, on which everything of this server runs.
            let _default = tracing::subscriber::set_default(subscriber);
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime
                .block_on(serve(config, async { drop(stopped.await) }))
                .unwrap();
        });
        self.server = Some(Server { stop, thread });
        let file = self.dir.path().join("url");
        let deadline = Instant::now() + Duration::from_secs(20);
        self.url = loop {
            match std::fs::read_to_string(&file) {
                Ok(url) if !url.is_empty() => break url,
                _ => assert!(
                    Instant::now() < deadline,
                    "the server did not start:\n{}",
                    self.log.text()
                ),
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        self.admin_token = std::fs::read_to_string(self.dir.path().join("admin-token")).unwrap();
    }

    /// Stops the server, and returns how long that took.
    pub(crate) fn stop(&mut self) -> Duration {
        let started = Instant::now();
        if let Some(Server { stop, thread }) = self.server.take() {
            drop(stop);
            thread.join().unwrap();
        }
        started.elapsed()
    }

    pub(crate) fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&[u8]>,
    ) -> Reply {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = match body {
            Some(body) => self.agent.run(request.body(body.to_vec()).unwrap()),
            None => self.agent.run(request.body(()).unwrap()),
        };
        let mut response = response.unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        let bytes = response.body_mut().read_to_vec().unwrap();
        Reply {
            status: response.status().as_u16(),
            headers: response.headers().clone(),
            body: serde_json::from_slice(&bytes).unwrap_or_default(),
            bytes,
        }
    }

    pub(crate) fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Reply {
        let bearer = format!("Bearer {}", self.admin_token);
        let bytes = body.map(|body| serde_json::to_vec(body).unwrap());
        let mut headers = vec![("authorization", bearer.as_str())];
        if bytes.is_some() {
            headers.push(("content-type", "application/json"));
        }
        self.send(method, path, &headers, bytes.as_deref())
    }

    pub(crate) fn get(&self, path: &str) -> Reply {
        self.admin("GET", path, None)
    }

    pub(crate) fn post(&self, path: &str, body: Value) -> Reply {
        self.admin("POST", path, Some(&body))
    }

    pub(crate) fn token_form(&self, form: &[(&str, &str)], headers: &[(&str, &str)]) -> Reply {
        let body: String = url::form_urlencoded::Serializer::new(String::new())
            .extend_pairs(form)
            .finish();
        let mut all = vec![("content-type", FORM)];
        all.extend_from_slice(headers);
        self.send("POST", "/oauth/2/token", &all, Some(body.as_bytes()))
    }

    pub(crate) fn zone(&self, slug: &str) -> Zone<'_> {
        let id = self
            .post("/v1/zones", json!({"name": slug}))
            .expect(201)
            .text("id");
        Zone {
            world: self,
            id,
            slug: slug.to_owned(),
        }
    }

    /// A zone `demo` with an agent that may read two resources, and write one of them.
    pub(crate) fn demo(&self) -> Demo<'_> {
        self.demo_in("demo")
    }

    /// The same under another name.
    pub(crate) fn demo_in(&self, slug: &str) -> Demo<'_> {
        let zone = self.zone(slug);
        let (agent, secret) = zone.application("agent");
        for identifier in ["resource://demo", "resource://other"] {
            zone.resource(identifier);
        }
        zone.activate(&zone.policy(&grants(&agent)));
        Demo {
            zone,
            agent,
            secret,
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A data document that lets `agent` read two resources and write one.
pub(crate) fn grants(agent: &str) -> String {
    format!(
        r#"# caracal:data-document
package caracal.authz
import rego.v1
app_ids := {{"agent": "{agent}"}}
grants := {{
    "resource://demo": {{"application": "agent", "applications": {{"agent": ["read", "write"]}}}},
    "resource://other": {{"applications": {{"agent": ["read"]}}}},
}}
"#
    )
}

pub(crate) struct Zone<'a> {
    pub(crate) world: &'a World,
    pub(crate) id: String,
    pub(crate) slug: String,
}

impl Zone<'_> {
    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v1/zones/{}{rest}", self.id)
    }

    /// Asks something about the zone as the administrator.
    pub(crate) fn admin(&self, method: &str, rest: &str, body: Option<&Value>) -> Reply {
        self.world.admin(method, &self.path(rest), body)
    }

    /// The application's id and secret.
    pub(crate) fn application(&self, name: &str) -> (String, String) {
        let reply = self
            .world
            .post(&self.path("/applications"), json!({"name": name}))
            .expect(201);
        (reply.text("id"), reply.text("client_secret"))
    }

    pub(crate) fn resource(&self, identifier: &str) -> String {
        let body = json!({
            "name": identifier,
            "identifier": identifier,
            "scopes": ["read", "write", "admin"],
            "operations": [{"method": "GET", "path": "/items", "scope": "read"}],
        });
        self.world
            .post(&self.path("/resources"), body)
            .expect(201)
            .text("id")
    }

    /// A policy's first version.
    pub(crate) fn policy(&self, content: &str) -> String {
        let body = json!({"name": "policy", "content": content});
        self.world
            .post(&self.path("/policies"), body)
            .expect(201)
            .text("version_id")
    }

    /// Activates a new set of this one version; the path of the set and the version's id.
    pub(crate) fn activate(&self, policy_version: &str) -> (String, String) {
        let name = format!("set {policy_version}");
        let set = self
            .world
            .post(&self.path("/policy-sets"), json!({"name": name}))
            .expect(201)
            .text("id");
        let set = self.path(&format!("/policy-sets/{set}"));
        let manifest = json!({"manifest": [{"policy_version_id": policy_version}]});
        let version = self
            .world
            .post(&format!("{set}/versions"), manifest)
            .expect(201)
            .text("version_id");
        self.world
            .post(&format!("{set}/activate"), json!({"version_id": version}))
            .expect(200);
        (set, version)
    }

    pub(crate) fn gateway(&self, name: &str) -> String {
        self.world
            .post(&self.path("/gateways"), json!({"name": name}))
            .expect(201)
            .text("token")
    }

    pub(crate) fn keys(&self) -> KeySet {
        let jwks = self
            .world
            .get(&format!("/.well-known/jwks.json?zone_id={}", self.id))
            .expect(200);
        KeySet::parse(&jwks.bytes).unwrap()
    }

    /// The claims of `token`, which must be a mandate of this zone and of this use.
    pub(crate) fn claims(&self, token: &str, mandate_use: MandateUse) -> Claims {
        let zone = self.id.as_str().into();
        let expected = Expected {
            issuer: "http://sts.test",
            zone: &zone,
            uses: &[mandate_use],
        };
        verify(token, &self.keys(), &expected, now())
            .unwrap()
            .claims()
            .clone()
    }
}

/// A time as the STS writes it: as text it does not sort, since zeros at its end are left out.
pub(crate) fn instant(text: &Value) -> time::OffsetDateTime {
    let format = &time::format_description::well_known::Rfc3339;
    time::OffsetDateTime::parse(text.as_str().unwrap(), format).unwrap()
}

pub(crate) fn now() -> Timestamp {
    Timestamp(std::time::UNIX_EPOCH.elapsed().unwrap().as_secs())
}

/// A zone in which an agent can get mandates.
pub(crate) struct Demo<'a> {
    pub(crate) zone: Zone<'a>,
    pub(crate) agent: String,
    pub(crate) secret: String,
}

impl Demo<'_> {
    /// The fields of a request for `read` on `resource://demo`.
    pub(crate) fn fields(&self) -> Vec<(&str, &str)> {
        vec![
            ("grant_type", GRANT_TYPE),
            ("zone_id", &self.zone.id),
            ("application_id", &self.agent),
            ("client_secret", &self.secret),
            ("resource", "resource://demo"),
            ("scope", "read"),
        ]
    }

    /// The same with other values for some fields; an empty value leaves the field out.
    pub(crate) fn fields_with<'a>(
        &'a self,
        changes: &[(&'a str, &'a str)],
    ) -> Vec<(&'a str, &'a str)> {
        let mut fields = self.fields();
        for (name, value) in changes {
            fields.retain(|(field, _)| field != name);
            if !value.is_empty() {
                fields.push((name, value));
            }
        }
        fields
    }

    pub(crate) fn exchange(&self, changes: &[(&str, &str)]) -> Reply {
        self.zone.world.token_form(&self.fields_with(changes), &[])
    }

    /// An exchange on a session mandate alone.
    pub(crate) fn exchange_on(&self, mandate: &str, changes: &[(&str, &str)]) -> Reply {
        let mut all = vec![
            ("application_id", ""),
            ("client_secret", ""),
            ("subject_token", mandate),
            ("subject_token_type", ACCESS_TOKEN),
        ];
        all.extend_from_slice(changes);
        self.exchange(&all)
    }

    pub(crate) fn session(&self) -> String {
        self.exchange(&[("scope", "agent:lifecycle")])
            .expect(200)
            .text("access_token")
    }
}
