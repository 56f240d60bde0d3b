//! The server's settings: from flags, variables and a file, one layer over the other.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{Args, ValueEnum};
use serde::Deserialize;
use sts_server::{LedgerSettings, ServeConfig, SessionLimits, Telemetry, secret::Secret};
use zeroize::Zeroizing;

use super::{
    Common,
    error::CliError,
    secret::{read_secret_file, secret_variable},
    serve::ServeArgs,
    variables::Variables,
};

/// Settings file that is read if it is there and no other is named.
const DEFAULT_FILE: &str = "caracal.toml";

/// One layer of settings: flags, variables, or the file.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Settings {
    /// Address to listen on; port 0 takes a free one [env: CARACAL_LISTEN] [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<SocketAddr>,
    #[arg(skip)]
    data_dir: Option<PathBuf>,
    /// Database [env: CARACAL_DATABASE_URL] [default: SQLite in the data directory]
    #[arg(long, value_name = "URL")]
    database_url: Option<String>,
    /// Issuer of mandates: the URL under which clients reach the server [env: CARACAL_ISSUER]
    /// [default: http:// and the address listened on]
    #[arg(long, value_name = "URL")]
    issuer: Option<String>,
    #[arg(skip)]
    #[serde(skip)]
    admin_token: Option<AdminToken>,
    #[arg(skip)]
    admin_token_file: Option<PathBuf>,
    /// File with the 32 bytes, raw or in base64, that seal the signing keys [env: CARACAL_KEK_FILE]
    /// [default: made once and kept as kek in the data directory]
    #[arg(long, value_name = "FILE")]
    kek_file: Option<PathBuf>,
    /// How long a new signing key is published before it signs, 0 to 3600
    /// [env: CARACAL_KEY_PUBLISH_LEAD_SECONDS] [default: 300]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(0..=3600))]
    key_publish_lead_seconds: Option<u64>,
    /// Mandates a minute for one application and resource [env: CARACAL_MINTS_PER_MINUTE]
    #[arg(long, value_name = "NUMBER")]
    mints_per_minute: Option<u32>,
    /// Failed authentications a minute for one application [env: CARACAL_AUTH_FAILURES_PER_MINUTE]
    #[arg(long, value_name = "NUMBER")]
    auth_failures_per_minute: Option<u32>,
    /// Live sessions in a zone
    /// [env: CARACAL_SESSIONS_PER_ZONE] [default: 100000]
    #[arg(long, value_name = "NUMBER")]
    sessions_per_zone: Option<u32>,
    /// Live sessions of an application
    /// [env: CARACAL_SESSIONS_PER_APPLICATION] [default: 20000]
    #[arg(long, value_name = "NUMBER")]
    sessions_per_application: Option<u32>,
    /// Live children of a session
    /// [env: CARACAL_SESSION_CHILDREN] [default: 1000]
    #[arg(long, value_name = "NUMBER")]
    session_children: Option<u32>,
    /// Levels of sessions below a root, 20 at most
    /// [env: CARACAL_SESSION_DEPTH] [default: 10]
    #[arg(long, value_name = "NUMBER")]
    session_depth: Option<u32>,
    /// Requests with an Idempotency-Key that are remembered, by application and operation
    /// [env: CARACAL_IDEMPOTENCY_RECEIPTS] [default: 10000]
    #[arg(long, value_name = "NUMBER")]
    idempotency_receipts: Option<u32>,
    /// How long audit events are kept, in seconds; without it, for ever
    /// [env: CARACAL_AUDIT_RETENTION_SECONDS]
    #[arg(long, value_name = "SECONDS")]
    audit_retention_seconds: Option<u64>,
    /// Audit events after which a segment of the ledger is sealed, at the next checkpoint; old events go in
    /// whole segments [env: CARACAL_AUDIT_SEGMENT_EVENTS] [default: 100000]
    #[arg(long, value_name = "NUMBER")]
    audit_segment_events: Option<u64>,
    /// Longest time between two checkpoints of a ledger that grows
    /// [env: CARACAL_AUDIT_CHECKPOINT_SECONDS] [default: 10]
    #[arg(long, value_name = "SECONDS")]
    audit_checkpoint_seconds: Option<u64>,
    /// Collector to which traces are sent by OTLP over HTTP; without it, none are made
    /// [env: CARACAL_OTLP_ENDPOINT, or OTEL_EXPORTER_OTLP_ENDPOINT]
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,
    /// What is logged, such as info or sts_server=debug [env: CARACAL_LOG] [default: info]
    #[arg(long, value_name = "FILTER")]
    pub(super) log: Option<String>,
    /// Form of the log [env: CARACAL_LOG_FORMAT] [default: text]
    #[arg(long, value_enum)]
    pub(super) log_format: Option<LogFormat>,
}

/// The admin token itself, which no `Debug` shows.
#[derive(Clone)]
struct AdminToken(Zeroizing<String>);

impl std::fmt::Debug for AdminToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AdminToken(..)")
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum LogFormat {
    /// For people
    #[default]
    Text,
    /// One JSON object a line
    Json,
}

impl std::str::FromStr for LogFormat {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        ValueEnum::from_str(text, false).map_err(|_| "expected text or json".to_owned())
    }
}

impl Settings {
    /// The settings of this command: flags over variables over the file.
    pub(super) fn gather(
        arguments: &ServeArgs,
        common: &Common,
        variables: &Variables<'_>,
    ) -> Result<Self, CliError> {
        let flags = Self {
            data_dir: common.data_dir.clone(),
            admin_token_file: common.admin_token_file.clone(),
            ..arguments.settings.clone()
        };
        let named = arguments
            .config
            .clone()
            .or_else(|| variables.path("CARACAL_CONFIG"));
        let file = match named {
            Some(path) => Self::from_file(&path)?,
            None if Path::new(DEFAULT_FILE).exists() => Self::from_file(Path::new(DEFAULT_FILE))?,
            None => Self::default(),
        };
        let settings = flags.over(Self::from_variables(variables)?).over(file);
        match settings.key_publish_lead_seconds {
            Some(3601..) => Err(CliError::usage("key_publish_lead_seconds is 3600 at most")),
            _ => Ok(settings),
        }
    }

    fn from_variables(variables: &Variables<'_>) -> Result<Self, CliError> {
        let admin_token = secret_variable(variables, "CARACAL_ADMIN_TOKEN")?;
        Ok(Self {
            listen: variables.parsed("CARACAL_LISTEN")?,
            data_dir: variables.path("CARACAL_DATA_DIR"),
            database_url: variables.text("CARACAL_DATABASE_URL"),
            issuer: variables.text("CARACAL_ISSUER"),
            admin_token: admin_token.map(|(token, _)| AdminToken(token)),
            admin_token_file: None,
            kek_file: variables.path("CARACAL_KEK_FILE"),
            key_publish_lead_seconds: variables.parsed("CARACAL_KEY_PUBLISH_LEAD_SECONDS")?,
            mints_per_minute: variables.parsed("CARACAL_MINTS_PER_MINUTE")?,
            auth_failures_per_minute: variables.parsed("CARACAL_AUTH_FAILURES_PER_MINUTE")?,
            sessions_per_zone: variables.parsed("CARACAL_SESSIONS_PER_ZONE")?,
            sessions_per_application: variables.parsed("CARACAL_SESSIONS_PER_APPLICATION")?,
            session_children: variables.parsed("CARACAL_SESSION_CHILDREN")?,
            session_depth: variables.parsed("CARACAL_SESSION_DEPTH")?,
            audit_retention_seconds: variables.parsed("CARACAL_AUDIT_RETENTION_SECONDS")?,
            audit_segment_events: variables.parsed("CARACAL_AUDIT_SEGMENT_EVENTS")?,
            audit_checkpoint_seconds: variables.parsed("CARACAL_AUDIT_CHECKPOINT_SECONDS")?,
            idempotency_receipts: variables.parsed("CARACAL_IDEMPOTENCY_RECEIPTS")?,
            otlp_endpoint: variables
                .text("CARACAL_OTLP_ENDPOINT")
                .or_else(|| variables.text("OTEL_EXPORTER_OTLP_ENDPOINT")),
            log: variables.text("CARACAL_LOG"),
            log_format: variables.parsed("CARACAL_LOG_FORMAT")?,
        })
    }

    fn from_file(path: &Path) -> Result<Self, CliError> {
        let text = std::fs::read_to_string(path).map_err(|error| CliError::file(path, error))?;
        toml::from_str(&text)
            .map_err(|error| CliError::usage(format!("{}: {error}", path.display())))
    }

    /// These settings, and what they leave open from `lower`.
    fn over(self, lower: Self) -> Self {
        // One layer decides on the admin token as a whole, whichever way it gives it.
        let named = self.admin_token.is_some() || self.admin_token_file.is_some();
        let (admin_token, admin_token_file) = if named {
            (self.admin_token, self.admin_token_file)
        } else {
            (lower.admin_token, lower.admin_token_file)
        };
        Self {
            listen: self.listen.or(lower.listen),
            data_dir: self.data_dir.or(lower.data_dir),
            database_url: self.database_url.or(lower.database_url),
            issuer: self.issuer.or(lower.issuer),
            admin_token,
            admin_token_file,
            kek_file: self.kek_file.or(lower.kek_file),
            key_publish_lead_seconds: self
                .key_publish_lead_seconds
                .or(lower.key_publish_lead_seconds),
            mints_per_minute: self.mints_per_minute.or(lower.mints_per_minute),
            auth_failures_per_minute: self
                .auth_failures_per_minute
                .or(lower.auth_failures_per_minute),
            sessions_per_zone: self.sessions_per_zone.or(lower.sessions_per_zone),
            sessions_per_application: self
                .sessions_per_application
                .or(lower.sessions_per_application),
            session_children: self.session_children.or(lower.session_children),
            session_depth: self.session_depth.or(lower.session_depth),
            audit_retention_seconds: self
                .audit_retention_seconds
                .or(lower.audit_retention_seconds),
            audit_segment_events: self.audit_segment_events.or(lower.audit_segment_events),
            audit_checkpoint_seconds: self
                .audit_checkpoint_seconds
                .or(lower.audit_checkpoint_seconds),
            idempotency_receipts: self.idempotency_receipts.or(lower.idempotency_receipts),
            otlp_endpoint: self.otlp_endpoint.or(lower.otlp_endpoint),
            log: self.log.or(lower.log),
            log_format: self.log_format.or(lower.log_format),
        }
    }

    pub(super) fn into_config(self) -> Result<ServeConfig, CliError> {
        let admin_token = match (self.admin_token, self.admin_token_file) {
            (Some(AdminToken(token)), _) => Some(token),
            (None, Some(file)) => Some(read_secret_file(&file)?),
            (None, None) => None,
        };
        let defaults = ServeConfig::default();
        let telemetry = match &self.otlp_endpoint {
            Some(endpoint) => Telemetry::start(endpoint)?,
            None => Telemetry::default(),
        };
        Ok(ServeConfig {
            telemetry,
            listen: self.listen.unwrap_or(defaults.listen),
            data_dir: self.data_dir.unwrap_or(defaults.data_dir),
            database_url: self.database_url,
            issuer: self.issuer,
            admin_token: admin_token.map(|token| Secret::new(token.to_string())),
            kek_file: self.kek_file,
            key_publish_lead: self
                .key_publish_lead_seconds
                .map_or(defaults.key_publish_lead, Duration::from_secs),
            mints_per_minute: self.mints_per_minute.unwrap_or(defaults.mints_per_minute),
            auth_failures_per_minute: self
                .auth_failures_per_minute
                .unwrap_or(defaults.auth_failures_per_minute),
            session_limits: SessionLimits {
                per_zone: self
                    .sessions_per_zone
                    .unwrap_or(defaults.session_limits.per_zone),
                per_application: self
                    .sessions_per_application
                    .unwrap_or(defaults.session_limits.per_application),
                children: self
                    .session_children
                    .unwrap_or(defaults.session_limits.children),
                depth: self.session_depth.unwrap_or(defaults.session_limits.depth),
                receipts: self
                    .idempotency_receipts
                    .unwrap_or(defaults.session_limits.receipts),
            },
            ledger: LedgerSettings {
                retention: self.audit_retention_seconds.map(Duration::from_secs),
                segment_events: self
                    .audit_segment_events
                    .unwrap_or(defaults.ledger.segment_events),
                checkpoint_interval: self
                    .audit_checkpoint_seconds
                    .map_or(defaults.ledger.checkpoint_interval, Duration::from_secs),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    /// Gathers from a command line, a table of variables and a file's text.
    fn gather(line: &[&str], variables: &[(&str, &str)], file: &str) -> Result<Settings, CliError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("caracal.toml");
        std::fs::write(&path, file).unwrap();
        let path = path.to_str().unwrap();
        let line = ["caracal", "serve", "--config", path]
            .into_iter()
            .chain(line.iter().copied());
        let cli = Cli::try_parse_from(line).unwrap();
        let crate::cli::Command::Serve(arguments) = cli.command else {
            panic!("serve was parsed")
        };
        Settings::gather(&arguments, &cli.common, &Variables::of_table(variables))
    }

    #[test]
    fn flags_win_over_variables_and_variables_over_the_file() {
        let file = "issuer = 'http://file'\nlisten = '127.0.0.1:1'\ndata_dir = 'file'\nmints_per_minute = 7\n";
        let variables = [
            ("CARACAL_ISSUER", "http://variable"),
            ("CARACAL_LISTEN", "127.0.0.1:2"),
        ];
        let settings = gather(&["--issuer", "http://flag"], &variables, file).unwrap();
        assert_eq!(settings.issuer.as_deref(), Some("http://flag"));
        assert_eq!(settings.listen.unwrap().port(), 2);
        assert_eq!(settings.data_dir.as_deref(), Some(Path::new("file")));
        let config = settings.into_config().unwrap();
        assert_eq!(config.mints_per_minute, 7);
        assert_eq!(
            config.auth_failures_per_minute,
            ServeConfig::default().auth_failures_per_minute
        );
    }

    #[test]
    fn an_unknown_name_in_the_file_is_an_error_that_names_it() {
        let error = gather(&[], &[], "listne = '127.0.0.1:1'\n")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("listne") && error.contains("listen"),
            "{error}"
        );
    }

    #[test]
    fn a_wrong_variable_is_an_error_that_names_it() {
        let error = gather(&[], &[("CARACAL_LISTEN", "8080")], "")
            .unwrap_err()
            .to_string();
        assert!(error.contains("CARACAL_LISTEN=8080"), "{error}");
        let error = gather(&[], &[("CARACAL_LOG_FORMAT", "xml")], "")
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("CARACAL_LOG_FORMAT=xml: expected text or json"),
            "{error}"
        );
        assert!(gather(&[], &[("CARACAL_KEY_PUBLISH_LEAD_SECONDS", "3601")], "").is_err());
    }

    #[test]
    fn an_empty_variable_counts_as_unset() {
        let settings = gather(
            &[],
            &[("CARACAL_LISTEN", ""), ("CARACAL_ISSUER", "")],
            "issuer = 'http://file'",
        )
        .unwrap();
        assert_eq!(settings.issuer.as_deref(), Some("http://file"));
    }

    #[test]
    fn the_admin_token_comes_from_one_layer_as_a_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "at_from_a_file\n").unwrap();
        let path = path.to_str().unwrap();
        let token = |line: &[&str], variables: &[(&str, &str)], file: &str| {
            let settings = gather(line, variables, file).unwrap();
            match (settings.admin_token, settings.admin_token_file) {
                (Some(AdminToken(token)), _) => (*token).clone(),
                (None, Some(file)) => (*read_secret_file(&file).unwrap()).clone(),
                (None, None) => "none".to_owned(),
            }
        };
        let file = format!("admin_token_file = '{path}'");
        assert_eq!(
            token(&[], &[("CARACAL_ADMIN_TOKEN", "at_variable")], &file),
            "at_variable"
        );
        assert_eq!(
            token(
                &["--admin-token-file", path],
                &[("CARACAL_ADMIN_TOKEN", "at_variable")],
                ""
            ),
            "at_from_a_file"
        );
        assert_eq!(
            token(&[], &[("CARACAL_ADMIN_TOKEN_FILE", path)], ""),
            "at_from_a_file"
        );
        assert_eq!(token(&[], &[], &file), "at_from_a_file");
        assert_eq!(token(&[], &[], ""), "none");
    }

    #[test]
    fn traces_are_off_until_a_collector_is_named_and_its_address_holds_no_secret() {
        let config = |variables: &[(&str, &str)]| gather(&[], variables, "").unwrap().into_config();
        let told =
            |variables: &[(&str, &str)]| format!("{:?}", config(variables).unwrap().telemetry);
        assert_eq!(told(&[]), "Telemetry(None)");
        let standard = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318");
        assert!(told(&[standard]).contains("Some"));
        for wrong in [
            "http://user:secret@127.0.0.1:4318",
            "127.0.0.1:4318",
            "ftp://host",
        ] {
            assert!(
                config(&[standard, ("CARACAL_OTLP_ENDPOINT", wrong)]).is_err(),
                "{wrong}"
            );
        }
    }

    #[test]
    fn settings_show_no_token_in_debug_output() {
        let settings = gather(&[], &[("CARACAL_ADMIN_TOKEN", "at_hidden")], "").unwrap();
        assert!(!format!("{settings:?}").contains("at_hidden"));
    }
}
