//! A state read as a file of its own.

use std::path::Path;

use bolt::{Db, OpenError};
use env::{Access, Disk, SimDisk};

use crate::kit::{Model, Workload, contents, open, options, seeds};

const IMAGE: &str = "/image";

#[test]
fn an_image_is_of_one_state_while_commits_and_vacuum_go_on() {
    for seed in seeds(10) {
        let disk = SimDisk::new(seed);
        let page_size = [1024, 4096, 8192][seed as usize % 3];
        let db = open(&disk, page_size);
        let mut model = Model::new();
        let mut workload = Workload::new(seed, 100);
        let mut change = |db: &Db, model: &mut Model| {
            let mut tx = db.write();
            workload.change(&mut tx, model).unwrap();
            tx.commit().unwrap();
            db.vacuum(30).unwrap();
        };
        for _ in 0..8 {
            change(&db, &mut model);
        }
        let (tx, expected) = (db.read(), model.clone());
        let image = disk.open(Path::new(IMAGE), Access::Create).unwrap();
        let mut piece = vec![0; 3001];
        let mut offset = 0;
        loop {
            let len = tx.read_image(offset, &mut piece).unwrap();
            if len == 0 {
                break;
            }
            image.write_all_at(&piece[..len], offset).unwrap();
            offset += len as u64;
            if offset / 3001 % 4 == 0 {
                change(&db, &mut model);
            }
        }
        assert_eq!(offset, tx.image_len());
        // A snapshot file ends with a digest.
        image.write_all_at(&[7; 32], offset).unwrap();
        let copy = Db::open_image(&disk, Path::new(IMAGE), options(4096)).unwrap();
        assert_eq!(contents(&copy), expected, "seed {seed}");
        assert_eq!(copy.check(), []);
        assert_eq!(copy.txid(), tx.txid());
        assert_eq!(contents(&tx), expected);
        image.set_len(tx.image_len() - 1).unwrap();
        let cut = Db::open_image(&disk, Path::new(IMAGE), options(4096));
        assert!(matches!(cut, Err(OpenError::Truncated { .. })), "{cut:?}");
        let beyond = tx.read_image(tx.image_len() + 5, &mut piece).unwrap();
        assert_eq!(beyond, 0);
    }
}
