//! Somebody who publishes keys and bundles as an STS does, and whatever the test wants: what a real
//! STS never publishes, or not on demand.

use std::{
    io::{self, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use authority::{
    bundle::{Bundle, BundlePolicy, FORMAT, SIGNATURE_HEADER},
    policy::{self, Module},
    resource::{Operation, OperationEnforcement, ResourceSpec},
    revocation::{Anchor, AnchorKind, Base, Changes, Content, Digest, HashKey, Publication},
};
use serde_json::json;

use crate::{
    gateway::{GatewaySpec, TOKEN_VARIABLE},
    http::{read_body, read_head},
    mandates::{ISSUER, Issuer, RESOURCE, ZONE},
    site::Site,
    upstream::Upstream,
};

/// What is published at the moment.
struct Published {
    jwks: String,
    body: String,
    signature: String,
    /// How often the bundle was asked for since it changed.
    asked: usize,
    /// What is told of revocation, under which signature, and to whom it is no news: those who know
    /// this epoch.
    revocations: (Vec<u8>, String, u64),
    /// What is said to be revoked when asked exactly, and whether anything is said at all.
    checks: Option<bool>,
    /// How often that was asked.
    checked: usize,
    /// Whether nothing is answered any more.
    stopped: bool,
    /// Whether what is told of revocation breaks off in the middle.
    cut: bool,
    /// The polls of which the next gets no answer, by a part of their path.
    losing: Vec<&'static str>,
    /// How many such polls the gateway still waits for.
    lost: usize,
}

const POLLS: [&str; 2] = ["/gateway/bundle?", "/gateway/revocations?"];

/// The publisher. It lives as long as the test's process.
pub struct Publisher {
    address: SocketAddr,
    published: Arc<Mutex<Published>>,
}

impl Publisher {
    /// Publishes the issuer's keys and `bundle`, signed by it.
    pub fn start(issuer: &Issuer, bundle: &Bundle) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let published = Published {
            jwks: issuer.jwks().to_string(),
            body: String::new(),
            signature: String::new(),
            asked: 0,
            revocations: (Vec::new(), String::new(), 0),
            checks: Some(false),
            checked: 0,
            stopped: false,
            cut: false,
            losing: Vec::new(),
            lost: 0,
        };
        let publisher = Self {
            address: listener.local_addr().unwrap(),
            published: Arc::new(Mutex::new(published)),
        };
        publisher.publish(issuer, bundle);
        publisher.publish_revocations(issuer, &whole(0, &[]));
        let published = Arc::clone(&publisher.published);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let published = Arc::clone(&published);
                // A connection that ends is no failure.
                thread::spawn(move || serve(&stream, &published).ok());
            }
        });
        publisher
    }

    /// Publishes another bundle, signed by `signer`; the keys stay.
    pub fn publish(&self, signer: &Issuer, bundle: &Bundle) {
        let body = json!(bundle).to_string();
        let signature = signer.sign_bundle(body.as_bytes());
        self.publish_bytes(body, signature);
    }

    /// Publishes these bytes as they are, under any signature.
    pub fn publish_bytes(&self, body: String, signature: String) {
        let mut published = self.published.lock().unwrap();
        published.signature = signature;
        published.body = body;
        published.asked = 0;
    }

    /// How often the bundle was asked for since it changed.
    pub fn asked(&self) -> usize {
        self.published.lock().unwrap().asked
    }

    /// Tells of other revocations, signed by `signer`.
    pub fn publish_revocations(&self, signer: &Issuer, publication: &Publication) {
        let body = publication.encode();
        let signature = signer.sign_revocations(&body);
        self.publish_revocation_bytes(body, signature, publication.epoch);
    }

    /// Tells these bytes of revocation to whoever does not know `epoch`.
    pub fn publish_revocation_bytes(&self, body: Vec<u8>, signature: String, epoch: u64) {
        self.published.lock().unwrap().revocations = (body, signature, epoch);
    }

    /// Answers exact checks like this from now on, or not at all.
    pub fn answer_checks(&self, revoked: Option<bool>) {
        let mut published = self.published.lock().unwrap();
        published.checks = revoked;
        published.checked = 0;
    }

    /// How often something was checked since the answer changed.
    pub fn checked(&self) -> usize {
        self.published.lock().unwrap().checked
    }

    /// Lets what is told of revocation break off in the middle, or not any more.
    pub fn cut_revocations(&self, cut: bool) {
        self.published.lock().unwrap().cut = cut;
    }

    /// Never answers the next poll for a bundle nor the next for revocations, as if they had been lost.
    pub fn lose_polls(&self) {
        self.published.lock().unwrap().losing = POLLS.to_vec();
    }

    /// How many lost polls the gateway still waits for.
    pub fn lost(&self) -> usize {
        self.published.lock().unwrap().lost
    }

    /// Answers nothing any more.
    pub fn stop(&self) {
        self.published.lock().unwrap().stopped = true;
    }

    /// A gateway that takes this for its STS.
    pub fn site(&self) -> Site {
        self.site_with(1, None)
    }

    /// The same with so many workers, and with another filter.
    pub fn site_with(&self, workers: u32, wasm: Option<PathBuf>) -> Site {
        let upstream = Upstream::start();
        let plugin = json!({
            "zone": ZONE,
            "issuer": ISSUER,
            "sts": {
                "cluster": "caracal_sts",
                "authority": "sts.internal",
                "token_env": TOKEN_VARIABLE,
                "long_poll_seconds": 1,
            },
            "max_staleness_seconds": 300,
            "resources": [{"identifier": RESOURCE, "path_prefix": "/demo/"}],
        });
        let spec = GatewaySpec {
            sts: Some(self.address),
            token: Some("gt_any".to_owned()),
            workers,
            wasm,
            ..GatewaySpec::new(plugin, upstream.address())
        };
        Site {
            gateway: spec.start(),
            upstream,
        }
    }
}

/// The bundle of the zone of all tests, with one resource and this policy.
pub fn bundle(issuer: &Issuer, sequence: u64, policy: Option<&str>) -> Bundle {
    let policy = policy.map(|source| {
        let module = Module {
            name: "policy".to_owned(),
            source: source.to_owned(),
        };
        let compiled = policy::compile(&[module]).unwrap();
        BundlePolicy::new(
            "set-1".into(),
            "version-1".into(),
            "0".repeat(64),
            &compiled,
        )
    });
    Bundle {
        format: FORMAT.to_owned(),
        zone_id: ZONE.into(),
        zone_slug: ZONE.to_owned(),
        issuer: ISSUER.to_owned(),
        sequence,
        keys: serde_json::from_value(issuer.jwks()).unwrap(),
        resources: vec![ResourceSpec {
            id: "resource-1".into(),
            identifier: RESOURCE.to_owned(),
            scopes: vec!["demo:read".to_owned()],
            operations: ["/demo/items", "/demo/items/{id}"]
                .map(|path| Operation {
                    method: "GET".to_owned(),
                    path: path.to_owned(),
                    scope: "demo:read".to_owned(),
                })
                .to_vec(),
            operation_enforcement: OperationEnforcement::Enforced,
            single_use: false,
            end_streams_at_expiry: false,
            require_chain_contains: Vec::new(),
            forward: None,
        }],
        policy,
        shadow: None,
    }
}

/// The key of the digests of the zone of all tests.
pub const HASH_KEY: HashKey = HashKey([9; 16]);

/// A whole publication with these anchors revoked.
pub fn whole(epoch: u64, anchors: &[(AnchorKind, &str)]) -> Publication {
    let digests: Vec<Digest> = anchors
        .iter()
        .map(|&(kind, id)| HASH_KEY.digest(Anchor { kind, id }))
        .collect();
    Publication {
        zone_id: ZONE.into(),
        key: HASH_KEY,
        epoch,
        changed_at: 0,
        changes: Changes::default(),
        content: Content::Whole {
            load: u64::try_from(digests.len()).unwrap(),
            base: Base::of(digests),
        },
    }
}

fn serve(stream: &TcpStream, published: &Mutex<Published>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (first, headers) = read_head(&mut reader)?;
        let asked = read_body(&mut reader, &headers)?;
        if published.lock().unwrap().stopped {
            return Ok(());
        }
        if lose(&first, published) {
            // Until the gateway gives it up.
            let ended = reader.read(&mut [0]);
            published.lock().unwrap().lost -= 1;
            return ended.map(|_| ());
        }
        let etag = headers.iter().find(|(name, _)| name == "if-none-match");
        let answer = if first.contains("/.well-known/jwks.json") {
            let jwks = published.lock().unwrap().jwks.clone();
            message("200 OK", "", jwks.as_bytes())
        } else if first.contains("/gateway/revocations/check") {
            let mut published = published.lock().unwrap();
            published.checked += 1;
            let Some(revoked) = published.checks else {
                continue;
            };
            let asked: serde_json::Value = serde_json::from_slice(&asked).unwrap();
            let count = asked["anchors"].as_array().unwrap().len();
            let epoch = published.revocations.2;
            let answer = json!({"epoch": epoch, "revoked": vec![revoked; count]});
            message("200 OK", "", answer.to_string().as_bytes())
        } else if first.contains("/gateway/revocations") {
            // A poll waits for news; this one not for long.
            thread::sleep(Duration::from_millis(50));
            let published = published.lock().unwrap();
            let (body, signature, epoch) = &published.revocations;
            if first.contains(&format!("&after={epoch} ")) {
                message("304 Not Modified", "", b"")
            } else {
                let headers = format!("{SIGNATURE_HEADER}: {signature}\r\n");
                let whole = message("200 OK", &headers, body);
                if published.cut {
                    let mut stream = stream;
                    return stream.write_all(&whole[..whole.len() - body.len() / 2]);
                }
                whole
            }
        } else {
            // A poll waits for news; this one not for long.
            thread::sleep(Duration::from_millis(50));
            let mut published = published.lock().unwrap();
            published.asked += 1;
            // The signature is as good a name for this version as any.
            let own = format!(
                "\"{}\"",
                published.signature.split('.').next_back().unwrap_or("")
            );
            if etag.is_some_and(|(_, etag)| *etag == own) {
                message("304 Not Modified", "", b"")
            } else {
                let headers = format!(
                    "etag: {own}\r\n{SIGNATURE_HEADER}: {}\r\n",
                    published.signature
                );
                message("200 OK", &headers, published.body.as_bytes())
            }
        };
        let mut stream = stream;
        stream.write_all(&answer)?;
    }
}

/// Whether the poll with this first line is to get lost.
fn lose(first: &str, published: &Mutex<Published>) -> bool {
    let mut published = published.lock().unwrap();
    let before = published.losing.len();
    published.losing.retain(|part| !first.contains(part));
    let lost = before - published.losing.len();
    published.lost += lost;
    lost > 0
}

fn message(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}
