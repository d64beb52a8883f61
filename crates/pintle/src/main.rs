//! The server: options, config file, logging, signals, wiring.
//!
//! Installed as `pintle` or as `etcd`, it takes etcd 3.7.1's options and environment, logs its
//! lines and exits with its codes.
//!
//! ```text
//!  argv, environment, config file --options--> Settings --config--> Config --wire--> a member
//!                                                 |                                    |
//!                                              logging                              signals
//! ```
//!
//! Invariants: the options are one table; a wish that cannot be fulfilled stops the start; every
//! failure of a start is a log line and an exit code that etcd's users know.
//!
//! What it never knows: how anything is done that a crate below does.
//!
//! Files in reading order: `main`, `run`, `options/`, `config/`, `logging/`, `data_dir`,
//! `memory`, `bootstrap/`, `audit`, `notify`, `signals`, `spans`, `version`, `wire`,
//! `command/`, `gateway/`, `grpc_proxy/`.

mod audit;
mod bootstrap;
mod certificates;
mod command;
mod config;
mod data_dir;
mod doors;
mod gateway;
mod grpc_proxy;
mod logging;
mod memory;
mod notify;
mod options;
mod run;
mod signals;
mod spans;
mod version;
mod wire;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let text = |text: std::ffi::OsString| text.to_string_lossy().into_owned();
    let given = run::Given {
        arguments: std::env::args_os().map(text).collect(),
        variables: std::env::vars_os().map(|(name, value)| (text(name), text(value))).collect(),
    };
    run::run(&given)
}
