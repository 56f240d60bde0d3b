//! Somebody who publishes keys and bundles as an STS does, and whatever the test wants: what a real
//! STS never publishes, or not on demand.

use std::{
    io::{self, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use authority::{
    bundle::{Bundle, BundlePolicy, FORMAT, SIGNATURE_HEADER},
    policy::{self, Module},
    resource::{Operation, OperationEnforcement, ResourceSpec},
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
}

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
        };
        let publisher = Self {
            address: listener.local_addr().unwrap(),
            published: Arc::new(Mutex::new(published)),
        };
        publisher.publish(issuer, bundle);
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

    /// A gateway that takes this for its STS.
    pub fn site(&self) -> Site {
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
            "resources": [{"identifier": RESOURCE, "path_prefix": "/demo/"}],
        });
        let spec = GatewaySpec {
            sts: Some(self.address),
            token: Some("gt_any".to_owned()),
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
            operations: vec![Operation {
                method: "GET".to_owned(),
                path: "/demo/items".to_owned(),
                scope: "demo:read".to_owned(),
            }],
            operation_enforcement: OperationEnforcement::Enforced,
            single_use: false,
            require_chain_contains: Vec::new(),
            forward: None,
        }],
        archived_applications: Vec::new(),
        policy,
        shadow: None,
    }
}

fn serve(stream: &TcpStream, published: &Mutex<Published>) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let (first, headers) = read_head(&mut reader)?;
        read_body(&mut reader, &headers)?;
        let etag = headers.iter().find(|(name, _)| name == "if-none-match");
        let answer = if first.contains("/.well-known/jwks.json") {
            let jwks = published.lock().unwrap().jwks.clone();
            message("200 OK", "", &jwks)
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
                message("304 Not Modified", "", "")
            } else {
                let headers = format!(
                    "etag: {own}\r\n{SIGNATURE_HEADER}: {}\r\n",
                    published.signature
                );
                message("200 OK", &headers, &published.body)
            }
        };
        let mut stream = stream;
        stream.write_all(answer.as_bytes())?;
    }
}

fn message(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\n{headers}content-length: {length}\r\n\r\n{body}")
}
