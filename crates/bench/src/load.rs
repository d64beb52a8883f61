//! A closed loop: each slot sends a request, waits for its answer, and sends the next.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, bail};
use env::{Clock, RealClock};
use hdrhistogram::Histogram;
use tokio::sync::Notify;
use tokio::task::LocalSet;

use crate::fill::{fill, keys_of};
use crate::grpc::Connection;
use crate::options::{Plan, Until, Workload};
use crate::process::Usage;
use crate::report::{Moment, Report};
use crate::requests::Maker;
use crate::{streams, user};

/// Nanoseconds of the longest wait that is told apart from longer ones.
const LONGEST: u64 = 60_000_000_000;

/// Puts a load on a server.
pub(crate) fn run(plan: &Plan) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // One thread for all: it costs less than several that wake each other.
    LocalSet::new().block_on(&runtime, measure(plan))
}

async fn measure(plan: &Plan) -> anyhow::Result<Report> {
    let mut connections = Vec::new();
    for endpoint in plan.endpoints.iter().cycle().take(plan.connections) {
        connections.push(Connection::open(endpoint).await?);
    }
    if plan.auth {
        user::log_in(&mut connections).await.context("log in")?;
    }
    if plan.fill {
        let keys = keys_of(plan.workload);
        fill(&connections, keys, plan.value_size).await.context("put the keys")?;
    }
    let tally = Rc::new(Tally::new()?);
    match plan.workload {
        Workload::Watch => streams::watch(plan, &connections, &tally).await?,
        Workload::LeaseKeepalive => streams::keep_alive(plan, &connections, &tally).await?,
        _ => slots(plan, &connections, &tally)?,
    }
    tally.wait(plan.warm_up).await?;
    let begin = tally.moment(plan)?;
    match plan.until {
        Until::Time(time) => {
            tally.begin(u64::MAX);
            tally.wait(time).await?;
        }
        Until::Requests(total) => {
            tally.begin(total);
            tally.wait(Duration::MAX).await?;
        }
    }
    let end = tally.moment(plan)?;
    let latencies = tally.latencies.borrow();
    if latencies.is_empty() {
        bail!("nothing was answered");
    }
    Ok(Report::new(plan, &latencies, begin, end))
}

fn slots(plan: &Plan, connections: &[Connection], tally: &Rc<Tally>) -> anyhow::Result<()> {
    let lanes = connections.iter().cycle();
    for (slot, connection) in (0..plan.in_flight).zip(lanes) {
        let mut maker = Maker::new(plan.workload, slot, plan.value_size);
        let mut rpc = connection.method(maker.path())?;
        let least = maker.least_answer();
        tally.spawn(async move |tally| {
            loop {
                let request = maker.next();
                let sent = tally.now();
                let length = rpc.call(request).await?;
                if length < least {
                    bail!("an answer has {length} bytes where {least} belong; are the keys there?");
                }
                tally.count(sent);
            }
        });
    }
    Ok(())
}

/// What all slots count on.
#[derive(Debug)]
pub(crate) struct Tally {
    clock: RealClock,
    /// How many more to count; nothing is counted at zero.
    remaining: Cell<u64>,
    latencies: RefCell<Histogram<u64>>,
    failure: RefCell<Option<anyhow::Error>>,
    /// The count is full, or a slot has failed.
    over: Notify,
}

impl Tally {
    fn new() -> anyhow::Result<Tally> {
        Ok(Tally {
            clock: RealClock::new(),
            remaining: Cell::new(0),
            latencies: RefCell::new(Histogram::new_with_max(LONGEST, 3)?),
            failure: RefCell::new(None),
            over: Notify::new(),
        })
    }

    /// Runs a slot, whose end is a failure.
    pub(crate) fn spawn<F>(self: &Rc<Self>, slot: F)
    where
        F: AsyncFnOnce(Rc<Tally>) -> anyhow::Result<()> + 'static,
    {
        let tally = Rc::clone(self);
        tokio::task::spawn_local(async move {
            let ended = slot(Rc::clone(&tally)).await;
            let error = ended.err().unwrap_or_else(|| anyhow::anyhow!("the server ended a stream"));
            tally.failure.borrow_mut().get_or_insert(error);
            tally.over.notify_one();
        });
    }

    pub(crate) fn now(&self) -> Duration {
        self.clock.now()
    }

    /// Counts an answer to what was sent then.
    pub(crate) fn count(&self, sent: Duration) {
        let remaining = self.remaining.get();
        if remaining == 0 {
            return;
        }
        self.remaining.set(remaining - 1);
        let waited = self.now().saturating_sub(sent).as_nanos();
        let waited = u64::try_from(waited).unwrap_or(LONGEST);
        self.latencies.borrow_mut().saturating_record(waited);
        if remaining == 1 {
            self.over.notify_one();
        }
    }

    fn begin(&self, total: u64) {
        self.remaining.set(total);
    }

    /// Lets the slots work for a time, or until the count is full.
    async fn wait(&self, time: Duration) -> anyhow::Result<()> {
        let _ = tokio::time::timeout(time, self.over.notified()).await;
        match self.failure.borrow_mut().take() {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn moment(&self, plan: &Plan) -> anyhow::Result<Moment> {
        let own = i32::try_from(std::process::id())?;
        let server = Usage::of_all(&plan.pids)?;
        Ok(Moment { now: self.now(), server, generator: Usage::of_one(own)? })
    }
}
