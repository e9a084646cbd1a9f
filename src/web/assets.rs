//! Style sheet, script and icon, compiled in and served under names that carry a digest of their content, so
//! that browsers may keep them for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::HeaderValue;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};

use super::error::PageError;
use crate::domain::secret::digest_hex;

const FOR_EVER: HeaderValue = HeaderValue::from_static("public, max-age=31536000, immutable");

struct Asset {
    path: String,
    content_type: HeaderValue,
    bytes: &'static [u8],
}

impl Asset {
    fn new(stem: &str, ending: &str, content_type: &'static str, bytes: &'static [u8]) -> Asset {
        let digest = digest_hex(bytes);
        Asset {
            path: format!("/assets/{stem}-{}.{ending}", &digest[..12]),
            content_type: HeaderValue::from_static(content_type),
            bytes,
        }
    }
}

struct Assets {
    style: Asset,
    script: Asset,
    icon: Asset,
}

static ASSETS: LazyLock<Assets> = LazyLock::new(|| Assets {
    style: Asset::new(
        "larder",
        "css",
        "text/css; charset=utf-8",
        include_bytes!("assets/larder.css"),
    ),
    script: Asset::new(
        "larder",
        "js",
        "text/javascript; charset=utf-8",
        include_bytes!("assets/larder.js"),
    ),
    icon: Asset::new(
        "icon",
        "svg",
        "image/svg+xml",
        include_bytes!("assets/icon.svg"),
    ),
});

/// Path of the style sheet.
pub fn style() -> &'static str {
    &ASSETS.style.path
}

/// Path of the script. Every page works without it.
pub fn script() -> &'static str {
    &ASSETS.script.path
}

/// Path of the tab's icon.
pub fn icon() -> &'static str {
    &ASSETS.icon.path
}

/// `GET /assets/{file}`
pub async fn serve(Path(file): Path<String>) -> Result<Response, PageError> {
    let asset = [&ASSETS.style, &ASSETS.script, &ASSETS.icon]
        .into_iter()
        .find(|asset| asset.path.strip_prefix("/assets/") == Some(file.as_str()))
        .ok_or(PageError::NotFound)?;
    let headers = [
        (CONTENT_TYPE, asset.content_type.clone()),
        (CACHE_CONTROL, FOR_EVER),
    ];
    Ok((headers, asset.bytes).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_content() {
        let one = Asset::new("a", "css", "text/css", b"one");
        let two = Asset::new("a", "css", "text/css", b"two");
        assert_ne!(one.path, two.path);
        assert!(one.path.starts_with("/assets/a-") && one.path.ends_with(".css"));
    }
}
