//! The items of one shard.

use std::collections::HashMap;

use super::clock::Expiry;
use super::counters::Counters;
use super::key::HashedKey;
use super::large::SharedValue;
use super::ledger::Ledger;
use super::request::NewValue;
use super::tenant::Flushed;
use super::view::Value;

/// Header bytes counted per item.
const HEADER_BYTES: u64 = 16;

pub(super) fn is_large(key_bytes: usize, value_bytes: usize) -> bool {
    key_bytes + value_bytes > 8 * 1024
}

/// What is known of an item beside its key and value.
#[derive(Clone, Copy, Debug)]
pub(super) struct Meta {
    pub flags: u32,
    pub cas: u64,
    pub expiry: Expiry,
    pub stale: bool,
    pub token_sent: bool,
    pub fetched: bool,
    /// Engine time of the last access.
    pub accessed: u32,
}

/// Where an item lies. Good until the shard is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place(u32);

/// No memory could be had for an item.
#[derive(Clone, Copy, Debug)]
pub(super) struct NoRoom;

#[derive(Debug)]
enum Kept {
    Inline(Box<[u8]>),
    Shared(SharedValue),
}

#[derive(Debug)]
struct Item {
    key: Box<[u8]>,
    meta: Meta,
    value: Kept,
}

#[derive(Debug)]
pub(super) struct Shard {
    pub counters: Counters,
    places: HashMap<Box<[u8]>, u32>,
    items: Vec<Option<Item>>,
    next_unique: u64,
    unique_step: u64,
}

impl Shard {
    pub(super) fn new(unique_start: u64, unique_step: u64) -> Shard {
        Shard {
            counters: Counters::default(),
            places: HashMap::new(),
            items: Vec::new(),
            next_unique: unique_start,
            unique_step,
        }
    }

    pub(super) fn next_unique(&mut self) -> u64 {
        let unique = self.next_unique;
        self.next_unique += self.unique_step;
        unique
    }

    pub(super) fn find(&self, key: &HashedKey<'_>) -> Option<Place> {
        self.places.get(key.as_bytes()).copied().map(Place)
    }

    fn item(&self, place: Place) -> Option<&Item> {
        self.items.get(place.0 as usize)?.as_ref()
    }

    pub(super) fn meta(&self, place: Place) -> Meta {
        self.item(place).map_or(Meta::EMPTY, |item| item.meta)
    }

    pub(super) fn set_meta(&mut self, place: Place, meta: Meta) {
        if let Some(Some(item)) = self.items.get_mut(place.0 as usize) {
            item.meta = meta;
        }
    }

    pub(super) fn value(&self, place: Place) -> Value<'_> {
        match self.item(place).map(|item| &item.value) {
            Some(Kept::Inline(bytes)) => Value::Inline(bytes),
            Some(Kept::Shared(shared)) => Value::Shared(shared),
            None => Value::Inline(&[]),
        }
    }

    pub(super) fn put(
        &mut self,
        key: &HashedKey<'_>,
        old: Option<Place>,
        meta: Meta,
        value: NewValue<'_>,
        _ledger: &Ledger,
    ) -> Result<Place, NoRoom> {
        if let Some(old) = old {
            self.remove(old);
        }
        let value = match value {
            NewValue::Bytes(bytes) => Kept::Inline(bytes.into()),
            NewValue::Upload(upload) => Kept::Shared(upload.finish()),
        };
        let place = self.items.len() as u32;
        self.items.push(Some(Item {
            key: key.as_bytes().into(),
            meta,
            value,
        }));
        self.places.insert(key.as_bytes().into(), place);
        self.counters.curr_items += 1;
        self.counters.bytes += self.bytes(Place(place));
        Ok(Place(place))
    }

    fn bytes(&self, place: Place) -> u64 {
        let key = self.item(place).map_or(0, |item| item.key.len());
        HEADER_BYTES + (key + self.value(place).len()) as u64
    }

    pub(super) fn remove(&mut self, place: Place) {
        let bytes = self.bytes(place);
        if let Some(item) = self.items[place.0 as usize].take() {
            self.places.remove(&item.key);
            self.counters.curr_items -= 1;
            self.counters.bytes -= bytes;
        }
    }

    pub(super) fn flush(&mut self) -> Flushed {
        let flushed = Flushed {
            items: self.counters.curr_items,
            bytes: self.counters.bytes,
        };
        self.places = HashMap::new();
        self.items = Vec::new();
        self.counters.curr_items = 0;
        self.counters.bytes = 0;
        flushed
    }
}

impl Meta {
    const EMPTY: Meta = Meta {
        flags: 0,
        cas: 0,
        expiry: Expiry::NEVER,
        stale: false,
        token_sent: false,
        fetched: false,
        accessed: 0,
    };
}
