//! Load generator and side-by-side runs against etcd.
//!
//! ```text
//!  bench run --endpoint HOST:PORT --pid PID --workload put     one load, one JSON line
//!  bench compare --pintle PATH --etcd PATH [--etcd PATH]       servers in turn, one table
//!  bench failover --pintle PATH --etcd PATH                    leaders are lost, one table
//!  bench bounded --pintle PATH                                 a member is away, one table
//!
//!  compare --starts--> server <--h2-- load (one thread, closed loop) --> histogram, counts
//!                        ^                                                    |
//!                        '---- /proc/PID: CPU time, resident memory ----------'--> Report
//! ```
//!
//! The generator speaks gRPC on `h2` itself, so that it costs less than what it measures; the
//! server's cost is read from the kernel, not guessed from the throughput. Throughput moves with
//! the machine's noise, CPU time per request hardly does: that is the figure to compare.
//!
//! Invariants: a load is a closed loop (a request in flight per slot); nothing of the warm-up is
//! counted; what a comparison starts it stops, by pid.
//!
//! What it never knows: how a server does what it is asked.
//!
//! Files in reading order: `options`, `grpc`, `requests`, `fill`, `load`, `streams`, `process`,
//! `report`, `server`, `compare`, `table`, `failover`, `bounded`.

mod bounded;
mod compare;
mod failover;
mod fill;
mod grpc;
mod load;
mod options;
mod process;
mod report;
mod requests;
mod server;
mod streams;
mod table;
#[cfg(test)]
mod tests;

use std::process::ExitCode;

use options::Command;

fn main() -> ExitCode {
    match options::parse().and_then(execute) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Help => print(options::HELP),
        Command::Run(plan) => print(&format!("{}\n", load::run(&plan)?.json())),
        Command::Compare(options) => print(&compare::compare(&options)?),
        Command::Bounded(options) => bounded::bounded(&options, &print)?,
        Command::Failover(options) => print(&failover::failover(&options)?),
    }
    Ok(())
}

#[expect(clippy::print_stdout, reason = "the result is what the program is for")]
fn print(text: &str) {
    print!("{text}");
}
