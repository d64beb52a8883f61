//! A server that is started for a measurement and stopped after it.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};
use proto::etcdserverpb::{RangeRequest, RangeResponse, StatusRequest, StatusResponse};
use rustix::process::{Pid, Signal, kill_process};
use tokio::task::LocalSet;

use crate::grpc::Connection;
use crate::requests::{RANGE, STATUS};

const START: Duration = Duration::from_secs(30);
const STOP: Duration = Duration::from_secs(20);
const LOOK: Duration = Duration::from_millis(20);

/// A cluster of one member or several, on free ports of the loopback, with a directory of its own.
/// It is stopped and its files are removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Server {
    members: Vec<Member>,
    directory: PathBuf,
}

/// One process, and how it is started.
#[derive(Debug)]
struct Member {
    child: Child,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    endpoint: String,
    data: PathBuf,
}

impl Server {
    /// Starts members of a program and waits until each answers a linearizable read.
    pub(crate) fn start(
        program: &Path,
        base: &Path,
        number: usize,
        members: usize,
        tls: bool,
    ) -> anyhow::Result<Server> {
        let directory = base.join(format!("bench-{}-{number}", std::process::id()));
        fs::create_dir_all(&directory).with_context(|| format!("make {}", directory.display()))?;
        let mut server = Server { members: Vec::new(), directory };
        for place in places(members, tls)? {
            let log = server.directory.join(format!("{}.log", place.name));
            let endpoint = place.client.clone();
            let data = server.directory.join(&place.name);
            let arguments = place.arguments(&data);
            let child = spawn(program, &arguments, &log)?;
            let program = program.to_owned();
            server.members.push(Member { child, program, arguments, log, endpoint, data });
        }
        for at in 0..members {
            server.wait_until_ready(at).with_context(|| format!("start {}", program.display()))?;
        }
        Ok(server)
    }

    /// Where clients go, the leader first.
    pub(crate) fn endpoints(&self) -> anyhow::Result<Vec<String>> {
        let mut endpoints: Vec<_> = self.members.iter().map(|it| it.endpoint.clone()).collect();
        let leader = self.leader()?;
        endpoints.swap(0, leader);
        Ok(endpoints)
    }

    pub(crate) fn endpoint(&self, at: usize) -> &str {
        &self.members[at].endpoint
    }

    /// Where a member has its files.
    pub(crate) fn data(&self, at: usize) -> &Path {
        &self.members[at].data
    }

    pub(crate) fn pids(&self) -> anyhow::Result<Vec<i32>> {
        self.members.iter().map(Member::pid).collect()
    }

    /// Who leads, as soon as all members agree on it.
    pub(crate) fn leader(&self) -> anyhow::Result<usize> {
        let agreed = LocalSet::new().block_on(&runtime()?, async {
            tokio::time::timeout(START, async {
                loop {
                    if let Ok(Some(leader)) = self.agreed().await {
                        return leader;
                    }
                    tokio::time::sleep(LOOK).await;
                }
            })
            .await
        });
        agreed.with_context(|| format!("no leader within {START:?}: {}", self.last_words()))
    }

    async fn agreed(&self) -> anyhow::Result<Option<usize>> {
        let (mut leaders, mut own) = (Vec::new(), Vec::new());
        for member in &self.members {
            let connection = Connection::open(&member.endpoint).await?;
            let mut status = connection.method(STATUS)?;
            let status: StatusResponse = status.ask(&StatusRequest {}).await?;
            leaders.push(status.leader);
            own.push(status.header.map_or(0, |header| header.member_id));
        }
        let same = leaders.iter().all(|leader| *leader == leaders[0]);
        Ok(own.iter().position(|id| same && *id == leaders[0]))
    }

    /// Ends a member at once.
    pub(crate) fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        let child = &mut self.members[at].child;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Starts a member again that has ended, and waits until it answers.
    pub(crate) fn restart(&mut self, at: usize) -> anyhow::Result<()> {
        let member = &mut self.members[at];
        member.child = spawn(&member.program, &member.arguments, &member.log)?;
        self.wait_until_ready(at)
    }

    /// Stops a member's process (SIGSTOP), or lets it go on (SIGCONT).
    pub(crate) fn signal(&self, at: usize, signal: Signal) -> anyhow::Result<()> {
        let pid = Pid::from_raw(self.members[at].pid()?).context("a process has an id")?;
        Ok(kill_process(pid, signal)?)
    }

    fn wait_until_ready(&mut self, at: usize) -> anyhow::Result<()> {
        let runtime = runtime()?;
        let member = &mut self.members[at];
        let ready = LocalSet::new().block_on(&runtime, async {
            tokio::time::timeout(START, answers(&mut member.child, &member.endpoint)).await
        });
        match ready {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(error.context(self.last_words())),
            Err(_) => bail!("no answer within {START:?}: {}", self.last_words()),
        }
    }

    fn last_words(&self) -> String {
        let of_one = |member: &Member| {
            let log = fs::read_to_string(&member.log).unwrap_or_default();
            let lines: Vec<_> = log.lines().rev().take(3).collect();
            lines.into_iter().rev().collect::<Vec<_>>().join("\n")
        };
        self.members.iter().map(of_one).collect::<Vec<_>>().join("\n")
    }

    /// Asks the processes to end and waits for them; in the end they are made to.
    fn stop(&mut self) -> anyhow::Result<()> {
        for member in &self.members {
            if let Some(pid) = Pid::from_raw(member.pid()?) {
                // It may have ended by itself, which the wait below sees.
                let _ = kill_process(pid, Signal::TERM);
            }
        }
        runtime()?.block_on(async {
            let members = &mut self.members;
            let ended = tokio::time::timeout(STOP, async {
                for member in members.iter_mut() {
                    while member.child.try_wait()?.is_none() {
                        tokio::time::sleep(LOOK).await;
                    }
                }
                anyhow::Ok(())
            });
            if ended.await.is_err() {
                for member in members {
                    member.child.kill()?;
                    member.child.wait()?;
                }
            }
            Ok(())
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            let pids: Vec<_> = self.members.iter().map(|member| member.child.id()).collect();
            eprintln!("bench: some of the processes {pids:?} may still run: {error:#}");
        }
        if let Err(error) = fs::remove_dir_all(&self.directory) {
            eprintln!("bench: {} is left: {error}", self.directory.display());
        }
    }
}

impl Member {
    fn pid(&self) -> anyhow::Result<i32> {
        Ok(i32::try_from(self.child.id())?)
    }
}

fn spawn(program: &Path, arguments: &[String], log: &Path) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(log)?;
    Command::new(program)
        .args(arguments)
        // What the caller's environment says of etcd is not meant for this one.
        .env_clear()
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()
        .with_context(|| format!("start {}", program.display()))
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

/// Who a member is in its cluster.
#[derive(Debug)]
struct Place {
    name: String,
    client: String,
    peer: String,
    cluster: String,
    tls: bool,
}

fn places(members: usize, tls: bool) -> anyhow::Result<Vec<Place>> {
    let mut places = Vec::new();
    for number in 0..members {
        let name = if members == 1 { "bench".to_owned() } else { format!("bench{number}") };
        let scheme = if tls { "https" } else { "http" };
        let peer = format!("{scheme}://127.0.0.1:{}", free_port()?);
        let client = format!("{scheme}://127.0.0.1:{}", free_port()?);
        places.push(Place { name, client, peer, cluster: String::new(), tls });
    }
    let all: Vec<_> = places.iter().map(|one| format!("{}={}", one.name, one.peer)).collect();
    for place in &mut places {
        place.cluster = all.join(",");
    }
    Ok(places)
}

impl Place {
    /// Options that every etcd since 3.4 takes, with the same values for all of them.
    fn arguments(&self, data: &Path) -> Vec<String> {
        [
            ("name", self.name.clone()),
            ("data-dir", data.display().to_string()),
            ("listen-client-urls", self.client.clone()),
            ("advertise-client-urls", self.client.clone()),
            ("listen-peer-urls", self.peer.clone()),
            ("initial-advertise-peer-urls", self.peer.clone()),
            ("initial-cluster", self.cluster.clone()),
            // The defaults of 3.4 and 3.7 differ.
            ("snapshot-count", "10000".to_owned()),
            ("logger", "zap".to_owned()),
            ("log-outputs", "stderr".to_owned()),
            ("log-level", "warn".to_owned()),
            ("quota-backend-bytes", (8_u64 << 30).to_string()),
            ("auto-tls", self.tls.to_string()),
            ("peer-auto-tls", self.tls.to_string()),
        ]
        .map(|(name, value)| format!("--{name}={value}"))
        .to_vec()
    }
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
