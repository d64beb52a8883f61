use std::sync::Arc;

use bytes::Bytes;
use env::File;

use crate::Error;
use crate::cache::PageCache;
use crate::error::READ_PAGE;
use crate::meta::header;
use crate::page::Page;

/// The file as checked pages.
#[derive(Debug)]
pub(crate) struct Pager {
    pub(crate) file: Arc<dyn File>,
    pub(crate) page_size: usize,
    pub(crate) cache: PageCache,
}

impl Pager {
    /// The leaf or branch page `id` of a state with this high water mark.
    pub(crate) fn load(&self, id: u64, high_water: u64) -> Result<Arc<Page>, Error> {
        if let Some(page) = self.cache.find(id)
            && page.run().end() <= high_water
        {
            return Ok(page);
        }
        let page = Arc::new(self.read(id, high_water)?);
        self.cache.insert(Arc::clone(&page));
        Ok(page)
    }

    /// The same, past the cache: for walks that see every page once.
    pub(crate) fn read(&self, id: u64, high_water: u64) -> Result<Page, Error> {
        Page::parse(id, self.read_raw(id, high_water)?)
    }

    /// The bytes of the page and its overflow pages.
    pub(crate) fn read_raw(&self, id: u64, high_water: u64) -> Result<Bytes, Error> {
        if id < 2 || id >= high_water {
            return Err(Error::corrupt(id, "page out of range"));
        }
        let mut bytes = vec![0; self.page_size];
        self.fill(&mut bytes, id)?;
        let (_, _, _, overflow) =
            header(&bytes).ok_or(Error::corrupt(id, "shorter than a page header"))?;
        let pages = u64::from(overflow) + 1;
        if id.saturating_add(pages) > high_water {
            return Err(Error::corrupt(id, "overflow past the high water mark"));
        }
        if overflow > 0 {
            bytes.resize(pages as usize * self.page_size, 0);
            if let Some(rest) = bytes.get_mut(self.page_size..) {
                self.fill(rest, id + 1)?;
            }
        }
        Ok(bytes.into())
    }

    fn fill(&self, bytes: &mut [u8], id: u64) -> Result<(), Error> {
        self.file.read_exact_at(bytes, id * self.page_size as u64).map_err(Error::io(READ_PAGE))
    }

    /// How many pages so many bytes need.
    pub(crate) fn pages_for(&self, len: usize) -> u64 {
        len.div_ceil(self.page_size).max(1) as u64
    }
}
