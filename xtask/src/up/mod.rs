//! `cargo xtask up`: the STS and Envoy with a demo zone, and a walk of real calls through them.

mod demo;
mod http;
mod ports;
mod process;
mod walk;

use std::{
    fs::{self, DirBuilder},
    os::unix::fs::DirBuilderExt,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use clap::Args;

use self::{demo::Demo, http::Sts, ports::Ports, process::Process};
use crate::{
    build::{self, Artifacts},
    console::{self, DONE, OrFail, Progress, Result},
    tools::envoy,
    workspace::Workspace,
};

#[derive(Args)]
pub(crate) struct Options {
    /// Stop everything after the walk, and exit with its result
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    ports: Ports,
}

const START_LIMIT: Duration = Duration::from_secs(30);

pub(crate) fn run(workspace: &Workspace, options: &Options) -> Result<()> {
    let ports = &options.ports;
    // First of all: nobody should wait for a build to read this.
    ports.check()?;
    console::line("== tools and build");
    let envoy = envoy::get(workspace)?;
    let artifacts = build::run(workspace)?;

    console::line("== start");
    let state = workspace.state();
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&state)
        .or_fail(|| format!("cannot create {}", state.display()))?;

    // In this order, so that the gateway goes first when they are dropped at the end.
    let mut sts_process = start_sts(workspace, &artifacts, ports)?;
    let sts = wait_for_sts(&mut sts_process, ports, &state)?;
    let demo = Demo::ensure(&sts, &state)?;
    let mut gateway = start_envoy(workspace, &envoy, ports, &demo)?;
    wait_for_gateway(&mut gateway, ports)?;

    console::line("== walk");
    walk::run(&sts, &demo, &ports.gateway_url())?;
    if options.once {
        gateway.stop();
        sts_process.stop();
        return Ok(());
    }
    say_what_runs(ports, &demo);
    loop {
        gateway.check()?;
        sts_process.check()?;
        thread::sleep(Duration::from_millis(500));
    }
}

fn start_sts(workspace: &Workspace, artifacts: &Artifacts, ports: &Ports) -> Result<Process> {
    let mut command = workspace.command(&artifacts.binary);
    command
        .args([
            "serve",
            "--listen",
            &format!("127.0.0.1:{}", ports.sts),
            "--data-dir",
        ])
        .arg(workspace.state());
    // The demo is the same on every machine: what the user has set for other servers stays out of it.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("CARACAL_") {
            command.env_remove(name);
        }
    }
    Process::start("the STS", &command, &workspace.state().join("sts.log"))
}

fn start_envoy(workspace: &Workspace, envoy: &Path, ports: &Ports, demo: &Demo) -> Result<Process> {
    let mut command = workspace.command(envoy);
    command
        .arg("-c")
        .arg(ports.envoy_configuration(workspace)?)
        // Shared memory by which Envoys hand over to each other; two on one machine would clash.
        .arg("--disable-hot-restart")
        .args([
            "--log-level",
            "warning",
            "--component-log-level",
            "wasm:info",
        ])
        .env("CARACAL_GATEWAY_TOKEN", demo.gateway_token());
    Process::start("Envoy", &command, &workspace.state().join("envoy.log"))
}

fn wait_for_sts(process: &mut Process, ports: &Ports, state: &Path) -> Result<Sts> {
    wait("starting the STS", process, || {
        http::status(&format!("{}/ready", ports.sts_url())) == Some(200)
    })?;
    let file = state.join("admin-token");
    let token = fs::read_to_string(&file).or_fail(|| format!("cannot read {}", file.display()))?;
    Ok(Sts::new(ports.sts_url(), token.trim().to_owned()))
}

/// Until keys and policy have arrived the gateway answers 503; then, without a mandate, 401.
fn wait_for_gateway(process: &mut Process, ports: &Ports) -> Result<()> {
    let url = format!("{}{}", ports.gateway_url(), demo::READ_PATH);
    wait("starting Envoy and syncing the plugin", process, || {
        http::status(&url).is_some_and(|status| status != 503)
    })
}

fn wait(title: &str, process: &mut Process, mut ready: impl FnMut() -> bool) -> Result<()> {
    let mut progress = Progress::start(title);
    let started = Instant::now();
    loop {
        if let Err(failure) = process.check() {
            progress.end("failed");
            return Err(failure);
        }
        if ready() {
            progress.end(DONE);
            return Ok(());
        }
        if started.elapsed() > START_LIMIT {
            progress.end("failed");
            return Err(process.failure("is not ready after 30 s"));
        }
        progress.tick();
        thread::sleep(Duration::from_millis(50));
    }
}

fn say_what_runs(ports: &Ports, demo: &Demo) {
    let (gateway, sts, admin) = (ports.gateway_url(), ports.sts_url(), ports.admin);
    let (resource, scope, path) = (demo::RESOURCE, demo::READ_SCOPE, demo::READ_PATH);
    let (zone, app, secret) = (demo::ZONE, demo.application_name(), demo::SECRET_FILE);
    console::line(format_args!(
        "
== running until Ctrl-C
  gateway  {gateway}
  STS      {sts}
  Envoy    http://127.0.0.1:{admin}/stats/prometheus
  logs     .caracal/sts.log, .caracal/envoy.log

  Try it from another terminal:
    MANDATE=$(dist/caracal mint --zone {zone} --app {app} --resource {resource} --scope {scope} \\
        --client-secret-file .caracal/{secret})
    curl -i -H \"Authorization: Bearer $MANDATE\" {gateway}{path}
    dist/caracal inspect \"$MANDATE\"
    dist/caracal key rotate --zone {zone}"
    ));
}
