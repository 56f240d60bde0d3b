//! What stands in for OPA where there is none: an authoriser that Envoy's `ext_authz` asks over gRPC, which
//! evaluates the same policy natively. It does less than OPA would; what it is beaten by, OPA is as well.
//!
//! Of Envoy's `envoy.service.auth.v3` only those fields are declared that it reads or writes.

use std::{
    collections::HashMap,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
    sync::Mutex,
    time::Duration,
};

use authority::{
    binding::{BindingSpec, Bindings},
    decision::{Decision, Request, SingleHeader, decide},
    jwks::KeySet,
    policy::{Evaluator, Module, Policy, compile, input::PolicyInput},
    snapshot::{PolicyOrigin, Snapshot},
    tags::TagKey,
    time::Timestamp,
};
use e2e::{
    eventually,
    mandates::{RESOURCE, claims_of, now},
    process::Process,
};
use prost::Message;
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What an authoriser is to know.
pub(super) struct Spec {
    pub(super) zone: String,
    pub(super) issuer: String,
    pub(super) keys: Value,
    pub(super) policy: String,
    /// Whether it verifies the mandate, or believes it.
    pub(super) verifies: bool,
}

/// An authoriser in a process of its own.
pub(super) struct Authoriser {
    pub(super) process: Process,
    pub(super) address: SocketAddr,
    pub(super) _dir: tempfile::TempDir,
}

/// What all requests are for.
pub(super) fn resource() -> Value {
    json!({
        "id": RESOURCE, "identifier": RESOURCE,
        "scopes": ["demo:read", "demo:write"],
        "operations": [
            {"method": "GET", "path": "/demo/items", "scope": "demo:read"},
            {"method": "POST", "path": "/demo/items", "scope": "demo:write"},
        ],
    })
}

impl Authoriser {
    pub(super) fn start(spec: &Spec) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "zone": spec.zone, "issuer": spec.issuer, "keys": spec.keys, "policy": spec.policy,
            "verifies": spec.verifies, "resource": resource(),
        });
        fs::write(dir.path().join("config"), config.to_string()).unwrap();
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.arg("authoriser").arg(dir.path());
        let process = Process::start(&command, dir.path());
        let address = eventually("the authoriser listens", || {
            let text = fs::read_to_string(dir.path().join("address")).ok()?;
            text.parse().ok()
        });
        Self {
            process,
            address,
            _dir: dir,
        }
    }

    pub(super) fn processor_time(&self) -> Duration {
        self.process.processor_time()
    }
}

#[derive(Clone, PartialEq, Message)]
struct CheckRequest {
    #[prost(message, optional, tag = "1")]
    attributes: Option<Attributes>,
}

#[derive(Clone, PartialEq, Message)]
struct Attributes {
    #[prost(message, optional, tag = "4")]
    request: Option<Asked>,
}

#[derive(Clone, PartialEq, Message)]
struct Asked {
    #[prost(message, optional, tag = "2")]
    http: Option<Http>,
}

#[derive(Clone, PartialEq, Message)]
struct Http {
    #[prost(string, tag = "2")]
    method: String,
    #[prost(map = "string, string", tag = "3")]
    headers: HashMap<String, String>,
    #[prost(string, tag = "4")]
    path: String,
    #[prost(string, tag = "5")]
    host: String,
}

#[derive(Clone, PartialEq, Message)]
struct CheckResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<Status>,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
}

/// `google.rpc.Code`.
const OK: i32 = 0;
const PERMISSION_DENIED: i32 = 7;

/// Decides as the plugin would, but with no memory of what it decided.
enum Judge {
    Verifying(Box<Snapshot>),
    Believing {
        evaluator: Evaluator,
        resource: Value,
    },
}

impl Judge {
    fn read(dir: &Path) -> Self {
        let text = fs::read_to_string(dir.join("config")).unwrap();
        let config: Value = serde_json::from_str(&text).unwrap();
        let text = |name: &str| config[name].as_str().unwrap().to_owned();
        let module = Module {
            name: "policy.rego".to_owned(),
            source: text("policy"),
        };
        let compiled = compile(&[module]).unwrap();
        let resource = config["resource"].clone();
        if config["verifies"] == false {
            let evaluator = Policy::load(&compiled.program).unwrap().evaluator();
            return Self::Believing {
                evaluator,
                resource,
            };
        }
        let keys = KeySet::parse(config["keys"].to_string().as_bytes()).unwrap();
        let bindings = Bindings::new(vec![BindingSpec {
            identifier: RESOURCE.to_owned(),
            hosts: vec!["*".to_owned()],
            path_prefix: "/demo/".to_owned(),
        }]);
        let specs = vec![serde_json::from_value(resource).unwrap()];
        let zone = text("zone").as_str().into();
        let mut snapshot =
            Snapshot::new(zone, text("issuer"), keys, specs, bindings.unwrap()).unwrap();
        snapshot
            .set_policy(PolicyOrigin::default(), &compiled)
            .unwrap();
        // The tables of its keys, but no memory of mandates.
        snapshot.keep_mandates(0, TagKey::NONE, None);
        Self::Verifying(Box::new(snapshot))
    }

    fn allows(&mut self, http: &Http) -> bool {
        let Some(authorization) = http.headers.get("authorization") else {
            return false;
        };
        match self {
            Self::Verifying(snapshot) => {
                let request = Request {
                    method: &http.method,
                    target: &http.path,
                    authority: &http.host,
                    authorization: SingleHeader::One(authorization.as_bytes()),
                    resource: SingleHeader::Absent,
                };
                let (decision, _) = decide(snapshot, None, &request, Timestamp(now()));
                matches!(decision, Decision::Allow(_))
            }
            Self::Believing {
                evaluator,
                resource,
            } => {
                let Some(token) = authorization.strip_prefix("Bearer ") else {
                    return false;
                };
                let input = PolicyInput::from_json(input(http, claims_of(token), resource));
                evaluator
                    .evaluate(&input)
                    .is_ok_and(|result| result.allows())
            }
        }
    }
}

/// The document that a policy sees of a call.
fn input(http: &Http, claims: Value, resource: &Value) -> Value {
    let client = claims["client_id"].clone();
    let operation = resource["operations"].as_array().and_then(|operations| {
        let mut all = operations.iter();
        all.find(|operation| operation["method"] == http.method.as_str())
    });
    json!({
        "schema_version": "2026-05-20",
        "principal": {"type": "Application", "id": client, "zone_id": claims["zone_id"]},
        "resource": {"type": "Resource", "id": RESOURCE, "identifier": RESOURCE, "scopes": resource["scopes"]},
        "action": {
            "id": "Request", "method": http.method, "path": http.path, "host": http.host,
            "operation": operation,
        },
        "session": {"id": claims["sid"]},
        "context": {
            "actor_claims": {"caracal_client_id": client}, "subject_claims": claims,
            "challenge_resolved": false, "requested_scopes": [], "time": now(),
        },
    })
}

/// Runs an authoriser whose configuration is in `dir`, for as long as the process lives.
pub(crate) fn serve(dir: &Path) {
    let judge: &'static Mutex<Judge> = Box::leak(Box::new(Mutex::new(Judge::read(dir))));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        // Whole, or not there.
        fs::write(dir.join("address.new"), address.to_string()).unwrap();
        fs::rename(dir.join("address.new"), dir.join("address")).unwrap();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            stream.set_nodelay(true).unwrap();
            tokio::spawn(connection(stream, judge));
        }
    });
}

async fn connection(stream: tokio::net::TcpStream, judge: &'static Mutex<Judge>) {
    let Ok(mut connection) = h2::server::handshake(stream).await else {
        return;
    };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::spawn(async move {
            let _ = answer(request.into_body(), respond, judge).await;
        });
    }
}

/// One unary call: a message of five bytes of head and a body each way (gRPC over HTTP/2).
async fn answer(
    mut body: h2::RecvStream,
    mut respond: h2::server::SendResponse<bytes::Bytes>,
    judge: &'static Mutex<Judge>,
) -> Result<(), h2::Error> {
    let mut message = Vec::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        message.extend_from_slice(&chunk);
    }
    let asked = CheckRequest::decode(message.get(5..).unwrap_or_default()).unwrap_or_default();
    let http = asked
        .attributes
        .and_then(|attributes| attributes.request?.http);
    let allows = http.is_some_and(|http| judge.lock().unwrap().allows(&http));
    let code = if allows { OK } else { PERMISSION_DENIED };
    let said = CheckResponse {
        status: Some(Status { code }),
    };
    let said = said.encode_to_vec();
    let mut framed = vec![0];
    framed.extend_from_slice(&u32::try_from(said.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(&said);
    let head = http::Response::builder().header("content-type", "application/grpc");
    let mut stream = respond.send_response(head.body(()).unwrap(), false)?;
    stream.send_data(framed.into(), false)?;
    let mut trailers = http::HeaderMap::new();
    trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
    stream.send_trailers(trailers)
}
