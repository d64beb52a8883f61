//! Steps of a script, played on a member or on several.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use e2e::{Client, Outcome, Running};
use proto::etcdserverpb::{AlarmRequest, LeaseGrantRequest, RangeRequest, StatusRequest};

use super::script::Step;

/// How long a command may take to print what it is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where a script is played.
pub(crate) trait Stage {
    /// Where commands run.
    fn folder(&self) -> &Path;
    /// How they print.
    fn format(&self) -> &str;
    /// etcdctl, told where to go.
    fn command(&self, args: &[String]) -> Command;
    /// What a command has done, without what two servers cannot have in common.
    fn show(&self, args: &[String], outcome: &Outcome) -> String;
    /// Waits until the version of the files is known.
    fn settle(&self);
    /// A client for what etcdctl cannot do.
    fn client(&self) -> Client;
}

/// A play, with the commands that go on behind it.
#[derive(Default)]
pub(crate) struct Play {
    held: BTreeMap<String, (Vec<String>, Running)>,
}

impl Play {
    /// What a step has shown.
    pub(crate) fn take(&mut self, stage: &impl Stage, step: &Step) -> String {
        match step {
            Step::Command { args, stdin } => {
                let outcome = e2e::run(&mut stage.command(args), stdin, stage.folder());
                stage.show(args, &outcome.unwrap())
            }
            Step::Watch { events, args, stdin } => watch(stage, *events, args, stdin),
            Step::Hold { name, lines, args } => {
                let mut command = stage.command(args);
                let running = Running::start(&mut command, "", stage.folder()).unwrap();
                self.held.insert(name.clone(), (args.clone(), running));
                self.wait_for_lines(name, *lines)
            }
            Step::Shows { name, lines } => self.wait_for_lines(name, *lines),
            Step::Release { name } => {
                let (args, running) = self.held.remove(name).expect("it is held");
                stage.show(&args, &running.interrupt().unwrap())
            }
            Step::Keys { count, prefix } => wait_for_keys(&stage.client(), *count, prefix),
            Step::Settle => {
                stage.settle();
                String::new()
            }
            Step::Grant { id, ttl } => grant(&stage.client(), *id, *ttl),
            Step::Raise { alarm } => raise(&stage.client(), *alarm),
        }
    }

    fn wait_for_lines(&mut self, name: &str, lines: usize) -> String {
        let (args, running) = self.held.get_mut(name).expect("it is held");
        let shown = e2e::until(PATIENCE, || {
            (running.printed().lines().count() >= lines || running.has_ended()).then_some(())
        });
        match shown {
            Some(()) => String::new(),
            None => format!("(never {lines} lines of etcdctl {})\n", args.join(" ")),
        }
    }
}

/// Watches until so many events were shown, or none came for long.
fn watch(stage: &impl Stage, events: usize, args: &[String], stdin: &str) -> String {
    let mut command = stage.command(args);
    let mut running = Running::start(&mut command, stdin, stage.folder()).unwrap();
    let shown = e2e::until(Duration::from_secs(5), || {
        let count = count_events(&running.printed(), stage.format());
        (count >= events || running.has_ended()).then_some(())
    });
    // An event is several lines, and perhaps there is one too many.
    let mut before = String::new();
    e2e::until(Duration::from_secs(5), || {
        e2e::pause(Duration::from_millis(60));
        let now = running.printed();
        (std::mem::replace(&mut before, now) == before).then_some(())
    });
    let late = if shown.is_none() { "(events are missing)\n" } else { "" };
    late.to_owned() + &stage.show(args, &running.interrupt().unwrap())
}

fn count_events(printed: &str, format: &str) -> usize {
    match format {
        "json" => {
            printed.matches(r#""kv":"#).count() + printed.matches(r#""Canceled":true"#).count()
        }
        "fields" => printed.matches("\"Type\" : ").count(),
        _ => printed.lines().filter(|line| ["PUT", "DELETE"].contains(line)).count(),
    }
}

/// Waits until there are so many keys of a prefix: commands that wait have their places then.
fn wait_for_keys(client: &Client, count: i64, prefix: &str) -> String {
    let mut range_end = prefix.as_bytes().to_owned();
    if let Some(last) = range_end.last_mut() {
        *last += 1;
    }
    let request = RangeRequest {
        key: prefix.to_owned().into(),
        range_end: range_end.into(),
        count_only: true,
        ..RangeRequest::default()
    };
    let there = |count| client.call(&request).is_ok_and(|reply| reply.count == count);
    match e2e::until(PATIENCE, || there(count).then_some(())) {
        Some(()) => String::new(),
        None => format!("(never {count} keys of {prefix})\n"),
    }
}

/// A lease with an id of ours, which etcdctl cannot ask for.
fn grant(client: &Client, id: i64, ttl: i64) -> String {
    let reply = client.call(&LeaseGrantRequest { ttl, id });
    format!("@grant {id:x} {ttl}\n{reply:?}\n")
}

/// An alarm of the member that is asked, which etcdctl cannot raise.
fn raise(client: &Client, alarm: i32) -> String {
    const ACTIVATE: i32 = 1;
    let status = client.call(&StatusRequest {}).unwrap();
    let member_id = status.header.expect("every reply has one").member_id;
    client.call(&AlarmRequest { action: ACTIVATE, member_id, alarm }).unwrap();
    String::new()
}
