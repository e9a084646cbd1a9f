//! Which node a cache goes to: in a cluster of its region the one with the most room. Pure: the nodes are an argument.

use std::collections::{BTreeMap, BTreeSet};

use super::ClusterSettings;
use super::liveness::LiveNode;
use super::placement::{NoSite, Site};
use crate::domain::{ClusterName, NodeId, NodeState, Plan, Plans, region};
use crate::store::fleet::nodes::NodeLoad;

/// Chooses among `nodes`, but for those in `without`.
///
/// - Region: the nearest clusters; when they have no room, the next ones of the region. Without any, a region that the
///   manifest lists (`*` lists all) is served from any cluster, unless the operator is strict; another one is refused.
/// - Room: memory of the node less the limits of the live caches on it. Two provisions at one moment may choose the
///   same room: limits are what caches may grow to, and the engine's own ceiling holds in any case.
/// - A region with a single node takes every cache, full or not: there is nowhere else to send the customer, and
///   an engine at its ceiling evicts.
/// - A node that is away or drained is a node of its region, and no candidate.
pub(super) fn choose(
    nodes: &[LiveNode],
    plans: &Plans,
    plan: &Plan,
    region: &str,
    settings: &ClusterSettings,
    without: &[NodeId],
) -> Result<Site, NoSite> {
    let mut by_distance: BTreeMap<usize, Vec<&LiveNode>> = BTreeMap::new();
    for node in nodes {
        if let Some(distance) = region::distance(&node.load.region, region) {
            by_distance.entry(distance).or_default().push(node);
        }
    }
    let mut full = None;
    for near in by_distance.values() {
        match choose_near(near, plans, plan, without) {
            Ok(site) => return Ok(site),
            Err(none) => full = full.or(none),
        }
    }
    if let Some(cluster) = full {
        return Err(NoSite::Full { cluster });
    }
    let no_region = || NoSite::Region {
        offered: offered(nodes, settings),
    };
    let is_listed = |entry: &String| entry == "*" || region::is_in(entry, region);
    if settings.region_strict || !settings.regions_allowed.iter().any(is_listed) {
        return Err(no_region());
    }
    let all: Vec<&LiveNode> = nodes.iter().collect();
    choose_near(&all, plans, plan, without).map_err(|none| match none {
        Some(cluster) => NoSite::Full { cluster },
        None => no_region(),
    })
}

/// The regions that nodes are in, and those that the manifest lists, unless only the former may be ordered.
pub(super) fn offered(nodes: &[LiveNode], settings: &ClusterSettings) -> Vec<String> {
    let mut regions: BTreeSet<&str> = nodes.iter().map(|node| node.load.region.as_str()).collect();
    if !settings.region_strict && !regions.is_empty() {
        let listed = settings.regions_allowed.iter().map(String::as_str);
        regions.extend(listed.filter(|region| *region != "*"));
    }
    regions.into_iter().map(str::to_owned).collect()
}

/// The node with the most room, or the cluster that is most likely to have room later: none without nodes.
fn choose_near(
    near: &[&LiveNode],
    plans: &Plans,
    plan: &Plan,
    without: &[NodeId],
) -> Result<Site, Option<ClusterName>> {
    let room = |node: &&&LiveNode| i128::from(node.load.memory_bytes) - promised(&node.load, plans);
    let takes =
        |node: &&&LiveNode| node.state == NodeState::Serving && !without.contains(&node.load.id);
    let Some(best) = near.iter().filter(takes).max_by_key(room) else {
        let later = near.iter().max_by_key(room);
        return Err(later.map(|node| node.load.cluster.clone()));
    };
    if near.len() > 1 && room(&best) < i128::from(plan.limit_bytes()) {
        return Err(Some(best.load.cluster.clone()));
    }
    Ok(Site {
        cluster: best.load.cluster.clone(),
        node: best.load.id.clone(),
        region: best.load.region.clone(),
        address: best.load.address.clone(),
    })
}

fn promised(node: &NodeLoad, plans: &Plans) -> i128 {
    node.caches
        .iter()
        .map(|(plan, caches)| {
            i128::from(plans.find_or_smallest(plan).limit_bytes()) * i128::from(*caches)
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::domain::{NodePhase, NodeStanding, Timestamp};
    use crate::store::fleet::nodes::NodeStatus;

    fn plans() -> Plans {
        let plan = |slug: &str, mib: u64| Plan {
            slug: slug.parse().unwrap(),
            memory_bytes: mib << 20,
            connections_max: 50,
            credentials_max: 10,
            sample_grain: Duration::from_secs(60),
            history: Duration::from_secs(86_400),
            sleeps_after: None,
            price_cents: 0,
            hidden: false,
            asynchronous: false,
        };
        Plans::new(vec![plan("dev", 25), plan("500", 500)]).unwrap()
    }

    fn node(id: &str, region: &str, mib: u64, plan: &str, caches: u64) -> LiveNode {
        let load = NodeLoad {
            id: id.parse().unwrap(),
            cluster: format!("c-{region}").parse().unwrap(),
            region: region.to_owned(),
            address: format!("{id}:11211"),
            memory_bytes: mib << 20,
            status: NodeStatus {
                phase: NodePhase::Serving,
                standing: NodeStanding::Open,
                seen_at: Timestamp::from_secs(0),
            },
            caches: vec![(plan.parse().unwrap(), caches)],
        };
        LiveNode {
            load,
            state: NodeState::Serving,
        }
    }

    fn but(state: NodeState, node: LiveNode) -> LiveNode {
        LiveNode { state, ..node }
    }

    fn chosen(nodes: &[LiveNode], region: &str, allowed: &[&str]) -> Option<String> {
        let site = try_choose(nodes, region, &listing(allowed), &[]);
        site.ok().map(|site| site.node.to_string())
    }

    fn listing(regions: &[&str]) -> ClusterSettings {
        ClusterSettings {
            regions_allowed: regions.iter().map(|entry| (*entry).to_owned()).collect(),
            ..ClusterSettings::default()
        }
    }

    /// For a cache on plan 500.
    fn try_choose(
        nodes: &[LiveNode],
        region: &str,
        settings: &ClusterSettings,
        without: &[NodeId],
    ) -> Result<Site, NoSite> {
        let plans = plans();
        let plan = plans.find("500").unwrap();
        choose(nodes, &plans, plan, region, settings, without)
    }

    fn refused(offered: &[&str]) -> Result<Site, NoSite> {
        Err(NoSite::Region {
            offered: offered.iter().map(|region| (*region).to_owned()).collect(),
        })
    }

    #[test]
    fn the_node_with_most_room_in_the_region_wins() {
        let nodes = [
            node("a", "us", 4_000, "500", 5),
            node("b", "us", 4_000, "dev", 9),
            node("c", "eu", 9_000, "dev", 0),
        ];
        assert_eq!(
            chosen(&nodes, "amazon-web-services::us-east-1", &[]).as_deref(),
            Some("b")
        );
        assert_eq!(chosen(&nodes, "dublin", &[]).as_deref(), Some("c"));
    }

    #[test]
    fn free_room_counts_and_not_size() {
        let nodes = [
            node("large", "us", 9_000, "500", 16),
            node("small", "us", 2_000, "500", 0),
        ];
        assert_eq!(chosen(&nodes, "us", &[]).as_deref(), Some("small"));
    }

    #[test]
    fn an_exact_region_is_closer_than_a_continent() {
        let nodes = [
            node("a", "us", 9_000, "dev", 0),
            node("b", "us-west-2", 4_000, "dev", 0),
        ];
        assert_eq!(chosen(&nodes, "oregon", &[]).as_deref(), Some("b"));
        assert_eq!(chosen(&nodes, "us-east-1", &[]).as_deref(), Some("a"));
    }

    #[test]
    fn other_regions_need_the_manifest() {
        let nodes = [node("a", "us", 4_000, "dev", 0)];
        assert_eq!(chosen(&nodes, "tokyo", &[]), None);
        assert_eq!(chosen(&nodes, "tokyo", &["eu"]), None);
        assert_eq!(
            chosen(&nodes, "amazon-web-services::ap-northeast-1", &["tokyo"]).as_deref(),
            Some("a")
        );
        assert_eq!(chosen(&nodes, "mars", &["*"]).as_deref(), Some("a"));
    }

    #[test]
    fn a_strict_operator_serves_no_region_from_another() {
        let nodes = [
            node("a", "us", 4_000, "dev", 0),
            node("b", "ap-northeast-1", 4_000, "dev", 0),
        ];
        let lax = listing(&["us", "eu", "*"]);
        let strict = ClusterSettings {
            region_strict: true,
            ..lax.clone()
        };
        assert!(try_choose(&nodes, "eu", &lax, &[]).is_ok());
        let served = ["ap-northeast-1", "us"];
        assert_eq!(try_choose(&nodes, "eu", &strict, &[]), refused(&served));
        assert_eq!(
            try_choose(&nodes, "tokyo", &strict, &[]).unwrap().region,
            "ap-northeast-1"
        );
        let listed = listing(&["us", "eu"]);
        assert_eq!(
            try_choose(&nodes, "mars", &listed, &[]),
            refused(&["ap-northeast-1", "eu", "us"])
        );
    }

    /// `*` is a rule of the manifest, and no region that somebody could order.
    #[test]
    fn offered_are_regions_alone() {
        let nodes = [node("a", "us", 4_000, "dev", 0)];
        assert_eq!(offered(&nodes, &listing(&["eu", "*", "us"])), ["eu", "us"]);
        assert!(offered(&[], &listing(&["eu"])).is_empty(), "nobody serves");
    }

    #[test]
    fn a_full_region_refuses_unless_it_is_one_node() {
        let full = [
            node("a", "us", 600, "500", 1),
            node("b", "us", 700, "500", 1),
        ];
        assert_eq!(chosen(&full, "us", &[]), None);
        let us_only = listing(&[]);
        assert_eq!(
            try_choose(&full, "us", &us_only, &[]),
            Err(NoSite::Full {
                cluster: "c-us".parse().unwrap()
            })
        );
        assert_eq!(try_choose(&full, "mars", &us_only, &[]), refused(&["us"]));
        assert_eq!(chosen(&full[..1], "us", &[]).as_deref(), Some("a"));
        assert_eq!(chosen(&[], "us", &["*"]), None);
    }

    #[test]
    fn only_a_serving_node_gets_a_cache() {
        let states = [NodeState::Joining, NodeState::Draining, NodeState::Away];
        for state in states {
            let empty = || but(state, node("a", "us", 9_000, "dev", 0));
            let pair = [empty(), node("b", "us", 4_000, "dev", 9)];
            assert_eq!(chosen(&pair, "us", &[]).as_deref(), Some("b"), "{state}");
            assert_eq!(
                try_choose(&[empty()], "us", &listing(&[]), &[]),
                Err(NoSite::Full {
                    cluster: "c-us".parse().unwrap()
                }),
                "there may be room when it serves again"
            );
        }
    }

    #[test]
    fn a_wider_region_helps_when_the_nearest_has_no_room() {
        let nodes = [
            but(NodeState::Away, node("a", "us-west-2", 9_000, "dev", 0)),
            node("b", "us", 4_000, "dev", 0),
        ];
        assert_eq!(chosen(&nodes, "oregon", &[]).as_deref(), Some("b"));
    }

    #[test]
    fn a_node_that_was_tried_in_vain_is_left_out() {
        let nodes = [
            node("a", "us", 9_000, "dev", 0),
            node("b", "us", 4_000, "dev", 0),
        ];
        let tried = ["a".parse().unwrap()];
        let site = try_choose(&nodes, "us", &listing(&[]), &tried);
        assert_eq!(site.unwrap().node.as_str(), "b");
    }
}
