//! What no statement of the code may do.

use std::collections::BTreeSet;

use super::source::{Source, sources};

/// Code without blanks and line ends, cut where a statement or a block begins or ends, with the line of each piece.
fn statements(file: &Source) -> Vec<(usize, String)> {
    let mut pieces = vec![(0, String::new())];
    for (line, code) in &file.lines {
        for c in code.chars() {
            match c {
                ';' | '{' | '}' => pieces.push((*line, String::new())),
                _ => pieces.last_mut().expect("one").1.push(c),
            }
        }
        pieces.last_mut().expect("one").1.push(' ');
    }
    pieces
}

/// Two secrets are compared by `same_secret`, whose time tells nothing of them (security.md G-2). The canary of the master
/// key is a text that everybody may know.
#[test]
fn no_secret_is_compared_by_its_text() {
    let mut faults = Vec::new();
    let mut callers = BTreeSet::new();
    for file in sources() {
        for (line, code) in statements(&file) {
            let exposed = code.contains("expose");
            let compared = ["==", "!=", ".eq(", ".ne(", ".cmp("];
            let is_canary = file.path == "store/db/setup.rs" && code.contains("CANARY");
            if exposed && !is_canary && compared.iter().any(|by| code.contains(by)) {
                faults.push(format!("{}:{line}: {code}", file.path));
            }
            if code.contains("same_secret(") && !code.contains("fn same_secret") {
                callers.insert(file.path.clone());
            }
            let in_secrets = file.path == "domain/secret.rs";
            if in_secrets && (code.contains("==") || code.contains("!=")) {
                faults.push(format!("{}:{line}: {code}", file.path));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
    let expected = [
        "app/listeners.rs",
        "cluster/link/http/server.rs",
        "cluster/node/entry.rs",
        "marketplace/heroku/auth.rs",
        "marketplace/heroku/sso/mod.rs",
        "outbox/log_lines.rs",
        "outbox/tokens.rs",
        "sandbox/heroku/oauth.rs",
        "sandbox/platform/hub.rs",
        "store/caches/attachments.rs",
        "web/guard.rs",
    ];
    assert_eq!(
        callers,
        expected.map(str::to_owned).into(),
        "who compares secrets"
    );
}

/// A statement is a text of the program, and what comes from outside is bound to it (security.md ST-6). sqlx takes other
/// texts only when it is told that they are safe; a text that was made and leaked looks like one of the program.
#[test]
fn no_statement_is_made_at_run_time() {
    let mut faults = Vec::new();
    for file in sources() {
        for (line, code) in &file.lines {
            if ["AssertSqlSafe", "SqlSafeStr", "leak(", "raw_sql("]
                .iter()
                .any(|part| code.contains(part))
            {
                faults.push(format!("{}:{line}: {code}", file.path));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

/// Whoever comes through HTTP reaches a cache by a proof that `access` or `provisioning` has checked. So the rooms of routes
/// ask the store nothing, but whether it is there and for a secret of the service (security.md G-3).
#[test]
fn rooms_of_routes_ask_the_store_for_no_cache() {
    let mut asked = BTreeSet::new();
    for file in sources() {
        let has_routes = ["web/", "marketplace/"]
            .iter()
            .any(|room| file.path.starts_with(room));
        if !has_routes {
            continue;
        }
        for (_, code) in statements(&file) {
            let code: String = code.split_whitespace().collect();
            for call in code.split("store.").skip(1) {
                let name = call
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                asked.insert(format!("{} {}", file.path, name.unwrap_or_default()));
            }
        }
    }
    let permitted = [
        "marketplace/registry.rs installation_secret",
        "web/health.rs ping",
    ];
    assert_eq!(asked, permitted.map(str::to_owned).into());
}
