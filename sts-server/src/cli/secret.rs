//! Secrets on their way in and out: from files, variables or standard input, never from arguments,
//! and into files that only their owner can read.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Read, Write},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{error::CliError, variables::Variables};

/// Longest secret that is read.
const MAX_SECRET_BYTES: u64 = 16 * 1024;

/// The secret in a file, without the line break at its end.
pub(super) fn read_secret_file(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let file = File::open(path).map_err(|error| CliError::file(path, error))?;
    read_secret(file).map_err(|error| CliError::file(path, error))
}

/// The secret in the variable `name` or in the file that `name_FILE` names, and which it was.
pub(super) fn secret_variable(
    variables: &Variables<'_>,
    name: &str,
) -> Result<Option<(Zeroizing<String>, String)>, CliError> {
    let file_name = format!("{name}_FILE");
    match (variables.text(name), variables.path(&file_name)) {
        (Some(_), Some(_)) => Err(CliError::usage(format!(
            "{name} and {file_name} are both set; set one"
        ))),
        (Some(value), None) => Ok(Some((Zeroizing::new(value), name.to_owned()))),
        (None, Some(path)) => {
            let source = format!("{} ({file_name})", path.display());
            Ok(Some((read_secret_file(&path)?, source)))
        }
        (None, None) => Ok(None),
    }
}

/// The secret that is piped in, if something is.
pub(super) fn read_secret_from_stdin() -> Result<Option<Zeroizing<String>>, CliError> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Ok(None);
    }
    match read_secret(stdin.lock()) {
        Ok(secret) => Ok(Some(secret)),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(CliError::file(Path::new("standard input"), error)),
    }
}

fn read_secret(source: impl Read) -> io::Result<Zeroizing<String>> {
    let mut text = Zeroizing::new(String::new());
    source
        .take(MAX_SECRET_BYTES + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_SECRET_BYTES {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "too long for a secret",
        ));
    }
    let secret = text.trim();
    if secret.is_empty() {
        return Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            "no secret in it",
        ));
    }
    Ok(Zeroizing::new(secret.to_owned()))
}

/// A file that is ready to take a secret. It is opened before the server is asked for one, because
/// the server shows each secret once.
pub(super) struct SecretFile {
    path: PathBuf,
    file: File,
}

impl SecretFile {
    /// Opens `path` for its owner only. What it holds stays until the secret is there.
    pub(super) fn open(path: &Path) -> Result<Self, CliError> {
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(false);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = options
            .open(path)
            .map_err(|error| CliError::file(path, error))?;
        #[cfg(unix)]
        if file.metadata().is_ok_and(|metadata| metadata.is_file()) {
            let owner_only = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            file.set_permissions(owner_only)
                .map_err(|error| CliError::file(path, error))?;
        }
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// Puts `secret` in.
    pub(super) fn write(mut self, secret: &str) -> Result<(), CliError> {
        let replace = |file: &mut File| {
            if file.metadata()?.is_file() {
                file.set_len(0)?;
            }
            writeln!(file, "{secret}")
        };
        replace(&mut self.file).map_err(|error| CliError::file(&self.path, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_comes_from_the_variable_or_from_the_file_but_not_from_both() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "from-file\n").unwrap();
        let path = path.to_str().unwrap();
        let read = |table: &[(&str, &str)]| {
            secret_variable(&Variables::of_table(table), "S")
                .map(|found| found.map(|(secret, _)| (*secret).clone()))
        };
        assert_eq!(read(&[("S", "inline")]).unwrap().as_deref(), Some("inline"));
        assert_eq!(
            read(&[("S_FILE", path)]).unwrap().as_deref(),
            Some("from-file")
        );
        assert_eq!(
            read(&[("S", ""), ("S_FILE", path)]).unwrap().as_deref(),
            Some("from-file")
        );
        assert_eq!(read(&[]).unwrap(), None);
        assert!(read(&[("S", "inline"), ("S_FILE", path)]).is_err());
    }

    #[test]
    fn an_empty_secret_file_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, " \n").unwrap();
        assert!(read_secret_file(&path).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_secret_is_written_for_its_owner_only_over_whatever_was_there() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::fs::write(&path, "an older and longer secret").unwrap();
        SecretFile::open(&path).unwrap().write("cs_new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "cs_new\n");
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o600
        );
    }
}
