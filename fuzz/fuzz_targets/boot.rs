//! A member that starts on a log of any entries, hard states and snapshot marks, steps, takes a
//! request and stops.
//!
//! It starts, or says why not. What it stopped with in order is there at its next start.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use env::{Access, Clock, Disk, ManualClock, SimDisk};
use fuzz::{byte, chunk, segment};
use libfuzzer_sys::fuzz_target;
use node::{AutoCompaction, Bootstrap, Options, Stepped, World};
use proto::etcdserverpb::{InternalRaftRequest, Metadata, PutRequest};
use proto::{Message, raftpb, walpb};
use state::Member;

const URL: &str = "http://localhost:2380";

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let records = records(&mut rest);
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let dir = Path::new("/data/member/wal");
    disk.create_dir_all(dir).expect("the disk is empty");
    let first = dir.join("0000000000000000-0000000000000000.wal");
    let file = disk.open(&first, Access::Create).expect("the disk is empty");
    let framed = segment(records.iter().map(|(kind, data)| (*kind, &data[..])));
    file.write_all_at(&framed, 0).expect("the disk has room");
    drop(file);

    let clock = ManualClock::default();
    let Some(stopped) = live(&disk, &clock) else { return };
    let again = live(&disk, &clock);
    assert!(again.is_some_and(|again| again > stopped), "{again:?} after {stopped}");
});

/// The log's head, an entry that makes this member one (or not), and what the input says.
fn records(rest: &mut &[u8]) -> Vec<(u8, Vec<u8>)> {
    let id = state::member_id(&[URL.to_owned()], "", None);
    let cluster_id = Some(state::cluster_id([id]));
    let metadata = Metadata { node_id: Some(id.0), cluster_id };
    let nothing = walpb::Snapshot { index: Some(0), term: Some(0), conf_state: None };
    let mut records =
        vec![(4, Vec::new()), (1, metadata.encode_to_vec()), (5, nothing.encode_to_vec())];
    let mut index = 0;
    if byte(rest) & 1 == 0 {
        let peer_urls = vec![URL.to_owned()];
        let me = Member { id, peer_urls, name: "me".to_owned(), ..Member::default() };
        let change = raftpb::ConfChange {
            r#type: Some(0),
            node_id: Some(id.0),
            context: Some(me.to_json().into()),
            ..Default::default()
        };
        index = 1;
        records.push((2, entry(1, index, &change.encode_to_vec())));
        records.push((3, hard_state(id.0, index)));
    }
    while !rest.is_empty() && records.len() < 64 {
        let how = byte(rest);
        let data = chunk(rest);
        match how % 8 {
            0..4 => {
                index += 1;
                records.push((2, entry(how % 4, index, data)));
            }
            4 => records.push((3, hard_state(id.0, index))),
            kind => records.push((kind - 3, data.to_vec())),
        }
    }
    records
}

fn entry(kind: u8, index: u64, data: &[u8]) -> Vec<u8> {
    let entry = raftpb::Entry {
        r#type: Some(i32::from(kind)),
        term: Some(1),
        index: Some(index),
        data: Some(Bytes::copy_from_slice(data)),
    };
    entry.encode_to_vec()
}

fn hard_state(vote: u64, commit: u64) -> Vec<u8> {
    let state = raftpb::HardState { term: Some(1), vote: Some(vote), commit: Some(commit) };
    state.encode_to_vec()
}

/// Starts a member and stops it in order: the index that it came to.
fn live(disk: &Arc<dyn Disk>, clock: &ManualClock) -> Option<u64> {
    let world = World { disk: Arc::clone(disk), clock: Arc::new(clock.clone()) };
    let mut member = Stepped::boot(&world, &options(), 64 << 10).ok()?;
    for round in 0..4 {
        clock.advance(Duration::from_secs(1));
        if round == 2 {
            let key = Bytes::from_static(b"key");
            let put = PutRequest { key, ..PutRequest::default() };
            member.propose(InternalRaftRequest { put: Some(put), ..Default::default() });
        }
        member.step(clock.now()).ok()?;
        if member.seal() {
            member.commit_sealed().ok()?;
        }
        while member.step_compaction(100).ok()? == Some(mvcc::Progress::More) {}
    }
    let index = member.applied().index;
    member.close().ok()?;
    assert_eq!(member.views().backend.db().check(), []);
    member.reads_freely().then_some(index)
}

fn options() -> Options {
    Options {
        name: "me".to_owned(),
        data_dir: PathBuf::from("/data"),
        wal_dir: None,
        client_urls: Vec::new(),
        bootstrap: Some(Bootstrap::with_new([("me", [URL])], "")),
        force_new_cluster: false,
        tick: Duration::from_millis(100),
        election_ticks: 10,
        pre_vote: true,
        catchup_entries: 5000,
        strict_reconfig_check: true,
        snapshot_count: 5,
        max_snapshots: 1,
        max_wals: 1,
        quota_bytes: 0,
        batch_interval: Duration::from_millis(100),
        batch_limit: 10_000,
        request_bytes: 1 << 20,
        max_learners: 1,
        auto_compaction: AutoCompaction::Off,
        compaction_batch: 1000,
        compaction_pause: Duration::from_millis(10),
        corrupt_check_interval: None,
        no_fsync: false,
        value_budget_bytes: 1 << 20,
        compact_hash_check_interval: None,
        downgrade_check_interval: Duration::from_secs(5),
        initial_corrupt_check: false,
        initial_election_tick_advance: false,
        warning_apply_duration: Duration::from_secs(1),
        features: Default::default(),
        page_cache_bytes: 1 << 20,
        simple_token_ttl: Some(Duration::from_secs(300)),
        recent_events_bytes: 2 << 20,
        disarm_when_space: false,
    }
}
