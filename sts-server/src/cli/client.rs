//! HTTP to the server: requests, pages, and its refusals as errors.

use std::{fmt::Write, io::Read, time::Duration};

use serde_json::Value;
use ureq::{
    Agent,
    http::{Method, Request, Response},
};

use super::{
    connection::{AdminToken, is_loopback_url},
    error::{CliError, ServerRefusal},
};

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Largest answer that is read, in bytes.
const MAX_ANSWER_BYTES: u64 = 64 * 1024 * 1024;
/// Items asked for at once.
const PAGE_SIZE: u32 = 500;

/// A connection to one server.
pub(super) struct Client {
    agent: Agent,
    url: String,
    token: Option<AdminToken>,
}

/// An answer that is read as it comes.
pub(super) struct Stream {
    head: ureq::http::response::Parts,
    pub(super) body: Box<dyn Read>,
}

impl Stream {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        let value = self.head.headers.get(name)?;
        value.to_str().ok().map(str::to_owned)
    }
}

impl Client {
    pub(super) fn new(url: &str, token: Option<AdminToken>) -> Result<Self, CliError> {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(TIMEOUT))
            // A redirect would carry the admin token's request elsewhere.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!("caracal/", env!("CARGO_PKG_VERSION")));
        if is_loopback_url(url) {
            config = config.proxy(None);
        }
        Ok(Self {
            agent: config.build().into(),
            url: url.to_owned(),
            token,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    pub(super) fn get(&self, path: &str) -> Result<Value, CliError> {
        self.exchange(Method::GET, path, None)
    }

    pub(super) fn post(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.exchange(Method::POST, path, Some(body))
    }

    pub(super) fn patch(&self, path: &str, body: &Value) -> Result<Value, CliError> {
        self.exchange(Method::PATCH, path, Some(body))
    }

    pub(super) fn delete(&self, path: &str) -> Result<Value, CliError> {
        self.exchange(Method::DELETE, path, None)
    }

    /// A form, as OAuth wants it.
    pub(super) fn post_form(&self, path: &str, fields: &[(&str, &str)]) -> Result<Value, CliError> {
        let request = self
            .agent
            .post(format!("{}{path}", self.url))
            .header("accept", "application/json");
        let response = request
            .send_form(fields.iter().copied())
            .map_err(|error| self.unreachable(&error))?;
        self.read(response)
    }

    /// Whether `path` answers with success.
    pub(super) fn answers(&self, path: &str) -> Result<bool, CliError> {
        let response = self.agent.get(format!("{}{path}", self.url)).call();
        Ok(response
            .map_err(|error| self.unreachable(&error))?
            .status()
            .is_success())
    }

    /// Status and JSON of `path`, whatever the status.
    pub(super) fn status(&self, path: &str) -> Result<(u16, Value), CliError> {
        let response = self.agent.get(format!("{}{path}", self.url)).call();
        let mut response = response.map_err(|error| self.unreachable(&error))?;
        let body = response.body_mut().read_json().unwrap_or(Value::Null);
        Ok((response.status().as_u16(), body))
    }

    /// Every item of a list, page by page.
    pub(super) fn items(&self, path: &str) -> Result<Vec<Value>, CliError> {
        self.items_where(path, &[])
    }

    /// Every item of a list for which these members have these values.
    pub(super) fn items_where(
        &self,
        path: &str,
        filter: &[(&str, &str)],
    ) -> Result<Vec<Value>, CliError> {
        let mut items = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let mut page = format!("{path}?limit={PAGE_SIZE}");
            for (name, value) in filter {
                page += &format!("&{name}={}", encoded(value));
            }
            if let Some(cursor) = &cursor {
                page += &format!("&cursor={}", encoded(cursor));
            }
            let mut answer = self.get(&page)?;
            match answer.get_mut("items").map(Value::take) {
                Some(Value::Array(more)) => items.extend(more),
                _ => return Err(self.foreign(200, &answer.to_string())),
            }
            let next = answer
                .get("next_cursor")
                .and_then(Value::as_str)
                .map(str::to_owned);
            if next.is_none() || next == cursor {
                return Ok(items);
            }
            cursor = next;
        }
    }

    /// The text that `path` answers with, and its header `name`.
    pub(super) fn text(
        &self,
        path: &str,
        name: &str,
    ) -> Result<(String, Option<String>), CliError> {
        let mut stream = self.stream(path)?;
        let header = stream.header(name);
        let mut text = String::new();
        stream
            .body
            .by_ref()
            .take(MAX_ANSWER_BYTES)
            .read_to_string(&mut text)
            .map_err(|error| CliError::Unreachable {
                url: self.url.clone(),
                problem: error.to_string(),
            })?;
        Ok((text, header))
    }

    /// What `path` answers with, however long that takes.
    pub(super) fn stream(&self, path: &str) -> Result<Stream, CliError> {
        let url = format!("{}{path}", self.url);
        let mut request = self
            .agent
            .get(url)
            .config()
            .timeout_global(None)
            .timeout_connect(Some(TIMEOUT))
            .timeout_recv_response(Some(TIMEOUT))
            .build();
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.token.as_str()));
        }
        let response = request.call().map_err(|error| self.unreachable(&error))?;
        if !response.status().is_success() {
            let status = response.status().as_u16();
            return Err(match self.read(response) {
                Err(error) => error,
                Ok(body) => self.foreign(status, &body.to_string()),
            });
        }
        let (head, body) = response.into_parts();
        Ok(Stream {
            head,
            body: Box::new(body.into_reader()),
        })
    }

    /// The object of a list whose id, or whose one of `names`, is `reference`.
    pub(super) fn find(
        &self,
        noun: &str,
        path: &str,
        names: &[&str],
        reference: &str,
    ) -> Result<Value, CliError> {
        if is_id(reference) {
            return self.get(&format!("{path}/{reference}"));
        }
        let names_it = |item: &Value| {
            let own = |name: &&str| item.get(name).and_then(Value::as_str);
            names
                .iter()
                .filter_map(own)
                .any(|own| own.eq_ignore_ascii_case(reference))
        };
        let mut matching: Vec<Value> = self.items(path)?.into_iter().filter(names_it).collect();
        match (matching.pop(), matching.len()) {
            (Some(found), 0) => Ok(found),
            (Some(_), more) => Err(CliError::Reference(format!(
                "{} {noun}s are named {reference:?}; use the id",
                more + 1
            ))),
            (None, _) => Err(CliError::Reference(format!(
                "there is no {noun} {reference:?}"
            ))),
        }
    }

    /// The id of what [`find`](Self::find) finds; an id stands for itself.
    pub(super) fn id(
        &self,
        noun: &str,
        path: &str,
        names: &[&str],
        reference: &str,
    ) -> Result<String, CliError> {
        if is_id(reference) {
            return Ok(reference.to_owned());
        }
        let found = self.find(noun, path, names, reference)?;
        self.member(&found, "id")
    }

    /// The text member `name` of an answer, which has to be there.
    pub(super) fn member(&self, answer: &Value, name: &str) -> Result<String, CliError> {
        let text = answer.get(name).and_then(Value::as_str).map(str::to_owned);
        text.ok_or_else(|| self.foreign(200, &format!("there is no {name:?} in the answer")))
    }

    fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, CliError> {
        let url = format!("{}{path}", self.url);
        let mut request = Request::builder()
            .method(method)
            .uri(&url)
            .header("accept", "application/json");
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {}", token.token.as_str()));
        }
        let invalid = |error: ureq::http::Error| {
            CliError::usage(format!("the request cannot be sent: {error}"))
        };
        let sent = match body {
            Some(body) => {
                let request = request.header("content-type", "application/json");
                self.agent
                    .run(request.body(body.to_string()).map_err(invalid)?)
            }
            None => self.agent.run(request.body(()).map_err(invalid)?),
        };
        self.read(sent.map_err(|error| self.unreachable(&error))?)
    }

    fn read(&self, mut response: Response<ureq::Body>) -> Result<Value, CliError> {
        let status = response.status();
        let body = response
            .body_mut()
            .with_config()
            .limit(MAX_ANSWER_BYTES)
            .read_to_vec();
        let body = body.map_err(|error| self.unreachable(&error))?;
        if status.is_success() && body.is_empty() {
            return Ok(Value::Null);
        }
        let parsed: Option<Value> = serde_json::from_slice(&body).ok();
        if let Some(value) = &parsed
            && status.is_success()
        {
            return Ok(value.clone());
        }
        match parsed.and_then(|body| ServerRefusal::read(status.as_u16(), &body)) {
            Some(refusal) => Err(CliError::Refused(Box::new(self.with_hint(refusal)))),
            None => Err(self.foreign(status.as_u16(), &String::from_utf8_lossy(&body))),
        }
    }

    fn with_hint(&self, mut refusal: ServerRefusal) -> ServerRefusal {
        if refusal.status == 401
            && let Some(token) = &self.token
        {
            refusal.hint = Some(format!("the admin token came from {}", token.source));
        }
        refusal
    }

    fn foreign(&self, status: u16, body: &str) -> CliError {
        let body: String = body.chars().take(200).collect();
        CliError::Foreign {
            url: self.url.clone(),
            status,
            body: if body.is_empty() {
                "nothing".to_owned()
            } else {
                body
            },
        }
    }

    fn unreachable(&self, error: &ureq::Error) -> CliError {
        let refused = matches!(error, ureq::Error::ConnectionFailed)
            || matches!(error, ureq::Error::Io(error) if error.kind() == std::io::ErrorKind::ConnectionRefused);
        let problem = if refused {
            "nothing listens there; start the server with `caracal serve`, or name another with --url".to_owned()
        } else {
            error.to_string()
        };
        CliError::Unreachable {
            url: self.url.clone(),
            problem,
        }
    }
}

/// `object` with `members` added or replaced.
pub(super) fn with_members<'a>(
    mut object: Value,
    members: impl IntoIterator<Item = (&'a str, Value)>,
) -> Value {
    if let Value::Object(object) = &mut object {
        object.extend(
            members
                .into_iter()
                .map(|(name, value)| (name.to_owned(), value)),
        );
    }
    object
}

/// A path of segments, each percent-encoded.
pub(super) fn path(segments: &[&str]) -> String {
    segments.iter().fold(String::new(), |path, segment| {
        path + "/" + &encoded(segment)
    })
}

/// `text` with everything but the unreserved characters of RFC 3986 section 2.3 percent-encoded.
pub(super) fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut safe, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            safe.push(char::from(byte));
        } else {
            let _ = write!(safe, "%{byte:02X}");
        }
        safe
    })
}

/// Whether `reference` is an id rather than a name.
pub(super) fn is_id(reference: &str) -> bool {
    uuid::Uuid::try_parse(reference).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_cannot_reach_another_path() {
        assert_eq!(
            path(&["v1", "zones", "../keys?x#y"]),
            "/v1/zones/..%2Fkeys%3Fx%23y"
        );
    }
}
