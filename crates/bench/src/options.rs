//! The command line.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use lexopt::prelude::{Long, Short, Value, ValueExt};

/// What `--help` prints.
pub(crate) const HELP: &str = "\
bench run [options]          put a load on a running server, print one JSON line
  --endpoint URL,...         where its members serve clients (http://127.0.0.1:2379)
  --pid PID,...              its processes, for CPU time and memory (none: not measured)
  --workload NAME            one of those below (put)
  --connections N            connections (10, or as the workload needs)
  --in-flight N              requests in flight on all of them together (100, or ...)
  --seconds S                how long to measure (5)
  --total N                  measure so many requests in place of a time
  --warm-up S                load before measuring (1)
  --value-size BYTES         length of values (256)
  --no-fill                  the keys are there already
  --auth                     turn auth on and speak as a user with one role

bench compare [options]      start servers in turn and print a table of their figures
  --pintle PATH              a server, named pintle in the table
  --etcd PATH                a server; the first one is what the others are compared with
  --members N                members of each server's cluster (1)
  --tls                      by TLS, between members too, with certificates that they make
  --rounds N                 rounds, whose medians are taken (3)
  --workloads A,B            workloads (all)
  --dir PATH                 where data directories are made (the system's temporary directory)
  --log PATH                 append each run's JSON line to this file
  --connections, --in-flight, --seconds, --warm-up, --value-size, --auth as above

bench failover [options]     let the leader be lost, print a table of times to the next write
  --pintle PATH, --etcd PATH, --members (3), --rounds (20), --dir as above
  --loss kill|hang           its process dies (SIGKILL) or hangs (SIGSTOP) (kill)

bench bounded [options]      take a follower away, write, let it come back; print what the others
                             need meanwhile, and whether all have the same in the end
  --pintle PATH or --etcd PATH, --members (3), --dir, --value-size as above
  --seconds S                how long to write (300)
  --every S                  how often to look (10)

workloads
  put                        one key of 10000
  put-one                    the same, one at a time
  get                        one key of 10000, linearizable
  get-serializable           the same, from the member's own state
  range-1000                 1000 keys of 10000
  range-limited              pages of 1000 from 300000 keys, one page after the other
  txn                        compare a version, then put
  watch                      a put to a key that --in-flight streams watch (1000); counts events
  lease-keepalive            a keepalive on each of --in-flight streams (100)
";

/// What to do.
#[derive(Debug)]
pub(crate) enum Command {
    Help,
    Run(Plan),
    Compare(Comparison),
    Failover(Failover),
    Bounded(Bounded),
}

/// What kind of requests a load is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Workload {
    Put,
    PutOne,
    Get,
    GetSerializable,
    Range,
    RangeLimited,
    Txn,
    Watch,
    LeaseKeepalive,
}

impl Workload {
    pub(crate) const ALL: [Workload; 9] = [
        Workload::Put,
        Workload::PutOne,
        Workload::Get,
        Workload::GetSerializable,
        Workload::Range,
        Workload::RangeLimited,
        Workload::Txn,
        Workload::Watch,
        Workload::LeaseKeepalive,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Workload::Put => "put",
            Workload::PutOne => "put-one",
            Workload::Get => "get",
            Workload::GetSerializable => "get-serializable",
            Workload::Range => "range-1000",
            Workload::RangeLimited => "range-limited",
            Workload::Txn => "txn",
            Workload::Watch => "watch",
            Workload::LeaseKeepalive => "lease-keepalive",
        }
    }

    fn parse(name: &str) -> anyhow::Result<Workload> {
        let found = Workload::ALL.into_iter().find(|workload| workload.name() == name);
        found.with_context(|| format!("no workload is called {name}"))
    }

    /// Connections and requests in flight when nobody says.
    fn shape(self) -> (usize, usize) {
        match self {
            Workload::PutOne => (1, 1),
            // A page of the large range is a hundred times a get's work.
            Workload::Range | Workload::RangeLimited => (10, 20),
            Workload::Watch => (10, 1000),
            _ => (10, 100),
        }
    }
}

/// When a measurement ends.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Until {
    Time(Duration),
    Requests(u64),
}

/// One load.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    /// The connections go to them in turn.
    pub(crate) endpoints: Vec<String>,
    pub(crate) pids: Vec<i32>,
    pub(crate) workload: Workload,
    pub(crate) connections: usize,
    pub(crate) in_flight: usize,
    pub(crate) until: Until,
    pub(crate) warm_up: Duration,
    pub(crate) value_size: usize,
    pub(crate) fill: bool,
    /// Users are asked for, and the load is one's.
    pub(crate) auth: bool,
}

/// A comparison of servers.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// Name in the table (none: what it calls itself) and program.
    pub(crate) servers: Vec<(Option<String>, PathBuf)>,
    pub(crate) members: usize,
    /// Clients and members speak by TLS.
    pub(crate) tls: bool,
    pub(crate) rounds: usize,
    pub(crate) workloads: Vec<Workload>,
    pub(crate) dir: PathBuf,
    pub(crate) log: Option<PathBuf>,
    given: Given,
}

impl Comparison {
    /// The load of one workload on one server.
    pub(crate) fn plan(&self, workload: Workload, endpoints: Vec<String>, pids: Vec<i32>) -> Plan {
        Plan { endpoints, pids, ..self.given.plan(workload) }
    }
}

/// How a leader is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its process dies, and its connections break.
    Kill,
    /// Its process does nothing any more, and they do not.
    Hang,
}

/// A comparison of what servers do without their leader.
#[derive(Debug)]
pub(crate) struct Failover {
    /// As in a comparison of loads.
    pub(crate) servers: Vec<(Option<String>, PathBuf)>,
    pub(crate) members: usize,
    pub(crate) rounds: usize,
    pub(crate) loss: Loss,
    pub(crate) dir: PathBuf,
}

/// What a member that is away costs the others.
#[derive(Debug)]
pub(crate) struct Bounded {
    /// As in a comparison of loads, but one.
    pub(crate) servers: Vec<(Option<String>, PathBuf)>,
    pub(crate) members: usize,
    pub(crate) time: Duration,
    pub(crate) every: Duration,
    pub(crate) value_size: usize,
    pub(crate) dir: PathBuf,
}

/// Options as they come.
#[derive(Debug, Default)]
struct Given {
    connections: Option<usize>,
    in_flight: Option<usize>,
    seconds: Option<f64>,
    total: Option<u64>,
    warm_up: Option<f64>,
    value_size: Option<usize>,
    auth: bool,
}

impl Given {
    fn plan(&self, workload: Workload) -> Plan {
        let (connections, in_flight) = workload.shape();
        let in_flight = self.in_flight.unwrap_or(in_flight).max(1);
        let seconds = Duration::from_secs_f64(self.seconds.unwrap_or(5.0));
        Plan {
            endpoints: vec!["http://127.0.0.1:2379".to_owned()],
            pids: Vec::new(),
            workload,
            connections: self.connections.unwrap_or(connections).clamp(1, in_flight),
            in_flight,
            until: self.total.map_or(Until::Time(seconds), Until::Requests),
            warm_up: Duration::from_secs_f64(self.warm_up.unwrap_or(1.0)),
            value_size: self.value_size.unwrap_or(256),
            fill: true,
            auth: self.auth,
        }
    }
}

/// Reads the process's arguments.
pub(crate) fn parse() -> anyhow::Result<Command> {
    let mut parser = lexopt::Parser::from_env();
    match parser.next()? {
        Some(Value(word)) if word == "run" => run(&mut parser),
        Some(Value(word)) if word == "compare" => compare(&mut parser),
        Some(Value(word)) if word == "failover" => failover(&mut parser),
        Some(Value(word)) if word == "bounded" => bounded(&mut parser),
        Some(Long("help") | Short('h')) | None => Ok(Command::Help),
        Some(other) => Err(other.unexpected().into()),
    }
}

fn run(parser: &mut lexopt::Parser) -> anyhow::Result<Command> {
    let mut given = Given::default();
    let (mut endpoints, mut pids, mut fill) = (None, Vec::new(), true);
    let mut workload = Workload::Put;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("endpoint") => {
                let list = parser.value()?.string()?;
                endpoints = Some(list.split(',').map(str::to_owned).collect());
            }
            Long("pid") => {
                let list = parser.value()?.string()?;
                pids = list.split(',').map(str::parse).collect::<Result<_, _>>()?;
            }
            Long("workload") => workload = Workload::parse(&parser.value()?.string()?)?,
            Long("no-fill") => fill = false,
            Long("help") | Short('h') => return Ok(Command::Help),
            Long(name) => {
                let name = name.to_owned();
                shared(&mut given, &name, parser)?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let mut plan = given.plan(workload);
    plan.endpoints = endpoints.unwrap_or(plan.endpoints);
    (plan.pids, plan.fill) = (pids, fill);
    Ok(Command::Run(plan))
}

fn compare(parser: &mut lexopt::Parser) -> anyhow::Result<Command> {
    let mut given = Given::default();
    let (mut servers, mut members, mut rounds, mut log) = (Vec::new(), 1, 3, None);
    let (mut workloads, mut dir) = (Workload::ALL.to_vec(), std::env::temp_dir());
    let mut tls = false;
    while let Some(argument) = parser.next()? {
        match argument {
            Long("pintle") => {
                servers.push((Some("pintle".to_owned()), parser.value()?.into()));
            }
            Long("etcd") => servers.push((None, parser.value()?.into())),
            Long("members") => members = parser.value()?.parse()?,
            Long("tls") => tls = true,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("dir") => dir = parser.value()?.into(),
            Long("log") => log = Some(parser.value()?.into()),
            Long("workloads") => {
                let names = parser.value()?.string()?;
                workloads = names.split(',').map(Workload::parse).collect::<Result<_, _>>()?;
            }
            Long("help") | Short('h') => return Ok(Command::Help),
            Long(name) => {
                let name = name.to_owned();
                shared(&mut given, &name, parser)?;
            }
            other => return Err(other.unexpected().into()),
        }
    }
    check(&servers, rounds)?;
    if members == 0 {
        bail!("--members must be 1 or more");
    }
    Ok(Command::Compare(Comparison { servers, members, tls, rounds, workloads, dir, log, given }))
}

fn failover(parser: &mut lexopt::Parser) -> anyhow::Result<Command> {
    let (mut servers, mut members, mut rounds) = (Vec::new(), 3, 20);
    let (mut loss, mut dir) = (Loss::Kill, std::env::temp_dir());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("pintle") => {
                servers.push((Some("pintle".to_owned()), parser.value()?.into()));
            }
            Long("etcd") => servers.push((None, parser.value()?.into())),
            Long("members") => members = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("dir") => dir = parser.value()?.into(),
            Long("loss") => {
                loss = match parser.value()?.string()?.as_str() {
                    "kill" => Loss::Kill,
                    "hang" => Loss::Hang,
                    other => bail!("no leader is lost by {other}"),
                };
            }
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    check(&servers, rounds)?;
    if members < 3 {
        bail!("--members must be 3 or more: fewer cannot lose one");
    }
    Ok(Command::Failover(Failover { servers, members, rounds, loss, dir }))
}

fn bounded(parser: &mut lexopt::Parser) -> anyhow::Result<Command> {
    let (mut servers, mut members, mut value_size) = (Vec::new(), 3, 256);
    let (mut time, mut every, mut dir) = (300.0, 10.0, std::env::temp_dir());
    while let Some(argument) = parser.next()? {
        match argument {
            Long("pintle") => {
                servers.push((Some("pintle".to_owned()), parser.value()?.into()));
            }
            Long("etcd") => servers.push((None, parser.value()?.into())),
            Long("members") => members = parser.value()?.parse()?,
            Long("value-size") => value_size = parser.value()?.parse()?,
            Long("seconds") => time = seconds(parser)?,
            Long("every") => every = seconds(parser)?,
            Long("dir") => dir = parser.value()?.into(),
            Long("help") | Short('h') => return Ok(Command::Help),
            other => return Err(other.unexpected().into()),
        }
    }
    if servers.len() != 1 {
        bail!("name one server with --pintle or --etcd");
    }
    if members < 3 {
        bail!("--members must be 3 or more: fewer cannot go on without one");
    }
    let (time, every) = (Duration::from_secs_f64(time), Duration::from_secs_f64(every));
    Ok(Command::Bounded(Bounded { servers, members, time, every, value_size, dir }))
}

fn check(servers: &[(Option<String>, PathBuf)], rounds: usize) -> anyhow::Result<()> {
    if servers.is_empty() {
        bail!("name at least one server with --pintle or --etcd");
    }
    if rounds == 0 {
        bail!("--rounds must be 1 or more");
    }
    Ok(())
}

fn shared(given: &mut Given, name: &str, parser: &mut lexopt::Parser) -> anyhow::Result<()> {
    match name {
        "connections" => given.connections = Some(parser.value()?.parse()?),
        "in-flight" => given.in_flight = Some(parser.value()?.parse()?),
        "seconds" => given.seconds = Some(seconds(parser)?),
        "total" => given.total = Some(parser.value()?.parse()?),
        "warm-up" => given.warm_up = Some(seconds(parser)?),
        "auth" => given.auth = true,
        "value-size" => given.value_size = Some(parser.value()?.parse()?),
        _ => bail!("no option is called --{name}"),
    }
    Ok(())
}

fn seconds(parser: &mut lexopt::Parser) -> anyhow::Result<f64> {
    let seconds: f64 = parser.value()?.parse()?;
    if !(0.0..=86_400.0).contains(&seconds) {
        bail!("{seconds} seconds is no useful time");
    }
    Ok(seconds)
}
