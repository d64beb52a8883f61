//! What `gateway start` and `grpc-proxy start` have in common: flags, and how members are found
//! by the DNS.
//!
//! Files in reading order: `mod`, `flags`, `discovery`.

mod discovery;
mod flags;

use std::io;
use std::process::ExitCode;

pub(crate) use discovery::{DIAL_PATIENCE, discover};
pub(crate) use flags::{Command, Flags, Kind, flag};

use crate::run::print;
use flags::{Parsed, of_start};

impl Command {
    /// The flags that were given; where there are none to go on with, all is said and this is how
    /// it ends.
    pub(crate) fn flags(&self, arguments: &[String]) -> Result<Flags, ExitCode> {
        let Some(arguments) = of_start(arguments) else {
            print(&self.group_usage());
            return Err(ExitCode::SUCCESS);
        };
        match self.parse(&arguments) {
            Parsed::Flags(flags) => Ok(flags),
            Parsed::Help => {
                print(&format!("{}\n\n{}", self.short, self.usage()));
                Err(ExitCode::SUCCESS)
            }
            Parsed::Wrong(error) => {
                eprint!("Error: {error}\n{}\n{error}", self.usage());
                Err(ExitCode::FAILURE)
            }
        }
    }
}

/// Why it does not go on: said to one of the streams, as etcd says it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Out(String),
    Err(String),
}

impl Stopped {
    pub(crate) fn loudly(error: impl ToString) -> Self {
        Self::Err(format!("{}\n", error.to_string()))
    }

    pub(crate) fn end(self) -> ExitCode {
        match self {
            Self::Out(text) => print(&text),
            Self::Err(text) => eprint!("{text}"),
        }
        ExitCode::FAILURE
    }
}

/// An address as Go writes it: a host with colons stands in brackets.
pub(crate) fn host_port(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// What the system says was wrong, as Go says it.
pub(crate) fn reason(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
