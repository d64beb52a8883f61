//! Every option of the server, from one table.
//!
//! A row of [`TABLE`] says all there is to say about an option: its flag, the environment variable
//! and the key in a config file (both follow from the name unless the row says otherwise), how its
//! text is read, what it is when nobody sets it, what help prints, and whether it works.
//!
//! ```text
//!  argv --arguments--> Settings --environment--> Settings ---.
//!                                                             }--> config::Config
//!  --config-file ------------------file--------> Settings ---'
//!                       ^ all of them read the table ^
//! ```
//!
//! Files in reading order: `mod`, `table`, `value`, `number`, `gates`, `settings`, `arguments`,
//! `environment`, `file`, `help`.

pub(crate) mod arguments;
pub(crate) mod environment;
pub(crate) mod file;
pub(crate) mod gates;
pub(crate) mod help;
pub(crate) mod number;
pub(crate) mod settings;
mod table;
pub(crate) mod value;

pub(crate) use settings::{ClientCerts, Settings, Source};
pub(crate) use table::TABLE;
pub(crate) use value::{Kind, Value};

/// Under which heading help lists an option.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Group {
    Member,
    Clustering,
    Security,
    Auth,
    Monitoring,
    Logging,
    Tracing,
    Features,
    Unsafe,
    /// What etcd does not have.
    Own,
    /// Not listed: what the short usage explains, and what is only there for old scripts.
    Hidden,
}

/// Where an option stands in a config file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FileKey {
    /// Under the flag's name.
    Same,
    /// Under the flag's name as one text with commas, although other lists are lists there.
    Joined,
    /// Under another name, or inside objects.
    At(&'static [&'static str]),
    /// Nowhere: only a flag or a variable sets it.
    None,
}

/// One option.
#[derive(Debug)]
pub(crate) struct Row {
    /// The flag, without dashes.
    pub(crate) name: &'static str,
    /// How its text is read.
    pub(crate) kind: Kind,
    /// Its value when nobody sets it, as text.
    pub(crate) default: &'static str,
    pub(crate) group: Group,
    pub(crate) file: FileKey,
    /// A line for help, and a second one or nothing.
    help: [&'static str; 2],
}

impl Row {
    /// The environment variable that sets the option.
    pub(crate) fn variable(&self) -> String {
        format!("ETCD_{}", self.name.to_uppercase().replace('-', "_"))
    }

    /// The lines for help.
    pub(crate) fn help(&self) -> impl Iterator<Item = &'static str> {
        self.help.into_iter().filter(|line| !line.is_empty())
    }

    /// The value when nobody sets it.
    pub(crate) fn default_value(&self) -> Value {
        self.kind.default_value(self.default)
    }
}

/// The row of an option.
pub(crate) fn find(name: &str) -> Option<&'static Row> {
    TABLE.iter().find(|row| row.name == name)
}

#[cfg(test)]
mod tests;
