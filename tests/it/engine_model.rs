//! A simple model of a cache: what it must answer. `engine_model_dialects.rs` writes it in the three dialects.

use std::collections::HashMap;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    Text,
    Meta,
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Set,
    Add,
    Replace,
    Append,
    Prepend,
}

/// What a client asks for. Keys and values are numbers, which [`Model`] converts to bytes. An exptime is in seconds; 0 is
/// never, -1 is already past.
#[derive(Clone, Debug)]
pub enum Op {
    Get(Vec<u8>),
    GetAndTouch(u8, i32),
    Store(Mode, u8, u8, i32),
    Arith { up: bool, key: u8, delta: u64 },
    Delete(u8),
    Touch(u8, i32),
    Flush,
}

/// An operation, quiet or not.
#[derive(Clone, Debug)]
pub struct Command {
    pub op: Op,
    pub quiet: bool,
}

/// The result of an operation.
#[derive(Debug)]
pub enum Answer {
    /// One entry for each key, in order.
    Items(Vec<Option<Item>>),
    Stored,
    NotStored(Mode),
    Number(u64),
    NonNumeric,
    NotFound,
    Deleted,
    Touched(u32),
    Flushed,
}

#[derive(Clone, Debug)]
pub struct Item {
    pub flags: u32,
    pub value: Vec<u8>,
    ends: Option<u64>,
}

/// The items of one tenant.
pub struct Model {
    items: HashMap<u8, Item>,
    /// Part of every value, so that a value of one tenant would be noticed in another's reply.
    name: &'static str,
    now: u64,
}

/// An append that would make a longer value is replaced by a set, because the model has no size limit.
const VALUE_BYTES_MAX: usize = 100_000;

impl Model {
    pub fn new(name: &'static str) -> Model {
        Model {
            items: HashMap::new(),
            name,
            now: 0,
        }
    }

    /// The bytes of a value: a short number, a text with the tenant's mark, some thousand bytes, or now and then enough for
    /// an upload.
    pub fn value(&self, seed: u8) -> Vec<u8> {
        match seed {
            0..=99 => seed.to_string().into_bytes(),
            100..=229 => format!("{}{seed}", self.name).into_bytes(),
            230..=254 => self.name.repeat(usize::from(seed - 229) * 30).into_bytes(),
            255 => self.name.repeat(8_000).into_bytes(),
        }
    }

    pub fn pass(&mut self, secs: u32) {
        self.now += u64::from(secs);
        let now = self.now;
        self.items
            .retain(|_, item| item.ends.is_none_or(|end| end > now));
    }

    /// The operation, or a similar one that the dialect can express and the limits allow.
    pub fn fit(&self, op: Op, dialect: Dialect) -> Op {
        let carried = |exptime: i32| {
            if dialect == Dialect::Binary {
                exptime.max(0)
            } else {
                exptime
            }
        };
        match op {
            Op::GetAndTouch(key, secs) => Op::GetAndTouch(key, carried(secs)),
            Op::Touch(key, secs) => Op::Touch(key, carried(secs)),
            Op::Store(mode, key, seed, secs) => {
                let old = self.items.get(&key).map_or(0, |item| item.value.len());
                let grows = matches!(mode, Mode::Append | Mode::Prepend);
                let too_long = grows && old + self.value(seed).len() > VALUE_BYTES_MAX;
                let mode = if too_long { Mode::Set } else { mode };
                Op::Store(mode, key, seed, carried(secs))
            }
            other => other,
        }
    }

    /// Executes the operation.
    pub fn apply(&mut self, op: &Op) -> Answer {
        match op {
            Op::Get(keys) => {
                let found = keys.iter().map(|key| self.items.get(key).cloned());
                Answer::Items(found.collect())
            }
            Op::GetAndTouch(key, exptime) => {
                let found = self.items.get(key).cloned();
                self.set_exptime(*key, *exptime);
                Answer::Items(vec![found])
            }
            Op::Store(mode, key, seed, exptime) => self.store(*mode, *key, *seed, *exptime),
            Op::Arith { up, key, delta } => self.arith(*up, *key, *delta),
            Op::Delete(key) => match self.items.remove(key) {
                Some(_) => Answer::Deleted,
                None => Answer::NotFound,
            },
            Op::Touch(key, exptime) => match self.items.get(key).map(|item| item.flags) {
                Some(flags) => {
                    self.set_exptime(*key, *exptime);
                    Answer::Touched(flags)
                }
                None => Answer::NotFound,
            },
            Op::Flush => {
                self.items.clear();
                Answer::Flushed
            }
        }
    }

    /// Notes that the item of the operation's only key was evicted.
    pub fn evict(&mut self, op: &Op) {
        self.items.remove(&op.key());
    }

    pub fn holds(&self, op: &Op) -> bool {
        self.items.contains_key(&op.key())
    }

    fn ends(&self, exptime: i32) -> Option<u64> {
        (exptime > 0).then(|| self.now + exptime as u64)
    }

    fn set_exptime(&mut self, key: u8, exptime: i32) {
        let ends = self.ends(exptime);
        if exptime < 0 {
            self.items.remove(&key);
        } else if let Some(item) = self.items.get_mut(&key) {
            item.ends = ends;
        }
    }

    fn store(&mut self, mode: Mode, key: u8, seed: u8, exptime: i32) -> Answer {
        let value = self.value(seed);
        let new = Item {
            flags: u32::from(seed),
            value: value.clone(),
            ends: self.ends(exptime),
        };
        let old = self.items.get(&key).cloned();
        let joined = |old: Item, value| Item { value, ..old };
        let appends = matches!(mode, Mode::Append | Mode::Prepend);
        let item = match (mode, old) {
            (Mode::Set, _) | (Mode::Add, None) | (Mode::Replace, Some(_)) => new,
            (Mode::Append, Some(old)) => {
                let value = [&old.value[..], &value].concat();
                joined(old, value)
            }
            (Mode::Prepend, Some(old)) => {
                let value = [&value[..], &old.value].concat();
                joined(old, value)
            }
            _ => return Answer::NotStored(mode),
        };
        if exptime < 0 && !appends {
            self.items.remove(&key);
        } else {
            self.items.insert(key, item);
        }
        Answer::Stored
    }

    fn arith(&mut self, up: bool, key: u8, delta: u64) -> Answer {
        let Some(Item { value, .. }) = self.items.get_mut(&key) else {
            return Answer::NotFound;
        };
        let text = String::from_utf8_lossy(value);
        let Ok(number) = text.trim_end_matches(' ').parse::<u64>() else {
            return Answer::NonNumeric;
        };
        let changed = match up {
            true => number.wrapping_add(delta),
            false => number.saturating_sub(delta),
        };
        let width = value.len();
        *value = format!("{changed:<width$}").into_bytes();
        Answer::Number(changed)
    }
}

impl Op {
    /// The only key, or the first.
    pub fn key(&self) -> u8 {
        match self {
            Op::Get(keys) => keys[0],
            Op::GetAndTouch(key, _)
            | Op::Store(_, key, _, _)
            | Op::Arith { key, .. }
            | Op::Delete(key)
            | Op::Touch(key, _) => *key,
            Op::Flush => u8::MAX,
        }
    }
}
