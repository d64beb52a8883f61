//! Programs that stand between clients and members.

use std::fs::File;
use std::net::SocketAddr;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use crate::member;
use crate::programs::Server;
use crate::scratch::Scratch;
use crate::{ports, wait};

/// How long a proxy may take to begin.
const PATIENCE: Duration = Duration::from_secs(20);

/// `gateway start` or `grpc-proxy start`. It is killed when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    child: Child,
    address: SocketAddr,
    scratch: Scratch,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // One that cannot be killed is gone.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Proxy {
    /// Starts `gateway` before these endpoints.
    pub fn gateway(server: &Server, endpoints: &str) -> anyhow::Result<Self> {
        let (command, ready) = ("gateway", "ready to proxy client requests");
        Self::start(server, command, ready, endpoints, |_| vec!["--retry-delay=100ms".to_owned()])
    }

    /// Starts `grpc-proxy` before these endpoints.
    pub fn grpc(server: &Server, endpoints: &str, flags: &[&str]) -> anyhow::Result<Self> {
        let (command, ready) = ("grpc-proxy", "started gRPC proxy");
        Self::start(server, command, ready, endpoints, |address| {
            // What is said twice counts as it was said last.
            let address = format!("--advertise-client-url={address}");
            [address].into_iter().chain(flags.iter().map(|&flag| flag.to_owned())).collect()
        })
    }

    fn start(
        server: &Server,
        command: &str,
        ready: &str,
        endpoints: &str,
        flags: impl FnOnce(SocketAddr) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        let address = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let scratch = Scratch::new("proxy");
        let log = File::create(scratch.path().join("log")).context("making a log")?;
        let child = Command::new(&server.path)
            .args([command, "start"])
            .arg(format!("--listen-addr={address}"))
            .arg(format!("--endpoints={endpoints}"))
            .args(flags(address))
            .current_dir(scratch.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {command} of {}", server.name))?;
        let mut proxy = Self { child, address, scratch };
        let begun = wait::until(PATIENCE, || {
            (proxy.log().contains(ready) || proxy.has_ended()).then_some(())
        });
        anyhow::ensure!(begun.is_some() && !proxy.has_ended(), "no proxy: {}", proxy.log());
        Ok(proxy)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// GET by HTTP/1.1: status code and body.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        member::get(self.address, path)
    }

    /// One of its own metrics.
    pub fn metric(&self, name: &str) -> Option<f64> {
        let (_, page) = self.get("/proxy/metrics").ok()?;
        page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    }

    /// Tells it to end, and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let ended = wait::until(PATIENCE, || self.child.try_wait().ok().flatten());
        ended.with_context(|| format!("it does not end: {}", self.log()))
    }

    /// All that it has said.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.scratch.path().join("log")).unwrap_or_default()
    }

    /// Whether it has ended by itself.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }
}
