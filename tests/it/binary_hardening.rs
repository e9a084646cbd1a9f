//! How the program is linked (security.md OP-7): nothing in memory is both written and executed, its place is drawn at each
//! start, and what the linker has resolved cannot be changed afterwards.

use std::fs;

const DYNAMIC: u16 = 3;
const PT_DYNAMIC: u32 = 2;
const PT_GNU_STACK: u32 = 0x6474_e551;
const PT_GNU_RELRO: u32 = 0x6474_e552;
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const DT_BIND_NOW: u64 = 24;
const DT_FLAGS: u64 = 30;
const DF_BIND_NOW: u64 = 8;
const DT_FLAGS_1: u64 = 0x6fff_fffb;
const DF_1_NOW: u64 = 1;

/// A 64-bit program for Linux, as a file.
struct Program(Vec<u8>);

/// A part of it that is loaded, or that tells the loader something.
struct Segment {
    kind: u32,
    flags: u32,
    at: usize,
    bytes: usize,
}

impl Program {
    fn number(&self, at: usize, bytes: usize) -> u64 {
        let digits = self.0[at..at + bytes].iter().rev();
        digits.fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn segments(&self) -> Vec<Segment> {
        let begin = self.number(32, 8) as usize;
        let (size, count) = (self.number(54, 2) as usize, self.number(56, 2) as usize);
        let segment = |number| {
            let at = begin + number * size;
            Segment {
                kind: self.number(at, 4) as u32,
                flags: self.number(at + 4, 4) as u32,
                at: self.number(at + 8, 8) as usize,
                bytes: self.number(at + 32, 8) as usize,
            }
        };
        (0..count).map(segment).collect()
    }

    /// Whether the loader resolves everything at the start.
    fn binds_at_once(&self) -> bool {
        let of_dynamic = |segment: &Segment| segment.kind == PT_DYNAMIC;
        let segments = self.segments();
        let dynamic = segments
            .iter()
            .find(|segment| of_dynamic(segment))
            .expect("it is dynamic");
        (dynamic.at..dynamic.at + dynamic.bytes)
            .step_by(16)
            .any(|at| {
                let (tag, value) = (self.number(at, 8), self.number(at + 8, 8));
                tag == DT_BIND_NOW
                    || (tag == DT_FLAGS && value & DF_BIND_NOW != 0)
                    || (tag == DT_FLAGS_1 && value & DF_1_NOW != 0)
            })
    }
}

#[test]
fn the_program_is_linked_as_hard_as_it_can_be() {
    let program = Program(fs::read(env!("CARGO_BIN_EXE_larder")).expect("the program"));
    assert_eq!(&program.0[..5], b"\x7fELF\x02", "a 64-bit program");
    assert_eq!(
        program.number(16, 2),
        u64::from(DYNAMIC),
        "its place is drawn at each start"
    );
    let segments = program.segments();
    let both = |segment: &&Segment| segment.flags & WRITE != 0 && segment.flags & EXECUTE != 0;
    assert_eq!(
        segments.iter().filter(both).count(),
        0,
        "written and executed"
    );
    let stack = segments.iter().find(|segment| segment.kind == PT_GNU_STACK);
    assert_eq!(
        stack.expect("it says so").flags & EXECUTE,
        0,
        "the stack is not executed"
    );
    assert!(
        segments.iter().any(|segment| segment.kind == PT_GNU_RELRO),
        "read-only after relocation"
    );
    assert!(program.binds_at_once(), "nothing is resolved later");
}
