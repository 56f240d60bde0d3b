//! HTTP to the demo's servers, all on this machine.

use std::time::Duration;

use serde_json::Value;
use ureq::{Agent, http::Request};

use crate::console::{Failure, Result};

/// An answer: its status, and its body where that is JSON.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    /// A member of the body that is text, or nothing.
    pub(super) fn text(&self, member: &str) -> &str {
        self.body
            .get(member)
            .and_then(Value::as_str)
            .unwrap_or_default()
    }
}

/// One request on a connection of its own, so that calls spread over Envoy's workers.
pub(super) fn call(
    method: &str,
    url: &str,
    bearer: Option<&str>,
    body: Option<(&str, String)>,
) -> std::result::Result<Answer, ureq::Error> {
    let agent: Agent = Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(Duration::from_secs(10)))
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let mut request = Request::builder().method(method).uri(url);
    if let Some(token) = bearer {
        request = request.header("authorization", format!("Bearer {token}"));
    }
    let mut response = match body {
        None => agent.run(request.body(()).map_err(ureq::Error::Http)?)?,
        Some((media_type, body)) => agent.run(
            request
                .header("content-type", media_type)
                .body(body)
                .map_err(ureq::Error::Http)?,
        )?,
    };
    let status = response.status().as_u16();
    let text = response.body_mut().read_to_string()?;
    Ok(Answer {
        status,
        body: serde_json::from_str(&text).unwrap_or(Value::String(text)),
    })
}

/// The status of a GET, or nothing if nobody answers.
pub(super) fn status(url: &str) -> Option<u16> {
    call("GET", url, None, None)
        .ok()
        .map(|answer| answer.status)
}

/// The STS, as its administrator.
pub(super) struct Sts {
    url: String,
    admin_token: String,
}

impl Sts {
    pub(super) fn new(url: String, admin_token: String) -> Self {
        Self { url, admin_token }
    }

    /// What is at `path`, or nothing on 404.
    pub(super) fn get(&self, path: &str) -> Result<Option<Value>> {
        let answer = self.admin("GET", path, None)?;
        match answer.status {
            200 => Ok(Some(answer.body)),
            404 => Ok(None),
            _ => Err(refused("GET", path, &answer)),
        }
    }

    /// Every item of a list that fits one page.
    pub(super) fn list(&self, path: &str) -> Result<Vec<Value>> {
        let page = self.get(&format!("{path}?limit=500"))?.unwrap_or_default();
        Ok(page
            .get("items")
            .and_then(Value::as_array)
            .cloned()
            .unwrap_or_default())
    }

    /// Sends `body`, and gives what was answered.
    pub(super) fn send(&self, method: &str, path: &str, body: &Value) -> Result<Value> {
        let answer = self.admin(method, path, Some(body))?;
        match answer.status {
            200..=299 => Ok(answer.body),
            _ => Err(refused(method, path, &answer)),
        }
    }

    /// Removes what is at `path`.
    pub(super) fn delete(&self, path: &str) -> Result<()> {
        let answer = self.admin("DELETE", path, None)?;
        match answer.status {
            200..=299 | 404 => Ok(()),
            _ => Err(refused("DELETE", path, &answer)),
        }
    }

    /// A GET with a gateway's token.
    pub(super) fn get_as_gateway(&self, path: &str, token: &str) -> Result<Answer> {
        call("GET", &format!("{}{path}", self.url), Some(token), None)
            .map_err(|error| unreachable(&error))
    }

    /// A token exchange.
    pub(super) fn exchange(&self, form: &[(&str, &str)]) -> Result<Answer> {
        let body = form
            .iter()
            .map(|(name, value)| format!("{name}={}", encoded(value)))
            .collect::<Vec<_>>()
            .join("&");
        call(
            "POST",
            &format!("{}/oauth/2/token", self.url),
            None,
            Some(("application/x-www-form-urlencoded", body)),
        )
        .map_err(|error| unreachable(&error))
    }

    fn admin(&self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer> {
        let body = body.map(|body| ("application/json", body.to_string()));
        call(
            method,
            &format!("{}{path}", self.url),
            Some(&self.admin_token),
            body,
        )
        .map_err(|error| unreachable(&error))
    }
}

fn unreachable(error: &ureq::Error) -> Failure {
    Failure::new(
        format!("the STS does not answer: {error}"),
        "look into .caracal/sts.log",
    )
}

fn refused(method: &str, path: &str, answer: &Answer) -> Failure {
    Failure::new(
        format!(
            "the STS answered {method} {path} with {} {}",
            answer.status, answer.body
        ),
        "if .caracal is from another version, move it away and run this again",
    )
}

/// Percent-encoded for a form.
fn encoded(value: &str) -> String {
    value
        .bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                char::from(byte).to_string()
            }
            _ => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_values_are_percent_encoded() {
        assert_eq!(
            encoded("resource://demo a&b"),
            "resource%3A%2F%2Fdemo%20a%26b"
        );
    }
}
