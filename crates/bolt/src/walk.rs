//! Which pages a tree stands on.

use crate::Error;
use crate::node::{Child, Items, Loader, MAX_DEPTH};
use crate::page::{BucketHeader, Kind, LeafItem, Page, Run};

/// A set of page ids below a high water mark.
#[derive(Debug)]
pub(crate) struct PageSet {
    words: Vec<u64>,
}

impl PageSet {
    pub(crate) fn new(high_water: u64) -> Self {
        Self { words: vec![0; high_water.div_ceil(64) as usize] }
    }

    /// Adds a page; `false` where it was in already, or is above the mark.
    pub(crate) fn insert(&mut self, id: u64) -> bool {
        let Some(word) = self.words.get_mut((id / 64) as usize) else { return false };
        let bit = 1 << (id % 64);
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    pub(crate) fn contains(&self, id: u64) -> bool {
        self.words.get((id / 64) as usize).is_some_and(|word| word & (1 << (id % 64)) != 0)
    }

    /// The runs of pages in `from..to` that are not in the set.
    pub(crate) fn gaps(&self, from: u64, to: u64) -> Vec<Run> {
        let mut gaps = Vec::new();
        let mut start = None;
        for id in from..to {
            match (self.contains(id), start) {
                (false, None) => start = Some(id),
                (true, Some(first)) => {
                    gaps.push(Run { start: first, len: id - first });
                    start = None;
                }
                _ => {}
            }
        }
        gaps.extend(start.map(|first| Run { start: first, len: to - first }));
        gaps
    }
}

/// All pages that are reached from `root`, nested buckets and overflow pages included. That a page
/// is reached twice is an error: writing on one of its lives would end the other.
pub(crate) fn reachable(root: u64, loader: Loader<'_>) -> Result<PageSet, Error> {
    let mut seen = PageSet::new(loader.high_water);
    each_page(root, loader, &mut |page| {
        let run = page.run();
        for id in run.start..run.end() {
            if !seen.insert(id) {
                return Err(Error::corrupt(id, "reached twice"));
            }
        }
        Ok(())
    })?;
    Ok(seen)
}

/// Adds the pages of a subtree that is given up, nested buckets included.
pub(crate) fn subtree_runs(
    child: &Child,
    loader: Loader<'_>,
    runs: &mut Vec<Run>,
) -> Result<(), Error> {
    let node = match child {
        Child::Page(id) => {
            let before = runs.len();
            return each_page(*id, loader, &mut |page| {
                // More pages than there are: a cycle.
                if (runs.len() - before) as u64 > loader.high_water {
                    return Err(Error::corrupt(page.id(), "reached twice"));
                }
                runs.push(page.run());
                Ok(())
            });
        }
        Child::Node(node) => node,
    };
    runs.extend(node.origin);
    match &node.items {
        Items::Branch(items) => {
            for item in items {
                subtree_runs(&item.child, loader, runs)?;
            }
        }
        Items::Leaf(items) => {
            let mut roots = Vec::new();
            for item in items.iter().filter(|item| item.is_bucket()) {
                bucket_roots(item, 0, &mut roots)?;
            }
            for root in roots {
                subtree_runs(&Child::Page(root), loader, runs)?;
            }
        }
    }
    Ok(())
}

/// Visits every page under `root`, past the cache, parents first.
pub(crate) fn each_page(
    root: u64,
    loader: Loader<'_>,
    visit: &mut impl FnMut(&Page) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut ahead = vec![(root, 0)];
    while let Some((id, depth)) = ahead.pop() {
        if depth > MAX_DEPTH {
            return Err(Error::corrupt(id, "tree too deep"));
        }
        let page = loader.pager.read(id, loader.high_water)?;
        visit(&page)?;
        match page.kind() {
            Kind::Branch => {
                let children = (0..page.count()).rev().filter_map(|index| page.child(index));
                ahead.extend(children.map(|child| (child, depth + 1)));
            }
            Kind::Leaf if page.has_buckets() => {
                let mut roots = Vec::new();
                for item in (0..page.count()).rev().filter_map(|index| page.item(index)) {
                    if item.is_bucket() {
                        bucket_roots(&item, depth, &mut roots)?;
                    }
                }
                ahead.extend(roots.into_iter().map(|root| (root, depth + 1)));
            }
            Kind::Leaf => {}
        }
    }
    Ok(())
}

/// The root pages of the bucket in an item, of which an inline bucket has none; but those of
/// buckets in it. bbolt makes no such, and reads it.
fn bucket_roots(item: &LeafItem, depth: usize, roots: &mut Vec<u64>) -> Result<(), Error> {
    let header = BucketHeader::decode(&item.value)?;
    if header.root != 0 {
        roots.push(header.root);
        return Ok(());
    }
    if depth > MAX_DEPTH {
        return Err(Error::corrupt(0, "buckets nested too deep"));
    }
    let page = Page::parse_inline(header.inline)?;
    if page.has_buckets() {
        for item in (0..page.count()).filter_map(|index| page.item(index)) {
            if item.is_bucket() {
                bucket_roots(&item, depth + 1, roots)?;
            }
        }
    }
    Ok(())
}
