//! What members that are there already say of their cluster.

use std::time::Duration;

use node::{Member, MemberId};
use peer::remote::{self, Versions};
use peer::{Dialer, Failure};
use tokio::task::JoinSet;

use crate::logging::Logger;

/// Somebody who can be asked, and under which URLs.
pub(super) type Somebody = (MemberId, Vec<String>);

/// A cluster as one of its members tells of it. The names in it are whatever was published: none
/// for who has not started yet.
#[derive(Debug)]
pub(super) struct There {
    pub(super) cluster_id: u64,
    /// By their ids, and at least one.
    pub(super) members: Vec<Member>,
}

/// The peer URLs of all members but this one, in order.
pub(super) fn urls(members: &[Member], me: &str) -> Vec<String> {
    let others = members.iter().filter(|member| member.name != me);
    let mut urls: Vec<_> = others.flat_map(|member| member.peer_urls.clone()).collect();
    urls.sort();
    urls
}

/// Asks all at once; the first good answer counts. Only with a logger is told who gave none.
pub(super) async fn members(
    dialer: &Dialer,
    urls: &[String],
    patience: Duration,
    logger: Option<&Logger>,
) -> Result<There, &'static str> {
    let mut asked = JoinSet::new();
    for url in urls.iter().cloned() {
        let dialer = dialer.clone();
        asked.spawn(async move { (remote::members_at(&dialer, &url, patience).await, url) });
    }
    let mut knows_nobody = false;
    while let Some(answer) = asked.join_next().await {
        // A task ends badly only with the runtime.
        let Ok((answer, url)) = answer else { continue };
        match answer {
            Ok((_, members)) if members.is_empty() => knows_nobody = true,
            Ok((cluster_id, members)) => {
                let mut members: Vec<_> = members
                    .into_iter()
                    .map(|member| Member {
                        id: MemberId(member.id),
                        name: member.name,
                        peer_urls: member.peer_urls,
                        client_urls: member.client_urls,
                        is_learner: member.is_learner,
                    })
                    .collect();
                members.sort_by_key(|member| member.id);
                return Ok(There { cluster_id, members });
            }
            Err(failure) => {
                let Some(logger) = logger else { continue };
                let message = match failure {
                    Failure::Connection(_) | Failure::Timeout => "failed to get cluster response",
                    _ => "failed to unmarshal cluster response",
                };
                let address = format!("{url}/members");
                logger.warn(message).text("address", address).error(failure).send();
            }
        }
    }
    Err(match knows_nobody {
        true => "failed to get raft cluster member(s) from the given URLs",
        false => "could not retrieve cluster information from the given URLs",
    })
}

/// The versions of all that tell theirs.
pub(super) async fn versions(
    dialer: &Dialer,
    members: &[Somebody],
    patience: Duration,
    logger: &Logger,
) -> Vec<(MemberId, Versions)> {
    let mut asked = JoinSet::new();
    for (id, urls) in members.iter().cloned() {
        let dialer = dialer.clone();
        asked.spawn(async move {
            let mut failures = Vec::new();
            for url in urls {
                match remote::version(&dialer, &url, patience).await {
                    Ok(versions) => return (id, Some(versions), failures),
                    Err(failure) => failures.push((format!("{url}/version"), failure)),
                }
            }
            (id, None, failures)
        });
    }
    let mut versions = Vec::new();
    for (id, answer, failures) in asked.join_all().await {
        for (address, failure) in &failures {
            tell_failure(logger, id, address, failure);
        }
        match answer {
            Some(answer) => versions.push((id, answer)),
            None => {
                let last = failures.last().map(|(_, failure)| failure);
                tell_silent(logger, "failed to get version", id, last);
            }
        }
    }
    versions
}

/// Whether the cluster is on its way to an older version; nobody's answer is a no.
pub(super) async fn downgrade_enabled(
    dialer: &Dialer,
    members: &[Somebody],
    patience: Duration,
    logger: &Logger,
) -> bool {
    for (id, urls) in members {
        let mut last = None;
        for url in urls {
            match remote::downgrade_enabled(dialer, url, patience).await {
                Ok(enabled) => return enabled,
                Err(failure) => {
                    tell_failure(logger, *id, &format!("{url}/downgrade/enabled"), &failure);
                    last = Some(failure);
                }
            }
        }
        tell_silent(logger, "failed to get downgrade enabled status", *id, last.as_ref());
    }
    false
}

/// A URL has not given an answer that makes sense.
fn tell_failure(logger: &Logger, id: MemberId, address: &str, failure: &Failure) {
    let message = match failure {
        Failure::Malformed(_) => "failed to unmarshal response",
        _ => "failed to reach the peer URL",
    };
    let line = logger.warn(message).text("address", address);
    line.text("remote-member-id", id.to_string()).error(failure).send();
}

/// None of a member's URLs has.
fn tell_silent(logger: &Logger, message: &str, id: MemberId, last: Option<&Failure>) {
    let line = logger.warn(message).text("remote-member-id", id.to_string());
    match last {
        Some(failure) => line.error(failure).send(),
        None => line.send(),
    }
}
