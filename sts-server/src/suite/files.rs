//! The files of a suite: modules, and JSON documents at the place in `data` where `opa` puts them.

use std::{
    fs,
    path::{Path, PathBuf},
};

use authority::policy::Module;
use regorus::Value;
use serde_json::json;

use super::SuiteError;

/// Largest file.
const MAX_FILE_BYTES: u64 = 64 * 1024 * 1024;
/// Most files.
const MAX_FILES: usize = 10_000;
/// Deepest directory; a link that leads back into its own tree ends here.
const MAX_DEPTH: usize = 32;

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// Rego, in the order of names.
    pub(super) modules: Vec<Module>,
    /// JSON, wrapped in the names of the directories between its own and the one that was named.
    pub(super) documents: Vec<(PathBuf, Value)>,
}

impl Files {
    pub(super) fn read(paths: &[PathBuf]) -> Result<Self, SuiteError> {
        let mut files = Self::default();
        for path in paths {
            files.walk(path, &mut Vec::new())?;
        }
        Ok(files)
    }

    /// The names of the modules.
    pub(super) fn names(&self) -> Vec<String> {
        let name = |module: &Module| module.name.clone();
        self.modules.iter().map(name).collect()
    }

    /// Whether a decision of Caracal's is asked for or made here: else the tests are about something else.
    pub(super) fn mention_decision(&self) -> bool {
        let mentions = |module: &Module| module.source.contains("caracal.");
        self.modules.iter().any(mentions)
    }

    fn walk(&mut self, path: &Path, between: &mut Vec<String>) -> Result<(), SuiteError> {
        let failed = |source| SuiteError::File {
            path: path.to_owned(),
            source,
        };
        let metadata = fs::metadata(path).map_err(failed)?;
        if !metadata.is_dir() {
            return self.file(path, metadata.len(), between);
        }
        if between.len() >= MAX_DEPTH {
            return Err(SuiteError::Bound(format!(
                "{}: directories are {MAX_DEPTH} deep at most",
                path.display()
            )));
        }
        let entries = fs::read_dir(path).map_err(failed)?;
        let mut entries: Vec<PathBuf> = entries
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<Result<_, _>>()
            .map_err(failed)?;
        entries.sort();
        for entry in entries {
            let name = entry.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with('.') {
                continue;
            }
            if entry.is_dir() {
                between.push(name.into_owned());
                self.walk(&entry, between)?;
                between.pop();
            } else if name.ends_with(".rego") || name.ends_with(".json") {
                self.walk(&entry, between)?;
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, bytes: u64, between: &[String]) -> Result<(), SuiteError> {
        let name = path.display().to_string();
        if self.modules.len() + self.documents.len() >= MAX_FILES {
            return Err(SuiteError::Bound(format!("{MAX_FILES} files at most")));
        }
        if bytes > MAX_FILE_BYTES {
            return Err(SuiteError::Bound(format!(
                "{name}: {bytes} bytes, {MAX_FILE_BYTES} at most"
            )));
        }
        let source = fs::read_to_string(path).map_err(|source| SuiteError::File {
            path: path.to_owned(),
            source,
        })?;
        if !name.ends_with(".json") {
            self.modules.push(Module { name, source });
            return Ok(());
        }
        let wrong = |problem: String| SuiteError::Data {
            path: path.to_owned(),
            problem,
        };
        let document: serde_json::Value =
            serde_json::from_str(&source).map_err(|error| wrong(error.to_string()))?;
        let document = between
            .iter()
            .rev()
            .fold(document, |inner, name| json!({name.as_str(): inner}));
        if !document.is_object() {
            return Err(wrong("a data document is a JSON object".to_owned()));
        }
        self.documents.push((path.to_owned(), document.into()));
        Ok(())
    }
}
