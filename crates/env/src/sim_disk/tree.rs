use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use super::content::Content;
use crate::Random;

pub(super) type InodeId = u64;
type Name = (InodeId, String);
const ROOT: InodeId = 0;

#[derive(Debug, Clone)]
pub(super) enum Inode {
    File(Content),
    Dir(Directory),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Directory {
    entries: BTreeMap<String, InodeId>,
    durable: BTreeMap<String, InodeId>,
}

/// One change of names that no `sync_dir` has made durable.
#[derive(Debug, Clone)]
enum NameChange {
    Link { name: Name, inode: InodeId },
    Unlink { name: Name },
    Rename { from: Name, to: Name, inode: InodeId },
}

impl NameChange {
    fn names(&self) -> Vec<&Name> {
        match self {
            NameChange::Link { name, .. } | NameChange::Unlink { name } => vec![name],
            NameChange::Rename { from, to, .. } => vec![from, to],
        }
    }
}

/// Directories and files, as the running machine sees them and as the disk has them.
#[derive(Debug, Clone)]
pub(super) struct Tree {
    inodes: BTreeMap<InodeId, Inode>,
    next: InodeId,
    unsynced: Vec<NameChange>,
}

impl Tree {
    pub(super) fn new() -> Self {
        let root = Inode::Dir(Directory::default());
        Self { inodes: BTreeMap::from([(ROOT, root)]), next: ROOT + 1, unsynced: Vec::new() }
    }

    pub(super) fn file(&mut self, inode: InodeId) -> io::Result<&mut Content> {
        match self.inodes.get_mut(&inode) {
            Some(Inode::File(content)) => Ok(content),
            Some(Inode::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn dir(&self, inode: InodeId) -> io::Result<&Directory> {
        match self.inodes.get(&inode) {
            Some(Inode::Dir(dir)) => Ok(dir),
            Some(Inode::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn dir_mut(&mut self, inode: InodeId) -> Option<&mut Directory> {
        match self.inodes.get_mut(&inode) {
            Some(Inode::Dir(dir)) => Some(dir),
            _ => None,
        }
    }

    fn is_dir(&self, inode: InodeId) -> bool {
        matches!(self.inodes.get(&inode), Some(Inode::Dir(_)))
    }

    pub(super) fn find(&self, path: &Path) -> io::Result<InodeId> {
        let mut at = ROOT;
        for part in parts(path)? {
            let dir = self.dir(at)?;
            at = *dir.entries.get(part).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(at)
    }

    /// The directory that a path is in, and its last part.
    fn place(&self, path: &Path) -> io::Result<Name> {
        let parts = parts(path)?;
        let (last, above) = parts.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let mut at = ROOT;
        for part in above {
            at = *self.dir(at)?.entries.get(*part).ok_or(io::ErrorKind::NotFound)?;
        }
        self.dir(at)?;
        Ok((at, (*last).to_owned()))
    }

    pub(super) fn names(&self, path: &Path) -> io::Result<Vec<String>> {
        Ok(self.dir(self.find(path)?)?.entries.keys().cloned().collect())
    }

    pub(super) fn create_file(&mut self, path: &Path) -> io::Result<InodeId> {
        let name = self.place(path)?;
        Ok(self.link(name, Inode::File(Content::default())))
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut at = ROOT;
        for part in parts(path)? {
            at = match self.dir(at)?.entries.get(part) {
                Some(inode) => *inode,
                None => self.link((at, part.to_owned()), Inode::Dir(Directory::default())),
            };
        }
        self.dir(at).map(|_| ())
    }

    fn link(&mut self, name: Name, inode: Inode) -> InodeId {
        let id = self.next;
        self.next += 1;
        self.inodes.insert(id, inode);
        self.change(NameChange::Link { name, inode: id });
        id
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let inode = self.find(from)?;
        let (from, to) = (self.place(from)?, self.place(to)?);
        if from == to {
            return Ok(());
        }
        if let Some(replaced) = self.dir(to.0)?.entries.get(&to.1).copied() {
            match (self.is_dir(inode), self.is_dir(replaced)) {
                (false, true) => return Err(io::ErrorKind::IsADirectory.into()),
                (true, false) => return Err(io::ErrorKind::NotADirectory.into()),
                (true, true) if !self.dir(replaced)?.entries.is_empty() => {
                    return Err(io::ErrorKind::DirectoryNotEmpty.into());
                }
                _ => {}
            }
        }
        self.change(NameChange::Rename { from, to, inode });
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        self.file(self.find(path)?)?;
        let name = self.place(path)?;
        self.change(NameChange::Unlink { name });
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        self.dir(inode)?;
        let name = self.place(path)?;
        self.empty_dir(inode)?;
        self.change(NameChange::Unlink { name });
        Ok(())
    }

    fn empty_dir(&mut self, inode: InodeId) -> io::Result<()> {
        let entries: Vec<(String, InodeId)> =
            self.dir(inode)?.entries.iter().map(|(name, id)| (name.clone(), *id)).collect();
        for (name, id) in entries {
            if self.is_dir(id) {
                self.empty_dir(id)?;
            }
            self.change(NameChange::Unlink { name: (inode, name) });
        }
        Ok(())
    }

    fn change(&mut self, change: NameChange) {
        self.apply(&change, |dir| &mut dir.entries);
        self.unsynced.push(change);
    }

    fn apply(
        &mut self,
        change: &NameChange,
        side: fn(&mut Directory) -> &mut BTreeMap<String, InodeId>,
    ) {
        let mut set = |name: &Name, inode: Option<InodeId>| {
            let Some(dir) = self.dir_mut(name.0) else { return };
            match inode {
                Some(inode) => side(dir).insert(name.1.clone(), inode),
                None => side(dir).remove(&name.1),
            };
        };
        match change {
            NameChange::Link { name, inode } => set(name, Some(*inode)),
            NameChange::Unlink { name } => set(name, None),
            NameChange::Rename { from, to, inode } => {
                set(from, None);
                set(to, Some(*inode));
            }
        }
    }

    /// Makes the names in a directory durable, with what earlier changes they stand on: a rename
    /// out of another directory takes the name there along.
    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let dir = self.find(path)?;
        self.dir(dir)?;
        let mut needed: BTreeSet<Name> = BTreeSet::new();
        let mut synced = vec![false; self.unsynced.len()];
        for (change, synced) in self.unsynced.iter().zip(&mut synced).rev() {
            let names = change.names();
            if names.iter().any(|name| name.0 == dir || needed.contains(*name)) {
                *synced = true;
                needed.extend(names.into_iter().cloned());
            }
        }
        for (change, synced) in std::mem::take(&mut self.unsynced).into_iter().zip(synced) {
            if synced {
                self.apply(&change, |dir| &mut dir.durable);
            } else {
                self.unsynced.push(change);
            }
        }
        Ok(())
    }

    /// The tree after a power cut: some of the unsynced changes of names happened.
    pub(super) fn after_power_cut(&self, random: &mut Random) -> Tree {
        let mut tree = self.clone();
        let changes = std::mem::take(&mut tree.unsynced);
        let mode = random.below(4);
        let prefix = random.index(changes.len() + 1);
        for (at, change) in changes.iter().enumerate() {
            let survives = match mode {
                0 => false,
                1 => true,
                2 => at < prefix,
                _ => random.chance(1, 2),
            };
            if survives {
                tree.apply(change, |dir| &mut dir.durable);
            }
        }
        for inode in tree.inodes.values_mut() {
            match inode {
                Inode::File(content) => *content = content.after_power_cut(random),
                Inode::Dir(dir) => dir.entries = dir.durable.clone(),
            }
        }
        tree.forget_unreachable(&BTreeSet::new());
        tree
    }

    /// Frees what no name and no open file leads to.
    pub(super) fn forget_unreachable(&mut self, open: &BTreeSet<InodeId>) {
        let mut reached: BTreeSet<InodeId> = BTreeSet::from([ROOT]);
        let mut todo: Vec<InodeId> = vec![ROOT];
        todo.extend(open);
        for change in &self.unsynced {
            if let NameChange::Link { inode, .. } | NameChange::Rename { inode, .. } = change {
                todo.push(*inode);
            }
        }
        while let Some(inode) = todo.pop() {
            reached.insert(inode);
            if let Some(Inode::Dir(dir)) = self.inodes.get(&inode) {
                let below = dir.entries.values().chain(dir.durable.values());
                todo.extend(below.filter(|inode| !reached.contains(inode)));
            }
        }
        self.inodes.retain(|inode, _| reached.contains(inode));
    }

    /// The bytes that all files take.
    pub(super) fn used(&self) -> u64 {
        let len = |inode: &Inode| match inode {
            Inode::File(content) => content.len(),
            Inode::Dir(_) => 0,
        };
        self.inodes.values().map(len).sum()
    }
}

/// The parts of a path; a relative one starts at the root.
fn parts(path: &Path) -> io::Result<Vec<&str>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(part) => {
                parts.push(part.to_str().ok_or(io::ErrorKind::InvalidInput)?);
            }
            Component::ParentDir | Component::Prefix(_) => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(parts)
}
