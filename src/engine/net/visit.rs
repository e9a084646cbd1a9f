//! A visit: what one connection may do before the next one is served, and what comes after it.

use crate::engine::protocol::Output;
use crate::engine::state::EngineState;

/// Bytes read at once.
const SCRATCH_BYTES: usize = 64 << 10;

/// Buffers of one serving thread. One connection uses them at a time, and never across a wait.
pub struct Scratch {
    pub input: Box<[u8]>,
    pub out: Output,
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch {
            input: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            out: Output::default(),
        }
    }
}

impl Scratch {
    /// Drops the replies of a connection that ended in the middle of a visit.
    pub fn clear(&mut self) {
        self.out.clear();
    }
}

/// What a connection works with during a visit.
pub struct Visit<'v> {
    pub engine: &'v EngineState,
    pub scratch: &'v mut Scratch,
    /// The number of the present sweep.
    pub now_sweeps: u32,
    /// The engine stops: close between two requests.
    pub stopping: bool,
    /// The present epoch of the thread's work.
    pub epoch: u32,
    /// Set by the visit: the work that its requests cost.
    pub work: u32,
    /// Set by a visit that ends without an identity.
    pub anonymous: bool,
}

/// What the event loop does with a connection after a visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterVisit {
    /// There is nothing to do before the next readiness event.
    Idle,
    /// There is more to do. Other connections are visited first.
    Again,
    /// There is more to do after a short pause.
    Pause,
    Closed,
}
