//! Rows of logits in memory that two processes have mapped: the child writes them, the parent reads.

use std::fs::File;
use std::io::{Error, Result, Seek, SeekFrom};

use memmap2::{Mmap, MmapMut};
use rustix::fs::{MemfdFlags, SealFlags};

/// The most bytes that are mapped. Pages are taken only where something was written.
const BYTES_MAX: u64 = 1 << 40;

/// The memory, before it has a size.
pub(crate) fn file() -> Result<File> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    Ok(rustix::fs::memfd_create("minerva-logits", flags)?.into())
}

/// So many rows of such a length, in bytes.
pub(crate) fn size(rows: u32, length: u32) -> Result<u64> {
    let bytes = (u64::from(rows) * u64::from(length)).checked_mul(4).filter(|&bytes| bytes <= BYTES_MAX);
    bytes.ok_or_else(|| Error::other(format!("{rows} rows of {length} logits are more than can be mapped")))
}

/// What the parent reads.
pub(crate) struct Rows {
    map: Option<Mmap>,
}

impl Rows {
    /// Gives the memory its size for good: whoever has it can neither cut it off, which would kill its reader, nor
    /// make it longer.
    pub(crate) fn new(file: &mut File, bytes: u64) -> Result<Self> {
        file.set_len(bytes)?;
        rustix::fs::fcntl_add_seals(&*file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // The child has it as its standard output, and shares this place: what is printed there by mistake fails.
        file.seek(SeekFrom::Start(bytes))?;
        // SAFETY: no other process than the child has it, which can change what is in it, but not its size. The child
        // writes only while it decodes, and nobody holds a row then, because that borrows the model. One that does
        // not keep to that makes wrong numbers: every pattern of bits is one.
        let map = if bytes == 0 { None } else { Some(unsafe { Mmap::map(&*file)? }) };
        Ok(Self { map })
    }

    /// A row of such a length.
    pub(crate) fn get(&self, row: usize, length: usize) -> Option<&[f32]> {
        let all: &[f32] = bytemuck::cast_slice(self.map.as_deref()?);
        all.get(row.checked_mul(length)?..)?.get(..length)
    }
}

/// What the child writes.
pub(crate) struct RowsMut {
    map: Option<MmapMut>,
}

impl RowsMut {
    /// Maps what the parent gave a size.
    pub(crate) fn new(file: &File) -> Result<Self> {
        // SAFETY: as in `Rows::new`; the parent only reads.
        let map = if file.metadata()?.len() == 0 { None } else { Some(unsafe { MmapMut::map_mut(file)? }) };
        Ok(Self { map })
    }

    /// Writes a row. False: there is no room for it.
    pub(crate) fn set(&mut self, row: usize, logits: &[f32]) -> bool {
        let all: &mut [f32] = self.map.as_deref_mut().map(bytemuck::cast_slice_mut).unwrap_or_default();
        let Some(begin) = row.checked_mul(logits.len()) else { return false };
        let Some(to) = all.get_mut(begin..).and_then(|rest| rest.get_mut(..logits.len())) else {
            return false;
        };
        to.copy_from_slice(logits);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_writes_the_other_reads_and_neither_can_change_its_size() {
        let mut file = file().expect("memory");
        let rows = Rows::new(&mut file, size(2, 3).expect("a size")).expect("mapped");
        let mut other = RowsMut::new(&file).expect("mapped");
        assert!(
            other.set(1, &[1.0, 2.0, 3.0]) && !other.set(2, &[0.0; 3]) && !other.set(usize::MAX, &[0.0; 3])
        );
        assert_eq!(rows.get(0, 3), Some([0.0; 3].as_slice()));
        assert_eq!(rows.get(1, 3), Some([1.0, 2.0, 3.0].as_slice()));
        assert_eq!((rows.get(2, 3), rows.get(usize::MAX, 3)), (None, None));
        assert!(file.set_len(8).is_err() && file.set_len(1 << 20).is_err(), "it is sealed");
        std::io::Write::write(&mut file, b"printed by mistake").expect_err("there is no room behind it");
        assert_eq!(rows.get(0, 3), Some([0.0; 3].as_slice()));
    }

    #[test]
    fn there_can_be_no_rows_and_not_too_many() {
        let mut file = file().expect("memory");
        assert_eq!(Rows::new(&mut file, size(0, 9).expect("a size")).expect("nothing").get(0, 9), None);
        assert!(!RowsMut::new(&file).expect("nothing").set(0, &[1.0]));
        assert!(size(1 << 20, 1 << 18).is_ok() && size(1 << 20, (1 << 18) + 1).is_err());
        assert!(size(u32::MAX, u32::MAX).is_err());
    }
}
