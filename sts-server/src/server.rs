//! The server: from a configuration to a listener, and down again without dropping a request.

use std::{future::Future, net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto::Builder, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{net::TcpListener, pin, sync::watch};
use url::Url;

use crate::{
    clock::bound_policies,
    credentials::{CredentialError, Credentials},
    data_dir::{DataDir, DataDirError},
    entropy::EntropyError,
    error::Error,
    http,
    keys::Keyring,
    ledger::LedgerSettings,
    limits::Limit,
    metrics::Metrics,
    sealing::{Kek, SealError},
    secret::Secret,
    sessions::{MAX_SESSION_DEPTH, SessionLimits},
    store::{Store, StoreError},
    sts::Sts,
    telemetry::Telemetry,
    verifier::Verifier,
};

/// How long requests that are under way may take once the server goes down.
const DRAIN: Duration = Duration::from_secs(10);
/// How long the head of a request may take to arrive; counted from the answer before it, so it also
/// ends idle connections.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// What hyper reads of a head at most; our own limit, with an answer that says so, is far below.
const HEAD_BUFFER_BYTES: usize = 64 * 1024;
/// Longest publish lead: past it, keys would pile up.
const MAX_KEY_PUBLISH_LEAD: Duration = Duration::from_secs(3600);

/// What a server is started with.
#[derive(Clone, Debug)]
pub struct ServeConfig {
    /// Where to listen; port 0 takes any free one.
    pub listen: SocketAddr,
    /// Where data and generated secrets are kept.
    pub data_dir: PathBuf,
    /// The database; without one, SQLite in the data directory.
    pub database_url: Option<String>,
    /// The issuer of mandates; without one, `http://` and the address that was bound.
    pub issuer: Option<String>,
    /// The admin token; without one, it is generated once and kept in the data directory.
    pub admin_token: Option<Secret>,
    /// The file of the key encryption key; without one, it is generated once and kept in the data
    /// directory.
    pub kek_file: Option<PathBuf>,
    /// How long a new signing key is published before it signs.
    pub key_publish_lead: Duration,
    /// Mandates a minute for each application and resource.
    pub mints_per_minute: u32,
    /// Failed authentications a minute for each application.
    pub auth_failures_per_minute: u32,
    /// How many sessions there may be.
    pub session_limits: SessionLimits,
    /// How evidence is kept.
    pub ledger: LedgerSettings,
    /// Where traces go.
    pub telemetry: Telemetry,
}

impl Default for ServeConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            data_dir: PathBuf::from("./.caracal"),
            database_url: None,
            issuer: None,
            admin_token: None,
            kek_file: None,
            key_publish_lead: Duration::from_secs(300),
            mints_per_minute: 1000,
            auth_failures_per_minute: 60,
            session_limits: SessionLimits::default(),
            ledger: LedgerSettings::default(),
            telemetry: Telemetry::default(),
        }
    }
}

/// Why a server did not start, or stopped.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The data directory.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The key encryption key.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// The hashing of secrets.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The system's randomness.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// The address.
    #[error("cannot listen on {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: std::io::Error,
    },
    /// The issuer.
    #[error("the issuer {0:?} is not an http or https URL without query and fragment")]
    Issuer(String),
    /// The admin token.
    #[error("the admin token is shorter than 16 characters; leave it out to have one generated")]
    AdminToken,
    /// The publish lead.
    #[error("the publish lead of keys is {} seconds at most", MAX_KEY_PUBLISH_LEAD.as_secs())]
    KeyPublishLead,
    /// The depth of sessions.
    #[error("sessions are {MAX_SESSION_DEPTH} levels deep at most")]
    SessionDepth,
    /// The ledgers cannot be read.
    #[error("the ledgers cannot be read: {0}")]
    Ledger(String),
    /// What is stored cannot be brought up to date.
    #[error("the stored policies cannot be compiled: {0}")]
    Policies(String),
}

/// Serves until `shutdown` is ready and the requests under way are answered.
///
/// # Errors
/// Every variant of [`ServeError`], all of them before the first request.
pub async fn serve(
    config: ServeConfig,
    shutdown: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    bound_policies();
    let data_dir = DataDir::open(&config.data_dir)?;
    let listener = TcpListener::bind(config.listen)
        .await
        .map_err(|error| ServeError::Listen {
            address: config.listen,
            error,
        })?;
    let address = listener.local_addr().map_err(|error| ServeError::Listen {
        address: config.listen,
        error,
    })?;
    let url = format!("http://{address}");
    let (close, closing) = watch::channel(false);
    let sts = Arc::new(start(&config, &data_dir, &url, closing).await?);
    let store = sts.store.clone();
    data_dir.announce_url(&url)?;
    tracing::info!(%address, issuer = %sts.issuer, "listening");

    let connections = GracefulShutdown::new();
    let keeping = tokio::spawn({
        let sts = Arc::clone(&sts);
        async move {
            tokio::join!(
                sts.keep_shadows(),
                sts.keep_sessions(),
                sts.keep_revocations(),
                sts.keep_checkpoints()
            );
        }
    });
    accept(
        listener,
        http::router(Arc::clone(&sts)),
        &connections,
        shutdown,
    )
    .await;
    tracing::info!("shutting down");
    data_dir.withdraw_url();
    // Ends long polls at once; everything else is let finish.
    close.send_replace(true);
    if tokio::time::timeout(DRAIN, connections.shutdown())
        .await
        .is_err()
    {
        tracing::warn!("some requests did not finish in time");
    }
    // It ended when the server began to; then come the last exchanges.
    let _ = keeping.await;
    sts.flush_shadows().await;
    if let Err(error) = sts.checkpoint_ledgers().await {
        tracing::warn!(%error, "no last checkpoints of the ledgers could be made");
    }
    store.close().await;
    // Waits for the collector, and so not on a thread that serves.
    let telemetry = config.telemetry;
    let _ = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
    Ok(())
}

async fn start(
    config: &ServeConfig,
    data_dir: &DataDir,
    url: &str,
    closing: watch::Receiver<bool>,
) -> Result<Sts, ServeError> {
    let issuer = issuer(config.issuer.as_deref().unwrap_or(url))?;
    if config.key_publish_lead > MAX_KEY_PUBLISH_LEAD {
        return Err(ServeError::KeyPublishLead);
    }
    if config.session_limits.depth > MAX_SESSION_DEPTH {
        return Err(ServeError::SessionDepth);
    }
    let admin_token = match &config.admin_token {
        Some(token) if token.expose().len() < 16 => return Err(ServeError::AdminToken),
        Some(token) => token.clone(),
        None => data_dir.admin_token()?,
    };
    let kek = match &config.kek_file {
        Some(file) => Kek::read(file)?,
        None => Kek::of_data_dir(data_dir.path())?,
    };
    let store = match &config.database_url {
        Some(url) => Store::open(url, kek.chain_key()).await?,
        None => Store::open_file(&data_dir.path().join("caracal.db"), kek.chain_key()).await?,
    };
    let keyring = Keyring::new(kek);
    if let Some(key) = store.any_key().await? {
        keyring.open_sealed(&key)?;
    }
    let sts = Sts {
        store,
        issuer,
        admin_token,
        keyring,
        verifier: Verifier::new()?,
        key_publish_lead: config.key_publish_lead,
        credentials: Credentials::new()?,
        auth_failures: Limit::per_minute(config.auth_failures_per_minute),
        mints: Limit::per_minute(config.mints_per_minute),
        session_limits: config.session_limits,
        sweeper: Default::default(),
        programs: Default::default(),
        recorder: Default::default(),
        shadows: Default::default(),
        news: Default::default(),
        revocation_news: Default::default(),
        bases: Default::default(),
        checkpoints: Default::default(),
        unrecorded: Default::default(),
        ledger_settings: config.ledger,
        audit_news: Default::default(),
        presence: Default::default(),
        metrics: Metrics::new(),
        telemetry: config.telemetry.clone(),
        closing,
    };
    sts.check_ledgers()
        .await
        .map_err(|error| ServeError::Ledger(error.to_string()))?;
    let explain = |error: Error| ServeError::Policies(error.to_string());
    sts.recompile_active().await.map_err(explain)?;
    Ok(sts)
}

fn issuer(text: &str) -> Result<String, ServeError> {
    let fits = |url: &Url| {
        matches!(url.scheme(), "http" | "https")
            && url.query().is_none()
            && url.fragment().is_none()
    };
    // As it was written: verifiers compare it byte by byte.
    match Url::parse(text) {
        Ok(url) if fits(&url) => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err(ServeError::Issuer(text.to_owned())),
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    connections: &GracefulShutdown,
    shutdown: impl Future<Output = ()>,
) {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BUFFER_BYTES);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(Some(Duration::from_secs(30)));
    pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => return,
            accepted = listener.accept() => accepted,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, most likely: those that are open will close.
                tracing::warn!(%error, "accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = builder
            .serve_connection(TokioIo::new(stream), service)
            .into_owned();
        let connection = connections.watch(connection);
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "connection ended");
            }
        });
    }
}
