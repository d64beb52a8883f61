//! Servers in turn, in one run, so that the machine's moods hit all of them.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;

use crate::load;
use crate::options::{Comparison, Workload};
use crate::report::Report;
use crate::server::{Server, version};
use crate::table;

/// The reports of a comparison, by workload and server.
pub(crate) type Reports = BTreeMap<(usize, usize), Vec<Report>>;

/// Runs all workloads on all servers and gives back the table.
pub(crate) fn compare(options: &Comparison) -> anyhow::Result<String> {
    let servers = named(&options.servers)?;
    let mut reports = Reports::new();
    let mut number = 0;
    for round in 0..options.rounds {
        for (at, &workload) in options.workloads.iter().enumerate() {
            for turn in 0..servers.len() {
                // Another one begins in each round.
                let which = (turn + round) % servers.len();
                let (name, program) = &servers[which];
                number += 1;
                let report = one(options, name, program, workload, number)?;
                eprintln!("{}", report.json());
                log(options, &report)?;
                reports.entry((at, which)).or_default().push(report);
            }
        }
    }
    let names: Vec<_> = servers.iter().map(|(name, _)| name.as_str()).collect();
    let baseline = servers.iter().position(|(name, _)| name != "pintle").unwrap_or(0);
    Ok(table::render(&names, baseline, options.members, &options.workloads, &reports))
}

/// A server that two programs call themselves by gets a number.
pub(crate) fn named(given: &[(Option<String>, PathBuf)]) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let mut servers: Vec<(String, PathBuf)> = Vec::new();
    for (name, program) in given {
        let program = std::path::absolute(program)?;
        let mut unique = match name {
            Some(name) => name.clone(),
            None => version(&program)?,
        };
        let same = servers.iter().filter(|(name, _)| name.starts_with(&unique)).count();
        if same > 0 {
            unique = format!("{unique} #{}", same + 1);
        }
        servers.push((unique, program));
    }
    Ok(servers)
}

/// A fresh server for each load, so that none pays for what another left behind.
fn one(
    options: &Comparison,
    name: &str,
    program: &std::path::Path,
    workload: Workload,
    number: usize,
) -> anyhow::Result<Report> {
    let context = || format!("{} on {name}", workload.name());
    let server = Server::start(program, &options.dir, number, options.members, options.tls);
    let server = server.with_context(context)?;
    let plan = options.plan(workload, server.endpoints().with_context(context)?, server.pids()?);
    let mut report = load::run(&plan).with_context(context)?;
    report.server = Some(name.to_owned());
    Ok(report)
}

fn log(options: &Comparison, report: &Report) -> anyhow::Result<()> {
    let Some(path) = &options.log else { return Ok(()) };
    let mut file = OpenOptions::new().append(true).create(true).open(path)?;
    writeln!(file, "{}", report.json())?;
    Ok(())
}
