//! Several members that are one cluster, pintle's and etcd's in any mixture.

mod change;
mod look;

use std::cell::OnceCell;
use std::net::SocketAddr;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, bail};
use state::member_id;
use tokio::runtime::Runtime;

use crate::grpc::{Grpc, Status};
use crate::hosts::{HERE, Hosts};
use crate::links::Links;
use crate::member::{Member, peer_scheme};
use crate::names::{Names, Zone};
use crate::programs::Server;
use crate::rpc::Rpc;
use crate::scratch::Scratch;

/// How long what members agree on among themselves may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a reply may take: longer than a server gives itself.
const LIMIT: Duration = Duration::from_secs(15);

/// What cannot go wrong with hosts.
const HOSTS_DO: &str = "what was done to a host before can be done again";

/// Ids follow from it.
const TOKEN: &str = "e2e";

/// Members of one cluster, which are named by their places from 0. Those of its beginning are in
/// the order of their ids, so that lists of two clusters can be compared; who joins later comes
/// behind them.
#[derive(Debug)]
pub struct Cluster {
    seats: Vec<Seat>,
    network: Network,
    flags: Vec<String>,
    runtime: Runtime,
    // Behind the members, which live in it.
    scratch: Scratch,
}

/// What lies between members.
#[derive(Debug)]
enum Network {
    Links(Links),
    Hosts(Hosts),
}

/// A member and what the cluster knows of it.
#[derive(Debug)]
struct Seat {
    member: Member,
    peer_url: String,
    paused: bool,
}

impl Cluster {
    /// Starts one member of each of these servers, and waits until all serve.
    pub fn start(name: &str, servers: &[&Server], flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(Network::Links(Links::new()), name, servers, flags)
    }

    /// As [`Cluster::start`], each on a host of its own; for what [`on_hosts`](crate::on_hosts)
    /// runs. They are not in the order of their ids.
    pub fn start_on_hosts(name: &str, servers: &[&Server], flags: &[&str]) -> anyhow::Result<Self> {
        Self::start_in(Network::Hosts(Hosts::new()?), name, servers, flags)
    }

    fn start_in(
        network: Network,
        name: &str,
        servers: &[&Server],
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let everybody: Vec<_> = (0..servers.len()).collect();
        let identity = |cluster: &Self, at| cluster.identity(at, &everybody, "new");
        Self::start_with(network, name, servers, servers.len(), flags, identity)
    }

    /// As [`Cluster::start`], with a last member that begins when the others serve.
    pub fn start_last_late(
        name: &str,
        servers: &[&Server],
        flags: &[&str],
    ) -> anyhow::Result<Self> {
        let everybody: Vec<_> = (0..servers.len()).collect();
        let identity = |cluster: &Self, at| cluster.identity(at, &everybody, "new");
        let network = Network::Links(Links::new());
        Self::start_with(network, name, servers, servers.len() - 1, flags, identity)
    }

    /// As [`Cluster::start`], with members that find each other at a discovery service, which
    /// must have been told how many they are. They speak TLS with it if flags say whom to believe.
    pub fn gather(
        name: &str,
        servers: &[&Server],
        flags: &[&str],
        service: SocketAddr,
        token: &str,
    ) -> anyhow::Result<Self> {
        let secure = flags.iter().any(|flag| flag.starts_with("--discovery-cacert="));
        let scheme = if secure { "https" } else { "http" };
        let identity = |cluster: &Self, at: usize| {
            vec![
                format!("--name={}", name_of(at)),
                format!("--initial-advertise-peer-urls={}", cluster.seats[at].peer_url),
                format!("--discovery-token={token}"),
                format!("--discovery-endpoints={scheme}://{service}"),
            ]
        };
        let network = Network::Links(Links::new());
        Self::start_with(network, name, servers, servers.len(), flags, identity)
    }

    /// As [`Cluster::start_on_hosts`], with members that find each other in the DNS: in records of
    /// a domain, at a name server that is here and that all of them ask. It lets one of them come
    /// by TCP.
    pub fn start_by_names(
        name: &str,
        servers: &[&Server],
        flags: &[&str],
        domain: &str,
        by_tcp: usize,
    ) -> anyhow::Result<(Self, Names)> {
        let names = OnceCell::new();
        let identity = |cluster: &Self, at: usize| {
            names.get_or_init(|| cluster.serve_names(domain, by_tcp));
            let port = cluster.seats[at].member.peer_address().port();
            vec![
                format!("--name={}", name_of(at)),
                format!("--initial-advertise-peer-urls=http://{}.{domain}:{port}", name_of(at)),
                format!("--discovery-srv={domain}"),
                format!("--initial-cluster-token={TOKEN}"),
            ]
        };
        let network = Network::Hosts(Hosts::new()?);
        let started = Self::start_with(network, name, servers, servers.len(), flags, identity);
        let names = names.into_inner().context("the first member needs them")??;
        Ok((started?, names))
    }

    fn serve_names(&self, domain: &str, by_tcp: usize) -> anyhow::Result<Names> {
        let hosts = self.hosts().context("others cannot be told whom to ask")?;
        hosts.ask_here_for_names(&self.scratch.join("resolv.conf"))?;
        let mut members = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let SocketAddr::V4(address) = seat.member.peer_address() else {
                bail!("hosts have no such addresses");
            };
            members.push((name_of(at), *address.ip(), address.port()));
        }
        let by_tcp = members.get(by_tcp).context("it is a member")?.1;
        let zone = Zone { domain: domain.to_owned(), members, by_tcp };
        Names::start(&self.runtime, HERE, zone)
    }

    /// Those behind the first `together` members begin when these serve.
    fn start_with(
        network: Network,
        name: &str,
        servers: &[&Server],
        together: usize,
        flags: &[&str],
        identity: impl Fn(&Self, usize) -> Vec<String>,
    ) -> anyhow::Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let mut cluster = Self {
            seats: Vec::new(),
            network,
            flags: flags.iter().map(|&flag| flag.to_owned()).collect(),
            runtime: builder.worker_threads(1).enable_all().build()?,
            scratch: Scratch::new(name),
        };
        let mut fronts: Vec<_> = servers.iter().map(|_| loopback(crate::ports::free())).collect();
        let scheme = peer_scheme(flags);
        fronts.sort_by_key(|front| member_id(&[peer_url(scheme, *front)], TOKEN, None));
        for (server, front) in servers.iter().zip(fronts) {
            cluster.seat(server, front)?;
        }
        for begin in [0..together, together..servers.len()] {
            for at in begin.clone() {
                let identity = identity(&cluster, at);
                cluster.seats[at].member.identify(identity);
                cluster.spawn(at, servers[at])?;
            }
            for at in begin {
                cluster.seats[at].member.wait_until_it_serves()?;
            }
        }
        Ok(cluster)
    }

    /// A place for one more, who does not run yet; `front` is for a link.
    fn seat(&mut self, server: &Server, front: SocketAddr) -> anyhow::Result<usize> {
        let at = self.seats.len();
        let folder = self.scratch.join(&name_of(at));
        let flags: Vec<&str> = self.flags.iter().map(String::as_str).collect();
        let mut member = Member::new(server, &folder, Vec::new(), &flags);
        let reached_at = match &mut self.network {
            Network::Links(links) => {
                links.add(self.runtime.handle(), front, member.peer_address())?;
                front
            }
            Network::Hosts(hosts) => {
                member.live_on(hosts.add()?);
                member.peer_address()
            }
        };
        self.seats.push(Seat {
            member,
            peer_url: peer_url(peer_scheme(&self.flags), reached_at),
            paused: false,
        });
        Ok(at)
    }

    /// How a member is told who it is and whom it finds.
    fn identity(&self, at: usize, everybody: &[usize], state: &str) -> Vec<String> {
        let others = everybody.iter().map(|at| (name_of(*at), &self.seats[*at].peer_url));
        let others: Vec<_> = others.map(|(name, url)| format!("{name}={url}")).collect();
        vec![
            format!("--name={}", name_of(at)),
            format!("--initial-advertise-peer-urls={}", self.seats[at].peer_url),
            format!("--initial-cluster={}", others.join(",")),
            format!("--initial-cluster-token={TOKEN}"),
            format!("--initial-cluster-state={state}"),
        ]
    }

    fn spawn(&mut self, at: usize, server: &Server) -> anyhow::Result<()> {
        let seat = &mut self.seats[at];
        seat.paused = false;
        seat.member.spawn(server)?;
        if let Network::Links(links) = &self.network {
            links.is_process(at, seat.member.pid());
        }
        Ok(())
    }

    /// How many members there are or have been.
    pub fn size(&self) -> usize {
        self.seats.len()
    }

    /// One of them.
    pub fn member(&self, at: usize) -> &Member {
        &self.seats[at].member
    }

    /// Where others find it.
    pub fn peer_url(&self, at: usize) -> &str {
        &self.seats[at].peer_url
    }

    /// Those whose processes are there and are not paused.
    pub fn running(&self) -> Vec<usize> {
        let runs = |at: &usize| {
            let seat = &self.seats[*at];
            seat.member.pid().is_some() && !seat.paused
        };
        (0..self.seats.len()).filter(runs).collect()
    }

    /// Gives a member one more flag, from its next start on.
    pub fn add_flag(&mut self, at: usize, flag: &str) {
        self.seats[at].member.add_flag(flag);
    }

    /// A folder for what else a test needs.
    pub fn scratch(&self) -> &Scratch {
        &self.scratch
    }

    /// Ends a member at once, as a crash would (SIGKILL).
    pub fn kill(&mut self, at: usize) -> anyhow::Result<()> {
        self.seats[at].member.kill()
    }

    /// Asks a member to stop (SIGTERM) and waits until it has.
    pub fn stop(&mut self, at: usize) -> anyhow::Result<ExitStatus> {
        self.seats[at].member.stop()
    }

    /// Removes what a member has on its disk. It must have ended.
    pub fn wipe(&self, at: usize) -> anyhow::Result<()> {
        self.seats[at].member.wipe()
    }

    /// Starts a member that has ended, on what it has, and waits until it serves.
    pub fn restart(&mut self, at: usize) -> anyhow::Result<()> {
        let server = self.seats[at].member.server().clone();
        self.restart_as(at, &server)
    }

    /// As [`Cluster::restart`], with another program.
    pub fn restart_as(&mut self, at: usize, server: &Server) -> anyhow::Result<()> {
        self.spawn(at, server)?;
        self.seats[at].member.wait_until_it_serves()
    }

    /// Starts a member that has ended, and waits for nothing.
    pub fn begin_restart(&mut self, at: usize) -> anyhow::Result<()> {
        let server = self.seats[at].member.server().clone();
        self.spawn(at, &server)
    }

    /// Whether a member that was started has ended by itself.
    pub fn has_ended(&mut self, at: usize) -> bool {
        self.seats[at].member.ended().is_some()
    }

    /// Waits until a member has ended by itself.
    pub fn wait_until_it_ends(&mut self, at: usize) -> anyhow::Result<ExitStatus> {
        let member = &mut self.seats[at].member;
        let ended = crate::wait::until(PATIENCE, || member.ended());
        let ended = ended.with_context(|| format!("m{at} does not end\n{}", member.log_tail()))?;
        member.kill()?;
        Ok(ended)
    }

    /// Waits until a member serves that was started.
    pub fn wait_until_it_serves(&mut self, at: usize) -> anyhow::Result<()> {
        self.seats[at].member.wait_until_it_serves()
    }

    /// Lets a member hang (SIGSTOP).
    pub fn pause(&mut self, at: usize) -> anyhow::Result<()> {
        self.seats[at].paused = true;
        self.seats[at].member.pause()
    }

    /// Lets a paused member go on.
    pub fn resume(&mut self, at: usize) -> anyhow::Result<()> {
        self.seats[at].paused = false;
        self.seats[at].member.resume()
    }

    /// Nothing goes between a member and the others any more, and nobody is told.
    pub fn cut_off(&self, at: usize) {
        for other in (0..self.seats.len()).filter(|other| *other != at) {
            self.cut(at, other);
            self.cut(other, at);
        }
    }

    /// What one member sends to another one does not arrive any more.
    pub fn cut(&self, from: usize, to: usize) {
        match &self.network {
            Network::Links(links) => links.cut(from, to),
            Network::Hosts(hosts) => hosts.cut(from, to).expect(HOSTS_DO),
        }
    }

    /// All links are well again; what was held back arrives.
    pub fn heal(&self) {
        match &self.network {
            Network::Links(links) => links.heal(),
            Network::Hosts(hosts) => hosts.heal().expect(HOSTS_DO),
        }
    }

    /// What one member sends to another one takes so much longer; only where they are not on hosts
    /// of their own.
    pub fn delay(&self, from: usize, to: usize, time: Duration) {
        match &self.network {
            Network::Links(links) => links.delay(from, to, time),
            Network::Hosts(_) => panic!("hosts have Hosts::hold_up"),
        }
    }

    /// The hosts, if there are any: what can be done only to them.
    pub fn hosts(&self) -> Option<&Hosts> {
        match &self.network {
            Network::Links(_) => None,
            Network::Hosts(hosts) => Some(hosts),
        }
    }

    /// Moves what a member has to a disk in memory, of this size. It must have ended, and must be
    /// on a host.
    pub fn move_to_disk(&mut self, at: usize, megabytes: usize) -> anyhow::Result<()> {
        let Network::Hosts(hosts) = &mut self.network else { bail!("no member is on a host") };
        let data = self.seats[at].member.data();
        let before = data.with_extension("before");
        std::fs::rename(&data, &before).context("moving a data directory away")?;
        hosts.mount(&data, megabytes, &before)
    }

    /// Asks a member over a connection of its own.
    pub fn call<R: Rpc>(&self, at: usize, request: &R) -> Result<R::Reply, Status> {
        self.call_within(LIMIT, at, request)
    }

    /// As [`Cluster::call`], by whom this token was given to.
    pub fn call_as<R: Rpc>(&self, token: &str, at: usize, request: &R) -> Result<R::Reply, Status> {
        let address = self.seats[at].member.address();
        let reply = async {
            let lost = |error| Status { code: 14, message: format!("(no reply) {error:#}") };
            Grpc::connect(address).await.map_err(lost)?.with_token(token).call(request).await
        };
        self.runtime.block_on(async { tokio::time::timeout(LIMIT, reply).await }).unwrap_or_else(
            |_| Err(Status { code: 4, message: format!("(no reply) within {LIMIT:?}") }),
        )
    }

    fn call_within<R: Rpc>(
        &self,
        limit: Duration,
        at: usize,
        request: &R,
    ) -> Result<R::Reply, Status> {
        let address = self.seats[at].member.address();
        let reply = async {
            let lost = |error| Status { code: 14, message: format!("(no reply) {error:#}") };
            Grpc::connect(address).await.map_err(lost)?.call(request).await
        };
        self.runtime.block_on(async { tokio::time::timeout(limit, reply).await }).unwrap_or_else(
            |_| Err(Status { code: 4, message: format!("(no reply) within {limit:?}") }),
        )
    }

    /// For what is more than one reply, and for what goes on beside the test.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    fn context<'a>(&'a self, at: usize, what: &'a str) -> impl FnOnce() -> String + 'a {
        move || format!("{what} {}\n{}", name_of(at), self.seats[at].member.log_tail())
    }
}

/// What a member calls itself.
pub(crate) fn name_of(at: usize) -> String {
    format!("m{at}")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

fn peer_url(scheme: &str, address: SocketAddr) -> String {
    format!("{scheme}://{address}")
}
