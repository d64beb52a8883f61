//! What is in the data directory before the member starts.

use std::io;
use std::path::Path;

use crate::logging::{Level, Logger};

/// What a data directory is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A member has lived there.
    Member,
    /// Nobody has, or it does not exist.
    Empty,
}

impl Kind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Kind::Member => "member",
            Kind::Empty => "empty",
        }
    }
}

/// The directory cannot be used, and the log says why.
#[derive(Debug)]
pub(crate) struct Unusable;

/// Looks into the directory; strange files are warned of.
pub(crate) fn identify(logger: &Logger, directory: &Path) -> Result<Kind, Unusable> {
    let shown = directory.display().to_string();
    let names = match names(directory) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Kind::Empty),
        Err(error) => {
            let line = logger.line(Level::Fatal, "failed to list data directory");
            let error = format!("open {shown}: {}", plain(&error));
            line.text("dir", shown).error(error).send();
            return Err(Unusable);
        }
    };
    let (mut member, mut proxy) = (false, false);
    for name in names {
        match name.as_str() {
            "member" => member = true,
            "proxy" => proxy = true,
            _ => logger
                .warn("found invalid file under data directory")
                .text("filename", name)
                .text("data-dir", &shown)
                .send(),
        }
    }
    match (member, proxy) {
        (true, true) => {
            let message = "invalid datadir; both member and proxy directories exist";
            logger.line(Level::Fatal, message).send();
            Err(Unusable)
        }
        (false, true) => {
            let message = "v2 http proxy has already been deprecated in 3.6";
            logger.line(Level::Fatal, message).text("dir-type", "proxy").send();
            Err(Unusable)
        }
        (true, false) => Ok(Kind::Member),
        (false, false) => Ok(Kind::Empty),
    }
}

fn names(directory: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// An operating system's error as Go words it: without Rust's number behind it.
pub(crate) fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}
