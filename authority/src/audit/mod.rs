//! Evidence: what an audit event says, the one form in which it is hashed, the chain that its hash joins,
//! and how anyone with the public keys checks an export of it.

mod canonical;
mod chain;
mod event;
mod export;
mod members;
mod scanner;
mod sent;
#[cfg(test)]
#[cfg(not(target_arch = "wasm32"))]
mod sent_tests;
mod special;
#[cfg(test)]
mod tests;
mod writer;

pub use self::{
    canonical::canonical,
    chain::{Chain, Checkpoint, GENESIS, Hash, ParseHashError, SignedCheckpoint, link},
    event::{
        Actor, Decision, Event, EventType, MandateFacts, Object, OccurredAt, PolicyFacts,
        is_traceparent,
    },
    export::{EntryLine, FORMAT, Fault, HeaderLine, Line, Summary, Verifier},
    sent::{Facts, Sent},
    writer::Writer,
};
