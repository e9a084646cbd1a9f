//! Counters of one shard or, summed, of one tenant. Their names are memcached's.

use std::ops::AddAssign;

use super::request::GetOptions;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counts since the tenant was made. Each shard keeps its own, under its lock.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Counters {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Counters {
            fn add_assign(&mut self, other: Counters) {
                $(self.$name += other.$name;)*
            }
        }

        impl Counters {
            /// Names and values, in the order of declaration.
            pub fn named(&self) -> impl Iterator<Item = (&'static str, u64)> {
                [$((stringify!($name), self.$name),)*].into_iter()
            }
        }
    };
}

counters! {
    cmd_set,
    cmd_delete,
    cmd_flush,
    get_hits,
    get_misses,
    /// Commands of any kind that found an expired item.
    get_expired,
    touch_hits,
    touch_misses,
    delete_hits,
    delete_misses,
    incr_hits,
    incr_misses,
    decr_hits,
    decr_misses,
    cas_hits,
    cas_misses,
    cas_badval,
    /// Items evicted to make room.
    evictions,
    evicted_unfetched,
    /// Items removed because they had expired.
    expired,
    expired_unfetched,
    total_items,
    store_too_large,
    store_no_memory,
    /// Items now stored, including those that have expired but are not removed yet. Never reset.
    curr_items,
    /// Key, value and header bytes of these items. Never reset.
    bytes,
}

impl Counters {
    pub fn cmd_get(&self) -> u64 {
        self.get_hits + self.get_misses
    }

    pub fn cmd_touch(&self) -> u64 {
        self.touch_hits + self.touch_misses
    }

    /// Counts a read. A read with a new exptime counts as a touch; but an `mg` that missed counts as a get, as in memcached.
    #[inline]
    pub(super) fn count_read(&mut self, options: &GetOptions, hit: bool) {
        if options.uncounted {
            return;
        }
        let touches = options.touch.is_some() && (hit || !options.recaches);
        let counter = match (touches, hit) {
            (false, true) => &mut self.get_hits,
            (false, false) => &mut self.get_misses,
            (true, true) => &mut self.touch_hits,
            (true, false) => &mut self.touch_misses,
        };
        *counter += 1;
    }

    /// Sets the counters to zero, except those that describe the present.
    pub(super) fn reset(&mut self) {
        *self = Counters {
            curr_items: self.curr_items,
            bytes: self.bytes,
            ..Counters::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reset_keeps_the_present() {
        let mut counters = Counters {
            get_hits: 3,
            curr_items: 2,
            bytes: 80,
            ..Counters::default()
        };
        counters.reset();
        assert_eq!(counters.named().map(|(_, value)| value).sum::<u64>(), 82);
    }
}
