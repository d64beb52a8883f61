//! From `tracing` events to lines.

use std::fmt::Debug;
use std::time::Duration;

use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::layer::{Context, Layer};

use super::line::{Fields, timestamp};
use super::{Level, Logger};
use crate::options::number::GoDuration;

/// Crates whose events below a warning are noise to an operator: they tell of bytes and wake-ups.
const CHATTY: &[&str] = &["h2", "hyper", "hyper_util", "mio", "tokio", "tower", "want"];

/// Writes the events that the logger's level lets through.
#[derive(Debug)]
pub(super) struct ZapLayer {
    logger: Logger,
}

impl ZapLayer {
    pub(super) fn new(logger: Logger) -> ZapLayer {
        ZapLayer { logger }
    }
}

impl<S: Subscriber> Layer<S> for ZapLayer {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        let level = level_of(metadata);
        let root = metadata.target().split("::").next().unwrap_or_default();
        // What is logged as an error may call itself fatal, so errors always come this far.
        level >= self.logger.level().min(Level::Error)
            && (level >= Level::Warn || !CHATTY.contains(&root))
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(match self.logger.level() {
            Level::Debug => LevelFilter::DEBUG,
            Level::Info => LevelFilter::INFO,
            Level::Warn => LevelFilter::WARN,
            _ => LevelFilter::ERROR,
        })
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let mut visitor = Visitor::new(self.logger.zone());
        event.record(&mut visitor);
        let caller =
            caller(metadata.file().unwrap_or("undefined"), metadata.line().unwrap_or_default());
        // A target that is no module's path is the name of a logger.
        let target = metadata.target();
        let named = metadata.module_path() != Some(target) && !target.contains("::");
        let logger = named.then_some(target);
        let Visitor { message, fields, .. } = visitor;
        self.logger.write(level_of(metadata), logger, &caller, &message, &fields.json);
    }
}

fn level_of(metadata: &Metadata<'_>) -> Level {
    match *metadata.level() {
        tracing::Level::ERROR => Level::Error,
        tracing::Level::WARN => Level::Warn,
        tracing::Level::INFO => Level::Info,
        _ => Level::Debug,
    }
}

/// A source file and line as the last directory and the file; `src` says nothing, so the
/// directory above it is taken.
pub(super) fn caller(file: &str, line: u32) -> String {
    let mut parts = file.rsplit(['/', '\\']).filter(|part| *part != "src");
    let name = parts.next().unwrap_or("undefined");
    match parts.next() {
        Some(directory) => format!("{directory}/{name}:{line}"),
        None => format!("{name}:{line}"),
    }
}

struct Visitor {
    message: String,
    fields: Fields,
    zone: TimeZone,
}

impl Visitor {
    fn new(zone: TimeZone) -> Visitor {
        Visitor { message: String::new(), fields: Fields::default(), zone }
    }
}

impl Visit for Visitor {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "message" {
            value.clone_into(&mut self.message);
        } else {
            self.fields.text(field.name(), value);
        }
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.fields.raw(field.name(), if value { "true" } else { "false" });
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.fields.raw(field.name(), &value.to_string());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.fields.raw(field.name(), &value.to_string());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        if value.is_finite() {
            self.fields.raw(field.name(), &value.to_string());
        } else {
            self.fields.text(field.name(), &value.to_string());
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.fields.text(field.name(), &value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let text = format!("{value:?}");
        if field.name() == "message" {
            self.message = text;
        } else if let Some(items) = list_of_texts(&text) {
            self.fields.list(field.name(), items);
        } else if let Some(duration) = duration(&text) {
            self.fields.text(field.name(), &GoDuration::from_std(duration).to_string());
        } else if let Some(unix) = moment(&text) {
            self.fields.text(field.name(), &timestamp(unix, &self.zone));
        } else {
            self.fields.text(field.name(), &text);
        }
    }
}

/// `["a", "b"]`, as Rust writes a list of strings, read back.
fn list_of_texts(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?.strip_suffix(']')?;
    let mut items = Vec::new();
    while !rest.is_empty() {
        if !items.is_empty() {
            rest = rest.strip_prefix(", ")?;
        }
        let (item, after) = quoted(rest)?;
        items.push(item);
        rest = after;
    }
    Some(items)
}

/// A Rust string literal at the beginning of a text, and what follows it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut item = String::new();
    let mut marks = text.strip_prefix('"')?.chars();
    loop {
        match marks.next()? {
            '"' => return Some((item, marks.as_str())),
            '\\' => match marks.next()? {
                'n' => item.push('\n'),
                'r' => item.push('\r'),
                't' => item.push('\t'),
                '0' => item.push('\0'),
                'u' => {
                    let (digits, after) = marks.as_str().strip_prefix('{')?.split_once('}')?;
                    item.push(char::from_u32(u32::from_str_radix(digits, 16).ok()?)?);
                    marks = after.chars();
                }
                mark => item.push(mark),
            },
            mark => item.push(mark),
        }
    }
}

/// A `SystemTime` as Rust writes one, read back.
fn moment(text: &str) -> Option<Duration> {
    let parts = text.strip_prefix("SystemTime { tv_sec: ")?.strip_suffix(" }")?;
    let (seconds, nanoseconds) = parts.split_once(", tv_nsec: ")?;
    Some(Duration::new(seconds.parse().ok()?, nanoseconds.parse().ok()?))
}

/// `1.5s`, `20ms`, `8.167µs` or `3ns`, as Rust writes a duration, read back.
fn duration(text: &str) -> Option<Duration> {
    let digits = ["ns", "\u{b5}s", "ms", "s"].iter().find_map(|unit| text.strip_suffix(unit))?;
    let plain = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    if !plain(whole) || !plain(fraction) {
        return None;
    }
    GoDuration::parse(text).ok().map(GoDuration::to_std)
}
