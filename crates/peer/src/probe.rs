//! How far away another member is, and whether its clock agrees with ours.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use tokio::time::Instant;

use crate::dial::Failure;
use crate::link::Link;
use crate::metrics;
use crate::remote::get;
use crate::transport::Shared;

const INTERVAL: Duration = Duration::from_secs(4);
/// Clocks that differ by more are worth a warning.
const DRIFT: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
struct Probed {
    #[serde(rename = "Now")]
    now: String,
}

/// The time of day that the answer tells, since 1970.
fn now_of(answer: &[u8]) -> Option<Duration> {
    let probed: Probed = serde_json::from_slice(answer).ok()?;
    let now: jiff::Timestamp = probed.now.parse().ok()?;
    now.as_duration().try_into().ok()
}

/// Probes another member from time to time.
pub(crate) async fn probe(shared: Arc<Shared>, link: Arc<Link>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let begun = Instant::now();
        let url = link.url();
        let asked = link.pool.ask(&url, || get("/raft/probing"), shared.identity.dial_timeout);
        let asked = tokio::time::timeout(INTERVAL, asked).await.unwrap_or(Err(Failure::Timeout));
        let took = begun.elapsed();
        let answer = match asked {
            Ok(answer) => answer,
            Err(failure) => {
                link.url_failed(&url);
                tracing::warn!(
                    "round-tripper-name" = "ROUND_TRIPPER_RAFT_MESSAGE",
                    "remote-peer-id" = link.name,
                    rtt = ?took,
                    error = %failure,
                    "prober detected unhealthy status"
                );
                continue;
            }
        };
        let round_trip = metrics::ROUND_TRIP.with_label_values(&[link.name.as_str()]);
        round_trip.observe(took.as_secs_f64());
        let Some(node) = shared.node() else { return };
        let theirs = now_of(answer.body());
        let drift = theirs.map(|theirs| node.wall_clock().abs_diff(theirs + took / 2));
        if let Some(drift) = drift.filter(|drift| *drift > DRIFT) {
            tracing::warn!(
                "round-tripper-name" = "ROUND_TRIPPER_RAFT_MESSAGE",
                "remote-peer-id" = link.name,
                "clock-drift" = ?drift,
                rtt = ?took,
                "prober found high clock drift"
            );
        }
    }
}
