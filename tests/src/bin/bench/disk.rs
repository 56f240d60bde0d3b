//! A disk that fills up under the STS: a file system of its own, small, in memory. It takes the right to
//! mount one.

use std::{
    collections::HashSet,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use e2e::{
    http::{Connection, Request, Response},
    sts::Sts,
};

use crate::evidence::exported;

const DISK: &str = "48m";
const FILLER_BYTES: usize = 32 * 1024 * 1024;
/// How often a mandate is asked for while there is no room.
const TRIES: usize = 200;

struct Disk(tempfile::TempDir);

impl Disk {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={DISK}"), "tmpfs"])
            .arg(dir.path())
            .status()
            .unwrap();
        assert!(mounted.success(), "mounting a file system takes root");
        Self(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg(self.path()).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

pub(crate) fn run() {
    let disk = Disk::new();
    let filler = disk.path().join("filler");
    fs::write(&filler, vec![1; FILLER_BYTES]).unwrap();
    let sts = Sts::start_in(disk.path());
    let zone = sts.zone("bench");
    let application = zone.govern();
    let mut connection = Connection::open(sts.address()).unwrap();
    let body = format!(
        "grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Atoken-exchange&zone_id={}&application_id={}\
         &client_secret={}&resource=resource%3A%2F%2Fdemo&scope=demo%3Aread",
        zone.id, application.id, application.secret
    );
    let mut number = 0;
    let mut mint = || -> (String, Response) {
        number += 1;
        let id = format!("mint-{number}");
        let request = Request::new("POST", "/oauth/2/token")
            .header("content-type", "application/x-www-form-urlencoded")
            .header("x-request-id", &id)
            .body(&body);
        (id, connection.exchange(&request).unwrap())
    };
    let mut acknowledged = HashSet::new();
    let refusal = loop {
        let (id, answer) = mint();
        match answer.status {
            200 => acknowledged.insert(id),
            _ => break answer,
        };
    };
    println!(
        "{} mandates until the disk was full, then: {} {}",
        acknowledged.len(),
        refusal.status,
        refusal.json()["error"]
    );
    // A page may be free still, so one or the other may be minted; none is without evidence.
    let mut refused = 0;
    for _ in 0..TRIES {
        let (id, answer) = mint();
        match answer.status {
            200 => drop(acknowledged.insert(id)),
            503 => refused += 1,
            _ => panic!("{answer}"),
        }
    }
    fs::remove_file(&filler).unwrap();
    let freed = Instant::now();
    let until = loop {
        let (id, answer) = mint();
        if answer.status == 200 {
            acknowledged.insert(id);
            break freed.elapsed();
        }
        assert!(freed.elapsed() < Duration::from_secs(30), "{answer}");
    };
    let evidence = exported(&sts, &zone, "token_exchange");
    let lost = acknowledged.difference(&evidence.requests).count();
    println!(
        "  {refused} of {TRIES} more refused; {until:.1?} after there was room again mandates are minted; \
         of {} that were given out {lost} are without evidence, and the chain is whole",
        acknowledged.len()
    );
    assert_eq!((refusal.status, lost), (503, 0));
    assert_eq!(refusal.json()["error"], "storage_full");
}
