//! The bytes of one segment, in a mapping of their own.

use std::ops::{Deref, DerefMut};

use memmap2::MmapMut;

/// Bytes that go back to the system when dropped, at once and whatever the allocator: in glibc's arenas, beside large
/// values, what was freed between those stayed with the process.
#[derive(Debug)]
pub(super) enum Memory {
    Mapped(MmapMut),
    /// None at all; or the system has no mapping left to give, for it counts them (Linux: `vm.max_map_count`).
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
    fn a_segment_has_a_mapping_of_its_own_full_of_zeros() {
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
