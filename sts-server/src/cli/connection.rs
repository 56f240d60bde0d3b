//! Which server a command talks to, and with which admin token: from flags, from variables, or from
//! the data directory of a server on this machine.

use std::{
    io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ureq::http::Uri;
use zeroize::Zeroizing;

use super::{
    Common,
    error::CliError,
    secret::{read_secret_file, secret_variable},
    variables::Variables,
};

/// Where a server listens unless told otherwise.
const DEFAULT_URL: &str = "http://127.0.0.1:8080";
/// Where a server keeps its data unless told otherwise.
const DEFAULT_DATA_DIR: &str = ".caracal";

/// An admin token and where it came from.
pub(super) struct AdminToken {
    pub(super) token: Zeroizing<String>,
    pub(super) source: String,
}

/// The server's address.
#[derive(Debug)]
pub(super) struct Connection {
    url: String,
    data_dir: PathBuf,
    /// Whether the server is the one whose data directory this is, as far as one can tell.
    local: bool,
}

impl Connection {
    /// Finds the address: `--url`, `CARACAL_URL`, the file `url` of the data directory, the default.
    pub(super) fn find(common: &Common, variables: &Variables<'_>) -> Result<Self, CliError> {
        let data_dir = data_dir(common, variables);
        let written = read_optional(&data_dir.join("url"))?;
        let named = common.url.clone().or_else(|| variables.text("CARACAL_URL"));
        let url = named
            .or_else(|| written.clone())
            .unwrap_or_else(|| DEFAULT_URL.to_owned());
        let url = url.trim_end_matches('/').to_owned();
        let host = host(&url)?;
        let local = written.is_some_and(|written| written.trim_end_matches('/') == url)
            || is_loopback(&host);
        Ok(Self {
            url,
            data_dir,
            local,
        })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// Finds the token: `--admin-token-file`, the variables, the file `admin-token` of the data
    /// directory. The last is only for a server on this machine: no token goes to a stranger because
    /// a command was run in the wrong directory.
    pub(super) fn admin_token(
        &self,
        common: &Common,
        variables: &Variables<'_>,
    ) -> Result<AdminToken, CliError> {
        if let Some(file) = &common.admin_token_file {
            return Ok(AdminToken {
                token: read_secret_file(file)?,
                source: file.display().to_string(),
            });
        }
        if let Some((token, source)) = secret_variable(variables, "CARACAL_ADMIN_TOKEN")? {
            return Ok(AdminToken { token, source });
        }
        let file = self.data_dir.join("admin-token");
        if self.local && file.exists() {
            return Ok(AdminToken {
                token: read_secret_file(&file)?,
                source: file.display().to_string(),
            });
        }
        let why = if self.local {
            format!("there is no {}", file.display())
        } else {
            format!(
                "{} is another machine's server, so the token in {} is not for it",
                self.url,
                file.display()
            )
        };
        Err(CliError::usage(format!(
            "no admin token: {why}. Name a file with --admin-token-file or CARACAL_ADMIN_TOKEN_FILE, or set \
             CARACAL_ADMIN_TOKEN; for a server on this machine, --data-dir names its data directory"
        )))
    }
}

/// The data directory: flag, variable, default.
fn data_dir(common: &Common, variables: &Variables<'_>) -> PathBuf {
    let named = common
        .data_dir
        .clone()
        .or_else(|| variables.path("CARACAL_DATA_DIR"));
    named.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA_DIR))
}

/// Whether `url` names this machine.
pub(super) fn is_loopback_url(url: &str) -> bool {
    host(url).is_ok_and(|host| is_loopback(&host))
}

fn host(url: &str) -> Result<String, CliError> {
    let wrong =
        |problem: &str| CliError::usage(format!("{url:?} is no address of a server: {problem}"));
    let uri: Uri = url
        .parse()
        .map_err(|_| wrong("expected such as http://127.0.0.1:8080"))?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) {
        return Err(wrong("it has to start with http:// or https://"));
    }
    if uri.query().is_some()
        || uri
            .authority()
            .is_some_and(|authority| authority.as_str().contains('@'))
    {
        return Err(wrong("it may have neither a query nor a user in it"));
    }
    uri.host()
        .map(str::to_owned)
        .ok_or_else(|| wrong("it names no host"))
}

fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn read_optional(path: &Path) -> Result<Option<String>, CliError> {
    match std::fs::read_to_string(path) {
        Ok(text) => Ok(Some(text.trim().to_owned()).filter(|text| !text.is_empty())),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
            ) =>
        {
            Ok(None)
        }
        Err(error) => Err(CliError::file(path, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Format;

    fn common(data_dir: &Path, url: Option<&str>) -> Common {
        Common {
            output: Format::Text,
            data_dir: Some(data_dir.to_owned()),
            url: url.map(str::to_owned),
            admin_token_file: None,
        }
    }

    fn data_dir_of_a_server() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("url"), "http://127.0.0.1:4711\n").unwrap();
        std::fs::write(dir.path().join("admin-token"), "at_local\n").unwrap();
        dir
    }

    #[test]
    fn the_flag_wins_over_the_variable_and_the_variable_over_the_data_directory() {
        let dir = data_dir_of_a_server();
        let variables = Variables::of_table(&[("CARACAL_URL", "http://b:1/")]);
        let url = |flag, variables: &Variables<'_>| {
            Connection::find(&common(dir.path(), flag), variables)
                .unwrap()
                .url()
                .to_owned()
        };
        assert_eq!(url(Some("http://a:1"), &variables), "http://a:1");
        assert_eq!(url(None, &variables), "http://b:1");
        assert_eq!(
            url(None, &Variables::of_table(&[])),
            "http://127.0.0.1:4711"
        );
        let empty = tempfile::tempdir().unwrap();
        let fallback =
            Connection::find(&common(empty.path(), None), &Variables::of_table(&[])).unwrap();
        assert_eq!(fallback.url(), DEFAULT_URL);
    }

    #[test]
    fn the_local_admin_token_never_goes_to_another_machine() {
        let dir = data_dir_of_a_server();
        let none = Variables::of_table(&[]);
        let token = |url: Option<&str>| {
            let common = common(dir.path(), url);
            Connection::find(&common, &none)
                .unwrap()
                .admin_token(&common, &none)
                .map(|found| found.token)
        };
        assert_eq!(*token(None).unwrap(), "at_local");
        assert_eq!(*token(Some("http://localhost:4711")).unwrap(), "at_local");
        assert_eq!(*token(Some("http://[::1]:4711")).unwrap(), "at_local");
        for foreign in [
            "https://sts.example.com",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
        ] {
            assert!(
                token(Some(foreign))
                    .is_err_and(|error| error.to_string().contains("another machine"))
            );
        }
    }

    #[test]
    fn an_address_that_is_none_is_refused_with_a_reason() {
        for wrong in [
            "127.0.0.1:8080",
            "ftp://a",
            "http://",
            "http://a?b",
            "http://user:secret@a",
        ] {
            assert!(host(wrong).is_err(), "{wrong}");
        }
    }
}
