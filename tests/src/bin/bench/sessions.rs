//! What sessions cost: ten thousand of them in a tree of depth ten, started one after the other, listed,
//! and ended at the root.

use std::time::{Duration, Instant};

use e2e::sts::Sts;
use serde_json::{Value, json};

const SESSIONS: usize = 10_000;
const DEPTH: usize = 10;
/// Children of a session, such that so many fit into that depth.
const WIDTH: usize = 3;

/// Starts them, and prints how long each thing took.
pub(crate) fn run() {
    let sts = Sts::start();
    let zone = sts.zone("bench");
    let agent = zone.govern();
    let mut sessions: Vec<(String, usize)> = vec![(zone.session(&agent, "agent", None), 0)];
    let mut times = Vec::new();
    let (mut parent, mut deepest) = (0, 0);
    while sessions.len() < SESSIONS {
        // The first of each level goes on down; the rest is filled in level by level.
        let (id, depth) = sessions[parent].clone();
        parent += 1;
        if depth == DEPTH {
            continue;
        }
        for _ in 0..WIDTH.min(SESSIONS - sessions.len()) {
            let started = Instant::now();
            let child = zone.session(&agent, "agent", Some(&id));
            times.push(started.elapsed());
            sessions.push((child, depth + 1));
            deepest = deepest.max(depth + 1);
        }
    }
    // A chain down to the deepest level that is allowed.
    let (mut id, mut depth) = sessions.last().unwrap().clone();
    while depth < DEPTH {
        id = zone.session(&agent, "agent", Some(&id));
        depth += 1;
        sessions.push((id.clone(), depth));
    }
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!(
        "sessions: {} in a tree of depth {depth} ({deepest} levels of {WIDTH}); start p50 {:.1?}, p99 {:.1?}, max {:.1?}",
        sessions.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );

    let (pages, listed, took) = list(&zone, "");
    assert_eq!(listed, sessions.len());
    println!("listing all: {took:.1?} in {pages} pages of 500");
    let (pages, listed, took) = list(&zone, "&status=active");
    assert_eq!(listed, sessions.len());
    println!("listing the active ones: {took:.1?} in {pages} pages");

    let root = &sessions[0].0;
    let started = Instant::now();
    zone.governed("DELETE", &format!("/agents/{root}"), &Value::Null)
        .ok();
    println!(
        "ending the root and all below it: {:.1?}",
        started.elapsed()
    );
    let (_, left, took) = list(&zone, "&status=active");
    assert_eq!(left, 0);
    println!("listing the active ones, none: {took:.1?}");
    let body = json!({"application_id": agent.id, "parent_id": sessions[SESSIONS - 1].0});
    assert_eq!(zone.governed("POST", "/agents", &body).status, 409);
}

fn list(zone: &e2e::sts::Zone<'_>, filter: &str) -> (usize, usize, Duration) {
    let started = Instant::now();
    let (mut pages, mut listed, mut cursor) = (0, 0, String::new());
    loop {
        let path = format!("/agents?limit=500{filter}{cursor}");
        let page = zone.governed("GET", &path, &Value::Null).ok();
        pages += 1;
        listed += page["items"].as_array().unwrap().len();
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return (pages, listed, started.elapsed()),
        }
    }
}
