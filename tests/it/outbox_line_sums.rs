//! Lines beyond the rate become sums: each kind has its own, and each counts what it stands for.

use std::time::Duration;

use larder::domain::Clock as _;
use larder::store::outbox::deliveries::{LineRules, NewLine};

use crate::outbox_fixture::OutboxFixture;
use crate::support::db::on_each;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_floods_of_one_second_are_two_sums() {
    on_each(async |db| {
        let fixture = OutboxFixture::start(db).await;
        let owner = fixture.cache("r-1").await;
        while fixture.work().await > 0 {}
        let now = fixture.control.clock.now();
        let rules = LineRules {
            queue_max: 100,
            per_second: 1,
            expires_at: now.plus(Duration::from_secs(900)),
        };
        let mut tx = fixture.control.store.begin().await.expect("a transaction");
        for (kind, times) in [
            ("flood", 1),
            ("flood", 1),
            ("other", 1),
            ("flood", 5),
            ("other", 7),
        ] {
            let line = NewLine {
                kind,
                at: now,
                line: kind,
                times,
                bounded: true,
            };
            let promised = tx.insert_line(owner.cache(), line, rules, now).await;
            promised.expect("promised");
        }
        tx.commit().await.expect("a commit");
        fixture.provider.calls.lock().clear();
        fixture.pass(1);
        while fixture.work().await > 0 {}
        let sent: Vec<String> = fixture.provider.logs().into_iter().flatten().collect();
        assert_eq!(sent, ["flood", "flood repeated=6", "other repeated=8"]);
    })
    .await;
}
