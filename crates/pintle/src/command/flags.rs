//! The flags of a command, read, refused and explained as by etcd's library for commands.

use crate::options::Value;
use crate::options::number::{BadNumber, GoDuration, parse_bool, parse_int, parse_uint};

/// A command that is `start` of something: `etcd gateway start`.
#[derive(Debug)]
pub(crate) struct Command {
    /// What is started: `gateway`.
    pub(crate) name: &'static str,
    /// What `start` does, in a line.
    pub(crate) short: &'static str,
    /// In the order of their names.
    pub(crate) flags: &'static [Flag],
}

#[derive(Debug)]
pub(crate) struct Flag {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    /// Empty: the kind's emptiest value.
    pub(crate) default: &'static str,
    pub(crate) usage: &'static str,
}

/// A row of a command's table.
pub(crate) const fn flag(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    usage: &'static str,
) -> Flag {
    Flag { name, kind, default, usage }
}

/// How the text of a flag is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    /// Texts between commas. The first one that is given replaces the default, others add to it.
    List,
    /// The flag alone means true.
    Switch,
    Duration,
    Int,
    /// Of so many bits.
    Uint(u32),
}

/// Every command has it.
static HELP: Flag = flag("help", Kind::Switch, "", "help for start");

/// What was asked for.
#[derive(Debug)]
pub(crate) enum Parsed {
    Flags(Flags),
    Help,
    Wrong(String),
}

/// A value for each flag of a command.
///
/// The typed readers panic when the command has no such flag or has another kind: that is a
/// mistake in this crate, which any start would show.
#[derive(Debug, Clone)]
pub(crate) struct Flags {
    values: Vec<(&'static Flag, Value)>,
}

impl Flags {
    fn value(&self, name: &str) -> &Value {
        let found = self.values.iter().find(|(flag, _)| flag.name == name);
        found.map_or_else(|| panic!("there is no flag {name}"), |(_, value)| value)
    }

    pub(crate) fn text(&self, name: &str) -> &str {
        match self.value(name) {
            Value::Text(text) => text,
            other => panic!("flag {name} is {other:?}"),
        }
    }

    pub(crate) fn list(&self, name: &str) -> &[String] {
        match self.value(name) {
            Value::List(list) => list,
            other => panic!("flag {name} is {other:?}"),
        }
    }

    pub(crate) fn switch(&self, name: &str) -> bool {
        match self.value(name) {
            Value::Bool(on) => *on,
            other => panic!("flag {name} is {other:?}"),
        }
    }

    pub(crate) fn duration(&self, name: &str) -> GoDuration {
        match self.value(name) {
            Value::Duration(duration) => *duration,
            other => panic!("flag {name} is {other:?}"),
        }
    }

    pub(crate) fn int(&self, name: &str) -> i64 {
        match self.value(name) {
            Value::Int(number) => *number,
            other => panic!("flag {name} is {other:?}"),
        }
    }

    pub(crate) fn uint(&self, name: &str) -> u64 {
        match self.value(name) {
            Value::Uint(number) => *number,
            other => panic!("flag {name} is {other:?}"),
        }
    }
}

impl Kind {
    /// The name of the value in the list of flags.
    fn value_name(self) -> &'static str {
        match self {
            Kind::Text => "string",
            Kind::List => "strings",
            Kind::Switch => "",
            Kind::Duration => "duration",
            Kind::Int => "int",
            Kind::Uint(32) => "uint32",
            Kind::Uint(_) => "uint",
        }
    }

    fn emptiest(self) -> Value {
        match self {
            Kind::Text => Value::Text(String::new()),
            Kind::List => Value::List(Vec::new()),
            Kind::Switch => Value::Bool(false),
            Kind::Duration => Value::Duration(GoDuration(0)),
            Kind::Int => Value::Int(0),
            Kind::Uint(_) => Value::Uint(0),
        }
    }

    fn read(self, text: &str) -> Result<Value, String> {
        let strconv = |what: &str, bad: BadNumber| {
            let reason = match bad {
                BadNumber::Syntax => "invalid syntax",
                BadNumber::Range => "value out of range",
            };
            format!("strconv.{what}: parsing {text:?}: {reason}")
        };
        Ok(match self {
            Kind::Text => Value::Text(text.to_owned()),
            Kind::List if text.is_empty() => Value::List(Vec::new()),
            Kind::List => Value::List(text.split(',').map(str::to_owned).collect()),
            Kind::Switch => {
                let bad = || strconv("ParseBool", BadNumber::Syntax);
                Value::Bool(parse_bool(text).ok_or_else(bad)?)
            }
            Kind::Duration => {
                Value::Duration(GoDuration::parse(text).map_err(|error| error.to_string())?)
            }
            Kind::Int => Value::Int(parse_int(text).map_err(|bad| strconv("ParseInt", bad))?),
            Kind::Uint(bits) => {
                Value::Uint(parse_uint(text, bits).map_err(|bad| strconv("ParseUint", bad))?)
            }
        })
    }
}

impl Command {
    /// What is said of the group that the command is in.
    pub(crate) fn group_usage(&self) -> String {
        let Self { name, short, .. } = self;
        format!(
            "{name} related command\n\nUsage:\n  etcd {name} [command]\n\nAvailable Commands:\n  \
             start       {short}\n\nFlags:\n  -h, --help   help for {name}\n\nUse \"etcd {name} \
             [command] --help\" for more information about a command.\n"
        )
    }

    pub(crate) fn usage(&self) -> String {
        let mut rows: Vec<_> = self.flags.iter().map(|flag| (flag.name, flag.row())).collect();
        rows.push((HELP.name, ("  -h, --help".to_owned(), HELP.usage.to_owned())));
        rows.sort_by_key(|(name, _)| *name);
        let width = rows.iter().map(|(_, (left, _))| left.len()).max().unwrap_or_default();
        let mut text = format!("Usage:\n  etcd {} start [flags]\n\nFlags:\n", self.name);
        for (_, (left, right)) in rows {
            text.push_str(&format!("{left:width$}   {right}\n"));
        }
        text
    }

    /// Reads the flags; words between them do not count.
    pub(crate) fn parse(&self, arguments: &[String]) -> Parsed {
        match self.read(arguments) {
            Ok(Some(flags)) => Parsed::Flags(flags),
            Ok(None) => Parsed::Help,
            Err(error) => Parsed::Wrong(error),
        }
    }

    fn read(&self, arguments: &[String]) -> Result<Option<Flags>, String> {
        let defaults = self.flags.iter().map(|flag| (flag, flag.default_value()));
        let mut flags = Flags { values: defaults.collect() };
        let mut given: Vec<&str> = Vec::new();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let Some(flag) = argument.strip_prefix("--") else {
                match argument.strip_prefix('-').and_then(|letters| letters.chars().next()) {
                    Some('h') => return Ok(None),
                    Some(letter) => {
                        return Err(format!("unknown shorthand flag: {letter:?} in {argument}"));
                    }
                    None => continue,
                }
            };
            if flag.is_empty() {
                break;
            }
            let (name, value) = match flag.split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (flag, None),
            };
            let known = self.flags.iter().chain([&HELP]).find(|flag| flag.name == name);
            let flag = known.ok_or_else(|| format!("unknown flag: --{name}"))?;
            let text = match value {
                Some(value) => value,
                None if flag.kind == Kind::Switch => "true",
                None => {
                    rest.next().ok_or_else(|| format!("flag needs an argument: --{name}"))?.as_str()
                }
            };
            let value = flag.kind.read(text).map_err(|reason| {
                format!("invalid argument {text:?} for \"--{name}\" flag: {reason}")
            })?;
            if name == "help" && value == Value::Bool(true) {
                return Ok(None);
            }
            let of_it = flags.values.iter_mut().find(|(flag, _)| flag.name == name);
            let Some((flag, old)) = of_it else { continue };
            match (old, value) {
                (Value::List(old), Value::List(more)) if given.contains(&flag.name) => {
                    old.extend(more);
                }
                (old, value) => *old = value,
            }
            given.push(flag.name);
        }
        Ok(Some(flags))
    }
}

impl Flag {
    fn default_value(&self) -> Value {
        match self.default {
            "" => self.kind.emptiest(),
            text => self.kind.read(text).expect("the defaults read, as a test shows"),
        }
    }

    /// What stands in the list of flags, in two columns.
    fn row(&self) -> (String, String) {
        let left = format!("      --{} {}", self.name, self.kind.value_name());
        let default = match (self.default, self.kind) {
            ("", _) => String::new(),
            (default, Kind::Text) => format!(" (default {default:?})"),
            (default, Kind::List) => format!(" (default [{default}])"),
            (default, _) => format!(" (default {default})"),
        };
        (left.trim_end().to_owned(), format!("{}{default}", self.usage))
    }
}

/// What is said to `start`, if that is the first word; flags may stand before it. As the flags of
/// `start` are not known there, one without a `=` takes the next word.
pub(crate) fn of_start(arguments: &[String]) -> Option<Vec<String>> {
    let mut words = arguments.iter().enumerate();
    while let Some((at, word)) = words.next() {
        if word == "--" {
            return None;
        }
        let takes_next = match word.strip_prefix("--") {
            Some(flag) => flag != "help" && !flag.contains('='),
            None => word != "-h" && word.starts_with('-') && word.len() == 2,
        };
        if takes_next {
            words.next();
        } else if !word.starts_with('-') {
            let rest = arguments.iter().take(at).chain(arguments.iter().skip(at + 1));
            return (word == "start").then(|| rest.cloned().collect());
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{gateway, grpc_proxy};

    fn parsed(text: &str) -> Parsed {
        let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
        gateway::COMMAND.parse(&words)
    }

    #[test]
    fn flags_are_read() {
        let Parsed::Flags(flags) = parsed(
            "--listen-addr a:1 word --endpoints=b:2,c:3 --endpoints d:4 --insecure-discovery \
             --retry-delay 5s -- --nonsense",
        ) else {
            panic!("they are good");
        };
        assert_eq!(flags.text("listen-addr"), "a:1");
        assert_eq!(flags.list("endpoints"), ["b:2", "c:3", "d:4"]);
        assert!(flags.switch("insecure-discovery"));
        assert_eq!(flags.duration("retry-delay").to_std(), Duration::from_secs(5));
        for help in ["--listen-addr x -h", "--help", "--help=true"] {
            assert!(matches!(parsed(help), Parsed::Help), "{help}");
        }
        let Parsed::Flags(defaults) = parsed("--help=false") else { panic!("they are good") };
        assert_eq!(defaults.list("endpoints"), ["127.0.0.1:2379"]);
        assert_eq!(defaults.duration("retry-delay").to_std(), Duration::from_secs(60));
    }

    #[test]
    fn defaults_read_and_flags_stand_in_order() {
        for command in [&gateway::COMMAND, &grpc_proxy::COMMAND] {
            assert!(matches!(command.parse(&[]), Parsed::Flags(_)), "{}", command.name);
            assert!(command.flags.is_sorted_by_key(|flag| flag.name), "{}", command.name);
        }
    }

    #[test]
    fn flags_may_stand_before_start() {
        let split = |text: &str| {
            let words: Vec<_> = text.split_whitespace().map(str::to_owned).collect();
            of_start(&words).map(|rest| rest.join(" "))
        };
        let told = |text: &str| Some(text.to_owned());
        assert_eq!(split("start --endpoints a:1"), told("--endpoints a:1"));
        assert_eq!(split("--endpoints=a:1 start x"), told("--endpoints=a:1 x"));
        assert_eq!(split("--endpoints a:1 start -h"), told("--endpoints a:1 -h"));
        assert_eq!(split("-h start"), told("-h"));
        for text in ["", "stop", "--endpoints start", "-- start", "-x start", "help start"] {
            assert_eq!(split(text), None, "{text}");
        }
    }

    #[test]
    fn bad_flags_are_told_as_by_etcd() {
        for (text, expected) in [
            ("--x", "unknown flag: --x"),
            ("--x=1", "unknown flag: --x"),
            ("-x", "unknown shorthand flag: 'x' in -x"),
            ("--listen-addr", "flag needs an argument: --listen-addr"),
            (
                "--retry-delay x",
                "invalid argument \"x\" for \"--retry-delay\" flag: time: invalid duration \"x\"",
            ),
            (
                "--insecure-discovery=x",
                "invalid argument \"x\" for \"--insecure-discovery\" flag: strconv.ParseBool: \
                 parsing \"x\": invalid syntax",
            ),
        ] {
            let Parsed::Wrong(error) = parsed(text) else { panic!("{text} is wrong") };
            assert_eq!(error, expected);
        }
    }
}
