//! A gateway: a real Envoy with the real wasm, on free ports, in a directory of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    process::Command,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use serde_json::{Value, json};

use crate::{PATIENCE, eventually, http::Request, parts, process::Process, within};

/// The variable of the VM that holds the gateway token.
pub const TOKEN_VARIABLE: &str = "CARACAL_GATEWAY_TOKEN";

static NEXT_VM: AtomicU64 = AtomicU64::new(1);

/// What a gateway is to be.
#[derive(Clone)]
pub struct GatewaySpec {
    /// The plugin's configuration.
    pub plugin: Value,
    /// Worker threads.
    pub workers: u32,
    /// Where allowed requests go.
    pub upstream: SocketAddr,
    /// Address of the cluster `caracal_sts`.
    pub sts: Option<SocketAddr>,
    /// Value of [`TOKEN_VARIABLE`].
    pub token: Option<String>,
    /// The filter, if it is to be another than the one that was built.
    pub wasm: Option<PathBuf>,
    /// What a line of the access log is, as a `json_format`.
    pub access_log: Option<Value>,
    /// Another configuration of the plugin, in the same VM: what passes the first comes to this one.
    pub second: Option<Value>,
    /// What stands before the router if that is not the plugin, to compare with.
    pub others: Option<Vec<Value>>,
    /// Address of the cluster `authoriser`, which speaks gRPC.
    pub authoriser: Option<SocketAddr>,
    /// Whether Envoy answers by itself and no upstream takes part.
    pub answers_itself: bool,
    /// The only functions that the filter may call and be called by: those that the reference lists.
    pub capabilities: Vec<&'static str>,
    /// The command that Envoy is run by, if it is not run by itself: to look into it.
    pub under: Vec<String>,
}

/// All that the filter needs of its host, as the reference lists it.
fn capabilities() -> Vec<&'static str> {
    let reference = include_str!("../../docs/reference/plugin.md");
    let (_, list) = reference.split_once("allowed_capabilities: {").unwrap();
    let (list, _) = list.split_once("```").unwrap();
    let name = |entry: &'static str| Some(entry.trim().split_once(": {")?.0);
    list.split(',').filter_map(name).collect()
}

/// A running gateway; it ends when this is dropped.
pub struct Gateway {
    process: Process,
    workers: u32,
    address: SocketAddr,
    admin: SocketAddr,
    dir: tempfile::TempDir,
}

impl GatewaySpec {
    /// A gateway with one worker and no STS.
    pub fn new(plugin: Value, upstream: SocketAddr) -> Self {
        Self {
            plugin,
            workers: 1,
            upstream,
            sts: None,
            token: None,
            wasm: None,
            access_log: None,
            second: None,
            others: None,
            authoriser: None,
            answers_itself: false,
            capabilities: capabilities(),
            under: Vec::new(),
        }
    }

    /// Starts the gateway and waits until it listens.
    pub fn start(&self) -> Gateway {
        let (mut process, dir) = self.spawn();
        let patience = if self.under.is_empty() {
            PATIENCE
        } else {
            20 * PATIENCE
        };
        let admin = within(patience, "Envoy starts its admin port", || {
            process.check();
            let text = fs::read_to_string(dir.path().join("admin")).ok()?;
            text.trim().parse().ok()
        });
        let address = within(patience, "Envoy listens", || {
            process.check();
            let ready = Request::get("/ready").send(admin).ok()?;
            let listeners = Request::get("/listeners?format=json").send(admin).ok()?;
            let socket =
                &listeners.json()["listener_statuses"][0]["local_address"]["socket_address"];
            let port = u16::try_from(socket["port_value"].as_u64()?).ok()?;
            (ready.status == 200).then_some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        });
        Gateway {
            process,
            workers: self.workers,
            address,
            admin,
            dir,
        }
    }

    /// Starts Envoy in the expectation that it refuses its configuration, and gives its log.
    pub fn refused(&self) -> String {
        let (mut process, _dir) = self.spawn();
        let status = eventually("Envoy ends", || process.ended());
        assert!(!status.success(), "Envoy ended well: {}", process.log_end());
        process.log()
    }

    fn spawn(&self) -> (Process, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("envoy.json");
        fs::write(&config, self.envoy_config(dir.path()).to_string()).unwrap();
        let mut command = match self.under.split_first() {
            None => Command::new(parts::envoy()),
            Some((program, arguments)) => {
                let mut command = Command::new(program);
                command.args(arguments).arg(parts::envoy());
                command
            }
        };
        command
            .arg("--config-path")
            .arg(&config)
            .arg("--admin-address-path")
            .arg(dir.path().join("admin"))
            .args(["--concurrency", &self.workers.to_string()])
            .args(["--use-dynamic-base-id", "--log-level", "info"])
            // The list of everything that Envoy could do is long.
            .args(["--component-log-level", "main:warning"]);
        if let Some(token) = &self.token {
            command.env(TOKEN_VARIABLE, token);
        }
        (Process::start(&command, dir.path()), dir)
    }

    /// Envoy's configuration: as `envoy.yaml` where it matters to what is tested. Paths are left as
    /// they come, so that it is the plugin's rule that decides.
    fn envoy_config(&self, dir: &Path) -> Value {
        let vm_id = format!("e2e-{}", NEXT_VM.fetch_add(1, Ordering::Relaxed));
        let mut environment = json!({});
        if self.token.is_some() {
            environment = json!({"host_env_keys": [TOKEN_VARIABLE]});
        }
        let allowed = self.capabilities.iter().map(|name| (*name, json!({})));
        let allowed: Value = allowed.collect();
        let plugin = |configuration: &Value| {
            let plugin = json!({
                "@type": "type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm",
                "config": {
                    "name": "caracal",
                    "root_id": "caracal",
                    "failure_policy": "FAIL_RELOAD",
                    "vm_config": {
                        "vm_id": vm_id,
                        "runtime": "envoy.wasm.runtime.v8",
                        "code": {"local": {"filename": self.wasm.clone().unwrap_or_else(parts::wasm)}},
                        "environment_variables": environment,
                        "capability_restriction_config": {"allowed_capabilities": allowed},
                    },
                    "configuration": {
                        "@type": "type.googleapis.com/google.protobuf.Struct",
                        "value": configuration,
                    },
                },
            });
            json!({"name": "caracal", "typed_config": plugin})
        };
        let router =
            json!({"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"});
        let mut filters = self.others.clone().unwrap_or_else(|| {
            let configurations = [Some(&self.plugin), self.second.as_ref()];
            configurations.into_iter().flatten().map(plugin).collect()
        });
        filters.push(json!({"name": "envoy.filters.http.router", "typed_config": router}));
        let mut route = json!({"match": {"prefix": "/"}});
        if self.answers_itself {
            route["direct_response"] = json!({"status": 200, "body": {"inline_string": "ok"}});
        } else {
            route["route"] = json!({"cluster": "upstream"});
        }
        let manager = json!({
            "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
            "stat_prefix": "gateway",
            "normalize_path": false,
            "merge_slashes": false,
            "path_with_escaped_slashes_action": "KEEP_UNCHANGED",
            "use_remote_address": true,
            "preserve_external_request_id": true,
            "http_filters": filters,
            "route_config": {"virtual_hosts": [{
                "name": "everything",
                "domains": ["*"],
                "routes": [route],
            }]},
        });
        let mut manager = manager;
        if let Some(line) = &self.access_log {
            manager["access_log"] = json!([{
                "name": "envoy.access_loggers.file",
                "typed_config": {
                    "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                    "path": dir.join("access.log"),
                    "log_format": {"json_format": line},
                },
            }]);
        }
        let mut clusters = vec![cluster("upstream", self.upstream)];
        clusters.extend(self.sts.map(|sts| cluster("caracal_sts", sts)));
        clusters.extend(self.authoriser.map(|authoriser| {
            let mut cluster = cluster("authoriser", authoriser);
            cluster["typed_extension_protocol_options"] = json!({
                "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                    "explicit_http_config": {"http2_protocol_options": {}},
                },
            });
            cluster
        }));
        json!({
            "admin": {"address": socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))},
            "static_resources": {
                "listeners": [{
                    "name": "gateway",
                    "address": socket(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))),
                    // Every worker gets its share of connections, so that tests can reach them all.
                    "connection_balance_config": {"exact_balance": {}},
                    "filter_chains": [{"filters": [{
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }]}],
                }],
                "clusters": clusters,
            },
        })
    }
}

impl Gateway {
    /// Worker threads.
    pub fn workers(&self) -> u32 {
        self.workers
    }

    /// Where clients call.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The memory that the process holds, in KB.
    pub fn memory_kb(&self) -> u64 {
        self.process.memory_kb()
    }

    /// The processor time that the process has taken.
    pub fn processor_time(&self) -> Duration {
        self.process.processor_time()
    }

    /// The files in its directory whose names begin like this.
    pub fn files(&self, prefix: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.dir.path()).unwrap();
        let paths = entries.map(|entry| entry.unwrap().path());
        let named = |path: &PathBuf| {
            path.file_name()
                .unwrap()
                .to_string_lossy()
                .starts_with(prefix)
        };
        paths.filter(named).collect()
    }

    /// The id of its process.
    pub fn process_id(&self) -> String {
        self.process.server()
    }

    /// Stops the process where it is, as a machine that goes to sleep does.
    pub fn pause(&self) {
        self.process.signal("STOP");
    }

    /// Lets it go on.
    pub fn unpause(&self) {
        self.process.signal("CONT");
    }

    /// The lines of the access log so far.
    pub fn access_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default();
        text.lines()
            .filter_map(|line| serde_json::from_str(line).ok())
            .collect()
    }

    /// Envoy's log so far.
    pub fn log(&self) -> String {
        self.process.log()
    }

    /// The end of it, for a failure's text.
    pub(crate) fn log_end(&self) -> String {
        self.process.log_end()
    }

    /// What the plugin and Envoy counted of requests that were not let pass or had no upstream, for a
    /// failure's text.
    pub fn refusals(&self) -> Vec<(String, u64)> {
        let mut counted = self.stats("caracal_decisions|_rq_.*[45]xx|_fail|overflow|_error");
        counted.retain(|(_, count)| *count > 0);
        counted
    }

    /// Envoy's counters and gauges, as `name: value` lines.
    pub fn stats(&self, filter: &str) -> Vec<(String, u64)> {
        let path = format!("/stats?filter={filter}");
        let text = Request::get(path).send(self.admin).unwrap().text();
        let pairs = text.lines().filter_map(|line| line.rsplit_once(": "));
        pairs
            .filter_map(|(name, value)| Some((name.to_owned(), value.parse().ok()?)))
            .collect()
    }
}

fn socket(address: SocketAddr) -> Value {
    json!({"socket_address": {"address": address.ip(), "port_value": address.port()}})
}

fn cluster(name: &str, address: SocketAddr) -> Value {
    json!({
        "name": name,
        "type": "STATIC",
        "connect_timeout": "2s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": socket(address)}}]}],
        },
    })
}
