//! `larder serve` with addresses that it cannot have: another program has one, or two settings name the same.

use std::net::TcpListener;

use crate::engine_tls::make_certificate;
use crate::support::db::Database;
use crate::support::full_service::{free_port, setting};
use crate::support::machine::Machine;
use crate::support::process::larder;

/// A machine with every listener that there is.
fn machine(database: &Database) -> Machine {
    let mut machine = Machine::new(database, "node-a.example");
    make_certificate(machine.folder.path(), "tls");
    let file = |name: &str| machine.folder.path().join(name).display().to_string();
    let address = || format!("127.0.0.1:{}", free_port());
    for (name, value) in [
        ("LARDER_MEMCACHED_TLS_ADDR", address()),
        ("LARDER_TLS_CERT", file("tls.pem")),
        ("LARDER_TLS_KEY", file("tls.key")),
        ("LARDER_MEMCACHED_OPEN_ADDR", address()),
        ("LARDER_MEMCACHED_OPEN_CACHE", "dev".to_owned()),
    ] {
        machine.settings = setting(&machine.settings, name, &value);
    }
    machine
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_another_program_has_is_named_with_its_setting() {
    let database = Database::sqlite();
    let machine = machine(&database);
    for taken in [
        "LARDER_HTTP_ADDR",
        "LARDER_METRICS_ADDR",
        "LARDER_MEMCACHED_ADDR",
        "LARDER_MEMCACHED_TLS_ADDR",
        "LARDER_MEMCACHED_OPEN_ADDR",
    ] {
        let holder = TcpListener::bind(("127.0.0.1", 0)).expect("a free port");
        let held = holder.local_addr().expect("bound").to_string();
        let settings = setting(&machine.settings, taken, &held);
        let ended = larder("serve", &settings, machine.folder.path()).await;
        assert!(!ended.success, "{taken}");
        for part in [
            format!("cannot listen on {held} ({taken}): another program"),
            format!("set {taken} to a free address"),
        ] {
            assert!(ended.stderr.contains(&part), "{taken}: {}", ended.stderr);
        }
    }
    database.drop().await;
}

/// No other program has it, so none is to be looked for.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_that_two_settings_name_is_a_mistake_in_both() {
    let database = Database::sqlite();
    let machine = machine(&database);
    let addr = format!("127.0.0.1:{}", free_port());
    for (one, other) in [
        ("LARDER_HTTP_ADDR", "LARDER_METRICS_ADDR"),
        ("LARDER_MEMCACHED_ADDR", "LARDER_MEMCACHED_TLS_ADDR"),
    ] {
        let settings = setting(&machine.settings, one, &addr);
        let settings = setting(&settings, other, &addr);
        for verb in ["serve", "check-config"] {
            let ended = larder(verb, &settings, machine.folder.path()).await;
            assert!(!ended.success, "{verb} {one}");
            let told = format!("{other} (environment): {addr} is the address of {one}");
            assert!(ended.stderr.contains(&told), "{verb}: {}", ended.stderr);
            assert!(
                !ended.stderr.contains("another program"),
                "{}",
                ended.stderr
            );
        }
    }
    database.drop().await;
}
