//! The `memcache` crate: `protocol=ascii` or `protocol=binary` by the first argument, login in the URL.
//! The common list is in ../../checks.md.

use std::collections::HashMap;
use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use memcache::{Client, MemcacheError};

const MIB: usize = 1024 * 1024;
const TEXT: &str = "Grüße, 缓存, κρυφή μνήμη, 🧺";
const ALL: &str = "MEMCACHIER";

type Outcome = Result<(), Box<dyn std::error::Error>>;
type Check = fn(&Client) -> Outcome;

const CHECKS: &[(&str, Check)] = &[
    ("set-get", set_get),
    ("multi-set-get", multi_set_get),
    ("add", add),
    ("replace", replace),
    ("append", append),
    ("prepend", prepend),
    ("incr", incr),
    ("decr", decr),
    ("cas", cas),
    ("touch", touch),
    ("delete", delete),
    ("expiry", expiry),
    ("large-value", large_value),
    ("too-large", too_large),
    ("binary-values", binary_values),
    ("unicode-values", unicode_values),
    ("read-only", read_only),
    ("no-flush", no_flush),
    ("promotion", promotion),
    ("promoted-login", promoted_login),
    ("flush", flush),
    ("wrong-password", wrong_password),
];

fn main() -> Outcome {
    let main = connect(ALL, None)?;
    for (name, check) in CHECKS {
        match check(&main) {
            Ok(()) => say(&format!("ok {name}")),
            Err(fault) => say(&format!(
                "not ok {name} - {}",
                fault.to_string().replace('\n', " ")
            )),
        }
    }
    Ok(())
}

fn connect(credential: &str, password: Option<&str>) -> Result<Client, MemcacheError> {
    let variable = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set"));
    let server = variable("MEMCACHIER_SERVERS");
    let username = variable(&format!("{credential}_USERNAME"));
    let real = variable(&format!("{credential}_PASSWORD"));
    let protocol = std::env::args().nth(1).unwrap_or_else(|| "binary".into());
    let url = format!(
        "memcache://{username}:{}@{server}?protocol={protocol}",
        password.unwrap_or(&real)
    );
    Client::builder()
        .add_server(url)?
        // The library's pool tries a refused login again and again until this has passed.
        .with_connection_timeout(Duration::from_secs(2))
        .with_read_timeout(Duration::from_secs(10))
        .build()
}

fn say(line: &str) {
    println!("{line}");
    std::io::stdout().flush().expect("standard output");
}

fn wait_for_the_test(what: &str) -> Outcome {
    say(&format!("waiting {what}"));
    match std::io::stdin().read_line(&mut String::new())? {
        0 => Err("the test went away".into()),
        _ => Ok(()),
    }
}

fn same<T: PartialEq + std::fmt::Debug>(seen: T, wanted: T) -> Outcome {
    if seen == wanted {
        return Ok(());
    }
    let short = |value: &T| format!("{value:?}").chars().take(80).collect::<String>();
    Err(format!("expected {}, got {}", short(&wanted), short(&seen)).into())
}

fn holds(client: &Client, key: &str, wanted: Option<&str>) -> Outcome {
    let seen: Option<String> = client.get(key)?;
    same((key, seen.as_deref()), (key, wanted))
}

/// Takes a refusal for an answer; a broken connection or an answer out of step is a fault. In the text protocol
/// the library takes "not stored" for success, so the items are looked at as well, always.
fn or_refused<T>(answer: Result<T, MemcacheError>) -> Outcome {
    match answer {
        Ok(_) | Err(MemcacheError::CommandError(_) | MemcacheError::ServerError(_)) => Ok(()),
        // The text of a refusal, read as the number that incr should have answered.
        Err(MemcacheError::ParseError(_)) => Ok(()),
        // A refused flush.
        Err(MemcacheError::ClientError(_)) => Ok(()),
        Err(fault) => Err(fault.into()),
    }
}

fn noise(length: usize) -> Result<Vec<u8>, std::io::Error> {
    let mut value = vec![0; length];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut value)?;
    Ok(value)
}

fn until_gone(client: &Client, key: &str) -> Outcome {
    let deadline = Instant::now() + Duration::from_secs(15);
    while client.get::<String>(key)?.is_some() {
        if Instant::now() > deadline {
            return Err(format!("{key} did not expire").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// A round trip through the same client, so that what went before has not broken it or put it out of step.
fn usable(client: &Client) -> Outcome {
    client.set("usable", "yes", 0)?;
    holds(client, "usable", Some("yes"))
}

fn set_get(main: &Client) -> Outcome {
    holds(main, "set-get", None)?;
    main.set("set-get", "first", 0)?;
    holds(main, "set-get", Some("first"))?;
    main.set("set-get", "", 0)?;
    holds(main, "set-get", Some(""))
}

fn multi_set_get(main: &Client) -> Outcome {
    let items: HashMap<String, String> = (0..100)
        .map(|number| (format!("multi-{number}"), format!("value {number}")))
        .collect();
    for (key, value) in &items {
        main.set(key, value, 0)?;
    }
    let mut keys: Vec<&str> = items.keys().map(String::as_str).collect();
    keys.push("multi-none");
    same(main.gets(&keys)?, items)
}

fn add(main: &Client) -> Outcome {
    main.add("add", "first", 0)?;
    or_refused(main.add("add", "second", 0))?;
    holds(main, "add", Some("first"))
}

fn replace(main: &Client) -> Outcome {
    or_refused(main.replace("replace", "none", 0))?;
    holds(main, "replace", None)?;
    main.set("replace", "old", 0)?;
    main.replace("replace", "new", 0)?;
    holds(main, "replace", Some("new"))
}

fn append(main: &Client) -> Outcome {
    or_refused(main.append("append-none", "x"))?;
    holds(main, "append-none", None)?;
    main.set("append", "head", 0)?;
    main.append("append", "-tail")?;
    holds(main, "append", Some("head-tail"))
}

fn prepend(main: &Client) -> Outcome {
    or_refused(main.prepend("prepend-none", "x"))?;
    holds(main, "prepend-none", None)?;
    main.set("prepend", "tail", 0)?;
    main.prepend("prepend", "head-")?;
    holds(main, "prepend", Some("head-tail"))
}

fn incr(main: &Client) -> Outcome {
    main.set("incr", "10", 0)?;
    same(main.increment("incr", 5)?, 15)?;
    holds(main, "incr", Some("15"))
}

fn decr(main: &Client) -> Outcome {
    main.set("decr", "15", 0)?;
    same(main.decrement("decr", 6)?, 9)?;
    same(main.decrement("decr", 100)?, 0)?;
    let seen: String = main.get("decr")?.ok_or("a miss")?;
    same(seen.trim(), "0")
}

fn cas_of(client: &Client, key: &str) -> Result<u64, Box<dyn std::error::Error>> {
    let (_, _, cas): (String, u32, Option<u64>) = client.get(key)?.ok_or("a miss")?;
    Ok(cas.ok_or("no CAS value")?)
}

fn cas(main: &Client) -> Outcome {
    main.set("cas", "old", 0)?;
    let cas = cas_of(main, "cas")?;
    same(main.cas("cas", "new", 0, cas)?, true)?;
    same(main.cas("cas", "late", 0, cas)?, false)?;
    holds(main, "cas", Some("new"))
}

fn touch(main: &Client) -> Outcome {
    main.set("touch", "kept", 1)?;
    main.set("touch-control", "goes", 1)?;
    same(main.touch("touch", 100)?, true)?;
    until_gone(main, "touch-control")?;
    holds(main, "touch", Some("kept"))?;
    same(main.touch("touch-none", 100)?, false)
}

fn delete(main: &Client) -> Outcome {
    main.set("delete", "x", 0)?;
    same(main.delete("delete")?, true)?;
    holds(main, "delete", None)
}

fn expiry(main: &Client) -> Outcome {
    main.set("expiry-long", "stays", 100)?;
    main.set("expiry", "goes", 1)?;
    until_gone(main, "expiry")?;
    holds(main, "expiry-long", Some("stays"))
}

fn large_value(main: &Client) -> Outcome {
    let value = noise(MIB - 1024)?;
    main.set("large", value.as_slice(), 0)?;
    let seen: Vec<u8> = main.get("large")?.ok_or("a miss")?;
    same(seen == value, true)
}

fn too_large(main: &Client) -> Outcome {
    main.set("too-large", "old", 0)?;
    let answer = main.set("too-large", noise(MIB + 1)?.as_slice(), 0);
    same(answer.is_err(), true)?;
    or_refused(answer)?;
    usable(main)?;
    holds(main, "too-large", None)
}

fn binary_values(main: &Client) -> Outcome {
    let mut value: Vec<u8> = (0..=255).collect();
    value.extend_from_slice(b"\r\nEND\r\n\0VALUE x 0 1\r\n");
    main.set("binary", value.as_slice(), 0)?;
    same(main.get("binary")?, Some(value))
}

fn unicode_values(main: &Client) -> Outcome {
    main.set("unicode", TEXT, 0)?;
    holds(main, "unicode", Some(TEXT))
}

fn read_only(main: &Client) -> Outcome {
    main.set("ro", "7", 0)?;
    main.set("ro-life", "kept", 0)?;
    let reader = connect("READONLY", None)?;
    let unchanged = || holds(&reader, "ro", Some("7"));
    unchanged()?;
    or_refused(reader.set("ro", "9", 0))?;
    unchanged()?;
    or_refused(reader.add("ro-new", "9", 0))?;
    holds(&reader, "ro-new", None)?;
    or_refused(reader.replace("ro", "9", 0))?;
    unchanged()?;
    or_refused(reader.append("ro", "9"))?;
    unchanged()?;
    or_refused(reader.prepend("ro", "9"))?;
    unchanged()?;
    same(reader.increment("ro", 1).is_err(), true)?;
    unchanged()?;
    or_refused(reader.decrement("ro", 1))?;
    unchanged()?;
    or_refused(reader.cas("ro", "9", 0, cas_of(&reader, "ro")?))?;
    unchanged()?;
    or_refused(reader.delete("ro"))?;
    unchanged()?;
    or_refused(reader.touch("ro-life", 1))?;
    holds(main, "ro", Some("7"))?;
    main.set("ro-control", "goes", 1)?;
    until_gone(main, "ro-control")?;
    holds(&reader, "ro-life", Some("kept"))
}

fn no_flush(main: &Client) -> Outcome {
    main.set("no-flush", "stays", 0)?;
    let writer = connect("NOFLUSH", None)?;
    holds(&writer, "no-flush", Some("stays"))?;
    let answer = writer.flush();
    same(answer.is_err(), true)?;
    or_refused(answer)?;
    usable(&writer)?;
    holds(&writer, "no-flush", Some("stays"))?;
    holds(main, "no-flush", Some("stays"))
}

fn promotion(main: &Client) -> Outcome {
    main.set("promotion", "before", 0)?;
    holds(main, "promotion", Some("before"))?;
    wait_for_the_test("promotion")?;
    holds(main, "promotion", Some("before"))?;
    usable(main)
}

fn promoted_login(main: &Client) -> Outcome {
    wait_for_the_test("promoted-login")?;
    let fresh = connect("PROMOTED", None)?;
    holds(&fresh, "promotion", Some("before"))?;
    fresh.set("promotion", "after", 0)?;
    holds(main, "promotion", Some("after"))
}

fn flush(main: &Client) -> Outcome {
    main.set("flush", "x", 0)?;
    main.flush()?;
    holds(main, "flush", None)?;
    usable(main)
}

fn wrong_password(_: &Client) -> Outcome {
    match connect(ALL, Some("not-the-password")) {
        Ok(_) => Err("no error".into()),
        // The pool wraps what the server answered.
        Err(fault) => {
            let text = fault.to_string();
            let refused =
                text.contains("authentication failure") || text.contains("Authentication required");
            same((refused, text.as_str()), (true, text.as_str()))
        }
    }
}
