use super::*;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn key() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([7; 32])
}

fn surroundings(environment: &[(&str, &str)], file: Option<&str>) -> Surroundings {
    let mut environment = pairs(environment);
    environment.push(("LARDER_MASTER_KEY".to_owned(), key()));
    Surroundings {
        environment,
        file: file.map(str::to_owned),
        ..Surroundings::default()
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = Config::read(surroundings(&[], None)).unwrap();
    assert_eq!(config.http_addr.to_string(), "127.0.0.1:8080");
    assert_eq!(config.metrics_addr.to_string(), "127.0.0.1:9100");
    assert_eq!(config.memcached.addr.to_string(), "127.0.0.1:11211");
    assert_eq!(config.memcached.proxy_port, 11211);
    assert_eq!(config.cluster.as_str(), "c1");
    assert_eq!(config.heroku.log_hosts, ["*.logplex.io".parse().unwrap()]);
    assert_eq!(config.rotation_overlap, Duration::from_secs(2 * 3_600));
    assert_eq!(config.shutdown, Duration::from_secs(20));
    assert!(config.memcached.open.is_none() && config.memcached.tls.is_none());
}

#[test]
fn flags_win_over_environment_over_file() {
    let mut layers = surroundings(
        &[
            ("LARDER_REGION", "env"),
            ("LARDER_ROTATION_OVERLAP_SECS", "60"),
        ],
        Some("region = \"file\"\nLARDER_CLUSTER = \"c9\""),
    );
    layers.flags = pairs(&[("LARDER_HTTP_ADDR", "127.0.0.1:1")]);
    let config = Config::read(layers).unwrap();
    assert_eq!(config.region, "env");
    assert_eq!(config.rotation_overlap, Duration::from_secs(60));
    assert_eq!(config.cluster.as_str(), "c9");
    assert_eq!(config.http_addr.port(), 1);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let layers = surroundings(
        &[
            ("LARDER_HTTP_ADDR", "nowhere"),
            ("LARDER_PUBLIC_URL", "http://cache.example.com"),
            ("LARDER_MEMCACHED_OPEN_ADDR", "0.0.0.0:11212"),
            ("LARDER_ENGINE_MEMORY", "lots"),
            ("LARDER_DATABASE_URL", "mysql://x"),
            ("LARDER_LOG_FORMAT", "xml"),
        ],
        Some("no_such_key = 1\n"),
    );
    let Mistakes(mistakes) = Config::read(layers).unwrap_err();
    for expected in [
        "unknown key no_such_key",
        "LARDER_HTTP_ADDR",
        "LARDER_PUBLIC_URL",
        "LARDER_MEMCACHED_OPEN_ADDR",
        "LARDER_ENGINE_MEMORY",
        "LARDER_DATABASE_URL",
        "LARDER_LOG_FORMAT",
        "LARDER_HEROKU_PASSWORD is not set",
    ] {
        assert!(
            mistakes.iter().any(|mistake| mistake.contains(expected)),
            "{expected} in {mistakes:#?}"
        );
    }
}

#[test]
fn a_mistake_never_repeats_a_secret() {
    let layers = surroundings(&[("LARDER_MASTER_KEY_PREVIOUS", "marker-secret")], None);
    let mistakes = Config::read(layers).unwrap_err().to_string();
    assert!(mistakes.contains("LARDER_MASTER_KEY_PREVIOUS"));
    assert!(!mistakes.contains("marker-secret"));
}

#[test]
fn serve_demands_a_master_key() {
    let Mistakes(mistakes) = Config::read(Surroundings::default()).unwrap_err();
    assert!(
        mistakes
            .iter()
            .any(|mistake| mistake.contains("openssl rand -base64 32")),
        "{mistakes:?}"
    );
}

#[test]
fn plans_in_the_file_replace_the_table() {
    let file = "[[plans]]\nslug = \"tiny\"\nmemory_mib = 1\nconnections = 5\ncredentials = 2\n\
                sample_grain_secs = 60\nhistory_days = 7\nprice_cents = 0\n";
    let config = Config::read(surroundings(&[], Some(file))).unwrap();
    assert!(config.plans.find("tiny").is_some());
    assert!(config.plans.find("dev").is_none());
}

#[test]
fn misspelt_variables_are_told() {
    let config = Config::read(surroundings(&[("LARDER_HTTP_ADRR", "x")], None)).unwrap();
    assert!(
        config
            .warnings
            .iter()
            .any(|warning| warning.contains("LARDER_HTTP_ADRR"))
    );
}
