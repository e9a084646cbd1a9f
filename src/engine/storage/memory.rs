//! The memory of one segment: a mapping of its own.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Memory that is returned to the system as soon as it is dropped, whatever the allocator does. With segments in glibc's
/// arenas, between large values, freed memory stayed with the process.
#[derive(Debug)]
pub(super) enum Memory {
    Mapped(MmapMut),
    /// No memory; or memory of the allocator, when the process has all the mappings that the system allows (Linux:
    /// `vm.max_map_count`).
    Allocated(Box<[u8]>),
}

impl Memory {
    pub(super) fn zeroed(bytes: usize) -> Memory {
        MmapMut::map_anon(bytes).map_or_else(
            |_| Memory::Allocated(vec![0; bytes].into_boxed_slice()),
            Memory::Mapped,
        )
    }
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::Allocated(Box::default())
    }
}

impl Deref for Memory {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        match self {
            Memory::Mapped(map) => map,
            Memory::Allocated(bytes) => bytes,
        }
    }
}

impl DerefMut for Memory {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Memory::Mapped(map) => map,
            Memory::Allocated(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_a_mapping_filled_with_zeros() {
        let mut memory = Memory::zeroed(16 * 1024);
        assert!(matches!(memory, Memory::Mapped(_)));
        assert_eq!(*memory, [0; 16 * 1024]);
        memory[16 * 1024 - 1] = 7;
        assert_eq!(memory.last(), Some(&7));
    }

    #[test]
    fn no_memory_is_no_bytes() {
        assert!(Memory::default().is_empty());
    }
}
