//! What a member that is away costs the others: memory, and files of the log.

use std::cell::{Cell, RefCell};
use std::fs;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use env::{Clock, RealClock};
use proto::etcdserverpb::{
    CompactionRequest, CompactionResponse, HashKvRequest, HashKvResponse, RangeRequest,
    RangeResponse,
};
use tokio::task::LocalSet;

use crate::compare::named;
use crate::fill::fill;
use crate::grpc::Connection;
use crate::options::{Bounded, Workload};
use crate::process::Usage;
use crate::requests::{COMPACT, HASH_KV, KEYS, Maker, RANGE};
use crate::server::Server;

const CONNECTIONS: usize = 10;
const IN_FLIGHT: usize = 100;
/// Revisions that a compaction leaves.
const HISTORY: i64 = 10_000;
const COMPACT_EVERY: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(100);
/// For coming back.
const PATIENCE: Duration = Duration::from_secs(300);

/// Takes a follower away, writes, and lets it come back; prints how it goes.
pub(crate) fn bounded(options: &Bounded, print: &dyn Fn(&str)) -> anyhow::Result<()> {
    let mut named = named(&options.servers)?;
    let (name, program) = named.pop().context("name a server with --pintle or --etcd")?;
    let mut server = Server::start(&program, &options.dir, 0, options.members, false)?;
    let leader = server.leader()?;
    let mut members: Vec<_> = (0..options.members).collect();
    members.swap(0, leader);
    let away = members.pop().context("there are members")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let clock = RealClock::new();
    print(&format!(
        "{name}: {} members, one of them killed and away; {IN_FLIGHT} puts at a time of {} bytes \
         to {KEYS} keys, compacted every {} s.\n\n{HEAD}",
        options.members,
        options.value_size,
        COMPACT_EVERY.as_secs(),
    ));
    LocalSet::new().block_on(&runtime, prepare(&server, &members, options))?;
    server.kill(away)?;
    let view = View { server: &server, members: &members, clock: &clock, print };
    let written = LocalSet::new().block_on(&runtime, write(&view, options))?;
    let back = clock.now();
    server.restart(away)?;
    let all = [&members[..], &[away]].concat();
    let view = View { server: &server, members: &all, clock: &clock, print };
    let hash = LocalSet::new().block_on(&runtime, same_hash(&view))?;
    let took = clock.now().saturating_sub(back).as_secs_f64();
    let sizes = all.iter().map(|at| view.sizes(*at)).collect::<anyhow::Result<Vec<_>>>()?;
    print(&format!(
        "\n{written} puts were acknowledged. The one that was away had all {took:.1} s after its \
         start; the hash of revision {} is {:08x} on all {}.\n\nAt the end, the one that was away \
         last:\n\n| member | RSS MB | peak RSS MB | log MB | db MB |\n|---|--:|--:|--:|--:|\n",
        hash.hash_revision,
        hash.hash,
        all.len(),
    ));
    for (number, sizes) in sizes.iter().enumerate() {
        let Sizes { resident, peak, log, db } = sizes.megabytes();
        print(&format!("| {} | {resident} | {peak} | {log} | {db} |\n", number + 1));
    }
    Ok(())
}

const HEAD: &str = "\
| s | million puts | leader RSS MB | log MB | db MB | follower RSS MB | log MB | db MB |
|--:|--:|--:|--:|--:|--:|--:|--:|
";

/// What is looked at.
struct View<'a> {
    server: &'a Server,
    /// The leader first.
    members: &'a [usize],
    clock: &'a RealClock,
    print: &'a dyn Fn(&str),
}

/// What a member takes, in bytes.
struct Sizes {
    resident: u64,
    peak: u64,
    log: u64,
    db: u64,
}

impl Sizes {
    fn megabytes(&self) -> Sizes {
        let megabytes = |bytes: u64| bytes.div_ceil(1 << 20);
        Sizes {
            resident: megabytes(self.resident),
            peak: megabytes(self.peak),
            log: megabytes(self.log),
            db: megabytes(self.db),
        }
    }
}

impl View<'_> {
    fn sizes(&self, at: usize) -> anyhow::Result<Sizes> {
        let pids = self.server.pids()?;
        let usage = Usage::of(*pids.get(at).context("it is a member")?)?;
        let data = self.server.data(at);
        let log = folder_bytes(&data.join("member/wal"))?;
        let db = folder_bytes(&data.join("member/snap"))?;
        Ok(Sizes { resident: usage.resident_bytes, peak: usage.peak_bytes, log, db })
    }

    fn row(&self, begun: Duration, puts: u64) -> anyhow::Result<()> {
        let seconds = self.clock.now().saturating_sub(begun).as_secs();
        let mut row = format!("| {seconds} | {:.2} ", puts as f64 / 1e6);
        for at in self.members.iter().take(2) {
            let Sizes { resident, log, db, .. } = self.sizes(*at)?.megabytes();
            row.push_str(&format!("| {resident} | {log} | {db} "));
        }
        (self.print)(&format!("{row}|\n"));
        Ok(())
    }

    async fn connections(&self, count: usize) -> anyhow::Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for at in self.members.iter().cycle().take(count) {
            connections.push(Connection::open(self.server.endpoint(*at)).await?);
        }
        Ok(connections)
    }
}

/// Files may go while they are counted.
fn folder_bytes(folder: &Path) -> anyhow::Result<u64> {
    let files = fs::read_dir(folder).with_context(|| format!("list {}", folder.display()))?;
    let sizes = files.flatten().filter_map(|file| Some(file.metadata().ok()?.len()));
    Ok(sizes.sum())
}

async fn prepare(server: &Server, members: &[usize], options: &Bounded) -> anyhow::Result<()> {
    let leader = members.first().context("there are members")?;
    let connection = Connection::open(server.endpoint(*leader)).await?;
    fill(&[connection], KEYS, options.value_size).await
}

/// Writes for as long as it was asked; how many puts were acknowledged.
async fn write(view: &View<'_>, options: &Bounded) -> anyhow::Result<u64> {
    let connections = view.connections(CONNECTIONS).await?;
    let acknowledged = Rc::new(Cell::new(0));
    let failure = Rc::new(RefCell::new(None));
    let slots: Vec<_> = (0..IN_FLIGHT)
        .zip(connections.iter().cycle())
        .map(|(slot, connection)| {
            let mut put = connection.method(crate::requests::PUT)?;
            let mut maker = Maker::new(Workload::Put, slot, options.value_size);
            let (acknowledged, failure) = (Rc::clone(&acknowledged), Rc::clone(&failure));
            let writing = tokio::task::spawn_local(async move {
                loop {
                    match put.call(maker.next()).await {
                        Ok(_) => acknowledged.set(acknowledged.get() + 1),
                        Err(error) => {
                            failure.borrow_mut().get_or_insert(error);
                            return;
                        }
                    }
                }
            });
            Ok(writing.abort_handle())
        })
        .collect::<anyhow::Result<_>>()?;
    let first = connections.first().context("there is a connection")?;
    let begun = view.clock.now();
    let (mut look_at, mut compact_at) = (begun, begun + COMPACT_EVERY);
    while view.clock.now() < begun + options.time {
        if let Some(error) = failure.borrow_mut().take() {
            return Err(error);
        }
        if view.clock.now() >= look_at {
            view.row(begun, acknowledged.get())?;
            look_at += options.every;
        }
        if view.clock.now() >= compact_at {
            compact(first).await?;
            compact_at = view.clock.now() + COMPACT_EVERY;
        }
        tokio::time::sleep(LOOK).await;
    }
    slots.iter().for_each(tokio::task::AbortHandle::abort);
    view.row(begun, acknowledged.get())?;
    Ok(acknowledged.get())
}

async fn revision(connection: &Connection) -> anyhow::Result<i64> {
    let request = RangeRequest { key: "none".into(), ..RangeRequest::default() };
    let answer: RangeResponse = connection.method(RANGE)?.ask(&request).await?;
    Ok(answer.header.context("an answer has a header")?.revision)
}

async fn compact(connection: &Connection) -> anyhow::Result<()> {
    let revision = revision(connection).await? - HISTORY;
    if revision > 0 {
        let request = CompactionRequest { revision, physical: false };
        connection.method(COMPACT)?.ask::<CompactionResponse>(&request).await?;
    }
    Ok(())
}

/// Waits until all members have what the first one has, and compares what it comes to.
async fn same_hash(view: &View<'_>) -> anyhow::Result<HashKvResponse> {
    let connections = view.connections(view.members.len()).await?;
    let first = connections.first().context("there is a connection")?;
    let request = HashKvRequest { revision: revision(first).await? };
    let deadline = view.clock.now() + PATIENCE;
    let mut hashes: Vec<HashKvResponse> = Vec::new();
    for connection in &connections {
        let hash = loop {
            // Who is behind says that it is of the future.
            match connection.method(HASH_KV)?.ask::<HashKvResponse>(&request).await {
                Ok(hash) => break hash,
                Err(error) if view.clock.now() > deadline => return Err(error),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        };
        hashes.push(HashKvResponse { header: None, ..hash });
    }
    let Some(own) = hashes.first().cloned() else { bail!("there are no members") };
    ensure!(hashes.iter().all(|hash| *hash == own), "hashes differ: {hashes:?}");
    Ok(own)
}
