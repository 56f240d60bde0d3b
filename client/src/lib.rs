//! Caracal for applications: starts governed sessions, passes authority on from one to another, and puts
//! a mandate on every request.
//!
//! ```no_run
//! # async fn run(secret: String) -> Result<(), caracal_client::Error> {
//! use caracal_client::{Client, Narrow};
//!
//! let client = Client::new("http://127.0.0.1:8080", "demo", "APPLICATION_ID", secret)?
//!     .bootstrap_on("resource://demo");
//! let lead = client.session().label("lead").start().await?;
//! // The child gets one scope for five minutes, and not the credentials of its parent.
//! let child = lead
//!     .child()
//!     .label("reader")
//!     .narrow(Narrow::to(["demo:read"]).on("resource://demo").for_seconds(300))
//!     .start()
//!     .await?;
//! let gateway = child.gateway("http://127.0.0.1:8081", "resource://demo", ["demo:read"]);
//! let answer = gateway.get("/demo/items").await?.send().await;
//! # let _ = answer;
//! child.end().await?;
//! # Ok(()) }
//! ```
#![warn(missing_docs)]

mod client;
mod error;
mod gateway;
mod session;
mod token;

pub use self::{
    client::Client,
    error::Error,
    gateway::{Gateway, MandateLayer, MandateService, RESOURCE_HEADER, ServiceError},
    session::{Delegation, KeptAlive, Narrow, Session, SessionBuilder},
    token::{Mandate, TokenSource},
};
