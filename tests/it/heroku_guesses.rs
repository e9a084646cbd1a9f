//! Whoever tries passwords of a marketplace.

use std::time::Duration;

use axum::http::{Method, StatusCode};
use larder::domain::Clock as _;

use crate::heroku_routes::{COLLECTION, UUID, app, ask, ask_as, one, sample};
use crate::support::control_plane::ControlPlane;
use crate::support::db::on_each;

/// Ten thousand guesses are told to wait, and whoever has the password never is, from whatever address (security.md PA-13).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_guesses_is_told_to_wait_and_nobody_else() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let app = app(&control, |_| {});
        let wrong = Some("Basic YWRkb24tc2x1Zzp3cm9uZw==");
        let guess = async || ask_as(&app, wrong, Method::POST, COLLECTION, sample(&[])).await;
        let mut told = Vec::new();
        for count in 0..10_000 {
            let answer = guess().await;
            told.push(answer.status.as_u16());
            if answer.status == StatusCode::TOO_MANY_REQUESTS {
                assert_eq!(answer.headers["retry-after"], "60");
                answer.refused(429);
            }
            if count % 2_000 == 0 {
                let made = ask(&app, Method::POST, COLLECTION, sample(&[])).await;
                assert_eq!(made.status, StatusCode::CREATED, "after {count}");
            }
        }
        assert_eq!(told.iter().filter(|status| **status == 401).count(), 300);
        assert_eq!(told.iter().filter(|status| **status == 429).count(), 9_700);
        assert!(told[..300].iter().all(|status| *status == 401));
        control.clock.advance(Duration::from_secs(61));
        assert_eq!(
            guess().await.status,
            StatusCode::UNAUTHORIZED,
            "a minute later"
        );
    })
    .await;
}

/// security.md PA-2.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_previous_password_ends_at_its_time() {
    on_each(async |db| {
        let control = ControlPlane::start(db).await;
        let end = control.clock.now().plus(Duration::from_secs(3_600));
        let passwords = |list: [&str; 2]| list.map(|text| text.to_owned().into()).to_vec();
        let former = app(&control, |settings| {
            settings.passwords = passwords(["new", "super-secret"]);
            settings.previous_until = Some(end);
        });
        let current = app(&control, |settings| {
            settings.passwords = passwords(["super-secret", "older"]);
            settings.previous_until = Some(end);
        });
        // The clock is a little ahead of each of these: reading it moves it.
        for (pass, status) in [(0, 404), (3_500, 404), (100, 401), (86_400, 401)] {
            control.clock.advance(Duration::from_secs(pass));
            let with_former = ask(&former, Method::DELETE, &one(UUID), "").await;
            with_former.refused(status);
            ask(&current, Method::DELETE, &one(UUID), "")
                .await
                .refused(404);
        }
    })
    .await;
}
