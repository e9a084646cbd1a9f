//! Memory that a connection holds for a tenant beside its items: a request that is not complete, and replies that are not
//! sent.

use std::sync::Arc;

use super::ledger::Ledger;
use super::tenant::Tenant;

/// Charges change in steps of this size, and a smaller one is given back only when the connection has come to rest. So a
/// client whose requests come in pieces does not write to the ledger, which all threads share, for each piece.
const STEP_BYTES: u64 = 16 << 10;
/// What a connection may hold although its tenant or the process is full: a read and a request whose value has no allocation
/// of its own. Refusing it would end clients that ask for nothing unusual, because the memory of others is full. It is
/// charged all the same, so the tenant evicts items for it; and beyond the pool's reserve it is refused, or many connections
/// would hold any amount.
const ALWAYS_BYTES: u64 = 128 << 10;

/// The tenant has no room for what one of its connections holds, or the process is at its ceiling.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for what the connection holds")]
pub struct HoldRefused;

/// What one connection is charged. Dropping it gives the charge back.
#[derive(Debug)]
pub struct HeldBytes {
    ledger: Arc<Ledger>,
    charged: u64,
    /// The part of `charged` that counts as an upload: that of a request beyond [`ALWAYS_BYTES`].
    arriving: u64,
}

impl HeldBytes {
    pub fn charged(&self) -> u64 {
        self.charged
    }

    fn give_back(&mut self, keep: u64) {
        self.ledger.release(self.charged - keep);
        self.charged = keep;
        let arriving = self.arriving.min(keep.saturating_sub(ALWAYS_BYTES));
        self.ledger.upload_ended(self.arriving - arriving);
        self.arriving = arriving;
    }
}

impl Drop for HeldBytes {
    fn drop(&mut self) {
        self.give_back(0);
    }
}

impl Tenant {
    /// Charges what a connection holds now: `input` bytes of a request that is not complete, and `output` bytes of replies
    /// that are not sent. Evicts items for it. `held` is what the connection was charged before, perhaps to another tenant.
    ///
    /// Requests beyond the ordinary share half of the limit with uploads, so that they cannot push out all items.
    ///
    /// # Errors
    /// When there is no room. The charge of before stays.
    pub fn hold(
        &self,
        held: &mut Option<HeldBytes>,
        input: usize,
        output: usize,
    ) -> Result<(), HoldRefused> {
        if held
            .as_ref()
            .is_some_and(|held| !self.has_ledger(&held.ledger))
        {
            *held = None;
        }
        let (input, output) = (input as u64, output as u64);
        let needed = (input + output).next_multiple_of(STEP_BYTES);
        let held = held.get_or_insert_with(|| HeldBytes {
            ledger: Arc::clone(self.ledger()),
            charged: 0,
            arriving: 0,
        });
        if needed <= held.charged {
            if held.charged > needed + ALWAYS_BYTES {
                held.give_back(needed);
            }
            return Ok(());
        }
        let more = needed - held.charged;
        if needed <= ALWAYS_BYTES && held.ledger.pool().has_reserve_for(more) {
            held.ledger.charge(more);
            held.charged = needed;
            return Ok(());
        }
        let arriving = input.saturating_sub(ALWAYS_BYTES).max(held.arriving);
        let more_arriving = arriving - held.arriving;
        let may_arrive = more_arriving == 0 || held.ledger.may_upload(more_arriving);
        if !may_arrive || !self.find_room(more) {
            return Err(HoldRefused);
        }
        held.ledger.upload_began(more_arriving);
        (held.charged, held.arriving) = (needed, arriving);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::storage::{EngineClock, Exptime, NewValue, Pool, StoreRequest};

    const LIMIT: u64 = 8 << 20;

    fn tenant(pool: &Pool) -> Tenant {
        Tenant::new(LIMIT, pool, &EngineClock::manual(1_800_000_000))
    }

    fn fill(tenant: &Tenant) {
        let value = vec![b'v'; 4000];
        for number in 0..4000 {
            let key = format!("key-{number}");
            let key = tenant.key(key.as_bytes());
            let request = StoreRequest::set(0, Exptime::Never, NewValue::Bytes(&value));
            tenant.lock(&key).store(&key, request);
        }
    }

    #[test]
    fn what_is_held_is_charged_and_given_back() {
        let pool = Pool::new(1 << 30);
        let tenant = tenant(&pool);
        let mut held = None;
        for (input, output, charged) in [
            (1, 0, STEP_BYTES),
            (STEP_BYTES as usize, 1, 2 * STEP_BYTES),
            (1 << 20, 0, 1 << 20),
            ((1 << 20) + 1, 100, (1 << 20) + STEP_BYTES),
            (10, 0, STEP_BYTES),
        ] {
            tenant.hold(&mut held, input, output).unwrap();
            assert_eq!(tenant.used_bytes(), charged, "{input} {output}");
            assert_eq!(pool.used_bytes(), charged);
        }
        held = None;
        assert!(held.is_none());
        assert_eq!((tenant.used_bytes(), pool.used_bytes()), (0, 0));
        assert!(
            tenant.reserve(LIMIT as usize - 100_000).is_ok(),
            "no upload is left"
        );
    }

    #[test]
    fn long_requests_share_half_of_the_limit_and_items_make_room() {
        let pool = Pool::new(1 << 30);
        let tenant = tenant(&pool);
        fill(&tenant);
        assert!(tenant.used_bytes() > LIMIT - (1 << 20), "full of items");
        let mut connections: Vec<Option<HeldBytes>> = (0..10).map(|_| None).collect();
        let held = connections
            .iter_mut()
            .filter_map(|held| tenant.hold(held, 1 << 20, 0).ok())
            .count();
        assert!((4..=5).contains(&held), "{held} of 1 MiB in a limit of 8");
        assert!(tenant.used_bytes() <= LIMIT + 10 * STEP_BYTES);
        // Each may hold what is ordinary all the same.
        for held in &mut connections {
            tenant.hold(held, 100, 100).unwrap();
        }
    }

    /// A single long request may pass half of the limit. Its connection may hold replies beside it.
    #[test]
    fn replies_beside_a_long_request_are_no_second_upload() {
        let tenant = tenant(&Pool::new(1 << 30));
        let mut held = None;
        tenant.hold(&mut held, 5 << 20, 0).unwrap();
        tenant.hold(&mut held, 5 << 20, 1 << 20).unwrap();
        assert_eq!(tenant.used_bytes(), 6 << 20);
        let mut second = None;
        assert_eq!(tenant.hold(&mut second, 1 << 20, 0), Err(HoldRefused));
    }

    #[test]
    fn the_ceiling_of_the_process_refuses_too() {
        let pool = Pool::new(2 << 20);
        let (one, other) = (tenant(&pool), tenant(&pool));
        let (mut first, mut second) = (None, None);
        one.hold(&mut first, 1 << 20, 512 << 10).unwrap();
        assert_eq!(other.hold(&mut second, 0, 1 << 20), Err(HoldRefused));
        drop(first);
        other.hold(&mut second, 0, 1 << 20).unwrap();
    }

    /// Many connections of many tenants, each with no more than what is ordinary.
    #[test]
    fn ordinary_requests_do_not_pass_the_ceiling_without_end() {
        let pool = Pool::new(8 << 20);
        let tenants: Vec<Tenant> = (0..20).map(|_| tenant(&pool)).collect();
        let (mut held, mut refused) = (Vec::new(), 0);
        for number in 0..1_000 {
            let mut connection = None;
            let tenant = &tenants[number % tenants.len()];
            if tenant.hold(&mut connection, 64 << 10, 64 << 10).is_err() {
                refused += 1;
            }
            held.push(connection);
        }
        assert!(pool.used_bytes() <= (8 + 64) << 20, "{}", pool.used_bytes());
        assert!(
            refused > 0 && refused < 500,
            "the reserve is there to be used: {refused} refused"
        );
        drop(held);
        assert_eq!(pool.used_bytes(), 0);
    }

    #[test]
    fn another_login_moves_the_charge() {
        let pool = Pool::new(1 << 30);
        let (one, other) = (tenant(&pool), tenant(&pool));
        let mut held = None;
        one.hold(&mut held, 300_000, 0).unwrap();
        other.hold(&mut held, 100, 0).unwrap();
        assert_eq!((one.used_bytes(), other.used_bytes()), (0, STEP_BYTES));
    }
}
