//! One other member: where it is, whether it is heard, and the ways to it.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use proto::raftpb::{Message, MessageType};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::codec::Kind;
use crate::dial::{Dialer, Pool};
use crate::metrics;
use crate::outbound::{Outbound, Sent};
use crate::pipeline::Pipeline;

/// Another member.
pub(crate) struct Link {
    pub(crate) id: u64,
    /// As logs and metrics name it.
    pub(crate) name: String,
    /// As they name this member.
    pub(crate) me: String,
    urls: Mutex<Vec<String>>,
    /// Which of the URLs is tried first.
    picked: AtomicUsize,
    pub(crate) msgapp: Arc<Outbound>,
    pub(crate) message: Arc<Outbound>,
    pub(crate) pipeline: Pipeline,
    pub(crate) pool: Pool,
    heard: Mutex<Heard>,
    tasks: Mutex<Vec<AbortHandle>>,
}

/// Which streams of it are read, and since when there is one.
#[derive(Debug, Default)]
struct Heard {
    streams: usize,
    since: Option<Instant>,
}

impl Link {
    pub(crate) fn new(
        me: u64,
        id: u64,
        urls: Vec<String>,
        pipeline: Pipeline,
        dialer: &Dialer,
    ) -> Self {
        let name = format!("{id:x}");
        let sent = metrics::SENT_BYTES.with_label_values(&[name.as_str()]);
        Self {
            id,
            me: format!("{me:x}"),
            urls: Mutex::new(urls),
            picked: AtomicUsize::new(0),
            msgapp: Arc::new(Outbound::new(Kind::MsgApp, sent.clone())),
            message: Arc::new(Outbound::new(Kind::Message, sent)),
            pipeline,
            pool: Pool::new(dialer),
            heard: Mutex::default(),
            tasks: Mutex::default(),
            name,
        }
    }

    /// Where to try next.
    pub(crate) fn url(&self) -> String {
        let urls = self.urls.lock().expect("no holder of this lock panics");
        let at = self.picked.load(Ordering::Relaxed) % urls.len().max(1);
        urls.get(at).cloned().unwrap_or_default()
    }

    /// This URL has not answered; the next one is tried first.
    pub(crate) fn url_failed(&self, url: &str) {
        if self.url() == url {
            self.picked.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn set_urls(&self, urls: Vec<String>) {
        *self.urls.lock().expect("no holder of this lock panics") = urls;
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        self.urls.lock().expect("no holder of this lock panics").clone()
    }

    pub(crate) fn outbound(&self, kind: Kind) -> &Arc<Outbound> {
        match kind {
            Kind::MsgApp => &self.msgapp,
            Kind::Message => &self.message,
        }
    }

    /// Queues a message on the best way that there is; false where it is lost.
    pub(crate) fn send(&self, message: Box<Message>) -> bool {
        let is_append = message.r#type == Some(MessageType::MsgApp as i32);
        let mut sent = Sent::Unattached(message);
        for (outbound, takes_it) in [(&self.msgapp, is_append), (&self.message, true)] {
            sent = match sent {
                Sent::Unattached(message) if takes_it => outbound.push(message),
                sent => sent,
            };
        }
        let queued = match sent {
            Sent::Queued => true,
            Sent::Dropped => false,
            Sent::Unattached(message) => self.pipeline.push(*message),
        };
        if !queued {
            metrics::SENT_FAILURES.with_label_values(&[self.name.as_str()]).inc();
        }
        queued
    }

    pub(crate) fn wake(&self) {
        self.msgapp.wake();
        self.message.wake();
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no holder of this lock panics")
    }

    /// A stream of it is read from now on.
    pub(crate) fn stream_begins(&self) {
        let mut heard = self.heard();
        heard.streams += 1;
        if heard.since.is_none() {
            heard.since = Some(Instant::now());
            drop(heard);
            metrics::ACTIVE.with_label_values(&[self.me.as_str(), self.name.as_str()]).set(1);
            tracing::info!("peer-id" = self.name, "peer became active");
        }
    }

    /// One ends. Whether it was the last one.
    pub(crate) fn stream_ends(&self, why: &str) -> bool {
        let mut heard = self.heard();
        heard.streams = heard.streams.saturating_sub(1);
        if heard.streams > 0 || heard.since.take().is_none() {
            return false;
        }
        drop(heard);
        let labels = [self.me.as_str(), self.name.as_str()];
        metrics::ACTIVE.with_label_values(&labels).set(0);
        metrics::DISCONNECTED.with_label_values(&labels).inc();
        tracing::warn!(
            "peer-id" = self.name,
            error = why,
            "peer became inactive (message send to peer failed)"
        );
        true
    }

    /// Tells that a stream which it has dialled is no more.
    pub(crate) fn tell_of_writer(&self, kind: Kind, what: &'static str) {
        tracing::warn!(
            "stream-writer-type" = kind.name(),
            "local-member-id" = self.me,
            "remote-peer-id" = self.name,
            "{what}"
        );
    }

    /// For how long it has been heard.
    pub(crate) fn active_for(&self) -> Option<Duration> {
        self.heard().since.map(|since| since.elapsed())
    }

    /// Gives the link a task that ends with it.
    pub(crate) fn own(&self, task: AbortHandle) {
        let mut tasks = self.tasks.lock().expect("no holder of this lock panics");
        tasks.retain(|task| !task.is_finished());
        tasks.push(task);
    }

    /// Ends all that is done for it.
    pub(crate) fn stop(&self) {
        for task in self.tasks.lock().expect("no holder of this lock panics").drain(..) {
            task.abort();
        }
        self.msgapp.close();
        self.message.close();
        let labels = [self.me.as_str(), self.name.as_str()];
        metrics::ACTIVE.with_label_values(&labels).set(0);
    }
}
