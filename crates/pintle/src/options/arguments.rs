//! The command line, by the rules of Go's `flag` package.
//!
//! One dash or two, `-flag value` or `-flag=value`, a switch alone or with `=`, `--` ends the
//! flags, the last of two wins. Scripts for etcd rely on all of it.

use super::{Row, Settings, Source, find};

/// What a command line asks for.
#[derive(Debug)]
pub(crate) enum Parsed {
    /// These settings, and what stood after the flags.
    Settings(Box<Settings>, Vec<String>),
    /// The help text.
    Help,
    /// Nothing that could be understood.
    Wrong(String),
}

/// Reads a command line without the program's name.
pub(crate) fn parse(arguments: &[String]) -> Parsed {
    let mut settings = Settings::defaults();
    let mut rest = arguments;
    while let Some((argument, after)) = rest.split_first() {
        if argument.len() < 2 || !argument.starts_with('-') {
            break;
        }
        rest = after;
        if argument == "--" {
            break;
        }
        match one(argument, rest, &mut settings) {
            Ok(used) => rest = rest.get(used..).unwrap_or_default(),
            Err(Stop::Help) => return Parsed::Help,
            Err(Stop::Wrong(error)) => return Parsed::Wrong(error),
        }
    }
    Parsed::Settings(Box::new(settings), rest.to_vec())
}

enum Stop {
    Help,
    Wrong(String),
}

/// Reads one flag; answers how many of the arguments after it were its value.
fn one(argument: &str, after: &[String], settings: &mut Settings) -> Result<usize, Stop> {
    let body = argument.strip_prefix("--").or(argument.strip_prefix('-')).unwrap_or(argument);
    if body.is_empty() || body.starts_with(['-', '=']) {
        return Err(Stop::Wrong(format!("bad flag syntax: {argument}")));
    }
    let (name, value) = match body.split_once('=') {
        Some((name, value)) => (name, Some(value)),
        None => (body, None),
    };
    let Some(row) = find(name) else {
        if matches!(name, "help" | "h") {
            return Err(Stop::Help);
        }
        return Err(Stop::Wrong(format!("flag provided but not defined: -{name}")));
    };
    if row.kind.is_switch() {
        let value = value.unwrap_or("true");
        settings.set(row, value, Source::Flag).map_err(|reason| {
            Stop::Wrong(format!("invalid boolean value {value:?} for -{name}: {reason}"))
        })?;
        return Ok(0);
    }
    let (value, used) = match (value, after.first()) {
        (Some(value), _) => (value, 0),
        (None, Some(value)) => (value.as_str(), 1),
        (None, None) => {
            return Err(Stop::Wrong(format!("flag needs an argument: -{name}")));
        }
    };
    set(row, value, settings)?;
    Ok(used)
}

fn set(row: &Row, value: &str, settings: &mut Settings) -> Result<(), Stop> {
    settings.set(row, value, Source::Flag).map_err(|reason| {
        Stop::Wrong(format!("invalid value {value:?} for flag -{}: {reason}", row.name))
    })
}
