//! Mandates, kept until they are about to end. Whoever asks meanwhile waits for the one exchange that is
//! under way.

use std::{
    fmt,
    time::{Duration, Instant},
};

use serde::Deserialize;
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use crate::{Error, Session};

pub(crate) const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
pub(crate) const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";
/// A mandate is replaced so long before its end, or at half of its life if that is shorter.
const REFRESH: Duration = Duration::from_secs(60);

/// A mandate. Its text shows in no `Debug`.
#[derive(Clone)]
pub struct Mandate {
    token: Zeroizing<String>,
    /// When it is to be replaced.
    fresh_until: Instant,
    scopes: Vec<String>,
}

impl Mandate {
    /// The text, for `Authorization: Bearer`.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// The scopes that were granted.
    pub fn scopes(&self) -> &[String] {
        &self.scopes
    }
}

impl fmt::Debug for Mandate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mandate")
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}

/// The answer of the token endpoint.
#[derive(Deserialize)]
pub(crate) struct Granted {
    access_token: Zeroizing<String>,
    expires_in: u64,
    #[serde(default)]
    scope: String,
}

impl Granted {
    pub(crate) fn into_mandate(self) -> Mandate {
        let life = Duration::from_secs(self.expires_in);
        Mandate {
            token: self.access_token,
            fresh_until: Instant::now() + (life - REFRESH.min(life / 2)),
            scopes: self.scope.split_whitespace().map(str::to_owned).collect(),
        }
    }
}

/// One mandate that is kept.
#[derive(Default)]
pub(crate) struct Cached(Mutex<Option<Mandate>>);

impl Cached {
    pub(crate) async fn get<F>(&self, ask: impl FnOnce() -> F) -> Result<Mandate, Error>
    where
        F: Future<Output = Result<Mandate, Error>>,
    {
        let mut kept = self.0.lock().await;
        if let Some(mandate) = &*kept
            && Instant::now() < mandate.fresh_until
        {
            return Ok(mandate.clone());
        }
        let mandate = ask().await?;
        *kept = Some(mandate.clone());
        Ok(mandate)
    }

    /// Does not give `mandate` out any more.
    pub(crate) async fn forget(&self, mandate: &Mandate) {
        let mut kept = self.0.lock().await;
        if kept
            .as_ref()
            .is_some_and(|kept| kept.token() == mandate.token())
        {
            *kept = None;
        }
    }
}

/// Mandates for certain scopes of a resource, in a session.
pub struct TokenSource {
    session: Session,
    resource: String,
    scopes: String,
    cached: Cached,
}

impl TokenSource {
    pub(crate) fn new(session: Session, resource: &str, scopes: &[String]) -> Self {
        Self {
            session,
            resource: resource.to_owned(),
            scopes: scopes.join(" "),
            cached: Cached::default(),
        }
    }

    /// The resource that the mandates are for.
    pub fn resource(&self) -> &str {
        &self.resource
    }

    /// A mandate that is in date.
    ///
    /// # Errors
    /// What the STS says to the exchange, and [`Error::Transport`].
    pub async fn token(&self) -> Result<Mandate, Error> {
        self.cached.get(|| self.mint()).await
    }

    /// Does not give `mandate` out any more: somebody refused it.
    pub async fn forget(&self, mandate: &Mandate) {
        self.cached.forget(mandate).await;
    }

    async fn mint(&self) -> Result<Mandate, Error> {
        let mut fields = vec![
            ("resource", self.resource.as_str()),
            ("scope", self.scopes.as_str()),
            ("agent_session_id", self.session.id()),
        ];
        if let Some(delegation) = self.session.delegation() {
            fields.push(("delegation_edge_id", delegation));
        }
        self.session.client().exchange(&fields).await
    }
}

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSource")
            .field("session", &self.session.id())
            .field("resource", &self.resource)
            .field("scopes", &self.scopes)
            .finish_non_exhaustive()
    }
}
