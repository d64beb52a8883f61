//! The log, in the shape that zap gives etcd's: one JSON object per line.
//!
//! Programs read these lines (test harnesses wait for some of them, collectors index all), so the
//! order of the keys, the spelling of times and durations and the texts are kept.
//!
//! ```text
//!  tracing events --layer--.
//!                           }--> Line --sampling--> render --> Output (stderr, stdout, files)
//!  Logger::line()  --------'
//! ```
//!
//! A crate that logs uses `tracing` and four habits that the layer understands:
//! - `error = %error` for errors; keys as etcd spells them: `"local-member-id" = %id`;
//! - `took = ?duration` for durations: Go's spelling comes out;
//! - `urls = ?list` for lists of texts: a JSON list comes out;
//! - `target: "raft"` for lines of a named logger.
//!
//! Files in reading order: `mod`, `level`, `line`, `layer`, `sampling`, `output`, `rotation`.

mod config;
mod journal;
mod layer;
mod level;
mod line;
mod output;
mod rotation;
mod sampling;

use std::sync::{Arc, PoisonError, RwLock};

use env::Clock;

pub(crate) use config::LogConfig;
pub(crate) use level::Level;
pub(crate) use line::{Format, Line};
pub(crate) use rotation::{RotatingFile, Rotation};

use line::Head;
use output::Outputs;
use sampling::Sampler;

/// With what Go ends after a panic.
const PANIC_EXIT_CODE: i32 = 2;

/// Writes lines. Clones write to the same place.
#[derive(Debug, Clone)]
pub(crate) struct Logger {
    clock: Arc<dyn Clock>,
    sink: Arc<RwLock<Sink>>,
}

#[derive(Debug)]
struct Sink {
    level: Level,
    format: Format,
    zone: jiff::tz::TimeZone,
    sampler: Sampler,
    outputs: Outputs,
}

impl Logger {
    /// The logger until the options are known: JSON from level info on standard error.
    pub(crate) fn early(clock: Arc<dyn Clock>) -> Logger {
        Logger::new(
            clock,
            Level::Info,
            Format::Json,
            Outputs::stderr(),
            jiff::tz::TimeZone::system(),
        )
    }

    fn new(
        clock: Arc<dyn Clock>,
        level: Level,
        format: Format,
        outputs: Outputs,
        zone: jiff::tz::TimeZone,
    ) -> Logger {
        let sink = Sink { level, format, zone, sampler: Sampler::new(), outputs };
        Logger { clock, sink: Arc::new(RwLock::new(sink)) }
    }

    /// JSON into memory, from every level, at the beginning of time and in UTC.
    #[cfg(test)]
    pub(crate) fn memory() -> (Logger, Arc<std::sync::Mutex<Vec<u8>>>) {
        let bytes = Arc::new(std::sync::Mutex::new(Vec::new()));
        let outputs = Outputs::memory(Arc::clone(&bytes));
        let clock = Arc::new(env::ManualClock::default());
        let logger =
            Logger::new(clock, Level::Debug, Format::Json, outputs, jiff::tz::TimeZone::UTC);
        (logger, bytes)
    }

    /// Makes this the process's logger: events of `tracing` go here from now on.
    pub(crate) fn install(&self) {
        use tracing_subscriber::layer::SubscriberExt;
        let subscriber = tracing_subscriber::registry().with(layer::ZapLayer::new(self.clone()));
        // It fails when one is installed already, which is then this one's twin.
        let _ = tracing::subscriber::set_global_default(subscriber);
        let logger = self.clone();
        std::panic::set_hook(Box::new(move |panic| logger.die_of(panic)));
    }

    /// A panic in any thread ends the process with a line and Go's exit code: a member that has
    /// lost a thread must not go on as if it had not.
    fn die_of(&self, panic: &std::panic::PanicHookInfo<'_>) {
        let message = panic.payload_as_str().unwrap_or("panic");
        let caller = panic
            .location()
            .map_or_else(|| "undefined".to_owned(), |at| layer::caller(at.file(), at.line()));
        Line::new(self, Level::Panic, message, caller).send();
        std::process::exit(PANIC_EXIT_CODE);
    }

    /// Goes on with other levels, forms and outputs.
    pub(crate) fn configure(&self, config: &LogConfig) -> Result<(), String> {
        let outputs = Outputs::open(config, &self.clock)?;
        let mut sink = self.sink.write().unwrap_or_else(PoisonError::into_inner);
        sink.level = config.level;
        sink.format = config.format;
        sink.outputs = outputs;
        drop(sink);
        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// The least level that is written.
    pub(crate) fn level(&self) -> Level {
        self.sink.read().unwrap_or_else(PoisonError::into_inner).level
    }

    /// Whose time the lines tell.
    fn zone(&self) -> jiff::tz::TimeZone {
        self.sink.read().unwrap_or_else(PoisonError::into_inner).zone.clone()
    }

    /// Begins a line; it is written by [`Line::send`].
    #[track_caller]
    pub(crate) fn line<'a>(&'a self, level: Level, message: &'a str) -> Line<'a> {
        let place = std::panic::Location::caller();
        Line::new(self, level, message, layer::caller(place.file(), place.line()))
    }

    /// An event of a normal life.
    #[track_caller]
    pub(crate) fn info<'a>(&'a self, message: &'a str) -> Line<'a> {
        self.line(Level::Info, message)
    }

    /// Something that an operator may have to look at.
    #[track_caller]
    pub(crate) fn warn<'a>(&'a self, message: &'a str) -> Line<'a> {
        self.line(Level::Warn, message)
    }

    fn write(&self, level: Level, logger: Option<&str>, caller: &str, message: &str, fields: &str) {
        let sink = self.sink.read().unwrap_or_else(PoisonError::into_inner);
        let unix = self.clock.unix();
        if level < sink.level || !sink.sampler.takes(level, message, unix) {
            return;
        }
        let head = Head { level, unix, logger, caller, message };
        sink.outputs.write(line::render(sink.format, &head, &sink.zone, fields).as_bytes());
    }
}

#[cfg(test)]
mod tests;
