//! *Flush Cache*, and the question before it.

use askama::Template;
use axum::extract::State;
use axum::response::Response;
use axum_extra::extract::CookieJar;

use super::StoragePanel;
use crate::access::{DONE_WAIT, FlushResult, SignedIn};
use crate::cluster::CacheFigures;
use crate::format;
use crate::web::Web;
use crate::web::dashboard::context::figures_as_of;
use crate::web::dashboard::done;
use crate::web::dashboard::frame::Frame;
use crate::web::dashboard::panel::Panel as _;
use crate::web::dashboard::shown::{FlashBox, Tone};
use crate::web::error::{PageError, html};
use crate::web::flash::Flash;
use crate::web::form::NoFields;
use crate::web::guard::Signed;
use crate::web::router::Who::{OwnerActs, OwnerLooks};
use crate::web::router::{Route, on_get, on_post};

pub fn routes() -> Vec<Route> {
    vec![
        on_get(OwnerLooks, "/caches/{id}/flush", ask),
        on_post(OwnerActs, "/caches/{id}/flush", flush),
    ]
}

#[derive(Template)]
#[template(path = "dashboard/panels/storage/confirm_flush.html")]
pub struct ConfirmFlush {
    pub frame: Frame,
    /// What would be lost, as in `18,233 items`; `None` while that is not known here.
    pub contents: Option<String>,
    /// How old that is, where it is not of now.
    pub as_of: Option<String>,
}

/// `GET …/flush`: names what would be lost.
async fn ask(State(web): State<Web>, owner: SignedIn) -> Result<Response, PageError> {
    let source = web.access.figures(&owner).await?;
    let contents = |figures: &CacheFigures| format::counted(figures.items, "item", "items");
    let page = ConfirmFlush {
        frame: Frame::of(&web.settings, &owner),
        contents: source.known().map(contents),
        as_of: figures_as_of(&source, web.clock.now()),
    };
    Ok(html(&page))
}

/// `POST …/flush`
async fn flush(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, PageError> {
    let told = match web.access.flush(&owner, None, DONE_WAIT).await? {
        FlushResult::Done { items, .. } => FlushFlash::Done { items },
        FlushResult::Ordered => FlushFlash::Ordered,
    };
    Ok(done(&web, jar, owner.cache(), &told.flash()))
}

/// What a flush did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FlushFlash {
    Done { items: u64 },
    Ordered,
}

impl FlushFlash {
    pub fn flash(self) -> Flash {
        match self {
            FlushFlash::Done { items } => {
                Flash::new(StoragePanel::ID, &["flushed", &items.to_string()])
            }
            FlushFlash::Ordered => Flash::new(StoragePanel::ID, &["ordered"]),
        }
    }

    pub fn parse(parts: &[&str]) -> Option<FlushFlash> {
        match *parts {
            ["flushed", items] => Some(FlushFlash::Done {
                items: items.parse().ok()?,
            }),
            ["ordered"] => Some(FlushFlash::Ordered),
            _ => None,
        }
    }

    pub fn shown(self) -> FlashBox {
        match self {
            // The memory that is free again stands in the panel: bytes of items are less than what they took.
            FlushFlash::Done { items } => FlashBox::good(
                "The cache was flushed",
                format!("{} gone.", format::counted(items, "item is", "items are")),
            ),
            FlushFlash::Ordered => FlashBox {
                tone: Tone::Fair,
                ..FlashBox::good(
                    "The flush is on its way",
                    "It is certain to happen, but the cache's node has not reported it done yet.",
                )
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::dashboard::samples::{frame, without_digests};

    #[test]
    fn the_question_names_what_is_lost() {
        let question = ConfirmFlush {
            frame: frame(),
            contents: Some("18,233 items".to_owned()),
            as_of: None,
        };
        let text = question.render().unwrap();
        insta::assert_snapshot!("confirm_flush", without_digests(&text));
        let reported = ConfirmFlush {
            as_of: Some("That was a minute ago".to_owned()),
            ..question
        };
        assert!(
            reported
                .render()
                .unwrap()
                .contains("That was a minute ago.")
        );
    }

    #[test]
    fn messages_read_back_and_others_say_nothing() {
        let done = FlushFlash::Done { items: 18_233 };
        for flash in [done, FlushFlash::Ordered] {
            assert_eq!(FlushFlash::parse(&flash.flash().parts()), Some(flash));
        }
        for parts in [&[][..], &["flushed"], &["flushed", "-1"], &["hello"]] {
            assert_eq!(FlushFlash::parse(parts), None, "{parts:?}");
        }
    }
}
