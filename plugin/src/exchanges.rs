//! Resource mandates that the STS gives for what clients presented: which are held, which are being
//! asked for, and who waits for them. No host here: whoever uses this makes the calls.

use std::collections::HashMap;

use authority::time::Timestamp;
use serde::Deserialize;

use crate::questions::Questions;

/// Most exchanges under way.
const MAX_UNDER_WAY: usize = 256;
/// Most requests that wait.
const MAX_WAITING: usize = 4_096;
/// Time before its end at which a mandate is asked for anew, in seconds.
const REFRESH_SECONDS: u64 = 60;

/// Whose mandate, and for which resource: `jti` and identifier.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// `jti` of the mandate that was presented.
    pub jti: String,
    /// The resource.
    pub resource: String,
}

/// What is sent to the STS. The token shows in no `Debug`.
#[derive(Clone)]
pub struct Question {
    /// What it is for.
    pub key: Key,
    /// The mandate that was presented.
    pub token: String,
}

/// A resource mandate.
#[derive(Clone)]
struct Held {
    token: String,
    ends: Timestamp,
}

/// Why there is no resource mandate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The STS refuses it, for this reason.
    Refused(String),
    /// The STS cannot be asked, or gave no answer that makes sense.
    Unavailable,
}

/// What there is for a request.
#[derive(Clone, PartialEq, Eq)]
pub enum Found {
    /// A mandate.
    Held(String),
    /// None yet.
    Missing,
}

/// The resource mandates of one worker. `W` is a request that waits.
pub struct Exchanges<W> {
    young: HashMap<Key, Held>,
    old: HashMap<Key, Held>,
    generation_size: usize,
    questions: Questions<Key, String, W>,
}

impl<W> Exchanges<W> {
    /// Holds up to `capacity` mandates.
    pub fn new(capacity: usize) -> Self {
        Self {
            young: HashMap::new(),
            old: HashMap::new(),
            generation_size: capacity.div_ceil(2),
            questions: Questions::new(MAX_UNDER_WAY, MAX_WAITING),
        }
    }

    /// What is held for `question`, whose mandate ends at `ends`. Near its end, another is asked for if
    /// that could last longer.
    pub fn find(&mut self, question: &Question, ends: Timestamp, now: Timestamp) -> Found {
        let Some(held) = self.held(&question.key) else {
            return Found::Missing;
        };
        if held.ends <= now {
            self.young.remove(&question.key);
            return Found::Missing;
        }
        if held.ends <= now.plus(REFRESH_SECONDS) && held.ends < ends {
            self.questions
                .ask(question.key.clone(), question.token.clone());
        }
        Found::Held(held.token)
    }

    fn held(&mut self, key: &Key) -> Option<Held> {
        if let Some(held) = self.young.get(key) {
            return Some(held.clone());
        }
        let (key, held) = self.old.remove_entry(key)?;
        self.keep(key, held.clone());
        Some(held)
    }

    fn keep(&mut self, key: Key, held: Held) {
        if self.young.len() >= self.generation_size {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, held);
    }

    /// Lets `waiter` wait for the answer to `question`, which is asked once however many wait.
    ///
    /// # Errors
    /// The waiter, if too many wait or too much is asked.
    pub fn wait(&mut self, question: Question, waiter: W) -> Result<(), W> {
        self.questions.wait(question.key, question.token, waiter)
    }

    /// Whether there is something to be sent.
    pub fn has_questions(&self) -> bool {
        self.questions.has_any()
    }

    /// The next question to be sent.
    pub fn take(&mut self) -> Option<Question> {
        let (key, token) = self.questions.take()?;
        Some(Question { key, token })
    }

    /// A question was sent, and its answer comes under this number.
    pub fn sent(&mut self, key: &Key, call: u32) {
        self.questions.sent(key, call);
    }

    /// Which question the answer `call` is to.
    pub fn asked(&self, call: u32) -> Option<Key> {
        self.questions.asked(call)
    }

    /// Takes an answer, and returns those who waited for it.
    pub fn answered(&mut self, key: &Key, answer: Option<(String, Timestamp)>) -> Vec<W> {
        if let Some((token, ends)) = answer {
            self.keep(key.clone(), Held { token, ends });
        }
        self.questions.answered(key)
    }

    /// Lets go of those who do not wait any more.
    pub fn forget(&mut self, gone: impl Fn(&W) -> bool) {
        self.questions.forget(gone);
    }

    /// How many requests wait.
    pub fn waiting(&self) -> usize {
        self.questions.waiting()
    }
}

/// Reads the answer of the token endpoint: the mandate and its end, or why there is none.
///
/// # Errors
/// [`Failure`].
pub fn read_answer(
    status: u16,
    body: &[u8],
    now: Timestamp,
) -> Result<(String, Timestamp), Failure> {
    #[derive(Deserialize)]
    struct Granted {
        access_token: String,
        expires_in: u64,
    }
    #[derive(Deserialize)]
    struct Refused {
        error: String,
        reason: Option<String>,
    }
    match status {
        200 => match serde_json::from_slice::<Granted>(body) {
            Ok(granted) if is_token(&granted.access_token) => {
                Ok((granted.access_token, now.plus(granted.expires_in)))
            }
            _ => Err(Failure::Unavailable),
        },
        // Our own credentials, and too much of it, are no fault of the client.
        401 | 429 => Err(Failure::Unavailable),
        400..500 => match serde_json::from_slice::<Refused>(body) {
            Ok(refused) => Err(Failure::Refused(refused.reason.unwrap_or(refused.error))),
            Err(_) => Err(Failure::Unavailable),
        },
        _ => Err(Failure::Unavailable),
    }
}

/// What can stand in a header as a bearer token (RFC 6750 section 2.1).
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// The form by which a gateway asks for a resource mandate.
pub fn form(zone: &str, question: &Question) -> String {
    const FIXED: &str = "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange\
        &subject_token_type=urn%3Aietf%3Aparams%3Aoauth%3Atoken-type%3Aaccess_token\
        &requested_token_type=urn%3Acaracal%3Aparams%3Aoauth%3Atoken-type%3Aresource-mandate";
    format!(
        "{FIXED}&zone_id={}&resource={}&subject_token={}",
        encoded(zone),
        encoded(&question.key.resource),
        encoded(&question.token)
    )
}

fn encoded(text: &str) -> String {
    text.bytes()
        .fold(String::with_capacity(text.len()), |mut out, byte| {
            match byte {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => {
                    out.push(char::from(byte));
                }
                other => out.push_str(&format!("%{other:02X}")),
            }
            out
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_000);

    fn question(jti: &str) -> Question {
        Question {
            key: Key {
                jti: jti.to_owned(),
                resource: "resource://a b".to_owned(),
            },
            token: "t".to_owned(),
        }
    }

    fn held(found: Found) -> Option<String> {
        match found {
            Found::Held(token) => Some(token),
            Found::Missing => None,
        }
    }

    #[test]
    fn one_question_is_asked_however_many_wait() {
        let mut exchanges = Exchanges::new(10);
        for waiter in 0..3 {
            assert!(exchanges.wait(question("a"), waiter).is_ok());
        }
        assert!(exchanges.wait(question("b"), 3).is_ok());
        let first = exchanges.take().unwrap();
        assert_eq!(first.key.jti, "a");
        exchanges.sent(&first.key, 7);
        assert_eq!(exchanges.take().unwrap().key.jti, "b");
        assert!(exchanges.take().is_none());
        exchanges.forget(|waiter| *waiter == 1);
        assert_eq!(exchanges.asked(8), None);
        let key = exchanges.asked(7).unwrap();
        let answer = Some(("r".to_owned(), Timestamp(1_900)));
        assert_eq!(exchanges.answered(&key, answer), [0, 2]);
        assert_eq!(exchanges.waiting(), 1);
        let found = exchanges.find(&question("a"), Timestamp(1_900), NOW);
        assert_eq!(held(found).as_deref(), Some("r"));
        assert!(held(exchanges.find(&question("b"), Timestamp(1_900), NOW)).is_none());
    }

    #[test]
    fn a_mandate_is_refreshed_before_its_end_where_the_next_lasts_longer() {
        let mut exchanges: Exchanges<u32> = Exchanges::new(10);
        let key = question("a").key;
        exchanges.answered(&key, Some(("r".to_owned(), Timestamp(1_100))));
        let mut found = |ends: u64, now: u64| {
            let found = exchanges.find(&question("a"), Timestamp(ends), Timestamp(now));
            (held(found).is_some(), exchanges.take().is_some())
        };
        assert_eq!(found(2_000, 1_000), (true, false));
        assert_eq!(
            found(1_100, 1_050),
            (true, false),
            "no other could last longer"
        );
        assert_eq!(found(2_000, 1_050), (true, true));
        assert_eq!(found(2_000, 1_051), (true, false), "it is asked once");
        assert_eq!(found(2_000, 1_100), (false, false), "it has ended");
    }

    #[test]
    fn what_waits_and_what_is_held_is_bounded() {
        let mut exchanges = Exchanges::new(10);
        for number in 0..MAX_UNDER_WAY {
            assert!(
                exchanges
                    .wait(question(&number.to_string()), number)
                    .is_ok()
            );
        }
        assert_eq!(exchanges.wait(question("more"), 0), Err(0));
        let mut waiters = MAX_UNDER_WAY;
        while exchanges.wait(question("0"), waiters).is_ok() {
            waiters += 1;
        }
        assert_eq!(waiters, MAX_WAITING);
        for number in 0..MAX_UNDER_WAY {
            let key = question(&number.to_string()).key;
            let answer = Some(("r".to_owned(), Timestamp(2_000)));
            waiters -= exchanges.answered(&key, answer).len();
            assert!(exchanges.young.len() + exchanges.old.len() <= 10);
        }
        assert_eq!((waiters, exchanges.waiting()), (0, 0));
    }

    #[test]
    fn an_answer_is_a_mandate_a_refusal_or_nothing() {
        let read = |status, body: &str| read_answer(status, body.as_bytes(), NOW);
        let granted = r#"{"access_token": "a.b.c", "expires_in": 60}"#;
        assert_eq!(
            read(200, granted),
            Ok(("a.b.c".to_owned(), Timestamp(1_060)))
        );
        let refused = r#"{"error": "access_denied", "reason": "session_inactive"}"#;
        let reason = Err(Failure::Refused("session_inactive".to_owned()));
        assert_eq!(read(403, refused), reason);
        let invalid = r#"{"error": "invalid_grant"}"#;
        let reason = Err(Failure::Refused("invalid_grant".to_owned()));
        assert_eq!(read(400, invalid), reason);
        let smuggled = r#"{"access_token": "a\r\nx: y", "expires_in": 60}"#;
        for (status, body) in [
            (200, "{}"),
            (200, smuggled),
            (401, refused),
            (429, refused),
            (500, ""),
            (0, ""),
            (403, "no"),
        ] {
            assert_eq!(
                read(status, body),
                Err(Failure::Unavailable),
                "{status} {body}"
            );
        }
    }

    #[test]
    fn the_form_is_encoded() {
        let form = form("z&1", &question("a"));
        assert!(form.contains("&zone_id=z%261&resource=resource%3A%2F%2Fa%20b&subject_token=t"));
    }
}
