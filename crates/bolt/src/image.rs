use crate::error::READ_IMAGE;
use crate::{Error, ReadTx};

impl ReadTx {
    /// The length of the byte image that [`ReadTx::read_image`] reads.
    pub fn image_len(&self) -> u64 {
        self.snapshot.meta.high_water * self.snapshot.pager().page_size as u64
    }

    /// Reads a part of this state as a db file of its own: both meta pages say this state (the
    /// second as the transaction before), the pages follow as they stand in the file. What free
    /// pages hold is left to chance, as in bbolt's own images.
    ///
    /// Fills as much of `buf` as the image has from `offset` on, and returns how much that is.
    pub fn read_image(&self, offset: u64, buf: &mut [u8]) -> Result<usize, Error> {
        let left = self.image_len().saturating_sub(offset);
        let len = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let metas = self.metas();
        let in_metas = metas.get(usize::try_from(offset).unwrap_or(usize::MAX)..);
        let in_metas = in_metas.unwrap_or_default();
        let in_metas = in_metas.get(..len).unwrap_or(in_metas);
        let Some(buf) = buf.get_mut(..len) else { return Ok(0) };
        let Some((head, rest)) = buf.split_at_mut_checked(in_metas.len()) else { return Ok(0) };
        head.copy_from_slice(in_metas);
        self.read_file(offset + in_metas.len() as u64, rest)?;
        Ok(len)
    }

    fn metas(&self) -> Vec<u8> {
        let meta = self.snapshot.meta;
        let before = crate::meta::Meta { txid: meta.txid.wrapping_sub(1), ..meta };
        let mut metas = meta.encode(0);
        metas.extend_from_slice(&before.encode(1));
        metas
    }

    /// Reads the file itself. Its tail may have been cut off since, where nothing but free pages
    /// was: these read as zeros.
    fn read_file(&self, offset: u64, buf: &mut [u8]) -> Result<(), Error> {
        let mut done = 0;
        while let Some(rest) = buf.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let file = &self.snapshot.pager().file;
            let read = file.read_at(rest, offset + done as u64);
            match read.map_err(Error::io(READ_IMAGE))? {
                0 => {
                    rest.fill(0);
                    break;
                }
                read => done += read,
            }
        }
        Ok(())
    }
}
