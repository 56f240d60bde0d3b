//! Sessions and delegations.

use std::{sync::Arc, time::Duration};

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::{Client, Error, Gateway, TokenSource};

/// How often a service says that it lives; its lease lasts several times as long.
const HEARTBEAT: Duration = Duration::from_secs(30);

/// What a child is given, or another session: a part of what the giver holds.
#[derive(Clone, Debug)]
pub struct Narrow {
    scopes: Vec<String>,
    resources: Vec<String>,
    ttl_seconds: u64,
    max_hops: u32,
    mandate_ttl_seconds: Option<u64>,
}

impl Narrow {
    /// These scopes, for ten minutes, not to be passed on.
    pub fn to<S: Into<String>>(scopes: impl IntoIterator<Item = S>) -> Self {
        Self {
            scopes: scopes.into_iter().map(Into::into).collect(),
            resources: Vec::new(),
            ttl_seconds: 600,
            max_hops: 1,
            mandate_ttl_seconds: None,
        }
    }

    /// On this resource; may be called more than once.
    #[must_use]
    pub fn on(mut self, resource: &str) -> Self {
        self.resources.push(resource.to_owned());
        self
    }

    /// For so long.
    #[must_use]
    pub fn for_seconds(mut self, seconds: u64) -> Self {
        self.ttl_seconds = seconds;
        self
    }

    /// How many delegations may follow one another, this one included.
    #[must_use]
    pub fn hops(mut self, hops: u32) -> Self {
        self.max_hops = hops;
        self
    }

    /// Longest life of a mandate under it.
    #[must_use]
    pub fn mandates_for_seconds(mut self, seconds: u64) -> Self {
        self.mandate_ttl_seconds = Some(seconds);
        self
    }
}

/// A delegation that was made.
#[derive(Clone, Debug, Deserialize)]
#[non_exhaustive]
pub struct Delegation {
    /// Its id, for whoever received it.
    pub id: String,
    /// What it passes on.
    pub scopes: Vec<String>,
    /// On what.
    pub resources: Vec<String>,
    /// Until when (RFC 3339).
    pub expires_at: String,
}

/// A session to be started.
#[derive(Debug)]
pub struct SessionBuilder {
    client: Client,
    parent: Option<Session>,
    labels: Vec<String>,
    metadata: Map<String, Value>,
    ttl_seconds: Option<u32>,
    service: bool,
    bare: bool,
    narrow: Option<Narrow>,
}

impl SessionBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            parent: None,
            labels: Vec::new(),
            metadata: Map::new(),
            ttl_seconds: None,
            service: false,
            bare: false,
            narrow: None,
        }
    }

    /// A label, such as a role in a grant; may be called more than once.
    #[must_use]
    pub fn label(mut self, label: &str) -> Self {
        self.labels.push(label.to_owned());
        self
    }

    /// A note for whoever looks at the session later.
    #[must_use]
    pub fn note(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.metadata.insert(name.to_owned(), value.into());
        self
    }

    /// How long it may live.
    #[must_use]
    pub fn for_seconds(mut self, seconds: u32) -> Self {
        self.ttl_seconds = Some(seconds);
        self
    }

    /// A service: it has a lease instead of an end, see [`Session::keep_alive`].
    #[must_use]
    pub fn service(mut self) -> Self {
        self.service = true;
        self
    }

    /// Begins with nothing, rather than with what its parent holds.
    #[must_use]
    pub fn bare(mut self) -> Self {
        self.bare = true;
        self
    }

    /// Begins with this part of what its parent holds.
    #[must_use]
    pub fn narrow(mut self, narrow: Narrow) -> Self {
        self.narrow = Some(narrow);
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// What the STS says, and [`Error::Transport`]. Where the delegation to it is refused, the session
    /// has been ended again.
    pub async fn start(self) -> Result<Session, Error> {
        #[derive(Deserialize)]
        struct Started {
            agent_session_id: String,
            delegation_edge_id: Option<String>,
            lease_generation: i64,
        }
        if self.narrow.is_some() && self.parent.is_none() {
            return Err(Error::Protocol(
                "only a child is narrowed: start it with Session::child".to_owned(),
            ));
        }
        let bare = self.bare || self.narrow.is_some();
        let body = json!({
            "application_id": self.client.inner.application_id,
            "labels": self.labels,
            "metadata": self.metadata,
            "lifecycle": if self.service { "service" } else { "task" },
            "parent_id": self.parent.as_ref().map(Session::id),
            "parent_authority": if bare { "none" } else { "inherit" },
            "ttl_seconds": self.ttl_seconds,
        });
        let key = Uuid::now_v7().to_string();
        let started: Started = self
            .client
            .call(Method::POST, &["agents"], Some(&body), Some(&key))
            .await?;
        let session = Session(Arc::new(Inner {
            client: self.client,
            id: started.agent_session_id,
            delegation: started.delegation_edge_id,
            lease_generation: self.service.then_some(started.lease_generation),
        }));
        let (Some(narrow), Some(parent)) = (self.narrow, self.parent) else {
            return Ok(session);
        };
        match parent.delegate(&session, narrow).await {
            Ok(delegation) => Ok(session.accept(&delegation.id)),
            Err(error) => {
                // It would live on with nothing to do; what went wrong is what counts.
                let _ = session.end().await;
                Err(error)
            }
        }
    }
}

/// A governed session. Cheap to clone. It is not ended when dropped: its time runs out, or somebody ends
/// it.
#[derive(Clone, Debug)]
pub struct Session(Arc<Inner>);

#[derive(Clone, Debug)]
struct Inner {
    client: Client,
    id: String,
    delegation: Option<String>,
    lease_generation: Option<i64>,
}

impl Session {
    /// Its id.
    pub fn id(&self) -> &str {
        &self.0.id
    }

    /// The delegation under which it acts.
    pub fn delegation(&self) -> Option<&str> {
        self.0.delegation.as_deref()
    }

    pub(crate) fn client(&self) -> &Client {
        &self.0.client
    }

    /// A child, which begins with what this session holds unless it is told otherwise.
    pub fn child(&self) -> SessionBuilder {
        SessionBuilder {
            parent: Some(self.clone()),
            ..SessionBuilder::new(self.0.client.clone())
        }
    }

    /// Passes a part of what this session holds on to another session of this application.
    ///
    /// # Errors
    /// What the STS says, and [`Error::Transport`].
    pub async fn delegate(&self, to: &Session, narrow: Narrow) -> Result<Delegation, Error> {
        let application = &to.0.client.inner.application_id;
        self.delegate_to(application, to.id(), narrow).await
    }

    /// The same to a session of any application of the zone. It uses the delegation with its own
    /// credentials.
    ///
    /// # Errors
    /// What the STS says, and [`Error::Transport`].
    pub async fn delegate_to(
        &self,
        application_id: &str,
        session_id: &str,
        narrow: Narrow,
    ) -> Result<Delegation, Error> {
        let body = json!({
            "issuer_application_id": self.0.client.inner.application_id,
            "source_session_id": self.id(),
            "receiver_application_id": application_id,
            "target_session_id": session_id,
            "parent_edge_id": self.delegation(),
            "scopes": narrow.scopes,
            "constraints": {
                "resources": narrow.resources,
                "max_hops": narrow.max_hops,
                "ttl_seconds": narrow.mandate_ttl_seconds,
            },
            "ttl_seconds": narrow.ttl_seconds,
        });
        let key = Uuid::now_v7().to_string();
        self.0
            .client
            .call(Method::POST, &["delegations"], Some(&body), Some(&key))
            .await
    }

    /// This session, acting under a delegation that was given to it.
    #[must_use]
    pub fn accept(&self, delegation_id: &str) -> Self {
        Self(Arc::new(Inner {
            delegation: Some(delegation_id.to_owned()),
            ..(*self.0).clone()
        }))
    }

    /// Takes a delegation back, and all that rest on it.
    ///
    /// # Errors
    /// What the STS says, and [`Error::Transport`].
    pub async fn revoke(&self, delegation_id: &str) -> Result<(), Error> {
        let segments = ["delegations", delegation_id, "revoke"];
        let _: Value = self
            .0
            .client
            .call(Method::PATCH, &segments, None, None)
            .await?;
        Ok(())
    }

    /// Mandates for scopes of a resource.
    pub fn mandates<S: Into<String>>(
        &self,
        resource: &str,
        scopes: impl IntoIterator<Item = S>,
    ) -> TokenSource {
        let scopes: Vec<String> = scopes.into_iter().map(Into::into).collect();
        TokenSource::new(self.clone(), resource, &scopes)
    }

    /// A resource behind a gateway, called with these scopes.
    pub fn gateway<S: Into<String>>(
        &self,
        gateway_url: &str,
        resource: &str,
        scopes: impl IntoIterator<Item = S>,
    ) -> Gateway {
        Gateway::new(gateway_url, Arc::new(self.mandates(resource, scopes)))
    }

    /// Says once that a service lives.
    ///
    /// # Errors
    /// What the STS says: `session_lease_fenced` if somebody else holds the lease by now.
    pub async fn heartbeat(&self) -> Result<(), Error> {
        let body = json!({"status": "healthy", "lease_generation": self.0.lease_generation});
        let segments = ["agents", self.id(), "heartbeat"];
        let _: Value = self
            .0
            .client
            .call(Method::POST, &segments, Some(&body), None)
            .await?;
        Ok(())
    }

    /// Keeps a service's lease from here on, until what this returns is dropped or the lease is lost.
    pub fn keep_alive(&self) -> KeptAlive {
        let session = self.clone();
        KeptAlive(tokio::spawn(async move {
            loop {
                tokio::time::sleep(HEARTBEAT).await;
                match session.heartbeat().await {
                    Err(error) if !error.is_passing() => return error,
                    // What passes is tried again before the lease lapses.
                    _ => {}
                }
            }
        }))
    }

    /// Ends the session, and everything below it.
    ///
    /// # Errors
    /// What the STS says, and [`Error::Transport`].
    pub async fn end(&self) -> Result<(), Error> {
        let body = self
            .0
            .lease_generation
            .map(|generation| json!({"lease_generation": generation}));
        let segments = ["agents", self.id()];
        let _: Value = self
            .0
            .client
            .call(Method::DELETE, &segments, body.as_ref(), None)
            .await?;
        Ok(())
    }
}

/// A lease that is kept for as long as this lives.
#[derive(Debug)]
pub struct KeptAlive(JoinHandle<Error>);

impl KeptAlive {
    /// Returns once the lease is lost, with why.
    pub async fn lost(mut self) -> Error {
        match (&mut self.0).await {
            Ok(error) => error,
            Err(error) => Error::Protocol(error.to_string()),
        }
    }
}

impl Drop for KeptAlive {
    fn drop(&mut self) {
        self.0.abort();
    }
}
