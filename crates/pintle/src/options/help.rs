//! What `--help` and a mistake on the command line print.

use std::fmt::Write;

use super::gates::GATES;
use super::{Group, Kind, TABLE};

/// The short usage, which goes to standard error.
pub(crate) const USAGE: &str = "\
Usage:

  etcd [flags]
    Run a member.

  etcd --version
    Print the version.

  etcd -h | --help
    Print this and all flags.

  etcd --config-file FILE
    Run a member with the options of a YAML or JSON file; other flags and the environment
    are then ignored. Durations in the file are whole nanoseconds.

  etcd gateway
    Forward TCP connections to the members; `etcd gateway start --help` has its flags.

  etcd grpc-proxy
    Answer clients in front of the members. Not built yet.
";

const HEADINGS: &[(Group, &str)] = &[
    (Group::Member, "Member"),
    (Group::Clustering, "Clustering"),
    (Group::Security, "Security"),
    (Group::Auth, "Auth"),
    (Group::Monitoring, "Profiling and Monitoring"),
    (Group::Logging, "Logging"),
    (Group::Tracing, "Distributed tracing"),
    (Group::Features, "Features"),
    (Group::Unsafe, "Unsafe feature"),
    (Group::Own, "Pintle's own"),
];

/// The list of all flags, which goes to standard output.
pub(crate) fn flags() -> String {
    let mut text = String::new();
    for (group, heading) in HEADINGS {
        line(&mut text, format_args!("\n{heading}:"));
        for row in TABLE.iter().filter(|row| row.group == *group) {
            line(&mut text, format_args!("  --{} '{}'", row.name, row.default));
            for help in row.help() {
                line(&mut text, format_args!("    {help}"));
            }
            if row.kind == Kind::Gates {
                gates(&mut text);
            }
        }
    }
    line(
        &mut text,
        format_args!(
            "\nAn unsafe feature breaks what the member promises. Do without.\n\
             etcd knows nothing of pintle's own options, and does not start with them."
        ),
    );
    text
}

fn gates(text: &mut String) {
    for gate in GATES {
        let (name, stage, default) = (gate.name, gate.stage.as_str(), gate.default);
        line(text, format_args!("    {name}=true|false ({stage} - default={default})"));
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a String takes everything");
}
