//! The flags of `gateway start`, read and refused as by etcd's library for commands.

use std::time::Duration;

use crate::options::number::{GoDuration, parse_bool};

pub(super) const GROUP_USAGE: &str = "\
gateway related command

Usage:
  etcd gateway [command]

Available Commands:
  start       start the gateway

Flags:
  -h, --help   help for gateway

Use \"etcd gateway [command] --help\" for more information about a command.
";

pub(super) const USAGE: &str = "\
Usage:
  etcd gateway start [flags]

Flags:
      --discovery-srv string        DNS domain used to bootstrap initial cluster
      --discovery-srv-name string   service name to query when using DNS discovery
      --endpoints strings           comma separated etcd cluster \
endpoints (default [127.0.0.1:2379])
  -h, --help                        help for start
      --insecure-discovery          accept insecure SRV records
      --listen-addr string          listen address (default \"127.0.0.1:23790\")
      --retry-delay duration        duration of delay before retrying failed \
endpoints (default 1m0s)
      --trusted-ca-file string      path to the client server TLS CA file for \
verifying the discovered endpoints when discovery-srv is provided.
";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Flags {
    pub(super) listen_addr: String,
    pub(super) endpoints: Vec<String>,
    pub(super) discovery_srv: String,
    pub(super) discovery_srv_name: String,
    pub(super) insecure_discovery: bool,
    pub(super) trusted_ca_file: String,
    pub(super) retry_delay: GoDuration,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    Flags(Flags),
    Help,
    Wrong(String),
}

/// What is said to `start`, if that is the first word; flags may stand before it. As the flags of
/// `start` are not known there, one without a `=` takes the next word.
pub(super) fn of_start(arguments: &[String]) -> Option<Vec<String>> {
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

/// Reads the flags; words between them do not count.
pub(super) fn parse(arguments: &[String]) -> Parsed {
    match read(arguments) {
        Ok(Some(flags)) => Parsed::Flags(flags),
        Ok(None) => Parsed::Help,
        Err(error) => Parsed::Wrong(error),
    }
}

impl Default for Flags {
    fn default() -> Self {
        Self {
            listen_addr: "127.0.0.1:23790".to_owned(),
            endpoints: vec!["127.0.0.1:2379".to_owned()],
            discovery_srv: String::new(),
            discovery_srv_name: String::new(),
            insecure_discovery: false,
            trusted_ca_file: String::new(),
            retry_delay: GoDuration::from_std(Duration::from_secs(60)),
        }
    }
}

fn read(arguments: &[String]) -> Result<Option<Flags>, String> {
    let mut flags = Flags::default();
    let mut endpoints = Vec::new();
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
        let (name, given) = match flag.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (flag, None),
        };
        let value = match (name, given) {
            (_, Some(value)) => value,
            ("insecure-discovery" | "help", None) => "true".to_owned(),
            (name, None) if !is_known(name) => String::new(),
            (name, None) => {
                let missing = || format!("flag needs an argument: --{name}");
                rest.next().ok_or_else(missing)?.clone()
            }
        };
        let invalid =
            |reason: String| format!("invalid argument {value:?} for \"--{name}\" flag: {reason}");
        match name {
            "listen-addr" => flags.listen_addr = value,
            "discovery-srv" => flags.discovery_srv = value,
            "discovery-srv-name" => flags.discovery_srv_name = value,
            "trusted-ca-file" => flags.trusted_ca_file = value,
            // The first one replaces the default, the others add to it.
            "endpoints" => endpoints.push(value),
            "retry-delay" => {
                let read = GoDuration::parse(&value);
                flags.retry_delay = read.map_err(|error| invalid(error.to_string()))?;
            }
            "insecure-discovery" => flags.insecure_discovery = switch(&value).map_err(invalid)?,
            "help" if switch(&value).map_err(invalid)? => return Ok(None),
            "help" => {}
            _ => return Err(format!("unknown flag: --{name}")),
        }
    }
    if !endpoints.is_empty() {
        let lists = endpoints.iter().filter(|list| !list.is_empty());
        flags.endpoints = lists.flat_map(|list| list.split(',')).map(str::to_owned).collect();
    }
    Ok(Some(flags))
}

/// Whether a flag takes a value.
fn is_known(name: &str) -> bool {
    matches!(
        name,
        "listen-addr"
            | "endpoints"
            | "discovery-srv"
            | "discovery-srv-name"
            | "trusted-ca-file"
            | "retry-delay"
    )
}

fn switch(value: &str) -> Result<bool, String> {
    parse_bool(value).ok_or_else(|| format!("strconv.ParseBool: parsing {value:?}: invalid syntax"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Parsed {
        parse(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
    }

    #[test]
    fn flags_are_read() {
        let Parsed::Flags(flags) = parsed(
            "--listen-addr a:1 word --endpoints=b:2,c:3 --endpoints d:4 --insecure-discovery \
             --retry-delay 5s -- --nonsense",
        ) else {
            panic!("they are good");
        };
        assert_eq!(flags.listen_addr, "a:1");
        assert_eq!(flags.endpoints, ["b:2", "c:3", "d:4"]);
        assert!(flags.insecure_discovery);
        assert_eq!(flags.retry_delay.to_std(), Duration::from_secs(5));
        assert_eq!(parsed("--listen-addr x -h"), Parsed::Help);
        assert_eq!(parsed("--help"), Parsed::Help);
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
        for (text, error) in [
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
            assert_eq!(parsed(text), Parsed::Wrong(error.to_owned()));
        }
    }
}
