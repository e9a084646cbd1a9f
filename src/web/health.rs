//! For load balancers.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Web;
use crate::domain::budget::{Budget, Verdict};
use crate::store::StoreError;

/// An outage has one line in so long a time, however many ask: anybody may.
const TOLD_EVERY: Duration = Duration::from_secs(60);

/// When it was told last that the database does not answer. Cheap to clone.
#[derive(Clone)]
pub struct OutageLines {
    begun: Instant,
    budget: Arc<Mutex<Budget<()>>>,
}

impl Default for OutageLines {
    fn default() -> OutageLines {
        OutageLines {
            begun: Instant::now(),
            budget: Arc::new(Mutex::new(Budget::new(1, TOLD_EVERY, 1))),
        }
    }
}

impl OutageLines {
    fn tell(&self, error: &StoreError) {
        let verdict = self.budget.lock().spend((), (), self.begun.elapsed());
        if let Verdict::Within { left_out } = verdict {
            tracing::warn!(%error, left_out, "not ready");
        }
    }
}

/// `GET /healthz`: the process runs.
pub async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: the database answers as well, and the process is not about to stop.
pub async fn ready(State(web): State<Web>) -> (StatusCode, &'static str) {
    if web.stopping.is_cancelled() {
        return (StatusCode::SERVICE_UNAVAILABLE, "stopping\n");
    }
    match web.store.ping().await {
        Ok(()) => (StatusCode::OK, "ready\n"),
        Err(error) => {
            web.outage_lines.tell(&error);
            (
                StatusCode::SERVICE_UNAVAILABLE,
                "the database does not answer\n",
            )
        }
    }
}
