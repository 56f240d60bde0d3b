use serde_json::{Value, json};
#[cfg(target_arch = "wasm32")]
use wasm_bindgen_test::wasm_bindgen_test as test;

use super::*;
use crate::{
    ids::ZoneId,
    jwks::KeySet,
    testing::{KID, ZONE, keys, kid, zone_key},
};

const RECORDED: OccurredAt = OccurredAt(1_790_000_050_000_000);

fn event(number: u64) -> Event {
    let mut event = Event::new(
        format!("01980000-0000-7000-8000-{number:012}"),
        ZoneId::from(ZONE),
        EventType::GatewayRequest,
        format!("request-{number}"),
        OccurredAt(1_790_000_000_000_000 + number),
    );
    event.path = Some(format!("/demo/items/{number}"));
    event
}

/// An export of `events` events with a checkpoint after each third, and the checkpoints.
fn export(events: u64) -> (Vec<String>, Vec<SignedCheckpoint>) {
    let zone = ZoneId::from(ZONE);
    let mut lines = vec![Line::Header(HeaderLine {
        format: FORMAT.to_owned(),
        zone_id: zone.clone(),
        first_seq: 1,
        start: None,
    })];
    let mut checkpoints = Vec::new();
    let mut hash = GENESIS;
    let signed = |seq, hash, previous, ends_export_from| {
        Checkpoint {
            zone_id: zone.clone(),
            seq,
            hash,
            previous,
            at: OccurredAt(1_790_000_100_000_000),
            ends_export_from,
        }
        .sign(&kid(KID), &zone_key())
    };
    for seq in 1..=events {
        let content = event(seq).canonical().unwrap();
        hash = link(&zone, seq, RECORDED, &hash, &content);
        lines.push(Line::Event(EntryLine {
            seq,
            hash,
            recorded_at: RECORDED,
            event: serde_json::from_str(&content).unwrap(),
        }));
        if seq % 3 == 0 {
            let checkpoint = signed(seq, hash, seq - 3, None);
            checkpoints.push(checkpoint.clone());
            lines.push(Line::Checkpoint(checkpoint));
        }
    }
    lines.push(Line::End(signed(
        events,
        hash,
        events - events % 3,
        Some(1),
    )));
    let lines = lines
        .iter()
        .map(|line| serde_json::to_string(line).unwrap())
        .collect();
    (lines, checkpoints)
}

fn check(lines: &[String], keys: &KeySet) -> Result<Summary, Fault> {
    let mut verifier = Verifier::new(keys);
    lines.iter().try_for_each(|line| verifier.push(line))?;
    verifier.finish()
}

#[test]
fn an_export_as_it_was_written_is_good() {
    let (lines, _) = export(10);
    let summary = check(&lines, &keys()).unwrap();
    assert_eq!(
        (summary.first_seq, summary.last_seq, summary.events),
        (1, 10, 10)
    );
    assert_eq!(summary.checkpoints, 3);
    // What a tool does to the form of a line changes nothing.
    let spaced: Vec<String> = lines
        .iter()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            serde_json::to_string_pretty(&value).unwrap()
        })
        .collect();
    assert_eq!(check(&spaced, &keys()).unwrap(), summary);
}

#[test]
fn whatever_is_done_to_an_export_is_found_at_its_place() {
    let (lines, _) = export(10);
    let keys = keys();
    let fault = |change: &dyn Fn(&mut Vec<String>)| {
        let mut changed = lines.clone();
        change(&mut changed);
        check(&changed, &keys).unwrap_err()
    };
    // Header, events 1 to 3, checkpoint, events 4 to 6, checkpoint, ...
    let altered = fault(&|lines| lines[6] = lines[6].replace("/demo/items/5", "/demo/items/6"));
    assert_eq!((altered.line, altered.seq), (7, Some(5)));
    let left_out = fault(&|lines| drop(lines.remove(6)));
    assert_eq!((left_out.line, left_out.seq), (7, Some(6)));
    assert!(left_out.problem.contains("expected event 5"), "{left_out}");
    let swapped = fault(&|lines| lines.swap(2, 3));
    assert_eq!((swapped.line, swapped.seq), (3, Some(3)));
    let twice = fault(&|lines| lines.insert(3, lines[2].clone()));
    assert_eq!((twice.line, twice.seq), (4, Some(2)));
    let cut = fault(&|lines| lines.truncate(9));
    assert_eq!((cut.line, cut.seq), (10, Some(7)));
    let renumbered = fault(&|lines| {
        lines.remove(6);
        lines[6] = lines[6].replace("\"seq\":6", "\"seq\":5");
    });
    assert_eq!((renumbered.line, renumbered.seq), (7, Some(5)));
    // The last checkpoint as the end.
    let shortened = fault(&|lines| {
        let end = lines[12].replace("\"line\":\"checkpoint\"", "\"line\":\"end\"");
        lines.truncate(12);
        lines.push(end);
    });
    assert_eq!(shortened.line, 13);
    assert!(shortened.problem.contains("not the end"), "{shortened}");
    let end_kept = fault(&|lines| drop(lines.drain(12..14)));
    assert_eq!((end_kept.line, end_kept.seq), (13, Some(10)));
    let forged = fault(&|lines| lines[4] = lines[4].replace("\"seq\":3", "\"seq\":2"));
    assert_eq!(forged.line, 5);
    let more = fault(&|lines| lines.push(lines[1].clone()));
    assert_eq!(more.line, 16);
    assert_eq!(fault(&|lines| lines.clear()).line, 1);
    assert_eq!(fault(&|lines| drop(lines.remove(0))).line, 1);
    assert_eq!(fault(&|lines| lines[3] = "{".to_owned()).line, 4);
    let told = fault(&|lines| {
        lines[3] = json!({"line": "fault", "seq": 3, "detail": "its MAC is wrong"}).to_string();
    });
    assert_eq!((told.line, told.seq), (4, Some(3)));
}

/// Pseudo-random numbers (xorshift64), the same every time.
#[cfg(not(target_arch = "wasm32"))]
struct Dice(u64);

#[cfg(not(target_arch = "wasm32"))]
impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }
}

// Too many signatures for a build without optimisation that Node runs.
#[cfg(not(target_arch = "wasm32"))]
#[test]
fn a_thousand_copies_tampered_with_at_random_are_all_found_out_where_it_was_done() {
    const EVENTS: u64 = 60;
    let (lines, _) = export(EVENTS);
    let keys = keys();
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    let mut told = std::collections::BTreeMap::new();
    for copy in 0..1_000 {
        let mut changed = lines.clone();
        // Not the header, in which nothing is signed but what the lines after it are held against.
        let place = 1 + dice.below(lines.len() - 1);
        let (kind, faulty) = match copy % 5 {
            0 => {
                let mut bytes = changed[place].clone().into_bytes();
                let at = dice.below(bytes.len());
                bytes[at] ^= 1 << dice.below(7);
                changed[place] = String::from_utf8_lossy(&bytes).into_owned();
                // Two ways to write the same are no change to what is said.
                let said = |line: &str| serde_json::from_str::<Line>(line).ok();
                if said(&changed[place]) == said(&lines[place]) {
                    continue;
                }
                ("flipped", place)
            }
            1 => {
                changed.remove(place);
                ("deleted", place)
            }
            2 => {
                let from = 1 + dice.below(lines.len() - 1);
                if lines[from] == lines[place] {
                    continue;
                }
                changed.insert(place, lines[from].clone());
                ("inserted", place)
            }
            3 => {
                let other = 1 + dice.below(lines.len() - 1);
                if lines[other] == lines[place] {
                    continue;
                }
                changed.swap(place, other);
                ("swapped", place.min(other))
            }
            _ => {
                changed.truncate(place);
                ("cut off", place)
            }
        };
        let fault = check(&changed, &keys).expect_err(kind);
        let at = usize::try_from(fault.line).unwrap() - 1;
        // That a checkpoint is not where it was shows there, or at the next one or the end.
        let is_event = |line: &String| line.starts_with(r#"{"line":"event""#);
        let next = changed.iter().skip(faulty).position(|line| !is_event(line));
        let shows_later = !is_event(&lines[faulty]) && next.map(|next| faulty + next) == Some(at);
        assert!(at == faulty || shows_later, "{kind} {place}: {fault}");
        *told.entry(kind).or_insert(0) += 1;
    }
    assert!(told.values().all(|count| *count > 150), "{told:?}");
}

#[test]
fn a_chain_that_was_made_anew_does_not_have_the_zones_signature() {
    let (lines, _) = export(4);
    let stranger = KeySet::default();
    let fault = check(&lines, &stranger).unwrap_err();
    assert_eq!(fault.line, 5);
    assert!(fault.problem.contains("not known"), "{fault}");
}

#[test]
fn an_export_is_held_against_a_checkpoint_that_was_kept() {
    let (long, checkpoints) = export(10);
    let (short, _) = export(5);
    let keys = keys();
    let pinned = |lines: &[String], kept: &SignedCheckpoint| {
        let mut verifier = Verifier::new(&keys);
        verifier.pin(kept).unwrap();
        lines.iter().try_for_each(|line| verifier.push(line))?;
        verifier.finish()
    };
    assert!(pinned(&long, &checkpoints[1]).is_ok());
    // Whole and signed, but from before, or with its end cut off and closed by the one who signs.
    let fault = pinned(&short, &checkpoints[1]).unwrap_err();
    assert_eq!(fault.seq, Some(6));
    let mut other = checkpoints[0].checkpoint.clone();
    other.hash = GENESIS;
    let fault = pinned(&long, &other.sign(&kid(KID), &zone_key())).unwrap_err();
    assert_eq!(fault.seq, Some(3));
}

#[test]
fn an_export_that_begins_later_begins_at_a_checkpoint() {
    let (lines, checkpoints) = export(10);
    let header = |first_seq, start: &SignedCheckpoint| {
        serde_json::to_string(&Line::Header(HeaderLine {
            format: FORMAT.to_owned(),
            zone_id: ZoneId::from(ZONE),
            first_seq,
            start: Some(start.clone()),
        }))
        .unwrap()
    };
    let end = |first: u64| {
        let Line::End(mut end) = serde_json::from_str(lines.last().unwrap()).unwrap() else {
            panic!("no end");
        };
        end.checkpoint.ends_export_from = Some(first);
        serde_json::to_string(&Line::End(end.checkpoint.sign(&kid(KID), &zone_key()))).unwrap()
    };
    let with = |header: String, end: String| {
        let mut later = vec![header];
        later.extend_from_slice(&lines[5..14]);
        later.push(end);
        check(&later, &keys())
    };
    let summary = with(header(4, &checkpoints[0]), end(4)).unwrap();
    assert_eq!((summary.first_seq, summary.events), (4, 7));
    assert!(with(header(4, &checkpoints[1]), end(4)).is_err());
    assert!(with(header(5, &checkpoints[0]), end(5)).is_err());
    let fault = with(header(4, &checkpoints[0]), end(1)).unwrap_err();
    assert!(fault.problem.contains("not the end"), "{fault}");
}

#[test]
fn times_are_written_and_read_as_rfc_3339() {
    for (micros, text) in [
        (0, "1970-01-01T00:00:00.000000Z"),
        (951_782_400_000_001, "2000-02-29T00:00:00.000001Z"),
        (1_779_364_800_123_456, "2026-05-21T12:00:00.123456Z"),
        (4_107_542_399_999_999, "2100-02-28T23:59:59.999999Z"),
        (4_107_542_400_000_000, "2100-03-01T00:00:00.000000Z"),
    ] {
        assert_eq!(OccurredAt(micros).to_string(), text);
        assert_eq!(OccurredAt::parse(text), Some(OccurredAt(micros)));
    }
    for text in [
        "",
        "2026-05-21T12:00:00Z",
        "2026-02-29T12:00:00.000000Z",
        "2026-05-21T24:00:00.000000Z",
        "2026-05-21T12:60:00.000000Z",
        "2026-05-21 12:00:00.000000Z",
        "2026-05-21T12:00:00.000000+",
        "2026-05-21T12:00:00.0000000Z",
        "1969-12-31T23:59:59.000000Z",
        "2026-05-21T12:00:00.00000éZ",
    ] {
        assert_eq!(OccurredAt::parse(text), None, "{text}");
    }
}

#[test]
fn what_is_no_trace_context_is_not_kept() {
    let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert!(is_traceparent(good));
    for text in [
        "",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
        "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
        "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
        &format!("{good}-more"),
    ] {
        assert!(!is_traceparent(text), "{text}");
    }
}
