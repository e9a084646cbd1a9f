//! Large values, received straight into their own allocation.

use std::borrow::Cow;

use super::{Next, Session, Stop, perform};
use crate::domain::Capabilities;
use crate::engine::auth::Standing;
use crate::engine::execute::{Run, permit};
use crate::engine::node::Node;
use crate::engine::protocol::{
    Command, Dialect, Fault, Form, Output, Parsed, Reply, Request, binary, text,
};
use crate::engine::storage::{NewValue, StoreMode, Upload};

/// Times that a value waits for room before it is refused; the connection pauses for some milliseconds each time.
const WAITS_MAX: u16 = 400;

/// A value on its way in.
#[derive(Debug)]
pub(super) struct Incoming {
    /// Its command, as it stood before the value. Read again when all is here.
    head: Box<[u8]>,
    upload: Upload,
    /// The line end behind a text block, as far as it has come.
    ending: Vec<u8>,
}

impl Session {
    /// A store in order whose block is not here: small ones wait in the read buffer, large ones get their
    /// allocation now.
    pub(super) fn await_block(
        &mut self,
        node: &Node,
        run: &mut Run<'_>,
        head: &[u8],
        block: usize,
        out: &mut Output,
    ) -> (usize, Stop) {
        let Some(principal) = self.principal.clone() else {
            return (0, Stop::Next(Next::Close));
        };
        let tenancy = principal.seat.tenancy();
        let is_large = block >= node.limits.upload_bytes_min && tenancy.items.is_large(1, block);
        if !is_large {
            return (0, Stop::Next(Next::Read));
        }
        // Asked again when it is executed; this only keeps those out who would evict without any right to.
        let Standing::Valid(granted) = principal.seat.account().standing() else {
            return (0, Stop::Next(Next::Close));
        };
        if self.refuse_early(node, run, head, block, granted, out) {
            return (head.len(), Stop::Turn);
        }
        run.release();
        match tenancy.items.reserve(block) {
            Ok(upload) => {
                self.waits = 0;
                self.incoming = Some(Box::new(Incoming {
                    head: head.into(),
                    upload,
                    ending: Vec::new(),
                }));
                (head.len(), Stop::Turn)
            }
            Err(_) if self.waits < WAITS_MAX => {
                self.waits += 1;
                (0, Stop::Next(Next::Wait))
            }
            Err(_) => {
                self.waits = 0;
                self.refuse_for_room(node, run, head, block, out);
                (head.len(), Stop::Turn)
            }
        }
    }

    fn refuse_early(
        &mut self,
        node: &Node,
        run: &mut Run<'_>,
        head: &[u8],
        block: usize,
        granted: Capabilities,
        out: &mut Output,
    ) -> bool {
        let Parsed::Request { request, .. } = self.parse_received(node, head, NewValue::Bytes(&[]))
        else {
            return false;
        };
        if permit(&request.command, granted).is_ok() {
            return false;
        }
        perform(run, request, out);
        self.swallow = block + self.ending_bytes();
        true
    }

    fn refuse_for_room(
        &mut self,
        node: &Node,
        run: &mut Run<'_>,
        head: &[u8],
        block: usize,
        out: &mut Output,
    ) {
        self.swallow = block + self.ending_bytes();
        let parsed = self.parse_received(node, head, NewValue::Bytes(&[]));
        let Parsed::Request {
            request: Request { command, form },
            ..
        } = parsed
        else {
            return;
        };
        if let Command::Store { key, request } = command {
            let key: Cow<'_, [u8]> = key;
            let removes_old = request.mode == StoreMode::Set && request.cas.is_none();
            run.refuse_no_memory(&key, removes_old);
        }
        form.write(&Reply::OutOfMemory, out);
    }

    /// Takes what belongs to the value from `input` and executes the store when all of it is here.
    pub(super) fn receive(&mut self, node: &Node, input: &[u8], out: &mut Output) -> (usize, Stop) {
        let ending_bytes = self.ending_bytes();
        let Some(incoming) = self.incoming.as_mut() else {
            return (0, Stop::Turn);
        };
        let mut used = incoming.upload.extend(input);
        if incoming.upload.is_complete() {
            let missing = ending_bytes - incoming.ending.len();
            let ending = &input[used..][..missing.min(input.len() - used)];
            incoming.ending.extend_from_slice(ending);
            used += ending.len();
        }
        if !incoming.upload.is_complete() || incoming.ending.len() < ending_bytes {
            return (used, Stop::Next(Next::Read));
        }
        match self.incoming.take() {
            Some(incoming) => (used, self.complete(node, *incoming, out)),
            None => (used, Stop::Turn),
        }
    }

    fn complete(&mut self, node: &Node, incoming: Incoming, out: &mut Output) -> Stop {
        let Some(principal) = self.principal.clone() else {
            return Stop::Next(Next::Close);
        };
        let in_order = incoming.ending.is_empty() || incoming.ending == b"\r\n";
        let head = incoming.head;
        let value = NewValue::Upload(incoming.upload);
        let Parsed::Request { request, .. } = self.parse_received(node, &head, value) else {
            return Stop::Next(Next::Close);
        };
        if !in_order {
            let form: Form<'_> = request.form;
            form.write_fault(Fault::BadChunk, out);
            return Stop::Turn;
        }
        let mut run = Run::new(node, &principal);
        match perform(&mut run, request, out) {
            Next::Close => Stop::Next(Next::Close),
            _ => Stop::Turn,
        }
    }

    fn parse_received<'h>(&self, node: &Node, head: &'h [u8], value: NewValue<'h>) -> Parsed<'h> {
        match self.dialect {
            Some(Dialect::Binary) => binary::parse_received(head, value),
            _ => text::parse_received(head, value, &node.limits),
        }
    }

    /// CR LF behind a text block.
    fn ending_bytes(&self) -> usize {
        match self.dialect {
            Some(Dialect::Binary) => 0,
            _ => 2,
        }
    }
}
