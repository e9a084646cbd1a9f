//! Settings of roles and of the node link between them.

use secrecy::ExposeSecret as _;

use super::*;

const TOKEN: (&str, &str) = (
    "LARDER_NODE_TOKEN",
    "0123456789abcdef0123456789abcdef0123456789abcdef",
);
const LINK: (&str, &str) = ("LARDER_LINK_ADDR", "127.0.0.1:7000");
const CONTROL: (&str, &str) = ("LARDER_CONTROL_URL", "https://control.example.com:7000");

fn read(runs: Runs, given: &[(&str, &str)]) -> Result<Config, String> {
    let layers = Environment {
        runs,
        ..environment(given, None)
    };
    Config::read(layers).map_err(|mistakes| mistakes.to_string())
}

/// A node's settings, with nothing else around it.
fn read_node(given: &[(&str, &str)]) -> Result<NodeConfig, String> {
    let layers = Environment {
        environment: pairs(given),
        ..Environment::default()
    };
    NodeConfig::read(layers).map_err(|mistakes| mistakes.to_string())
}

#[test]
fn a_node_needs_neither_master_key_nor_database_nor_marketplace() {
    let config = read_node(&[CONTROL, TOKEN]).unwrap();
    assert_eq!(config.control_urls.len(), 1);
    assert_eq!(config.enrolment[0].expose_secret(), TOKEN.1);
    assert_eq!(config.node.memcached.addr.port(), 11_211);
    assert!(config.process.warnings.is_empty());
}

#[test]
fn a_node_is_told_of_what_it_must_not_have_and_does_not_read_it() {
    for (name, value) in [
        ("LARDER_MASTER_KEY", "marker-secret"),
        ("LARDER_MASTER_KEY_FILE", "no-such-file"),
        ("LARDER_MASTER_KEY_PREVIOUS", "marker-secret"),
        ("LARDER_DATABASE_URL", "marker-secret"),
    ] {
        let config = read_node(&[CONTROL, TOKEN, (name, value)]).unwrap();
        let [warning] = config.process.warnings.as_slice() else {
            panic!("{:?}", config.process.warnings);
        };
        let expected = format!("{name} (environment) is set, and a node must not have it");
        assert!(warning.starts_with(&expected), "{warning}");
        assert!(!warning.contains("marker"), "{warning}");
    }
}

#[test]
fn a_node_needs_a_control_process_and_a_token_and_says_both_at_once() {
    let told = read_node(&[]).unwrap_err();
    assert!(told.contains("LARDER_CONTROL_URL must be set"), "{told}");
    assert!(told.contains("LARDER_NODE_TOKEN must be set"), "{told}");
}

#[test]
fn control_processes_are_called_by_https_but_for_this_machine() {
    let given = |urls, allow| {
        let settings = [
            ("LARDER_CONTROL_URL", urls),
            TOKEN,
            ("LARDER_ALLOW_HTTP", allow),
        ];
        read_node(&settings).map(|config| config.control_urls.len())
    };
    assert_eq!(
        given("https://a.example.com:7000, https://b.example.com", "off"),
        Ok(2)
    );
    for local in [
        "http://127.0.0.1:7000",
        "http://[::1]:7000",
        "http://localhost:7000",
    ] {
        assert_eq!(given(local, "off"), Ok(1), "{local}");
    }
    let plain = "https://a.example.com,http://b.example.com:7000";
    let told = given(plain, "off").unwrap_err();
    assert!(told.contains("LARDER_CONTROL_URL"), "{told}");
    assert_eq!(given(plain, "on"), Ok(2));
    for bad in [
        "control.example.com:7000",
        "ftp://control.example.com",
        "https://control.example.com/link",
        "https://control.example.com?x",
        "https://user:marker@control.example.com",
        ",",
    ] {
        let told = given(bad, "on").unwrap_err();
        assert!(told.contains("LARDER_CONTROL_URL"), "{bad}: {told}");
        assert!(!told.contains("marker"), "{told}");
    }
}

#[test]
fn a_node_token_cannot_be_guessed_and_is_no_placeholder() {
    for name in ["LARDER_NODE_TOKEN", "LARDER_NODE_TOKEN_PREVIOUS"] {
        for (bad, why) in [
            ("PLACEHOLDER-set-LARDER_NODE_TOKEN-here", "placeholder"),
            ("0123456789abcdef0123456789abcde", "shorter than 32"),
            ("0123456789abcdef 0123456789abcdef", "visible ASCII"),
            ("0123456789abcdef0123456789abcdeä", "visible ASCII"),
        ] {
            let mut given = vec![CONTROL, (name, bad)];
            if name != TOKEN.0 {
                given.push(TOKEN);
            }
            let told = read_node(&given).unwrap_err();
            assert!(told.contains(name) && told.contains(why), "{bad}: {told}");
            assert!(!told.contains("0123456789"), "{told}");
        }
    }
    let other = "fedcba9876543210fedcba9876543210";
    let both = [CONTROL, TOKEN, ("LARDER_NODE_TOKEN_PREVIOUS", other)];
    let config = read_node(&both).unwrap();
    let tokens: Vec<&str> = config.enrolment.iter().map(|t| t.expose_secret()).collect();
    assert_eq!(tokens, [TOKEN.1, other]);
}

/// The database has external ids, and a node has no database.
#[test]
fn the_open_cache_of_a_node_is_a_private_one() {
    let open = ("LARDER_MEMCACHED_OPEN_ADDR", "127.0.0.1:11212");
    let given = |cache| read_node(&[CONTROL, TOKEN, open, ("LARDER_MEMCACHED_OPEN_CACHE", cache)]);
    assert!(given("dev").is_ok());
    let told = given("01234567-89ab-cdef-0123-456789abcdef").unwrap_err();
    assert!(told.contains("must be `dev`"), "{told}");
}

#[test]
fn control_needs_a_link_and_all_may_have_one() {
    let told = read(Runs::Control, &[]).unwrap_err();
    assert!(told.contains("LARDER_LINK_ADDR must be set"), "{told}");
    assert!(told.contains("LARDER_NODE_TOKEN must be set"), "{told}");
    for runs in [Runs::All, Runs::Dev, Runs::Control] {
        let told = read(runs, &[LINK]).unwrap_err();
        assert!(told.contains("LARDER_NODE_TOKEN must be set"), "{told}");
        let config = read(runs, &[LINK, TOKEN]).unwrap();
        assert_eq!(config.link.unwrap().addr.port(), 7000);
        assert_eq!(config.node.is_some(), runs != Runs::Control);
    }
    for runs in [Runs::Worker, Runs::Nothing] {
        let config = read(runs, &[LINK]).unwrap();
        assert!(config.link.is_none() && config.node.is_none(), "{runs:?}");
    }
}

#[test]
fn the_link_is_tls_but_on_loopback() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, "").unwrap();
        path.display().to_string()
    };
    let (certificate, key) = (path("link.pem"), path("link.key"));
    let certificate = ("LARDER_LINK_TLS_CERT", certificate.as_str());
    let key = ("LARDER_LINK_TLS_KEY", key.as_str());
    for (addr, is_local) in [
        ("127.0.0.1:7000", true),
        ("[::1]:7000", true),
        ("0.0.0.0:7000", false),
        ("10.0.0.5:7000", false),
    ] {
        let addr = ("LARDER_LINK_ADDR", addr);
        let plain = read(Runs::Control, &[addr, TOKEN]);
        assert_eq!(plain.is_ok(), is_local, "{addr:?}");
        let allowed = [addr, TOKEN, ("LARDER_ALLOW_HTTP", "on")];
        assert!(
            read(Runs::Control, &allowed)
                .unwrap()
                .link
                .unwrap()
                .tls
                .is_none()
        );
        let secured = read(Runs::Control, &[addr, TOKEN, certificate, key]).unwrap();
        assert!(secured.link.unwrap().tls.is_some());
        let half = read(Runs::Control, &[addr, TOKEN, certificate]).unwrap_err();
        assert!(half.contains("LARDER_LINK_TLS_KEY"), "{half}");
    }
}

/// The files of the TLS listener are on the nodes.
#[test]
fn control_shows_the_tls_port_of_nodes_and_needs_no_certificate_for_it() {
    let shown = [
        LINK,
        TOKEN,
        ("LARDER_MEMCACHED_TLS_ADDR", "0.0.0.0:11219"),
        ("LARDER_TLS_CA", "ca.pem"),
    ];
    let config = read(Runs::Control, &shown).unwrap();
    let tls = config.shown_tls.unwrap();
    assert_eq!((tls.port, tls.ca.as_deref()), (11_219, Some("ca.pem")));
    assert!(read(Runs::All, &shown).is_err());
}

/// What a role does not read may be anything.
#[test]
fn a_setting_of_another_role_is_no_mistake() {
    assert!(
        read(
            Runs::Control,
            &[LINK, TOKEN, ("LARDER_MEMCACHED_ADDR", "nowhere")]
        )
        .is_ok()
    );
    assert!(read_node(&[CONTROL, TOKEN, ("LARDER_HTTP_ADDR", "nowhere")]).is_ok());
    assert!(read(Runs::All, &[("LARDER_MEMCACHED_ADDR", "nowhere")]).is_err());
    assert!(read_node(&[CONTROL, TOKEN, ("LARDER_MEMCACHED_ADDR", "nowhere")]).is_err());
}
