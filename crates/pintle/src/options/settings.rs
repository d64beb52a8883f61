//! What every option is set to, and by whom.

use std::collections::BTreeSet;

use net::Url;

use super::gates::FeatureGates;
use super::number::GoDuration;
use super::{Row, TABLE, Value};

/// Who set an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    /// Nobody.
    Default,
    Flag,
    Environment,
    File,
}

/// A value for each row of the table.
///
/// The typed readers panic when the name is not in the table or has another kind: that is a
/// mistake in this crate, which any start would show.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    entries: Vec<(Value, Source)>,
    /// Keys that a config file has, also those that no row knows.
    pub(super) file_keys: BTreeSet<String>,
    /// The config file that they come from.
    pub(crate) path: Option<String>,
    /// What a config file says of clients' certificates and no flag can.
    pub(crate) client_certs: ClientCerts,
}

/// Keys of `client-transport-security` that are no flags.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClientCerts {
    /// `allowed-cn`
    pub(crate) allowed_cns: Vec<String>,
    /// `skip-client-san-verification`
    pub(crate) skip_san: bool,
}

impl Settings {
    /// Everything at its default.
    pub(crate) fn defaults() -> Settings {
        let entries = TABLE.iter().map(|row| (row.default_value(), Source::Default)).collect();
        Settings {
            entries,
            file_keys: BTreeSet::new(),
            path: None,
            client_certs: ClientCerts::default(),
        }
    }

    fn position(name: &str) -> usize {
        let found = TABLE.iter().position(|row| row.name == name);
        found.unwrap_or_else(|| panic!("the table has no option {name}"))
    }

    /// Reads a text for an option.
    pub(crate) fn set(&mut self, row: &Row, text: &str, source: Source) -> Result<(), String> {
        let at = Settings::position(row.name);
        let value = row.kind.read(text, &self.entries[at].0)?;
        self.entries[at] = (value, source);
        Ok(())
    }

    /// Takes a value that was read elsewhere.
    pub(super) fn put(&mut self, row: &Row, value: Value, source: Source) {
        self.entries[Settings::position(row.name)] = (value, source);
    }

    /// What an option is set to.
    pub(crate) fn value(&self, name: &str) -> &Value {
        &self.entries[Settings::position(name)].0
    }

    /// Who set an option.
    pub(crate) fn source(&self, name: &str) -> Source {
        self.entries[Settings::position(name)].1
    }

    /// Whether anybody set an option, be it to its default.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.source(name) != Source::Default || self.file_keys.contains(name)
    }

    /// The rows whose value is not the default.
    #[cfg(test)]
    pub(crate) fn changed(&self) -> impl Iterator<Item = &'static Row> {
        let entries = TABLE.iter().zip(&self.entries);
        entries.filter(|(row, entry)| row.default_value() != entry.0).map(|both| both.0)
    }

    pub(crate) fn text(&self, name: &str) -> String {
        match self.value(name) {
            Value::Text(text) => text.clone(),
            other => panic!("option {name} is {other:?}"),
        }
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(on) => *on,
            other => panic!("option {name} is {other:?}"),
        }
    }

    pub(crate) fn uint(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Uint(number) => *number,
            other => panic!("option {name} is {other:?}"),
        }
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(number) => *number,
            other => panic!("option {name} is {other:?}"),
        }
    }

    pub(crate) fn duration(&self, name: &str) -> GoDuration {
        match self.value(name) {
            Value::Duration(duration) => *duration,
            other => panic!("option {name} is {other:?}"),
        }
    }

    pub(crate) fn urls(&self, name: &str) -> Vec<Url> {
        match self.value(name) {
            Value::Urls(urls) => urls.clone(),
            other => panic!("option {name} is {other:?}"),
        }
    }

    pub(crate) fn list(&self, name: &str) -> Vec<String> {
        match self.value(name) {
            Value::List(list) => list.clone(),
            other => panic!("option {name} is {other:?}"),
        }
    }

    pub(crate) fn gates(&self, name: &str) -> FeatureGates {
        match self.value(name) {
            Value::Gates(gates) => gates.clone(),
            other => panic!("option {name} is {other:?}"),
        }
    }
}
