//! On whose behalf something is being done, and in which request: what evidence says of it, wherever it
//! is written down. Outside of a request it is the STS itself.

use std::{
    future::Future,
    sync::{Arc, OnceLock},
};

use authority::audit::Actor;

use crate::entropy;

tokio::task_local! {
    static PRESENT: Provenance;
}

/// Where what is done comes from.
#[derive(Clone, Debug)]
pub(crate) struct Provenance {
    request_id: String,
    traceparent: Option<String>,
    actor: Arc<OnceLock<Actor>>,
}

impl Provenance {
    /// A request of somebody who is not known yet.
    pub(crate) fn of_request(request_id: String, traceparent: Option<String>) -> Self {
        Self {
            request_id,
            traceparent,
            actor: Arc::default(),
        }
    }

    /// Does `work` on behalf of this.
    pub(crate) async fn of<F: Future>(self, work: F) -> F::Output {
        PRESENT.scope(self, work).await
    }

    /// Of what is being done now.
    pub(crate) fn present() -> Self {
        PRESENT.try_with(Clone::clone).unwrap_or_else(|_| {
            let itself = Self::of_request(entropy::id(), None);
            let _ = itself.actor.set(Actor::Sts);
            itself
        })
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(crate) fn traceparent(&self) -> Option<&str> {
        self.traceparent.as_deref()
    }

    /// Who it was proven to be.
    pub(crate) fn actor(&self) -> Option<&Actor> {
        self.actor.get()
    }
}

/// It is proven who makes the request. The first proof counts.
pub(crate) fn proven(actor: Actor) {
    let _ = PRESENT.try_with(|present| present.actor.set(actor));
}
