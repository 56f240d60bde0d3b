use authority::audit::Decision;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    runs::{RUN_BITS, closed, run_of},
    terms::{TermKind, term},
    walk::Walk,
    *,
};
use crate::{
    entropy,
    store::tests::{chain_key, with_zone},
};

const START: u64 = 1_790_000_000_000_000;
/// Events of a run.
const RUN: u64 = 1 << RUN_BITS;
/// Microseconds within which batches happen.
const SPAN: u64 = 250_000;

async fn zone_in(dir: &TempDir) -> (Store, ZoneId) {
    let (store, zone) = with_zone(dir.path()).await;
    (store, zone.id)
}

/// An event that happened so many microseconds in, with one of few clients and one of few resources.
fn event(zone: &ZoneId, at: u64, kind: u8) -> Event {
    let request = format!("request-{}", at % 7);
    let happened = OccurredAt(START + at);
    let mut event = Event::new(
        entropy::id(),
        zone.clone(),
        authority::audit::EventType::GatewayRequest,
        request,
        happened,
    );
    event.mandate.client_id = Some(format!("client-{}", kind % 4));
    event.mandate.agent_session_id = Some(format!("session-{}", kind % 3));
    event.mandate.session_path = vec!["root".to_owned(), format!("session-{}", kind % 3)];
    event.resource = (!kind.is_multiple_of(5)).then(|| format!("resource-{}", kind % 5));
    if kind.is_multiple_of(11) {
        event.decision = Decision::Deny;
    }
    event
}

async fn append(store: &Store, zone: &ZoneId, events: &[Event]) {
    let mut change = store.begin().await.unwrap();
    change.append(zone, events).await.unwrap();
    change.commit().await.unwrap();
}

/// Waits until the index of all runs is written that have come to their end.
async fn settled(store: &Store, zone: &ZoneId) {
    let written = async {
        loop {
            let ledger = store.ledger(zone).await.unwrap();
            if run_of(ledger.begin() + 1) == run_of(ledger.place(ledger.seq) + 1) {
                return;
            }
            tokio::task::yield_now().await;
        }
    };
    let most = std::time::Duration::from_secs(30);
    tokio::time::timeout(most, written).await.unwrap();
}

/// All that is found by these terms, page by page, as it comes.
async fn walked(
    store: &Store,
    zone: &ZoneId,
    terms: &[i64],
    mut start: (i64, i64),
    since: i64,
    (limit, steps): (usize, usize),
) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let walk = Walk::over(store, zone, terms, start, since, steps);
        let (page, next) = walk.await.unwrap().find(limit).await.unwrap();
        assert!(page.len() <= limit);
        all.extend(page);
        let Some(next) = next else {
            return all;
        };
        assert!(next < start, "{next:?} after {start:?}");
        start = next;
    }
}

/// Which events something fits.
type Fits = Box<dyn Fn(&Event) -> bool>;

/// What searches ask for.
fn asked(zone: &ZoneId) -> Vec<(Vec<i64>, Fits)> {
    use TermKind as K;
    let client = |event: &Event| event.mandate.client_id.as_deref() == Some("client-1");
    let denied = |event: &Event| event.decision == Decision::Deny;
    let resource = |event: &Event| event.resource.as_deref() == Some("resource-2");
    let of = |kind, value| term(zone, kind, value);
    vec![
        (vec![of(K::Zone, "")], Box::new(|_| true)),
        (vec![of(K::Client, "client-1")], Box::new(client)),
        (vec![of(K::Session, "root")], Box::new(|_| true)),
        (
            vec![of(K::Request, "request-3")],
            Box::new(|event| event.request_id == "request-3"),
        ),
        (
            vec![of(K::Decision, "deny"), of(K::Client, "client-1")],
            Box::new(move |event| denied(event) && client(event)),
        ),
        (
            vec![
                of(K::Client, "client-1"),
                of(K::Resource, "resource-2"),
                of(K::Type, "gateway_request"),
            ],
            Box::new(move |event| client(event) && resource(event)),
        ),
        (
            vec![of(K::Client, "client-1"), of(K::Client, "client-2")],
            Box::new(|_| false),
        ),
    ]
}

/// Batches that several gateways send at about the same time, each of events more or less in order.
fn batches() -> impl Strategy<Value = Vec<Vec<(u64, u8)>>> {
    let event = (
        prop_oneof![0_u64..5, 0_u64..SPAN, 0_u64..SPAN * 3],
        any::<u8>(),
    );
    let batch = (0..SPAN * 2, prop::collection::vec(event, 1..25)).prop_map(|(begin, events)| {
        let at = |(after, kind)| (begin + after, kind);
        events.into_iter().map(at).collect()
    });
    prop::collection::vec(batch, 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn a_search_finds_all_that_fits_in_order_however_it_was_written(
        batches in batches(), forgotten in 0_usize..12, written in 0_usize..12,
        limit in 1_usize..9, steps in 1_usize..300, since in 0..SPAN * 3, until in 0..SPAN * 4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (store, zone) = zone_in(&dir).await;
            let mut all = Vec::new();
            for (number, batch) in batches.into_iter().enumerate() {
                if number == forgotten {
                    store.fresh.forget();
                }
                if number == written {
                    settled(&store, &zone).await;
                }
                let batch: Vec<Event> = batch.iter().map(|(at, kind)| event(&zone, *at, *kind)).collect();
                append(&store, &zone, &batch).await;
                all.extend(batch);
            }
            let ledger = store.ledger(&zone).await.unwrap();
            for (terms, fits) in asked(&zone) {
                for (since, until) in [(0, u64::MAX), (since, until)] {
                    let (since, until) = (START + since, START.saturating_add(until));
                    let mut expected: Vec<(u64, i64)> = (1..)
                        .zip(&all)
                        .map(|(seq, event)| (event.occurred_at.0, ledger.place(seq), event))
                        .filter(|(at, _, event)| fits(event) && *at >= since && *at < until)
                        .map(|(at, place, _)| (at, place))
                        .collect();
                    expected.sort_unstable_by(|one, other| other.cmp(one));
                    let expected: Vec<i64> = expected.into_iter().map(|(_, place)| place).collect();
                    let start = (signed(until), i64::MIN).min((i64::MAX, i64::MAX));
                    let found =
                        walked(&store, &zone, &terms, start, signed(since), (limit, steps)).await;
                    assert_eq!(found, expected);
                }
            }
            store.close().await;
        });
    }
}

#[tokio::test]
async fn what_events_of_a_run_have_in_common_is_a_row_for_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let events: Vec<Event> = (0..RUN - 1).map(|at| event(&zone, at * 100, 1)).collect();
    for batch in events.chunks(9) {
        append(&store, &zone, batch).await;
    }
    settled(&store, &zone).await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_index")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    // Seven requests, and once each: zone, type, decision, client, resource, session and the one above.
    assert_eq!(rows, 7 + 7);
}

#[tokio::test]
async fn a_search_looks_at_so_many_events_and_at_most_some_runs_more() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let events: Vec<Event> = (0..20 * RUN - 1).map(|at| event(&zone, at, 1)).collect();
    append(&store, &zone, &events).await;
    settled(&store, &zone).await;
    let terms = [term(&zone, TermKind::Client, "client-1")];
    let newest = (i64::MAX, i64::MAX);
    let run = usize::try_from(RUN).unwrap();
    // After one run four are looked into, and then sixteen.
    for (steps, most) in [
        (1, 1),
        (run, 1),
        (run + 1, 5),
        (5 * run, 5),
        (5 * run + 1, 21),
    ] {
        let walk = Walk::over(&store, &zone, &terms, newest, 0, steps).await;
        let (found, next) = walk.unwrap().find(10_000).await.unwrap();
        assert!((1..=most * run).contains(&found.len()), "{}", found.len());
        assert_eq!(next.is_some(), most < 20, "{steps}");
    }
}

#[tokio::test]
async fn a_search_passes_over_the_runs_that_do_not_have_what_is_looked_for() {
    const RUNS: u64 = 12;
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let mut requests = Vec::new();
    for at in 0..RUN * RUNS {
        let mut event = event(&zone, at, 1);
        event.request_id = format!("request-{at}");
        requests.push(event);
    }
    for batch in requests.chunks(10) {
        append(&store, &zone, batch).await;
    }
    settled(&store, &zone).await;
    let ledger = store.ledger(&zone).await.unwrap();
    let with = async |terms: Vec<i64>| -> Vec<i64> {
        let runs = closed(&store, &ledger, &terms, (0, i64::MAX), None, usize::MAX);
        runs.await
            .unwrap()
            .iter()
            .map(|closed| closed.run)
            .collect()
    };
    let all = with(vec![term(&zone, TermKind::Zone, "")]).await;
    assert_eq!(all.len(), usize::try_from(RUNS).unwrap());
    let mut looked_into = 0;
    for at in 0..RUN * RUNS - 1 {
        let of_request = term(&zone, TermKind::Request, &format!("request-{at}"));
        let runs = with(vec![of_request]).await;
        assert!(runs.contains(&run_of(ledger.place(at + 1))));
        looked_into += runs.len();
        let client = term(&zone, TermKind::Client, "client-1");
        assert_eq!(with(vec![of_request, client]).await, runs);
    }
    // Hardly ever another than its own.
    let most = requests.len() * 11 / 10;
    assert!(looked_into <= most, "{looked_into} of {most}");
}

#[tokio::test]
async fn what_is_pruned_leaves_nothing_in_the_index_and_the_rest_can_be_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let count = async |table: &'static str| -> i64 {
        let sql = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let counted = sqlx::query_scalar(sql).fetch_one(&store.readers);
        counted.await.unwrap()
    };
    const INDEX: [&str; 3] = ["audit_runs", "audit_filters", "audit_index"];
    let (sealed, all) = (16 * RUN + 9, 17 * RUN + 20);
    let events: Vec<Event> = (0..all).map(|at| event(&zone, at, 1)).collect();
    for batch in events.chunks(50) {
        append(&store, &zone, batch).await;
    }
    settled(&store, &zone).await;
    let mut before = Vec::new();
    for table in INDEX {
        before.push(count(table).await);
    }
    prune(&store, &zone, sealed).await;
    assert_eq!(everything(&store, &zone).await, between(sealed, all));
    // A run of seventeen is left, of which some is gone.
    for (table, before) in INDEX.into_iter().zip(before) {
        let left = count(table).await;
        assert!(
            left > 0 && left * 10 < before,
            "{table}: {left} of {before}"
        );
    }
    prune(&store, &zone, all).await;
    for table in INDEX.into_iter().chain(["audit_entries"]) {
        assert_eq!(count(table).await, 0, "{table}");
    }
    assert!(everything(&store, &zone).await.is_empty());
}

/// Where all events are of which a search knows.
async fn everything(store: &Store, zone: &ZoneId) -> Vec<i64> {
    let (terms, newest) = ([term(zone, TermKind::Zone, "")], (i64::MAX, i64::MAX));
    let places = walked(store, zone, &terms, newest, 0, (3, 100)).await;
    places.into_iter().map(|place| place & MAX_SEQ).collect()
}

/// The numbers after `after` up to `upto`, the last one first.
fn between(after: u64, upto: u64) -> Vec<i64> {
    (after + 1..=upto).rev().map(signed).collect()
}

async fn prune(store: &Store, zone: &ZoneId, sealed: u64) {
    let ledger = store.ledger(zone).await.unwrap();
    let mut change = store.begin().await.unwrap();
    sqlx::query(
        "INSERT INTO audit_checkpoints (ledger, seq, at, seals, signed) VALUES (?, ?, 0, 1, '')",
    )
    .bind(ledger.number)
    .bind(signed(sealed))
    .execute(&mut *change.0)
    .await
    .unwrap();
    change.begin_pruning(&ledger, sealed).await.unwrap();
    while change.prune(&ledger).await.unwrap() > 0 {}
    change.commit().await.unwrap();
}

#[tokio::test]
async fn what_is_pruned_before_its_run_comes_to_an_end_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let events =
        |numbers: std::ops::Range<u64>| numbers.map(|at| event(&zone, at, 1)).collect::<Vec<_>>();
    append(&store, &zone, &events(0..20)).await;
    append(&store, &zone, &events(20..30)).await;
    prune(&store, &zone, 20).await;
    assert_eq!(everything(&store, &zone).await, between(20, 30));
    // The same if it is read from the entries.
    store.fresh.forget();
    assert_eq!(everything(&store, &zone).await, between(20, 30));
    append(&store, &zone, &events(30..2 * RUN)).await;
    settled(&store, &zone).await;
    assert_eq!(everything(&store, &zone).await, between(20, 2 * RUN));
    // And all of several runs at once.
    append(&store, &zone, &events(2 * RUN..4 * RUN + 5)).await;
    prune(&store, &zone, 4 * RUN + 5).await;
    append(&store, &zone, &events(4 * RUN + 5..6 * RUN)).await;
    settled(&store, &zone).await;
    let left = between(4 * RUN + 5, 6 * RUN);
    assert_eq!(everything(&store, &zone).await, left);
    let oldest: i64 = sqlx::query_scalar("SELECT min(run) FROM audit_index")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    let ledger = store.ledger(&zone).await.unwrap();
    assert!(oldest >= run_of(ledger.place(4 * RUN + 6)));
}

#[tokio::test]
async fn what_was_not_committed_is_not_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let of = |kind: u8| [event(&zone, kind.into(), kind)];
    append(&store, &zone, &of(1)).await;
    let mut undone = store.begin().await.unwrap();
    undone.append(&zone, &of(2)).await.unwrap();
    drop(undone);
    // Together with others, of which one is undone: the first waits for the turn of the second.
    let mut first = store.begin().await.unwrap();
    let (behind, behind_zone) = (store.clone(), zone.clone());
    let undone = tokio::spawn(async move {
        let mut change = behind.begin().await.unwrap();
        let event = event(&behind_zone, 3, 3);
        change.append(&behind_zone, &[event]).await.unwrap();
    });
    tokio::task::yield_now().await;
    first.append(&zone, &of(4)).await.unwrap();
    first.commit().await.unwrap();
    undone.await.unwrap();
    append(&store, &zone, &of(6)).await;
    assert_eq!(everything(&store, &zone).await, between(0, 3));
    for (kind, seqs) in [
        (1, vec![1]),
        (2, vec![]),
        (3, vec![]),
        (4, vec![2]),
        (6, vec![3]),
    ] {
        let filter = AuditFilter {
            resource: Some(format!("resource-{}", kind % 5)),
            client_id: Some(format!("client-{}", kind % 4)),
            ..AuditFilter::default()
        };
        let page = store.find_events(&zone, &filter, None, 10).await.unwrap();
        let found = page.entries.iter().map(|(entry, _)| entry.seq);
        assert_eq!(found.collect::<Vec<_>>(), seqs, "{kind}");
    }
}

#[tokio::test]
async fn ledgers_make_room_for_each_other_and_are_read_again() {
    const ZONES: i64 = 12;
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = zone_in(&dir).await;
    let mut zones = Vec::new();
    for number in 0..ZONES {
        let zone = ZoneId::from(format!("zone-{number}"));
        sqlx::query("INSERT INTO zones (id, slug, name, created_at) VALUES (?1, ?1, ?1, 0)")
            .bind(zone.as_str())
            .execute(&store.readers)
            .await
            .unwrap();
        zones.push(zone);
    }
    for round in 0..5 {
        for zone in &zones {
            let events: Vec<Event> = (0..11).map(|at| event(zone, round * 11 + at, 1)).collect();
            append(&store, zone, &events).await;
        }
    }
    assert!(store.fresh.postings() <= fresh::MOST_POSTINGS);
    for zone in &zones {
        assert_eq!(everything(&store, zone).await, between(0, 55));
        let one_more = fresh::MOST_POSTINGS + 55 * 10;
        assert!(store.fresh.postings() <= one_more);
    }
}

#[tokio::test]
async fn an_index_that_was_not_written_is_when_the_database_is_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let events: Vec<Event> = (0..3 * RUN).map(|at| event(&zone, at, 1)).collect();
    for batch in events.chunks(7) {
        append(&store, &zone, batch).await;
    }
    settled(&store, &zone).await;
    // As if the server had been killed while it wrote the second.
    for sql in [
        "UPDATE ledgers SET indexed = 63",
        "DELETE FROM audit_runs WHERE run % 4 <> 0",
        "DELETE FROM audit_filters WHERE run % 4 <> 0",
        "DELETE FROM audit_index WHERE run % 4 = 1 AND term > 0 OR run % 4 = 2",
        // And one event had been tampered with.
        "DROP TRIGGER audit_entries_never_change",
        "UPDATE audit_entries SET event = '{' WHERE entry & 0xffffffffff = 100",
    ] {
        sqlx::query(sql).execute(&store.readers).await.unwrap();
    }
    store.close().await;
    let file = dir.path().join("test.db");
    let store = Store::open_file(&file, chain_key(dir.path())).await;
    let store = store.unwrap();
    let ledger = store.ledger(&zone).await.unwrap();
    assert_eq!(ledger.indexed, 3 * RUN - 1);
    let but_one = |upto| {
        let mut numbers = between(0, upto);
        numbers.retain(|number| *number != 100);
        numbers
    };
    assert_eq!(everything(&store, &zone).await, but_one(3 * RUN));
    append(&store, &zone, &[event(&zone, 3 * RUN, 1)]).await;
    assert_eq!(everything(&store, &zone).await, but_one(3 * RUN + 1));
    let runs: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_runs")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    assert_eq!(runs, 3);
}
