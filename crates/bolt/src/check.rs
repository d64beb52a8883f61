use std::fmt;

use bytes::Bytes;

use crate::commit::freelist_run;
use crate::node::{Loader, MAX_DEPTH};
use crate::page::{BucketHeader, Kind, Page};
use crate::walk::PageSet;
use crate::{Db, Error, ReadTx};

/// Something in a db file that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The page where it was met.
    pub page: u64,
    /// What it is.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "page {}: {}", self.page, self.what)
    }
}

impl Db {
    /// Looks at every page, as `bbolt check` does: each is reached once or free, keys ascend and
    /// lie between their parents' keys. Waits for an open write transaction, not for readers.
    /// Nothing found means a sound file.
    pub fn check(&self) -> Vec<Problem> {
        let (tx, free) = self.read_with_free_pages();
        let (mut problems, mut reached) = look(&tx, false);
        let high_water = tx.snapshot.meta.high_water;
        match freelist_run(&tx.snapshot.meta, tx.snapshot.loader()) {
            Ok(run) => {
                for page in run.map_or(0..0, |run| run.start..run.end()) {
                    if !reached.insert(page) {
                        problems.push(Problem { page, what: "freelist in use".into() });
                    }
                }
            }
            Err(error) => problems.push(Problem { page: 0, what: error.to_string() }),
        }
        let mut known = PageSet::new(high_water);
        for id in free.iter().flat_map(|run| run.start..run.end()) {
            if !known.insert(id) {
                problems.push(Problem { page: id, what: "freed twice or out of range".into() });
            }
            if reached.contains(id) {
                problems.push(Problem { page: id, what: "reached, but free".into() });
            }
        }
        for page in (2..high_water).filter(|id| !known.contains(*id) && !reached.contains(*id)) {
            problems.push(Problem { page, what: "neither reached nor free".into() });
        }
        problems
    }
}

impl ReadTx {
    /// Looks at every page of this state: each is reached once, keys ascend and lie between their
    /// parents' keys.
    pub fn check(&self) -> Vec<Problem> {
        look(self, false).0
    }

    /// The same, and what bbolt takes for granted when it deletes though its own check does not
    /// look: every branch has two children, every leaf under a branch a key, and a child's first
    /// key is its parent's.
    pub fn check_shape(&self) -> Vec<Problem> {
        look(self, true).0
    }
}

fn look(tx: &ReadTx, shape: bool) -> (Vec<Problem>, PageSet) {
    let loader = tx.snapshot.loader();
    let reached = PageSet::new(loader.high_water);
    let mut look = Look { loader, shape, reached, problems: Vec::new() };
    look.tree(tx.snapshot.meta.root, None, None, 0);
    (look.problems, look.reached)
}

struct Look<'a> {
    loader: Loader<'a>,
    shape: bool,
    reached: PageSet,
    problems: Vec<Problem>,
}

impl Look<'_> {
    /// Looks at a subtree whose keys are at least `from` and below `to`.
    fn tree(&mut self, id: u64, from: Option<&[u8]>, to: Option<&[u8]>, depth: usize) {
        if depth > MAX_DEPTH {
            return self.problem(id, "tree too deep");
        }
        let page = match self.loader.pager.read(id, self.loader.high_water) {
            Ok(page) => page,
            Err(Error::Corrupt { page, problem }) => return self.problem(page, problem),
            Err(error) => return self.problem(id, error),
        };
        let run = page.run();
        for id in run.start..run.end() {
            if !self.reached.insert(id) {
                return self.problem(id, "reached twice");
            }
        }
        self.keys(&page, from, to);
        match page.kind() {
            Kind::Branch => self.children(&page, to, depth),
            Kind::Leaf => self.buckets(&page, depth),
        }
    }

    fn keys(&mut self, page: &Page, from: Option<&[u8]>, to: Option<&[u8]>) {
        let Some(last) = page.count().checked_sub(1) else {
            if self.shape && from.is_some() {
                self.problem(page.id(), "empty leaf under a branch");
            }
            return;
        };
        if from.is_some_and(|from| page.key(0) < from) {
            self.problem(page.id(), "first key below the parent's key");
        }
        if self.shape && from.is_some_and(|from| page.key(0) != from) {
            self.problem(page.id(), "first key is not the parent's key");
        }
        if to.is_some_and(|to| page.key(last) >= to) {
            self.problem(page.id(), "last key not below the parent's next key");
        }
    }

    fn children(&mut self, page: &Page, to: Option<&[u8]>, depth: usize) {
        if self.shape && page.count() < 2 {
            self.problem(page.id(), "branch with a lone child");
        }
        for index in 0..page.count() {
            let next = if index + 1 < page.count() { Some(page.key(index + 1)) } else { to };
            match page.child(index) {
                Some(child) => self.tree(child, Some(page.key(index)), next, depth + 1),
                None => self.problem(page.id(), "child missing"),
            }
        }
    }

    fn buckets(&mut self, page: &Page, depth: usize) {
        if !page.has_buckets() {
            return;
        }
        for item in (0..page.count()).filter_map(|index| page.item(index)) {
            if item.is_bucket() {
                self.bucket(page.id(), &item.value, depth);
            }
        }
    }

    fn bucket(&mut self, id: u64, value: &Bytes, depth: usize) {
        let header = match BucketHeader::decode(value) {
            Ok(header) => header,
            Err(error) => return self.problem(id, error),
        };
        if header.root != 0 {
            return self.tree(header.root, None, None, depth + 1);
        }
        match Page::parse_inline(header.inline) {
            Ok(_) if depth > MAX_DEPTH => self.problem(id, "buckets nested too deep"),
            Ok(page) => self.buckets(&page, depth + 1),
            Err(error) => self.problem(id, error),
        }
    }

    fn problem(&mut self, page: u64, what: impl fmt::Display) {
        self.problems.push(Problem { page, what: what.to_string() });
    }
}
