//! What goes wrong, and how to tell one from the other.

use serde::Deserialize;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The STS says no. Its codes are stable; the request id finds the decision in its records.
    #[error("{code}{}: {description} (request {request_id})", reason.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Refused {
        /// HTTP status.
        status: u16,
        /// `error` of the answer.
        code: String,
        /// `reason` of the answer, such as the policy's.
        reason: Option<String>,
        /// What a person should read.
        description: String,
        /// The request's id.
        request_id: String,
    },
    /// The STS cannot be reached.
    #[error("the STS cannot be reached: {0}")]
    Transport(#[from] reqwest::Error),
    /// An answer that is none of the STS's.
    #[error("the answer is not the STS's: {0}")]
    Protocol(String),
    /// A URL over which a secret would travel in the clear.
    #[error("{0} is neither https nor this machine: a client secret does not travel in the clear")]
    InsecureUrl(String),
}

impl Error {
    /// The stable reason, if the STS gave one, else its code.
    pub fn reason(&self) -> Option<&str> {
        match self {
            Error::Refused { code, reason, .. } => Some(reason.as_deref().unwrap_or(code)),
            _ => None,
        }
    }

    /// Whether the same call may succeed later.
    pub(crate) fn is_passing(&self) -> bool {
        match self {
            Error::Refused { status, .. } => *status >= 500,
            Error::Transport(_) => true,
            _ => false,
        }
    }

    /// From an answer that is no success.
    pub(crate) fn read(status: u16, request_id: &str, body: &[u8]) -> Self {
        #[derive(Deserialize)]
        struct Body {
            error: String,
            error_description: Option<String>,
            reason: Option<String>,
        }
        match serde_json::from_slice::<Body>(body) {
            Ok(body) => Error::Refused {
                status,
                code: body.error,
                reason: body.reason,
                description: body.error_description.unwrap_or_default(),
                request_id: request_id.to_owned(),
            },
            Err(_) => Error::Protocol(format!("status {status} without a reason")),
        }
    }
}
