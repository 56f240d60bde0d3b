//! The event of a request as text, without making the event: it is written with every request.

use super::account::{Account, Decided, NOT_EVALUATED};
use crate::{
    audit::{Decision, EventType, Writer},
    ids::ZoneId,
};

impl Account {
    /// Writes the [event](Account::event) of a decision on the request, in `zone`, as it is serialised, to the byte.
    ///
    /// # Errors
    /// None that can be provoked: an event is always a JSON document.
    pub fn write(
        &self,
        zone: &ZoneId,
        decided: &Decided,
        to: &mut Writer,
    ) -> serde_json::Result<()> {
        let reason = decided.reason.as_deref();
        let claims = self.mandate.as_ref().map(|mandate| mandate.claims());
        let start = to.place();
        if decided.cut {
            to.member("action", "cut")?;
        }
        if let Some(claims) = claims {
            if let Some(id) = &claims.agent_session_id {
                to.member("agent_session_id", id.as_str())?;
            }
            to.member("client_id", claims.client_id.as_str())?;
        }
        let decision = match reason {
            None => Decision::Allow,
            Some(_) => Decision::Deny,
        };
        to.member("decision", decision.name())?;
        if let Some(claims) = claims {
            if !claims.delegation_chain.is_empty() {
                to.raw(b",\"delegation_chain\":");
                let hops = claims.delegation_chain.iter();
                to.texts(hops.map(|hop| hop.application_id.as_str()))?;
            }
            if !claims.delegation_path.is_empty() {
                to.raw(b",\"delegation_path\":");
                to.texts(claims.delegation_path.iter().map(|id| id.as_str()))?;
            }
        }
        match &self.evaluated {
            Some(evaluated) => {
                to.raw(b",");
                to.raw(evaluated.written()?.as_bytes());
                to.raw(b",\"evaluation_status\":\"complete\"");
            }
            None => {
                to.raw(b",\"determining_policies_json\":[],\"diagnostics_json\":[]");
                to.member("evaluation_status", reason.unwrap_or(NOT_EVALUATED))?;
            }
        }
        to.member("event_type", EventType::GatewayRequest.name())?;
        to.member("id", &decided.id)?;
        if let Some(claims) = claims {
            to.member("jti", &claims.jti)?;
        }
        to.raw(b",\"latency_us\":");
        to.value(&decided.latency_us)?;
        if let Some(origin) = &self.policy {
            to.member("manifest_sha", &origin.manifest_sha)?;
        }
        to.member("method", &self.method)?;
        to.raw(b",\"occurred_at\":\"");
        to.raw(&decided.at.text());
        to.raw(b"\"");
        if let Some(path) = &self.path {
            to.member("path", path)?;
        }
        if let Some(origin) = &self.policy {
            to.member("policy_set_version_id", &origin.policy_set_version_id)?;
        }
        if let Some(reason) = reason {
            to.member("reason", reason)?;
        }
        to.member("request_id", &self.request_id)?;
        if let Some(resource) = &self.resource {
            to.member("resource", resource)?;
        }
        if let Some(claims) = claims {
            to.member("root_sid", claims.root_sid.as_str())?;
            if !claims.session_path.is_empty() {
                to.raw(b",\"session_path\":");
                to.texts(claims.session_path.iter().map(|id| id.as_str()))?;
            }
            to.member("sid", claims.sid.as_str())?;
        }
        if let Some(requests) = &decided.stands_for {
            to.raw(b",\"stands_for\":");
            to.value(requests)?;
        }
        if let Some(claims) = claims {
            to.member("sub", &claims.sub)?;
        }
        if let Some(traceparent) = &self.traceparent {
            to.member("traceparent", traceparent)?;
        }
        if let Some(claims) = claims {
            to.member("use", claims.mandate_use.name())?;
        }
        to.member("zone_id", zone.as_str())?;
        to.close(start);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    use super::*;
    use crate::{audit::OccurredAt, decision::Evaluated, snapshot::PolicyOrigin, testing::*};

    /// The account in all the forms that it has, with `text` wherever somebody chose one.
    fn accounts(text: &str) -> Vec<Account> {
        let said = |value: serde_json::Value| value.as_object().cloned().into_iter().collect();
        let plain = token(json!({}));
        let odd = "an \"id\" beyond ASCII: é";
        let full = token(json!({
            "agent_session_id": odd,
            "delegation_edge_id": odd,
            "sub": odd,
            "session_path": ["s-1", odd],
            "delegation_path": ["d-1", odd],
            "delegation_chain": [{"application_id": odd}, {"application_id": APP}],
            "hop_count": 2,
        }));
        let mandates = [None, Some(plain), Some(full)]
            .map(|token| token.map(|token| verified(&token).unwrap()));
        let mut accounts = Vec::new();
        for mandate in mandates {
            for evaluated in [false, true] {
                for known in [false, true] {
                    let text = || text.to_owned();
                    accounts.push(Account {
                        request_id: text(),
                        traceparent: known.then(text),
                        method: text(),
                        path: known.then(text),
                        resource: known.then(text),
                        mandate: mandate.clone(),
                        policy: known.then(|| {
                            Arc::new(PolicyOrigin {
                                policy_set_version_id: text(),
                                manifest_sha: text(),
                            })
                        }),
                        evaluated: evaluated.then(|| {
                            let id = json!({"id": text(), "n": [1.5, null]});
                            let remarks = if known { said(json!({})) } else { Vec::new() };
                            Arc::new(Evaluated::new(said(id), remarks))
                        }),
                        repeated: known,
                    });
                }
            }
        }
        accounts
    }

    #[test]
    fn what_is_written_is_the_event_as_it_is_serialised() {
        let zone = ZoneId::from(ZONE);
        let mut writer = Writer::default();
        for text in [
            "plain",
            "",
            "\"quoted\\ \u{1}",
            "beyond ASCII: é 𝄞",
            &"long ".repeat(1_000),
        ] {
            for account in accounts(text) {
                for (reason, cut) in [(None, false), (Some(text), false), (Some("why"), true)] {
                    let decided = Decided {
                        id: "01a20b84-6b21-705e-a494-f3531c6596b3".to_owned(),
                        at: OccurredAt(1_790_000_000_123_456),
                        reason: reason.map(str::to_owned),
                        latency_us: 20,
                        stands_for: cut.then_some(100),
                        cut,
                    };
                    let event = account.event(&zone, &decided);
                    writer.clear();
                    account.write(&zone, &decided, &mut writer).unwrap();
                    let written = std::str::from_utf8(writer.written()).unwrap();
                    assert_eq!(written, serde_json::to_string(&event).unwrap());
                }
            }
        }
    }
}
