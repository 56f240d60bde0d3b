//! Whether what the filter suspects is revoked: what is asked of the STS, and how its answer reads. No
//! host here: whoever uses this makes the calls.

use authority::revocation::AnchorKind;
use serde::Deserialize;
use serde_json::json;

use crate::questions::Questions;

/// Most checks under way.
const MAX_UNDER_WAY: usize = 64;
/// Most requests and streams that wait for one.
const MAX_WAITING: usize = 1_024;

/// The anchors that are asked about.
pub type Suspicion = Vec<(AnchorKind, String)>;

/// The checks of one worker. `W` waits for an answer.
pub type Checks<W> = Questions<Suspicion, Suspicion, W>;

/// No checks yet.
pub fn none<W>() -> Checks<W> {
    Questions::new(MAX_UNDER_WAY, MAX_WAITING)
}

/// The body of a check.
pub fn body(asked: &Suspicion) -> String {
    let anchors: Vec<_> = asked
        .iter()
        .map(|(kind, id)| json!({"anchor_type": kind.name(), "id": id}))
        .collect();
    json!({"anchors": anchors}).to_string()
}

/// What the STS says, in the order of what was asked, and as of which epoch.
#[derive(Debug, PartialEq, Eq, Deserialize)]
pub struct Checked {
    /// The epoch.
    pub epoch: u64,
    /// Whether each anchor is revoked.
    pub revoked: Vec<bool>,
}

/// Reads an answer to a check of `asked` anchors; `None` if it is none.
pub fn read_answer(status: u16, body: &[u8], asked: usize) -> Option<Checked> {
    if status != 200 {
        return None;
    }
    serde_json::from_slice::<Checked>(body)
        .ok()
        .filter(|checked| checked.revoked.len() == asked)
}
