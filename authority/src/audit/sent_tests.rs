use proptest::{collection::vec, option, prelude::*};
use serde_json::{Map, Value};

use super::*;
use crate::{ids::ZoneId, mandate::MandateUse};

/// Any text: of plain characters most often, with escapes and beyond ASCII sometimes.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[ -!#-\\[\\]-~]{0,40}",
        1 => any::<String>(),
        1 => "[\u{0}-\u{1f}\"\\\\/\u{7f}-\u{a0}\u{2028}é€😀a]{1,8}",
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-20_i64..20).prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((text(), inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn object() -> impl Strategy<Value = Map<String, Value>> {
    vec((text(), value()), 0..3).prop_map(|members| members.into_iter().collect())
}

fn mandate() -> impl Strategy<Value = MandateFacts> {
    let texts = || vec(text(), 0..3);
    let some = || option::of(text());
    let uses = [
        MandateUse::Session,
        MandateUse::Gateway,
        MandateUse::Resource,
    ];
    (
        (some(), some(), some(), some(), some(), some()),
        (texts(), texts(), texts()),
        option::of(prop::sample::select(uses.to_vec())),
    )
        .prop_map(
            |((a, b, c, d, e, f), (g, h, i), mandate_use)| MandateFacts {
                client_id: a,
                sub: b,
                sid: c,
                root_sid: d,
                jti: e,
                mandate_use,
                agent_session_id: f,
                session_path: g,
                delegation_path: h,
                delegation_chain: i,
            },
        )
}

fn uuid() -> impl Strategy<Value = String> {
    "[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}"
}

/// Events of every kind, with whatever a policy or a stranger makes them say.
fn event() -> impl Strategy<Value = Event> {
    let some = || option::of(text());
    let few = || option::of(0_u64..2_000_000_000_000_000_000);
    (
        (
            uuid(),
            text(),
            text(),
            text(),
            0..250_000_000_000_000_000_u64,
        ),
        (some(), some(), some(), some(), some(), some(), some()),
        (
            vec(object(), 0..2),
            vec(object(), 0..2),
            option::of(object()),
        ),
        mandate(),
        (few(), few(), some(), some(), any::<bool>()),
        (
            prop::sample::select(EventType::ALL.to_vec()),
            prop_oneof![9 => Just(false), 1 => Just(true)],
            option::of(value()),
            vec(object(), 0..2),
            vec(text(), 0..2),
        ),
    )
        .prop_map(|(first, texts, said, mandate, numbers, other)| {
            let (id, zone, request, status, at) = first;
            let mut event = Event::new(id, ZoneId::from(zone), other.0, request, OccurredAt(at));
            event.evaluation_status = status;
            (
                event.action,
                event.traceparent,
                event.reason,
                event.resource,
                event.method,
                event.path,
                event.gateway_id,
            ) = texts;
            event.determining_policies_json = said.0;
            event.diagnostics_json = said.1;
            event.metadata_json = said.2;
            event.mandate = mandate;
            event.latency_us = numbers.0;
            event.stands_for = numbers.1;
            event.policy.policy_set_version_id = numbers.2;
            event.policy.manifest_sha = numbers.3;
            if numbers.4 {
                event.decision = Decision::Deny;
            }
            if other.1 {
                event.actor = Some(Actor::Application {
                    id: "one".to_owned(),
                });
                event.object = Some(Object {
                    id: "one".to_owned(),
                    kind: "resource".to_owned(),
                });
                event.before = other.2.filter(|before| !before.is_null());
                event.resources = other.3;
                event.requested_scopes = other.4;
            }
            event
        })
}

/// What the text was before there was a quick way.
fn slowly(event: &Event) -> String {
    canonical(&serde_json::to_value(event).unwrap())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_event_is_written_as_the_scheme_has_it(event in event()) {
        let text = event.canonical().unwrap();
        prop_assert_eq!(&text, &slowly(&event));
        let parsed: Event = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(parsed.canonical().unwrap(), text);
    }

    #[test]
    fn what_is_read_off_an_event_is_what_parsing_it_says(event in event(), behind in "[,\\]}]{0,2}") {
        let text = serde_json::to_string(&event).unwrap() + &behind;
        if let Some((sent, rest)) = Sent::read(&text) {
            prop_assert_eq!(rest, &behind);
            let mut parsed = event;
            prop_assert_eq!(sent.facts(), &Facts::from(&parsed));
            let mut written = String::from("[");
            sent.write("the \"edge\"", &mut written);
            parsed.gateway_id = Some("the \"edge\"".to_owned());
            prop_assert_eq!(written.strip_prefix('[').unwrap(), slowly(&parsed));
        }
    }

    #[test]
    fn a_text_that_was_meddled_with_is_read_as_it_is_parsed_or_not_at_all(
        event in event(), place in any::<prop::sample::Index>(), with in "[ -~]{0,2}", cut in 0_usize..3,
    ) {
        let mut text = serde_json::to_string(&event).unwrap();
        let from = place.index(text.len());
        let to = (from + cut).min(text.len());
        prop_assume!(text.is_char_boundary(from) && text.is_char_boundary(to));
        text.replace_range(from..to, &with);
        if let Some((sent, "")) = Sent::read(&text) {
            let mut parsed: Event = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(sent.facts(), &Facts::from(&parsed));
            let mut written = String::new();
            sent.write("edge", &mut written);
            parsed.gateway_id = Some("edge".to_owned());
            prop_assert_eq!(written, slowly(&parsed));
        }
    }

    #[test]
    fn a_document_that_passes_for_canonical_is(value in value()) {
        for text in [value.to_string(), canonical(&value), format!(" {value}"), format!("{value:#}")] {
            if scanner::is_canonical(&text) {
                let parsed: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&canonical(&parsed), &text);
            }
        }
    }
}

/// An event of a request, as a gateway has it.
fn request() -> Event {
    let id = "01980000-0000-7000-8000-000000000001".to_owned();
    let zone = ZoneId::from("zone");
    let at = OccurredAt(1_790_000_000_000_000);
    let mut event = Event::new(
        id,
        zone,
        EventType::GatewayRequest,
        "request".to_owned(),
        at,
    );
    event.mandate.sub = Some("sub".to_owned());
    event.mandate.session_path = vec!["root".to_owned(), "child".to_owned()];
    event.path = Some("/caf\u{e9}/\"quoted\"\n".to_owned());
    event.latency_us = Some(41);
    event.stands_for = Some(10);
    event.diagnostics_json = vec![serde_json::from_str(r#"{"n":-1,"of":[{"a":[]}]}"#).unwrap()];
    event.metadata_json = Some(Map::new());
    event
}

#[test]
fn what_a_gateway_writes_needs_no_parsing() {
    let mut event = request();
    let text = serde_json::to_string(&event).unwrap();
    assert!(Sent::read(&text).is_some(), "{text}");
    event.gateway_id = Some("other".to_owned());
    let text = serde_json::to_string(&event).unwrap();
    let (sent, rest) = Sent::read(&text).unwrap();
    let mut written = String::new();
    sent.write("edge", &mut written);
    assert_eq!(written, text.replace("other", "edge"));
    assert_eq!(rest, "");
}

#[test]
fn what_is_not_sure_to_be_canonical_is_left_to_be_parsed() {
    let text = serde_json::to_string(&request()).unwrap();
    for (from, to) in [
        ("\"decision\"", " \"decision\""),
        ("\"latency_us\":41", "\"latency_us\":41.0"),
        ("\"latency_us\":41", "\"latency_us\":041"),
        ("\"latency_us\":41", "\"latency_us\":-41"),
        ("\"latency_us\":41", "\"latency_us\":1e3"),
        ("\"latency_us\":41", "\"latency_us\":9007199254740993"),
        ("\"latency_us\":41", "\"latency_us\":null"),
        ("\"latency_us\":41,", "\"latency_us\":41,\"latency_us\":41,"),
        ("\"latency_us\":41,", "\"latency_us\":41,\"later\":1,"),
        ("\"sub\":\"sub\"", "\"sub\":\"s\\u0075b\""),
        ("\"sub\":\"sub\"", "\"sub\":\"s\\/b\""),
        ("\"sub\":\"sub\"", "\"sub\":\"s\\\"b\""),
        ("\\n", "\\u000a"),
        ("\\n", "\n"),
        ("\\n", "\\u001F"),
        ("\"n\":-1", "\"n\":-0"),
        ("\"n\":-1", "\"n\":0.5"),
        ("\"n\":-1", "\"\u{e9}\":1"),
        ("\"n\":-1,\"of\"", "\"of\":1,\"n\""),
        ("\"n\":-1,\"of\"", "\"of\":1,\"of\""),
        ("[\"root\",\"child\"]", "[]"),
        ("[\"root\",\"child\"]", "[\"root\",\"child\",]"),
        ("8000-000000000001", "8000-00000000000A"),
        ("\"diagnostics_json\"", "\"diagnostics\""),
        ("{\"a\":[]}", "{\"a\":[}"),
        (
            "\"event_type\":\"gateway_request\"",
            "\"event_type\":\"request\"",
        ),
        (".000000Z", "Z"),
    ] {
        let changed = text.replace(from, to);
        assert_ne!(changed, text, "{from}");
        assert!(Sent::read(&changed).is_none(), "{to}");
    }
    // Without its own id there is nothing before which the gateway's could come.
    let mut event = request();
    event.gateway_id = Some("other".to_owned());
    let whole = serde_json::to_string(&event).unwrap();
    let nameless = whole.replace(&format!("\"id\":\"{}\",", event.id), "");
    assert_ne!(nameless, whole);
    assert!(Sent::read(&nameless).is_none());
    let deep = format!("{}{}", "[".repeat(5_000), "]".repeat(5_000));
    let changed = text.replace("\"n\":-1", &format!("\"n\":{deep}"));
    assert!(Sent::read(&changed).is_none());
    for end in 0..text.len() {
        assert!(
            text.get(..end).is_none_or(|cut| Sent::read(cut).is_none()),
            "{end}"
        );
    }
}
