//! One server process on a data directory.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::hosts::Host;
use crate::programs::Server;
use crate::{ports, wait};

/// How long a member may take to serve, and to stop.
const PATIENCE: Duration = Duration::from_secs(30);

/// All members call themselves by these, whatever they listen on: ids follow from them, so what
/// two servers answer can be compared with its ids.
const NAME: &str = "default";
const PEER_URL: &str = "http://127.0.0.1:2380";

/// A member, of a cluster of one if nothing else is said. It is killed when it is dropped.
#[derive(Debug)]
pub struct Member {
    folder: PathBuf,
    /// Where it is, if not on this one.
    host: Option<Host>,
    client_port: u16,
    peer_port: u16,
    /// Who it is, and in which cluster.
    identity: Vec<String>,
    flags: Vec<String>,
    server: Server,
    child: Option<Child>,
    starts: u32,
}

impl Member {
    /// Starts a server on `folder/data` and waits until it serves; the log goes to `folder` too.
    pub fn start(server: &Server, folder: &Path, flags: &[&str]) -> anyhow::Result<Self> {
        let mut member = Self::new(server, folder, member_flags().to_vec(), flags);
        member.restart(server)?;
        Ok(member)
    }

    /// One that does not run yet.
    pub(crate) fn new(
        server: &Server,
        folder: &Path,
        identity: Vec<String>,
        flags: &[&str],
    ) -> Self {
        Self {
            folder: folder.to_owned(),
            host: None,
            client_port: ports::free(),
            peer_port: ports::free(),
            identity,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            server: server.clone(),
            child: None,
            starts: 0,
        }
    }

    /// Starts it once more on the same directory and ports, perhaps with another binary.
    pub fn restart(&mut self, server: &Server) -> anyhow::Result<()> {
        self.spawn(server)?;
        self.wait_until_it_serves()
    }

    /// As [`Member::restart`], but waits for nothing.
    pub(crate) fn spawn(&mut self, server: &Server) -> anyhow::Result<()> {
        self.kill()?;
        self.server = server.clone();
        self.starts += 1;
        std::fs::create_dir_all(&self.folder).context("making the folder of a member")?;
        let log = File::create(self.log_path()).context("creating the log of a member")?;
        let child = self.command(log).spawn();
        self.child = Some(child.with_context(|| format!("starting {}", server.path.display()))?);
        Ok(())
    }

    /// Who it is from its next start on.
    pub(crate) fn identify(&mut self, identity: Vec<String>) {
        self.identity = identity;
    }

    /// Where it is from its next start on.
    pub(crate) fn live_on(&mut self, host: Host) {
        self.host = Some(host);
    }

    /// One more flag from its next start on; of two for one thing the last one counts.
    pub(crate) fn add_flag(&mut self, flag: &str) {
        self.flags.push(flag.to_owned());
    }

    /// Asks it to stop and waits until it has.
    pub fn stop(&mut self) -> anyhow::Result<ExitStatus> {
        self.signal(Signal::TERM)?;
        let mut child = self.child.take().context("it was there to get a signal")?;
        let ended = wait::until(PATIENCE, || child.try_wait().transpose());
        match ended {
            Some(status) => Ok(status?),
            None => {
                self.child = Some(child);
                bail!("{} did not stop within {PATIENCE:?}\n{}", self.server.name, self.log_tail())
            }
        }
    }

    /// Ends it at once, as a crash would (SIGKILL). Does nothing if it does not run.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill().context("killing a member")?;
            child.wait().context("waiting for a killed member")?;
        }
        Ok(())
    }

    /// Lets it do nothing until it is told to go on, as if its machine hung (SIGSTOP).
    pub fn pause(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused one go on.
    pub fn resume(&self) -> anyhow::Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> anyhow::Result<()> {
        let child = self.child.as_ref().context("a signal to a member that does not run")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.context("a process has an id")?, signal).context("sending a signal")
    }

    /// Removes its data directory, as if its disk were lost. It must not run.
    pub fn wipe(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.child.is_none(), "a member that runs cannot lose its disk");
        std::fs::remove_dir_all(self.data()).context("removing a data directory")
    }

    /// Whether the process is there.
    pub fn is_alive(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// How it has ended, if it has by itself.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.as_mut().and_then(|child| child.try_wait().ok().flatten())
    }

    /// Where clients go.
    pub fn address(&self) -> SocketAddr {
        SocketAddr::from((self.ip(), self.client_port))
    }

    fn ip(&self) -> Ipv4Addr {
        self.host.as_ref().map_or(Ipv4Addr::LOCALHOST, |host| host.address)
    }

    /// Its address as clients write it.
    pub fn endpoint(&self) -> String {
        self.address().to_string()
    }

    /// Where other members would go.
    pub fn peer_address(&self) -> SocketAddr {
        SocketAddr::from((self.ip(), self.peer_port))
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// What the program is called that runs, or ran last.
    pub fn name(&self) -> &'static str {
        self.server.name
    }

    /// The program that runs, or ran last.
    pub fn server(&self) -> &Server {
        &self.server
    }

    /// The process, for looking at it from outside.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// All that it has logged since its last start.
    pub fn log(&self) -> String {
        let bytes = std::fs::read(self.log_path()).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What a failure should show of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(30)..];
        format!("the log of {} ends with:\n{}", self.server.name, tail.join("\n"))
    }

    /// Waits until the version of the files is that of the cluster, which etcd sees to only every
    /// four seconds.
    pub fn wait_for_storage_version(&self) -> anyhow::Result<()> {
        let settled = wait::until(PATIENCE, || {
            let (_, body) = self.get("/version").ok()?;
            let cluster = minor(&body, "etcdcluster")?;
            (minor(&body, "storage")? == cluster).then_some(())
        });
        settled.with_context(|| format!("no storage version\n{}", self.log_tail()))
    }

    /// GET by HTTP/1.1: status code and body.
    pub fn get(&self, path: &str) -> anyhow::Result<(u16, String)> {
        get(self.address(), path)
    }

    fn command(&self, log: File) -> Command {
        let client_url = format!("http://{}", self.address());
        let path = &self.server.path;
        let mut command = match &self.host {
            Some(host) => host.enter(path),
            None => Command::new(path),
        };
        command.env_clear().envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
        command.arg("--data-dir").arg(self.data());
        command.args(&self.identity);
        let scheme = peer_scheme(&self.flags);
        command.arg("--listen-peer-urls").arg(format!("{scheme}://{}", self.peer_address()));
        // Who speaks TLS speaks it beside what the suites speak.
        let listen = match is_secure(&self.flags) {
            true => format!("https://{},{client_url}", self.address()),
            false => client_url.clone(),
        };
        command.args(["--listen-client-urls", &listen, "--advertise-client-urls", &client_url]);
        command.args(&self.flags);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        command
    }

    /// It serves once it says that it is healthy and has settled the version of its cluster, after
    /// which it proposes nothing on its own.
    pub(crate) fn wait_until_it_serves(&mut self) -> anyhow::Result<()> {
        let served = wait::until(PATIENCE, || {
            if !self.is_alive() {
                return Some(false);
            }
            // With an alarm it serves too, what it may.
            let health = self.get("/health");
            let healthy = health.is_ok_and(|(code, body)| code == 200 || body.contains("ALARM"));
            (healthy && self.has_settled()).then_some(true)
        });
        match served {
            Some(true) => Ok(()),
            Some(false) => bail!("{} ended at its start\n{}", self.server.name, self.log_tail()),
            None => bail!("{} does not serve\n{}", self.server.name, self.log_tail()),
        }
    }

    fn has_settled(&self) -> bool {
        self.get("/version").is_ok_and(|(_, body)| minor(&body, "etcdcluster").is_some())
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(format!("{}-{}.log", self.server.name, self.starts))
    }
}

/// Whether these flags give a member a certificate for clients.
fn is_secure<T: AsRef<str>>(flags: &[T]) -> bool {
    flags
        .iter()
        .any(|flag| flag.as_ref().starts_with("--cert-file=") || flag.as_ref() == "--auto-tls")
}

/// How members with these flags speak to each other.
pub(crate) fn peer_scheme<T: AsRef<str>>(flags: &[T]) -> &'static str {
    let secure = flags.iter().any(|flag| {
        flag.as_ref().starts_with("--peer-cert-file=") || flag.as_ref() == "--peer-auto-tls"
    });
    if secure { "https" } else { "http" }
}

/// GET by HTTP/1.1: status code and body.
pub(crate) fn get(address: SocketAddr, path: &str) -> anyhow::Result<(u16, String)> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").context("an HTTP reply without an end")?;
    let code = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    let chunked = head.to_ascii_lowercase().contains("transfer-encoding: chunked");
    let body = if chunked { joined(body)? } else { body.to_owned() };
    Ok((code.context("an HTTP reply without a status")?, body))
}

/// A body that came in chunks, each behind its length in hexadecimal.
fn joined(mut chunks: &str) -> anyhow::Result<String> {
    let mut body = String::new();
    loop {
        let (len, rest) = chunks.split_once("\r\n").context("a chunk without a length")?;
        let len = usize::from_str_radix(len, 16).context("reading the length of a chunk")?;
        if len == 0 {
            return Ok(body);
        }
        body.push_str(rest.get(..len).context("a chunk that is cut short")?);
        chunks = rest.get(len..).and_then(|it| it.strip_prefix("\r\n")).unwrap_or_default();
    }
}

/// How a member, or a tool that makes its data directory, is told who it is.
pub fn member_flags() -> [String; 3] {
    [
        format!("--name={NAME}"),
        format!("--initial-advertise-peer-urls={PEER_URL}"),
        format!("--initial-cluster={NAME}={PEER_URL}"),
    ]
}

/// The minor version in a field of the reply to `/version`.
fn minor<'a>(versions: &'a str, field: &str) -> Option<&'a str> {
    let (_, after) = versions.split_once(&format!("\"{field}\":\"3."))?;
    after.split_once('.').map(|(minor, _)| minor)
}

impl Drop for Member {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log_tail());
        }
        // A process that cannot be killed is already gone.
        let _ = self.kill();
    }
}
