//! Entries of a log, applied to a new state: chunk by chunk, each an entry's data.
//!
//! Whatever they say, keys, their past, leases and members are the same when the state is opened
//! again from what reached the disk.
#![no_main]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, SimDisk};
use fuzz::chunk;
use libfuzzer_sys::fuzz_target;
use mvcc::{Backend, KeyRange, Progress, Range};
use proto::etcdserverpb::AlarmType;
use state::{Effect, EntryId, EntryRequest, Options, QuotaBytes, State};

fuzz_target!(|data: &[u8]| {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let mut state = open(&disk);
    let mut rest = data;
    let mut index = 0;
    while !rest.is_empty() && index < 64 {
        index += 1;
        let at = EntryId { index, term: 1 };
        match EntryRequest::read(&Bytes::copy_from_slice(chunk(&mut rest))) {
            Ok(EntryRequest::Request(request)) => {
                let Ok(applied) = state.apply(at, &request, true) else { return };
                if let Effect::Compaction(job) = applied.effect {
                    compact(job);
                }
            }
            Ok(EntryRequest::Empty | EntryRequest::Ignored { .. }) => state.apply_empty(at),
            Err(_) => return,
        }
        if index % 8 == 0 {
            flush(&mut state);
        }
    }
    flush(&mut state);
    let before = said(&state);
    drop(state);
    let state = open(&disk);
    assert_eq!(said(&state), before);
    assert_eq!(state.views().backend.db().check(), []);
});

fn open(disk: &Arc<dyn Disk>) -> State {
    let options = bolt::Options { grow_bytes: 0, cache_bytes: 1 << 20, ..Default::default() };
    let backend = Backend::open(Arc::clone(disk), Path::new("/db"), options).expect("our own");
    let quota = QuotaBytes::from_flag(1 << 20);
    State::open(backend, Options { quota, ..Options::default() }).expect("our own")
}

fn compact(mut job: mvcc::CompactJob) {
    for _ in 0..1000 {
        // One before it may be unfinished for ever: its job was cut short by this same bound.
        match job.step(10) {
            Ok(Progress::More) => {}
            Ok(Progress::Done | Progress::Waiting) | Err(_) => break,
        }
    }
}

fn flush(state: &mut State) {
    state.seal();
    state.views().backend.commit_sealed().expect("the disk is sound");
}

/// What the state says of itself.
fn said(state: &State) -> Vec<String> {
    let views = state.views();
    let (current, compacted) = (views.reader.current_revision(), views.reader.compact_revision());
    let mut said = vec![format!(
        "{:?} {current} {compacted} {:?} {:?} {:?}",
        state.applied(),
        views.leases.list(),
        views.members.list(),
        views.alarms.get(AlarmType::None),
    )];
    // The empty key, too, which no client can write.
    let keys = KeyRange::From(Bytes::new());
    for revision in compacted.max(1).max(current - 10)..=current {
        let ranged = views.reader.range(&Range { revision, ..Range::of(keys.clone()) });
        let ranged = ranged.expect("the revision is there");
        said.push(format!("{revision} {} {:?}", ranged.count, ranged.kvs));
    }
    said
}
