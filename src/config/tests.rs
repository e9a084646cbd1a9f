use super::*;

mod machines;

fn pairs(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn key() -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode([7; 32])
}

fn environment(environment: &[(&str, &str)], file: Option<&str>) -> Environment {
    let mut environment = pairs(environment);
    environment.push(("LARDER_MASTER_KEY".to_owned(), key()));
    for name in ["LARDER_HEROKU_PASSWORD", "LARDER_HEROKU_SSO_SALT"] {
        environment.push((name.to_owned(), "0123456789abcdef".to_owned()));
    }
    Environment {
        environment,
        file: file.map(str::to_owned),
        ..Environment::default()
    }
}

#[test]
fn defaults_are_those_of_the_contract() {
    let config = Config::read(environment(&[], None)).unwrap();
    assert_eq!(config.http_addr.to_string(), "127.0.0.1:8080");
    assert_eq!(config.process.metrics_addr.to_string(), "127.0.0.1:9100");
    let node = config.node.as_ref().unwrap();
    assert_eq!(node.memcached.addr.to_string(), "127.0.0.1:11211");
    assert_eq!(node.memcached.proxy_port, 11211);
    assert_eq!(node.cluster.as_str(), "c1");
    assert!(node.memcached.open.is_none() && node.memcached.tls.is_none());
    assert!(config.link.is_none());
    assert_eq!(config.heroku.log_hosts, ["*.logplex.io".parse().unwrap()]);
    assert_eq!(config.rotation_overlap, Duration::from_secs(2 * 3_600));
    assert_eq!(config.process.shutdown, Duration::from_secs(20));
}

#[test]
fn the_product_is_the_manifest_s_unless_settings_say_otherwise() {
    let config = Config::read(environment(&[], None)).unwrap();
    assert_eq!(config.product.name, "Larder");
    assert_eq!(config.product.regions, ["us", "eu"]);
    let settings = [
        ("LARDER_PRODUCT_NAME", "Pantry"),
        ("LARDER_VARIABLES_PREFIX", "PANTRY"),
        ("LARDER_REGIONS", "us, tokyo"),
    ];
    let config = Config::read(environment(&settings, None)).unwrap();
    let product = &config.product;
    assert_eq!((&*product.id, &*product.name), ("larder", "Pantry"));
    assert_eq!(product.variables.servers, "PANTRY_SERVERS");
    assert_eq!(product.regions, ["us", "tokyo"]);
    assert_eq!(
        config.heroku.variables.servers, "MEMCACHIER_SERVERS",
        "Heroku refuses a variable that its manifest does not list"
    );
    for (name, bad) in [
        ("LARDER_VARIABLES_PREFIX", "pan-try"),
        ("LARDER_REGIONS", "us,,eu"),
    ] {
        let mistakes = Config::read(environment(&[(name, bad)], None)).unwrap_err();
        assert!(mistakes.to_string().contains(name), "{mistakes}");
    }
}

#[test]
fn flags_win_over_environment_over_file() {
    let mut layers = environment(
        &[
            ("LARDER_REGION", "env"),
            ("LARDER_ROTATION_OVERLAP_SECS", "60"),
        ],
        Some("region = \"file\"\nLARDER_CLUSTER = \"c9\""),
    );
    layers.flags = pairs(&[("LARDER_HTTP_ADDR", "127.0.0.1:1")]);
    let config = Config::read(layers).unwrap();
    let node = config.node.as_ref().unwrap();
    assert_eq!(node.region, "env");
    assert_eq!(config.rotation_overlap, Duration::from_secs(60));
    assert_eq!(node.cluster.as_str(), "c9");
    assert_eq!(config.http_addr.port(), 1);
}

#[test]
fn every_mistake_is_reported_at_once() {
    let layers = environment(
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
    ] {
        assert!(
            mistakes.iter().any(|mistake| mistake.contains(expected)),
            "{expected} in {mistakes:#?}"
        );
    }
}

/// security.md OP-1.
#[test]
fn metrics_beyond_this_machine_need_a_token() {
    for (addr, is_local) in [
        ("127.0.0.1:9100", true),
        ("127.9.9.9:9100", true),
        ("[::1]:9100", true),
        ("0.0.0.0:9100", false),
        ("[::]:9100", false),
        ("10.0.0.7:9100", false),
        ("[::ffff:10.0.0.7]:9100", false),
    ] {
        let addr = ("LARDER_METRICS_ADDR", addr);
        let without = Config::read(environment(&[addr], None));
        assert_eq!(without.is_ok(), is_local, "{addr:?}");
        if let Err(Mistakes(mistakes)) = without {
            assert!(
                mistakes[0].contains("LARDER_METRICS_TOKEN must be set"),
                "{mistakes:?}"
            );
        }
        let token = ("LARDER_METRICS_TOKEN", "0123456789abcdef");
        assert!(Config::read(environment(&[addr, token], None)).is_ok());
    }
}

#[test]
fn proxies_are_trusted_by_name_only() {
    let config = Config::read(environment(&[], None)).unwrap();
    assert!(config.trusted_proxies.is_empty());
    let list = ("LARDER_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8");
    let config = Config::read(environment(&[list], None)).unwrap();
    let named: Vec<String> = config
        .trusted_proxies
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(named, ["127.0.0.1/32", "10.0.0.0/8"]);
    let wrong = ("LARDER_TRUSTED_PROXIES", "caddy");
    assert!(Config::read(environment(&[wrong], None)).is_err());
}

#[test]
fn the_end_of_previous_secrets_is_a_time_with_its_zone() {
    let given = |text| Config::read(environment(&[("LARDER_HEROKU_PREVIOUS_UNTIL", text)], None));
    let config = given("2026-12-24T19:00:00+01:00").unwrap();
    assert_eq!(
        config.heroku.previous_until,
        Some(Timestamp::from_secs(1_798_135_200))
    );
    for bad in [
        "2026-12-24",
        "2026-12-24T18:00:00",
        "tomorrow",
        "1798135200",
    ] {
        assert!(given(bad).is_err(), "{bad}");
    }
}

/// security.md G-5: a limit that is set reaches what it bounds, and one that is not set is the product's.
#[test]
fn limits_have_the_product_s_defaults_and_can_be_set() {
    let config = Config::read(environment(&[], None)).unwrap();
    let (limits, memcached) = (config.limits, config.node.unwrap().memcached.limits);
    assert_eq!(
        (limits.http_body_bytes, limits.http_request.as_secs()),
        (65_536, 20)
    );
    assert_eq!(
        (limits.session_idle.as_secs(), limits.session_age.as_secs()),
        (1_800, 43_200)
    );
    assert_eq!(
        (memcached.login.as_secs(), memcached.line_bytes),
        (5, 2_048)
    );
    assert_eq!(
        (memcached.request.as_secs(), memcached.unread.as_secs()),
        (300, 30)
    );
    assert_eq!(memcached.unread_bytes, 262_144);
    for (name, good, bad) in [
        (
            "LARDER_HTTP_BODY_BYTES",
            "1KiB",
            &["0", "1023", "2GiB", "many"][..],
        ),
        (
            "LARDER_HTTP_REQUEST_SECS",
            "1",
            &["0", "-1", "1.5", "18446744073709551616"],
        ),
        ("LARDER_SESSION_IDLE_SECS", "60", &["0", "never"]),
        ("LARDER_SESSION_SECS", "60", &["0", "12h"]),
        (
            "LARDER_MEMCACHED_LINE_BYTES",
            "4096",
            &["0", "1000", "16KiB"],
        ),
        ("LARDER_MEMCACHED_UNREAD_BYTES", "1MiB", &["0", "4GiB"]),
    ] {
        assert!(
            Config::read(environment(&[(name, good)], None)).is_ok(),
            "{name}={good}"
        );
        for bad in bad {
            assert!(
                Config::read(environment(&[(name, bad)], None)).is_err(),
                "{name}={bad}"
            );
        }
    }
}

#[test]
fn a_mistake_never_repeats_a_secret() {
    let layers = environment(&[("LARDER_MASTER_KEY_PREVIOUS", "marker-secret")], None);
    let mistakes = Config::read(layers).unwrap_err().to_string();
    assert!(mistakes.contains("LARDER_MASTER_KEY_PREVIOUS"));
    assert!(!mistakes.contains("marker-secret"));
}

#[test]
fn serve_demands_a_master_key() {
    let folder = tempfile::tempdir().unwrap();
    let mistakes = || {
        let data_dir = folder.path().to_str().unwrap();
        let layers = Environment {
            environment: pairs(&[("LARDER_DATA_DIR", data_dir)]),
            ..Environment::default()
        };
        Config::read(layers).unwrap_err().to_string()
    };
    let told = mistakes();
    assert!(told.contains("openssl rand -base64 32"), "{told}");
    // A new one would not open the database there.
    std::fs::write(folder.path().join(DEV_KEYS), "").unwrap();
    let told = mistakes();
    assert!(told.contains("dev-keys.toml holds that of"), "{told}");
    assert!(!told.contains("openssl rand"), "{told}");
}

#[test]
fn plans_in_the_file_replace_the_table() {
    let file = "[[plans]]\nslug = \"tiny\"\nmemory_mib = 1\nconnections = 5\ncredentials = 2\n\
                sample_grain_secs = 60\nhistory_days = 7\nprice_cents = 0\n";
    let config = Config::read(environment(&[], Some(file))).unwrap();
    assert!(config.plans.find("tiny").is_some());
    assert!(config.plans.find("dev").is_none());
}

#[test]
fn misspelt_variables_are_told() {
    let config = Config::read(environment(&[("LARDER_HTTP_ADRR", "x")], None)).unwrap();
    assert!(
        config
            .process
            .warnings
            .iter()
            .any(|warning| warning.contains("LARDER_HTTP_ADRR"))
    );
}

/// Anybody can read the committed manifest, so what it holds opens nothing, on no address.
#[test]
fn a_placeholder_of_the_manifest_is_no_secret() {
    let layers = Environment {
        environment: pairs(&[("LARDER_MASTER_KEY", &key()), ("LARDER_ALLOW_HTTP", "on")]),
        ..Environment::default()
    };
    let mistakes = Config::read(layers).unwrap_err().to_string();
    assert!(mistakes.contains("LARDER_HEROKU_PASSWORD is not set"));
    assert!(mistakes.contains("LARDER_HEROKU_SSO_SALT is not set"));
}

/// Nor does a copy of it in the environment or in `larder.toml`.
#[test]
fn a_placeholder_that_is_given_is_no_secret() {
    for name in [
        "LARDER_HEROKU_PASSWORD",
        "LARDER_HEROKU_PASSWORD_PREVIOUS",
        "LARDER_HEROKU_SSO_SALT",
        "LARDER_HEROKU_SSO_SALT_PREVIOUS",
        "LARDER_HEROKU_CLIENT_SECRET",
    ] {
        let mut layers = environment(&[], None);
        layers.environment.retain(|(other, _)| other != name);
        layers.file = Some(format!("{name} = \"PLACEHOLDER-set-me\"\n"));
        let Mistakes(mistakes) = Config::read(layers).unwrap_err();
        let [mistake] = mistakes.as_slice() else {
            panic!("{name}: {mistakes:?}");
        };
        assert!(
            mistake.starts_with(&format!("{name} (file): is a placeholder")),
            "{mistake}"
        );
    }
}

#[test]
fn a_line_end_is_no_part_of_a_manifest_s_secret_either() {
    use secrecy::ExposeSecret as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("acme.json");
    let committed = include_str!("../../addon-manifest.json");
    let text = committed
        .replace(
            "PLACEHOLDER-set-LARDER_HEROKU_PASSWORD",
            "one-of-the-manifest\\n",
        )
        .replace("PLACEHOLDER-set-LARDER_HEROKU_SSO_SALT", " another ");
    std::fs::write(&path, text).unwrap();
    let layers = Environment {
        environment: pairs(&[
            ("LARDER_MASTER_KEY", &key()),
            ("LARDER_MANIFEST", path.to_str().unwrap()),
        ]),
        ..Environment::default()
    };
    let config = Config::read(layers).unwrap();
    assert_eq!(
        config.heroku.password.expose_secret(),
        "one-of-the-manifest"
    );
    assert_eq!(config.heroku.sso_salt.expose_secret(), "another");
    assert_eq!(config.manifest.file, Some(path));
    for name in ["api.password (manifest)", "api.sso_salt (manifest)"] {
        let told = |warning: &String| warning.starts_with(name);
        let warnings = &config.process.warnings;
        assert!(warnings.iter().any(told), "{warnings:?}");
    }
}

#[test]
fn a_line_end_is_no_part_of_a_secret_and_is_told() {
    use secrecy::ExposeSecret as _;
    let mut layers = environment(&[], None);
    layers.flags = pairs(&[("LARDER_HEROKU_CLIENT_SECRET", "secret\r\n")]);
    let config = Config::read(layers).unwrap();
    let secret = config.heroku.client_secret.unwrap();
    assert_eq!(secret.expose_secret(), "secret");
    let told = &config.process.warnings[0];
    assert!(told.contains("LARDER_HEROKU_CLIENT_SECRET") && !told.contains("secret\r"));
}

#[test]
fn the_public_url_follows_the_address_listened_on() {
    for (addr, url) in [
        ("127.0.0.1:28080", "http://127.0.0.1:28080"),
        ("0.0.0.0:28080", "http://127.0.0.1:28080"),
        ("[::]:28080", "http://[::1]:28080"),
    ] {
        let config = Config::read(environment(&[("LARDER_HTTP_ADDR", addr)], None)).unwrap();
        assert_eq!(config.public_url.origin(), url);
    }
    let elsewhere = environment(&[("LARDER_HTTP_ADDR", "10.0.0.5:8080")], None);
    let mistakes = Config::read(elsewhere).unwrap_err().to_string();
    assert!(
        mistakes.contains("LARDER_PUBLIC_URL"),
        "the outside needs https"
    );
}
