//! Lines that a full queue drops while a batch is on the wire: what did not arrive is told of, and nothing else.

use std::time::Duration;

use larder::access::Owner;
use larder::domain::Clock as _;
use larder::http::CallErrorKind;
use larder::store::outbox::deliveries::{LineRules, NewLine};

use crate::outbox_fixture::{LOG_URL, OutboxFixture};
use crate::support::control_plane::eventually;
use crate::support::db::on_each;

const QUEUE_MAX: u32 = 5;

/// Promises a line for each number, to a queue that keeps [`QUEUE_MAX`].
async fn promise(fixture: &OutboxFixture, owner: &Owner, numbers: std::ops::Range<u32>) {
    let now = fixture.control.clock.now();
    let rules = LineRules {
        queue_max: QUEUE_MAX,
        per_second: 1,
        expires_at: now.plus(Duration::from_secs(900)),
    };
    for number in numbers {
        let line = NewLine {
            kind: "test",
            at: now,
            line: &number.to_string(),
            times: 1,
            bounded: false,
        };
        let mut tx = fixture.control.store.begin().await.expect("a transaction");
        let promised = tx.insert_line(owner.cache(), line, rules, now).await;
        promised.expect("promised");
        tx.commit().await.expect("a commit");
    }
}

/// Seven lines are promised, so two are lost before the batch goes out. While the other five are on the wire, eight more
/// are promised: the five and three of the eight leave the queue. Then the batch gets its answer. Gives the batches sent.
async fn batches(
    fixture: &OutboxFixture,
    owner: &Owner,
    answer: Option<CallErrorKind>,
) -> Vec<Vec<String>> {
    fixture.provider.calls.lock().clear();
    promise(fixture, owner, 0..7).await;
    fixture.provider.script.lock().push_back(answer);
    let gate = fixture.provider.hold_log(LOG_URL);
    let outbox = fixture.outbox.clone();
    let working = tokio::spawn(async move { outbox.run_due().await });
    let on_the_wire = async || fixture.provider.logs().len() == 1;
    eventually("the batch is on the wire", on_the_wire).await;
    promise(fixture, owner, 7..15).await;
    fixture.provider.go_on();
    gate.add_permits(1);
    working.await.expect("no panic").expect("recorded");
    fixture.pass(60);
    while fixture.work().await > 0 {}
    fixture.provider.logs()
}

/// A notice of `lost` lines, and lines of these numbers.
fn batch(lost: u32, numbers: std::ops::Range<u32>, label: &str) -> Vec<String> {
    let notice = format!(
        "event=messages_dropped cache={label} dropped={lost} message=\"{lost} messages dropped\""
    );
    std::iter::once(notice)
        .chain(numbers.map(|number| number.to_string()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_lost_while_a_batch_was_on_the_wire_are_told_of() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        let label = owner.resource().label.clone();
        let retry = CallErrorKind::Retry { after: None };
        for (answer, lost, why) in [
            (None, 3, "five arrived after all"),
            (Some(retry), 10, "the first notice did not arrive either"),
            (Some(CallErrorKind::Refused), 10, "nor did it here"),
        ] {
            let sent = batches(&fixture, &owner, answer).await;
            let expected = [batch(2, 2..7, &label), batch(lost, 10..15, &label)];
            assert_eq!(sent, expected, "{why}");
        }
        // Each was told of once.
        fixture.provider.calls.lock().clear();
        promise(&fixture, &owner, 15..16).await;
        fixture.work().await;
        assert_eq!(fixture.provider.logs(), [["15"]]);
    })
    .await;
}
