//! What the door lets through, the log can hold and the state machine takes.
#![no_main]
#![allow(dead_code, reason = "the door's files are here for its checks alone")]

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use env::{Disk, SimDisk};
use fuzz::{byte, chunk};
use libfuzzer_sys::fuzz_target;
use mvcc::Backend;
use proto::Message;
use proto::etcdserverpb::{
    DeleteRangeRequest, InternalRaftRequest, PutRequest, RangeRequest, TxnRequest,
};
use state::{EntryId, EntryRequest, Options, State};

#[path = "../../crates/api/src/service/checks.rs"]
mod checks;
#[path = "../../crates/api/src/error.rs"]
mod error;
#[path = "../../crates/api/src/status.rs"]
mod status;

fuzz_target!(|data: &[u8]| {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    let options = bolt::Options { grow_bytes: 0, cache_bytes: 1 << 20, ..Default::default() };
    let backend = Backend::open(disk, Path::new("/db"), options).expect("our own");
    let mut state = State::open(backend, Options::default()).expect("our own");
    let mut rest = data;
    let mut index = 0;
    while !rest.is_empty() && index < 16 {
        index += 1;
        let kind = byte(&mut rest);
        let Some(request) = checked(kind, chunk(&mut rest)) else { continue };
        let encoded = Bytes::from(request.encode_to_vec());
        let read = EntryRequest::read(&encoded).expect("what is acknowledged is read again");
        assert!(matches!(read, EntryRequest::Request(read) if *read == request));
        let at = EntryId { index, term: 1 };
        state.apply(at, &request, true).expect("the state machine takes it");
    }
});

/// The request as it goes into the log, if it is one that may.
fn checked(kind: u8, data: &[u8]) -> Option<InternalRaftRequest> {
    let mut request = InternalRaftRequest::default();
    match kind % 4 {
        0 => {
            let range = RangeRequest::decode(data).ok()?;
            let _ = checks::range_stream(&range);
            checks::range(&range).ok()?;
            request.range = Some(Box::new(range));
        }
        1 => {
            let put = PutRequest::decode(data).ok()?;
            checks::put(&put).ok()?;
            request.put = Some(put);
        }
        2 => {
            let delete = DeleteRangeRequest::decode(data).ok()?;
            checks::delete_range(&delete).ok()?;
            request.delete_range = Some(delete);
        }
        _ => {
            let txn = TxnRequest::decode(data).ok()?;
            checks::txn(&txn, 128).ok()?;
            request.txn = Some(txn);
        }
    }
    Some(request)
}
