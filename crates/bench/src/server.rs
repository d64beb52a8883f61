//! A server that is started for a measurement and stopped after it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use proto::etcdserverpb::{RangeRequest, RangeResponse};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::LocalSet;

use crate::grpc::Connection;
use crate::requests::RANGE;

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// A member on its own, on free ports of the loopback, with a directory of its own. It is stopped
/// and its files are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    directory: PathBuf,
    pub(crate) endpoint: String,
}

impl Server {
    /// Starts a program and waits until it answers a linearizable read.
    pub(crate) fn start(program: &Path, base: &Path, number: usize) -> anyhow::Result<Server> {
        let directory = base.join(format!("bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let (client, peer) = (free_port()?, free_port()?);
        let log = File::create(directory.join("log"))?;
        let child = Command::new(program)
            .args(arguments(&directory.join("data"), client, peer))
            // What the caller's environment says of etcd is not meant for this one.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("start {}", program.display()))?;
        let endpoint = format!("127.0.0.1:{client}");
        let mut server = Server { child, directory, endpoint };
        server.wait_until_ready().with_context(|| format!("start {}", program.display()))?;
        Ok(server)
    }

    pub(crate) fn pid(&self) -> anyhow::Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let runtime = runtime()?;
        let ready = LocalSet::new().block_on(&runtime, async {
            tokio::time::timeout(START, answers(&mut self.child, &self.endpoint)).await
        });
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.context(self.last_words())),
            Err(_) => bail!("no answer within {START:?}: {}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let log = fs::read_to_string(self.directory.join("log")).unwrap_or_default();
        let lines: Vec<_> = log.lines().rev().take(3).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }

    /// Asks the process to end and waits for it; in the end it is made to.
    fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = Pid::from_raw(self.pid()?) {
            // It may have ended by itself, which the wait below sees.
            let _ = kill_process(pid, Signal::TERM);
        }
        runtime()?.block_on(async {
            let ended = tokio::time::timeout(STOP, async {
                while self.child.try_wait()?.is_none() {
                    tokio::time::sleep(LOOK).await;
                }
                anyhow::Ok(())
            });
            if ended.await.is_err() {
                self.child.kill()?;
                self.child.wait()?;
            }
            Ok(())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("bench: process {} may still run: {error:#}", self.child.id());
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("bench: {} is left: {error}", self.directory.display());
        }
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread().enable_all().build()?)
}

async fn answers(child: &mut Child, endpoint: &str) -> anyhow::Result<()> {
    loop {
        if let Some(status) = child.try_wait()? {
            bail!("it ended at once with {status}");
        }
        if let Ok(Ok(())) = tokio::time::timeout(Duration::from_secs(1), read(endpoint)).await {
            return Ok(());
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn read(endpoint: &str) -> anyhow::Result<()> {
    let connection = Connection::open(endpoint).await?;
    let request = RangeRequest { key: "/".into(), ..RangeRequest::default() };
    connection.method(RANGE)?.ask::<RangeResponse>(&request).await?;
    Ok(())
}

/// Nobody listens there now; that somebody will before the server does is unlikely.
fn free_port() -> anyhow::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Options that every etcd since 3.4 takes, with the same values for all of them.
fn arguments(data: &Path, client: u16, peer: u16) -> Vec<String> {
    let (client, peer) = (format!("http://127.0.0.1:{client}"), format!("http://127.0.0.1:{peer}"));
    [
        ("name", "bench".to_owned()),
        ("data-dir", data.display().to_string()),
        ("listen-client-urls", client.clone()),
        ("advertise-client-urls", client),
        ("listen-peer-urls", peer.clone()),
        ("initial-advertise-peer-urls", peer.clone()),
        ("initial-cluster", format!("bench={peer}")),
        // The defaults of 3.4 and 3.7 differ.
        ("snapshot-count", "10000".to_owned()),
        ("logger", "zap".to_owned()),
        ("log-outputs", "stderr".to_owned()),
        ("log-level", "warn".to_owned()),
        ("quota-backend-bytes", (8_u64 << 30).to_string()),
    ]
    .map(|(name, value)| format!("--{name}={value}"))
    .to_vec()
}

/// What a program calls itself: the first line of its version.
pub(crate) fn version(program: &Path) -> anyhow::Result<String> {
    let output = Command::new(program).arg("--version").output();
    let output = output.with_context(|| format!("run {}", program.display()))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "));
    let version = version.with_context(|| format!("{} is no etcd", program.display()))?;
    Ok(format!("etcd {version}"))
}
