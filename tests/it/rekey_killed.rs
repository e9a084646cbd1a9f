//! A new master key while the service runs and writes, with `larder admin rekey` killed after each batch that it seals
//! (security.md ST-3). Real processes.

use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use larder::domain::secret::random_bytes;
use reqwest::StatusCode;
use tokio::process::Command;

use crate::support::db::Database;
use crate::support::full_service::setting;
use crate::support::machine::{Answer, Machine, on_both};
use crate::support::process::larder;
use crate::support::process_log::ProcessLog;

/// Three batches of `larder admin rekey` for each of the columns that an order fills.
const CACHES: usize = 248;

/// Values of these columns that are still sealed by the key that seals the settings, which come last.
async fn left(database: &Database) -> i64 {
    database
        .number(
            "SELECT count(*) FROM (SELECT password_sealed AS sealed FROM credentials \
             UNION ALL SELECT sso_sealed FROM resources UNION ALL SELECT code_sealed FROM grants) v \
             WHERE substr(v.sealed, 2, 4) = (SELECT substr(s.sealed, 2, 4) FROM settings s LIMIT 1)",
        )
        .await
}

/// How many keys seal all these values and the settings.
async fn keys(database: &Database) -> i64 {
    database
        .number(
            "SELECT count(DISTINCT substr(v.sealed, 2, 4)) FROM (SELECT password_sealed AS sealed FROM credentials \
             UNION ALL SELECT sso_sealed FROM resources UNION ALL SELECT code_sealed FROM grants \
             UNION ALL SELECT sealed FROM settings) v",
        )
        .await
}

/// An order by number. The test machine makes ids of the sum of a name's bytes, so no two names may have the same.
async fn order(machine: &Machine, number: usize) -> Answer {
    let last = char::from(b'0' + u8::try_from(number % 10).expect("a digit"));
    let answer = machine
        .order(&format!("{}{last}", "z".repeat(number / 10)), true)
        .await;
    assert_eq!(answer.status, StatusCode::CREATED, "{answer:?}");
    answer
}

/// The orders of these numbers, four at a time.
async fn orders(machine: &Machine, numbers: std::ops::Range<usize>) -> Vec<Answer> {
    let mut made = Vec::new();
    for first in numbers.step_by(4) {
        let of = |offset| order(machine, first + offset);
        let (a, b, c, d) = tokio::join!(of(0), of(1), of(2), of(3));
        made.extend([a, b, c, d]);
    }
    made
}

/// Runs `larder admin rekey` and kills it once it has sealed something. False when it ended before.
async fn kill_after_progress(machine: &Machine, database: &Database) -> bool {
    let before = left(database).await;
    let log = ProcessLog::of_our_own();
    let mut rekey = Command::new(env!("CARGO_BIN_EXE_larder"))
        .args(["admin", "rekey"])
        .env_clear()
        .envs(machine.settings.iter().cloned())
        .current_dir(machine.folder.path())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log.writer())
        .kill_on_drop(true)
        .spawn()
        .expect("larder starts");
    loop {
        if rekey.try_wait().expect("a child").is_some() {
            return false;
        }
        if left(database).await < before {
            rekey.kill().await.expect("killed");
            return true;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_master_key_survives_kills_and_writes() {
    on_both(async |database| {
        let mut machine = Machine::new(&database, "node-a.example");
        let serving = machine.start().await;
        let mut made = orders(&machine, 0..CACHES).await;
        assert!(serving.terminate().await.success());

        let of_old = machine.settings.clone();
        let old_key = of_old
            .iter()
            .find(|(name, _)| name == "LARDER_MASTER_KEY")
            .expect("a key");
        let new_key = BASE64.encode(random_bytes::<32>());
        let of_new = setting(&of_old, "LARDER_MASTER_KEY", &new_key);
        machine.settings = setting(&of_new, "LARDER_MASTER_KEY_PREVIOUS", &old_key.1);
        let serving = machine.start().await;

        let folder = machine.folder.path();
        let stop = AtomicBool::new(false);
        let kills = async {
            let mut killed = 0;
            while kill_after_progress(&machine, &database).await {
                killed += 1;
                // The last kill may come when nothing is left and the program is about to end.
                if keys(&database).await == 1 {
                    continue;
                }
                let early = larder("admin caches", &of_new, folder).await;
                assert!(!early.success, "the old key is still needed");
            }
            stop.store(true, Ordering::SeqCst);
            killed
        };
        let writes = async {
            let mut written = Vec::new();
            while !stop.load(Ordering::SeqCst) {
                written.push(order(&machine, CACHES + written.len()).await);
            }
            written
        };
        let (killed, written) = tokio::join!(kills, writes);
        assert!(killed > 0 && !written.is_empty());
        made.extend(written);

        // Values that were being changed just then are passed over, and it says so.
        machine.admin("rekey").await;
        assert!(serving.terminate().await.success());
        machine.settings = of_new;
        let serving = machine.start().await;
        let again = orders(&machine, 0..CACHES).await;
        let credential = |answer: &Answer| (answer.username.clone(), answer.password.clone());
        let credentials = |answers: &[Answer]| answers.iter().map(credential).collect::<Vec<_>>();
        assert_eq!(credentials(&again), credentials(&made[..CACHES]));
        for (number, written) in made.iter().enumerate().skip(CACHES) {
            let again = order(&machine, number).await;
            assert_eq!(credential(&again), credential(written));
        }
        serving.kill().await;
        database.drop().await;
    })
    .await;
}
