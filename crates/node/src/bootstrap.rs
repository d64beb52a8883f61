//! How a member begins that has no log yet: who it is, in which cluster, beside whom.

use std::collections::BTreeSet;

use proto::etcdserverpb as pb;
use state::{Member, Rejected};

use crate::{Fatal, Options, Peer};

/// How a member begins.
#[derive(Debug, Clone)]
pub enum Bootstrap {
    /// In a new cluster of these members: the peer URLs of each, by its name.
    New {
        /// This one is among them.
        members: Vec<(String, Vec<String>)>,
    },
    /// In a cluster that is there, and has been told that this member will come.
    Join {
        /// Which cluster.
        cluster_id: u64,
        /// Its members as they are now. This one is among them, and they all have names.
        members: Vec<pb::Member>,
    },
    /// Not any more: it has a log.
    Resume,
}

/// A member that is about to write the first words of its log.
#[derive(Debug)]
pub(crate) struct Beginning {
    pub(crate) member_id: u64,
    pub(crate) cluster_id: u64,
    /// The members of a new cluster by their ids: they are the first entries of its log.
    pub(crate) founders: Vec<Member>,
    /// Who is there already, and leads or knows who does.
    pub(crate) contacts: Vec<Peer>,
}

impl Beginning {
    /// `None` where nothing is to begin.
    pub(crate) fn of(options: &Options) -> Result<Option<Self>, Fatal> {
        match &options.bootstrap {
            Bootstrap::New { members } => found(options, members).map(Some),
            Bootstrap::Join { cluster_id, members } => {
                join(options, *cluster_id, members).map(Some)
            }
            Bootstrap::Resume => Ok(None),
        }
    }
}

fn found(options: &Options, members: &[(String, Vec<String>)]) -> Result<Beginning, Fatal> {
    let token = &options.initial_cluster_token;
    let mut urls_seen = BTreeSet::new();
    let mut founders = Vec::new();
    let mut me = None;
    for (name, urls) in members {
        if urls.iter().any(|url| !urls_seen.insert(url)) {
            let cluster = describe(members);
            return Err(Fatal::Bootstrap(format!("initial cluster {cluster} has duplicate url")));
        }
        let mut peer_urls = urls.clone();
        peer_urls.sort();
        let id = state::member_id(&peer_urls, token, None);
        if *name == options.name {
            me = Some(id);
        }
        founders.push(Member { id, peer_urls, name: name.clone(), ..Member::default() });
    }
    let member_id = me.ok_or_else(|| not_named(&options.name))?.0;
    founders.sort_by_key(|member| member.id);
    let cluster_id = state::cluster_id(founders.iter().map(|member| member.id));
    Ok(Beginning { member_id, cluster_id, founders, contacts: Vec::new() })
}

fn join(options: &Options, cluster_id: u64, members: &[pb::Member]) -> Result<Beginning, Fatal> {
    let me = members.iter().find(|member| member.name == options.name);
    let member_id = me.ok_or_else(|| not_named(&options.name))?.id;
    let learners = members.iter().filter(|member| member.is_learner).count();
    check_learners(learners, options)?;
    let contacts = members
        .iter()
        .filter(|member| member.id != member_id)
        .map(|member| Peer { id: member.id, urls: member.peer_urls.clone() })
        .collect();
    Ok(Beginning { member_id, cluster_id, founders: Vec::new(), contacts })
}

/// Whether a cluster with so many learners is one that this member was told to expect.
pub(crate) fn check_learners(learners: usize, options: &Options) -> Result<(), Fatal> {
    if learners > options.max_learners {
        return Err(Fatal::Bootstrap(format!("membership: {}", Rejected::TooManyLearners)));
    }
    Ok(())
}

fn not_named(name: &str) -> Fatal {
    Fatal::Bootstrap(format!(
        "couldn't find local name {name:?} in the initial cluster configuration"
    ))
}

fn describe(members: &[(String, Vec<String>)]) -> String {
    let mut pairs: Vec<String> = members
        .iter()
        .flat_map(|(name, urls)| urls.iter().map(move |url| format!("{name}={url}")))
        .collect();
    pairs.sort();
    pairs.join(",")
}
