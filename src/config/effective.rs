//! The values in force, for people: `--print-config`. Its test keeps the page of documentation in step with the table.

use super::Environment;
use super::setting::{About, Exposure};
use super::source::Origin;

/// A setting with the value in force.
#[derive(Debug, PartialEq, Eq)]
pub struct Effective {
    pub name: &'static str,
    /// As anybody may read it: secrets are masked. What stands for nothing is in brackets.
    pub value: String,
    pub origin: Origin,
    pub secret: bool,
}

impl Effective {
    /// All settings that have a meaning here, in the order of the table, whether the configuration is sound or not.
    pub fn all(layers: &Environment) -> Vec<Effective> {
        let (source, _) = layers.layered();
        let effective = |about: &About| {
            let (value, origin) = match source.effective(about) {
                Some((text, origin)) => (about.shown(&text), origin),
                None => (format!("({})", about.fallback), Origin::Default),
            };
            Effective {
                name: about.name,
                value,
                origin,
                secret: about.exposure != Exposure::Plain,
            }
        };
        super::settings::all()
            .map(|setting| setting.about())
            .filter(|about| layers.runs.reads(about))
            .map(effective)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Runs;
    use crate::config::setting::Fallback;
    use crate::config::settings::GROUPS;

    /// `docs/settings.md`.
    fn page() -> String {
        let mut page = "# Settings\n\n\
            Made from the table in `src/config/settings.rs`; a test keeps it so (`scripts/settings-page` writes it anew).\n\n\
            A setting is given as a flag (`--http-addr 127.0.0.1:8080`), as a variable in the environment\n\
            (`LARDER_HTTP_ADDR=127.0.0.1:8080`) or in `larder.toml` (`http_addr = \"127.0.0.1:8080\"`). Flags win over the\n\
            environment, and the environment over the file. An empty value counts as unset. Secrets are no flags, since process\n\
            lists show flags to everybody. `larder serve --print-config` shows the values in force and where each comes from;\n\
            `larder check-config` reports mistakes and gives advice.\n"
            .to_owned();
        for (heading, settings) in GROUPS {
            page += &format!(
                "\n## {heading}\n\n| variable | flag | default | meaning |\n|---|---|---|---|\n"
            );
            for about in settings.iter().map(|setting| setting.about()) {
                let flag = about
                    .flag()
                    .map_or("none: a secret".to_owned(), |flag| format!("`--{flag}`"));
                let default = match about.fallback {
                    Fallback::Text(text) => format!("`{text}`"),
                    description => description.to_string(),
                };
                page += &format!(
                    "| `{}` | {flag} | {default} | {} |\n",
                    about.name, about.help
                );
            }
        }
        page
    }

    #[test]
    fn the_page_of_settings_is_that_of_the_table() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/settings.md");
        let page = page();
        if std::env::var_os("LARDER_TEST_WRITE_PAGES").is_some() {
            std::fs::write(&path, &page).unwrap();
        }
        let committed = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(committed, page, "run scripts/settings-page");
    }

    #[test]
    fn values_are_shown_with_their_origin_and_secrets_masked() {
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let layers = Environment {
            flags: vec![pair("LARDER_REGION", "eu")],
            environment: vec![pair("LARDER_MASTER_KEY", "marker-secret")],
            file: Some("database_url = \"postgres://u:marker-secret@db/x\"".to_owned()),
            ..Environment::default()
        };
        let all = Effective::all(&layers);
        let of = |name: &str| {
            let effective = all.iter().find(|effective| effective.name == name).unwrap();
            (effective.value.as_str(), effective.origin)
        };
        assert_eq!(of("LARDER_REGION"), ("eu", Origin::Flag));
        assert_eq!(of("LARDER_MASTER_KEY"), ("(secret)", Origin::Environment));
        let shown = "postgres://u:secret@db/x";
        assert_eq!(of("LARDER_DATABASE_URL"), (shown, Origin::File));
        assert_eq!(of("LARDER_HTTP_ADDR"), ("127.0.0.1:8080", Origin::Default));
        assert_eq!(of("LARDER_PROXY_PORT"), ("11211", Origin::Default));
        assert_eq!(of("LARDER_TLS_KEY"), ("(unset)", Origin::Default));
    }

    #[test]
    fn a_role_has_the_settings_that_it_reads() {
        let names = |runs| {
            let layers = Environment {
                runs,
                ..Environment::default()
            };
            let all = Effective::all(&layers).into_iter();
            all.map(|effective| effective.name).collect::<Vec<_>>()
        };
        let (all, control, node) = (names(Runs::All), names(Runs::Control), names(Runs::Node));
        assert_eq!(all.len(), crate::config::settings::all().count());
        for (name, of_control, of_node) in [
            ("LARDER_DATABASE_URL", true, false),
            ("LARDER_MASTER_KEY", true, false),
            ("LARDER_HEROKU_PASSWORD", true, false),
            ("LARDER_LINK_ADDR", true, false),
            ("LARDER_CONTROL_URL", false, true),
            ("LARDER_MEMCACHED_ADDR", false, true),
            ("LARDER_MEMCACHED_TLS_ADDR", true, true),
            ("LARDER_NODE_TOKEN", true, true),
            ("LARDER_DATA_DIR", true, true),
        ] {
            assert!(all.contains(&name), "{name}");
            assert_eq!(control.contains(&name), of_control, "{name}");
            assert_eq!(node.contains(&name), of_node, "{name}");
        }
    }
}
