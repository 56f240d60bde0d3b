//! OPA itself, where there is one in `PATH`: the build of it that Envoy's `ext_authz` can ask over gRPC, by its plugin
//! `envoy_ext_authz_grpc` (<https://www.openpolicyagent.org/docs/envoy>). It verifies the mandate and evaluates what the
//! plugin's policy is: the decision contract over the zone's data documents.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use authority::policy::{CONTRACT, CONTRACT_ENTRY};
use e2e::{PATIENCE, process::Process};
use serde_json::json;

use super::authoriser::{Authoriser, Spec, resource};

const LISTENING: Duration = Duration::from_millis(20);

/// From what Envoy asks to what the contract is asked, and back.
const ADAPTER: &str = r#"package caracal.envoy

import rego.v1

default allow := false

http := input.attributes.request.http

claims := payload if {
	token := trim_prefix(http.headers.authorization, "Bearer ")
	[valid, _, payload] := io.jwt.decode_verify(token, {
		"cert": data.bench.keys,
		"alg": "ES256",
		"iss": data.bench.issuer,
		"aud": data.bench.issuer,
	})
	valid
}

operation := found if {
	some found in data.bench.resource.operations
	found.method == http.method
	found.path == http.path
}

document := {
	"schema_version": "2026-05-20",
	"principal": {"type": "Application", "id": claims.client_id, "zone_id": claims.zone_id},
	"resource": {
		"type": "Resource",
		"id": data.bench.resource.id,
		"identifier": data.bench.resource.identifier,
		"scopes": data.bench.resource.scopes,
	},
	"action": {
		"id": "Request",
		"method": http.method,
		"path": http.path,
		"host": http.host,
		"operation": operation,
	},
	"session": {"id": claims.sid},
	"context": {
		"actor_claims": {"caracal_client_id": claims.client_id},
		"subject_claims": claims,
		"challenge_resolved": false,
		"requested_scopes": [],
		"time": floor(time.now_ns() / 1000000000),
	},
}

allow if {
	operation.scope in split(claims.scope, " ")
	asked := document
	result := data.caracal.authz.result with input as asked
	result.decision == "allow"
}
"#;

/// Starts OPA. `None` if there is none that serves, and why is said.
pub(super) fn start(spec: &Spec) -> Option<Authoriser> {
    let dir = tempfile::tempdir().unwrap();
    let address = free_address();
    write(spec, address, dir.path());
    let mut command = Command::new("opa");
    command
        .args(["run", "--server", "--addr", "127.0.0.1:0"])
        .args([
            "--config-file",
            "config.json",
            "--log-level",
            "error",
            "policy",
        ]);
    let mut process = Process::start(&command, dir.path());
    let started = Instant::now();
    while started.elapsed() < PATIENCE && process.ended().is_none() {
        if TcpStream::connect(address).is_ok() {
            return Some(Authoriser {
                process,
                address,
                _dir: dir,
            });
        }
        thread::sleep(LISTENING);
    }
    println!(
        "no OPA that ext_authz can ask (`opa` in PATH, with its Envoy plugin): {}",
        process.log_end().trim()
    );
    None
}

/// All that it reads, into `dir`.
fn write(spec: &Spec, address: SocketAddr, dir: &Path) {
    let policy = dir.join("policy");
    fs::create_dir(&policy).unwrap();
    let put = |name: &str, text: &str| fs::write(policy.join(name), text).unwrap();
    for (name, source) in CONTRACT.iter().chain([&CONTRACT_ENTRY]) {
        put(&name.replace('/', "-"), source);
    }
    put("documents.rego", &spec.policy);
    put("adapter.rego", ADAPTER);
    let data = json!({"bench": {
        "keys": spec.keys.to_string(), "issuer": spec.issuer, "resource": resource(),
    }});
    put("data.json", &data.to_string());
    let plugin = json!({"addr": address.to_string(), "path": "caracal/envoy/allow"});
    let config = json!({
        "plugins": {"envoy_ext_authz_grpc": plugin},
        "decision_logs": {"console": false},
    });
    fs::write(dir.join("config.json"), config.to_string()).unwrap();
}

/// One that was free just now: OPA is told where to listen and does not tell where it does.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    listener.local_addr().unwrap()
}
