//! Lists in pages: `Range: id ]<last id>..; max=<n>` in, 206 with `Next-Range` out while more follows.

use axum::Json;
use axum::http::header::RANGE;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::Value;

use crate::sandbox::heroku::api_error::ApiError;

const MAX_PAGE: usize = 1_000;

/// One page of `list` as asked for in the headers.
pub(in crate::sandbox) fn page(
    mut list: Vec<Value>,
    headers: &HeaderMap,
    default_max: usize,
) -> Result<Response, ApiError> {
    let asked = match headers.get(RANGE) {
        None => Some(Asked::default()),
        Some(value) => value.to_str().ok().and_then(parse_range),
    };
    let asked = asked.ok_or_else(|| {
        ApiError::new(
            StatusCode::RANGE_NOT_SATISFIABLE,
            "requested_range_not_satisfiable",
            "the range must read: id ..; max=200",
        )
    })?;
    let max = asked.max.unwrap_or(default_max);
    list.sort_by(|a, b| id_of(a).cmp(id_of(b)));
    if let Some(after) = asked.after {
        list.retain(|entry| id_of(entry) > after.as_str());
    }
    let more = list.len() > max;
    list.truncate(max);
    let last = list.last().map(|entry| id_of(entry).to_owned());
    match (more, last) {
        (true, Some(last)) => {
            let next = format!("id ]{last}..; max={max}");
            let headers = [("next-range", next)];
            Ok((StatusCode::PARTIAL_CONTENT, headers, Json(list)).into_response())
        }
        _ => Ok(Json(list).into_response()),
    }
}

fn id_of(entry: &Value) -> &str {
    entry["id"].as_str().unwrap_or_default()
}

#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Entries with greater ids only.
    after: Option<String>,
    max: Option<usize>,
}

fn parse_range(text: &str) -> Option<Asked> {
    let mut parts = text.split(';').map(str::trim);
    let from = parts.next()?.strip_prefix("id")?.trim();
    let from = from.strip_suffix("..")?;
    let after = match from.strip_prefix(']') {
        Some(id) => Some(id.to_owned()),
        None if from.is_empty() => None,
        None => return None,
    };
    let mut max = None;
    for part in parts.filter(|part| !part.is_empty()) {
        let number: usize = part.strip_prefix("max=")?.parse().ok()?;
        max = Some(number.clamp(1, MAX_PAGE));
    }
    Some(Asked { after, max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn ranged(text: &str) -> HeaderMap {
        HeaderMap::from_iter([(RANGE, text.parse().unwrap())])
    }

    #[test]
    fn next_range_walks_the_whole_list() {
        let list = || ["c", "a", "b"].map(|id| json!({ "id": id })).to_vec();
        let (mut headers, mut seen) = (ranged("id ..; max=2"), Vec::new());
        loop {
            let response = page(list(), &headers, 200).unwrap();
            seen.push(response.status().as_u16());
            match response.headers().get("next-range") {
                Some(next) => headers = ranged(next.to_str().unwrap()),
                None => break,
            }
        }
        assert_eq!(seen, [206, 200]);
        let whole = page(list(), &HeaderMap::new(), 3).unwrap();
        assert_eq!(whole.status(), 200);
    }

    #[test]
    fn ranges_are_read_and_nonsense_refused() {
        let next = parse_range("id ]b..; max=2").unwrap();
        assert_eq!((next.after.as_deref(), next.max), (Some("b"), Some(2)));
        assert_eq!(parse_range("id ..").unwrap(), Asked::default());
        for bad in ["", "name ..", "id 5", "id ..; max=x", "id a.."] {
            assert_eq!(parse_range(bad), None, "{bad}");
            assert!(page(Vec::new(), &ranged(bad), 1).is_err() || bad.is_empty());
        }
    }
}
