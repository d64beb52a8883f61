//! How an option's text becomes a value.

use net::Url;

use super::gates::FeatureGates;
use super::number::{BadNumber, GoDuration, parse_bool, parse_int, parse_uint};

/// How an option's text is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Any text.
    Text,
    /// A truth value; the flag alone means true.
    Bool,
    /// A number from 0 of so many bits.
    Uint(u32),
    /// A number with a sign.
    Int,
    /// A duration in Go's spelling.
    Duration,
    /// URLs between commas, sorted, each once. An empty text changes nothing.
    Urls,
    /// URLs between commas, or `*` alone.
    Origins,
    /// Texts between commas, sorted, each once.
    Names,
    /// Texts between commas, as they come.
    List,
    /// One of these words.
    OneOf(&'static [&'static str]),
    /// Several of these words between commas.
    SomeOf(&'static [&'static str]),
    /// Feature gates.
    Gates,
    /// Anything; it is forgotten.
    Ignored,
}

/// What an option is set to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    Uint(u64),
    Int(i64),
    Duration(GoDuration),
    Urls(Vec<Url>),
    List(Vec<String>),
    Gates(FeatureGates),
    Nothing,
}

impl Kind {
    /// Whether the flag may stand without a value.
    pub(crate) fn is_switch(self) -> bool {
        matches!(self, Kind::Bool | Kind::Ignored)
    }

    /// The value of a row that nobody set; an empty default is the kind's emptiest value.
    pub(crate) fn default_value(self, text: &str) -> Value {
        let empty = match self {
            Kind::Urls => Value::Urls(Vec::new()),
            Kind::Origins | Kind::Names | Kind::List | Kind::SomeOf(_) => Value::List(Vec::new()),
            Kind::Gates => Value::Gates(FeatureGates::default()),
            _ => Value::Text(String::new()),
        };
        if text.is_empty() {
            return empty;
        }
        self.read(text, &empty).expect("the table's defaults read, as a test shows")
    }

    /// Reads a text that somebody gave; the error is the reason that Go's `flag` would print.
    pub(crate) fn read(self, text: &str, current: &Value) -> Result<Value, String> {
        Ok(match self {
            Kind::Text => Value::Text(text.to_owned()),
            Kind::Bool => Value::Bool(parse_bool(text).ok_or("parse error")?),
            // This one option's own type passes on what strconv says.
            Kind::Uint(32) => Value::Uint(parse_uint(text, 32).map_err(|bad| strconv(bad, text))?),
            Kind::Uint(bits) => Value::Uint(parse_uint(text, bits).map_err(short)?),
            Kind::Int => Value::Int(parse_int(text).map_err(short)?),
            Kind::Duration => {
                Value::Duration(GoDuration::parse(text).map_err(|_| "parse error".to_owned())?)
            }
            Kind::Urls if text.is_empty() => current.clone(),
            Kind::Urls => Value::Urls(urls(text)?),
            Kind::Origins if text == "*" => Value::List(vec![text.to_owned()]),
            Kind::Origins => Value::List(urls(text)?.iter().map(Url::to_string).collect()),
            Kind::Names => {
                let mut names = split(text);
                names.sort();
                names.dedup();
                Value::List(names)
            }
            Kind::List => Value::List(split(text)),
            Kind::OneOf(words) if words.contains(&text) => Value::Text(text.to_owned()),
            Kind::OneOf(_) => return Err("invalid value".to_owned()),
            Kind::SomeOf(words) => {
                let given = split(text);
                if let Some(bad) = given.iter().find(|word| !words.contains(&word.as_str())) {
                    return Err(format!("invalid value {bad:?}"));
                }
                Value::List(given)
            }
            Kind::Gates => {
                let Value::Gates(gates) = current else { return Ok(current.clone()) };
                Value::Gates(gates.with(text).map_err(|error| error.to_string())?)
            }
            Kind::Ignored => Value::Nothing,
        })
    }
}

fn split(text: &str) -> Vec<String> {
    text.split(',').map(str::to_owned).collect()
}

fn urls(text: &str) -> Result<Vec<Url>, String> {
    let mut urls = net::parse_urls(text).map_err(|error| error.to_string())?;
    urls.dedup();
    Ok(urls)
}

fn short(bad: BadNumber) -> String {
    match bad {
        BadNumber::Syntax => "parse error".to_owned(),
        BadNumber::Range => "value out of range".to_owned(),
    }
}

fn strconv(bad: BadNumber, text: &str) -> String {
    let reason = match bad {
        BadNumber::Syntax => "invalid syntax",
        BadNumber::Range => "value out of range",
    };
    format!("strconv.ParseUint: parsing {text:?}: {reason}")
}
