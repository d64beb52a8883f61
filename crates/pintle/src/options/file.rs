//! Options from a config file: YAML, of which JSON is a part.
//!
//! A file stands in for all flags and variables. Keys that no row knows are passed over, so that
//! a file written for another version loads; keys match whatever their case, as in Go's decoder.

use serde_json::{Map, Value as Json};

use super::{ClientCerts, FileKey, Kind, Row, Settings, Source, TABLE, Value};
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
         {place}"
    )]
    Kind {
        /// What the file has.
        found: String,
        /// Where, and what is asked for there, in the words of Go's decoder.
        place: String,
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
        legacy_octal_numbers: true,
        with_snippet: false,
    };
    let documents: Vec<Json> = serde_saphyr::from_str_multiple_with_options(text, options)
        .map_err(|error| BadFile::Syntax(error.to_string()))?;
    let mut settings = Settings::defaults();
    let document = match documents.into_iter().next() {
        Some(Json::Object(document)) => document,
        None | Some(Json::Null) => return Ok(settings),
        Some(other) => {
            let place = "value of type embed.configYAML".to_owned();
            return Err(BadFile::Kind { found: describe(&other, ""), place });
        }
    };
    settings.file_keys = document.keys().cloned().collect();
    for (object, group, go_type) in OBJECTS {
        check_object(&document, object, group, go_type)?;
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
    settings.client_certs = client_certs(&document)?;
    normalise(&mut settings);
    Ok(settings)
}

/// What is said of clients' certificates where no flag says it.
fn client_certs(document: &Map<String, Json>) -> Result<ClientCerts, BadFile> {
    let place = "client-transport-security";
    let Some(Json::Object(object)) = entry(document, place) else {
        return Ok(ClientCerts::default());
    };
    let wrong = |key: &str, json: &Json, wanted: &str| BadFile::Kind {
        found: describe(json, wanted),
        place: format!("struct field securityConfig.configJSON.{place}.{key} of type {wanted}"),
    };
    let allowed_cns = match entry(object, "allowed-cn") {
        None | Some(Json::Null) => Vec::new(),
        Some(json) => {
            let items = json.as_array().map(Vec::as_slice);
            let items = items.ok_or_else(|| wrong("allowed-cn", json, "[]string"))?;
            let texts = items.iter().map(|item| item.as_str().map(str::to_owned));
            let texts = texts.collect::<Option<Vec<_>>>();
            texts.ok_or_else(|| wrong("allowed-cn", json, "[]string"))?
        }
    };
    let key = "skip-client-san-verification";
    let skip_san = match entry(object, key) {
        None | Some(Json::Null) => false,
        Some(json) => json.as_bool().ok_or_else(|| wrong(key, json, "bool"))?,
    };
    Ok(ClientCerts { allowed_cns, skip_san })
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

/// Keys that hold objects; Go's names for the struct that has them and for their type.
const OBJECTS: [(&str, &str, &str); 4] = [
    ("client-transport-security", "configJSON", "embed.securityConfig"),
    ("peer-transport-security", "configJSON", "embed.securityConfig"),
    ("socket-options", "Config", "transport.SocketOpts"),
    ("discovery-config", "Config", "v3discovery.DiscoveryConfig"),
];

fn check_object(
    document: &Map<String, Json>,
    key: &str,
    group: &str,
    go_type: &str,
) -> Result<(), BadFile> {
    match entry(document, key) {
        None | Some(Json::Null | Json::Object(_)) => Ok(()),
        Some(other) => Err(BadFile::Kind {
            found: describe(other, go_type),
            place: format!("struct field configYAML.{group}.{key} of type {go_type}"),
        }),
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
    let wrong = || {
        let (field, wanted) = (go_field(row, key), go_type(row.kind));
        let place = format!("struct field {field} of type {wanted}");
        BadFile::Kind { found: describe(json, wanted), place }
    };
    let value = match row.kind {
        Kind::Bool => Value::Bool(json.as_bool().ok_or_else(wrong)?),
        Kind::Uint(bits) => {
            let number = integer(json).and_then(|number| u64::try_from(number).ok());
            let number = number.filter(|number| bits == 64 || number >> bits == 0);
            Value::Uint(number.ok_or_else(wrong)?)
        }
        Kind::Int => Value::Int(signed(json).ok_or_else(wrong)?),
        Kind::Duration => Value::Duration(GoDuration(signed(json).ok_or_else(wrong)?)),
        Kind::Names | Kind::List if row.file != FileKey::Joined => {
            let items = json.as_array().ok_or_else(wrong)?;
            let items = items.iter().map(|item| Some(item.as_str()?.to_owned()));
            Value::List(items.collect::<Option<_>>().ok_or_else(wrong)?)
        }
        // Checked with everything else, so that the error comes in etcd's order.
        Kind::OneOf(_) | Kind::SomeOf(_) | Kind::Text => {
            Value::Text(json.as_str().ok_or_else(wrong)?.to_owned())
        }
        Kind::Ignored => return Ok(None),
        Kind::Urls | Kind::Origins | Kind::Gates | Kind::Names | Kind::List => {
            let text = json.as_str().ok_or_else(wrong)?;
            if text.is_empty() {
                return Ok(None);
            }
            row.kind.read(text, current).map_err(|reason| refused(row, reason))?
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

/// A whole number, be it written as `1e9` or `5.0`.
fn integer(json: &Json) -> Option<i128> {
    let whole = |number: &f64| number.fract() == 0.0 && number.abs() < 1e19;
    let number = json.as_number()?;
    number.as_i128().or_else(|| number.as_f64().filter(whole).map(|number| number as i128))
}

fn signed(json: &Json) -> Option<i64> {
    i64::try_from(integer(json)?).ok()
}

/// Go's types that are numbers.
const NUMBERS: &[&str] = &["uint", "uint32", "int", "time.Duration"];

/// What Go's decoder calls a value; it shows a number where a number is wanted.
pub(crate) fn describe(json: &Json, wanted: &str) -> String {
    match json {
        Json::Null => "null".to_owned(),
        Json::Bool(_) => "bool".to_owned(),
        Json::Number(number) if NUMBERS.contains(&wanted) => {
            format!("number {number}")
        }
        Json::Number(_) => "number".to_owned(),
        Json::String(_) => "string".to_owned(),
        Json::Array(_) => "array".to_owned(),
        Json::Object(_) => "object".to_owned(),
    }
}

/// The struct field that Go's decoder names for a key.
fn go_field(row: &Row, key: &str) -> String {
    let translated = matches!(row.kind, Kind::Urls | Kind::Origins | Kind::Gates)
        && row.name != "listen-metrics-urls";
    match key.split('.').collect::<Vec<_>>()[..] {
        ["client-transport-security" | "peer-transport-security", _] => {
            format!("securityConfig.configJSON.{key}")
        }
        ["socket-options", _] => format!("SocketOpts.Config.{key}"),
        ["discovery-config", _] => format!("DiscoveryConfig.Config.{key}"),
        ["discovery-config", _, _] => format!("ConfigSpec.Config.{key}"),
        ["discovery-config", _, "secure", _] => format!("SecureConfig.Config.{key}"),
        ["discovery-config", ..] => format!("AuthConfig.Config.{key}"),
        _ if translated || row.file == FileKey::Joined => format!("configYAML.configJSON.{key}"),
        _ => format!("configYAML.Config.{key}"),
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
