//! Joins what deletions made too small, by bbolt's rules: a leaf in a branch has at least one item,
//! a branch at least two children. bbolt asserts the latter when it deletes, so a file with a lone
//! child makes a Go etcd panic in its next compaction.

use crate::Error;
use crate::node::{BranchItem, Child, Items, Loader, MAX_DEPTH, Node};
use crate::page::Run;

/// Pages that lost their content, to be let go by the commit.
pub(crate) type Freed = Vec<Run>;

/// How small a node may become before it is joined with a neighbour.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Threshold(pub(crate) usize);

impl Threshold {
    /// Half of what a page is filled to.
    pub(crate) fn new(page_size: usize, fill_percent: usize) -> Self {
        Self(page_size * fill_percent / 200)
    }
}

/// Joins nodes under `root`, and makes the tree lower where its root has a lone child.
pub(crate) fn balance(
    root: &mut Child,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
) -> Result<(), Error> {
    if !matches!(root, Child::Node(node) if node.dirty) {
        return Ok(());
    }
    settle(root, loader, threshold, freed, 0)?;
    for _ in 0..MAX_DEPTH {
        let node = root.node(loader)?;
        let Items::Branch(items) = &mut node.items else { return Ok(()) };
        match items.len() {
            0 => node.items = Items::Leaf(Vec::new()),
            1 => {
                freed.extend(node.origin);
                match items.pop() {
                    Some(only) => *root = only.child,
                    None => return Ok(()),
                }
            }
            _ => return Ok(()),
        }
    }
    Err(Error::corrupt(0, "tree too deep"))
}

fn settle(
    child: &mut Child,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
    depth: usize,
) -> Result<(), Error> {
    let Child::Node(node) = child else { return Ok(()) };
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(0, "tree too deep"));
    }
    if !node.dirty {
        return Ok(());
    }
    let Items::Branch(items) = &mut node.items else { return Ok(()) };
    for item in items.iter_mut() {
        settle(&mut item.child, loader, threshold, freed, depth + 1)?;
    }
    let count = items.len();
    *items = join(std::mem::take(items), loader, threshold, freed, depth)?;
    node.shrunk |= items.len() < count;
    Ok(())
}

/// Drops empty children and joins each that is too small with the one on its left, or the one on
/// its right with it.
fn join(
    items: Vec<BranchItem>,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
    depth: usize,
) -> Result<Vec<BranchItem>, Error> {
    let mut joined: Vec<BranchItem> = Vec::with_capacity(items.len());
    for item in items {
        if let Child::Node(node) = &item.child
            && node.count() == 0
        {
            freed.extend(node.origin);
            continue;
        }
        match joined.last_mut() {
            Some(left) if is_small(&left.child, threshold) || is_small(&item.child, threshold) => {
                absorb(&mut left.child, item.child, loader, threshold, freed, depth)?;
            }
            _ => joined.push(item),
        }
    }
    Ok(joined)
}

fn is_small(child: &Child, threshold: Threshold) -> bool {
    match child {
        Child::Page(_) => false,
        Child::Node(node) => {
            let least = if matches!(node.items, Items::Leaf(_)) { 1 } else { 2 };
            node.count() < least || node.shrunk && node.len_bytes() <= threshold.0
        }
    }
}

/// Moves all of `right` to the end of `left`.
fn absorb(
    left: &mut Child,
    mut right: Child,
    loader: Loader<'_>,
    threshold: Threshold,
    freed: &mut Freed,
    depth: usize,
) -> Result<(), Error> {
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(0, "tree too deep"));
    }
    let left: &mut Node = left.node(loader)?;
    let right = right.node(loader)?;
    freed.extend(right.origin);
    left.dirty = true;
    left.shrunk = true;
    match (&mut left.items, &mut right.items) {
        (Items::Leaf(to), Items::Leaf(from)) => to.append(from),
        (Items::Branch(to), Items::Branch(from)) => {
            to.append(from);
            // A lone child had no neighbour to be joined with before; now it has.
            *to = join(std::mem::take(to), loader, threshold, freed, depth + 1)?;
        }
        _ => {
            let page = right.origin.map_or(0, |run| run.start);
            return Err(Error::corrupt(page, "leaf and branch under one branch"));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;
    use std::sync::Arc;

    use bytes::Bytes;
    use env::{Access, Disk, Random, SimDisk};

    use crate::meta::{Meta, NO_FREELIST};
    use crate::page::{BUCKET_ELEMENT, BucketHeader, LeafItem, Run, encode_branch, encode_leaf};
    use crate::{Db, Options};

    const PAGE_SIZE: usize = 1024;

    /// A tree as no sound writer would make it.
    #[derive(Debug, Clone)]
    enum Tree {
        Leaf(Vec<u32>),
        Branch(Vec<Tree>),
    }

    fn key(number: u32) -> Bytes {
        Bytes::from(format!("{number:05}"))
    }

    fn value(number: u32) -> Bytes {
        Bytes::from(vec![number as u8; 150])
    }

    fn item(number: u32) -> LeafItem {
        LeafItem { flags: 0, key: key(number), value: value(number) }
    }

    /// Writes the tree's pages; its first key and its page.
    fn write(tree: &Tree, pages: &mut Vec<Bytes>) -> (Bytes, u64) {
        let (first, page) = match tree {
            Tree::Leaf(numbers) => {
                let items: Vec<_> = numbers.iter().copied().map(item).collect();
                let run = Run { start: pages.len() as u64 + 3, len: 1 };
                (key(numbers[0]), encode_leaf(&items, Some(run), PAGE_SIZE).unwrap())
            }
            Tree::Branch(children) => {
                let items: Vec<_> = children.iter().map(|child| write(child, pages)).collect();
                let run = Run { start: pages.len() as u64 + 3, len: 1 };
                (items[0].0.clone(), encode_branch(&items, run, PAGE_SIZE).unwrap())
            }
        };
        pages.push(page);
        (first, pages.len() as u64 + 2)
    }

    /// A db whose bucket `b` has this tree.
    fn open(tree: &Tree) -> Db {
        let mut pages = Vec::new();
        let (_, root) = write(tree, &mut pages);
        let header = BucketHeader { root, sequence: 7, inline: Bytes::new() };
        let value = header.encode();
        let bucket = LeafItem { flags: BUCKET_ELEMENT, key: Bytes::from_static(b"b"), value };
        let leaf = encode_leaf(&[bucket], Some(Run { start: 2, len: 1 }), PAGE_SIZE).unwrap();
        let high_water = pages.len() as u64 + 3;
        let (page_size, freelist) = (PAGE_SIZE as u32, NO_FREELIST);
        let meta = Meta { page_size, root: 2, sequence: 0, freelist, high_water, txid: 9 };
        let mut image = meta.encode(0);
        image.extend_from_slice(&Meta { txid: 8, ..meta }.encode(1));
        image.extend_from_slice(&leaf);
        pages.iter().for_each(|page| image.extend_from_slice(page));
        let disk = SimDisk::new(1);
        let path = Path::new("/db");
        disk.open(path, Access::Create).unwrap().write_all_at(&image, 0).unwrap();
        Db::open(Arc::new(disk), path, Options { grow_bytes: 0, ..Options::default() }).unwrap()
    }

    fn numbers(tree: &Tree) -> Vec<u32> {
        match tree {
            Tree::Leaf(numbers) => numbers.clone(),
            Tree::Branch(children) => children.iter().flat_map(numbers).collect(),
        }
    }

    fn held(db: &Db) -> Vec<Bytes> {
        let bucket = db.read().bucket(b"b").unwrap().unwrap();
        assert_eq!(bucket.sequence(), 7);
        let all = bucket.range(std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        all.map(|item| item.unwrap().0).collect()
    }

    /// Deletes each key in its own commit, and all in one, from files where bbolt 1.5.0 panics
    /// with "parent must have at least 2 children".
    #[test]
    fn deletes_under_a_lone_child() {
        use Tree::{Branch, Leaf};
        let leaf = |from: u32| Leaf((from..from + 4).collect());
        let shapes = [
            Branch(vec![leaf(0)]),
            Branch(vec![Branch(vec![leaf(0)])]),
            Branch(vec![Branch(vec![leaf(0)]), Branch(vec![leaf(10)])]),
            Branch(vec![Branch(vec![leaf(0)]), Branch(vec![leaf(10), leaf(20)])]),
            Branch(vec![Branch(vec![leaf(0), leaf(10)]), Branch(vec![leaf(20)])]),
            Branch(vec![Branch(vec![Branch(vec![leaf(0)])]), Branch(vec![Branch(vec![leaf(10)])])]),
            Branch(vec![
                Branch(vec![Branch(vec![leaf(0), leaf(10)]), Branch(vec![leaf(20)])]),
                Branch(vec![Branch(vec![leaf(30)])]),
            ]),
        ];
        for shape in &shapes {
            for order in 0..4u32 {
                let mut left = numbers(shape);
                let db = open(shape);
                while !left.is_empty() {
                    let at = match order {
                        0 => 0,
                        1 => left.len() - 1,
                        2 => left.len() / 2,
                        _ => (left.len() * 7 / 11) % left.len(),
                    };
                    let gone = left.remove(at);
                    let mut tx = db.write();
                    assert!(tx.delete(b"b", &key(gone)).unwrap());
                    tx.commit().unwrap();
                    let expected: Vec<_> = left.iter().copied().map(key).collect();
                    assert_eq!(held(&db), expected, "{shape:?}");
                    assert_eq!(db.check(), []);
                }
                assert_eq!(db.read().check_shape(), [], "{shape:?}");
            }
            let db = open(shape);
            let mut tx = db.write();
            for gone in numbers(shape) {
                assert!(tx.delete(b"b", &key(gone)).unwrap());
            }
            tx.commit().unwrap();
            assert_eq!(held(&db), [] as [Bytes; 0]);
            assert_eq!(db.read().check_shape(), []);
        }
    }

    fn random_tree(random: &mut Random, depth: u32, next: &mut u32) -> Tree {
        let count = 1 + random.below(4);
        if depth == 0 {
            let mut number = || {
                *next += 1 + random.below(3) as u32;
                *next
            };
            return Tree::Leaf((0..count).map(|_| number()).collect());
        }
        Tree::Branch((0..count).map(|_| random_tree(random, depth - 1, next)).collect())
    }

    /// Whatever the tree was, where a transaction has been there is no lone child left.
    #[test]
    fn what_is_touched_gets_the_right_shape() {
        for seed in 0..300 {
            let mut random = Random::new(seed);
            let depth = 1 + random.below(3) as u32;
            let tree = random_tree(&mut random, depth, &mut 0);
            let db = open(&tree);
            let mut model: BTreeMap<u32, ()> =
                numbers(&tree).into_iter().map(|number| (number, ())).collect();
            let most = model.last_key_value().map_or(0, |(number, ())| number + 3);
            for _ in 0..6 {
                let mut tx = db.write();
                for _ in 0..random.below(12) {
                    let number = random.below(u64::from(most)) as u32;
                    if random.chance(1, 4) {
                        tx.put(b"b", key(number), value(number)).unwrap();
                        model.insert(number, ());
                    } else {
                        let was_there = model.remove(&number).is_some();
                        assert_eq!(tx.delete(b"b", &key(number)).unwrap(), was_there);
                    }
                }
                tx.commit().unwrap();
                assert_eq!(held(&db), model.keys().copied().map(key).collect::<Vec<_>>());
                assert_eq!(db.check(), [], "seed {seed}");
            }
            let mut tx = db.write();
            for number in model.keys() {
                tx.put(b"b", key(*number), value(*number)).unwrap();
            }
            tx.commit().unwrap();
            assert_eq!(db.check(), [], "seed {seed}");
            assert_eq!(db.read().check_shape(), [], "seed {seed}");
        }
    }
}
