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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_asks_by_name_and_only_a_whole_answer_counts() {
        let asked = vec![
            (AnchorKind::Session, "session-1".to_owned()),
            (AnchorKind::Jti, "a\"b".to_owned()),
        ];
        let body: serde_json::Value = serde_json::from_str(&body(&asked)).unwrap();
        assert_eq!(
            body,
            json!({"anchors": [
                {"anchor_type": "agent_session_id", "id": "session-1"},
                {"anchor_type": "jti", "id": "a\"b"},
            ]})
        );
        let good = br#"{"epoch": 7, "revoked": [true, false]}"#;
        let checked = Checked {
            epoch: 7,
            revoked: vec![true, false],
        };
        assert_eq!(read_answer(200, good, 2), Some(checked));
        for (status, body, asked) in [
            (200, &good[..], 1),
            (200, good, 3),
            (500, good, 2),
            (0, b"", 2),
            (200, b"{}", 2),
            (200, br#"{"epoch": -1, "revoked": [true, false]}"#, 2),
        ] {
            assert_eq!(read_answer(status, body, asked), None);
        }
    }
}
