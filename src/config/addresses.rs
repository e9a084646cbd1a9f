//! The addresses that a command listens on: no two of its settings may name the same one.

use std::net::SocketAddr;

use super::runs::Runs;
use super::source::Source;

/// Notes listeners that cannot be opened side by side. The system would say of the second that another program has its
/// address, and the operator would look for one in vain.
pub(super) fn check(source: &mut Source, runs: Runs) {
    let mut taken: Vec<(&'static str, SocketAddr)> = Vec::new();
    for setting in runs.listeners() {
        let Some(addr) = source.get(setting) else {
            continue;
        };
        if let Some((name, other)) = taken.iter().find(|(_, other)| overlap(*other, addr)) {
            let why = format!(
                "{addr} is the address of {name} ({other}) as well: give one of the two another port"
            );
            source.bad(&setting.about, &why);
        }
        taken.push((setting.about.name, addr));
    }
}

/// Whether both need one port of one address. Of port 0 the system makes a free one. `[::]` takes IPv4 as well on most
/// systems and not on all (`net.ipv6.bindv6only`), so the two families are not held against each other.
fn overlap(one: SocketAddr, other: SocketAddr) -> bool {
    let is_any = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port()
        && one.port() != 0
        && one.is_ipv4() == other.is_ipv4()
        && (one.ip() == other.ip() || is_any)
}

#[cfg(test)]
mod tests {
    use super::super::source::Origin;
    use super::*;

    fn mistakes(runs: Runs, given: &[(&str, &str)]) -> Vec<String> {
        let mut source = Source::default();
        let given = given
            .iter()
            .map(|(name, addr)| ((*name).to_owned(), (*addr).to_owned()));
        source.layer(Origin::Environment, given);
        check(&mut source, runs);
        source.into_mistakes()
    }

    #[test]
    fn two_settings_with_one_address_are_both_named() {
        let told = mistakes(Runs::All, &[("LARDER_HTTP_ADDR", "127.0.0.1:9100")]);
        assert_eq!(
            told,
            [
                "LARDER_METRICS_ADDR (default): 127.0.0.1:9100 is the address of LARDER_HTTP_ADDR (127.0.0.1:9100) as well: \
                 give one of the two another port"
            ]
        );
        for (one, other) in [
            ("0.0.0.0:11219", "127.0.0.1:11219"),
            ("127.0.0.1:11219", "0.0.0.0:11219"),
            ("[::]:11219", "[::1]:11219"),
        ] {
            let given = [
                ("LARDER_MEMCACHED_ADDR", one),
                ("LARDER_MEMCACHED_TLS_ADDR", other),
            ];
            let told = mistakes(Runs::All, &given);
            assert_eq!(told.len(), 1, "{told:?}");
            assert!(
                told[0].contains("LARDER_MEMCACHED_TLS_ADDR (environment)")
                    && told[0].contains("LARDER_MEMCACHED_ADDR"),
                "{told:?}"
            );
        }
    }

    #[test]
    fn addresses_that_go_together_are_no_mistake() {
        for given in [
            ["127.0.0.1:7000", "127.0.0.1:7001"],
            ["127.0.0.1:7000", "127.0.0.2:7000"],
            ["127.0.0.1:0", "127.0.0.1:0"],
            ["127.0.0.1:7000", "[::1]:7000"],
        ] {
            let given = [
                ("LARDER_HTTP_ADDR", given[0]),
                ("LARDER_METRICS_ADDR", given[1]),
            ];
            assert!(mistakes(Runs::All, &given).is_empty(), "{given:?}");
        }
    }

    #[test]
    fn only_what_a_command_listens_on_counts() {
        let at_sandbox = [("LARDER_HTTP_ADDR", "127.0.0.1:8090")];
        assert!(mistakes(Runs::All, &at_sandbox).is_empty());
        let told = mistakes(Runs::Dev, &at_sandbox);
        assert_eq!(told.len(), 1, "{told:?}");
        let of_worker = [("LARDER_METRICS_ADDR", "127.0.0.1:8080")];
        assert_eq!(mistakes(Runs::All, &of_worker).len(), 1);
        assert!(mistakes(Runs::Worker, &of_worker).is_empty());
        assert!(mistakes(Runs::Nothing, &of_worker).is_empty());
        assert!(mistakes(Runs::Node, &of_worker).is_empty());
        let at_memcached = [("LARDER_LINK_ADDR", "127.0.0.1:11211")];
        assert_eq!(mistakes(Runs::All, &at_memcached).len(), 1);
        assert!(mistakes(Runs::Control, &at_memcached).is_empty());
    }

    #[test]
    fn the_node_link_has_an_address_of_its_own() {
        let public = [("LARDER_LINK_ADDR", "127.0.0.1:8080")];
        for runs in [Runs::All, Runs::Dev, Runs::Control] {
            let told = mistakes(runs, &public);
            assert!(told[0].starts_with("LARDER_LINK_ADDR"), "{told:?}");
        }
        assert!(mistakes(Runs::Node, &public).is_empty());
    }
}
