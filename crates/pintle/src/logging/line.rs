//! One line: its fields, and its two forms.

use std::fmt::Write;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::{Level, Logger};
use crate::options::number::GoDuration;

/// What a line looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// One JSON object.
    Json,
    /// Columns between tabs, fields as a JSON object in the last.
    Console,
}

/// A line in the making.
#[derive(Debug)]
#[must_use = "a line is written by send()"]
pub(crate) struct Line<'a> {
    logger: &'a Logger,
    level: Level,
    message: &'a str,
    caller: String,
    fields: Fields,
}

impl<'a> Line<'a> {
    pub(super) fn new(logger: &'a Logger, level: Level, message: &'a str, caller: String) -> Self {
        Line { logger, level, message, caller, fields: Fields::default() }
    }

    /// Adds a text.
    pub(crate) fn text(mut self, key: &str, value: impl AsRef<str>) -> Self {
        self.fields.text(key, value.as_ref());
        self
    }

    /// Adds a list of texts.
    pub(crate) fn list<T: AsRef<str>>(
        mut self,
        key: &str,
        values: impl IntoIterator<Item = T>,
    ) -> Self {
        self.fields.list(key, values);
        self
    }

    /// Adds a number or a truth value.
    pub(crate) fn value(mut self, key: &str, value: impl Plain) -> Self {
        self.fields.raw(key, &value.json());
        self
    }

    /// Adds a duration in Go's spelling.
    pub(crate) fn duration(self, key: &str, value: Duration) -> Self {
        self.text(key, GoDuration::from_std(value).to_string())
    }

    /// Adds an error.
    pub(crate) fn error(self, error: impl std::fmt::Display) -> Self {
        self.text("error", error.to_string())
    }

    /// Writes the line.
    pub(crate) fn send(self) {
        self.logger.write(self.level, None, &self.caller, self.message, &self.fields.json);
    }
}

/// What JSON writes without quotes.
pub(crate) trait Plain {
    /// The value as JSON.
    fn json(&self) -> String;
}

macro_rules! plain {
    ($($kind:ty),*) => { $(impl Plain for $kind {
        fn json(&self) -> String { self.to_string() }
    })* };
}
plain!(bool, u16, u32, u64, usize, i32, i64);

/// The members of a JSON object, without its braces.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) json: String,
}

impl Fields {
    pub(super) fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        quote(&mut self.json, value);
    }

    pub(super) fn raw(&mut self, key: &str, json: &str) {
        self.key(key);
        self.json.push_str(json);
    }

    pub(super) fn list<T: AsRef<str>>(&mut self, key: &str, values: impl IntoIterator<Item = T>) {
        self.key(key);
        self.json.push('[');
        for (at, value) in values.into_iter().enumerate() {
            if at > 0 {
                self.json.push(',');
            }
            quote(&mut self.json, value.as_ref());
        }
        self.json.push(']');
    }

    fn key(&mut self, key: &str) {
        if !self.json.is_empty() {
            self.json.push(',');
        }
        quote(&mut self.json, key);
        self.json.push(':');
    }
}

/// What stands before the fields.
pub(super) struct Head<'a> {
    pub(super) level: Level,
    pub(super) unix: Duration,
    pub(super) logger: Option<&'a str>,
    pub(super) caller: &'a str,
    pub(super) message: &'a str,
}

/// The line with its end.
pub(super) fn render(format: Format, head: &Head<'_>, zone: &TimeZone, fields: &str) -> String {
    let mut out = String::with_capacity(160 + fields.len());
    let time = timestamp(head.unix, zone);
    match format {
        Format::Json => {
            let mut members = Fields::default();
            members.text("level", head.level.as_str());
            members.text("ts", &time);
            if let Some(logger) = head.logger {
                members.text("logger", logger);
            }
            members.text("caller", head.caller);
            members.text("msg", head.message);
            out.push('{');
            out.push_str(&members.json);
            if !fields.is_empty() {
                out.push(',');
                out.push_str(fields);
            }
            out.push('}');
        }
        Format::Console => {
            let columns =
                [Some(time.as_str()), Some(head.level.as_str()), head.logger, Some(head.caller)];
            for column in columns.into_iter().flatten() {
                out.push_str(column);
                out.push('\t');
            }
            out.push_str(head.message);
            if !fields.is_empty() {
                out.push_str("\t{");
                out.push_str(fields);
                out.push('}');
            }
        }
    }
    out.push('\n');
    out
}

/// Local time with microseconds; `Z` in place of an offset of nothing.
pub(super) fn timestamp(unix: Duration, zone: &TimeZone) -> String {
    let nanoseconds = i128::try_from(unix.as_nanos()).unwrap_or(i128::MAX);
    let instant = Timestamp::from_nanosecond(nanoseconds).unwrap_or(Timestamp::MAX);
    let offset = zone.to_offset(instant);
    let local = offset.to_datetime(instant);
    let mut out = String::with_capacity(32);
    let written = write!(
        out,
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:06}",
        local.year(),
        local.month(),
        local.day(),
        local.hour(),
        local.minute(),
        local.second(),
        local.subsec_nanosecond() / 1000,
    );
    written.expect("a String takes everything");
    match offset.seconds() {
        0 => out.push('Z'),
        seconds => {
            let sign = if seconds < 0 { '-' } else { '+' };
            let minutes = seconds.unsigned_abs() / 60;
            write!(out, "{sign}{:02}{:02}", minutes / 60, minutes % 60)
                .expect("a String takes everything");
        }
    }
    out
}

/// A JSON string with zap's choice of escapes.
fn quote(out: &mut String, text: &str) {
    out.push('"');
    for mark in text.chars() {
        match mark {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            mark if mark < ' ' => {
                write!(out, "\\u{:04x}", u32::from(mark)).expect("a String takes everything");
            }
            mark => out.push(mark),
        }
    }
    out.push('"');
}
