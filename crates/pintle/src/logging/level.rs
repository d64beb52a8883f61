//! Levels of lines, as zap has them.

/// How much a line matters; later ones matter more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    Debug,
    Info,
    Warn,
    Error,
    DPanic,
    Panic,
    Fatal,
}

impl Level {
    /// All levels, least first.
    const ALL: [Level; 7] = [
        Level::Debug,
        Level::Info,
        Level::Warn,
        Level::Error,
        Level::DPanic,
        Level::Panic,
        Level::Fatal,
    ];

    /// The level as lines spell it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
            Level::DPanic => "dpanic",
            Level::Panic => "panic",
            Level::Fatal => "fatal",
        }
    }

    /// Reads a level in lower or upper case; an empty text means info.
    pub(crate) fn parse(text: &str) -> Option<Level> {
        if text.is_empty() {
            return Some(Level::Info);
        }
        Level::ALL
            .into_iter()
            .find(|level| text == level.as_str() || text == level.as_str().to_ascii_uppercase())
    }
}
