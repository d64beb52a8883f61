//! Options from environment variables, for those that no flag set.

use std::collections::BTreeSet;

use super::{Row, Settings, Source, TABLE};

/// A thing worth a log line, in the order in which etcd logs them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A variable that must not be set was; it has been dropped.
    Special { key: String, value: String },
    /// A variable set an option.
    Used { name: String, value: String },
    /// A variable with our prefix and no option: `NAME=VALUE`.
    Unknown(String),
}

/// Why the environment is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refused {
    /// This variable and its flag are both given. It ends the program at once.
    Conflict(String),
    /// The value of a variable does not read.
    Value(String),
}

/// Not an option although its name looks like one: the version flag must not be set this way.
const SPECIAL: &str = "ETCD_VERSION";

/// Reads the variables, as `(name, value)` in the environment's order, into the settings.
pub(crate) fn apply(
    settings: &mut Settings,
    variables: &[(String, String)],
) -> (Vec<Notice>, Result<(), Refused>) {
    let mut notices = Vec::new();
    let (special, variables): (Vec<_>, Vec<_>) =
        variables.iter().partition(|(key, value)| key == SPECIAL && !value.is_empty());
    for (key, value) in special {
        notices.push(Notice::Special { key: key.clone(), value: value.clone() });
    }
    let mut refused = None;
    let mut used = BTreeSet::new();
    for row in by_name() {
        if settings.source(row.name) == Source::Flag {
            continue;
        }
        let key = row.variable();
        let Some((_, value)) = variables.iter().find(|(name, _)| *name == key) else { continue };
        if value.is_empty() {
            continue;
        }
        used.insert(key.clone());
        match settings.set(row, value, Source::Environment) {
            Ok(()) => notices.push(Notice::Used { name: key, value: value.clone() }),
            // The last one is told, as in etcd.
            Err(reason) => refused = Some(format!("invalid value {value:?} for {key}: {reason}")),
        }
    }
    for (key, value) in variables {
        if used.contains(key) {
            continue;
        }
        let shadowed =
            |row: &&Row| settings.source(row.name) == Source::Flag && row.variable() == *key;
        if TABLE.iter().any(|row| shadowed(&row)) {
            return (notices, Err(Refused::Conflict(key.clone())));
        }
        if key.starts_with("ETCD_") {
            notices.push(Notice::Unknown(format!("{key}={value}")));
        }
    }
    (notices, refused.map_or(Ok(()), |text| Err(Refused::Value(text))))
}

fn by_name() -> Vec<&'static Row> {
    let mut rows: Vec<_> = TABLE.iter().collect();
    rows.sort_by_key(|row| row.name);
    rows
}
