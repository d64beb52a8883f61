//! Options from a config file: YAML, of which JSON is a part.
//!
//! A file stands in for all flags and variables. Keys that no row knows are passed over, so that
//! a file written for another version loads; keys match whatever their case, as in Go's decoder.

use serde_json::{Map, Value as Json};

use super::{FileKey, Kind, Row, Settings, Source, TABLE, Value};
use crate::options::number::GoDuration;

/// Why a config file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadFile {
    /// Not YAML.
    #[error("error converting YAML to JSON: yaml: {0}")]
    Syntax(String),
    /// A value of the wrong kind.
    #[error(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go \
         struct field configYAML.{key} of type {wanted}"
    )]
    Kind {
        /// What the file has.
        found: String,
        /// Under which key.
        key: String,
        /// What is asked for.
        wanted: &'static str,
    },
    /// URLs that do not read. etcd prints this one without its logger.
    #[error("unexpected error setting up {key}: {reason}")]
    Urls {
        /// Under which key; for the client URLs to advertise it is the wrong one, as in etcd.
        key: &'static str,
        /// What is wrong with them.
        reason: String,
    },
    /// A value that does not read.
    #[error("{0}")]
    Value(String),
}

/// Reads a file's text on top of the defaults.
pub(crate) fn parse(text: &str) -> Result<Settings, BadFile> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::options::DuplicateKeyPolicy::LastWins,
        with_snippet: false,
    };
    let document: Json = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| BadFile::Syntax(error.to_string()))?;
    let mut settings = Settings::defaults();
    // Anything but a map says nothing about any option; etcd passes it over as well.
    let Json::Object(document) = document else { return Ok(settings) };
    settings.file_keys = document.keys().cloned().collect();
    for object in ["client-transport-security", "peer-transport-security", "discovery-config"] {
        check_object(&document, object)?;
    }
    // URLs last: a file that is wrong in kind is refused for that first.
    let (urls, others): (Vec<_>, Vec<_>) =
        TABLE.iter().partition(|row| matches!(row.kind, Kind::Urls));
    for row in others.into_iter().chain(urls) {
        if let Some((key, json)) = lookup(&document, row)
            && let Some(value) = read(row, &key, json, settings.value(row.name))?
        {
            settings.put(row, value, Source::File);
        }
    }
    normalise(&mut settings);
    Ok(settings)
}

/// What the file form puts right by itself.
fn normalise(settings: &mut Settings) {
    let empty = Value::Text(String::new());
    for row in TABLE {
        match row.name {
            "self-signed-cert-validity" if settings.uint(row.name) == 0 => {
                settings.put(row, Value::Uint(1), Source::File);
            }
            "initial-cluster-state" if *settings.value(row.name) == empty => {
                settings.put(row, Value::Text("new".to_owned()), Source::File);
            }
            _ => {}
        }
    }
}

fn check_object(document: &Map<String, Json>, key: &str) -> Result<(), BadFile> {
    match entry(document, key) {
        None | Some(Json::Null | Json::Object(_)) => Ok(()),
        Some(other) => {
            Err(BadFile::Kind { found: describe(other), key: key.to_owned(), wanted: "object" })
        }
    }
}

/// The value under a row's key, with the key's full name.
fn lookup<'a>(document: &'a Map<String, Json>, row: &Row) -> Option<(String, &'a Json)> {
    let path = match &row.file {
        FileKey::Same | FileKey::Joined => std::slice::from_ref(&row.name),
        FileKey::At(path) => path,
        FileKey::None => return None,
    };
    let (last, objects) = path.split_last()?;
    let mut place = document;
    for object in objects {
        place = entry(place, object)?.as_object()?;
    }
    Some((path.join("."), entry(place, last)?))
}

fn entry<'a>(map: &'a Map<String, Json>, key: &str) -> Option<&'a Json> {
    let same_word = || map.iter().find(|(name, _)| name.eq_ignore_ascii_case(key));
    map.get(key).or_else(|| same_word().map(|found| found.1))
}

/// Reads one value; `None` means that the default stays.
fn read(row: &Row, key: &str, json: &Json, current: &Value) -> Result<Option<Value>, BadFile> {
    if json.is_null() {
        return Ok(None);
    }
    let wrong =
        || BadFile::Kind { found: describe(json), key: key.to_owned(), wanted: go_type(row.kind) };
    let value = match row.kind {
        Kind::Bool => Value::Bool(truth(json).ok_or_else(wrong)?),
        Kind::Uint(bits) => {
            let number = json.as_u64().filter(|number| bits == 64 || number >> bits == 0);
            Value::Uint(number.ok_or_else(wrong)?)
        }
        Kind::Int => Value::Int(json.as_i64().ok_or_else(wrong)?),
        Kind::Duration => Value::Duration(GoDuration(json.as_i64().ok_or_else(wrong)?)),
        Kind::Names | Kind::List if row.file != FileKey::Joined => {
            let items = json.as_array().ok_or_else(wrong)?;
            let items = items.iter().map(scalar).collect::<Option<Vec<_>>>();
            Value::List(items.ok_or_else(wrong)?)
        }
        // Checked with everything else, so that the error comes in etcd's order.
        Kind::OneOf(_) | Kind::SomeOf(_) | Kind::Text => {
            Value::Text(scalar(json).ok_or_else(wrong)?)
        }
        Kind::Ignored => return Ok(None),
        Kind::Urls | Kind::Origins | Kind::Gates | Kind::Names | Kind::List => {
            let text = scalar(json).ok_or_else(wrong)?;
            if text.is_empty() {
                return Ok(None);
            }
            row.kind.read(&text, current).map_err(|reason| refused(row, reason))?
        }
    };
    // Its text was only looked at for being one.
    let forgotten = matches!(row.kind, Kind::SomeOf(_));
    Ok((!forgotten).then_some(value))
}

fn refused(row: &Row, reason: String) -> BadFile {
    match (row.kind, row.name) {
        (Kind::Urls, "advertise-client-urls") => {
            BadFile::Urls { key: "advertise-peer-urls", reason }
        }
        (Kind::Urls, name) => BadFile::Urls { key: name, reason },
        _ => BadFile::Value(reason),
    }
}

fn truth(json: &Json) -> Option<bool> {
    match json {
        Json::Bool(on) => Some(*on),
        // The words of YAML 1.1, which etcd's parser knows.
        Json::String(word) => match word.to_ascii_lowercase().as_str() {
            "yes" | "on" | "y" | "true" => Some(true),
            "no" | "off" | "n" | "false" => Some(false),
            _ => None,
        },
        _ => None,
    }
}

/// A text, or a number or truth value where a text is wanted.
fn scalar(json: &Json) -> Option<String> {
    match json {
        Json::String(text) => Some(text.clone()),
        Json::Number(number) => Some(number.to_string()),
        Json::Bool(on) => Some(on.to_string()),
        _ => None,
    }
}

fn describe(json: &Json) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(_) => "bool".to_owned(),
        Json::Number(number) => format!("number {number}"),
        Json::String(_) => "string".to_owned(),
        Json::Array(_) => "array".to_owned(),
        Json::Object(_) => "object".to_owned(),
    }
}

fn go_type(kind: Kind) -> &'static str {
    match kind {
        Kind::Bool => "bool",
        Kind::Uint(32) => "uint32",
        Kind::Uint(_) => "uint",
        Kind::Int => "int",
        Kind::Duration => "time.Duration",
        Kind::Names | Kind::List => "[]string",
        _ => "string",
    }
}
