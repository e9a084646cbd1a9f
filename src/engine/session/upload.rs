//! Uploads: large values, received directly into their own allocation.

use std::borrow::Cow;

use super::{ClientSession, Next, Stop, perform};
use crate::domain::Capabilities;
use crate::engine::auth::Standing;
use crate::engine::execute::{Executor, permit};
use crate::engine::protocol::{
    Command, Dialect, Form, Output, Parsed, ProtocolError, Reply, Request, binary, text,
};
use crate::engine::state::EngineState;
use crate::engine::storage::{NewValue, Upload};

/// How often a value waits for room before it is refused. The connection pauses for 5 ms each time.
const WAITS_MAX: u16 = 400;

/// An upload in progress.
#[derive(Debug)]
pub(super) struct Incoming {
    /// The command, without its value. It is parsed again when the whole value has arrived.
    head: Box<[u8]>,
    upload: Upload,
    /// The line end behind a text block, as far as it has arrived.
    ending: Vec<u8>,
}

impl ClientSession {
    /// Handles a valid store whose data block has not arrived. A small block waits in the read buffer; a large one gets
    /// its allocation now.
    pub(super) fn await_block(
        &mut self,
        engine: &EngineState,
        executor: &mut Executor<'_>,
        head: &[u8],
        block: usize,
        out: &mut Output,
    ) -> (usize, Stop) {
        let Some(principal) = self.principal.clone() else {
            return (0, Stop::Next(Next::Close));
        };
        let tenancy = principal.slot.tenancy();
        let is_large = block >= engine.limits.upload_bytes_min && tenancy.items.is_large(1, block);
        if !is_large {
            self.needed = head.len() + block + self.ending_bytes();
            return (0, Stop::Next(Next::Read));
        }
        // The capability is checked again when the command is executed. This check keeps a client without the write
        // capability from evicting items.
        let Standing::Valid(granted) = principal.slot.account().standing() else {
            return (0, Stop::Next(Next::Close));
        };
        if let Some(stop) = self.refuse_early(engine, executor, head, block, granted, out) {
            return (head.len(), stop);
        }
        executor.release();
        match tenancy.items.reserve(block) {
            Ok(upload) => {
                self.waits = 0;
                self.incoming = Some(Box::new(Incoming {
                    head: head.into(),
                    upload,
                    ending: Vec::new(),
                }));
                (head.len(), Stop::Redispatch)
            }
            Err(_) if self.waits < WAITS_MAX => {
                self.waits += 1;
                (0, Stop::Next(Next::Wait))
            }
            Err(_) => {
                self.waits = 0;
                self.refuse_for_room(engine, executor, head, block, out);
                (head.len(), Stop::Redispatch)
            }
        }
    }

    /// Refuses a store that the client may not make, or one whose key is a user name. `None` when it is neither.
    fn refuse_early(
        &mut self,
        engine: &EngineState,
        executor: &mut Executor<'_>,
        head: &[u8],
        block: usize,
        granted: Capabilities,
        out: &mut Output,
    ) -> Option<Stop> {
        let Parsed::Request { request, .. } =
            self.parse_received(engine, head, NewValue::Bytes(&[]))
        else {
            return None;
        };
        if self.is_login(engine, &request) {
            executor.release();
            self.swallow = block + self.ending_bytes();
            return Some(self.refuse_long_login(engine, &request.form, out));
        }
        if permit(&request.command, granted).is_ok() {
            return None;
        }
        perform(executor, request, out);
        self.swallow = block + self.ending_bytes();
        Some(Stop::Redispatch)
    }

    /// Refuses a store for which no memory was found.
    fn refuse_for_room(
        &mut self,
        engine: &EngineState,
        executor: &mut Executor<'_>,
        head: &[u8],
        block: usize,
        out: &mut Output,
    ) {
        self.swallow = block + self.ending_bytes();
        let parsed = self.parse_received(engine, head, NewValue::Bytes(&[]));
        let Parsed::Request {
            request: Request { command, form },
            ..
        } = parsed
        else {
            return;
        };
        if let Command::Store { key, request } = command {
            let key: Cow<'_, [u8]> = key;
            executor.refuse_no_memory(&key, request.removes_old);
        }
        form.write(&Reply::OutOfMemory, out);
    }

    /// Takes what belongs to the value from `input`, and executes the store once the value is complete.
    pub(super) fn receive(
        &mut self,
        engine: &EngineState,
        input: &[u8],
        out: &mut Output,
    ) -> (usize, Stop) {
        let ending_bytes = self.ending_bytes();
        let Some(incoming) = self.incoming.as_mut() else {
            return (0, Stop::Redispatch);
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
            Some(incoming) => (used, self.complete(engine, *incoming, out)),
            None => (used, Stop::Redispatch),
        }
    }

    fn complete(&mut self, engine: &EngineState, incoming: Incoming, out: &mut Output) -> Stop {
        let Some(principal) = self.principal.clone() else {
            return Stop::Next(Next::Close);
        };
        let in_order = incoming.ending.is_empty() || incoming.ending == b"\r\n";
        let head = incoming.head;
        let value = NewValue::Upload(incoming.upload);
        let Parsed::Request { request, .. } = self.parse_received(engine, &head, value) else {
            return Stop::Next(Next::Close);
        };
        if !in_order {
            let form: Form<'_> = request.form;
            form.write_error(ProtocolError::BadChunk, out);
            return Stop::Redispatch;
        }
        if self.is_login(engine, &request) {
            drop(principal);
            return self.log_in_by(engine, &request, out);
        }
        let mut executor = Executor::new(engine, &principal);
        match perform(&mut executor, request, out) {
            Next::Close => Stop::Next(Next::Close),
            _ => Stop::Redispatch,
        }
    }

    fn parse_received<'h>(
        &self,
        engine: &EngineState,
        head: &'h [u8],
        value: NewValue<'h>,
    ) -> Parsed<'h> {
        match self.dialect {
            Some(Dialect::Binary) => binary::parse_received(head, value),
            _ => text::parse_received(head, value, &engine.limits),
        }
    }

    /// Bytes behind a data block: CR LF in the text dialects.
    fn ending_bytes(&self) -> usize {
        match self.dialect {
            Some(Dialect::Binary) => 0,
            _ => 2,
        }
    }
}
