//! The locks and atomics of the engine. No other file of the engine names `std::sync::Mutex` or `parking_lot`.
//!
//! With the feature `shuttle` they are shuttle's, which runs the tests of `interleavings.rs` through many orders of
//! the threads.

#[cfg(not(all(test, feature = "shuttle")))]
pub use parking_lot::{Mutex, MutexGuard};
#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::atomic;

#[cfg(all(test, feature = "shuttle"))]
pub use scheduled::{Mutex, MutexGuard};
#[cfg(all(test, feature = "shuttle"))]
pub use shuttle::sync::atomic;

/// A lock with a condition variable, for threads that sleep. The interleaving tests run no such thread.
pub mod parking {
    pub use parking_lot::{Condvar, Mutex};
}

/// Shuttle's lock, with those methods of `parking_lot` that the engine uses.
#[cfg(all(test, feature = "shuttle"))]
mod scheduled {
    use std::time::Duration;

    pub use shuttle::sync::MutexGuard;

    #[derive(Debug, Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub fn new(value: T) -> Mutex<T> {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }

        /// Shuttle has no time: the lock is free at once, or the attempt fails.
        pub fn try_lock_for(&self, _: Duration) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
