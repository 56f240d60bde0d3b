//! Events in OCSF as a Parquet file: a column for each of their members, in row groups that are small
//! enough to be held in memory.

use std::{
    io::{self, Write},
    sync::Arc,
};

use arrow_json::{ReaderBuilder, reader::Decoder};
use arrow_schema::{DataType, Field, Fields, Schema, TimeUnit};
use parquet::{
    arrow::ArrowWriter,
    basic::Compression,
    file::{metadata::KeyValue, properties::WriterProperties},
};
use serde_json::Value;

/// Rows that are written together, and rows of a row group.
const ROWS_TOGETHER: usize = 1_024;
const ROWS_OF_A_GROUP: usize = 32 * 1_024;

/// A Parquet file that is being written.
pub(super) struct OcsfParquet<W: Write + Send> {
    rows: Vec<Value>,
    decoder: Decoder,
    writer: ArrowWriter<W>,
}

impl<W: Write + Send> OcsfParquet<W> {
    /// Begins a file.
    ///
    /// # Errors
    /// Those of writing it.
    pub(super) fn begin(file: W) -> io::Result<Self> {
        let schema = Arc::new(schema());
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_max_row_group_row_count(Some(ROWS_OF_A_GROUP))
            .set_created_by(concat!("caracal ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        let decoder = ReaderBuilder::new(Arc::clone(&schema))
            .with_batch_size(ROWS_TOGETHER)
            // A member without a column would be lost in silence.
            .with_strict_mode(true)
            .build_decoder()
            .map_err(io::Error::other)?;
        let writer =
            ArrowWriter::try_new(file, schema, Some(properties)).map_err(io::Error::other)?;
        Ok(Self {
            rows: Vec::with_capacity(ROWS_TOGETHER),
            decoder,
            writer,
        })
    }

    /// Adds an event.
    ///
    /// # Errors
    /// Those of writing it.
    pub(super) fn push(&mut self, event: Value) -> io::Result<()> {
        self.rows.push(event);
        if self.rows.len() == ROWS_TOGETHER {
            self.write()?;
        }
        Ok(())
    }

    /// Ends the file with what is `said` of it, name and value, and gives it back.
    ///
    /// # Errors
    /// Those of writing it.
    pub(super) fn end(mut self, said: &[(&str, String)]) -> io::Result<W> {
        self.write()?;
        for (name, value) in said {
            let said = KeyValue::new((*name).to_owned(), value.clone());
            self.writer.append_key_value_metadata(said);
        }
        self.writer.into_inner().map_err(io::Error::other)
    }

    fn write(&mut self) -> io::Result<()> {
        self.decoder
            .serialize(&self.rows)
            .map_err(io::Error::other)?;
        self.rows.clear();
        if let Some(rows) = self.decoder.flush().map_err(io::Error::other)? {
            self.writer.write(&rows).map_err(io::Error::other)?;
        }
        Ok(())
    }
}

fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

fn number(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

fn object(name: &str, members: impl Into<Fields>) -> Field {
    Field::new(name, DataType::Struct(members.into()), true)
}

fn list(name: &str, of: DataType) -> Field {
    let item = Arc::new(Field::new("element", of, true));
    Field::new(name, DataType::List(item), true)
}

fn texts(name: &str) -> Field {
    list(name, DataType::Utf8)
}

/// The members that [`ocsf`](super::ocsf::ocsf) gives an event.
fn schema() -> Schema {
    let uid = || vec![text("uid")];
    let id = |name: &str| number(&format!("{name}_id"));
    let authorization = vec![text("decision"), object("policy", uid())];
    let resource = vec![text("uid"), text("type")];
    Schema::new(vec![
        id("activity"),
        text("activity_name"),
        number("category_uid"),
        text("category_name"),
        number("class_uid"),
        text("class_name"),
        number("type_uid"),
        text("type_name"),
        number("time"),
        Field::new(
            "time_dt",
            DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
            true,
        ),
        id("severity"),
        text("severity"),
        id("status"),
        text("status"),
        text("status_code"),
        id("action"),
        text("action"),
        id("disposition"),
        text("disposition"),
        number("count"),
        text("message"),
        object(
            "actor",
            vec![
                text("app_uid"),
                text("app_name"),
                object(
                    "user",
                    vec![text("uid"), text("name"), id("type"), text("type")],
                ),
                object("session", uid()),
                list("authorizations", DataType::Struct(authorization.into())),
            ],
        ),
        object(
            "api",
            vec![
                text("operation"),
                object("request", uid()),
                object("response", vec![text("error")]),
                object("service", vec![text("name")]),
            ],
        ),
        object("src_endpoint", uid()),
        object("dst_endpoint", uid()),
        object(
            "http_request",
            vec![
                text("http_method"),
                object("url", vec![text("path")]),
                text("uid"),
            ],
        ),
        list("resources", DataType::Struct(resource.into())),
        object("policy", vec![text("uid"), text("version")]),
        object(
            "metadata",
            vec![
                text("version"),
                object(
                    "product",
                    vec![text("name"), text("vendor_name"), text("version")],
                ),
                texts("profiles"),
                text("uid"),
                text("original_event_uid"),
                text("correlation_uid"),
                text("event_code"),
                text("log_name"),
                number("logged_time"),
                number("sequence"),
                text("tenant_uid"),
            ],
        ),
        object("trace", uid()),
        text("raw_data"),
        object(
            "unmapped",
            vec![
                text("hash"),
                text("evaluation_status"),
                text("jti"),
                text("sid"),
                text("root_sid"),
                text("use"),
                texts("session_path"),
                texts("delegation_path"),
                texts("delegation_chain"),
                texts("requested_scopes"),
                number("latency_us"),
                text("traceparent"),
            ],
        ),
    ])
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use arrow_json::LineDelimitedWriter;
    use authority::{
        audit::{
            Actor, Decision, EntryLine, Event, EventType, MandateFacts, Object, OccurredAt,
            PolicyFacts,
        },
        ids::ZoneId,
    };
    use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
    use serde_json::json;

    use super::*;
    use crate::cli::ocsf::ocsf;

    fn new(event_type: EventType) -> Event {
        Event::new(
            "01a2097e-9510-71ff-b62e-8c329594501a".to_owned(),
            ZoneId::from("zone-1"),
            event_type,
            "req-1".to_owned(),
            OccurredAt(1_790_000_000_123_456),
        )
    }

    /// A refused call with all that may be said of one.
    fn call() -> Event {
        let text = |text: &str| Some(text.to_owned());
        let mut event = new(EventType::GatewayRequest);
        event.traceparent = text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
        event.decision = Decision::Deny;
        event.reason = text("scope_missing");
        event.policy = PolicyFacts {
            policy_set_id: text("set-1"),
            policy_set_version_id: text("version-1"),
            manifest_sha: text("sha256:00"),
        };
        let policy = json!({"id": "caracal-orders-use"});
        event.determining_policies_json = vec![policy.as_object().cloned().unwrap()];
        event.mandate = MandateFacts {
            client_id: text("app-1"),
            sub: text("alice"),
            sid: text("sid-1"),
            root_sid: text("root-1"),
            jti: text("jti-1"),
            mandate_use: Some(authority::mandate::MandateUse::Gateway),
            agent_session_id: text("session-2"),
            session_path: vec!["session-1".to_owned(), "session-2".to_owned()],
            delegation_path: vec!["delegation-1".to_owned()],
            delegation_chain: vec!["app-0".to_owned(), "app-1".to_owned()],
        };
        event.resource = text("resource://orders");
        event.method = text("DELETE");
        event.path = text("/orders/7");
        event.gateway_id = text("gateway-1");
        event.stands_for = Some(3);
        event.latency_us = Some(41);
        event
    }

    fn all_kinds() -> Vec<Event> {
        let mut exchange = new(EventType::TokenExchange);
        exchange.requested_scopes = vec!["orders:read".to_owned()];
        let asked = json!({"identifier": "resource://orders", "decision": "allow"});
        exchange.resources = vec![asked.as_object().cloned().unwrap()];
        let mut change = new(EventType::AdminChange);
        change.action = Some("application.archive".to_owned());
        change.actor = Some(Actor::Operator);
        change.object = Some(Object {
            kind: "application".to_owned(),
            id: "app-1".to_owned(),
        });
        change.before = Some(json!({"name": "reader", "weight": 0.1}));
        let plain = EventType::ALL.into_iter().map(new);
        plain.chain([call(), exchange, change]).collect()
    }

    fn entry(seq: u64, event: &Event) -> EntryLine {
        EntryLine {
            seq,
            hash: authority::audit::GENESIS,
            recorded_at: OccurredAt(1_790_000_000_200_000),
            event: serde_json::to_value(event).unwrap(),
        }
    }

    #[test]
    fn what_is_written_as_columns_is_read_as_it_was() {
        let events: Vec<Value> = (1..)
            .zip(all_kinds().iter().cycle().take(3 * ROWS_TOGETHER))
            .map(|(seq, event)| ocsf(&entry(seq, event)).unwrap())
            .collect();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.parquet");
        let mut file = OcsfParquet::begin(File::create(&path).unwrap()).unwrap();
        for event in &events {
            file.push(event.clone()).unwrap();
        }
        file.end(&[("caracal.zone_id", "zone-1".to_owned())])
            .unwrap();

        let open = ParquetRecordBatchReaderBuilder::try_new(File::open(&path).unwrap()).unwrap();
        let said = open.metadata().file_metadata().key_value_metadata();
        assert!(
            said.unwrap()
                .iter()
                .any(|said| said.key == "caracal.zone_id")
        );
        let mut text = LineDelimitedWriter::new(Vec::new());
        for rows in open.build().unwrap() {
            text.write(&rows.unwrap()).unwrap();
        }
        text.finish().unwrap();
        let mut read: Vec<Value> = String::from_utf8(text.into_inner())
            .unwrap()
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        for event in &mut read {
            // Columns hold a time, not the text of one.
            let time = event["time_dt"].as_str().unwrap().to_owned();
            assert!(time.starts_with("2026-09-21T"), "{time}");
            assert!(time.contains(":20.123456"), "{time}");
            event["time_dt"] = json!("2026-09-21T14:13:20.123456Z");
        }
        assert_eq!(read, events);
    }

    #[test]
    fn every_kind_of_event_has_what_ocsf_requires() {
        for (seq, event) in (1..).zip(all_kinds()) {
            let mapped = ocsf(&entry(seq, &event)).unwrap();
            for required in [
                "/activity_id",
                "/actor",
                "/api/operation",
                "/category_uid",
                "/class_uid",
                "/metadata/product",
                "/metadata/version",
                "/severity_id",
                "/src_endpoint/uid",
                "/time",
                "/type_uid",
            ] {
                assert!(mapped.pointer(required).is_some(), "{required}: {mapped}");
            }
            let original: Value =
                serde_json::from_str(mapped["raw_data"].as_str().unwrap()).unwrap();
            assert_eq!(original, serde_json::to_value(&event).unwrap());
        }
    }

    #[test]
    fn a_refused_call_is_a_denied_delete_by_somebody_on_something() {
        let mapped = ocsf(&entry(7, &call())).unwrap();
        assert_eq!(mapped["type_uid"], 600_304);
        assert_eq!(mapped["action"], "Denied");
        assert_eq!(mapped["status_code"], "scope_missing");
        assert_eq!(mapped["count"], 3);
        assert_eq!(mapped["actor"]["app_uid"], "app-1");
        assert_eq!(mapped["actor"]["user"]["uid"], "alice");
        assert_eq!(mapped["actor"]["session"]["uid"], "session-2");
        assert_eq!(
            mapped["actor"]["authorizations"],
            json!([{"decision": "denied", "policy": {"uid": "caracal-orders-use"}}])
        );
        assert_eq!(mapped["api"]["operation"], "DELETE /orders/7");
        assert_eq!(
            mapped["resources"],
            json!([{"uid": "resource://orders", "type": "resource"}])
        );
        assert_eq!(mapped["metadata"]["sequence"], 7);
        assert_eq!(mapped["trace"]["uid"], "4bf92f3577b34da6a3ce929d0e0e4736");
    }
}
