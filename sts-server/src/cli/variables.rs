//! Environment variables as the command line reads them: an empty one counts as unset, and tests
//! bring their own.

use std::{fmt::Display, path::PathBuf, str::FromStr};

use super::error::CliError;

type Lookup<'a> = dyn Fn(&str) -> Option<String> + 'a;

/// A lookup of variables by name.
pub(super) struct Variables<'a> {
    lookup: Box<Lookup<'a>>,
}

impl<'a> Variables<'a> {
    /// Those of this process.
    pub(super) fn of_process() -> Self {
        Self {
            lookup: Box::new(|name| std::env::var(name).ok()),
        }
    }

    /// Those of a table.
    #[cfg(test)]
    pub(super) fn of_table(table: &'a [(&'a str, &'a str)]) -> Self {
        let find = |name: &str| {
            table
                .iter()
                .find(|(own, _)| *own == name)
                .map(|(_, value)| (*value).to_owned())
        };
        Self {
            lookup: Box::new(find),
        }
    }

    /// The text of `name`, unless unset or empty.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).filter(|value| !value.is_empty())
    }

    /// The path in `name`.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(PathBuf::from)
    }

    /// The value of `name`, which must be a `T`; the error names the variable.
    pub(super) fn parsed<T>(&self, name: &str) -> Result<Option<T>, CliError>
    where
        T: FromStr<Err: Display>,
    {
        self.text(name)
            .map(|value| {
                value
                    .parse()
                    .map_err(|error| CliError::usage(format!("{name}={value}: {error}")))
            })
            .transpose()
    }
}
