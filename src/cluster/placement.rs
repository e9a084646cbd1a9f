//! Where a new cache goes: a cluster in its region, there the node with the most room.

use super::region;
use crate::domain::{ClusterName, NodeId, Plan, Plans};
use crate::store::nodes::NodeLoad;

/// The place chosen for a cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    pub cluster: ClusterName,
    pub node: NodeId,
}

/// Why there is no place for a cache.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoSite {
    #[error("no node serves this region")]
    Region,
    /// There may be room later, most likely in `cluster`.
    #[error("no node of this region has room")]
    Full { cluster: ClusterName },
}

/// Chooses among `nodes`.
///
/// - Region: the clusters that share the most exact name with it. Without such a cluster, a region that the
///   manifest lists in `allowed` (`*` lists all) is served from any cluster; another one is refused.
/// - Room: memory of the node less the limits of the live caches on it. Two provisions at one moment may choose the
///   same room: limits are what caches may grow to, and the engine's own ceiling holds in any case.
/// - A region with a single node takes every cache, full or not: there is nowhere else to send the customer, and
///   an engine at its ceiling evicts.
pub(super) fn choose(
    nodes: &[NodeLoad],
    plans: &Plans,
    plan: &Plan,
    region: &str,
    allowed: &[String],
) -> Result<Site, NoSite> {
    let names = region::names(region);
    let near = names.iter().find_map(|name| {
        let here = |node: &&NodeLoad| node.region == *name;
        let found: Vec<&NodeLoad> = nodes.iter().filter(here).collect();
        (!found.is_empty()).then_some(found)
    });
    let listed = allowed
        .iter()
        .any(|entry| entry == "*" || names.contains(entry));
    let candidates = match near {
        Some(found) => found,
        None if listed => nodes.iter().collect(),
        None => return Err(NoSite::Region),
    };
    let room = |node: &NodeLoad| i128::from(node.memory_bytes) - promised(node, plans);
    let best = candidates
        .iter()
        .max_by_key(|node| room(node))
        .ok_or(NoSite::Region)?;
    if candidates.len() > 1 && room(best) < i128::from(plan.limit_bytes()) {
        return Err(NoSite::Full {
            cluster: best.cluster.clone(),
        });
    }
    Ok(Site {
        cluster: best.cluster.clone(),
        node: best.id.clone(),
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

    fn node(id: &str, region: &str, mib: u64, plan: &str, caches: u64) -> NodeLoad {
        NodeLoad {
            id: id.parse().unwrap(),
            cluster: format!("c-{region}").parse().unwrap(),
            region: region.to_owned(),
            memory_bytes: mib << 20,
            caches: vec![(plan.parse().unwrap(), caches)],
        }
    }

    fn chosen(nodes: &[NodeLoad], region: &str, allowed: &[&str]) -> Option<String> {
        let plans = plans();
        let allowed: Vec<String> = allowed.iter().map(|entry| (*entry).to_owned()).collect();
        let plan = plans.find("500").unwrap();
        choose(nodes, &plans, plan, region, &allowed)
            .ok()
            .map(|site| site.node.to_string())
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
    fn a_full_region_refuses_unless_it_is_one_node() {
        let full = [
            node("a", "us", 600, "500", 1),
            node("b", "us", 700, "500", 1),
        ];
        assert_eq!(chosen(&full, "us", &[]), None);
        let (plans, plan) = (plans(), plans().find("500").unwrap().clone());
        assert_eq!(
            choose(&full, &plans, &plan, "us", &[]),
            Err(NoSite::Full {
                cluster: "c-us".parse().unwrap()
            })
        );
        assert_eq!(
            choose(&full, &plans, &plan, "mars", &[]),
            Err(NoSite::Region)
        );
        assert_eq!(chosen(&full[..1], "us", &[]).as_deref(), Some("a"));
        assert_eq!(chosen(&[], "us", &["*"]), None);
    }
}
