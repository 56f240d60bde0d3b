use std::collections::BTreeSet;

use authority::audit::Decision;
use proptest::prelude::*;
use tempfile::TempDir;

use super::{
    runs::{RUN_BITS, Runs, run_of},
    segments::{MOST_EVENTS, SPAN},
    terms::{TermKind, Terms, term},
    walk::Walk,
    *,
};
use crate::{entropy, store::tests::with_zone};

const START: u64 = 1_790_000_000_000_000;

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

/// Makes the index of what is there what it was before there were segments, as it is migrated.
async fn forget_segments(store: &Store, zone: &ZoneId) {
    let ledger = store.ledger(zone).await.unwrap();
    let pool = store.writer.pool();
    for table in [
        "audit_terms",
        "audit_segments",
        "audit_runs",
        "audit_filters",
    ] {
        let sql = sqlx::AssertSqlSafe(format!("DELETE FROM {table}"));
        sqlx::query(sql).execute(pool).await.unwrap();
    }
    let run = run_of(ledger.place(ledger.seq + 1));
    for entry in store.entries_after(&ledger, 0, u32::MAX).await.unwrap() {
        let event: Event = serde_json::from_str(&entry.event).unwrap();
        let mut terms = BTreeSet::new();
        Terms::of(zone).each(&Facts::from(&event), |term| {
            terms.insert(term);
        });
        for term in terms {
            let sql = "INSERT INTO audit_terms (run, term, at, entry) VALUES (?, ?, ?, ?)";
            sqlx::query(sql)
                .bind(run)
                .bind(term)
                .bind(signed(event.occurred_at.0))
                .bind(ledger.place(entry.seq))
                .execute(pool)
                .await
                .unwrap();
        }
    }
    sqlx::query("UPDATE ledgers SET first_run = ? WHERE number = ?")
        .bind(run)
        .bind(ledger.number)
        .execute(pool)
        .await
        .unwrap();
}

/// All that the walk finds, page by page, as it comes.
async fn walked(mut walk: Walk<'_>, limit: usize) -> Vec<i64> {
    let mut all = Vec::new();
    loop {
        let start = walk.start;
        let ordered = Walk {
            terms: walk.terms.clone(),
            ..walk
        };
        let (page, next) = ordered
            .rarest_first()
            .await
            .unwrap()
            .find(limit)
            .await
            .unwrap();
        assert!(page.len() <= limit);
        all.extend(page);
        let Some(next) = next else {
            return all;
        };
        assert!(next < start, "{next:?} after {start:?}");
        walk.start = next;
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
        batches in batches(), old in 0_usize..6, limit in 1_usize..9, steps in 1_i64..30,
        since in 0..SPAN * 3, until in 0..SPAN * 4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (store, zone) = zone_in(&dir).await;
            let mut all = Vec::new();
            for (number, batch) in batches.into_iter().enumerate() {
                if number == old {
                    forget_segments(&store, &zone).await;
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
                    let walk = Walk {
                        store: &store,
                        runs: Runs::of(&store, &zone).await.unwrap(),
                        terms: terms.clone(),
                        start: (signed(until), i64::MIN).min((i64::MAX, i64::MAX)),
                        since: signed(since),
                        steps,
                    };
                    assert_eq!(walked(walk, limit).await, expected);
                }
            }
            store.close().await;
        });
    }
}

#[tokio::test]
async fn events_of_a_batch_share_a_row_for_what_they_have_in_common() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let batch: Vec<Event> = (0..250).map(|at| event(&zone, at * 100, 1)).collect();
    append(&store, &zone, &batch).await;
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM audit_terms")
        .fetch_one(&store.readers)
        .await
        .unwrap();
    // Seven requests, and once each: zone, type, decision, client, resource, session and the one above.
    assert_eq!(rows, 7 + 7);
}

#[tokio::test]
async fn a_search_looks_at_so_many_events_and_at_most_a_segment_more() {
    const STEPS: i64 = 30;
    const LARGE: usize = 100;
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    // The newest are segments of one event each, and those before of many.
    for (batch, events) in [LARGE; 12].into_iter().chain([1; 20]).enumerate() {
        let at = |number: usize| u64::try_from(batch * 1_000 + number).unwrap();
        let events: Vec<Event> = (0..events)
            .map(|number| event(&zone, at(number), 1))
            .collect();
        append(&store, &zone, &events).await;
    }
    let walk = Walk {
        store: &store,
        runs: Runs::of(&store, &zone).await.unwrap(),
        terms: vec![term(&zone, TermKind::Client, "client-1")],
        start: (i64::MAX, i64::MAX),
        since: 0,
        steps: STEPS,
    };
    let (found, next) = walk.find(10_000).await.unwrap();
    let most = usize::try_from(STEPS).unwrap() + LARGE;
    assert!((20..=most).contains(&found.len()), "{}", found.len());
    assert!(next.is_some());
}

#[tokio::test]
async fn a_search_passes_over_the_runs_that_do_not_have_what_is_looked_for() {
    const RUN: u64 = 1 << RUN_BITS;
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
    let ledger = store.ledger(&zone).await.unwrap();
    let runs = Runs::of(&store, &zone).await.unwrap();
    let window = |terms: Vec<i64>| {
        let store = &store;
        async move {
            let window = runs.window(store, &terms, 0, i64::MAX, usize::MAX).await;
            window.unwrap().runs
        }
    };
    let all = window(vec![term(&zone, TermKind::Zone, "")]).await;
    assert_eq!(all.len(), usize::try_from(RUNS).unwrap());
    let of_request = |at: u64| term(&zone, TermKind::Request, &format!("request-{at}"));
    let mut looked_into = 0;
    for at in 0..RUN * RUNS {
        let with = window(vec![of_request(at)]).await;
        assert!(with.contains(&run_of(ledger.place(at / 10 * 10 + 1))));
        looked_into += with.len();
        let both = vec![of_request(at), term(&zone, TermKind::Client, "client-1")];
        assert_eq!(window(both).await, with);
    }
    // Hardly ever another than its own.
    let most = requests.len() * 11 / 10;
    assert!(looked_into <= most, "{looked_into} of {most}");
    // Nothing is written about what is migrated, which may be any number of events.
    forget_segments(&store, &zone).await;
    let batch: Vec<Event> = (0..RUN).map(|at| event(&zone, at, 2)).collect();
    append(&store, &zone, &batch).await;
    let found: (i64, i64) = sqlx::query_as(
        "SELECT (SELECT count(*) FROM audit_runs), (SELECT count(*) FROM audit_filters)",
    )
    .fetch_one(&store.readers)
    .await
    .unwrap();
    assert_eq!(found, (1, 0));
}

#[tokio::test]
async fn what_is_pruned_leaves_nothing_in_the_index_and_the_rest_can_be_found() {
    let dir = tempfile::tempdir().unwrap();
    let (store, zone) = zone_in(&dir).await;
    let count = |sql: &'static str| {
        let query = sqlx::query_scalar::<_, i64>(sql);
        query.fetch_one(&store.readers)
    };
    let mut written = 0;
    let mut batch = async |events: u64, apart: u64| {
        let batch: Vec<Event> = (0..events)
            .map(|number| event(&zone, (written + number) * apart, 1))
            .collect();
        append(&store, &zone, &batch).await;
        written += events;
        written
    };
    // Of more than a run, so that they are found in another than that of their numbers.
    batch(70, 1).await;
    forget_segments(&store, &zone).await;
    // Of more than go at once, of one event, far from each other, and of as many as go at once.
    let most = u64::try_from(MOST_EVENTS).unwrap();
    batch(most + 20, 1).await;
    batch(1, 1).await;
    batch(5, SPAN).await;
    let sealed = batch(most, 1).await;
    let all = batch(7, 2).await;
    let ledger = store.ledger(&zone).await.unwrap();
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
    let runs = [
        "SELECT count(*) FROM audit_runs",
        "SELECT count(*) FROM audit_filters",
    ];
    for runs in runs {
        assert!(count(runs).await.unwrap() > 0);
    }
    let mut removed = 0;
    loop {
        match change.prune(&ledger).await.unwrap() {
            0 => break,
            some => removed += some,
        }
    }
    change.commit().await.unwrap();
    assert_eq!(removed, sealed);
    assert_eq!(
        count("SELECT count(*) FROM audit_segments").await.unwrap(),
        1
    );
    assert_eq!(
        count("SELECT count(DISTINCT entry) FROM audit_terms")
            .await
            .unwrap(),
        1
    );
    for runs in runs {
        assert_eq!(count(runs).await.unwrap(), 0);
    }
    let walk = Walk {
        store: &store,
        runs: Runs::of(&store, &zone).await.unwrap(),
        terms: vec![term(&zone, TermKind::Zone, "")],
        start: (i64::MAX, i64::MAX),
        since: 0,
        steps: 100,
    };
    let left: Vec<i64> = (sealed + 1..=all)
        .rev()
        .map(|seq| ledger.place(seq))
        .collect();
    assert_eq!(walked(walk, 3).await, left);
}
