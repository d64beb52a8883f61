//! How long writes wait when the leader is lost.

use std::cell::RefCell;
use std::fmt::Write;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use env::{Clock, RealClock};
use proto::etcdserverpb::{PutRequest, PutResponse};
use rustix::process::Signal;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::compare::named;
use crate::grpc::Connection;
use crate::options::{Failover, Loss};
use crate::requests::{PUT, key, value};
use crate::server::Server;

/// One write after the other is sent to each member that is left, none waits for those before.
const PACE: Duration = Duration::from_millis(2);
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs all rounds on all servers, in turn, and gives back the table.
pub(crate) fn failover(options: &Failover) -> anyhow::Result<String> {
    let mut servers = Vec::new();
    for (number, (name, program)) in named(&options.servers)?.into_iter().enumerate() {
        let server = Server::start(&program, &options.dir, number, options.members, false);
        servers.push((name, server?, Vec::new()));
    }
    for round in 1..=options.rounds {
        for (name, server, waits) in &mut servers {
            let wait = lose(server, options.loss).with_context(|| format!("round of {name}"))?;
            eprintln!("round {round}: {name} {wait:?}");
            waits.push(wait);
        }
    }
    let rows = servers.into_iter().map(|(name, _, waits)| (name, waits)).collect();
    Ok(render(options, rows))
}

/// Loses the leader, and gives back the time to the next write that is acknowledged. All is well
/// again afterwards.
fn lose(server: &mut Server, loss: Loss) -> anyhow::Result<Duration> {
    let leader = server.leader()?;
    let others: Vec<_> = (0..server.pids()?.len()).filter(|at| *at != leader).collect();
    let others = others.into_iter().map(|at| server.endpoint(at).to_owned()).collect::<Vec<_>>();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = Rc::new(RealClock::new());
    let wait = LocalSet::new().block_on(&runtime, async {
        let mut connections = Vec::new();
        for endpoint in &others {
            connections.push(Connection::open(endpoint).await?);
        }
        let lost = clock.now();
        match loss {
            Loss::Kill => server.kill(leader)?,
            Loss::Hang => server.signal(leader, Signal::STOP)?,
        }
        let written = first_write(&connections, &clock).await?;
        anyhow::Ok(written.saturating_sub(lost))
    })?;
    match loss {
        Loss::Kill => server.restart(leader)?,
        Loss::Hang => server.signal(leader, Signal::CONT)?,
    }
    Ok(wait)
}

/// What was sent before there is a leader may be lost or wait for long, so that it says nothing
/// of what comes after.
async fn first_write(
    connections: &[Connection],
    clock: &Rc<RealClock>,
) -> anyhow::Result<Duration> {
    let first = Rc::new(RefCell::new(None));
    let written = Rc::new(Notify::new());
    let begun = clock.now();
    let mut attempts = tokio::task::JoinSet::new();
    while clock.now() < begun + PATIENCE {
        for connection in connections {
            let mut put = connection.method(PUT)?;
            let (first, written, clock) = (first.clone(), written.clone(), clock.clone());
            attempts.spawn_local(async move {
                let request = PutRequest { key: key(0), value: value(0, 16), ..Default::default() };
                if put.ask::<PutResponse>(&request).await.is_ok() {
                    first.borrow_mut().get_or_insert(clock.now());
                    written.notify_one();
                }
            });
        }
        let _ = tokio::time::timeout(PACE, written.notified()).await;
        if let Some(moment) = *first.borrow() {
            return Ok(moment);
        }
    }
    anyhow::bail!("no write was acknowledged within {PATIENCE:?}")
}

fn render(options: &Failover, rows: Vec<(String, Vec<Duration>)>) -> String {
    let how = match options.loss {
        Loss::Kill => "is killed (SIGKILL)",
        Loss::Hang => "hangs (SIGSTOP)",
    };
    let mut out = format!(
        "From the moment that the leader {how} to the next acknowledged write; {} members, {} \
         rounds in turn in one run, default timings.\n\n\
         | server | p50 ms | p90 ms | p99 ms | max ms |\n|---|--:|--:|--:|--:|\n",
        options.members, options.rounds
    );
    for (name, mut waits) in rows {
        waits.sort_unstable();
        let at = |share: f64| {
            let rank = (share * waits.len() as f64).ceil() as usize;
            let wait = waits.get(rank.clamp(1, waits.len().max(1)) - 1).copied();
            format!("{:.0}", wait.unwrap_or_default().as_secs_f64() * 1e3)
        };
        let (p50, p90, p99, max) = (at(0.5), at(0.9), at(0.99), at(1.0));
        writeln!(out, "| {name} | {p50} | {p90} | {p99} | {max} |")
            .expect("a String takes everything");
    }
    out
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::time::Duration;

    use super::render;
    use crate::options::{Failover, Loss};

    #[test]
    fn a_row_has_the_ranks_of_its_waits() {
        let options = Failover {
            servers: Vec::new(),
            members: 3,
            rounds: 100,
            loss: Loss::Kill,
            dir: PathBuf::new(),
        };
        let waits = (1..=100).rev().map(Duration::from_millis).collect();
        let text = render(&options, vec![("pintle".to_owned(), waits)]);
        assert!(text.ends_with("| pintle | 50 | 90 | 99 | 100 |\n"), "{text}");
    }
}
