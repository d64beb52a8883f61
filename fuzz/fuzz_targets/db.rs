//! A db file of any bytes: opened, walked, checked, written to, vacuumed.
//!
//! The first byte chooses: whether the meta pages get the right checksums, and whether, if the
//! file is sound, it is written to. A sound file stays sound.
#![no_main]

use std::ops::Bound::Unbounded;
use std::path::Path;

use bolt::{Db, Options, ReadTx};
use bytes::Bytes;
use fuzz::{byte, disk_with, sum_metas};
use libfuzzer_sys::fuzz_target;

/// More pages than an input has; the rest are zeros.
const FILE_BYTES: usize = 64 << 10;

fuzz_target!(|data: &[u8]| {
    let mut rest = data;
    let choice = byte(&mut rest);
    let mut file = rest.to_vec();
    if choice & 2 != 0 {
        file.resize(FILE_BYTES.max(file.len()), 0);
    }
    if choice & 1 == 0 {
        sum_metas(&mut file);
    }
    let path = Path::new("/db");
    let options = Options { cache_bytes: 1 << 20, grow_bytes: 0, ..Options::default() };
    let Ok(db) = Db::open(disk_with(path, &file), path, options) else { return };
    walk(&db.read());
    let sound = db.check().is_empty() && db.read().check_shape().is_empty();
    if !sound || choice & 4 == 0 {
        return;
    }
    if change(&db).is_ok() {
        assert_eq!(db.check(), []);
    }
    for _ in 0..64 {
        match db.vacuum(4) {
            Ok(step) if step.more => {}
            _ => break,
        }
    }
    assert_eq!(db.check(), []);
});

/// Reads everything there is, up and down, and the image.
fn walk(tx: &ReadTx) {
    let _ = tx.check();
    let mut up = 0;
    for name in tx.buckets().unwrap_or_default() {
        let Ok(Some(bucket)) = tx.bucket(&name) else { continue };
        up += bucket.range(Unbounded, Unbounded).take(10_000).take_while(Result::is_ok).count();
        let down = bucket.range_reverse(Unbounded, Unbounded).take(10_000);
        up += down.take_while(Result::is_ok).count();
        let _ = (bucket.get(b"a"), bucket.buckets(), bucket.sequence());
    }
    let mut piece = vec![0; 4096];
    let mut offset = 0;
    while offset < tx.image_len().min(1 << 20) {
        match tx.read_image(offset, &mut piece) {
            Ok(read) if read > 0 => offset += read as u64,
            _ => break,
        }
    }
    std::hint::black_box(up);
}

fn change(db: &Db) -> Result<(), bolt::Error> {
    let names = db.read().buckets()?;
    let mut tx = db.write();
    for name in names.iter().take(4) {
        tx.put(name, Bytes::from_static(b"a new key"), Bytes::from_static(b"a new value"))?;
        let first = db.read().bucket(name)?;
        let first = first.and_then(|bucket| bucket.range(Unbounded, Unbounded).next());
        if let Some(Ok((key, _))) = first {
            tx.delete(name, &key)?;
        }
    }
    tx.create_bucket(b"a new bucket")?;
    tx.commit()?;
    Ok(())
}
