//! *Flush Cache*, and the question before it.

use axum::extract::State;
use axum::response::Response;
use axum_extra::extract::CookieJar;

use super::views::ConfirmFlush;
use super::{done, present, words};
use crate::access::{FlushResult, Owner};
use crate::web::Web;
use crate::web::error::{Fault, html};
use crate::web::form::NoFields;
use crate::web::guard::Signed;
use crate::web::notice::Notice;

/// `GET …/flush`: names what would be lost.
pub async fn ask(State(web): State<Web>, owner: Owner) -> Result<Response, Fault> {
    let figures = web.access.figures(&owner).await;
    let page = ConfirmFlush {
        frame: present::frame(&web.settings, owner.resource(), owner.session()),
        contents: figures.map(|figures| {
            let items = words::counted(figures.items, "item", "items");
            format!("{items} ({})", words::bytes(figures.used_bytes))
        }),
    };
    Ok(html(&page))
}

/// `POST …/flush`
pub async fn flush(
    State(web): State<Web>,
    jar: CookieJar,
    Signed { owner, .. }: Signed<NoFields>,
) -> Result<Response, Fault> {
    let notice = match web.access.flush(&owner).await? {
        FlushResult::Done { items, bytes } => Notice::Flushed { items, bytes },
        FlushResult::Ordered => Notice::FlushOrdered,
    };
    Ok(done(&web, jar, owner.cache(), &notice))
}
