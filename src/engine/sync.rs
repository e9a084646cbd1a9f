//! What threads of the engine share: the machine's atomics and locks, or shuttle's where a test plays through the
//! orders in which threads may meet (`interleavings.rs`).

#[cfg(not(all(test, feature = "shuttle")))]
pub use parking_lot::{Mutex, MutexGuard};
#[cfg(not(all(test, feature = "shuttle")))]
pub use std::sync::atomic;

#[cfg(all(test, feature = "shuttle"))]
pub use played::{Mutex, MutexGuard};
#[cfg(all(test, feature = "shuttle"))]
pub use shuttle::sync::atomic;

/// Shuttle's lock with the methods of `parking_lot` that are used here.
#[cfg(all(test, feature = "shuttle"))]
mod played {
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

        /// Time does not pass here: it is there at once or not at all.
        pub fn try_lock_for(&self, _: Duration) -> Option<MutexGuard<'_, T>> {
            self.0.try_lock().ok()
        }
    }
}
