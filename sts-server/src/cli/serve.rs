//! `caracal serve`: the server's log, and its life from start to signal.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
};

use clap::Args;
use tracing_subscriber::EnvFilter;

use super::{
    Context,
    error::CliError,
    settings::{LogFormat, Settings},
};

/// Arguments of `caracal serve`.
#[derive(Debug, Args)]
#[command(after_help = "\
Flags win over variables, variables over the file. The file is TOML with the names of the flags,
underscores for hyphens; an unknown name is an error:

  listen = \"0.0.0.0:8080\"
  data_dir = \"/var/lib/caracal\"
  issuer = \"https://sts.example.com\"

The admin token comes from --admin-token-file, CARACAL_ADMIN_TOKEN or CARACAL_ADMIN_TOKEN_FILE;
without one, it is made once and kept as admin-token in the data directory.

Examples:
  caracal serve
  caracal serve --listen 0.0.0.0:8080 --issuer https://sts.example.com --data-dir /var/lib/caracal")]
pub(super) struct ServeArgs {
    /// Settings file [env: CARACAL_CONFIG] [default: caracal.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,
    #[command(flatten)]
    pub(super) settings: Settings,
}

pub(super) fn run(arguments: &ServeArgs, context: &Context<'_>) -> Result<(), CliError> {
    let settings = Settings::gather(arguments, context.common, &context.variables)?;
    start_log(
        settings.log.as_deref().unwrap_or("info"),
        settings.log_format.unwrap_or_default(),
    )?;
    let config = settings.into_config()?;
    let runtime = tokio::runtime::Runtime::new().map_err(|error| {
        CliError::Finding(format!("the server cannot start its threads: {error}"))
    })?;
    runtime.block_on(async {
        let signal = signals()
            .map_err(|error| CliError::Finding(format!("cannot wait for signals: {error}")))?;
        Ok(sts_server::serve(config, signal).await?)
    })
}

fn start_log(filter: &str, format: LogFormat) -> Result<(), CliError> {
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        CliError::usage(format!("{filter:?} is no filter for the log: {error}"))
    })?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        // It would say on stderr that stderr cannot be written, and panic over that: a log on a full disk
        // must not end requests.
        .log_internal_errors(false)
        .with_writer(io::stderr);
    match format {
        LogFormat::Text => log.with_ansi(io::stderr().is_terminal()).init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}

/// Resolves at the first SIGTERM or SIGINT. A second one ends the process at once, for whoever does
/// not want to wait for requests in flight.
#[cfg(unix)]
fn signals() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        let name = tokio::select! {
            _ = terminate.recv() => "SIGTERM",
            _ = interrupt.recv() => "SIGINT",
        };
        tracing::info!("{name}: finishing requests in flight; a second signal stops at once");
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            std::process::exit(1);
        });
    })
}

#[cfg(not(unix))]
fn signals() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        let _ = tokio::signal::ctrl_c().await;
    })
}
