//! Tells of a quota that is nearly used up, while there is time to do something about it; and takes
//! the alarm back when there is space again, where that is wanted.

use std::time::Duration;

use proto::etcdserverpb::alarm_request::AlarmAction;
use proto::etcdserverpb::{AlarmRequest, AlarmType, InternalRaftRequest};

use crate::{Node, humane_bytes};

/// How often to look.
const INTERVAL: Duration = Duration::from_secs(1);
/// Shares of the quota at which it is told, in percent.
const LEVELS: [u64; 4] = [80, 90, 95, 99];
/// A level is left when the share is so much below it, so that one that is just reached is told
/// once and not again and again.
const SLACK: u64 = 5;
/// The alarm is taken back when no more than this share is used: soon after, it must not be raised
/// again.
const ROOM: u64 = 90;

/// What changed since the last look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// The share has reached a level.
    Above(u64),
    /// It is below all of them again.
    Below,
}

/// The level that was told last.
#[derive(Debug, Default)]
struct Gauge {
    reached: Option<u64>,
}

fn percent(used: u64, limit: u64) -> u64 {
    let share = u128::from(used) * 100 / u128::from(limit.max(1));
    u64::try_from(share).unwrap_or(u64::MAX)
}

impl Gauge {
    fn look(&mut self, share: u64) -> Option<Change> {
        let above = LEVELS.into_iter().rfind(|level| *level <= share);
        let before = self.reached;
        self.reached = match before {
            Some(told) if above < before && share + SLACK >= told => before,
            _ => above,
        };
        match (before, self.reached) {
            (Some(_), None) => Some(Change::Below),
            (_, Some(level)) if self.reached > before => Some(Change::Above(level)),
            _ => None,
        }
    }
}

impl Node {
    /// Looks at the space from time to time. Never returns.
    pub(crate) async fn watch_space(&self, disarm: bool) {
        let mut gauge = Gauge::default();
        loop {
            tokio::time::sleep(INTERVAL).await;
            let views = self.shared.views();
            let (used, limit) = (views.used_bytes(), views.quota().limit());
            if let Some(limit) = limit {
                tell(gauge.look(percent(used, limit)), used, limit);
            }
            let room = limit.is_none_or(|limit| percent(used, limit) <= ROOM);
            if disarm && room && self.has_said_no_space() {
                self.say_there_is_space(used).await;
            }
        }
    }

    fn has_said_no_space(&self) -> bool {
        let mine = |alarm: &proto::etcdserverpb::AlarmMember| {
            alarm.alarm == AlarmType::Nospace as i32 && alarm.member_id == self.shared.member_id
        };
        self.alarms().iter().any(mine)
    }

    /// Each member speaks for itself: what another one holds is not known here.
    async fn say_there_is_space(&self, used: u64) {
        let alarm = AlarmRequest {
            action: AlarmAction::Deactivate as i32,
            member_id: self.shared.member_id,
            alarm: AlarmType::Nospace as i32,
        };
        let request = InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        match self.propose(request).await {
            Ok(_) => tracing::info!(
                "used-bytes" = used,
                used = humane_bytes(used),
                "took back the NOSPACE alarm of this member, as there is space again"
            ),
            Err(failure) => tracing::warn!(
                error = failure.to_string(),
                "failed to take back the NOSPACE alarm of this member"
            ),
        }
    }
}

fn tell(change: Option<Change>, used_bytes: u64, limit: u64) {
    let (used, quota) = (humane_bytes(used_bytes), humane_bytes(limit));
    match change {
        Some(Change::Above(level)) => tracing::warn!(
            "used-bytes" = used_bytes,
            used,
            "quota-size-bytes" = limit,
            "quota-size" = quota,
            "used-percent-at-least" = level,
            "the space quota is nearly used up; delete keys and compact, or raise \
             --quota-backend-bytes"
        ),
        Some(Change::Below) => tracing::info!(
            "used-bytes" = used_bytes,
            used,
            "quota-size-bytes" = limit,
            "quota-size" = quota,
            "the space quota is no longer nearly used up"
        ),
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_level_is_told_once_and_again_only_after_it_was_left() {
        let mut gauge = Gauge::default();
        let mut look = |share| gauge.look(share);
        assert_eq!(look(79), None);
        assert_eq!(look(80), Some(Change::Above(80)));
        assert_eq!(look(83), None);
        assert_eq!(look(96), Some(Change::Above(95)), "levels that were jumped over are not told");
        assert_eq!(look(94), None, "it is just left");
        assert_eq!(look(96), None);
        assert_eq!(look(89), None, "down to the level below");
        assert_eq!(look(91), Some(Change::Above(90)));
        assert_eq!(look(100), Some(Change::Above(99)));
        assert_eq!(look(u64::MAX - SLACK), None);
        assert_eq!(look(3), Some(Change::Below));
        assert_eq!(look(3), None);
    }

    #[test]
    fn shares_have_no_limit() {
        assert_eq!(percent(50, 200), 25);
        assert_eq!(percent(u64::MAX, u64::MAX), 100);
        assert_eq!(percent(7, 0), 700);
        assert_eq!(percent(u64::MAX, 1), u64::MAX);
    }
}
