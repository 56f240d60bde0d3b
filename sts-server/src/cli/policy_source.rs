//! Policy texts on disk: which files, and what is wrong with them before any server sees them.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use authority::policy::{self, Compiled, Module, PolicyError, PolicyKind};

use serde_json::Value;

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

/// The JSON in a file, or on standard input for `-`.
pub(super) fn read_json(path: &Path) -> Result<Value, CliError> {
    let text = read_text(path)?;
    serde_json::from_str(&text)
        .map_err(|error| CliError::usage(format!("{}: not JSON: {error}", path.display())))
}

/// The input documents in a file: an array of them, or one a line.
pub(super) fn read_inputs(path: &Path) -> Result<Vec<Value>, CliError> {
    let text = read_text(path)?;
    if let Ok(Value::Array(inputs)) = serde_json::from_str(&text) {
        return Ok(inputs);
    }
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(place, line)| {
            serde_json::from_str(line).map_err(|error| {
                CliError::usage(format!(
                    "{}:{}: expected one input a line, or an array of them: {error}",
                    path.display(),
                    place + 1
                ))
            })
        })
        .collect()
}

/// The modules of `paths`; a directory stands for its `.rego` files, tests aside, and its `.json` data.
pub(super) fn read_modules(paths: &[PathBuf]) -> Result<Vec<Module>, CliError> {
    let mut modules = Vec::new();
    for path in paths {
        let files = if path.is_dir() {
            policy_files(path)?
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

fn policy_files(directory: &Path) -> Result<Vec<PathBuf>, CliError> {
    let entries = std::fs::read_dir(directory).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let entries = entries.map_err(|error| CliError::file(directory, error))?;
    let is_policy = |path: &PathBuf| {
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        (name.ends_with(".rego") && !name.ends_with("_test.rego")) || name.ends_with(".json")
    };
    let mut files: Vec<PathBuf> = entries
        .into_iter()
        .map(|entry| entry.path())
        .filter(is_policy)
        .collect();
    files.sort();
    if files.is_empty() {
        return Err(CliError::usage(format!(
            "{} holds no .rego or .json files",
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
pub(super) fn compile(modules: &[Module]) -> Result<Compiled, Vec<PolicyError>> {
    check(modules)?;
    policy::compile(modules)
}

/// The name that a file's policy has on the server: the file's, without `.rego`. Of data the extension
/// stays: it is what tells data from Rego.
pub(super) fn policy_name(file: &str) -> Result<String, CliError> {
    let path = Path::new(file);
    let is_data = path
        .extension()
        .is_some_and(|extension| extension == "json");
    let name = if is_data {
        path.file_name()
    } else {
        path.file_stem()
    };
    name.and_then(|name| name.to_str())
        .filter(|name| *name != "-")
        .map(str::to_owned)
        .ok_or_else(|| CliError::usage(format!("{file:?} gives no name for a policy")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_policies_in_order_without_their_tests() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.rego", "a.rego", "a_test.rego", "README.md", "c.json"] {
            std::fs::write(dir.path().join(name), name).unwrap();
        }
        let modules = read_modules(&[dir.path().to_owned()]).unwrap();
        assert_eq!(
            modules
                .iter()
                .map(|module| module.source.as_str())
                .collect::<Vec<_>>(),
            ["a.rego", "b.rego", "c.json"]
        );
    }

    #[test]
    fn a_policy_is_named_after_its_file() {
        assert_eq!(policy_name("policies/grants.rego").unwrap(), "grants");
        assert_eq!(policy_name("policies/teams.json").unwrap(), "teams.json");
        assert!(policy_name("-").is_err());
    }

    #[test]
    fn inputs_come_one_a_line_or_as_an_array() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("inputs");
        for text in ["{\"a\": 1}\n\n{\"a\": 2}\n", "[{\"a\": 1}, {\"a\": 2}]"] {
            std::fs::write(&file, text).unwrap();
            assert_eq!(read_inputs(&file).unwrap().len(), 2, "{text}");
        }
        std::fs::write(&file, "{}\n{").unwrap();
        assert!(read_inputs(&file).unwrap_err().to_string().contains(":2:"));
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
