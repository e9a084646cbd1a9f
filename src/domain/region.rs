//! What a marketplace may call a region, what we may, and whether the one lies in the other.

/// Cities that manifests use for the regions of a common provider.
const CITIES: &[(&str, &str)] = &[
    ("us-east-1", "virginia"),
    ("us-west-2", "oregon"),
    ("eu-west-1", "dublin"),
    ("eu-west-2", "london"),
    ("eu-central-1", "frankfurt"),
    ("ap-northeast-1", "tokyo"),
    ("ap-southeast-1", "singapore"),
    ("ap-southeast-2", "sydney"),
    ("ap-south-1", "mumbai"),
    ("ca-central-1", "montreal"),
];

/// Whether a cache that was ordered in the one region stands in it when its node is in the other.
pub fn is_in(place: &str, ordered: &str) -> bool {
    distance(place, ordered).is_some()
}

/// How many names of the ordered region are more exact than the one that it shares with the place of a node; `None` when
/// the node is elsewhere. A node in `us` serves all of it, one in `us-east-1` also an order for `us`, but none for
/// `us-west-2`.
pub fn distance(place: &str, ordered: &str) -> Option<usize> {
    let (own, wanted) = (own_names(place), names(ordered));
    let shared = wanted.iter().position(|name| own.contains(name));
    shared.or_else(|| {
        let exact = own_names(ordered);
        let lies_within = names(place).iter().any(|name| exact.contains(name));
        lies_within.then_some(wanted.len())
    })
}

/// All names a region goes by, the most exact first: `amazon-web-services::us-east-1` is also `us-east-1`,
/// `virginia` and `us`.
fn names(region: &str) -> Vec<String> {
    let mut names = own_names(region);
    let continent = names
        .iter()
        .filter_map(|name| name.split_once('-'))
        .map(|(continent, _)| continent.to_owned())
        .find(|continent| continent.len() == 2);
    names.extend(continent);
    names
}

/// The same without its continent, which other regions share.
fn own_names(region: &str) -> Vec<String> {
    let short = region.rsplit("::").next().unwrap_or(region);
    let mut names = vec![region, short];
    for (code, city) in CITIES {
        if short == *code || short == *city {
            names.extend([*code, *city]);
        }
    }
    let mut seen: Vec<String> = Vec::new();
    for name in names {
        if !name.is_empty() && !seen.iter().any(|other| other == name) {
            seen.push(name.to_owned());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::{distance, is_in, names};

    #[test]
    fn the_most_exact_name_comes_first() {
        assert_eq!(
            names("amazon-web-services::us-east-1"),
            [
                "amazon-web-services::us-east-1",
                "us-east-1",
                "virginia",
                "us"
            ]
        );
        assert_eq!(names("frankfurt"), ["frankfurt", "eu-central-1", "eu"]);
        assert_eq!(names("us"), ["us"]);
        assert_eq!(names("mars"), ["mars"]);
        assert!(names("").is_empty());
    }

    #[test]
    fn a_wider_place_is_farther_and_another_one_is_elsewhere() {
        let ordered = "amazon-web-services::us-east-1";
        let place = |place| distance(place, ordered);
        assert_eq!(place(ordered), Some(0));
        assert_eq!(place("virginia"), Some(1));
        assert_eq!(place("us"), Some(3));
        assert_eq!(place("us-west-2"), None);
        assert_eq!(place("eu"), None);
        assert_eq!(distance("us-east-1", "us"), Some(1));
    }

    #[test]
    fn what_is_ordered_is_in_its_own_place_only() {
        for (place, ordered) in [
            ("eu", "amazon-web-services::eu-west-1"),
            ("eu-west-1", "eu"),
            ("dublin", "amazon-web-services::eu-west-1"),
            ("mars", "mars"),
        ] {
            assert!(is_in(place, ordered), "{ordered} in {place}");
        }
        for (place, ordered) in [
            ("us", "eu"),
            ("us", "amazon-web-services::eu-west-1"),
            ("eu-west-2", "amazon-web-services::eu-west-1"),
            ("us", "mars"),
            ("us", ""),
            ("", "us"),
        ] {
            assert!(!is_in(place, ordered), "{ordered} in {place}");
        }
    }
}
