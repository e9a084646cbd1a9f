//! A service that panics fails its test, whatever came of the panic (security.md G-6). In this process a hook notes
//! each panic; of a service in a process of its own the log is read.

use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

use axum::body::Bytes;
use larder::telemetry::metrics::Recorder;
use parking_lot::Mutex;
use tokio::runtime::{Handle, Id};

type Hook = Box<dyn Fn(&PanicHookInfo<'_>) + Send + Sync>;

/// A panic that no line of a test caused.
struct Panicked {
    /// Where it was; `None` on a thread that belongs to no runtime.
    runtime: Option<Id>,
    what: String,
}

/// All of this process, in order.
static PANICKED: Mutex<Vec<Panicked>> = Mutex::new(Vec::new());

/// Puts a hook before the one there is. One at a time, and behind the program's own, so that none of them is lost.
pub fn put_hook_before(hook: impl Fn(&Hook, &PanicHookInfo<'_>) + Send + Sync + 'static) {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _one = ONE_AT_A_TIME.lock();
    Recorder::install().expect("the recorder of this process");
    let usual = take_hook();
    set_hook(Box::new(move |info| hook(&usual, info)));
}

/// Notes panics from now on. Those of tests themselves do not count: some are on purpose, and the others fail anyway.
fn note_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        put_hook_before(|usual, info| {
            let of_test = |file: &str| file.starts_with("tests/");
            if !info.location().is_some_and(|place| of_test(place.file())) {
                PANICKED.lock().push(Panicked {
                    runtime: Handle::try_current().ok().map(|handle| handle.id()),
                    what: info.to_string(),
                });
            }
            usual(info);
        });
    });
}

/// Lies in a fixture beside its service. When it is dropped, it fails the test if the service panicked.
///
/// Tests of one process run side by side, but each has a runtime of its own, and its service runs there: the panics of
/// other tests are not counted. A thread without a runtime may be anybody's, so its panics fail every test of that
/// moment.
#[derive(Debug)]
pub struct NoPanics {
    runtime: Id,
    before: usize,
}

impl NoPanics {
    pub fn from_now_on() -> NoPanics {
        note_panics();
        NoPanics {
            runtime: Handle::current().id(),
            before: PANICKED.lock().len(),
        }
    }

    fn found(&self) -> Vec<String> {
        let all = PANICKED.lock();
        let since = all[self.before..].iter();
        let ours = since.filter(|found| found.runtime.is_none_or(|id| id == self.runtime));
        ours.map(|found| found.what.clone()).collect()
    }
}

impl Drop for NoPanics {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let found = self.found();
            assert!(found.is_empty(), "the service panicked: {found:#?}");
        }
    }
}

/// Fails the test if this is the log of a process that panicked.
#[track_caller]
pub fn none_in(log: &str) {
    assert!(!log.contains("panicked at"), "larder panicked:\n{log}");
}

/// A panic in a library stands for one of the program. The test beside, whose service did not panic, does not fail.
#[tokio::test]
async fn a_service_that_panics_fails_its_own_test() {
    let ours = NoPanics::from_now_on();
    let another_runtime = || {
        let runtime = tokio::runtime::Builder::new_current_thread().build();
        runtime
            .expect("a runtime")
            .block_on(async { NoPanics::from_now_on() })
    };
    let theirs = std::thread::spawn(another_runtime).join();
    let theirs = theirs.expect("no panic yet");
    let of_library = async { drop(Bytes::from_static(b"a").slice_ref(b"b")) };
    assert!(tokio::spawn(of_library).await.is_err());
    let of_test = async { assert!(std::hint::black_box(false), "on purpose") };
    assert!(tokio::spawn(of_test).await.is_err());
    assert_eq!(ours.found().len(), 1, "{ours:?}");
    let fails = catch_unwind(AssertUnwindSafe(|| drop(ours)));
    assert!(fails.is_err());
    drop(theirs);
}

#[test]
fn a_log_with_a_panic_fails_its_test() {
    none_in("larder starts\n");
    let log = "larder starts\n\nthread 'main' panicked at src/main.rs:1:1:\nwhy\n";
    assert!(catch_unwind(|| none_in(log)).is_err());
}
