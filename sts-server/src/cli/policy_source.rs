//! Policy texts on disk: which files, and what is wrong with them before any server sees them.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use authority::policy::{self, Module, PolicyError, PolicyKind};

use super::error::CliError;

/// The text of a file, or of standard input for `-`.
pub(super) fn read_text(path: &Path) -> Result<String, CliError> {
    let read = || {
        if path == Path::new("-") {
            let mut text = String::new();
            return io::stdin().lock().read_to_string(&mut text).map(|_| text);
        }
        std::fs::read_to_string(path)
    };
    read().map_err(|error| CliError::file(path, error))
}

/// The modules of `paths`; a directory stands for its `.rego` files, tests aside.
pub(super) fn read_modules(paths: &[PathBuf]) -> Result<Vec<Module>, CliError> {
    let mut modules = Vec::new();
    for path in paths {
        let files = if path.is_dir() {
            rego_files(path)?
        } else {
            vec![path.clone()]
        };
        for file in files {
            modules.push(Module {
                name: file.display().to_string(),
                source: read_text(&file)?,
            });
        }
    }
    Ok(modules)
}

fn rego_files(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| CliError::file(directory, error))?;
    let is_policy = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        name.ends_with(".rego") && !name.ends_with("_test.rego")
    };
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(is_policy)
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::usage(format!(
            "{} holds no .rego files",
            directory.display()
        )));
    }
    Ok(files)
}

/// Checks each module by itself, so that every error of every file is reported.
pub(super) fn check(modules: &[Module]) -> Result<Vec<PolicyKind>, Vec<PolicyError>> {
    let mut kinds = Vec::new();
    let mut errors = Vec::new();
    for module in modules {
        match policy::check(module) {
            Ok(kind) => kinds.push(kind),
            Err(more) => errors.extend(more),
        }
    }
    if errors.is_empty() {
        Ok(kinds)
    } else {
        Err(errors)
    }
}

/// Checks each module, then compiles them as one set.
pub(super) fn compile(modules: &[Module]) -> Result<PolicyKind, Vec<PolicyError>> {
    check(modules)?;
    policy::compile(modules).map(|compiled| compiled.kind)
}

/// The name that a file's policy has on the server: the file's, without its extension.
pub(super) fn policy_name(file: &str) -> Result<String, CliError> {
    let stem = Path::new(file)
        .file_stem()
        .and_then(|stem| stem.to_str())
        .filter(|stem| *stem != "-");
    stem.map(str::to_owned)
        .ok_or_else(|| CliError::usage(format!("{file:?} gives no name for a policy")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_policies_in_order_without_their_tests() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.rego", "a.rego", "a_test.rego", "README.md"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let modules = read_modules(&[dir.path().to_owned()]).unwrap();
        assert_eq!(
            modules
                .iter()
                .map(|module| module.source.as_str())
                .collect::<Vec<_>>(),
            ["a.rego", "b.rego"]
        );
    }

    #[test]
    fn a_policy_is_named_after_its_file() {
        assert_eq!(policy_name("policies/grants.rego").unwrap(), "grants");
        assert!(policy_name("-").is_err());
    }

    #[test]
    fn errors_of_all_files_are_reported_with_their_place() {
        let bad = |name: &str| Module {
            name: name.into(),
            source: "package caracal.authz\n\nresult := {".into(),
        };
        let errors = check(&[bad("one.rego"), bad("two.rego")]).unwrap_err();
        assert_eq!(
            errors
                .iter()
                .map(|error| error.file.as_str())
                .collect::<Vec<_>>(),
            ["one.rego", "two.rego"]
        );
        assert!(errors.iter().all(|error| error.line == 3));
    }
}
